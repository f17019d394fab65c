import { assertEquals } from "@std/assert";
import { makeOverlap } from "../../src/archive/overlap.ts";
import type { SeenRow } from "../../src/archive/seen_states.ts";
import { FeedComparison } from "../../src/commands/feed_comparison.ts";
import { createDatabase, idsOf, impatientClient } from "../couchdb/impatient_client.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";

Deno.test("FeedComparison says that not all was looked at, also where all that was kept turns out to be there", async () => {
  await using server = await startFakeCouchDb();
  await createDatabase(server, "a", []);
  const log = new RecordedLog();
  const couch = impatientClient(server);
  const signal = new AbortController().signal;
  const { update_seq: since } = await couch.databaseInfo("a", { signal });
  const isSeen = ({ revs }: SeenRow) => revs.includes("2-b");
  const backup = { database: "a", overlap: makeOverlap({ since, rows: [] }), isSeen };
  const comparison = await FeedComparison.open({ couch, log, signal }, backup);
  const ids = idsOf(10_001);
  for (const id of ids) comparison!.look({ id, revs: ["1-a"] });
  // The feed lists the first ten thousand once more, in the state that the backup has.
  for (const id of ids.slice(0, -1)) comparison!.look({ id, revs: ["2-b"] });
  assertEquals(await comparison!.result(), undefined);
  const [told] = log.lines.filter(({ level }) => level === "warn");
  assertEquals(told?.fields, { lookedAt: 0, further: 1 });
});

Deno.test("FeedComparison names what a backup lacks although CouchDB is away for a moment, or answers with error rows", async () => {
  for (
    const fault of [
      { kind: "answer", status: 503, body: { error: "service_unavailable", reason: "a moment" } },
      { kind: "error rows", ids: ["d00000"] },
    ] as const
  ) {
    await using server = await startFakeCouchDb();
    const ids = idsOf(2);
    await createDatabase(server, "a", ids);
    const couch = impatientClient(server);
    const signal = new AbortController().signal;
    const { update_seq: since } = await couch.databaseInfo("a", { signal });
    const backup = { database: "a", overlap: makeOverlap({ since, rows: [] }), isSeen: () => false };
    const comparison = await FeedComparison.open({ couch, log: new RecordedLog(), signal }, backup);
    for (const id of ids) comparison!.look({ id, revs: ["1-a"] });
    server.faults.add({ endpoint: "_bulk_get", times: 1, fault });
    assertEquals(await comparison!.result(), { documents: 2, ids });
  }
});
