import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { openHandler } from "../../lambda/handler.ts";
import { NotExpiredError, NotSavedError } from "../../lambda/invocation.ts";
import { ConfigError, CouchError, InterruptedError, StoreError, UsageError } from "../../src/errors.ts";
import { failureOf } from "../../lambda/runtime_api.ts";
import type { Fault } from "../fakes/couchdb.ts";
import { FakeLoki } from "../fakes/loki.ts";
import { FakeMonitor } from "../fakes/monitor.ts";
import { until } from "../until.ts";
import { type FunctionSetup, type FunctionSetupOptions, setUpFunction, tickAt } from "./function_setup.ts";

// The first Saturday of January 2026 is the third.
const WEEKLY = '  weekly: {cron: "Sat *-*-1..7 18:00:00 UTC", databases: ["a(/b)?", large], chunk: 2, parallel: 1}';
const ELAPSE = "2026-01-03T18:00:00.000Z";
const RUN = "backup/_runs/couchdb/weekly/20260103T180000Z";
const manifest = (database: string, date = "2026/01/03") =>
  `backup/${date}/couchdb/${encodeURIComponent(database)}/manifest.json`;

Deno.test("openHandler() runs at a tick what is due, once however often the tick is delivered", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:00:00Z")), {
    started: ["weekly"],
    failed: [],
    overdueDays: 0,
  });
  for (const database of ["a", "a/b", "large"]) assert(lambda.json(manifest(database)), database);
  const requests = lambda.couch.requestsTo("_bulk_get").length;
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:00:00Z")), { started: [], failed: [], overdueDays: 0 });
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:15:00Z")), { started: [], failed: [], overdueDays: 0 });
  assertEquals(lambda.couch.requestsTo("_bulk_get").length, requests);
  const checks = lambda.lines.filter(({ event }) => event === "schedules checked");
  assertEquals(checks.map(({ overdueDays }) => overdueDays), [0, 0, 0]);
});

Deno.test("openHandler() runs a task once when two ticks arrive at the same time", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  const both = await Promise.all([1, 2].map(() => lambda.invoke(tickAt("2026-01-03T18:00:00Z"))));
  assertEquals(both.map(({ started }) => started.length).sort(), [0, 1]);
  assertEquals(lambda.couch.requestsTo("_bulk_get").flatMap(({ ids }) => ids).length, 26);
});

Deno.test("openHandler() catches up on a tick that was missed, under the date of the elapse", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  assertEquals(await lambda.invoke(tickAt("2026-01-05T07:30:00Z")), {
    started: ["weekly"],
    failed: [],
    overdueDays: 0,
  });
  assert(lambda.json(manifest("a")));
});

Deno.test("openHandler() evaluates schedules against the event's time, not the clock", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  await lambda.invoke(tickAt("2026-01-03T17:59:00Z"));
  assertEquals(lambda.json(manifest("a")), undefined);
  assert(lambda.json(manifest("a", "2025/12/06")));
});

Deno.test("openHandler() fails a tick after which something is not saved, and logs how late it is", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  lambda.couch.faults.add({
    endpoint: "_bulk_get",
    database: "a/b",
    times: 1000,
    fault: { kind: "status", status: 404 },
  });
  const error = await assertRejects(() => lambda.invoke(tickAt("2026-01-03T18:00:00Z")), NotSavedError);
  assertEquals(error.message, "1 of 3 databases are not saved: a/b");
  assertEquals(lambda.json(`${RUN}/report.json`), undefined);
  assertEquals(lambda.json(`${RUN}/outcome-1.json`).ok, false);
  assert(lambda.json(manifest("large")), "one database's failure has stopped the others");
  await assertRejects(() => lambda.invoke(tickAt("2026-01-06T06:00:00Z")), NotSavedError, "not saved: a/b");
  const [checked] = lambda.lines.filter(({ event }) => event === "schedules checked").slice(-1);
  assertEquals([checked?.failed, checked?.overdueDays], [["weekly"], 2.5]);
  // The outcome of two tries; a minute behind the first, two behind the second.
  assertEquals(lambda.json(`${RUN}/outcome-2.json`).tasks[0].generations, 2);
  const waiting = await assertRejects(() => lambda.invoke(tickAt("2026-01-06T06:01:00Z")), NotSavedError);
  assertEquals(waiting.message, 'An earlier run has not saved everything of "weekly"');
  lambda.couch.faults.clear();
  const requests = lambda.couch.requestsTo("_bulk_get").length;
  assertEquals(await lambda.invoke(tickAt("2026-01-06T06:15:00Z")), {
    started: ["weekly"],
    failed: [],
    overdueDays: 0,
  });
  const databases = lambda.couch.requestsTo("_bulk_get").slice(requests).map(({ database }) => database);
  assertEquals(new Set(databases), new Set(["a/b"]));
  const report = lambda.json(`${RUN}/report.json`);
  assertEquals([report.ok, report.tasks[0].generations, report.tasks[0].databases.length], [true, 3, 3]);
});

Deno.test("openHandler() names in a tick's error the task that is not saved, though another one is saved by this tick", async () => {
  await using lambda = await setUpFunction({
    tasks: `${WEEKLY}\n  other: {cron: "*-*-* 18:00:20 UTC", databases: [large]}`,
  });
  lambda.couch.faults.add({
    endpoint: "_bulk_get",
    database: "a/b",
    times: 1000,
    fault: { kind: "status", status: 404 },
  });
  await assertRejects(() => lambda.invoke(tickAt("2026-01-03T18:00:00Z")), NotSavedError, "not saved: a/b");
  const error = await assertRejects(() => lambda.invoke(tickAt("2026-01-03T18:00:30Z")), NotSavedError);
  assertEquals(error.message, 'An earlier run has not saved everything of "weekly"');
  const [checked] = lambda.lines.filter(({ event }) => event === "schedules checked").slice(-1);
  assertEquals([checked?.started, checked?.failed], [["other"], ["weekly"]]);
});

Deno.test("openHandler() starts the state machine for what is due, by a name that depends on nothing else", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true });
  const requests = lambda.couch.requests.length;
  const arn = "arn:aws:states:us-east-1:123456789012:execution:couchdb-backup:weekly-20260103T180000Z";
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:00:00Z")), { started: [arn], failed: [], overdueDays: 0 });
  // "Started" is said of what this very tick has started; the execution is still under way.
  assertEquals(await lambda.invoke(tickAt("2026-01-04T18:00:00Z")), { started: [], failed: [], overdueDays: 1 });
  const input = { task: "weekly", elapse: ELAPSE, only: "all", generation: 1 };
  assertEquals(lambda.executions, [{ name: "weekly-20260103T180000Z", input, status: "RUNNING" }]);
  assertEquals(lambda.json(`${RUN}/claim.json`).execution, arn);
  assertEquals(lambda.couch.requests.length, requests, "a tick has no business with CouchDB");

  await lambda.invoke({ action: "plan", ...input });
  const { only: _, ...round } = input;
  for (const database of ["a", "a/b", "large"]) await lambda.invoke({ action: "backup", ...round, database });
  assertEquals((await lambda.invoke({ action: "summarise", ...input })).ok, true);
  assertEquals(await lambda.invoke(tickAt("2026-01-05T18:00:00Z")), { started: [], failed: [], overdueDays: 0 });
});

Deno.test("openHandler() answers plan, backup and summarise as the state machine wants it", async () => {
  await using lambda = await setUpFunction({
    tasks: WEEKLY.replace("}", ", delay: 0.5, concurrency: 3}"),
    stateMachine: true,
  });
  const run = { task: "weekly", elapse: ELAPSE };
  assertEquals(await lambda.invoke({ action: "plan", ...run, only: "all" }), {
    ...run,
    bucket: "data.example.com",
    key: `folder/${RUN}/plan.json`,
    databases: 3,
    generation: 1,
    concurrency: 3,
    delay: 1,
  });
  assertEquals(lambda.json(`${RUN}/plan.json`), [{ database: "a" }, { database: "a/b" }, { database: "large" }]);

  const stop = new AbortController();
  lambda.couch.faults.add({
    endpoint: "_bulk_get",
    skip: 3,
    fault: { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) },
  });
  const first = await lambda.invoke({ action: "backup", ...run, database: "large", cursor: null }, {
    stop: stop.signal,
  });
  assertEquals(first, {
    database: "large",
    done: false,
    status: "unfinished",
    cursor: "4",
    error: null,
    unchanged: false,
  });
  const second = await lambda.invoke({ action: "backup", ...run, database: "large", cursor: first.cursor });
  assertEquals(second, {
    database: "large",
    done: true,
    status: "resumed",
    cursor: null,
    error: null,
    unchanged: false,
  });

  await lambda.invoke({ action: "backup", ...run, database: "a", cursor: null });
  const summary = await lambda.invoke({ action: "summarise", ...run, only: "all" });
  assertEquals(summary, {
    ok: false,
    databases: 3,
    failed: 1,
    message: "1 of 3 databases are not saved: a/b",
    report: `s3://data.example.com/folder/${RUN}/report.json`,
  });

  const failed = await lambda.invoke({ action: "plan", ...run, only: "failed" });
  assertEquals([failed.databases, failed.key], [1, `folder/${RUN}/plan-failed.json`]);
  await lambda.invoke({ action: "backup", ...run, database: "a/b", cursor: null });
  const repaired = await lambda.invoke({ action: "summarise", ...run, only: "failed" });
  assertEquals([repaired.ok, repaired.message], [true, "3 databases are saved"]);
});

Deno.test("openHandler() names no document of a task that seals in the bucket, the log or its answers, whatever CouchDB says of one", async () => {
  const recipient = await identityToRecipient(await generateIdentity());
  await using lambda = await setUpFunction({
    tasks: WEEKLY.replace("}", `, encrypt_to: [${recipient}]}`),
    stateMachine: true,
  });
  const run = { task: "weekly", elapse: ELAPSE };
  const secret = "patient-4711";
  const said: string[] = [];
  const hear = async (event: object) => {
    try {
      said.push(JSON.stringify(await lambda.invoke(event, { stop: AbortSignal.timeout(1000) })));
    } catch (error) {
      said.push(JSON.stringify(failureOf(error)));
    }
  };
  const met: [endpoint: "_all_dbs" | "_changes", fault: Fault][] = [
    ["_changes", { kind: "answer", status: 500, body: { error: "refused", reason: secret } }],
    ["_changes", { kind: "answer", status: 502, body: secret }],
    ["_all_dbs", { kind: "answer", status: 401, body: { error: "refused", reason: secret } }],
  ];
  for (const [endpoint, fault] of met) {
    await hear({ action: "plan", ...run, only: "all" });
    lambda.couch.faults.add({ endpoint, times: 1000, fault });
    if (endpoint === "_all_dbs") await hear({ action: "plan", ...run, only: "all" });
    else await hear({ action: "backup", ...run, database: "a", cursor: null });
    lambda.couch.faults.clear();
    await hear({ action: "summarise", ...run, only: "all" });
  }
  assertStringIncludes(said.join("\n"), "CouchDB answered 401 refused");
  const stored = [...lambda.s3.objects].map(([key, { bytes }]) => `${key} ${new TextDecoder("latin1").decode(bytes)}`);
  const told = [...said, ...stored, ...lambda.lines.map((line) => JSON.stringify(line))];
  assertEquals(told.filter((text) => text.includes(secret)), []);
});

Deno.test("openHandler() runs a task for a person, at once", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  const answer = await lambda.invoke({ task: "weekly" });
  assertEquals([answer.ok, answer.databases, answer.failed], [true, 3, 0]);
  const key = answer.report.replace("s3://data.example.com/folder/", "");
  assertEquals(lambda.json(key).ok, true);
});

Deno.test("openHandler() never reports success for part of the work, and says how to go on", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  const stop = new AbortController();
  lambda.couch.faults.add({
    endpoint: "_bulk_get",
    skip: 6,
    fault: { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) },
  });
  const event = { task: "weekly", elapse: ELAPSE };
  const error = await assertRejects(() => lambda.invoke(event, { stop: stop.signal }), InterruptedError);
  assertStringIncludes(error.message, 'Task "weekly" is not finished: the function\'s time is over');
  const again = JSON.parse(/Send (\{.*?\}) to go on/.exec(error.hint!)![1]!);
  assertEquals(lambda.json(`${RUN}/report.json`), undefined);
  assertEquals((await lambda.invoke(again)).ok, true);
  const asked = lambda.couch.requestsTo("_bulk_get").flatMap(({ ids }) => ids);
  assertEquals(asked.length, 26, "what was stored was asked for again");
});

Deno.test("openHandler() ends a round in time whose documents CouchDB does not give out, and names the answer", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true });
  const run = { task: "weekly", elapse: ELAPSE };
  await lambda.invoke({ action: "plan", ...run, only: "all" });
  lambda.couch.faults.add({ endpoint: "_bulk_get", times: 1e6, fault: { kind: "answer", status: 502, body: "Bad" } });
  const stop = new AbortController();
  const startedMs = performance.now();
  const event = { action: "backup", ...run, database: "large", cursor: null };
  const round = lambda.invoke(event, { stop: stop.signal });
  const asked = () => lambda.couch.requestsTo("_bulk_get").length;
  const over = new InterruptedError("The time is over");
  const isOver = until(() => asked() >= 6, "requests that are made again").then(() => stop.abort(over));
  const error = await assertRejects(() => round, CouchError);
  await isOver;
  assertStringIncludes(error.message, "CouchDB answered 502");
  // Without a stop its patience takes twenty seconds.
  const seconds = (performance.now() - startedMs) / 1000;
  assert(seconds < 8, `it took ${seconds} s`);
  lambda.couch.faults.clear();
  const again = await lambda.invoke({ action: "backup", ...run, database: "large", cursor: null });
  assertEquals([again.done, again.error], [true, null]);
});

Deno.test("openHandler() goes on at the next tick with what a tick had no time for", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  const stop = new AbortController();
  lambda.couch.faults.add({
    endpoint: "_bulk_get",
    skip: 6,
    fault: { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) },
  });
  const tick = lambda.invoke(tickAt("2026-01-03T18:00:00Z"), { stop: stop.signal });
  const error = await assertRejects(() => tick, InterruptedError, "What was due is not finished");
  assertStringIncludes(error.hint!, "The next tick resumes it");
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:15:00Z")), {
    started: ["weekly"],
    failed: [],
    overdueDays: 0,
  });
  const asked = lambda.couch.requestsTo("_bulk_get").flatMap(({ ids }) => ids);
  assertEquals(asked.length, 26);
});

Deno.test("openHandler() repeats for a person the failed databases of a run alone", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  const fault = { kind: "status", status: 404 } as const;
  lambda.couch.faults.add({ endpoint: "_bulk_get", database: "a", times: 1000, fault });
  await assertRejects(() => lambda.invoke({ task: "weekly", elapse: ELAPSE }), NotSavedError, "not saved: a");
  lambda.couch.faults.clear();
  const before = lambda.couch.requestsTo("_bulk_get").length;
  const answer = await lambda.invoke({ task: "weekly", elapse: ELAPSE, only: "failed" });
  assertEquals([answer.ok, answer.databases], [true, 3]);
  assertEquals(
    new Set(lambda.couch.requestsTo("_bulk_get").slice(before).map(({ database }) => database)),
    new Set(["a"]),
  );
  assertEquals((await lambda.invoke({ task: "weekly", elapse: ELAPSE, only: "failed" })).ok, true);
});

Deno.test("openHandler() says that a schedule does not have an elapse that a person names, unless a run of it goes on", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  const slip = { task: "weekly", elapse: "2026-01-03T17:00:00Z" };
  const odd = "its schedule has no elapse at 2026-01-03T17:00:00.000Z (the one before is 2025-12-06T18:00:00.000Z)";
  assertEquals((await lambda.invoke(slip)).message, `3 databases are saved; ${odd}, so this is a run of its own`);
  const warnings = () => lambda.lines.filter(({ event }) => event === "elapse is none of the schedule's").length;
  assertEquals(warnings(), 1);
  // The error of a run that had no time left names an elapse to go on with, which is none of the schedule's.
  for (const event of [slip, { task: "weekly", elapse: ELAPSE }, { task: "weekly" }]) {
    assertEquals((await lambda.invoke(event)).message, "3 databases are saved");
  }
  assertEquals(warnings(), 1);
  await using machine = await setUpFunction({ tasks: WEEKLY, stateMachine: true });
  assertStringIncludes((await machine.invoke(slip)).warning, odd);
});

Deno.test("openHandler() starts an execution of its own for a person who resumes a run", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true });
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  const event = { task: "weekly", elapse: ELAPSE, only: "failed" };
  const refused = await assertRejects(() => lambda.invoke(event), UsageError, 'execution "weekly-20260103T180000Z" is');
  assertStringIncludes(refused.hint!, "Start it again when that one has ended");
  lambda.executions[0]!.status = "FAILED";
  const { execution } = await lambda.invoke(event, { requestId: "0a1b2c3d-0000" });
  assertStringIncludes(execution, ":execution:couchdb-backup:weekly-20260103T180000Z-failed-0a1b2c3d");
  assertEquals(lambda.executions.at(-1)?.input, event);
  lambda.executions[1]!.status = "SUCCEEDED";
  await lambda.invoke({ task: "weekly" });
  assertEquals(lambda.executions.length, 3);
});

Deno.test("openHandler() runs no elapse that is still to come: when it has come nothing would be saved", async () => {
  const now = () => new Date("2026-01-03T17:00:00Z");
  for (const stateMachine of [false, true]) {
    await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine, now });
    for (const event of [{ task: "weekly", elapse: ELAPSE }, { action: "plan", task: "weekly", elapse: ELAPSE }]) {
      const error = await assertRejects(() => lambda.invoke(event), UsageError, "that is still to come");
      assertEquals(error.hint, "Leave elapse out to run the task now");
    }
    assertEquals(lambda.executions, []);
    const { started } = await lambda.invoke(tickAt(ELAPSE));
    assertEquals(started.length, 1);
  }
});

Deno.test("openHandler() refuses what it does not know, and logs why an invocation failed", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY });
  await assertRejects(() => lambda.invoke({ action: "delete" }), UsageError, "neither a tick");
  const error = await assertRejects(() => lambda.invoke({ task: "weekl" }), UsageError, 'no task "weekl"');
  assertEquals(error.hint, 'Its tasks are "weekly"');
  const { level, event, request, hint } = lambda.lines.at(-1)!;
  assertEquals([level, event, request, hint], ["error", "invocation failed", "request-2", 'Its tasks are "weekly"']);
});

Deno.test("openHandler() fails when the config cannot be used", async () => {
  const env = { COUCHDB_BACKUP_CONFIG: "database:\n" };
  await assertRejects(() => openHandler({ env, write() {} }), ConfigError);
});

Deno.test("openHandler() sees a changed config in S3 at the next event, and says why one with a mistake is not used", async () => {
  const url = `s3://data.example.com/configs/lambda.yaml`;
  await using lambda = await setUpFunction({ tasks: WEEKLY, configUrl: url });
  assertEquals((await lambda.invoke({ task: "weekly" })).ok, true);
  await assertRejects(() => lambda.invoke({ task: "other" }), UsageError, 'no task "other"');
  const text = lambda.config();
  lambda.config(text.replace("  weekly:", "  other:"));
  assertEquals((await lambda.invoke({ task: "other" })).ok, true);
  lambda.config(text.replace("task:", "tusk:"));
  const wrong = await assertRejects(() => lambda.invoke({ task: "other" }), ConfigError, `${url}:5:1: `);
  const { level, event, request, error } = lambda.lines.at(-1)!;
  assertEquals([level, event, request, error], ["error", "invocation failed", "request-4", wrong.message]);
  lambda.config(text);
  assertEquals((await lambda.invoke({ task: "weekly" })).ok, true);
  assertEquals(lambda.lines.filter(({ event }) => event === "config has changed").length, 2);
});

Deno.test("openHandler() reads the password from Secrets Manager each time, so that it may change", async () => {
  let password = "";
  await using secrets = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    return Response.json({ SecretString: JSON.stringify({ username: "backup", password }) });
  });
  const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:couchdb-AbCdEf";
  await using lambda = await setUpFunction({
    tasks: WEEKLY,
    password: `  password_secret: "${arn}"`,
    env: { AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${secrets.addr.port}` },
  });
  password = "wrong";
  const refused = await assertRejects(() => lambda.invoke({ task: "weekly" }), CouchError, "401");
  assertStringIncludes(refused.hint!, "Check database.login and database.password_secret;");
  password = lambda.couch.password;
  assertEquals((await lambda.invoke({ task: "weekly" })).ok, true);
  // The double's password is a part of that key's name.
  const log = JSON.stringify(lambda.lines).replaceAll("database.password_secret", "");
  assert(!log.includes(password), "the password is in the log");
});

Deno.test("openHandler() pushes a run's figures under the function's name", async () => {
  const groups: string[] = [];
  await using gateway = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    await request.body?.cancel();
    if (request.method === "PUT") groups.push(new URL(request.url).pathname);
    return new Response();
  });
  const more = `prometheus: "http://127.0.0.1:${gateway.addr.port}"`;
  await using lambda = await setUpFunction({ tasks: WEEKLY, more });
  await lambda.invoke({ task: "weekly" });
  assertEquals(groups.length, 1);
  assertStringIncludes(groups[0]!, "/instance/backup-function");
});

/** From now on nothing answers at CouchDB's address. */
function takeAway({ couch }: FunctionSetup): void {
  couch.faults.add({ times: 1e6, fault: { kind: "answer", status: 404, body: { error: "not_found" } } });
}

Deno.test("openHandler() saves an elapse at a later tick when CouchDB is away at the first, and says failed until then", async () => {
  const groups: { method: string; success: string | undefined }[] = [];
  await using gateway = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const success = /last_run_success\{task="weekly"\} (\d)/.exec(await request.text())?.[1];
    groups.push({ method: request.method, success });
    return new Response();
  });
  await using lambda = await setUpFunction({
    tasks: WEEKLY,
    more: `prometheus: "http://127.0.0.1:${gateway.addr.port}"`,
  });
  takeAway(lambda);
  await assertRejects(() => lambda.invoke(tickAt("2026-01-03T18:00:00Z")), NotSavedError, 'task "weekly": Cannot list');
  await assertRejects(() => lambda.invoke(tickAt("2026-01-03T18:15:00Z")), NotSavedError, 'task "weekly": Cannot list');
  lambda.couch.faults.clear();
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:30:00Z")), {
    started: ["weekly"],
    failed: [],
    overdueDays: 0,
  });
  assertEquals(groups, [
    { method: "POST", success: "0" },
    { method: "POST", success: "0" },
    { method: "PUT", success: "1" },
  ]);
  const checks = lambda.lines.filter(({ event }) => event === "schedules checked");
  assertEquals(checks.map(({ failed }) => failed), [["weekly"], ["weekly"], []]);
});

Deno.test("openHandler() starts another execution when the first could not plan, and leaves servers out meanwhile", async () => {
  let time = "2026-01-03T18:00:05Z";
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true, now: () => new Date(time) });
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  const plan = { action: "plan", task: "weekly", elapse: ELAPSE, only: "all", generation: 1 };
  takeAway(lambda);
  await assertRejects(() => lambda.invoke(plan), Error, "Cannot list the databases");
  assertEquals(lambda.json(`${RUN}/heartbeat.json`).state, "failed");
  lambda.executions[0]!.status = "FAILED";
  // Step Functions tries the plan again, of the same run.
  time = "2026-01-03T18:00:40Z";
  await assertRejects(() => lambda.invoke(plan), Error, "Cannot list the databases");
  assertEquals(lambda.json(`${RUN}/heartbeat.json`).retry_at, "2026-01-03T18:01:40.000Z");
  const early = await assertRejects(() => lambda.invoke(tickAt("2026-01-03T18:01:00Z")), NotSavedError);
  assertStringIncludes(early.message, 'Not everything is saved of "weekly"');

  lambda.couch.faults.clear();
  time = "2026-01-03T18:15:05Z";
  const { started } = await lambda.invoke(tickAt("2026-01-03T18:15:00Z"));
  assertEquals(started.map((arn: string) => arn.split(":").at(-1)), ["weekly-20260103T180000Z-2"]);
  const input = { task: "weekly", elapse: ELAPSE, only: "all", generation: 2 };
  assertEquals(lambda.executions.at(-1)?.input, input);
  // The first one is over, whatever Step Functions tries.
  await assertRejects(() => lambda.invoke(plan), UsageError, "another run has taken it over");
  assertEquals((await lambda.invoke({ action: "plan", ...input })).databases, 3);
  const { only: _, ...round } = input;
  for (const database of ["a", "a/b", "large"]) await lambda.invoke({ action: "backup", ...round, database });
  const summary = await lambda.invoke({ action: "summarise", ...input });
  assertEquals([summary.ok, summary.report.endsWith("/report.json")], [true, true]);
  assertEquals(lambda.json(`${RUN}/report.json`).tasks[0].generations, 2);
});

Deno.test("openHandler() runs in the next execution just what the one before did not save", async () => {
  let time = "2026-01-03T18:00:05Z";
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true, now: () => new Date(time) });
  /** Goes through the machine as Step Functions does. */
  const execute = async () => {
    const { input } = lambda.executions.at(-1)!;
    const plan = await lambda.invoke({ action: "plan", ...input as object });
    const { only: _, ...round } = input as Record<string, unknown>;
    const key = plan.key.replace("folder/", "");
    const databases = lambda.json(key).map(({ database }: { database: string }) => database);
    for (const database of databases) await lambda.invoke({ action: "backup", ...round, database });
    return { databases, summary: await lambda.invoke({ action: "summarise", ...input as object }) };
  };
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  lambda.couch.faults.add({
    endpoint: "_bulk_get",
    database: "a",
    times: 1000,
    fault: { kind: "status", status: 404 },
  });
  const first = await execute();
  assertEquals([first.summary.ok, first.summary.failed], [false, 1]);
  assertEquals(first.summary.report, `s3://data.example.com/folder/${RUN}/outcome-1.json`);
  lambda.executions[0]!.status = "FAILED";
  lambda.couch.faults.clear();
  time = "2026-01-03T18:15:05Z";
  await lambda.invoke(tickAt("2026-01-03T18:15:00Z"));
  const second = await execute();
  assertEquals([second.databases, second.summary.ok, second.summary.databases], [["a"], true, 3]);
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:30:00Z")), { started: [], failed: [], overdueDays: 0 });
  assertEquals(lambda.executions.length, 2);
});

const TWO_TASKS = `${WEEKLY}
  other: {cron: "Sat *-*-1..7 18:00:00 UTC", databases: [media], chunk: 2, parallel: 1, allow_empty: true}`;

/** Goes through the machine for its last execution, as Step Functions does. */
async function execute({ executions, invoke, json }: FunctionSetup): Promise<void> {
  const execution = executions.at(-1)!;
  const input = execution.input as Record<string, unknown>;
  const arn = `arn:aws:states:us-east-1:123456789012:execution:couchdb-backup:${execution.name}`;
  const { key, generation } = await invoke({ action: "plan", ...input, execution: arn });
  const { only: _, ...round } = input;
  for (const { database } of json(key.replace("folder/", ""))) {
    await invoke({ action: "backup", ...round, database, generation });
  }
  const { ok } = await invoke({ action: "summarise", ...input, generation });
  execution.status = ok ? "SUCCEEDED" : "FAILED";
}

Deno.test("openHandler() runs one execution at a time: two tasks that are due come one after the other", async () => {
  await using lambda = await setUpFunction({ tasks: TWO_TASKS, stateMachine: true });
  const names = () => lambda.executions.map(({ name }) => name);
  const first = await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  assertEquals([first.started.length, first.waiting], [1, ["other"]]);
  assertEquals(names(), ["weekly-20260103T180000Z"]);
  const middle = await lambda.invoke(tickAt("2026-01-03T18:15:00Z"));
  assertEquals([middle.started, middle.waiting], [[], ["other"]]);
  await execute(lambda);
  assertEquals((await lambda.invoke(tickAt("2026-01-03T18:30:00Z"))).started.length, 1);
  assertEquals(names(), ["weekly-20260103T180000Z", "other-20260103T180000Z"]);
  await execute(lambda);
  assertEquals(await lambda.invoke(tickAt("2026-01-03T18:45:00Z")), { started: [], failed: [], overdueDays: 0 });
});

Deno.test("openHandler() goes on trying an elapse that is not saved when the task is run by hand meanwhile", async () => {
  for (const isHealed of [false, true]) {
    let time = "2026-01-03T18:00:05Z";
    await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true, now: () => new Date(time) });
    const fault = { kind: "answer", status: 403, body: { error: "forbidden", reason: "no" } } as const;
    lambda.couch.faults.add({ endpoint: "_bulk_get", database: "a", times: 1e6, fault });
    await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
    await execute(lambda);
    if (isHealed) lambda.couch.faults.clear();
    time = "2026-01-03T18:00:30Z";
    await lambda.invoke({ task: "weekly" });
    await execute(lambda);
    assertEquals(lambda.executions.map(({ status }) => status), ["FAILED", isHealed ? "SUCCEEDED" : "FAILED"]);
    assertEquals(lambda.json(`${RUN}/report.json`), undefined);
    lambda.couch.faults.clear();
    time = "2026-01-03T18:15:05Z";
    const { started } = await lambda.invoke(tickAt("2026-01-03T18:15:00Z"));
    assertEquals(started.map((arn: string) => arn.split(":").at(-1)), ["weekly-20260103T180000Z-2"]);
    await execute(lambda);
    assertEquals(lambda.json(`${RUN}/report.json`).ok, true);
    assertEquals(await lambda.invoke(tickAt("2026-01-03T18:30:00Z")), { started: [], failed: [], overdueDays: 0 });
  }
});

Deno.test("openHandler() starts nothing beside a run that is longer than the time to its next elapse", async () => {
  await using lambda = await setUpFunction({ tasks: TWO_TASKS, stateMachine: true });
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  const { started, waiting } = await lambda.invoke(tickAt("2026-02-07T18:00:00Z"));
  assertEquals([started, waiting, lambda.executions.length], [[], ["weekly", "other"], 1]);
  const line = lambda.lines.find(({ event }) => event === "elapse waits for the run that is under way");
  assertStringIncludes(String(line?.inTheWay), "weekly-20260103T180000Z");
  lambda.executions[0]!.status = "ABORTED";
  assertEquals((await lambda.invoke(tickAt("2026-02-07T18:15:00Z"))).started.length, 1);
});

Deno.test("openHandler() starts one execution when two ticks arrive at the same time, whatever is due", async () => {
  await using lambda = await setUpFunction({ tasks: TWO_TASKS, stateMachine: true });
  const both = await Promise.all([1, 2].map(() => lambda.invoke(tickAt("2026-01-03T18:00:00Z"))));
  assertEquals(both.flatMap(({ started }) => started).length, 1);
  assertEquals(lambda.executions.map(({ name }) => name), ["weekly-20260103T180000Z"]);
});

Deno.test("openHandler() starts no execution beside a server's run on the same bucket", async () => {
  await using lambda = await setUpFunction({ tasks: TWO_TASKS, stateMachine: true });
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const put = (name: string, value: unknown) => {
    const object = { bytes: text(value), etag: '"x"', checksum: undefined, headers: {}, modified: new Date(time) };
    lambda.s3.objects.set(`data.example.com/folder/${RUN.replace("weekly", "other")}/${name}`, object);
  };
  const time = "2026-01-03T18:00:10Z";
  put("claim.json", { run: "run-1", host: "server-1", pid: 7, started_at: time });
  put("heartbeat.json", { run: "run-1", beat: 1, state: "running", at: time });
  assertEquals((await lambda.invoke(tickAt("2026-01-03T18:01:00Z"))).waiting, ["weekly"]);
  assertEquals(lambda.executions, []);
  // It has died meanwhile.
  assertEquals((await lambda.invoke(tickAt("2026-01-03T18:30:00Z"))).started.length, 1);
});

Deno.test("openHandler() plans nothing for an execution beside one that was started before it", async () => {
  await using lambda = await setUpFunction({ tasks: TWO_TASKS, stateMachine: true });
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  lambda.executions.push({ name: "by-hand", input: {}, status: "RUNNING" });
  const arn = "arn:aws:states:us-east-1:123456789012:execution:couchdb-backup";
  const plan = { action: "plan", task: "other", elapse: ELAPSE, execution: `${arn}:by-hand` };
  await assertRejects(() => lambda.invoke(plan), UsageError, '"weekly-20260103T180000Z" is running');
  const earlier = { ...plan, task: "weekly", generation: 1, execution: `${arn}:weekly-20260103T180000Z` };
  assertEquals((await lambda.invoke(earlier)).databases, 3);
});

Deno.test("openHandler() says in a summary why the databases were not gone through to the end", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true });
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  const run = { task: "weekly", elapse: ELAPSE, generation: 1 };
  await lambda.invoke({ action: "plan", ...run });
  await lambda.invoke({ action: "backup", ...run, database: "a" });
  const map = { Error: "States.ItemReaderFailed", Cause: "Access denied" };
  const summary = await lambda.invoke({ action: "summarise", ...run, map });
  assertEquals(summary.ok, false);
  assertEquals(
    summary.message,
    "2 of 3 databases are not saved: a/b, large; broken off: States.ItemReaderFailed: Access denied",
  );
  const [{ databases }] = lambda.json(`${RUN}/report.json`).tasks;
  assertEquals(
    databases.filter(({ status }: { status: string }) => status === "failed").map((one: { error: string }) =>
      one.error
    ),
    Array(2).fill("None of its rounds finished: States.ItemReaderFailed: Access denied"),
  );
  assert(lambda.lines.some(({ event, why }) => event === "databases were not gone through to the end" && why));
  const whole = { MapRunArn: "arn", ResultWriterDetails: { Bucket: "b", Key: "k" } };
  assertEquals(
    (await lambda.invoke({ action: "summarise", ...run, map: whole })).message,
    "2 of 3 databases are not saved: a/b, large",
  );
});

Deno.test("openHandler() tries an elapse again whose execution has ended without a word", async () => {
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true });
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  for (const status of ["RUNNING", "TIMED_OUT"]) {
    lambda.executions[0]!.status = status;
    const { started } = await lambda.invoke(tickAt("2026-01-03T18:15:00Z"));
    assertEquals(started.length, status === "RUNNING" ? 0 : 1, status);
  }
  assertEquals(lambda.executions.map(({ name }) => name), ["weekly-20260103T180000Z", "weekly-20260103T180000Z-2"]);
});

Deno.test("openHandler() lets one round try a refused login, and none of the others for five minutes", async () => {
  let time = "2026-01-03T18:00:05Z";
  await using lambda = await setUpFunction({ tasks: WEEKLY, stateMachine: true, now: () => new Date(time) });
  await lambda.invoke(tickAt("2026-01-03T18:00:00Z"));
  const input = { task: "weekly", elapse: ELAPSE, generation: 1 };
  await lambda.invoke({ action: "plan", ...input });
  lambda.couch.faults.add({
    times: 1e6,
    fault: { kind: "answer", status: 401, body: { error: "unauthorized", reason: "Name or password is incorrect." } },
  });
  const before = lambda.couch.requests.length;
  const answers = [];
  for (const database of ["a", "a/b", "large"]) {
    answers.push(await lambda.invoke({ action: "backup", ...input, database }));
  }
  assertEquals(answers.map(({ done, status }) => [done, status]), Array(3).fill([true, "failed"]));
  assertStringIncludes(answers[2].error, "Not tried, as it would fail like the one before");
  assertEquals(lambda.couch.requests.length - before, 1);
  const stop = lambda.json(`${RUN}/stop.json`);
  assertEquals([stop.until, stop.exit_code], ["2026-01-03T18:05:05.000Z", 10]);
  const summary = await lambda.invoke({ action: "summarise", ...input });
  assertEquals([summary.ok, summary.failed], [false, 3]);
  assertEquals(lambda.json(`${RUN}/heartbeat.json`).retry_at, stop.until);
  lambda.executions[0]!.status = "FAILED";
  lambda.couch.faults.clear();
  time = "2026-01-03T18:15:05Z";
  await lambda.invoke(tickAt("2026-01-03T18:15:00Z"));
  const next = { ...input, generation: 2 };
  assertEquals((await lambda.invoke({ action: "plan", ...next })).databases, 3);
  assertEquals((await lambda.invoke({ action: "backup", ...next, database: "a" })).status, "complete");
});

Deno.test("openHandler() says what has expired, deletes it when it is told to, and asks nothing of CouchDB for it", async () => {
  const tasks = WEEKLY.replace("chunk: 2", "chunk: 2, retention: {keep_last: 1, grace: 0d}");
  await using lambda = await setUpFunction({ tasks, mayDelete: true });
  for (const month of ["01", "02", "03"]) await lambda.invoke({ task: "weekly", elapse: `2026-${month}-07T18:00:00Z` });
  const { s3, couch } = lambda;
  const manifests = () => [...s3.objects.keys()].filter((path) => /\/manifest-[^/]*$/.test(path)).sort();
  const all = manifests();
  const asked = couch.requests.length;
  const young = await lambda.invoke({ action: "expire", confirm: true });
  assertEquals([young.expired, young.kept], [0, 9], "all of them are younger than a day");
  s3.clockAheadMs = 10 * 86_400_000;
  // That deleted what the retention of every task does not keep.
  const none = { action: "expire", confirm: true, tasks: [] };
  await assertRejects(() => lambda.invoke(none), UsageError, '"tasks" is an empty list');
  const shown = await lambda.invoke({ action: "expire" });
  assertEquals([shown.confirmed, shown.expired, shown.kept, manifests()], [false, 6, 3, all]);
  const { leftovers: _, expired_bytes, ...gone } = await lambda.invoke({ action: "expire", confirm: true });
  assertEquals(gone, { ok: true, confirmed: true, expired: 6, kept: 3 });
  assert(expired_bytes > 0);
  assertEquals(manifests(), all.filter((path) => path.includes("/2026/03/07/")));
  assertEquals(couch.requests.length, asked, "CouchDB is not asked");
  for (const line of lambda.lines.filter(({ event }) => event === "backup is deleted")) {
    assertEquals([line.task, line.why], ["weekly", "no rule keeps it"]);
  }
});

Deno.test("openHandler() fails when what has expired may not be deleted", async () => {
  const tasks = WEEKLY.replace("chunk: 2", "chunk: 2, retention: {keep_last: 1, grace: 0d}");
  await using lambda = await setUpFunction({ tasks });
  for (const month of ["01", "02"]) await lambda.invoke({ task: "weekly", elapse: `2026-${month}-07T18:00:00Z` });
  lambda.s3.clockAheadMs = 10 * 86_400_000;
  await assertRejects(
    () => lambda.invoke({ action: "expire", confirm: true }),
    NotExpiredError,
    "Not all could be deleted",
  );
});

Deno.test("openHandler() notifies of a tick's run before it answers, and of the state machine's from plan to summary", async () => {
  await using monitor = new FakeMonitor();
  const more = `notify: "${monitor.url("/check")}"`;
  await using single = await setUpFunction({ tasks: WEEKLY, more });
  await single.invoke(tickAt("2026-01-03T18:00:00Z"));
  assertEquals(monitor.paths, ["/check/start", "/check"]);
  await single.invoke(tickAt("2026-01-03T18:15:00Z"));
  assertEquals(monitor.paths.length, 2);

  await using rounds = await setUpFunction({ tasks: WEEKLY, more, stateMachine: true });
  const event = { task: "weekly", elapse: ELAPSE, only: "all" };
  const { generation } = await rounds.invoke({ action: "plan", ...event });
  assertEquals(monitor.paths.slice(2), ["/check/start"]);
  for (const database of ["a", "a/b"]) {
    await rounds.invoke({ action: "backup", task: "weekly", elapse: ELAPSE, generation, database, cursor: null });
  }
  const summary = await rounds.invoke({ action: "summarise", ...event, generation });
  assertEquals([summary.ok, monitor.paths.slice(3)], [false, ["/check/fail"]]);
  assertStringIncludes(monitor.told[4]?.body ?? monitor.told[3]!.body, "large");
});

Deno.test("openHandler() hands to Loki what was logged before the store could not be opened", async () => {
  const loki = new FakeLoki();
  const text = `database: {url: "http://[::1]:5984"}
task: {t: {databases: [a], cron: "*-*-* 06:00:00 UTC"}, u: {databases: [b], cron: "*-*-* 07:00:00 UTC"}}
notify: https://hc.example.com/one
bucket: s3://bucket
endpoint: "http://[::1]:9000"
addressing_style: virtual
loki: "${loki.url}"
`;
  const options = { env: { COUCHDB_BACKUP_CONFIG: text }, write() {} };
  await assertRejects(() => openHandler(options), StoreError, "Cannot address the bucket");
  assertEquals(loki.lines.length, 1);
  await loki.close();
});

Deno.test("openHandler() says of a time that is over what has been silent: CouchDB, S3, or Secrets Manager", async () => {
  // Takes connections, and answers none of what comes by them.
  await using silent = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    return new Response();
  });
  const address = `127.0.0.1:${silent.addr.port}`;
  const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:couchdb-AbCdEf";
  const cases: [string, Partial<FunctionSetupOptions>][] = [
    [`CouchDB at ${address}`, { couchUrl: `http://${address}` }],
    [`S3 at ${address}`, { more: `endpoint: "http://${address}"\ntoken: a\nsecret: b` }],
    [`AWS at ${address}`, {
      password: `  password_secret: "${arn}"`,
      env: { AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://${address}` },
    }],
  ];
  await Promise.all(cases.map(async ([who, options]) => {
    await using lambda = await setUpFunction({ tasks: WEEKLY, ...options });
    const [stop, signal] = [new AbortController(), new AbortController()];
    const over = new InterruptedError("The time of this Lambda invocation is nearly over");
    const timers = [setTimeout(() => stop.abort(over), 2300), setTimeout(() => signal.abort(over), 2600)];
    const tick = lambda.invoke(tickAt("2026-01-03T18:00:00Z"), { stop: stop.signal, signal: signal.signal });
    const error = await assertRejects(() => tick, InterruptedError);
    for (const timer of timers) clearTimeout(timer);
    assertStringIncludes(error.message, `; ${who} has not answered for 2 s`);
    const failed = lambda.lines.find(({ event }) => event === "invocation failed");
    assertStringIncludes(String(failed?.error), `; ${who} has not answered for 2 s`);
  }));
});
