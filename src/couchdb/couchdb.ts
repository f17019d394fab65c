/**
 * The door to CouchDB: the types that its client, its reader and its writer share, and the options a config gives them.
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
}
