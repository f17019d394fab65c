/**
 * Hands a run's metrics to a Prometheus Pushgateway, one group for each task. A Pushgateway that is down never fails a
 * run: what went wrong comes back as warnings.
 *
 * @see https://github.com/prometheus/pushgateway#api
 */
import { readShort } from "../short_answer.ts";
import { Buffer } from "node:buffer";
import { describeError } from "../errors.ts";
import type { RunReport } from "../archive/report.ts";
import { authorizationFor, type Login } from "../basic_auth.ts";
import { formatMetrics, hasSucceeded, type MetricsOptions } from "./metrics.ts";

/** Where the metrics go. */
export interface PushgatewayOptions extends MetricsOptions, Login {
  /** Its URL without `/metrics/…`, possibly with a login in it. */
  url: string;
  /** The group's `job`. @default "couchdb-backup" */
  job?: string;
  /** The group's `instance`: the host's name. */
  instance: string;
  /** For all tasks together. @default 1800 */
  timeoutMs?: number;
}

/**
 * Pushes the metrics of every task of a report. Never rejects.
 *
 * @returns One warning for each task whose metrics did not arrive.
 */
export async function pushMetrics(report: RunReport, options: PushgatewayOptions): Promise<string[]> {
  const { url, job = "couchdb-backup", instance, login, password, timeoutMs = 1_800 } = options;
  const base = URL.parse(url);
  if (base === null || !/^https?:$/.test(base.protocol)) {
    return ["Cannot push metrics: the Pushgateway's address is not an http or https URL"];
  }
  const headers: Record<string, string> = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
  const authorization = authorizationFor(base, { login, password });
  if (authorization !== undefined) headers.authorization = authorization;

  const signal = AbortSignal.timeout(timeoutMs);
  const warnings: string[] = [];
  for (const task of report.tasks) {
    const body = formatMetrics({ ...report, tasks: [task] }, options);
    const path = groupPath({ job, instance, task: task.task });
    // PUT replaces the group, POST only the metrics it names: a failed run must leave the time of the last success, and
    // one of a part of a task what is known of the whole.
    const method = hasSucceeded(task) && options.isPart !== true ? "PUT" : "POST";
    const action = `Cannot push metrics of task "${task.task}" to the Pushgateway at "${base.host}"`;
    try {
      // Without the login that the URL may hold.
      const address = `${base.origin}${base.pathname.replace(/\/$/, "")}${path}`;
      const response = await fetch(address, { method, headers, body, redirect: "manual", signal });
      const text = await readShort(response);
      if (!response.ok) {
        warnings.push(`${action}: it answered ${response.status} ${text.slice(0, 200).trim()}`.trimEnd());
      }
    } catch (error) {
      const reason = signal.aborted ? `no answer in ${timeoutMs} ms` : describeError(error);
      warnings.push(`${action}: ${reason}`);
    }
  }
  return warnings;
}

/**
 * `/metrics/job/…/instance/…`. What a path cannot hold (a slash, nothing, the dots that URLs resolve) travels as URL-safe
 * base64, as the Pushgateway has it.
 */
export function groupPath(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([name, value]) => {
    if (value === "") return `${name}@base64/=`;
    if (!/\/|^\.\.?$/.test(value)) return `${name}/${encodeURIComponent(value)}`;
    return `${name}@base64/${Buffer.from(value, "utf8").toString("base64").replaceAll("+", "-").replaceAll("/", "_")}`;
  });
  return `/metrics/${parts.join("/")}`;
}
