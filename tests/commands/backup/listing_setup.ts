/** A listing of a double that has the feed alone: what a test does not say is as it would be for a small database. */
import { Listing, type ListingOptions } from "../../../src/commands/backup/listing.ts";
import type { ChangesPage } from "../../../src/couchdb/changes_page.ts";
import type { CouchClient } from "../../../src/couchdb/client.ts";
import { RecordedLog } from "../../fakes/log.ts";

/** What answers requests for pages of the feed. */
export interface FeedDouble {
  changes(database: string, page: { since: string }): Promise<ChangesPage>;
}

/** A listing of the database "db". */
export function listingOf(couch: FeedDouble, options: Partial<ListingOptions>): Listing {
  return new Listing(couch as unknown as CouchClient, "db", {
    log: new RecordedLog(),
    signal: new AbortController().signal,
    chunk: undefined,
    positionsEvery: undefined,
    tombstones: false,
    expected: 2000,
    ranges: { q: 1, partitioned: false },
    keepsEnd: false,
    unreadable: new Set(),
    beforeLastPage: () => Promise.resolve(),
    ...options,
  });
}
