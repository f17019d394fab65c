/** The requests that docs/lambda.md counts the cost from: what a run of the state machine asks for each database. */
import { assert, assertEquals } from "@std/assert";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { couchOk } from "../couch_request.ts";
import { readTemplate } from "../cloudformation.ts";
import { inBatches } from "../../src/schedule/batch_round.ts";
import { type FunctionSetup, setUpFunction, tickAt } from "./function_setup.ts";

const page = await Deno.readTextFile(new URL("../../docs/lambda.md", import.meta.url));

/** What S3 counts as a writing request; a listing costs as much. */
const WRITES = new Set([
  "PutObject",
  "CreateMultipartUpload",
  "UploadPart",
  "CompleteMultipartUpload",
  "ListObjectsV2",
]);

/** What Step Functions asks money for, for a batch of databases without a delay that one call is enough for. */
const TRANSITIONS = 4;
/** A batch is an execution of its own, whose start costs as much as a state. */
const START = 1;
/** So many batches are 10,000 databases. */
const BATCHES = 200;
/** What a call that goes on costs: Take cursor, Backup, Another round. */
const TRANSITIONS_OF_FURTHER_CALL = 3;
/** Seconds of a call that are work, with the usual limit of 15 minutes. */
const CALL_SECONDS = 840;

interface Count {
  writes: number;
  reads: number;
  couch: number;
}

/** Goes through the machine once, and counts what is asked on the way. */
async function countRun(lambda: FunctionSetup, time: string): Promise<Count> {
  const { s3, couch, executions, invoke, json } = lambda;
  await invoke(tickAt(time));
  s3.requests.length = 0;
  const couchBefore = couch.requests.length;
  const execution = executions.at(-1)!;
  const input = execution.input as Record<string, unknown>;
  const plan = await invoke({ action: "plan", ...input, batches: true });
  const { only: _, ...round } = input;
  const batches: { databases: unknown }[] = json(plan.key.replace("folder/", ""));
  for (const { databases } of batches) await invoke({ action: "backup", ...round, databases });
  await invoke({ action: "summarise", ...input });
  execution.status = "SUCCEEDED";
  const writes = s3.requests.filter(({ operation }) => WRITES.has(operation)).length;
  // Of a call each, as the page says: here a batch has one database, and of a large task fifty.
  const ofBatch = s3.requests.filter(({ rawQuery }) => rawQuery.includes("damaged")).length;
  assert(ofBatch <= batches.length, `${ofBatch} in ${batches.length} batches`);
  return { writes: writes - ofBatch, reads: s3.requests.length - writes, couch: couch.requests.length - couchBefore };
}

/**
 * What a full run, one that finds nothing changed, and one that finds each database changed ask, for so many databases.
 */
async function countKinds(databases: number): Promise<Count[]> {
  let time = "2026-01-03T18:00:00Z";
  await using lambda = await setUpFunction({
    tasks: '  weekly: {cron: "Sat *-*-* 18:00:00 UTC", databases: ["d[0-9]+"], chunk: 1000, incremental: true}',
    stateMachine: true,
    now: () => new Date(time),
  });
  const names = Array.from({ length: databases }, (_, n) => `d${n}`);
  for (const name of names) await createDatabase(lambda.couch, name, idsOf(3));
  const full = await countRun(lambda, time);
  time = "2026-01-10T18:00:00Z";
  const unchanged = await countRun(lambda, time);
  for (const name of names) await couchOk(lambda.couch, `POST /${name}/_bulk_docs`, '{"docs":[{"_id":"new"}]}');
  time = "2026-01-17T18:00:00Z";
  return [full, unchanged, await countRun(lambda, time)];
}

Deno.test("docs/lambda.md counts the requests of a run as they are", async () => {
  const [few, many] = [await countKinds(4), await countKinds(8)];
  const perDatabase = few.map((one, kind) => {
    const more = many[kind]!;
    return [(more.writes - one.writes) / 4, (more.reads - one.reads) / 4, (more.couch - one.couch) / 4];
  });
  assertEquals(tableAt("| a database ").map((row) => row.map(Number)), perDatabase);
});

Deno.test("docs/lambda.md reckons the cost of a run from what it counts", () => {
  const [full, unchanged, changed] = tableAt("| a database ").map((row) => row.map(Number));
  const reckon = ([writes = 0, reads = 0]: number[] = [], further: number, seconds: number) => {
    const requests = 10_000 * ((writes + further) * 5e-6 + reads * 4e-7);
    const calls = Math.max(BATCHES, Math.ceil(10_000 * seconds / CALL_SECONDS));
    const functions = 10_000 * seconds * (1769 / 1024) * 1.33334e-5 + calls * 2e-7;
    const machine = (BATCHES * TRANSITIONS + (calls - BATCHES) * TRANSITIONS_OF_FURTHER_CALL) * 2.5e-5;
    const run = requests + functions + machine;
    return [requests, functions, machine, run].map((one) => one.toFixed(2)).concat((52 * run).toFixed(0));
  };
  const [, ...rows] = tableAt("| 10,000 databases ", 5);
  assertEquals(rows, [
    reckon(full, 49, 7.6),
    reckon(full, 9, 7.6),
    reckon(unchanged, 0, 0.5),
    reckon(changed, 0, 0.6),
  ]);
});

Deno.test("template.yaml's state machine goes through as many states for a batch as docs/lambda.md reckons with", async () => {
  const { Databases } = (await readTemplate()).Resources.StateMachine!.Properties.Definition.States;
  const { StartAt, States } = Databases.ItemProcessor;
  /** The states from one to another. Where nothing is left and nobody rests, each choice is passed over. */
  const between = (first: string, last: string) => {
    const names = [first];
    for (let name = first; name !== last && names.length < 20; names.push(name)) {
      name = States[name].Next ?? States[name].Default;
    }
    return names;
  };
  assertEquals(States["Another round"].Choices.map(({ Variable }: { Variable: string }) => Variable), [
    "$.round.rest",
    "$.round.done",
    "$.round.status",
  ]);
  const whole = between(StartAt, "Saved");
  assertEquals([States[whole.at(-1)!].Type, START + whole.length], ["Succeed", TRANSITIONS], whole.join(", "));
  const further = between("Take cursor", "Another round");
  assertEquals(further.length, TRANSITIONS_OF_FURTHER_CALL, further.join(", "));
  assertEquals(inBatches(Array.from({ length: 10_000 }, (_, n) => String(n)), 1).length, BATCHES);
});

/** The cells of some rows below a heading, without the first one of each. */
function tableAt(heading: string, length = 3): string[][] {
  const rows = page.slice(page.indexOf(heading)).split("\n").slice(2, 2 + length);
  return rows.map((row) => row.split("|").slice(2, -1).map((cell) => cell.trim()));
}
