/** In goes a finished run's report; its figures go out to a Pushgateway or into a textfile, as the config says. */
import { hostname } from "node:os";
import type { Config } from "../config/config.ts";
import { pushMetrics, pushProof } from "../observe/pushgateway.ts";
import { writeMetricsFile, writeProofFile } from "../observe/textfile.ts";
import type { Proof, ProofKind } from "../archive/proof.ts";
import type { RunReport } from "../archive/report.ts";
import { nextElapses } from "../task/times.ts";
import type { Fetch } from "../trusted_fetch.ts";

/**
 * Hands a report's figures to where the config wants them. Returns what went wrong, a sentence each.
 *
 * @param counted.host The instance in the figures, where the config names none; the operating system's unless given.
 * `isPart`: the run was for databases that were named.
 */
export async function publishMetrics(
  config: Config,
  report: RunReport & { scheduled?: readonly { task: string; elapse: string }[] },
  { lostLogLines, retries, now, host = hostname(), isPart = false, timeoutMs, fetch }: {
    lostLogLines: number;
    retries: number;
    /** The next elapse: of a run by hand the first after it, else the one after the elapse that was run. */
    now: Date;
    host?: string | undefined;
    isPart?: boolean;
    /** For a Pushgateway's answers, all together. @default that of pushMetrics() */
    timeoutMs?: number | undefined;
    /** Makes the requests to the Pushgateway. */
    fetch?: Fetch | undefined;
  },
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

/** Hands a proof's figures to where the config wants them. Returns what went wrong, a sentence each. */
export async function publishProof(
  { prometheus }: Config,
  { kind, proof, host = hostname(), fetch }: {
    kind: ProofKind;
    proof: Proof;
    host?: string | undefined;
    /** Makes the requests to the Pushgateway. */
    fetch?: Fetch | undefined;
  },
): Promise<string[]> {
  if (prometheus === undefined) return [];
  const { pushgateway, textfile, instance = host } = prometheus;
  const warnings: string[] = [];
  if (pushgateway !== undefined) warnings.push(...await pushProof(kind, proof, { fetch, ...pushgateway, instance }));
  if (textfile !== undefined) warnings.push(...await writeProofFile(kind, proof, { path: textfile }));
  return warnings;
}
