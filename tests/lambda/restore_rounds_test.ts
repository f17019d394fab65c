/** What a round of the restoring state machine has met, and the rounds behind it must not forget. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { InterruptedError } from "../../src/errors.ts";
import { couchOk } from "../couch_request.ts";
import type { FaultRule } from "../fakes/couchdb/faults.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { type FunctionSetup, setUpFunction } from "./function_setup.ts";

const TASKS = "  weekly: {databases: [large], chunk: 1}";
const REQUEST = { action: "restore", path: "latest" };
const STRETCH = { from: "large", to: "large" };

interface Walk {
  /** Ends a round at its n-th writing request; none where undefined. */
  stopAfter?: number | undefined;
  request?: Record<string, unknown>;
  /** What CouchDB does in every round. */
  faults?: readonly FaultRule[];
  /** Is called behind a round, with its number. */
  behind?: (round: number) => void;
  /** The cursor that the first round gets. */
  cursor?: string;
  /** The most rounds. @default all that there are */
  last?: number;
}

interface Round {
  status: string;
  cursor: string | null;
  failed: number;
  error: string | null;
}

/** Goes through the rounds of one database, as the state machine does. */
async function walk(
  lambda: FunctionSetup,
  { stopAfter, request = REQUEST, faults = [], behind, cursor: first, last = Infinity }: Walk,
) {
  const { moment, started } = await lambda.invoke({ action: "restore", step: "plan", request });
  const rounds: Round[] = [];
  for (let cursor: string | null = first ?? ""; cursor !== null && rounds.length < last;) {
    assert(rounds.length < 40, "the rounds do not end");
    const stop = new AbortController();
    const run = () => stop.abort(new InterruptedError("The time is nearly over"));
    for (const fault of faults) lambda.couch.faults.add(fault);
    if (stopAfter !== undefined) {
      lambda.couch.faults.add({ endpoint: "_bulk_docs", skip: stopAfter, fault: { kind: "run", run } });
    }
    const event: object = { action: "restore", step: "round", request, moment, stretch: STRETCH, cursor };
    const round: Round = await lambda.invoke(event, { stop: stop.signal });
    lambda.couch.faults.clear();
    rounds.push(round);
    cursor = round.cursor;
    behind?.(rounds.length);
  }
  const map = [{ error: rounds.at(-1)!.error }];
  return {
    rounds,
    last: rounds.at(-1)!,
    summary: await lambda.invoke({ action: "restore", step: "summarise", request, moment, started, map }),
  };
}

/** The same in one round and in several, of a database that is dropped before each. */
async function walkTwice(lambda: FunctionSetup, options: Walk) {
  await couchOk(lambda.couch, "DELETE /large");
  const one = await walk(lambda, options);
  await couchOk(lambda.couch, "DELETE /large");
  const several = await walk(lambda, { ...options, stopAfter: 6 });
  assertEquals(one.rounds.length, 1);
  assert(several.rounds.length > 2, `${several.rounds.length} rounds`);
  return { one, several };
}

Deno.test("a leaf revision that CouchDB refused in an earlier round is told at the end, as in one round", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  const docs = [{ _id: "a-conflict", _rev: "1-aaaa", n: 1 }, {
    _id: "a-conflict",
    _rev: "1-bbbb",
    n: "x".repeat(5000),
  }];
  await couchOk(lambda.couch, "POST /large/_bulk_docs", { new_edits: false, docs });
  await lambda.invoke({ task: "weekly" });
  await couchOk(lambda.couch, "PUT //_node/_local/_config/couchdb/max_document_size", JSON.stringify("1000"));
  const { one, several } = await walkTwice(lambda, {});
  assertEquals([several.last.failed, several.last.error], [1, one.last.error]);
  assertStringIncludes(several.last.error!, "refused: 1 revision, the first with a-conflict");
  assertEquals([several.summary.ok, several.summary.message.split(";")[1]], [false, one.summary.message.split(";")[1]]);
  // What is not there is not noted as done: the same goes on.
  await couchOk(lambda.couch, "PUT //_node/_local/_config/couchdb/max_document_size", JSON.stringify("1000000"));
  assertEquals((await walk(lambda, { stopAfter: 6 })).summary.ok, true);
});

Deno.test("documents that CouchDB refuses are counted once, whatever rounds have sent them, and are none that are missing", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  await lambda.invoke({ task: "weekly" });
  const fault = { kind: "error rows", error: "forbidden", reason: "no" } as const;
  const ids = ["d00001", "d00002", "d00013"];
  const faults = ids.map((id) => ({ endpoint: "_bulk_docs", id, times: Infinity, fault: { ...fault, ids: [id] } }));
  const { one, several } = await walkTwice(lambda, { faults });
  assertEquals(one.last.error, '"large": refused: 3 revisions, the first with no');
  assertEquals([several.last.error, several.summary.ok], [one.last.error, false]);
});

Deno.test("a document that CouchDB refused beside those of others in an earlier round is told at the end", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  await lambda.invoke({ task: "weekly" });
  await couchOk(lambda.couch, "DELETE /large");
  await couchOk(lambda.couch, "PUT /large");
  await couchOk(lambda.couch, "POST /large/_bulk_docs", {
    docs: Array.from({ length: 30 }, (_, number) => ({ _id: `other-${number}` })),
  });
  const fault = { kind: "error rows", ids: ["d00001"], error: "forbidden", reason: "no" } as const;
  const { rounds, last, summary } = await walk(lambda, {
    stopAfter: 6,
    request: { ...REQUEST, into_existing: true },
    faults: [{ endpoint: "_bulk_docs", id: "d00001", times: Infinity, fault }],
  });
  assert(rounds.length > 1, `${rounds.length} rounds`);
  assertEquals([last.error, summary.ok], ['"large": refused: 1 revision, the first with no', false]);
});

Deno.test("a cursor says of what is sealed how much CouchDB refused, and not what it said of it", async () => {
  const recipient = await identityToRecipient(await generateIdentity());
  const identity = await generateIdentity();
  const manager = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => Response.json({ SecretString: identity }),
  );
  const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:identity-AbCdEf";
  await using lambda = await setUpFunction({
    tasks: TASKS,
    more: `encrypt_to: [${recipient}, ${await identityToRecipient(identity)}]\nidentity_secret: "${arn}"`,
    env: { AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${manager.addr.port}` },
  });
  await lambda.invoke({ task: "weekly" });
  const fault = { kind: "error rows", ids: ["d00001"], error: "forbidden", reason: "patient-4711" } as const;
  const faults = [{ endpoint: "_bulk_docs", id: "d00001", times: Infinity, fault }];
  const { several } = await walkTwice(lambda, { faults });
  await manager.shutdown();
  assertEquals(several.last.error, '"large": refused: 1 revision, the first with forbidden');
  assertStringIncludes(several.rounds.at(-2)!.cursor!, '"revisions":1');
  const told = [several, ...lambda.lines].map((one) => JSON.stringify(one));
  assertEquals(told.filter((text) => /patient-4711|d00001/.test(text)), []);
});

Deno.test("a chunk that an earlier round has left out is tried again, and restored where it is whole by then", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  const read = () => readAllLeafRevisions(lambda.couch, "large", { by: "_bulk_get" });
  const before = await read();
  await lambda.invoke({ task: "weekly" });
  const request = { ...REQUEST, salvage: true, into_existing: true };
  const key = [...lambda.s3.objects.keys()].filter((name) => name.endsWith(".gz")).sort()[1]!;
  const object = lambda.s3.objects.get(key)!;
  const flipped = object.bytes.slice();
  flipped[flipped.length >> 1]! ^= 0xff;
  const damages = [flipped, object.bytes.slice(0, -4), undefined];
  for (const [bytes, isHealed] of damages.flatMap((bytes) => [[bytes, true], [bytes, false]] as const)) {
    await couchOk(lambda.couch, "DELETE /large");
    // As many as the backup has: a count does not tell that one is missing.
    await couchOk(lambda.couch, "PUT /large");
    const docs = Array.from({ length: 20 }, (_, number) => ({ _id: `other-${number}` }));
    await couchOk(lambda.couch, "POST /large/_bulk_docs", { docs });
    if (bytes === undefined) lambda.s3.objects.delete(key);
    else lambda.s3.objects.set(key, { ...object, bytes });
    const behind = (round: number) => void (isHealed && round === 1 && lambda.s3.objects.set(key, object));
    const { rounds, last, summary } = await walk(lambda, { stopAfter: 6, request, behind });
    assert(rounds.length > 1, `${rounds.length} rounds`);
    const lost = compareLeafRevisions(before, await read()).filter((difference) => !difference.includes("other-"));
    if (isHealed) assertEquals([summary.ok, lost], [true, []]);
    else assertEquals([summary.ok, last.error], [false, '"large": damaged: 1 chunk']);
  }
});

Deno.test("a chunk that was left out without its number is counted once at the end, damaged or whole by then", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  await lambda.invoke({ task: "weekly" });
  const request = { ...REQUEST, salvage: true };
  const key = [...lambda.s3.objects.keys()].filter((name) => name.endsWith(".gz")).sort()[1]!;
  const object = lambda.s3.objects.get(key)!;
  const flipped = object.bytes.slice();
  flipped[flipped.length >> 1]! ^= 0xff;
  for (const isHealed of [false, true]) {
    await couchOk(lambda.couch, "DELETE /large");
    lambda.s3.objects.set(key, { ...object, bytes: flipped });
    const { last: { cursor } } = await walk(lambda, { stopAfter: 6, request, last: 1 });
    // The cursor that the first round would leave behind five thousand such chunks.
    const { leftOut, ...more } = JSON.parse(cursor!);
    assertEquals([leftOut, more.leftOutMore], [[1], 0]);
    if (isHealed) lambda.s3.objects.set(key, object);
    const behind = JSON.stringify({ ...more, leftOut: [], leftOutMore: 1 });
    const { last, summary } = await walk(lambda, { request, cursor: behind });
    const told = isHealed ? "damaged: 1 chunk, missing: 1 document" : "damaged: 1 chunk";
    assertEquals([last.error, summary.ok], [`"large": ${told}`, false]);
  }
});

Deno.test("a revisions limit that CouchDB refused in an earlier round is told at the end", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  await couchOk(lambda.couch, "PUT /large/_revs_limit", "500");
  await lambda.invoke({ task: "weekly" });
  const fault = { kind: "answer", status: 403, body: { error: "forbidden", reason: "no" } } as const;
  const faults = [{ endpoint: "_revs_limit", method: "PUT", times: Infinity, fault }];
  const { one, several } = await walkTwice(lambda, { faults });
  assertEquals(one.last.error, '"large": revs_limit could not be set');
  assertEquals([several.last.error, several.summary.ok], [one.last.error, false]);
});

Deno.test("a round goes on from the cursor of an earlier version, which does not say what was refused", async () => {
  await using lambda = await setUpFunction({ tasks: TASKS });
  await lambda.invoke({ task: "weekly" });
  await couchOk(lambda.couch, "DELETE /large");
  const cursor = JSON.stringify({ done: null, chunks: 0, failed: 0, error: null });
  assertEquals((await walk(lambda, { cursor })).summary.ok, true);
  await couchOk(lambda.couch, "DELETE /large");
  const { rounds } = await walk(lambda, { stopAfter: 6 });
  const { chunksInAll: _inAll, leftOut: _leftOut, refused: _refused, ...older } = JSON.parse(
    rounds[0]!.cursor!,
  );
  assertEquals((await walk(lambda, { cursor: JSON.stringify(older) })).summary.ok, true);
});
