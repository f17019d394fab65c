/**
 * Which leaf revisions a database lacks, of some that were or are to be written. In: their ids and revisions. Out: what
 * tells of each whether it is lacking.
 */
import { CouchError } from "../errors.ts";
import { readTextMembers } from "../json/members.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import type { RequestBody } from "./request_body.ts";

/** A leaf revision, as far as CouchDB has to know it to compare. */
export interface LeafIdentity {
  id: string;
  rev: string;
}

/** Tells whether a leaf revision is lacking. */
export type Lacks = (leaf: LeafIdentity) => boolean;

/** The leaf revisions in a body; none of one whose documents have no revisions. */
export function leavesOf(body: RequestBody): LeafIdentity[] {
  if (body.revisions === "new") return [];
  return body.documents().map((document) => {
    const { _id = "", _rev = "" } = readTextMembers(document.bytes, ["_id", "_rev"]);
    return { id: document.id ?? _id, rev: _rev };
  });
}

/**
 * What a database lacks of some leaf revisions.
 *
 * @returns Undefined where CouchDB cannot compare: one id or revision of others that it does not take spoils the whole
 * request.
 */
export async function findLacking(
  client: CouchClient,
  database: string,
  leaves: readonly LeafIdentity[],
  options: CallOptions & { attempts?: number | undefined } = {},
): Promise<Lacks | undefined> {
  const wanted: Record<string, string[]> = {};
  for (const { id, rev } of leaves) (Object.hasOwn(wanted, id) ? wanted[id]! : wanted[id] = []).push(rev);
  try {
    const missing = await client.missingRevisions(database, wanted, options);
    return ({ id, rev }) => missing.get(id)?.has(rev) === true;
  } catch (error) {
    if (error instanceof CouchError && error.facts.status === 400) return undefined;
    throw error;
  }
}
