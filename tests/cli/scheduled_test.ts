/** `backup --scheduled` in several processes at once: what runScheduled() does, with real signals and a real config. */
import { assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { couchOk } from "../couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeMonitor } from "../fakes/monitor.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { type EndedProgram, startProgram } from "./program.ts";
import { until } from "../until.ts";

/** What a test works with. */
interface Setup extends AsyncDisposable {
  server: FakeCouchDb;
  config: string;
  folder: string;
}

/** A CouchDB with a database of `documents`, and a config for it with a bucket of the given kind. */
async function setUp(kind: "file://" | "s3://", documents: number, more = ""): Promise<Setup> {
  const server = await startFakeCouchDb();
  await couchOk(server, "PUT /a");
  const docs = Array.from({ length: documents }, (_, index) => ({ _id: `d${index}` }));
  await couchOk(server, "POST /a/_bulk_docs", { docs });
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-cli-" });
  const s3 = kind === "s3://" ? await FakeS3.start() : undefined;
  const bucket = s3 === undefined
    ? `bucket: file://${folder}/bucket`
    : `bucket: s3://test-bucket/folder\nendpoint: ${s3.url}\nregion: ${s3.keys.region}\n` +
      `token: ${s3.keys.accessKeyId}\nsecret: "${s3.keys.secretAccessKey}"`;
  const config = `${folder}/config.yaml`;
  await Deno.writeTextFile(
    config,
    `database: {url: "${server.url}", login: ${server.login}, password: ${server.password}}
task:
  yearly: {cron: "*-01-01 UTC", databases: [a], chunk: 1, parallel: 1}
${bucket}
${more}
`,
  );
  return {
    server,
    config,
    folder,
    async [Symbol.asyncDispose]() {
      await s3?.close();
      await server.stop();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

function outcomeOf({ stdout }: EndedProgram): string {
  return JSON.parse(stdout).scheduled[0].outcome;
}

for (const kind of ["file://", "s3://"] as const) {
  Deno.test(`backup --scheduled, started twice at the same time, runs once (${kind})`, async () => {
    await using setup = await setUp(kind, 5);
    const args = ["backup", setup.config, "--scheduled", "--json", "--quiet"];
    const both = await Promise.all([startProgram(args).ended, startProgram(args).ended]);
    // The slower one may look when the faster is done.
    const outcomes = both.map(outcomeOf).map((outcome) => outcome === "done" ? "running" : outcome);
    assertEquals(outcomes.toSorted(), ["ran", "running"]);
    assertEquals(both.map(({ code }) => code), [0, 0]);
    assertEquals(setup.server.requestsTo("_bulk_get").length, 5);
  });
}

Deno.test("backup --scheduled ends on SIGTERM within five seconds with 130, and the next one goes on at once", async () => {
  await using setup = await setUp("file://", 40);
  setup.server.faults.add({ endpoint: "_bulk_get", times: 1000, fault: { kind: "stall", ms: 100 } });
  const first = startProgram(["backup", setup.config, "--scheduled", "--json"]);
  await first.says("elapse is claimed");
  await until(() => setup.server.requestsTo("_bulk_get").length >= 5, "the fifth chunk");
  const asked = performance.now();
  first.kill("SIGTERM");
  const { code, stdout } = await first.ended;
  assertLess(performance.now() - asked, 5000);
  assertEquals([code, JSON.parse(stdout).ok], [130, false]);
  const second = await startProgram(["backup", setup.config, "--sheduled", "--json"]).ended;
  assertEquals([second.code, outcomeOf(second)], [0, "resumed"]);
  assertEquals(setup.server.requestsTo("_bulk_get").length, 40);
  assertEquals(JSON.parse(second.stdout).tasks[0].databases[0].documents, 40);
});

Deno.test("backup --scheduled leaves the run of a process that was just killed to somebody who comes later", async () => {
  await using setup = await setUp("file://", 40);
  setup.server.faults.add({ endpoint: "_bulk_get", skip: 3, fault: { kind: "stall", ms: 3000 } });
  const first = startProgram(["backup", setup.config, "--scheduled", "--json"]);
  await until(() => setup.server.requestsTo("_bulk_get").length >= 4, "the fourth chunk");
  first.kill("SIGKILL");
  await first.ended;
  const second = await startProgram(["backup", setup.config, "--scheduled"]).ended;
  assertEquals(second.code, 0);
  assertStringIncludes(
    second.stdout,
    `Task "yearly": the elapse of ${new Date().getUTCFullYear()}-01-01T00:00:00.000Z is held by another run`,
  );
  assertStringIncludes(second.stdout, "; if that process is gone, the next run takes over after 5 minutes\n");
});

Deno.test("backup --scheduled --dry-run says what is due and claims nothing", async () => {
  await using setup = await setUp("file://", 1);
  const { code, stdout } = await startProgram(["backup", setup.config, "--scheduled", "--dry-run"]).ended;
  assertEquals(code, 0);
  assertStringIncludes(
    stdout,
    `Task "yearly" would back up 1 database under the date ${new Date().getUTCFullYear()}-01-01`,
  );
  assertEquals((await Array.fromAsync(Deno.readDir(setup.folder))).map(({ name }) => name), ["config.yaml"]);
});

Deno.test("backup --scheduled excludes what would contradict the schedule", async () => {
  for (const other of [["--date", "2026-01-01"], ["--database", "a"], ["--all"], ["--resume"]]) {
    const { code, stderr } = await startProgram(["backup", "none.yaml", "--scheduled", ...other]).ended;
    assertEquals([code, stderr.split("\n")[0]], [2, `couchdb-backup: --scheduled and ${other[0]} exclude each other`]);
  }
});

Deno.test("backup --scheduled says failed at each look, until a repair by hand or the next try has saved everything", async () => {
  await using setup = await setUp("file://", 3);
  const refuse = { kind: "answer", status: 401, body: { error: "unauthorized" } } as const;
  setup.server.faults.add({ times: 1e6, fault: refuse });
  const args = ["backup", setup.config, "--scheduled"];
  const first = await startProgram([...args, "--json"]).ended;
  const { ok, scheduled: [only], tasks: [task] } = JSON.parse(first.stdout);
  assertEquals([first.code, ok, only.outcome, task.exit_code], [10, false, "failed", 10]);
  assertEquals(task.retry_at, only.retry_at);
  const requests = setup.server.requests.length;
  const second = await startProgram(args).ended;
  assertEquals(second.code, 10);
  assertStringIncludes(second.stdout, "is not saved, and is retried at");
  assertStringIncludes(second.stderr, "elapse is not saved");
  assertEquals(setup.server.requests.length, requests, "a refused login is not tried before its time");

  setup.server.faults.clear();
  const date = `${new Date().getUTCFullYear()}-01-01`;
  const repair = await startProgram(["backup", setup.config, "--date", date, "--resume", "--json"]).ended;
  assertEquals([repair.code, JSON.parse(repair.stdout).ok], [0, true]);
  const last = await startProgram([...args, "--json"]).ended;
  assertEquals([last.code, outcomeOf(last)], [0, "done"]);
});

Deno.test("backup --scheduled notifies of start and end once, of a run that is interrupted as failed, and of nothing when nothing is due", async () => {
  await using monitor = new FakeMonitor();
  await using setup = await setUp("file://", 5, `notify: "${monitor.url("/check")}"`);
  const args = ["backup", setup.config, "--scheduled", "--quiet"];
  setup.server.faults.add({ endpoint: "_bulk_get", fault: { kind: "stall", ms: 3000 } });
  const interrupted = startProgram(args);
  await until(() => setup.server.requestsTo("_bulk_get").length > 0, "the first chunk");
  interrupted.kill("SIGTERM");
  assertEquals((await interrupted.ended).code, 130);
  assertEquals(monitor.paths, ["/check/start", "/check/fail"]);
  assertEquals((await startProgram(args).ended).code, 0);
  assertEquals(monitor.paths.slice(2), ["/check/start", "/check"]);
  assertEquals((await startProgram(args).ended).code, 0);
  assertEquals(monitor.paths.length, 4);
});
