/**
 * Where the figures of a run or a proof go, as the config says: to a Pushgateway, into a textfile, or nowhere. In: the
 * config, and the report of a run that is over or the outcome of a proof. Out: warnings; nothing here rejects.
 */
import { hostname } from "node:os";
import type { Config } from "../config/config.ts";
import { pushMetrics, pushProof } from "../observe/pushgateway.ts";
import { writeMetricsFile, writeProofFile } from "../observe/textfile.ts";
import type { Proof, ProofKind } from "../archive/proof.ts";
import type { RunReport } from "../archive/report.ts";
import { nextElapses } from "../task/times.ts";
import type { Fetch } from "../trusted_fetch.ts";

/** Who publishes, and how. */
interface PublishOptions {
  /** The instance in the figures, where the config names none. @default the operating system's name of the machine */
  host?: string | undefined;
  /** Makes the requests to the Pushgateway. @default the platform's */
  fetch?: Fetch | undefined;
}

/** What is told of a run beside its report. */
interface RunFigures extends PublishOptions {
  /** Lines that did not reach Loki. */
  lostLogLines: number;
  /** Requests to CouchDB that were made again. */
  retries: number;
  /** When the run is over; of a task that was run by hand the next elapse is the first after it. */
  now: Date;
  /** Whether the run was for databases that were named. @default false */
  isPart?: boolean;
  /** For a Pushgateway's answers, all together, in milliseconds. @default that of pushMetrics() */
  timeoutMs?: number | undefined;
}

/**
 * Hands a report's figures to where the config wants them.
 *
 * @param report `scheduled`: of which elapses the run was, where a schedule began it.
 * @returns What went wrong, a sentence each.
 */
export async function publishMetrics(
  config: Config,
  report: RunReport & { scheduled?: readonly { task: string; elapse: string }[] },
  { lostLogLines, retries, now, host = hostname(), isPart = false, timeoutMs, fetch }: RunFigures,
): Promise<string[]> {
  const { prometheus } = config;
  if (prometheus === undefined) return [];
  const tasks = Object.fromEntries(config.tasks.map((task) => {
    // A run may end after the next elapse has come: that elapse counts as missed until somebody has run it.
    const elapse = report.scheduled?.find((one) => one.task === task.name)?.elapse;
    const [nextElapse] = nextElapses(task, { after: elapse === undefined ? now : new Date(elapse), count: 1 });
    // The client counts repeated requests of the whole run; with one task, as a timer runs it, they are that task's.
    return [task.name, report.tasks.length === 1 ? { nextElapse, retries } : { nextElapse }];
  }));
  const { pushgateway, textfile, perDatabase, instance = host } = prometheus;
  const options = { tasks, lostLogLines, perDatabase, isPart, fetch, ...timeoutMs === undefined ? {} : { timeoutMs } };
  const warnings: string[] = [];
  if (pushgateway !== undefined) warnings.push(...await pushMetrics(report, { ...options, ...pushgateway, instance }));
  if (textfile !== undefined) warnings.push(...await writeMetricsFile(report, { ...options, path: textfile }));
  return warnings;
}

/** Hands a proof's figures to where the config wants them. @returns What went wrong, a sentence each. */
export async function publishProof(
  { prometheus }: Config,
  { kind, proof, host = hostname(), fetch }: PublishOptions & { kind: ProofKind; proof: Proof },
): Promise<string[]> {
  if (prometheus === undefined) return [];
  const { pushgateway, textfile, instance = host } = prometheus;
  const warnings: string[] = [];
  if (pushgateway !== undefined) warnings.push(...await pushProof(kind, proof, { fetch, ...pushgateway, instance }));
  if (textfile !== undefined) warnings.push(...await writeProofFile(kind, proof, { path: textfile }));
  return warnings;
}
