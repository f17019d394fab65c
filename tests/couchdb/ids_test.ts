import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import {
  compareIds,
  type IdBatch,
  type IdRange,
  listBatches,
  ListedIds,
  listPages,
  PAGE_IDS,
  RangedIds,
  uncoveredRanges,
} from "../../src/couchdb/ids.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { STRANGE_IDS } from "../hard_database.ts";
import { createDatabase, idsOf, impatientClient } from "./impatient_client.ts";
import { until } from "../until.ts";

/** A small deterministic generator, so that a failure can be repeated. */
function randomNumbers(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

/** Ids of few characters from every part of Unicode, so that many share a beginning. */
function randomIds(count: number, seed: number): string[] {
  const random = randomNumbers(seed);
  const alphabet = [
    "\0",
    "\n",
    "a",
    "b",
    "~",
    "\u007f",
    "\u0080",
    "é",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
  ];
  alphabet.push("\u{10000}", "😀", "\u{10ffff}");
  return Array.from(
    { length: count },
    () => Array.from({ length: 1 + random(4) }, () => alphabet[random(alphabet.length)]).join(""),
  );
}

async function idsOfBatch(batch: IdBatch): Promise<string[]> {
  return (await Array.fromAsync(batch.pages({}))).flat();
}

Deno.test("compareIds() orders as the UTF-8 bytes do", () => {
  const ids = [...randomIds(400, 1), ...STRANGE_IDS, ""];
  for (const a of ids) {
    for (const b of ids.slice(0, 60)) {
      const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
      assertEquals(Math.sign(compareIds(a, b)), expected, JSON.stringify([a, b]).slice(0, 100));
    }
  }
  assert(compareIds("\u{10000}", "\uffff") > 0 && "\u{10000}" < "\uffff", "JavaScript's own order is another one");
});

Deno.test("uncoveredRanges() gives the gaps between what is done, and the end", () => {
  const range = (after: string | undefined, through: string) => ({ after, through });
  const cases: [what: string, done: { after: string | undefined; through: string }[], gaps: IdRange[]][] = [
    ["nothing done", [], [{ after: undefined }]],
    ["the beginning", [range(undefined, "c")], [{ after: "c" }]],
    ["neighbours, out of order", [range("c", "f"), range(undefined, "c")], [{ after: "f" }]],
    ["a hole", [range(undefined, "c"), range("f", "h")], [{ after: "c", through: "f" }, { after: "h" }]],
    ["no beginning", [range("c", "f")], [{ after: undefined, through: "c" }, { after: "f" }]],
    ["one within another", [range(undefined, "k"), range("c", "d")], [{ after: "k" }]],
    ["overlapping", [range(undefined, "e"), range("c", "h"), range("k", "m")], [
      { after: "h", through: "k" },
      { after: "m" },
    ]],
    ["an empty range at the beginning", [range(undefined, "")], [{ after: "" }]],
    ["beyond the basic plane", [range(undefined, "\uffff"), range("\u{10000}", "\u{10001}")], [
      { after: "\uffff", through: "\u{10000}" },
      { after: "\u{10001}" },
    ]],
  ];
  for (const [what, done, gaps] of cases) assertEquals(uncoveredRanges(done), gaps, what);
});

Deno.test("uncoveredRanges() and what is done hold every id once, whatever is done", () => {
  const random = randomNumbers(7);
  for (let round = 0; round < 300; round++) {
    const ids = [...new Set(randomIds(30, round))].sort(compareIds);
    const done = Array.from({ length: random(5) }, () => {
      const end = random(ids.length);
      const begin = random(end + 1);
      return { after: begin === 0 ? undefined : ids[begin - 1], through: ids[end]! };
    });
    const isIn = (id: string, { after, through }: IdRange) =>
      (after === undefined || compareIds(id, after) > 0) && (through === undefined || compareIds(id, through) <= 0);
    const gaps = uncoveredRanges(done);
    for (const id of ids) {
      const times = gaps.filter((gap) => isIn(id, gap)).length;
      assertEquals(times, done.some((range) => isIn(id, range)) ? 0 : 1, `round ${round}, ${JSON.stringify(id)}`);
    }
  }
});

Deno.test("listBatches() cuts the ids into batches of neighbours that hold each once, however they fit into pages", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(PAGE_IDS + 7);
  await createDatabase(fake, "a", ids);
  const client = impatientClient(fake);
  for (const chunk of [1000, 999, PAGE_IDS, PAGE_IDS + 1, PAGE_IDS + 7, 100_000]) {
    const batches = await Array.fromAsync(listBatches(client, "a", { ranges: [{}], chunk }));
    const parts = await Promise.all(batches.map(idsOfBatch));
    assertEquals(parts.flat(), ids, `chunk ${chunk}`);
    assertEquals(parts.length, Math.ceil(ids.length / chunk));
    assertEquals(batches.map(({ after }) => after), [undefined, ...parts.slice(0, -1).map((part) => part.at(-1))]);
    assert(parts.slice(0, -1).every((part) => part.length === chunk));
  }
  const [, second] = fake.requestsTo("_all_docs");
  assertEquals(second?.query.get("start_key"), JSON.stringify(`${ids[PAGE_IDS - 1]}\0`));
});

Deno.test("listBatches() keeps to the ranges it is given, and gives no batch for one without ids", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", [...STRANGE_IDS]);
  await createDatabase(fake, "empty", []);
  const client = impatientClient(fake);
  const all = STRANGE_IDS.toSorted(compareIds);
  const ranges: IdRange[] = [
    { after: undefined, through: all[2] },
    { after: all[4], through: all[4] + "\0" },
    { after: all[10], through: all[15] },
    { after: all.at(-2) },
  ];
  const expected = [...all.slice(0, 3), ...all.slice(11, 16), ...all.slice(-1)];
  for (const chunk of [undefined, 1, 4, 1000]) {
    const batches = await Array.fromAsync(listBatches(client, "a", { ranges, chunk }));
    assertEquals((await Promise.all(batches.map(idsOfBatch))).flat(), expected, `chunk ${chunk}`);
    if (chunk === undefined || chunk === 1000) assertEquals(batches.length, 3);
    assertEquals(await Array.fromAsync(listBatches(client, "empty", { ranges: [{}], chunk })), []);
  }
});

Deno.test("listPages() asks for the next page while the caller is busy with the last one", async () => {
  await using fake = await startFakeCouchDb();
  await createDatabase(fake, "a", idsOf(PAGE_IDS + 1));
  for await (const page of listPages(impatientClient(fake), "a", {}, {})) {
    if (page.length < PAGE_IDS) break;
    await until(() => fake.requestsTo("_all_docs").length === 2, "the request for the second page");
  }
});

Deno.test("ListedIds.split() halves down to one id", async () => {
  const batch = new ListedIds("b", ["c", "d", "e"]);
  const [first, second] = await batch.split() ?? [];
  assertEquals([first?.after, await idsOfBatch(first!)], ["b", ["c", "d"]]);
  assertEquals([second?.after, await idsOfBatch(second!)], ["d", ["e"]]);
  assertEquals(await second!.split({}), undefined);
});

Deno.test("RangedIds.split() halves by pages, then by ids, and loses none", async () => {
  await using fake = await startFakeCouchDb();
  const ids = idsOf(2 * PAGE_IDS + 5);
  await createDatabase(fake, "a", ids);
  const client = impatientClient(fake);
  const whole = new RangedIds(client, "a", { after: ids[1], through: ids.at(-2) });
  const parts: IdBatch[] = [whole];
  const sizes: number[] = [];
  for (let round = 0; round < 3; round++) {
    const batch = parts.shift()!;
    const halves = await batch.split({});
    parts.unshift(...halves!);
    const held = await Promise.all(parts.map(idsOfBatch));
    assertEquals(held.flat(), ids.slice(2, -1), `round ${round}`);
    assertEquals(parts.map(({ after }) => after), [ids[1], ...held.slice(0, -1).map((part) => part.at(-1))]);
    sizes.push(held[0]!.length);
  }
  assertEquals(sizes, [PAGE_IDS, PAGE_IDS / 2, PAGE_IDS / 4]);

  const single = new RangedIds(client, "a", { after: ids[3], through: ids[4] });
  assertEquals(await single.split({}), undefined);
  const none = new RangedIds(client, "a", { after: ids[3], through: `${ids[3]}\0` });
  assertEquals(await none.split({}), undefined);
});
