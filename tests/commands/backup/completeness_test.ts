import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Completeness,
  DocumentCounts,
  IncompleteError,
  isPurgedSince,
  type Patience,
} from "../../../src/commands/backup/completeness.ts";
import type { Run } from "../../../src/commands/backup/context.ts";
import type { DatabaseInfo } from "../../../src/couchdb/info.ts";
import type { KnownRows } from "../../../src/archive/overlap.ts";
import { FullNeeded, MISCOUNTED, SET_BACK } from "../../../src/commands/backup/doubt.ts";
import type { Listing } from "../../../src/commands/backup/listing.ts";
import { CouchError } from "../../../src/errors.ts";
import { Turns } from "../../../src/commands/backup/turns.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { withClock } from "./clock.ts";

/**
 * A listing of 699 ids, of a filter that may have taken one for another; a second listing finds `again`, so many of them
 * live.
 */
function shortListing(
  { mayBeMore, again, live = again, expected = 700, counted = 699, hasCopies = false, n = 1, deleted = 0, ...others }: {
    mayBeMore: boolean;
    again: number;
    live?: number;
    expected?: number;
    /** The live documents that CouchDB counts. */
    counted?: number;
    hasCopies?: boolean;
    /** What CouchDB says of the number of copies. */
    n?: number | null;
    /** The deleted documents that CouchDB counts. */
    deleted?: number;
    /** What the feed shows as deleted, where it is asked to tell, and what CouchDB answers when asked for its ids. */
    shownDeleted?: string[];
    newest?: Record<string, { rev: string; deleted: boolean }>;
    /** Whether CouchDB was asked for its counts a moment ago, and what it says of purges; none were known of. */
    isFresh?: boolean;
    purge_seq?: string;
    /** How many rows follow the end of the listing. */
    pending?: number;
    /** Of an increment: how many documents the backup before has, and of how many no row has come. */
    before?: { documents: number; unseen: number };
    /** Whether the number of listed ids can be relied on. */
    isCounted?: boolean;
    /** Whether a node of the cluster was behind while the listing was made; it no longer is. */
    wasBehind?: boolean;
    patience?: Patience;
    turns?: Pick<Turns, "take" | "pause" | "lostMs">;
  },
) {
  const listing = {
    ids: 699,
    until: "700",
    isCounted: others.isCounted ?? true,
    mayBeMore,
    recounted: undefined as { ids: number; live?: number; deleted?: { id: string }[]; allowance: number } | undefined,
    taken: [] as string[],
    open() {},
    recount(_expected: number, { withLive = false, withDeleted = false }: Parameters<Listing["recount"]>[1] = {}) {
      const listed = others.shownDeleted?.map((id) => ({ id }));
      this.recounted = {
        ids: again,
        allowance: 0,
        ...(withLive ? { live } : {}),
        ...(withDeleted && listed !== undefined ? { deleted: listed } : {}),
      };
    },
    takeAgain(documents: { id: string }[]) {
      this.taken.push(...documents.map(({ id }) => id));
    },
  };
  const log = new RecordedLog();
  const signal = new AbortController().signal;
  let looks = 0;
  const { isFresh = false, purge_seq = "0-a", pending = 0, before, wasBehind = false } = others;
  const counts = {
    expected,
    live: counted,
    info: { purge_seq, n, doc_del_count: deleted },
    isFresh,
    hasCopies,
    look: () => Promise.resolve(void looks++),
    noteListed() {},
  };
  const asked: (readonly string[])[] = [];
  const couch = {
    changes: () => Promise.resolve({ rows: [], pending }),
    newestRevisions(_database: string, ids: readonly string[]) {
      asked.push(ids);
      const { newest = {} } = others;
      return Promise.resolve(new Map(ids.flatMap((id) => newest[id] === undefined ? [] : [[id, newest[id]]])));
    },
  };
  const settled = () => Promise.resolve(undefined);
  const cluster = { lookFor: settled, untilSettled: settled, wasUnsettledSince: () => wasBehind };
  const { patience = { patienceMs: 0, firstWaitMs: 0.1 }, turns } = others;
  const run = { log, signal, stop: signal, patience, couch, cluster } as unknown as Run;
  const completeness = new Completeness(run, {
    database: "db",
    listing: listing as unknown as Listing,
    counts: counts as unknown as DocumentCounts,
    mostLive: () => 699,
    resume: "…",
    purges: 0,
    turns: turns as Turns ?? new Turns({ idle() {}, back: () => Promise.resolve(), closed: signal }, run),
    before: before && { documents: before.documents, known: { unseen: before.unseen } as KnownRows },
  });
  return { completeness, log, listing, asked, looks: () => looks };
}

Deno.test("Completeness has all listed once more before it says that a document is missing, where the filter may have erred", async () => {
  const { completeness, log } = shortListing({ mayBeMore: true, again: 700 });
  await completeness.await(() => Promise.resolve());
  assertEquals(log.lines, []);
});

Deno.test("Completeness says what is missing where a second listing has no more, and where the filter cannot have erred", async () => {
  for (const mayBeMore of [true, false]) {
    const { completeness, log } = shortListing({ mayBeMore, again: 699 });
    await assertRejects(() => completeness.await(() => Promise.resolve()), IncompleteError, "699 of 700 documents");
    // Once, although patience was at its end before: what was listed until then may have taken as long.
    assertEquals(log.lines.map(({ event }) => event), ["listing is incomplete: listing again"]);
  }
});

Deno.test("Completeness goes by what a single copy shows where CouchDB counts more live documents, and says so", async () => {
  const wrong = { mayBeMore: false, again: 699, expected: 699, counted: 701 };
  const { completeness, log } = shortListing({ ...wrong, live: 699 });
  await completeness.await(() => Promise.resolve());
  assertEquals(
    completeness.miscount,
    "CouchDB counts 701 live documents and shows 699, which are all saved: a purge may leave such a count behind; " +
      "a replica of the database has the right one",
  );
  assertEquals(log.lines.map(({ event }) => event), [
    "listing is incomplete: listing again",
    "live documents are counted wrongly by CouchDB",
  ]);
  // What it shows to be live and was not read is missing; and of several copies one may lag.
  for (const other of [{ live: 700 }, { live: 699, hasCopies: true, n: 3 }, { live: 699, n: null }]) {
    const { completeness } = shortListing({ ...wrong, ...other });
    const said = "of 701 live documents that CouchDB counts 699 were read";
    await assertRejects(() => completeness.await(() => Promise.resolve()), IncompleteError, said);
    assertEquals(completeness.miscount, undefined);
  }
});

Deno.test("Completeness asks for each document that copies show as deleted before it says that they count wrongly", async () => {
  const wrong = { mayBeMore: false, again: 699, expected: 699, counted: 701, hasCopies: true, n: 3, deleted: 2 };
  const deleted = { rev: "2-b", deleted: true };
  const shownDeleted = Array.from({ length: 2001 }, (_, at) => `x${at}`);
  const newest = Object.fromEntries(shownDeleted.map((id) => [id, deleted]));
  const { completeness, listing, asked } = shortListing({ ...wrong, shownDeleted, newest });
  await completeness.await(() => Promise.resolve());
  assert(completeness.miscount?.startsWith("CouchDB counts 701 live documents and shows 699"), completeness.miscount);
  assertEquals([asked.map(({ length }) => length), listing.taken], [[1000, 1000, 1], []]);
});

Deno.test("Completeness has fetched what a copy shows as deleted and others have live, and does not call that a wrong count", async () => {
  const wrong = { mayBeMore: false, again: 699, expected: 699, counted: 701, hasCopies: true, n: 3, deleted: 2 };
  const shownDeleted = ["gone", "lives", "untold"];
  const newest = { gone: { rev: "2-b", deleted: true }, lives: { rev: "3-c", deleted: false } };
  const said = "of 701 live documents that CouchDB counts 699 were read";
  for (const [more, taken] of [[{}, ["lives"]], [{ deleted: 100_001 }, []]] as const) {
    const { completeness, listing } = shortListing({ ...wrong, shownDeleted, newest, ...more });
    await assertRejects(() => completeness.await(() => Promise.resolve()), IncompleteError, said);
    assertEquals([completeness.miscount, listing.taken], [undefined, [...taken]]);
  }
  // One of which CouchDB does not tell may live.
  const { completeness } = shortListing({ ...wrong, shownDeleted: ["untold"], newest });
  await assertRejects(() => completeness.await(() => Promise.resolve()), IncompleteError, said);
  // However many deleted ones are asked for behind the one that lives: that has yet to be fetched.
  const others = Array.from({ length: 2000 }, (_, at) => `x${at}`);
  const gone = Object.fromEntries(others.map((id) => [id, newest.gone]));
  const many = shortListing({ ...wrong, shownDeleted: ["lives", ...others], newest: { ...newest, ...gone } });
  await assertRejects(() => many.completeness.await(() => Promise.resolve()), IncompleteError, said);
  assertEquals([many.completeness.miscount, many.listing.taken], [undefined, ["lives"]]);
});

Deno.test("Completeness takes documents that were written behind the listing's end for no missing ones", async () => {
  const more = { mayBeMore: false, again: 699, expected: 699, counted: 701 };
  const { completeness, log } = shortListing({ ...more, pending: 2 });
  await completeness.await(() => Promise.resolve());
  assertEquals([completeness.miscount, log.lines], [undefined, []]);
});

Deno.test("Completeness does not ask again a CouchDB that has just counted what was listed, unless that falls short or documents were purged", async () => {
  const all = { mayBeMore: false, again: 699, isFresh: true };
  const { completeness, looks } = shortListing({ ...all, expected: 699 });
  await completeness.await(() => Promise.resolve());
  assertEquals(looks(), 0);
  for (const other of [{ expected: 700 }, { expected: 699, counted: 700, live: 700 }]) {
    const { completeness } = shortListing({ ...all, ...other });
    await assertRejects(() => completeness.await(() => Promise.resolve()), IncompleteError, "of 700");
  }
  const purged = shortListing({ ...all, expected: 699, purge_seq: "1-a" });
  await purged.completeness.await(() => Promise.resolve());
  assertEquals(purged.log.lines.map(({ fields }) => fields.shortfall), [
    "documents were purged meanwhile: counting again",
  ]);
});

Deno.test("Completeness lists all again where a node was behind while it listed, though it no longer is, and where ids may be uncounted", async () => {
  // What came behind the end, and what is found by listing all once more.
  const cases = [[{}, 0], [{ hasCopies: true }, 0], [{ hasCopies: true, wasBehind: true }, 2], [
    { isCounted: false },
    2,
  ]];
  for (const [other, expected] of cases as [Partial<Parameters<typeof shortListing>[0]>, number][]) {
    const { completeness } = shortListing({ mayBeMore: false, again: 699, expected: 699, ...other });
    let stored = 0;
    await completeness.await(async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      stored++;
    });
    assertEquals(stored, expected, JSON.stringify(other));
  }
});

Deno.test("Completeness of an increment wants a row for each document made since, and for each row that was there", async () => {
  const increment = { mayBeMore: false, again: 699, expected: 1699 };
  const whole = shortListing({ ...increment, before: { documents: 1000, unseen: 0 } });
  await whole.completeness.await(() => Promise.resolve());
  const cases = [
    { documents: 999, unseen: 0, hasCopies: true, error: IncompleteError, said: "700 were made since the last backup" },
    { documents: 999, unseen: 0, hasCopies: false, error: FullNeeded, said: MISCOUNTED },
    { documents: 1000, unseen: 1, hasCopies: true, error: FullNeeded, said: SET_BACK },
    { documents: 1000, unseen: 1, hasCopies: false, error: FullNeeded, said: SET_BACK },
  ];
  for (const { hasCopies, error, said, ...before } of cases) {
    const { completeness, listing } = shortListing({ ...increment, hasCopies, before });
    await assertRejects(() => completeness.await(() => Promise.resolve()), error, said);
    // Not before all of it was listed once more.
    assertEquals(listing.recounted?.ids, 699);
  }
});

/** The counts of a database with three copies of each of two ranges, and what its copies will answer. */
function countsOfCopies(answers: DatabaseInfo[]): DocumentCounts {
  // No copy can be asked by itself, as before 3.3.
  const couch = { databaseInfo: () => Promise.resolve(answers.shift()), shards: () => Promise.resolve(new Map()) };
  const run = { couch, infos: {} } as unknown as Run;
  return new DocumentCounts(run, "db", { info: answers.shift()!, askedAtMs: 0 });
}

/** Ten of the documents are deleted. */
function infoOf(documents: number, purge_seq: string): DatabaseInfo {
  const info = { doc_count: documents - 10, doc_del_count: 10, n: 3, q: 2, instance_start_time: "1", purge_seq };
  return info as unknown as DatabaseInfo;
}

Deno.test("DocumentCounts.look() does not expect fewer documents because copies that lag know of fewer purges", async () => {
  const signal = new AbortController().signal;
  const late = infoOf(90, "4-y");
  const counts = countsOfCopies([infoOf(100, "5-x"), late, late, late, infoOf(95, "6-z"), late, late]);
  await counts.look({ signal, questions: 3 });
  assertEquals([counts.expected, counts.info.purge_seq], [100, "5-x"]);
  // What is purged in earnest has a larger number: then the count begins anew.
  await counts.look({ signal, questions: 3 });
  assertEquals([counts.expected, counts.info.purge_seq], [95, "6-z"]);
});

Deno.test("DocumentCounts.look() goes by the copies that count the most, asks as many as there are, and forgets nothing", async () => {
  const signal = new AbortController().signal;
  const answers = [100, 90, 120, 95, 80, 130, 70, 60, 60, 60].map((documents) => infoOf(documents, "5-x"));
  const counts = countsOfCopies(answers);
  assertEquals([counts.expected, counts.hasCopies], [100, true]);
  await counts.look({ signal });
  assertEquals([counts.expected, counts.live, answers.length], [130, 120, 3]);
  await counts.look({ signal, questions: 2 });
  assertEquals([counts.expected, counts.live, answers.length], [130, 50, 1]);
});

Deno.test("DocumentCounts.look() takes a database for another one only where CouchDB tells when both were made", async () => {
  const signal = new AbortController().signal;
  const lookWith = async (first: Partial<DatabaseInfo>, second: Partial<DatabaseInfo>) => {
    const answers = [first, ...Array.from({ length: 6 }, () => second)].map((one) => ({
      ...infoOf(90, "0-a"),
      ...one,
    }));
    await countsOfCopies(answers).look({ signal });
  };
  await assertRejects(() => lookWith({}, { instance_start_time: "2" }), FullNeeded, "deleted and created again");
  // Nodes that are not yet upgraded tell none, and 1.x tells when the server was started.
  await lookWith({}, { instance_start_time: null });
  await lookWith({ instance_start_time: null }, { instance_start_time: "2" });
  await lookWith({ q: null }, { q: null, instance_start_time: "2" });
});

Deno.test("DocumentCounts.lookBeforePage() asks again unless a single copy has told a moment ago", async () => {
  const signal = new AbortController().signal;
  let asked = 0;
  let freshMs = 0;
  const ask = () => Promise.resolve((asked++, infoOf(100, "5-x")));
  const infos = { now: ask, isFresh: (at: number) => performance.now() - at < freshMs };
  for (const { n, expected } of [{ n: 1, expected: [1, 1, 2] }, { n: 3, expected: [6, 12, 18] }]) {
    const couch = { databaseInfo: ask, shards: () => Promise.resolve(new Map()) };
    const run = { couch, infos } as unknown as Run;
    const counts = new DocumentCounts(run, "db", { info: { ...infoOf(100, "5-x"), n }, askedAtMs: -1e9 });
    asked = 0;
    const found: number[] = [];
    for (freshMs of [60_000, 60_000, 0]) {
      await counts.lookBeforePage({ signal });
      found.push(asked);
    }
    assertEquals(found, expected, `${n} copies`);
  }
});

Deno.test("DocumentCounts.look() asks once where the login is refused, however many copies there are", async () => {
  const refused = new CouchError("Cannot read: 401", { error: "unauthorized", status: 401 });
  let asked = 0;
  const couch = { databaseInfo: () => (asked++, Promise.reject(refused)) };
  const run = { couch, infos: {} } as unknown as Run;
  const counts = new DocumentCounts(run, "db", { info: infoOf(100, "5-x"), askedAtMs: 0 });
  await assertRejects(() => counts.look({ signal: new AbortController().signal }), CouchError);
  assertEquals(asked, 1);
});

Deno.test("isPurgedSince() goes by a larger number where there are copies, and by any other where there is one", () => {
  const since = (before: number | undefined, purge_seq: string | null, hasCopies: boolean) =>
    isPurgedSince(before, { info: { purge_seq } as DatabaseInfo, hasCopies });
  assertEquals([since(5, "5-a", true), since(5, "4-a", true), since(5, "6-a", true)], [false, false, true]);
  assertEquals([since(5, "5-a", false), since(5, "4-a", false), since(5, "6-a", false)], [false, true, true]);
  for (const hasCopies of [true, false]) {
    assertEquals([since(undefined, null, hasCopies), since(5, null, hasCopies)], [false, true]);
    assertEquals(since(undefined, "5-a", hasCopies), true);
  }
});

Deno.test("Completeness loses no patience by waiting for its turn", async () => {
  await withClock(async (pass) => {
    const turns = {
      lostMs: 0,
      take() {
        turns.lostMs += 500_000;
        pass(500_000);
        return Promise.resolve();
      },
      async pause(ms: number) {
        pass(ms);
        await turns.take();
      },
    };
    const patience = { patienceMs: 100_000, firstWaitMs: 10_000 };
    const { completeness, log } = shortListing({ mayBeMore: false, again: 699, patience, turns });
    await assertRejects(() => completeness.await(() => Promise.resolve()), IncompleteError, "699 of 700 documents");
    assertEquals(log.lines.map(({ fields }) => fields.waitMs), [10_000, 15_000, 22_500, 30_000]);
  });
});
