/**
 * Hands a run's metrics to a Prometheus Pushgateway, one group for each task. A Pushgateway that is down never fails a
 * run: what went wrong comes back as warnings.
 *
 * @see https://github.com/prometheus/pushgateway#api
 */
import { Buffer } from "node:buffer";
import { describeError, ProgramError } from "../errors.ts";
import type { Proof, ProofKind } from "../archive/proof.ts";
import { isTaskSaved, type RunReport } from "../archive/report.ts";
import { authorizationFor, type Login } from "../basic_auth.ts";
import { beginningOfText } from "../beginning_of_text.ts";
import { readShort } from "../short_answer.ts";
import { tlsFailure } from "../tls_failure.ts";
import type { Fetch } from "../trusted_fetch.ts";
import { formatMetrics, formatProof, type MetricsOptions } from "./metrics.ts";

/** Where a Pushgateway is, and who asks. */
export interface GatewayAddress extends Login {
  /** Its URL without `/metrics/…`, possibly with a login in it. */
  url: string;
  /** The group's `instance`: the host's name. */
  instance: string;
  /** Makes the requests. @default the platform's */
  fetch?: Fetch | undefined;
}

/** Where the metrics go. */
export interface PushgatewayOptions extends MetricsOptions, GatewayAddress {
  /** The group's `job`. @default "couchdb-backup" */
  job?: string;
  /** For one answer; a Pushgateway with many groups takes some seconds. @default 5000 */
  attemptMs?: number;
  /** For all tasks together. @default 10000 */
  timeoutMs?: number;
}

const JOB = "couchdb-backup";
/** What `check` pushes must not pass for a run. */
const CHECK_JOB = "couchdb-backup-check";
const ATTEMPT_MS = 5_000;
const ALL_MS = 10_000;
/** A push that fails for the moment is sent once more. */
const ATTEMPTS = 2;
/** Of an answer that is none of a Pushgateway's, so much is shown. */
const SHOWN_CHARACTERS = 200;
const BAD_URL = "the Pushgateway's address is not an http or https URL";

/**
 * Pushes the metrics of every task of a report. What is not answered in time, or refused for the moment, is sent once
 * more. Never rejects.
 *
 * @returns One warning for each task whose metrics did not arrive.
 */
export async function pushMetrics(report: RunReport, options: PushgatewayOptions): Promise<string[]> {
  return await pushGroups(
    report.tasks.map((task) => ({
      labels: { task: task.task },
      title: `task "${task.task}"`,
      body: formatMetrics({ ...report, tasks: [task] }, options),
      // A failed run must leave the time of the last success, and one of a part of a task what is known of the whole.
      isWhole: isTaskSaved(task) && options.isPart !== true,
    })),
    options,
  );
}

/** Pushes the metrics of a proof, in the same way. Never rejects. @returns A warning where they did not arrive. */
export async function pushProof(kind: ProofKind, proof: Proof, options: PushgatewayOptions): Promise<string[]> {
  const body = formatProof(kind, proof);
  return await pushGroups([{
    labels: { proof: kind },
    title: `the proof "${kind}"`,
    body,
    isWhole: proof.last_ok_at !== null,
  }], options);
}

/** What is pushed in one piece. */
interface Group {
  /** Beside `job` and `instance`. */
  labels: Record<string, string>;
  /** What it is about, for warnings. */
  title: string;
  body: string;
  /** Whether it stands for all that the gateway had of it. */
  isWhole: boolean;
}

async function pushGroups(groups: readonly Group[], options: PushgatewayOptions): Promise<string[]> {
  const { instance, job = JOB, timeoutMs = ALL_MS } = options;
  const attemptMs = Math.min(options.attemptMs ?? ATTEMPT_MS, timeoutMs);
  const gateway = openGateway(options);
  if (gateway === undefined) return [`Cannot push metrics: ${BAD_URL}`];
  const deadline = AbortSignal.timeout(timeoutMs);
  const silence = { text: `no answer in ${attemptMs} ms`, isPassing: true };
  const warnings: string[] = [];
  for (const { labels, title, body, isWhole } of groups) {
    const path = groupPath({ job, instance, ...labels });
    // PUT replaces the group, POST only the metrics it names.
    const method = isWhole ? "PUT" : "POST";
    let problem: Problem | undefined = silence;
    // The same metrics twice are the same: a push whose answer was lost harms nothing when it is sent again.
    for (let attempt = 1; attempt <= ATTEMPTS && problem?.isPassing === true && !deadline.aborted; attempt++) {
      const patience = AbortSignal.any([deadline, AbortSignal.timeout(attemptMs)]);
      problem = await gateway.send({ method, path, body }, patience);
      if (patience.aborted && problem !== undefined) problem = silence;
    }
    if (problem !== undefined) {
      warnings.push(`Cannot push metrics of ${title} to the ${gateway.place}: ${problem.text}`);
    }
  }
  return warnings;
}

/**
 * Whether a Pushgateway takes what a run sends, by a group of its own without metrics, which is deleted again.
 *
 * @returns What was found, as a sentence. @throws ProgramError when it does not take it.
 */
export async function tryPush(
  { attemptMs = ATTEMPT_MS, ...options }: GatewayAddress & { attemptMs?: number | undefined },
  signal: AbortSignal,
): Promise<string> {
  const gateway = openGateway(options);
  if (gateway === undefined) throw new GatewayError(BAD_URL);
  const path = groupPath({ job: CHECK_JOB, instance: options.instance });
  const send = (push: Push) => gateway.send(push, AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]));
  for (const method of ["PUT", "POST"] as const) {
    const problem = await send({ method, path, body: "" });
    if (problem === undefined) continue;
    const hint = problem.status === 401 || problem.status === 403
      ? "Check the login in prometheus.pushgateway"
      : problem.status === undefined
      ? "Check prometheus.pushgateway; backups run without it"
      : "prometheus.pushgateway must be its address without /metrics; a proxy may have another path";
    throw new GatewayError(`Cannot push to the ${gateway.place}: it does not take a ${method}: ${problem.text}`, {
      hint,
    });
  }
  const left = await send({ method: "DELETE", path });
  const rest = left === undefined
    ? ""
    : `; the group "${CHECK_JOB}" stays there, as it could not be deleted: ${left.text}`;
  return `The ${gateway.place} takes a push${rest}`;
}

/** A Pushgateway that does not take what it is sent. */
class GatewayError extends ProgramError {
  override readonly exitCode = 3;
}

/** Why a push was not taken. */
interface Problem {
  text: string;
  /** It may be taken a moment later. */
  isPassing: boolean;
  /** Absent where there was no answer. */
  status?: number;
}

interface Push {
  method: "PUT" | "POST" | "DELETE";
  path: string;
  body?: string;
}

/** A Pushgateway, or undefined where its URL is none. */
function openGateway(
  { url, login, password, fetch = globalThis.fetch }: GatewayAddress,
): { place: string; send(push: Push, signal: AbortSignal): Promise<Problem | undefined> } | undefined {
  const base = URL.parse(url);
  if (base === null || !/^https?:$/.test(base.protocol)) return undefined;
  const headers: Record<string, string> = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
  const authorization = authorizationFor(base, { login, password });
  if (authorization !== undefined) headers.authorization = authorization;
  // Without the login that the URL may hold.
  const address = `${base.origin}${base.pathname.replace(/\/$/, "")}`;
  return {
    place: `Pushgateway at "${base.host}"`,
    async send({ method, path, body = null }, signal) {
      try {
        const response = await fetch(`${address}${path}`, { method, headers, body, redirect: "manual", signal });
        const text = await readShort(response);
        if (response.ok) return undefined;
        const { status } = response;
        const isPassing = status >= 500 || status === 429 || status === 408;
        const said = beginningOfText(text, SHOWN_CHARACTERS);
        return { text: `it answered ${status} ${said}`.trimEnd(), isPassing, status };
      } catch (error) {
        const tls = tlsFailure(error, { url, caFileKey: "prometheus.ca_file" });
        if (tls !== undefined) return { text: `${tls.reason}. ${tls.hint}`, isPassing: false };
        return { text: describeError(error), isPassing: true };
      }
    },
  };
}

/**
 * `/metrics/job/…/instance/…`. What a path cannot hold (a slash, nothing, the dots that URLs resolve) travels as
 * URL-safe base64, as the Pushgateway has it.
 */
export function groupPath(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([name, value]) => {
    if (value === "") return `${name}@base64/=`;
    if (!/\/|^\.\.?$/.test(value)) return `${name}/${encodeURIComponent(value)}`;
    return `${name}@base64/${Buffer.from(value, "utf8").toString("base64").replaceAll("+", "-").replaceAll("/", "_")}`;
  });
  return `/metrics/${parts.join("/")}`;
}
