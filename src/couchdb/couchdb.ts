/**
 * The door to CouchDB: the types that its client, its reader and its writer share, and the options a config gives them.
 */
import type { Secret } from "../secret.ts";

/** What a config says of CouchDB. */
export interface CouchOptions {
  /** Base URL without credentials, such as `http://[2345::6]:5984`; may have a path, as behind a proxy. */
  url: string;
  login?: string | undefined;
  password?: Secret | undefined;
}

/** A document that CouchDB could not read, and what it said instead. */
export interface UnreadableDocument {
  id: string;
  /** The revision, where the others of the document could be read. */
  rev?: string | undefined;
  /** CouchDB's `error`, or what happened to the request: `internal_error`, `cut_off`, `timeout`. */
  error: string;
  reason: string;
}
