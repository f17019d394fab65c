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
    patience?: Patience;
    turns?: Pick<Turns, "take" | "pause" | "lostMs">;
  },
) {
  const listing = {
    ids: 699,
    until: "700",
    isCounted: true,
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
  const counts = {
    expected,
    live: counted,
    info: { purge_seq: "0-a", n, doc_del_count: deleted },
    isFresh: false,
    hasCopies,
    look: () => Promise.resolve(),
  };
  const asked: (readonly string[])[] = [];
  const couch = {
    changes: () => Promise.resolve({ rows: [], pending: 0 }),
    newestRevisions(_database: string, ids: readonly string[]) {
      asked.push(ids);
      const { newest = {} } = others;
      return Promise.resolve(new Map(ids.flatMap((id) => newest[id] === undefined ? [] : [[id, newest[id]]])));
    },
  };
  const cluster = { look: () => Promise.resolve(undefined), wasUnsettledSince: () => false };
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
  });
  return { completeness, log, listing, asked };
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
});

/** The counts of a database with three copies of each of two ranges, and what its copies will answer. */
function countsOfCopies(answers: DatabaseInfo[]): DocumentCounts {
  const couch = { databaseInfo: () => Promise.resolve(answers.shift()) };
  const run = { couch, infos: {} } as unknown as Run;
  return new DocumentCounts(run, "db", { info: answers.shift()!, askedAtMs: 0 });
}

function infoOf(documents: number, purge_seq: string): DatabaseInfo {
  const info = { doc_count: documents, doc_del_count: 0, n: 3, q: 2, instance_start_time: "1", purge_seq };
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
