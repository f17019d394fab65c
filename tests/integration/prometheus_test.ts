/**
 * Metrics and alerts before the real judges: promtool, and a Pushgateway of our own on a free port. Both are installed
 * by scripts/ci/prometheus.sh; without them these tests fail.
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatMetrics } from "../../src/observe/metrics.ts";
import { pushMetrics, tryPush } from "../../src/observe/pushgateway.ts";
import { writeMetricsFile } from "../../src/observe/textfile.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";
import { until } from "../until.ts";
import { untilReady } from "../until_ready.ts";

const MONITORING = new URL("../../monitoring/", import.meta.url).pathname;

async function promtool(args: string[], input = ""): Promise<{ success: boolean; text: string }> {
  const child = new Deno.Command("promtool", {
    args,
    cwd: MONITORING,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { success, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** A port that nothing listens on. */
function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

async function withPushgateway(use: (url: string) => Promise<void>) {
  const url = `http://127.0.0.1:${freePort()}`;
  const child = new Deno.Command("prometheus-pushgateway", {
    // Debian's build keeps its data in /var/lib unless told not to.
    args: [`--web.listen-address=${url.slice("http://".length)}`, "--persistence.file="],
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await untilReady(`${url}/-/ready`);
    await use(url);
  } finally {
    child.kill();
    await child.status;
  }
}

const MIXED = runReport([
  taskReport("weekly", [databaseReport("media"), databaseReport("account/ab", { status: "resumed" })]),
  taskReport('odd "name"\\ / ö', [databaseReport("b", { status: "failed", error: "gone", exit_code: 10 })]),
]);
const OPTIONS = {
  tasks: { weekly: { retries: 3, nextElapse: new Date(1_800_000_000_500) } },
  lostLogLines: 4,
  perDatabase: true,
};

/**
 * The samples of a page of metrics without labels that the Pushgateway adds, sorted; numbers as JavaScript has them.
 */
function samplesOf(page: string): string[] {
  const lines = page.split("\n").filter((line) => line.startsWith("couchdb_backup_"));
  return lines.map((line) => {
    const [, name = "", labels = "", value = ""] = /^(\w+)\{(.*)\} (\S+)$/.exec(line) ?? [];
    const kept = labels.match(/\w+="(?:[^"\\]|\\.)*"/g)?.filter((label) => !/^(job|instance)=/.test(label)) ?? [];
    return `${name}{${kept.sort().join(",")}} ${Number(value)}`;
  }).sort();
}

Deno.test("formatMetrics() writes what promtool check metrics accepts without a word", async () => {
  assertEquals(await promtool(["check", "metrics"], formatMetrics(MIXED, OPTIONS)), { success: true, text: "" });
});

Deno.test("writeMetricsFile() leaves a merged file that promtool check metrics accepts without a word", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/couchdb-backup.prom`;
    assertEquals(await writeMetricsFile(MIXED, { path, ...OPTIONS }), []);
    assertEquals(await writeMetricsFile(runReport([taskReport("other", [])]), { path }), []);
    assertEquals(await promtool(["check", "metrics"], await Deno.readTextFile(path)), { success: true, text: "" });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("tryPush() is taken by a real Pushgateway, and leaves nothing there", async () => {
  await withPushgateway(async (url) => {
    assertMatch(
      await tryPush({ url, instance: "host/1" }, AbortSignal.timeout(5_000)),
      /^The Pushgateway at "[^"]*" takes a push$/,
    );
    // What is deleted is gone a moment later.
    const isGone = async () => !(await (await fetch(`${url}/metrics`)).text()).includes("couchdb-backup-check");
    await until(isGone, "the group of the check is deleted");
  });
});

Deno.test("pushMetrics() brings every sample of a run to a real Pushgateway", async () => {
  await withPushgateway(async (url) => {
    assertEquals(await pushMetrics(MIXED, { url, instance: "host/1", ...OPTIONS }), []);
    const page = await (await fetch(`${url}/metrics`)).text();
    assertEquals(samplesOf(page), samplesOf(formatMetrics(MIXED, OPTIONS)));
    assertStringIncludes(page, 'job="couchdb-backup"');
    assertStringIncludes(page, 'instance="host/1"');
  });
});

Deno.test("pushMetrics() of a failed run leaves the time of the last success at a real Pushgateway", async () => {
  await withPushgateway(async (url) => {
    const good = runReport([taskReport("weekly", [databaseReport("a"), databaseReport("old")])]);
    const bad = runReport([
      taskReport("weekly", [databaseReport("a", { status: "failed", error: "x", exit_code: 11 })]),
    ]);
    bad.finished_at = "2026-01-10T18:01:30.000Z";
    for (const report of [good, bad]) {
      assertEquals(await pushMetrics(report, { url, instance: "h", perDatabase: true }), []);
    }
    const samples = samplesOf(await (await fetch(`${url}/metrics`)).text());
    const expected = [
      `couchdb_backup_last_success_timestamp_seconds{task="weekly"} ${Date.parse(good.finished_at) / 1000}`,
      ...samplesOf(formatMetrics(bad, { perDatabase: true })),
    ];
    assertEquals(samples, expected.sort());
  });
});

Deno.test("pushMetrics() returns the answer of a real Pushgateway that refuses", async () => {
  await withPushgateway(async (url) => {
    // A URL that has /metrics in it already, as people configure it.
    const [warning = ""] = await pushMetrics(MIXED, { url: `${url}/metrics`, instance: "h" });
    assertMatch(
      warning,
      /^Cannot push metrics of task "weekly" to the Pushgateway at "127\.0\.0\.1:\d+": it answered 4\d\d/,
    );
  });
});

Deno.test("alerts.yaml passes promtool check rules, and each alert its tests", async () => {
  const check = await promtool(["check", "rules", "alerts.yaml"]);
  assertEquals(check.success, true, check.text);
  const alerts = [...(await Deno.readTextFile(`${MONITORING}alerts.yaml`)).matchAll(/- alert: (\w+)/g)];
  assertMatch(check.text, new RegExp(`SUCCESS: ${alerts.length} rules found`));
  const test = await promtool(["test", "rules", "alerts_test.yaml"]);
  assertEquals(test.success, true, test.text);
  const tests = await Deno.readTextFile(`${MONITORING}alerts_test.yaml`);
  for (const [, alert] of alerts) {
    const firing = new RegExp(`alertname: ${alert}\n\\s+eval_time: \\S+\n\\s+exp_alerts:\n`);
    assertMatch(tests, firing);
    assertMatch(tests, new RegExp(`alertname: ${alert}, eval_time: \\S+, exp_alerts: \\[\\]`));
  }
});
