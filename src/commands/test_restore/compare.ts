/**
 * Compares what an archive holds with what CouchDB answers, byte for byte: every leaf revision with its history and its
 * attachments. In: an archive and a database. Out: how much was compared, and what differs, a sentence each.
 *
 * Some hundred documents are in hand at a time, by the hash of each revision's bytes: neither side is ever held whole.
 */
import { createHash } from "node:crypto";
import type { Archive } from "../../archive/archive.ts";
import { revisionOf, walkDocuments, type WalkedDocument } from "../../archive/walk.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { readDocuments, type ReadDocumentsOptions } from "../read_documents.ts";

/** Documents that CouchDB is asked for at a time, fewer where they are large. */
const DOCUMENTS_AT_ONCE = 500;
const BYTES_AT_ONCE = 8 << 20;
/** Differences that are named; all are counted. */
const MOST_NAMED = 20;

/** What was compared, and what came of it. */
export interface Comparison {
  documents: number;
  leafRevisions: number;
  /** How many leaf revisions are missing, different or too much. */
  differences: number;
  /** The first of them, a sentence each. */
  named: string[];
  /** Documents that CouchDB could not read, and that are among no differences. */
  unread: UnreadableDocument[];
}

/** What is compared with what. */
export interface CompareContext {
  /** Of which documents it is known that not all was written: what lacks of them is no difference. @default none */
  isUnwritten?: ((id: string) => boolean) | undefined;
  /** Is told each document of the archive with all its leaf revisions. */
  onDocument?: ((id: string, revs: readonly string[]) => void) | undefined;
  couch: CouchClient;
  /** Decoded. */
  database: string;
  signal: AbortSignal;
}

/** By id and revision the hash of a leaf revision's bytes. */
type Leaves = Map<string, Map<string, string>>;

/**
 * Compares all documents of an archive with those of a database.
 *
 * @throws ArchiveError when a chunk is damaged; CouchError and StoreError; the reason of `signal`.
 */
export async function compareWithDatabase(archive: Archive, context: CompareContext): Promise<Comparison> {
  const { signal } = context;
  // A document without a history in the backup is restored without one: CouchDB would answer with one all the same.
  const { revisions = true, attachments = true } = archive.origin?.options ?? {};
  const result: Comparison = { documents: 0, leafRevisions: 0, differences: 0, named: [], unread: [] };
  let batch: Leaves = new Map();
  let bytes = 0;
  const compareBatch = async () => {
    if (batch.size === 0) return;
    const onUnread = (documents: readonly UnreadableDocument[]) => void result.unread.push(...documents);
    const before = result.unread.length;
    const found = await readLeaves(context, [...batch.keys()], { revisions, attachments, onUnread });
    const unread = new Set(result.unread.slice(before).map(({ id }) => id));
    const mayLack = (id: string) => unread.has(id) || context.isUnwritten?.(id) === true;
    compare(batch, { found, mayLack }, result);
    if (context.onDocument !== undefined) { for (const [id, revs] of batch) context.onDocument(id, [...revs.keys()]); }
    [batch, bytes] = [new Map(), 0];
  };
  for await (const document of walkDocuments(archive, { signal })) {
    const id = document.id ?? "";
    const isNext = !batch.has(id);
    if (isNext && (batch.size >= DOCUMENTS_AT_ONCE || bytes >= BYTES_AT_ONCE)) await compareBatch();
    const added = await addLeaf(batch, id, document);
    bytes += added;
    result.leafRevisions++;
    if (isNext) result.documents++;
  }
  await compareBatch();
  return result;
}

/** Takes a leaf revision. @returns Its size in bytes. */
async function addLeaf(leaves: Leaves, id: string, document: WalkedDocument): Promise<number> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const piece of "bytes" in document ? [document.bytes] : document.stream) {
    hash.update(piece);
    bytes += piece.length;
  }
  const revs = leaves.get(id) ?? new Map<string, string>();
  revs.set(revisionOf(document) ?? "", hash.digest("base64"));
  leaves.set(id, revs);
  return bytes;
}

/** What CouchDB has of some documents; those that it does not have are not in the answer. */
async function readLeaves(
  { couch, database, signal }: CompareContext,
  ids: readonly string[],
  options: Pick<ReadDocumentsOptions<Leaves>, "revisions" | "attachments" | "onUnread">,
): Promise<Leaves> {
  return await readDocuments<Leaves>(ids, {
    ...options,
    couch,
    database,
    begin: () => new Map(),
    add: (leaves, document) => addLeaf(leaves, document.id ?? "", document),
    signal,
  });
}

function compare(
  expected: Leaves,
  { found, mayLack }: { found: Leaves; mayLack: (id: string) => boolean },
  result: Comparison,
): void {
  const note = (id: string, problem: string) => {
    result.differences++;
    if (result.named.length < MOST_NAMED) result.named.push(`document ${JSON.stringify(id)}${problem}`);
  };
  for (const [id, revs] of expected) {
    const there = found.get(id);
    if (there === undefined) {
      if (!mayLack(id)) note(id, " is missing in CouchDB's answer");
      continue;
    }
    for (const [rev, hash] of revs) {
      const answered = there.get(rev);
      if (answered === undefined) {
        if (!mayLack(id)) note(id, `: CouchDB's answer lacks the leaf revision ${rev}`);
      } else if (answered !== hash) note(id, `: CouchDB answers other bytes for the leaf revision ${rev}`);
    }
    for (const rev of there.keys()) {
      if (!revs.has(rev)) note(id, `: CouchDB answers a leaf revision that the backup does not have, ${rev}`);
    }
  }
}
