import { assertEquals, assertRejects } from "@std/assert";
import {
  Completeness,
  type DocumentCounts,
  IncompleteError,
  type Patience,
} from "../../../src/commands/backup/completeness.ts";
import type { Run } from "../../../src/commands/backup/context.ts";
import type { Listing } from "../../../src/commands/backup/listing.ts";
import { Turns } from "../../../src/commands/backup/turns.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { withClock } from "./clock.ts";

/** A listing of 699 ids, of a filter that may have taken one for another; a second listing finds `again`. */
function shortListing(
  { mayBeMore, again, patience = { patienceMs: 0, firstWaitMs: 0.1 }, turns }: {
    mayBeMore: boolean;
    again: number;
    patience?: Patience;
    turns?: Pick<Turns, "take" | "pause" | "lostMs">;
  },
) {
  const listing = {
    ids: 699,
    until: "700",
    isCounted: true,
    mayBeMore,
    recounted: undefined as { ids: number; allowance: number } | undefined,
    open() {},
    recount() {
      this.recounted = { ids: again, allowance: 0 };
    },
  };
  const log = new RecordedLog();
  const signal = new AbortController().signal;
  const counts = {
    expected: 700,
    live: 699,
    info: { purge_seq: "0-a" },
    isFresh: false,
    hasCopies: false,
    look: () => Promise.resolve(),
  };
  const run = { log, signal, stop: signal, patience } as unknown as Run;
  const completeness = new Completeness(run, {
    database: "db",
    listing: listing as unknown as Listing,
    counts: counts as unknown as DocumentCounts,
    mostLive: () => 699,
    resume: "…",
    purges: 0,
    turns: turns as Turns ?? new Turns({ idle() {}, back: () => Promise.resolve(), closed: signal }, run),
  });
  return { completeness, log };
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
