import { assert, assertEquals } from "@std/assert";
import { Delta } from "../../../src/commands/restore/delta.ts";
import { RequestBody } from "../../../src/couchdb/request_body.ts";
import { exitCodeOfRestore } from "../../../src/commands/restore/report.ts";
import { EXIT } from "../../../src/errors.ts";
import { couchOk } from "../../couch_request.ts";
import { type FleetSetup, setUpFleet } from "./fleet_setup.ts";
import { setUpRestore } from "./setup.ts";

/** More than a reader holds: such a document streams. */
const LARGE = "0123456789abc".repeat(500_000);

const signal = new AbortController().signal;

type Large = FleetSetup & {
  /** Of each document the revision that the backup has. */
  saved: Record<string, string>;
  restore: (ids: string[], more?: { asNewRevision?: boolean; dryRun?: boolean }) => ReturnType<typeof restoreFrom>;
  writes: () => number;
};

async function restoreFrom(setup: FleetSetup, request: object) {
  return await (await setup.open()).restore({ database: "db", path: "latest", ...request });
}

/** A database with a small document and a large one, and a backup of it. */
async function withLarge(conflicts: readonly object[] = []): Promise<Large> {
  const setup = await setUpFleet(0);
  await couchOk(setup.server, "PUT /db");
  const saved: Record<string, string> = {};
  for (const [id, v] of [["small", "saved"], ["large", LARGE]]) {
    saved[id!] = (await couchOk(setup.server, `PUT /db/${id}`, { v })).json.rev;
  }
  if (conflicts.length > 0) await couchOk(setup.server, "POST /db/_bulk_docs", { new_edits: false, docs: conflicts });
  await (await setup.open()).backup();
  return Object.assign(setup, {
    saved,
    restore: (ids: string[], more = {}) => restoreFrom(setup, { ids, ...more }),
    writes: () => setup.server.requestsTo("_bulk_docs").length,
  });
}

async function edit({ server }: FleetSetup, id: string, v: string): Promise<string> {
  const { json: { _rev } } = await couchOk(server, `GET /db/${id}`);
  return (await couchOk(server, `PUT /db/${id}`, { _rev, v })).json.rev;
}

Deno.test("restore says of a document that streams, as of small ones, that a newer revision stays, and does not send it", async () => {
  await using setup = await withLarge();
  for (const id of ["small", "large"]) await edit(setup, id, "newer");
  const before = setup.writes();
  const report = await setup.restore(["small", "large"]);
  assertEquals([report.ok, report.documents, report.present], [true, 2, 2]);
  assertEquals([report.newer!.count, report.newer!.ids.toSorted()], [2, ["large", "small"]]);
  assertEquals(setup.writes() - before, 0, "all of it is there");
});

Deno.test("restore sends a document that streams where the database lacks its revision, and a dry run counts the same", async () => {
  await using setup = await withLarge();
  await couchOk(setup.server, "POST /db/_purge", { large: [setup.saved["large"]] });
  const counts = ({ documents, leaf_revisions, deleted, ok }: Awaited<ReturnType<typeof setup.restore>>) => ({
    documents,
    leaf_revisions,
    deleted,
    ok,
  });
  const dry = counts(await setup.restore(["small", "large"], { dryRun: true }));
  const before = setup.writes();
  const report = await setup.restore(["small", "large"]);
  assertEquals(counts(report), dry);
  assertEquals([report.present, report.newer, setup.writes() - before], [1, { count: 0, ids: [] }, 1]);
  assertEquals((await couchOk(setup.server, "GET /db/large")).json.v, LARGE);
});

Deno.test("restore into a database whose winner is the large one of a document's leaf revisions, or the small one, calls it not newer", async () => {
  for (const winner of ["small", "large"]) {
    const other = { _id: "large", _rev: `1-${(winner === "small" ? "f" : "0").repeat(32)}`, v: "conflict" };
    await using setup = await withLarge([other]);
    const shown = (await couchOk(setup.server, "GET /db/large")).json.v;
    assertEquals(shown === "conflict", winner === "small");
    const report = await setup.restore(["large"]);
    assertEquals([report.present, report.newer], [2, { count: 0, ids: [] }], winner);
    await edit(setup, "large", "newer");
    const { newer } = await setup.restore(["large"]);
    assertEquals(newer, { count: 1, ids: ["large"] }, winner);
  }
});

Deno.test("restore --as-new-revision puts the content of a document that streams on top, and says so", async () => {
  await using setup = await withLarge();
  const onto = await edit(setup, "large", "spoilt");
  const report = await setup.restore(["large"], { asNewRevision: true });
  assertEquals([report.ok, exitCodeOfRestore(report), report.refused], [true, EXIT.ok, []]);
  const { json } = await couchOk(setup.server, "GET /db/large");
  assertEquals(report.written_as_new, [{ id: "large", from: setup.saved["large"]!, onto, rev: json._rev }]);
  assert(json.v === LARGE && json._rev.startsWith("3-"), json._rev);
});

Deno.test("restore sends a document that streams where CouchDB cannot compare", async () => {
  await using setup = await withLarge();
  const fault = { kind: "answer" as const, status: 400, body: { error: "bad_request", reason: "Invalid rev format" } };
  setup.server.faults.add({ endpoint: "_revs_diff", times: 1000, fault });
  const before = setup.writes();
  const report = await setup.restore(["large"]);
  assertEquals([report.ok, report.present, setup.writes() - before], [true, 0, 1]);
});

/** A request that has some leaf revisions of a document at its end, and the next one the others at its beginning. */
const SPLIT = [["a 1-a", "b 1-1", "c 1-b"], ["c 1-c", "d 1-1", "e 1-e"], ["e 1-f"]];

Deno.test("Delta.noteNewer() calls a document whose leaf revisions are in several requests newer once, or not at all", async () => {
  const leaf = (text: string) => {
    const [id = "", rev = ""] = text.split(" ");
    return { id, rev };
  };
  // What streams goes before the batch that has the others, in the midst of it.
  const streamed = [["c 1-c"], ["a 1-a", "b 1-1", "c 1-b", "d 1-1", "e 1-e"], ["e 1-f"]];
  for (const order of [SPLIT, SPLIT.toReversed(), streamed]) {
    await using setup = await setUpRestore();
    await couchOk(setup.server, "PUT /db");
    const docs = order.flat().map(leaf).map(({ id, rev }) => ({ _id: id, _rev: rev }));
    await couchOk(setup.server, "POST /db/_bulk_docs", { new_edits: false, docs });
    // Another revision is the winner of "a", "d" and "e".
    const newer = ["a", "d", "e"].map((_id) => ({ _id, _rev: "2-0" }));
    await couchOk(setup.server, "POST /db/_bulk_docs", { new_edits: false, docs: newer });
    const delta = new Delta(setup.couch, "db");
    for (const leaves of order) await delta.noteNewer(leaves.map(leaf), { signal });
    assertEquals([delta.newer.count, delta.newer.ids.toSorted()], [3, ["a", "d", "e"]]);
  }
});

Deno.test("Delta.lackingOf() passes on of a batch the leaf revisions that are not there", async () => {
  await using setup = await setUpRestore();
  await couchOk(setup.server, "PUT /db");
  await couchOk(setup.server, "POST /db/_bulk_docs", { new_edits: false, docs: [{ _id: "a", _rev: "1-a" }] });
  const encoder = new TextEncoder();
  const bodyOf = (...revs: string[]) =>
    new RequestBody("kept", revs.map((rev) => ({ bytes: encoder.encode(`{"_id":"a","_rev":"${rev}"}`) })));
  const delta = new Delta(setup.couch, "db");
  const lacking = await delta.lackingOf(bodyOf("1-a", "1-b"), { signal });
  assertEquals(new TextDecoder().decode(lacking.json()), '{"new_edits":false,"docs":[{"_id":"a","_rev":"1-b"}]}');
  const whole = bodyOf("1-b", "1-c");
  assertEquals([await delta.lackingOf(whole, { signal }) === whole, delta.present], [true, 1]);
});
