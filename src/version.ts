/** What this program calls itself in manifests, log lines and requests. A test holds it equal to deno.json. */

export const PROGRAM_NAME = "couchdb-backup";
export const VERSION = "0.2.0";
