/**
 * What CouchDB says of a database as a whole. In: the answer of `GET /{db}`, or a row of `_dbs_info`. Out: the same for
 * every version of CouchDB.
 */
import { CouchError } from "../errors.ts";
import { countIn, innerMembers, type Members, strangeAnswer, textIn } from "./answers.ts";
import { positionText } from "./changes_page.ts";
import { SLASH_HINT } from "./error.ts";

/** What `GET /{db}` says. */
export interface DatabaseInfo {
  /** Documents that are not deleted, design documents among them. */
  doc_count: number;
  /** Documents whose winning revision is a deletion. */
  doc_del_count: number;
  /** CouchDB's opaque update sequence. */
  update_seq: string;
  /** Uncompressed size of the live documents and attachments, in bytes; 0 where CouchDB does not say. */
  external_bytes: number;
  /** Shards; null where CouchDB does not say (before 2.0). */
  q: number | null;
  /** Copies of each shard; null where CouchDB does not say. */
  n: number | null;
  /** Whether ids begin with a partition's name. */
  partitioned: boolean;
  /** When the database was created, since 3.3; null where CouchDB does not tell. */
  instance_start_time: string | null;
  /** Null before 2.3. */
  purge_seq: string | null;
}

/**
 * Reads what CouchDB says of a database, for itself or as one of several. @throws CouchError where it is not about that
 * database, or does not count its documents.
 */
export function readInfo(answer: Members, database: string): DatabaseInfo {
  const subject = { action: `read the properties of database "${database}"`, database };
  // A proxy that decodes %2F asks CouchDB for a document instead, whatever that has in its members.
  if (answer.db_name !== database) throw foreignAnswer(database);
  const documents = countIn(answer, "doc_count", { ...subject, otherwise: undefined });
  if (documents === undefined) throw strangeAnswer(subject, 'has no "doc_count"');
  const cluster = innerMembers(answer, "cluster");
  const created = textIn(answer, "instance_start_time");
  const { purge_seq: purgeSeq = null } = answer;
  return {
    doc_count: documents,
    doc_del_count: countIn(answer, "doc_del_count", { ...subject, otherwise: 0 }),
    update_seq: answer.update_seq === undefined ? "" : positionText(answer.update_seq),
    external_bytes: countIn(innerMembers(answer, "sizes"), "external", { ...subject, otherwise: 0 }),
    q: countIn(cluster, "q", { ...subject, otherwise: null }),
    n: countIn(cluster, "n", { ...subject, otherwise: null }),
    partitioned: innerMembers(answer, "props").partitioned === true,
    // "0" stands for "not known" before 3.3, and from nodes that are not yet upgraded.
    instance_start_time: created === "0" ? null : created,
    purge_seq: purgeSeq === null ? null : positionText(purgeSeq),
  };
}

function foreignAnswer(database: string): CouchError {
  return new CouchError(
    `Cannot read the properties of database "${database}": the answer is not from this database`,
    { error: "foreign_answer", database },
    {
      hint: database.includes("/")
        ? SLASH_HINT
        : "Check what stands between this machine and CouchDB: a proxy may rewrite paths or answers",
    },
  );
}
