/**
 * A real Prometheus, of Debian, with eight weeks of made-up runs in it: the runs are made up, their metrics are what
 * formatMetrics() makes of them, and mergeMetrics() keeps them between runs as the textfile does.
 */
import { formatMetrics, mergeMetrics } from "../../src/observe/metrics.ts";
import { databaseReport, runReport, taskReport } from "./report.ts";
import { untilReady } from "../until_ready.ts";

const HOUR_MS = 3_600_000;
/** A Saturday, six hours before the weekly run. */
export const END_MS: number = Date.UTC(2026, 1, 28, 12);
export const START_MS: number = END_MS - 56 * 24 * HOUR_MS;

/** One series of an answer: its labels and its points, in seconds and numbers. */
export interface Series {
  metric: Record<string, string>;
  values: [number, number][];
}

/** The way to the running Prometheus. */
export interface Prometheus {
  /** Evaluates an expression over the eight weeks, every six hours. */
  queryRange(expression: string): Promise<Series[]>;
  /** Evaluates an expression at their end. */
  queryEnd(expression: string): Promise<Series[]>;
}

/** Starts one on a free port, with all data in a temporary folder, and stops it when `use` is done. */
export async function withPrometheus(use: (prometheus: Prometheus) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/runs.txt`, eightWeeks());
    await Deno.writeTextFile(`${folder}/empty.yaml`, "");
    // For each block promtool reads the whole file anew; its default are 700 blocks of two hours.
    const into = ["--max-block-duration=1536h", "openmetrics", `${folder}/runs.txt`, `${folder}/data`];
    await run("promtool", ["tsdb", "create-blocks-from", ...into]);
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const url = `http://127.0.0.1:${listener.addr.port}`;
    listener.close();
    const child = new Deno.Command("prometheus", {
      args: [
        `--config.file=${folder}/empty.yaml`,
        `--storage.tsdb.path=${folder}/data`,
        "--storage.tsdb.retention.time=100y",
        "--query.lookback-delta=2h",
        `--web.listen-address=${url.slice("http://".length)}`,
      ],
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      await untilReady(`${url}/-/ready`);
      await use({
        queryRange: (query) =>
          ask(`${url}/api/v1/query_range`, {
            query,
            start: String(START_MS / 1000),
            end: String(END_MS / 1000),
            step: "6h",
          }),
        queryEnd: (query) => ask(`${url}/api/v1/query`, { query, time: String(END_MS / 1000) }),
      });
    } finally {
      child.kill();
      await child.status;
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** OpenMetrics with what a scrape each hour would have seen. */
function eightWeeks(): string {
  const families = new Map<string, string[]>();
  let state = "";
  for (let ms = START_MS - 7 * 24 * HOUR_MS; ms <= END_MS; ms += HOUR_MS) {
    const at = new Date(ms);
    if (at.getUTCHours() === 2) state = mergeMetrics(state, nightly(ms));
    if (at.getUTCHours() === 18 && at.getUTCDay() === 6) state = mergeMetrics(state, weekly(ms));
    if (ms < START_MS) continue;
    for (const line of state.split("\n")) {
      const name = /^\w+/.exec(line)?.[0];
      if (name === undefined) continue;
      const sample = `${line.replace("{", '{job="couchdb-backup",instance="db1",')} ${ms / 1000}`;
      const lines = families.get(name) ?? [`# TYPE ${name} gauge`];
      lines.push(sample);
      families.set(name, lines);
    }
  }
  return `${[...families.values()].map((lines) => lines.join("\n")).join("\n")}\n# EOF\n`;
}

function weekly(ms: number): string {
  const week = Math.round((ms - START_MS) / (7 * 24 * HOUR_MS));
  const databases = Array.from({ length: 40 }, (_, index) => {
    const documents = 20_000 + 900 * index + 400 * week;
    const failed = week === 5 && index < 6;
    return databaseReport(`account/${String(10 + index)}/4f/6a1c`, {
      ...(failed ? { status: "failed", error: "no space", exit_code: 11 } : {}),
      documents: failed ? 0 : documents,
      leaf_revisions: failed ? 0 : Math.round(documents * 1.04),
      bytes: failed ? 0 : documents * 1_100,
      compressed_bytes: failed ? 0 : documents * (290 + 2 * week),
      seconds: documents / 3_000,
    });
  });
  return metricsOf("weekly", databases, ms, { retries: week === 3 ? 42 : week % 3, periodMs: 7 * 24 * HOUR_MS });
}

function nightly(ms: number): string {
  const day = Math.round((ms - START_MS) / (24 * HOUR_MS));
  const documents = 60_000 + 500 * day + 8_000 * (day % 7);
  const database = databaseReport("system_config", {
    status: day === 20 ? "resumed" : "complete",
    documents,
    leaf_revisions: documents + 300,
    bytes: documents * 900,
    compressed_bytes: documents * 210,
    seconds: documents / 4_000,
  });
  return metricsOf("nightly", [database], ms, { retries: day === 33 ? 7 : 0, periodMs: 24 * HOUR_MS });
}

function metricsOf(
  task: string,
  databases: ReturnType<typeof databaseReport>[],
  ms: number,
  { retries, periodMs }: { retries: number; periodMs: number },
): string {
  const report = runReport([taskReport(task, databases)]);
  const seconds = databases.reduce((sum, database) => sum + database.seconds, 0);
  report.started_at = new Date(ms).toISOString();
  report.finished_at = new Date(ms + seconds * 1000).toISOString();
  return formatMetrics(report, {
    tasks: { [task]: { retries, nextElapse: new Date(ms + periodMs) } },
    lostLogLines: 0,
    perDatabase: true,
  });
}

async function ask(address: string, parameters: Record<string, string>): Promise<Series[]> {
  const response = await fetch(address, { method: "POST", body: new URLSearchParams(parameters) });
  const answer = await response.json();
  if (answer.status !== "success") throw new Error(`${parameters.query}: ${answer.error}`);
  type Point = [number, string];
  return answer.data.result.map((series: { metric: Record<string, string>; values?: Point[]; value?: Point }) => ({
    metric: series.metric,
    values: (series.values ?? [series.value ?? [0, "NaN"]]).map(([time, value]) => [time, Number(value)]),
  }));
}

async function run(program: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null", stderr: "piped" }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}
