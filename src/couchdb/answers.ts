/**
 * CouchDB's small answers, checked. In: a JSON value as it came. Out: what was asked for; an answer that lacks it is an
 * error, never a nought or an empty list: a proxy's login page, an answer that was cut to a shorter one, another server.
 */
import type { DatabaseInfo, DesignDocument, WriteRow } from "./client.ts";

/** An answer that is well-formed and not what CouchDB answers. Connections make a CouchError of it, and ask again. */
export class BadAnswer extends Error {
}

/** The members of an object. @throws BadAnswer when the answer is none. */
function membersOf(answer: unknown): Record<string, unknown> {
  if (typeof answer === "object" && answer !== null && !Array.isArray(answer)) return answer as Record<string, unknown>;
  throw new BadAnswer("it is no object");
}

function arrayOf(value: unknown, what: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new BadAnswer(`it has no ${what}`);
}

function textsOf(value: unknown, what: string): string[] {
  const items = arrayOf(value, what);
  if (items.every((item) => typeof item === "string")) return items;
  throw new BadAnswer(`its ${what} are no texts`);
}

function countOf(answer: Record<string, unknown>, name: string): number {
  const value = answer[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new BadAnswer(`it has no "${name}"`);
}

/** `GET /{db}`. What versions before 2.0 and servers like CouchDB do not tell may lack; the number of documents may not. */
export function readDatabaseInfo(value: unknown): DatabaseInfo {
  const answer = membersOf(value) as Record<string, unknown> & {
    cluster?: { q?: number; n?: number };
    props?: { partitioned?: boolean };
    sizes?: { external?: number };
  };
  const { update_seq: updateSeq } = answer;
  if (updateSeq === undefined || updateSeq === null) throw new BadAnswer('it has no "update_seq"');
  return {
    doc_count: countOf(answer, "doc_count"),
    doc_del_count: answer.doc_del_count === undefined ? 0 : countOf(answer, "doc_del_count"),
    update_seq: String(updateSeq),
    external_bytes: answer.sizes?.external ?? 0,
    q: answer.cluster?.q ?? null,
    n: answer.cluster?.n ?? null,
    partitioned: answer.props?.partitioned === true,
    // "0" stands for "not known" before 3.3, and from nodes that are not yet upgraded.
    instance_start_time: textOrNull(answer.instance_start_time, "0"),
    purge_seq: textOrNull(answer.purge_seq),
  };
}

function textOrNull(value: unknown, unknown?: string): string | null {
  return value === undefined || value === null || String(value) === unknown ? null : String(value);
}

/** `GET /_all_dbs`. */
export function readDatabaseNames(answer: unknown): string[] {
  return textsOf(answer, "list of names");
}

/** `GET /_session`: the roles. */
export function readRoles(answer: unknown): string[] {
  return textsOf(membersOf(membersOf(answer).userCtx).roles ?? [], "roles");
}

/** `GET /_membership`. */
export function readMembership(answer: unknown): { cluster: string[]; connected: string[] } {
  const { cluster_nodes: cluster, all_nodes: connected } = membersOf(answer);
  return { cluster: textsOf(cluster, '"cluster_nodes"'), connected: textsOf(connected, '"all_nodes"') };
}

/** `GET /_node/{node}/_system`. */
export function readNodeState(answer: unknown): { uptimeSeconds: number; replicationJobs: number } {
  const members = membersOf(answer);
  return {
    uptimeSeconds: countOf(members, "uptime"),
    replicationJobs: countOf(members, "internal_replication_jobs"),
  };
}

/** `GET /{db}/_all_docs`: the ids. */
export function readIds(answer: unknown): string[] {
  const rows = arrayOf(membersOf(answer).rows, '"rows"') as { id?: unknown }[];
  return textsOf(rows.map((row) => row?.id), "ids");
}

/** `GET /{db}/_all_docs?include_docs=true`: the documents. */
export function readDesignDocuments(answer: unknown): DesignDocument[] {
  const rows = arrayOf(membersOf(answer).rows, '"rows"') as { doc?: DesignDocument | null }[];
  return rows.flatMap((row) => {
    if (row?.doc === undefined) throw new BadAnswer("it has a row without a document");
    return row.doc ?? [];
  });
}

/** The text of `GET /{db}/_security`, which must be a whole object. */
export function readSecurity(text: string): string {
  try {
    membersOf(JSON.parse(text));
  } catch (cause) {
    if (cause instanceof BadAnswer) throw cause;
    throw new BadAnswer("it is not whole JSON", { cause });
  }
  return text.trim();
}

/**
 * The text of `GET /{db}/_revs_limit`: digits and, from CouchDB, a line's end. Where that is not there nobody can tell 50
 * from the beginning of 500, and a database that is restored with too low a limit loses histories.
 */
export function readRevsLimit(text: string): { limit: number; isWhole: boolean } {
  if (!/^[1-9]\d{0,14}\s*$/.test(text)) throw new BadAnswer("it is no limit");
  return { limit: Number(text), isWhole: text.endsWith("\n") };
}

/** The answer of a view that was asked for no rows. */
export function readNoRows(answer: unknown): void {
  arrayOf(membersOf(answer).rows, '"rows"');
}

/** `{"ok":true}`, the answer to what changes a database. */
export function readOk(answer: unknown): void {
  if (membersOf(answer).ok !== true) throw new BadAnswer('it does not say "ok"');
}

/** The rows of `POST /{db}/_bulk_docs`. */
export function readWriteRows(answer: unknown): WriteRow[] {
  const rows = arrayOf(answer, "rows");
  if (rows.every((row) => typeof (row as WriteRow | null)?.id === "string")) return rows as WriteRow[];
  throw new BadAnswer("it has a row without an id");
}
