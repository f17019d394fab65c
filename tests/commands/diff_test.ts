import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { diffBackups, type DiffContext, type DiffReport } from "../../src/commands/diff.ts";
import { couchOk } from "../couch_request.ts";
import { revision, type Row, writeArchive } from "../write_archive.ts";
import { type RestoreSetup, setUpRestore } from "./restore/setup.ts";

/** By id the leaf revisions of a document, and which of them are marks of deletions. */
type Contents = Map<string, { rev: string; deleted: boolean }[]>;

/** Numbers that are the same each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

function contents(count: number, leavesOf: (number: number) => { rev: string; deleted: boolean }[]): Contents {
  return new Map(
    Array.from({ length: count }, (_, number) => [`doc é ${number}`, leavesOf(number)] as const)
      .filter(([, leaves]) => leaves.length > 0),
  );
}

async function write(setup: RestoreSetup, folder: string, of: Contents, { perChunk = 700 } = {}): Promise<void> {
  const rows = [...of].map((
    [id, leaves],
  ): Row => [id, ...leaves.map(({ rev, deleted }) => revision(id, rev, { deleted }))]);
  const chunks = Array.from({ length: Math.ceil(rows.length / perChunk) }, (_, number) => ({
    rows: rows.slice(number * perChunk, (number + 1) * perChunk),
  }));
  await writeArchive(join(setup.root, folder), { chunks });
}

async function diff(setup: RestoreSetup, from: string, to: string): Promise<DiffReport> {
  const context: DiffContext = { ...setup.context, connect: () => Promise.resolve(setup.couch) };
  return await diffBackups(context, { database: "orders", from, to });
}

/** What must be found, by comparing one by one. */
function expected(before: Contents, after: Contents) {
  const live = (of: Contents) =>
    new Map(
      [...of].filter(([, leaves]) => leaves.some(({ deleted }) => !deleted)).map(([id, leaves]) =>
        [id, leaves.map(({ rev }) => rev).sort().join(" ")] as const
      ),
    );
  const [a, b] = [live(before), live(after)];
  return {
    added: [...b.keys()].filter((id) => !a.has(id)),
    changed: [...b.keys()].filter((id) => a.has(id) && a.get(id) !== b.get(id)),
    deleted: [...a.keys()].filter((id) => !b.has(id)),
  };
}

function idsOf({ added, changed, deleted }: DiffReport) {
  for (const { count, ids } of [added, changed, deleted]) assertEquals(count, ids.length);
  return { added: added.ids, changed: changed.ids, deleted: deleted.ids };
}

Deno.test("diffBackups() finds what a comparison one by one finds, with conflicts and marks of deletions", async () => {
  await using setup = await setUpRestore();
  for (const [seed, oneIn] of [[1, 400], [2, 20], [3, 2], [4, 1]] as const) {
    const next = numbers(seed);
    const leaf = () => ({ rev: `${1 + next(3)}-${next(5)}`, deleted: next(4) === 0 });
    const leaves = () => {
      const found = new Map(Array.from({ length: next(4) }, leaf).map((one) => [one.rev, one]));
      return [...found.values()];
    };
    const before = contents(3000, leaves);
    const after = contents(3000, (number) => next(oneIn) === 0 ? leaves() : before.get(`doc é ${number}`) ?? []);
    // Leaf revisions come in any order.
    for (const [id, leaves] of after) if (next(3) === 0) after.set(id, leaves.toReversed());
    await write(setup, `a${seed}`, before);
    await write(setup, `b${seed}`, after);
    const found = await diff(setup, `a${seed}`, `b${seed}`);
    assertEquals(idsOf(found), expected(before, after), `seed ${seed}`);
    assertEquals(found.equal, false);
    assertEquals((await diff(setup, `a${seed}`, `a${seed}`)).equal, true);
  }
});

Deno.test("diffBackups() tells apart so many documents that the first backup is read once more", async () => {
  await using setup = await setUpRestore();
  const count = 52_000;
  const before = contents(count, (number) => [{ rev: `1-${number}`, deleted: false }]);
  const after = contents(count, (number) => number % 10_000 === 7 ? [] : [{ rev: `2-${number}`, deleted: false }]);
  after.set("new", [{ rev: "1-a", deleted: false }]);
  await write(setup, "before", before, { perChunk: 20_000 });
  await write(setup, "after", after, { perChunk: 20_000 });
  const { added, changed, deleted } = await diff(setup, "before", "after");
  assertEquals([added.ids, changed.count, deleted.count], [["new"], count - 6, 6]);
  assertEquals(deleted.ids, expected(before, after).deleted);
});

/** Documents that are changed once, to stand behind all others in the feed. */
const MOVED = Array.from({ length: 2500 }, (_, number) => `doc-${number + 1000}`);

/** A database of more documents than one page of the feed has; in its backup some have a newer revision. */
async function withTwoPages(setup: RestoreSetup): Promise<void> {
  const ids = Array.from({ length: 5200 }, (_, number) => `doc-${number}`);
  await couchOk(setup.server, "PUT /orders");
  const docs = ids.map((_id) => ({ _id, _rev: "1-a" }));
  await couchOk(setup.server, "POST /orders/_bulk_docs", { new_edits: false, docs });
  const newer = new Set(["doc-7", ...MOVED]);
  await write(
    setup,
    "backup",
    new Map(ids.map((id) => [id, [{ rev: newer.has(id) ? "2-b" : "1-a", deleted: false }]])),
  );
}

async function change({ server }: RestoreSetup, ids: readonly string[], history: readonly string[]): Promise<void> {
  const start = history.length;
  const docs = ids.map((_id) => ({ _id, _rev: `${start}-${history[0]}`, _revisions: { start, ids: history } }));
  await couchOk(server, "POST /orders/_bulk_docs", { new_edits: false, docs });
}

for (const isLiveFirst of [false, true]) {
  const which = isLiveFirst ? "live first" : "live second";
  Deno.test(`diffBackups() counts a document once that the feed tells of twice, ${which}`, async () => {
    await using setup = await setUpRestore();
    await withTwoPages(setup);
    // Before the second page of each reading a document of the first page changes.
    let pages = 0;
    const run = async () => {
      pages++;
      if (pages === 2) {
        await change(setup, ["doc-7"], ["b", "a"]);
        await change(setup, MOVED, ["b", "a"]);
      } else if (pages === 4) await change(setup, ["doc-7"], ["c", "b", "a"]);
    };
    setup.server.faults.add({ endpoint: "_changes", times: Infinity, fault: { kind: "run", run } });
    const found = isLiveFirst ? await diff(setup, "live", "backup") : await diff(setup, "backup", "live");
    assertEquals(idsOf(found), { added: [], changed: ["doc-7"], deleted: [] });
    assertEquals(pages, 4);
    assertEquals([found.from, found.to].map((url) => url.startsWith("http")), [isLiveFirst, !isLiveFirst]);
  });
}

Deno.test("diffBackups() reads the feed once where nothing differs, and names what a living database has otherwise", async () => {
  await using setup = await setUpRestore();
  const { server } = setup;
  await withTwoPages(setup);
  await change(setup, ["doc-7", ...MOVED], ["b", "a"]);
  assertEquals((await diff(setup, "backup", "live")).equal, true);
  assertEquals(server.requestsTo("_changes").length, 2);
  await couchOk(server, "PUT /orders/doc-8", { _rev: "1-a", v: 2 });
  await couchOk(server, "DELETE /orders/doc-9?rev=1-a");
  await couchOk(server, "PUT /orders/added", { v: 1 });
  const forth = await diff(setup, "backup", "live");
  assertEquals(idsOf(forth), { added: ["added"], changed: ["doc-8"], deleted: ["doc-9"] });
  const back = await diff(setup, "live", "backup");
  assertEquals(idsOf(back), { added: ["doc-9"], changed: ["doc-8"], deleted: ["added"] });
  assertEquals([back.from_finished_at, back.to_finished_at], [null, forth.from_finished_at]);
});
