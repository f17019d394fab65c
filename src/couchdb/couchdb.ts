/**
 * The door to CouchDB, whose API nobody outside of this folder knows: client.ts has a method for each endpoint,
 * changes.ts lists what there is, read.ts reads documents as raw bytes, write.ts writes them as they were. In: the
 * options of a config. Out: answers, streams of bytes, or a CouchError.
 */
import type { Secret } from "../secret.ts";

/** What a config says of CouchDB. */
export interface CouchOptions {
  /** Base URL without credentials, such as `http://[2345::6]:5984`; may have a path, as behind a proxy. */
  url: string;
  /** The user's name; absent: requests carry no credentials. */
  login?: string | undefined;
  /** The user's password. */
  password?: Secret | undefined;
  /** Where the password comes from, for what is said when it is refused. @default the config's `database.password` */
  passwordFrom?: string | undefined;
}

/** A document that CouchDB could not read, and what it said instead. */
export interface UnreadableDocument {
  /** Its id. */
  id: string;
  /** The revision, where the others of the document could be read. */
  rev?: string | undefined;
  /** CouchDB's `error`, or what happened to the request: `internal_error`, `cut_off`, `timeout`. */
  error: string;
  /** What CouchDB said beside it. */
  reason: string;
}
