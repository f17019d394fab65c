/**
 * Decides whether `_security` and `_revs_limit` have to be read once more. In: the last backup of a database, and what
 * CouchDB says of it now. Out: what the backup has, where that is proved to hold still; undefined in any doubt.
 */
import { DAY_MS } from "../../dates.ts";
import type { Manifest, Origin } from "../../archive/manifest.ts";
import { haveSameRecipients } from "../../codec/compression.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import type { AskedSettings } from "./origin.ts";

/**
 * What was read longer ago is read again, whatever positions say. A disk that was set back to an earlier state and
 * written to as often since has the position of the last backup once more: documents show that by the rows of the
 * overlap, settings do not.
 */
export const MOST_DAYS = 30;

/** What is known of the database, and what is wanted. */
export interface KeptSettingsQuestion extends Pick<Origin, "recipients"> {
  /** CouchDB must have been asked for it in this run. */
  info: DatabaseInfo;
  /** CouchDB's, without credentials. */
  url: string;
  now: Date;
}

/**
 * The settings of the last backup, where nothing at all has changed in the database since they were read: each change
 * of `_security` or `_revs_limit` moves its `update_seq`, which names each shard's file and what was last written to it
 * (seen on 3.5.0: at once, in `GET /{db}` and `_dbs_info`). With a single copy of each shard the same text means the
 * same state; with several, another copy may have answered.
 */
export function keptSettings(
  { properties: was, couchdb, recipients, sealed, chain_lost: lost }: Manifest,
  { info: is, url, now, recipients: wanted }: KeptSettingsQuestion,
): AskedSettings | undefined {
  const { settings_read: read, security, revs_limit } = was;
  if (read === undefined || couchdb.url !== url) return undefined;
  if (is.update_seq === "" || read.update_seq !== is.update_seq) return undefined;
  if (was.n !== 1 || is.n !== 1) return undefined;
  // Before 3.3 CouchDB does not tell whether the database was deleted and made again.
  if (is.instance_start_time === null || was.instance_start_time !== is.instance_start_time) return undefined;
  if (is.purge_seq === null || was.purge_seq !== is.purge_seq) return undefined;
  const ageMs = now.getTime() - Date.parse(read.at);
  if (ageMs < 0 || ageMs >= MOST_DAYS * DAY_MS) return undefined;
  if (!haveSameRecipients(recipients, wanted) || revs_limit === null) return undefined;
  if (sealed === undefined) return security === null ? undefined : { security, revs_limit, settings_read: read };
  // A sealed part is taken over unopened, as this machine need not be able to open it. So it must hold nothing else.
  if (sealed.unreadable.length > 0 || lost !== undefined) return undefined;
  return { security, revs_limit, settings_read: read, sealed };
}
