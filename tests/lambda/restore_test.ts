import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { NotRestoredError } from "../../lambda/restore.ts";
import { failureOf } from "../../lambda/runtime_api.ts";
import { ArchiveError, CouchError, InterruptedError, UsageError } from "../../src/errors.ts";
import { readTemplate } from "../cloudformation.ts";
import { couch, couchOk } from "../couch_request.ts";
import { createDatabase } from "../couchdb/impatient_client.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { type FunctionSetup, type FunctionSetupOptions, setUpFunction } from "./function_setup.ts";
import { until } from "../until.ts";

const TASKS = '  weekly: {databases: ["a(/b)?", large], chunk: 2}';
const NAMES = ["a", "a/b", "large"];
const REQUEST = { action: "restore", path: "latest" };

/** A function with backups of three databases, which are gone. */
async function setUpLoss(
  tasks = TASKS,
  options: Omit<FunctionSetupOptions, "tasks"> = {},
): Promise<FunctionSetup & { differences: () => Promise<string[]> }> {
  const lambda = await setUpFunction({ ...options, tasks });
  const server = lambda.couch;
  const design = { views: { all: { map: "function (doc) { emit(doc._id) }" } } };
  await couchOk(server, "PUT /large/_design/d", design);
  await couchOk(server, "PUT /large/_security", { admins: { names: ["ann"], roles: [] } });
  const read = (name: string) => readAllLeafRevisions(server, name, { by: "_bulk_get" });
  const before = new Map<string, Awaited<ReturnType<typeof read>>>();
  for (const name of NAMES) before.set(name, await read(name));
  await lambda.invoke({ task: "weekly" });
  for (const name of NAMES) await couchOk(server, `DELETE /${encodeURIComponent(name)}`);
  lambda.s3.requests.length = 0;
  const differences = async () => {
    const found: string[] = [];
    for (const [name, leaves] of before) {
      found.push(...compareLeafRevisions(leaves, await read(name)).map((difference) => `${name}: ${difference}`));
    }
    return found;
  };
  return Object.assign(lambda, { differences });
}

interface Walk {
  /** Ends a round at its n-th writing request; none where undefined. */
  stopAfter?: number | undefined;
  request?: Record<string, unknown>;
  /** Every round's first answer is lost, and the state machine asks again. */
  losesAnswers?: boolean;
}

/** Goes through the machine once, as template.yaml's definition does. */
async function execute(lambda: FunctionSetup, { stopAfter, request = REQUEST, losesAnswers = false }: Walk = {}) {
  const plan = await lambda.invoke({ action: "restore", step: "plan", request });
  const { moment, started } = plan;
  const rounds: { status: string; stretch: string; error: string | null }[] = [];
  const results: { error: string | null }[] = [];
  let map: unknown = results;
  walk: for (const stretch of plan.stretches) {
    let cursor: string | null = "";
    for (let tries = 0;; tries++) {
      assert(tries < 100, "the rounds of a stretch do not end");
      const event: object = { action: "restore", step: "round", request, moment, stretch, cursor };
      const ask = async () => {
        const stop = new AbortController();
        const fault = { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) } as const;
        if (stopAfter !== undefined) lambda.couch.faults.add({ endpoint: "_bulk_docs", skip: stopAfter, fault });
        const answer = await lambda.invoke(event, { stop: stop.signal });
        lambda.couch.faults.clear();
        return answer;
      };
      if (losesAnswers) await ask();
      const round = await ask();
      rounds.push({ status: round.status, stretch: stretch.from, error: round.error });
      cursor = round.cursor;
      if (round.status === "finished") results.push({ error: round.error });
      if (round.status === "refused") map = { Error: "RestoreRefused", Cause: round.error };
      if (round.status === "refused") break walk;
      if (round.status === "finished") break;
    }
  }
  const summary = await lambda.invoke({ action: "restore", step: "summarise", request, moment, started, map });
  return { plan, rounds, summary };
}

const sentIds = ({ couch }: FunctionSetup) => couch.requestsTo("_bulk_docs").length;

Deno.test("openHandler() restores in a plan, rounds and a summary, and writes nothing into the bucket", async () => {
  await using lambda = await setUpLoss();
  const { plan, rounds, summary } = await execute(lambda);
  assertEquals(plan.stretches, NAMES.map((name) => ({ from: name, to: name })));
  assertEquals([plan.databases, plan.concurrency], [3, 4]);
  assertEquals(rounds.map(({ status }) => status), ["finished", "finished", "finished"]);
  assertEquals(summary, {
    ok: true,
    databases: 3,
    failed: 0,
    left_out: 0,
    moment: plan.moment,
    message: "3 databases are restored",
  });
  assertEquals(await lambda.differences(), []);
  const operations = new Set(lambda.s3.requests.map(({ operation }) => operation));
  assertEquals([...operations].sort(), ["GetObject", "ListObjectsV2"]);
});

Deno.test("openHandler() counts a database for restored whose backup has no document", async () => {
  await using lambda = await setUpFunction({ tasks: '  weekly: {databases: ["empty", "large"]}' });
  await createDatabase(lambda.couch, "empty", []);
  await lambda.invoke({ task: "weekly" });
  for (const name of ["empty", "large"]) await couchOk(lambda.couch, `DELETE /${name}`);
  const { summary } = await execute(lambda);
  assertEquals([summary.ok, summary.message], [true, "2 databases are restored"]);
  assertEquals((await execute(lambda)).summary.ok, true);
});

Deno.test("openHandler() goes on with a database in the next round where the time of a call is over, and sends no chunk twice", async () => {
  await using lambda = await setUpLoss(TASKS.replace("chunk: 2", "chunk: 1"));
  const { rounds, summary } = await execute(lambda, { stopAfter: 5 });
  const ofLarge = rounds.filter(({ stretch }) => stretch === "large").map(({ status }) => status);
  assert(ofLarge.length > 2, ofLarge.join());
  assertEquals(new Set(ofLarge.slice(0, -1)), new Set(["unfinished"]));
  assertEquals([summary.ok, await lambda.differences()], [true, []]);
  // 27 documents in all; of what was in flight when a round ended nobody knows whether it is there.
  const inFlight = 4 * rounds.filter(({ status }) => status === "unfinished").length;
  assert(sentIds(lambda) <= 27 + inFlight, `${sentIds(lambda)} requests with documents`);
  const compared = lambda.couch.requestsTo("_revs_diff").length;
  assert(compared <= 21 + inFlight, `${compared} chunks were compared`);
});

Deno.test("openHandler() restores where every round's first answer is lost, and where the whole is executed again", async () => {
  await using lambda = await setUpLoss();
  const { summary } = await execute(lambda, { stopAfter: 3, losesAnswers: true });
  assertEquals([summary.ok, await lambda.differences()], [true, []]);
  const sent = sentIds(lambda);
  const again = await execute(lambda);
  assertEquals([again.summary.ok, sentIds(lambda)], [true, sent]);
  // In the middle of it: some are there, one is half there, one is not.
  for (const name of NAMES) await couchOk(lambda.couch, `DELETE /${encodeURIComponent(name)}`);
  const { moment, stretches } = await lambda.invoke({ action: "restore", step: "plan", request: REQUEST });
  const round = { action: "restore", step: "round", request: REQUEST, moment, cursor: "" };
  await lambda.invoke({ ...round, stretch: stretches[0] });
  const stop = new AbortController();
  lambda.couch.faults.add({
    endpoint: "_bulk_docs",
    skip: 2,
    fault: { kind: "run", run: () => stop.abort(new InterruptedError("killed")) },
  });
  await lambda.invoke({ ...round, stretch: stretches[2] }, { stop: stop.signal });
  lambda.couch.faults.clear();
  assertEquals([(await execute(lambda)).summary.ok, await lambda.differences()], [true, []]);
});

Deno.test("openHandler() begins a database anew that was dropped between two rounds, whatever their cursor says", async () => {
  await using lambda = await setUpLoss(TASKS.replace("chunk: 2", "chunk: 1"));
  const { moment, stretches } = await lambda.invoke({ action: "restore", step: "plan", request: REQUEST });
  const stretch = stretches[2];
  const round = async (cursor: string, stopAfter: number) => {
    const stop = new AbortController();
    const fault = { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) } as const;
    lambda.couch.faults.add({ endpoint: "_bulk_docs", skip: stopAfter, fault });
    const event = { action: "restore", step: "round", request: REQUEST, moment, stretch, cursor };
    const answer = await lambda.invoke(event, { stop: stop.signal });
    lambda.couch.faults.clear();
    return answer;
  };
  const first = await round("", 12);
  await couchOk(lambda.couch, "DELETE /large");
  const second = await round(first.cursor, 7);
  assertEquals([first.status, second.status], ["unfinished", "unfinished"]);
  assertEquals((await round(second.cursor, 1000)).status, "finished");
  const { summary } = await execute(lambda);
  assertEquals([summary.ok, await lambda.differences()], [true, []]);
});

Deno.test("openHandler() restores a stretch of several databases, and a cursor leads behind those that are done", async () => {
  await using lambda = await setUpLoss();
  const { moment, started } = await lambda.invoke({ action: "restore", step: "plan", request: REQUEST });
  const stretch = { from: "a", to: "large" };
  let cursor: string | null = "";
  const cursors: (string | null)[] = [];
  while (cursor !== null) {
    const stop = new AbortController();
    const fault = { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) } as const;
    lambda.couch.faults.add({ endpoint: "_bulk_docs", skip: 3, fault });
    const event: object = { action: "restore", step: "round", request: REQUEST, moment, stretch, cursor };
    cursor = (await lambda.invoke(event, { stop: stop.signal })).cursor;
    lambda.couch.faults.clear();
    cursors.push(cursor);
    assert(cursors.length < 50);
  }
  assertStringIncludes(cursors[0]!, '"done":"a"');
  assertStringIncludes(cursors.at(-2)!, '"done":"a/b"');
  const summary = { action: "restore", step: "summarise", request: REQUEST, moment, started, map: [{ error: null }] };
  assertEquals((await lambda.invoke(summary)).ok, true);
  assertEquals(await lambda.differences(), []);
});

Deno.test("openHandler() names what is not restored, goes on with the others, and says how the same goes on", async () => {
  await using lambda = await setUpLoss();
  lambda.couch.faults.add({
    endpoint: "_bulk_docs",
    database: "a/b",
    times: 1000,
    fault: { kind: "status", status: 403 },
  });
  const plan = await lambda.invoke({ action: "restore", step: "plan", request: REQUEST });
  const results: unknown[] = [];
  for (const stretch of plan.stretches) {
    const event = { action: "restore", step: "round", request: REQUEST, moment: plan.moment, stretch, cursor: "" };
    results.push(await lambda.invoke(event));
  }
  const { moment, started } = plan;
  const event = { action: "restore", step: "summarise", request: REQUEST, moment, started, map: results };
  const { ok, failed, message } = await lambda.invoke(event);
  assertEquals([ok, failed], [false, 1]);
  assertStringIncludes(message, '1 of 3 databases are not restored: a/b; "a/b": ');
  assertStringIncludes(message, `the same with "path": "${moment}" goes on`);
  lambda.couch.faults.clear();
  const again = await execute(lambda, { request: { ...REQUEST, path: moment } });
  assertEquals([again.summary.ok, await lambda.differences()], [true, []]);
});

Deno.test("openHandler() stops at a login that CouchDB refuses, and throws where CouchDB is away", async () => {
  await using lambda = await setUpLoss();
  const plan = await lambda.invoke({ action: "restore", step: "plan", request: REQUEST });
  const [stretch] = plan.stretches;
  const event = { action: "restore", step: "round", request: REQUEST, moment: plan.moment, stretch, cursor: "" };
  lambda.couch.faults.add({ endpoint: "_bulk_docs", times: 1000, fault: { kind: "status", status: 401 } });
  const refused = await lambda.invoke(event);
  assertEquals([refused.status, refused.cursor], ["refused", null]);
  lambda.couch.faults.clear();
  lambda.couch.faults.add({ times: 1000, fault: { kind: "drop" } });
  const stop = new AbortController();
  const away = assertRejects(() => lambda.invoke(event, { stop: stop.signal }), CouchError);
  // Behind the second request it is known what CouchDB is like.
  const asked = lambda.couch.requests.length;
  await until(() => lambda.couch.requests.length >= asked + 2, "a request that is made again");
  stop.abort(new InterruptedError("The time is nearly over"));
  await away;
  lambda.couch.faults.clear();
  assertEquals([(await execute(lambda)).summary.ok, await lambda.differences()], [true, []]);
});

Deno.test("openHandler() refuses a restore before anything is written where a target holds documents", async () => {
  await using lambda = await setUpLoss();
  await couchOk(lambda.couch, "PUT /large");
  await couchOk(lambda.couch, "PUT /large/mine", '{"a":1}');
  const plan = { action: "restore", step: "plan", request: REQUEST };
  await assertRejects(() => lambda.invoke(plan), UsageError, '"large" holds 1 document');
  const mapped = { ...REQUEST, map: ["(.*)=back/$1"], match: ["large"] };
  const { summary } = await execute(lambda, { request: mapped });
  assertEquals([summary.ok, summary.databases], [true, 1]);
  const into = { ...REQUEST, into_existing: true };
  assertEquals((await execute(lambda, { request: into })).summary.ok, true);
  // A round that comes after somebody else's documents did.
  const { moment } = await lambda.invoke({ action: "restore", step: "plan", request: mapped });
  const other = { ...REQUEST, map: ["(.*)=new/$1"], match: ["large"] };
  await couchOk(lambda.couch, "PUT /new%2Flarge");
  await couchOk(lambda.couch, "PUT /new%2Flarge/mine", '{"a":1}');
  const stretch = { from: "large", to: "large" };
  const round = await lambda.invoke({ action: "restore", step: "round", request: other, moment, stretch, cursor: "" });
  assertEquals([round.status, round.failed], ["finished", 1]);
  assertStringIncludes(round.error, "somebody else has written to it");
});

const ONE_CHUNK = { ...REQUEST, match: ["large"] };

/** A function with a backup of 20,000 documents in one chunk, twenty requests, of a database that is gone. */
async function setUpLargeChunk() {
  const lambda = await setUpFunction({ tasks: "  weekly: {databases: [large]}" });
  const docs = Array.from({ length: 20_000 }, (_, number) => ({ _id: `more-${number}`, number }));
  await couchOk(lambda.couch, "POST /large/_bulk_docs", { docs });
  const read = () => readAllLeafRevisions(lambda.couch, "large", { by: "_bulk_get" });
  const before = await read();
  await lambda.invoke({ task: "weekly" });
  await couchOk(lambda.couch, "DELETE /large");
  return Object.assign(lambda, { differences: async () => compareLeafRevisions(before, await read()) });
}

/**
 * Rounds over a single chunk, four requests at a time, that each end at the sixth writing one, until they end by
 * themselves.
 */
async function walkOneChunk(lambda: FunctionSetup, { isRefused }: { isRefused: boolean }) {
  const { moment, started } = await lambda.invoke({ action: "restore", step: "plan", request: ONE_CHUNK });
  const stretch = { from: "large", to: "large" };
  const rounds: { status: string; cursor: string | null; failed: number; error: string | null }[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    assert(rounds.length < 30, "the rounds do not end");
    const stop = new AbortController();
    let requests = 0;
    const where = () => {
      if (++requests > 5) stop.abort(new InterruptedError("The time is nearly over"));
      return isRefused;
    };
    const fault = { kind: "error rows", error: "forbidden", reason: "no" } as const;
    lambda.couch.faults.add({ endpoint: "_bulk_docs", database: "large", where, times: Infinity, fault });
    const event: object = { action: "restore", step: "round", request: ONE_CHUNK, moment, stretch, cursor };
    const round = await lambda.invoke(event, { stop: stop.signal });
    lambda.couch.faults.clear();
    rounds.push(round);
    cursor = round.cursor;
  }
  const map = [{ error: rounds.at(-1)!.error }];
  return {
    rounds,
    summary: await lambda.invoke({ action: "restore", step: "summarise", request: ONE_CHUNK, moment, started, map }),
  };
}

Deno.test("openHandler() ends its rounds where CouchDB refuses what is in a chunk that takes longer than one of them", async () => {
  await using lambda = await setUpLargeChunk();
  const { rounds, summary } = await walkOneChunk(lambda, { isRefused: true });
  const { failed, error } = rounds.at(-1)!;
  assertEquals(failed, 1);
  assertStringIncludes(error!, '"large": Cannot make progress in one of its chunks within one call: stuck at ');
  assertEquals(summary.ok, false);
  assertStringIncludes(summary.message, "Cannot make progress in one of its chunks");
});

Deno.test("openHandler() restores a chunk that takes longer than a round, as each goes through more of it", async () => {
  await using lambda = await setUpLargeChunk();
  const { rounds } = await walkOneChunk(lambda, { isRefused: false });
  assert(rounds.length > 2, `${rounds.length} rounds`);
  assertEquals([rounds.at(-1)!.failed, await lambda.differences()], [0, []]);
});

Deno.test("openHandler() restores in one call where there is time for it, else the same event goes on", async () => {
  await using lambda = await setUpLoss();
  const stop = new AbortController();
  const fault = { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) } as const;
  lambda.couch.faults.add({ endpoint: "_bulk_docs", skip: 4, fault });
  const error = await assertRejects(() => lambda.invoke(REQUEST, { stop: stop.signal }), InterruptedError);
  const [, path] = /^Send the same again with "path": "([^"]+)" to go on/.exec(error.hint ?? "")!;
  lambda.couch.faults.clear();
  // A backup that is complete only now is none of those that were asked for. Moments are compared by the second.
  await until(() => Date.now() >= Math.floor(Date.parse(path!) / 1000) * 1000 + 1000, "the next second");
  await lambda.invoke({ task: "weekly" });
  const { ok, databases, message, moment } = await lambda.invoke({ ...REQUEST, path });
  assertEquals([ok, databases, message, moment], [true, 3, "3 databases are restored", path]);
  assertEquals(await lambda.differences(), []);
  const [doc] = (await couchOk(lambda.couch, "GET /a/_all_docs")).json.rows;
  await couchOk(lambda.couch, `DELETE /a/${doc.id}?rev=${doc.value.rev}`);
  const again = { ...REQUEST, path };
  await assertRejects(() => lambda.invoke(again), NotRestoredError, "1 of 3 databases are not restored: a");
});

Deno.test("openHandler() says the moment also where latest is restored in one call", async () => {
  const now = new Date();
  await using lambda = await setUpLoss(TASKS, { now: () => now });
  const { moment } = await lambda.invoke(REQUEST);
  assertEquals(moment, now.toISOString());
  const [doc] = (await couchOk(lambda.couch, "GET /a/_all_docs")).json.rows;
  await couchOk(lambda.couch, `DELETE /a/${doc.id}?rev=${doc.value.rev}`);
  const said = `the same with "path": "${moment}" goes on`;
  await assertRejects(() => lambda.invoke(REQUEST), NotRestoredError, said);
  assertEquals((await lambda.invoke({ ...REQUEST, path: moment, map: ["(.*)=back-$1"] })).ok, true);
});

/** The same of sealed backups, and a Secrets Manager that has the identity, or has none yet. */
async function setUpSealedLoss() {
  const identity = await generateIdentity();
  const held = { text: `# created: 2026-11-28\n${identity}\n`, asked: [] as string[] };
  const manager = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { SecretId } = await request.json();
    held.asked.push(SecretId);
    return Response.json({ ARN: SecretId, SecretString: held.text });
  });
  const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:identity-AbCdEf";
  const lambda = await setUpLoss(TASKS, {
    more: `encrypt_to: [${await identityToRecipient(identity)}]\nidentity_secret: "${arn}"`,
    env: { AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${manager.addr.port}` },
  });
  return Object.assign(lambda, {
    arn,
    held,
    identity,
    async [Symbol.asyncDispose]() {
      await manager.shutdown();
      await lambda.couch.stop();
      await lambda.s3.close();
    },
  });
}

Deno.test("openHandler() restores sealed backups with the identity of identity_secret, which only restores ask for", async () => {
  await using lambda = await setUpSealedLoss();
  const { arn, held, identity } = lambda;
  // The backup of setUpLoss() has asked for none.
  assertEquals(held.asked, []);
  const chunks = [...lambda.s3.objects.keys()].filter((key) => key.includes(".json.gz"));
  assertEquals([chunks.length > 0, chunks.filter((key) => !key.endsWith(".age"))], [true, []]);
  const { text } = held;
  const writes = () => lambda.couch.requestsTo("_bulk_docs").length;
  const before = writes();
  held.text = `${await generateIdentity()}\n`;
  await assertRejects(() => execute(lambda), ArchiveError, "None of the identities opens it");
  assertEquals(writes(), before);
  held.text = text;
  // Another config is another session, which reads the secret again.
  lambda.config(lambda.config() + "\n");
  assertEquals((await execute(lambda)).summary.ok, true);
  assertEquals(await lambda.differences(), []);
  for (const name of NAMES) await couchOk(lambda.couch, `DELETE /${encodeURIComponent(name)}`);
  assertEquals((await lambda.invoke(REQUEST)).ok, true);
  assertEquals(await lambda.differences(), []);
  assertEquals(new Set(held.asked), new Set([arn]));
  assert(!JSON.stringify(lambda.lines).includes(identity), "the identity is in the log");
});

Deno.test("openHandler() names no document of sealed backups to the log or the state machine, whatever CouchDB says of one", async () => {
  await using lambda = await setUpSealedLoss();
  const reason = "patient-4711 is not welcome";
  const said: string[] = [];
  const hear = async (work: () => Promise<unknown>) => {
    try {
      said.push(JSON.stringify(await work()));
    } catch (error) {
      said.push(JSON.stringify(failureOf(error)));
    }
  };
  const bulk = { endpoint: "_bulk_docs", times: 1000 } as const;
  const answers = [403, 413, 500].map((status) => ({
    ...bulk,
    fault: { kind: "answer", status, body: { error: "refused", reason } } as const,
  }));
  const page = { ...bulk, fault: { kind: "answer", status: 502, body: reason } as const };
  const rows = { ...bulk, fault: { kind: "error rows", error: "forbidden", reason } as const };
  for (const rule of [...answers, page, rows]) {
    lambda.couch.faults.add(rule);
    const over = () => AbortSignal.timeout(1500);
    const { moment, stretches } = await lambda.invoke({ action: "restore", step: "plan", request: REQUEST });
    const round = { action: "restore", step: "round", request: REQUEST, moment, stretch: stretches[2], cursor: "" };
    await hear(() => lambda.invoke(round, { stop: over() }));
    await hear(() => lambda.invoke(REQUEST, { stop: over() }));
    lambda.couch.faults.clear();
  }
  const told = [...said, ...lambda.lines.map((line) => JSON.stringify(line))];
  assertEquals(told.filter((text) => /patient-4711/.test(text)), []);
});

Deno.test("openHandler() says which field of an event that restores is wrong", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  const wrong = async (event: Record<string, unknown>, words: string) =>
    void await assertRejects(() => lambda.invoke({ action: "restore", ...event }), UsageError, words);
  await wrong({}, '"path" must be text');
  await wrong({ path: "latest", parallel: 40 }, '"parallel" must be from 1 to 32');
  await wrong({ path: "latest", match: "a" }, '"match" must be a list of patterns');
  await wrong({ path: "latest", url: "http://elsewhere:5984" }, '"url" is not known');
  const round = { step: "round", request: REQUEST, moment: "2026-01-03T18:00:00Z", stretch: { from: "a", to: "a" } };
  await wrong({ ...round, cursor: "7" }, 'Cannot continue from the cursor "7"');
});

Deno.test("docs/lambda.md and docs/disaster.md start the machine that restores with an input that brings all back", async () => {
  await using lambda = await setUpLoss();
  const { Outputs } = await readTemplate();
  for (const path of ["lambda.md", "disaster.md"]) {
    const page = await Deno.readTextFile(new URL(`../../docs/${path}`, import.meta.url));
    const [, input = ""] = /aws stepfunctions start-execution --input '([^']+)'/.exec(page) ?? [];
    const [, output = ""] = /start-execution [^`]*OutputKey==`(\w+)`/.exec(page.replaceAll("\\\n", "")) ?? [];
    assertEquals(Outputs[output]?.Value, { Ref: "RestoreMachine" }, path);
    for (const name of NAMES) await couch(lambda.couch, `DELETE /${encodeURIComponent(name)}`);
    const { summary } = await execute(lambda, { request: JSON.parse(input) });
    assertEquals([summary.ok, await lambda.differences()], [true, []]);
  }
});

Deno.test("openHandler() speaks of the event's fields where a restore is refused, not of flags that a Lambda has not", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  await lambda.invoke({ task: "weekly" });
  const filled = await assertRejects(() => lambda.invoke(REQUEST), UsageError);
  assertEquals(filled.hint, 'Nothing was written: restore under other names ("map"), or add "into_existing": true');
  const odd = await assertRejects(() => lambda.invoke({ ...REQUEST, map: ["x"] }), UsageError);
  assertStringIncludes(odd.message, '"map": ["x"] is not FROM=TO');
  assertEquals(JSON.stringify(lambda.lines).includes("--"), false);
});
