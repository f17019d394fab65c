/**
 * A backup's manifest and checkpoint: what they say, and the sums over the chunks that they name. Both are JSON, specified
 * in docs/archive.md; how they are written and read back is in manifest_json.ts. Pure.
 */
import type { UnreadableDocument } from "../couchdb/couchdb.ts";

/** The version of the archive's format that this program writes. A reader refuses what is newer. */
export const FORMAT_VERSION = 2;

/** One stored chunk. */
export interface ChunkEntry {
  /**
   * The object's name within the folder: `0000000.json.gz`, or `0000000.json.zst`, with `.age` after it where it is
   * sealed.
   */
  name: string;
  /** Documents in it. */
  documents: number;
  /** Leaf revisions of these documents, deleted ones too. */
  leaf_revisions: number;
  /** Documents of which every leaf revision is deleted. Format 1 had none. */
  deleted: number;
  /** Listed documents that were gone when they were asked for. */
  absent: number;
  /** Its documents are later states of ids that lower chunks may hold as well; those below do not count. */
  again?: true | undefined;
  /** The size of the uncompressed JSON. */
  bytes: number;
  /** The size of the object. */
  compressed_bytes: number;
  /** SHA-256 of the object, 64 lower-case hexadecimal digits. */
  sha256: string;
  /**
   * Format 1 alone: the chunk covers the ids after this one, in the order of their UTF-8 bytes; null: from the
   * database's beginning.
   */
  after_id?: string | null | undefined;
  /** Format 1 alone: the last id the chunk covers. */
  last_id?: string | undefined;
}

/** The sums over all chunks of a backup. */
export interface Totals {
  /** Documents. */
  documents: number;
  /** Leaf revisions of these documents, deleted ones too. */
  leaf_revisions: number;
  /** Documents of which every leaf revision is deleted. */
  deleted: number;
  /** Listed documents that were gone when they were asked for. */
  absent: number;
  /** Chunks. */
  chunks: number;
  /** The size of the uncompressed JSON. */
  bytes: number;
  /** The size of the objects. */
  compressed_bytes: number;
}

/** What a database is beside its documents, at the start of its backup. */
export interface DatabaseProperties {
  /** Documents that are not deleted. */
  doc_count: number;
  /** Documents whose winning revision is a deletion. */
  doc_del_count: number;
  /** Shards; null where CouchDB does not say (before 2.0). */
  q: number | null;
  /** Copies of each shard; null where CouchDB does not say. */
  n: number | null;
  /** Whether ids begin with a partition's name. */
  partitioned: boolean;
  /** How many revisions of a document CouchDB remembers; null where CouchDB did not let it be read. */
  revs_limit: number | null;
  /**
   * The text of `_security` as CouchDB sent it: a string, so that no number in it is rounded. Null where CouchDB did
   * not let it be read, and while it is sealed.
   */
  security: string | null;
  /** When the database was created; null where CouchDB does not tell (before 3.3, and format 1). */
  instance_start_time: string | null;
  /** Where the purges stood; null in format 1 and where CouchDB does not tell. */
  purge_seq: string | null;
  /**
   * When `security` and `revs_limit` were read, maybe by a backup before, and the database's `update_seq`, which was
   * read before them. Absent where one of the two could not be read, or nothing needs it.
   */
  settings_read?: { at: string; update_seq: string } | undefined;
}

/** How a backup stands to others: `full` holds every document, `incremental` what has changed since its parent. */
export type BackupKind = "full" | "incremental";

/** The manifest of the parent that an incremental backup builds on. */
export interface ParentLink {
  /** Below the config's prefix: `2026/11/25/couchdb/orders/manifest-20261125T180411Z-0b5a8fd2.json`. */
  path: string;
  /** The run that wrote it. */
  run: string;
  /** SHA-256 of its bytes. */
  sha256: string;
}

/** What is known when a backup begins. Instants are in UTC: `2026-01-03T18:00:01.312Z`. */
export interface Origin {
  /** The version of the archive's format. */
  format: number;
  /** What wrote it. */
  program: { name: string; version: string };
  /** The id of the run that wrote it. */
  run: string;
  /** The task's name in the config. */
  task: string;
  /** The decoded name. */
  database: string;
  /** When this database's backup began; the date in the path is that of the run. */
  started_at: string;
  /** What it was read from; the URL is without credentials. */
  couchdb: { url: string; version: string };
  /** What the task saves. */
  options: {
    attachments: boolean;
    /** Whether histories are saved. */
    revisions: boolean;
    /** Null where none was said: the database was one request, unless `chunk_bytes` is there. */
    chunk: number | null;
    /** How many bytes a chunk might have; absent: any number. */
    chunk_bytes?: number | undefined;
    /** Whether every tombstone was taken; else those alone that documents of this backup have become. */
    tombstones: boolean;
  };
  /** What the database is beside its documents. */
  properties: DatabaseProperties;
  /** Whether it holds every document, or what has changed since another. */
  kind: BackupKind;
  /**
   * The parent of an incremental backup, by its manifest: the path below the config's prefix, the run, and the
   * SHA-256 of its bytes.
   */
  parent: ParentLink | null;
  /** To whom the chunks are sealed, public keys of age. Absent: to nobody. */
  recipients?: readonly string[] | undefined;
  /** What of it names people's data, sealed as the chunks are. There where it was read, or is to be stored, so. */
  sealed?: SealedPart | undefined;
}

/**
 * What of a manifest or checkpoint names people's data, where chunks are sealed: `_security`, and the documents that
 * could not be read. The hashes let somebody without an identity find these again, by trying all ids that there are.
 */
export interface SealedPart {
  /** An age file in base64; within it the JSON object `{"security", "unreadable"}`. */
  age: string;
  /** So that nobody can tell by two backups of one id that it is the same. */
  salt: string;
  /** A hash for each of the documents. */
  unreadable: SealedDocument[];
}

/** A document that could not be read, as somebody without an identity sees it. */
export interface SealedDocument {
  /** 22 characters of base64url: of the SHA-256 of salt, U+0000 and id. */
  id: string;
  /** It could be read but for a revision. */
  part?: true | undefined;
}

/**
 * The end of the feed as a backup has seen it: the next one begins there, and finds by these rows whether they are
 * still there, and which rows it knows already.
 */
export interface FeedOverlap {
  /** The position after which these rows lie. */
  since: string;
  /** So that nobody can tell by two backups of one id that it is the same. */
  salt: string;
  /** Of each row 22 characters of base64url: half of them stand for the id, half for the id and its leaf revisions. */
  hashes: string[];
}

/**
 * The states of documents that a backup has seen, by id and leaf revisions, in a Bloom filter: in the manifest where it
 * is small, else in an object beside it. One of the two is null.
 */
export interface SeenStates {
  /** How many there are, about. */
  states: number;
  /** What the hashes begin with. */
  salt: number;
  /** How many bits stand for a state. */
  hashes: number;
  /** The filter in base64url. */
  bits: string | null;
  /** The object of the filter, in the folder of the manifest. */
  object: { name: string; bytes: number; sha256: string } | null;
}

/** Between which positions of the changes feed a backup was listed. */
export interface ListedFeed {
  /** After which position; "0": from the beginning. */
  since: string;
  /** Up to which. */
  until: string;
  /** How many documents CouchDB said there were when it ended, deleted ones too; absent: not known. */
  expected?: number | null | undefined;
  /** Absent: not known, so that no incremental backup can build on this one. */
  overlap?: FeedOverlap | null | undefined;
  /** Absent: not known, so that the chain cannot be compared with what the feed says later. */
  seen?: SeenStates | undefined;
}

/** How many of the documents that a chain has lost are named. */
export const MOST_LOST_NAMED = 20;

/**
 * Documents that the backups of a chain lack, or have in another state than they were in, as a full one after it has
 * found.
 */
export interface ChainLoss {
  /** How many there are. */
  documents: number;
  /** There may be more: no more than ten thousand are looked at. */
  at_least?: true | undefined;
  /** The ids of the first twenty; none where the manifest is sealed. */
  ids: string[];
  /** When the newest backup of the chain was complete. */
  up_to: string;
}

/** What a complete backup consists of. @see docs/archive.md, which specifies it */
export interface Manifest extends Origin {
  /** When it was complete. */
  finished_at: string;
  /**
   * The store's clock at that moment, where it tells one; later by a second or more where its run has saved the database
   * in that second already.
   */
  stored_at: string | null;
  /** Until when its objects are locked at least, where the task is incremental and locks them. */
  locked_until?: string | null | undefined;
  /** CouchDB's opaque sequences before the first and after the last document. */
  update_seq: { start: string; end: string };
  /** The positions of the changes feed between which documents were listed; null in format 1. */
  feed: ListedFeed | null;
  /**
   * What the chain before this full backup has lost: found before the manifest is stored, so that whoever is killed
   * after that has not lost it. Absent where that is nothing.
   */
  chain_lost?: ChainLoss | undefined;
  /** The documents that CouchDB could not read; all else of the database is there. */
  unreadable: UnreadableDocument[];
  /** The sums over `chunks`. */
  totals: Totals;
  /** The chunks, in the order of their ids. */
  chunks: ChunkEntry[];
}

/** How far a listing by the changes feed has come. */
export interface ListingState {
  /** A resumed run lists from here: all that was listed before is in the chunks. */
  position: string;
  /** How many different ids were listed up to there, deleted ones too. */
  ids: number;
  /** The most documents, deleted ones too, that CouchDB said the database had. */
  expected: number;
  /** The filter of these ids; null where there is none. */
  filter: {
    name: string;
    sha256: string;
    salt: number;
    hashes: number;
    /** After the filter's own bits so many bytes hold the states that were seen, where these are wanted. */
    seen?: { bytes: number; salt: number; hashes: number; states: number } | undefined;
  } | null;
}

/** How far an unfinished backup has come. */
export interface Checkpoint extends Origin {
  /** When it was written. */
  saved_at: string;
  /** CouchDB's opaque sequence before the first document. */
  update_seq: { start: string };
  /** Null in format 1. */
  listing: ListingState | null;
  /** The documents that could not be read so far. */
  unreadable: UnreadableDocument[];
  /** The chunks that are stored, in the order of their names. */
  chunks: ChunkEntry[];
}

/** The sums over `chunks`. */
export function sumChunks(chunks: readonly ChunkEntry[]): Totals {
  const totals: Totals = {
    documents: 0,
    leaf_revisions: 0,
    deleted: 0,
    absent: 0,
    chunks: chunks.length,
    bytes: 0,
    compressed_bytes: 0,
  };
  for (const chunk of chunks) {
    totals.documents += chunk.documents;
    totals.leaf_revisions += chunk.leaf_revisions;
    totals.deleted += chunk.deleted;
    totals.absent += chunk.absent;
    totals.bytes += chunk.bytes;
    totals.compressed_bytes += chunk.compressed_bytes;
  }
  return totals;
}

/** A sealed document in place of its id: what counts documents goes on counting them. */
export function lockedDocument({ id, part }: SealedDocument): UnreadableDocument {
  const locked = { id: `sealed:${id}`, error: "sealed", reason: "an identity tells which document it is" };
  return part === true ? { ...locked, rev: "sealed" } : locked;
}
