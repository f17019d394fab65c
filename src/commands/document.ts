/**
 * Looks into a backup without restoring it: one document (show), all of them (export), or the history of one over all
 * backups (find). In: a database and a path. Out: bytes as CouchDB sent them, or what is known of revisions. Needs no
 * CouchDB.
 */
import { type Archive, openArchive, placeOfChunk } from "../archive/archive.ts";
import { CheckedChunk, type ChunkPlace } from "../archive/chunk.ts";
import { explainUnusable } from "../archive/damage.ts";
import { isLarge } from "../archive/documents.ts";
import { findArchive, type PathContext } from "../archive/find.ts";
import { suggestHeld } from "../archive/held_databases.ts";
import { takeInventory } from "../archive/inventory.ts";
import { parseManifestName } from "../archive/layout.ts";
import { LaterStates } from "../archive/later_states.ts";
import { addParents } from "../archive/parents.ts";
import type { Repository } from "../archive/repository.ts";
import {
  type Leaf,
  leafOf,
  revisionOf,
  walkBlocks,
  walkDocuments,
  type WalkedDocument,
  type WalkOptions,
  winnerOf,
} from "../archive/walk.ts";
import { unlock } from "../archive/unlock.ts";
import { commandLine } from "../command_line.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { ArchiveError, UsageError } from "../errors.ts";
import { joinKey, splitKey } from "../store/key.ts";
import { type SuspectBackup, Vanished } from "./vanished.ts";

/** Takes bytes of a result, which are valid until it has; false when nobody reads any more. */
export type Sink = (bytes: Uint8Array) => Promise<boolean>;

/** Which document of which backup. */
export interface ShowRequest {
  /** Encoded (`a%2Fb`) or not. */
  database: string;
  /** As for restore. */
  path: string;
  /** The document's id. */
  id: string;
  /** A leaf revision. @default the winning one, or the newest mark of a deletion where all are deleted */
  rev?: string | undefined;
}

/** What was shown. */
export interface ShownDocument {
  /** The decoded name of the database that the backup is of. */
  database: string;
  /** The URL of the backup. */
  path: string;
  /** Its id. */
  id: string;
  /** Its revision. */
  rev: string;
  /** Whether it is the mark of a deletion. */
  deleted: boolean;
  /** All leaf revisions that the backup has of it. */
  leaves: Leaf[];
}

const NEWLINE = new Uint8Array([0x0a]);
/** Small documents are sent together, as many as have room. */
const BLOCK_BYTES = 1 << 16;

/**
 * Finds a backup that can be read as a whole.
 *
 * @throws ArchiveError when there is none, or it is not whole; UsageError when it is sealed and nothing opens it.
 */
export async function openWhole(
  context: PathContext,
  { database, path }: { database: string; path: string },
): Promise<Archive> {
  const { signal } = context;
  const archive = await openArchive(await findArchive(context, path, decodeDatabase(database)), { signal });
  await addParents(archive, context);
  await unlock(archive, context);
  const [first] = archive.problems;
  if (first === undefined) return archive;
  // The path may name another database than the one that was asked for.
  const held = encodeDatabase(archive.database ?? decodeDatabase(database));
  throw new ArchiveError(
    `Cannot read "${archive.url}": "${first.chunk}" has a problem: ${first.problem}`,
    { key: joinKey(archive.place.folder, first.chunk), expected: "a complete backup", found: first.problem },
    { hint: `"${commandLine("list", ["--database", held])}" shows the backups there are` },
  );
}

/** Sends the bytes of one document, and a newline. @throws ArchiveError when the backup does not have it. */
export async function showDocument(context: PathContext, request: ShowRequest, sink: Sink): Promise<ShownDocument> {
  const { signal } = context;
  const archive = await openWhole(context, request);
  const isWanted = (id: string) => id === request.id;
  const leaves = await leavesOf(archive, { isWanted, signal });
  const { rev, deleted } = pickLeaf(archive, request, leaves);
  for await (const document of walkDocuments(archive, { isWanted, signal })) {
    if (revisionOf(document) !== rev) continue;
    await sendDocument(document, sink);
    break;
  }
  const database = archive.database ?? decodeDatabase(request.database);
  return { database, path: archive.url, id: request.id, rev, deleted, leaves };
}

async function leavesOf(archive: Archive, options: WalkOptions): Promise<Leaf[]> {
  const leaves: Leaf[] = [];
  for await (const document of walkDocuments(archive, options)) {
    leaves.push(await leafOf(document));
  }
  return leaves;
}

function pickLeaf({ url }: Archive, { id, rev }: ShowRequest, leaves: readonly Leaf[]): Leaf {
  const found = rev === undefined ? winnerOf(leaves) : leaves.find((leaf) => leaf.rev === rev);
  if (found !== undefined) return found;
  const others = leaves.length === 0 ? "no document of that id" : `only ${leaves.map(({ rev }) => rev).join(", ")}`;
  throw new ArchiveError(
    `There is no ${rev === undefined ? "" : `revision ${rev} of `}document "${id}" in "${url}": it has ${others}`,
    { key: url, expected: id, found: others },
    { hint: "Write the id without encoding; find shows which backups have a document" },
  );
}

async function sendDocument(document: WalkedDocument, sink: Sink): Promise<boolean> {
  if ("bytes" in document) {
    if (!await sink(onOneLine(document.bytes))) return false;
  } else {
    for await (const piece of document.stream) if (!await sink(onOneLine(piece))) return false;
  }
  return await sink(NEWLINE);
}

/** CouchDB writes no line ends; in files of others they can only stand between values, where a blank means the same. */
function onOneLine(bytes: Uint8Array): Uint8Array {
  if (bytes.indexOf(0x0a) < 0 && bytes.indexOf(0x0d) < 0) return bytes;
  return bytes.map((byte) => byte === 0x0a || byte === 0x0d ? 0x20 : byte);
}

/** What is to be exported. */
export interface ExportRequest {
  /** Encoded (`a%2Fb`) or not. */
  database: string;
  /** As for restore. */
  path: string;
  /** A regular expression that a part of the id matches. @default every document */
  matchId?: string | undefined;
  /** Of each document the winning revision alone, without histories of deletions. @default every leaf revision */
  winners?: boolean | undefined;
}

/** Sends documents, one a line, in the bytes that CouchDB sent. @returns How many. */
export async function exportDocuments(
  context: PathContext,
  request: ExportRequest,
  sink: Sink,
): Promise<{ database: string; path: string; revisions: number }> {
  const isWanted = readMatch(request.matchId);
  const archive = await openWhole(context, request);
  const lines = new LineSink(sink);
  const options = { isWanted, winnersOnly: request.winners, signal: context.signal };
  for await (const block of walkBlocks(archive, options)) {
    if (!await lines.add(block)) break;
  }
  await lines.flush();
  return { database: archive.database ?? decodeDatabase(request.database), path: archive.url, revisions: lines.taken };
}

/**
 * Sends documents, one a line, in blocks: a call for each small document would be most of the work, and of the memory.
 */
class LineSink {
  /** Documents that somebody has taken. */
  taken = 0;
  readonly #sink: Sink;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #used = 0;
  #waiting = 0;
  #isGone = false;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  /** @returns Whether anybody still reads. */
  async add(documents: readonly WalkedDocument[]): Promise<boolean> {
    for (const document of documents) {
      const bytes = "bytes" in document ? onOneLine(document.bytes) : undefined;
      if (bytes === undefined || bytes.length >= BLOCK_BYTES) {
        if (!await this.flush()) return false;
        if (await sendDocument(document, this.#sink)) this.taken++;
        else this.#isGone = true;
        if (this.#isGone) return false;
        continue;
      }
      if (this.#used + bytes.length + 1 > BLOCK_BYTES && !await this.flush()) return false;
      this.#block.set(bytes, this.#used);
      this.#used += bytes.length;
      this.#block[this.#used++] = NEWLINE[0]!;
      this.#waiting++;
    }
    return true;
  }

  /** Sends what waits. @returns Whether anybody still reads. */
  async flush(): Promise<boolean> {
    if (this.#used === 0 || this.#isGone) return !this.#isGone;
    this.#isGone = !await this.#sink(this.#block.subarray(0, this.#used));
    if (!this.#isGone) this.taken += this.#waiting;
    [this.#used, this.#waiting] = [0, 0];
    return !this.#isGone;
  }
}

function readMatch(source: string | undefined): ((id: string) => boolean) | undefined {
  if (source === undefined) return undefined;
  try {
    const pattern = new RegExp(source, "u");
    return (id) => pattern.test(id);
  } catch (error) {
    throw new UsageError(`--match-id "${source}" is not a regular expression: ${(error as Error).message}`);
  }
}

/** A state that a document had over one or several backups. */
export interface DocumentState {
  /** The winning revision; null where no backup of that time has the document. */
  rev: string | null;
  /** Whether it was deleted. */
  deleted: boolean;
  /** All leaf revisions. */
  leaves: Leaf[];
  /** When the first backup that has it so was complete, in UTC. */
  since: string;
  /** When the last one was complete. */
  until: string;
  /** How many backups have it so. */
  backups: number;
}

/** What `find --json` prints. */
export interface FoundDocument {
  /** The decoded name. */
  database: string;
  /** The document's id. */
  id: string;
  /** The latest first. */
  states: DocumentState[];
  /** Backups that could not be looked into. */
  problems: {
    /** When it was complete; null where nothing says. */
    finished_at: string | null;
    /** Why, a sentence. */
    problem: string;
  }[];
}

/**
 * The states of a document over all complete backups of its database. A chunk that several backups share is read once,
 * and of each backup no more than up to the chunk that has the document.
 *
 * @param context.lookAgainMs What `expire` has half deleted is looked at again after so long. @default three seconds
 * @throws StoreError when the store fails. A backup that is damaged, or that the store does not give out, is named; one
 * that `expire` has deleted meanwhile is not.
 */
export async function findDocument(
  context: PathContext & { repository: Repository; lookAgainMs?: number | undefined },
  { database: name, id }: { database: string; id: string },
): Promise<FoundDocument> {
  const { repository, signal } = context;
  const database = decodeDatabase(name);
  const backups: SuspectBackup[] = [];
  const damaged: ArchiveError[] = [];
  for await (const folder of takeInventory(repository, { database, signal })) {
    for (const { finishedAt, manifestKey, run } of folder.backups) {
      backups.push({ database, finishedAt, key: manifestKey, run });
    }
    for (const error of folder.damaged) damaged.push(error);
  }
  if (backups.length === 0) {
    throw new ArchiveError(`There is no complete backup of database "${database}"`, {
      key: repository.root,
      expected: "a manifest",
      found: "none",
    }, { hint: await suggestHeld(repository, database, { signal }) });
  }
  backups.sort((a, b) => a.finishedAt.getTime() - b.finishedAt.getTime());
  const found: FoundDocument = { database, id, states: [], problems: [] };
  const known = new Map<string, Leaf[]>();
  const vanished = new Vanished(context);
  for (const backup of backups) {
    const { finishedAt, key } = backup;
    const at = finishedAt.toISOString();
    try {
      const archive = await openWhole(context, { database, path: repository.locate(key) });
      noteState(found.states, await leavesIn(archive, { id, known, signal }), at);
    } catch (error) {
      const problem = explainUnusable(error);
      if (problem === undefined) throw error;
      // Also where the store does not tell whether it has expired: what the other backups have is told all the same.
      const noteFault = () => void found.problems.push({ finished_at: at, problem });
      await vanished.take(backup, { noteFault }, { signal });
    }
  }
  await vanished.settle({ signal });
  found.problems.sort((a, b) => a.finished_at! < b.finished_at! ? -1 : 1);
  for (const { facts: { key }, message } of damaged) {
    const finishedAt = parseManifestName(splitKey(key).name)?.finishedAt;
    found.problems.push({ finished_at: finishedAt?.toISOString() ?? null, problem: message });
  }
  found.states.reverse();
  return found;
}

/** The leaf revisions of a document in a backup. @param options.known What was found in chunks, by their URLs; grows. */
async function leavesIn(
  archive: Archive,
  { id, known, signal }: { id: string; known: Map<string, Leaf[]>; signal: AbortSignal },
): Promise<Leaf[]> {
  for (const chunk of new LaterStates(archive.chunks).chunks) {
    const place = placeOfChunk(archive, chunk);
    const url = place.store.locate(place.key);
    const leaves = known.get(url) ?? await leavesInChunk(place, { id, signal });
    known.set(url, leaves);
    if (leaves.length > 0) return leaves;
  }
  return [];
}

async function leavesInChunk(
  place: ChunkPlace,
  { id, signal }: { id: string; signal: AbortSignal },
): Promise<Leaf[]> {
  const leaves: Leaf[] = [];
  const checked = await CheckedChunk.open(place, { signal });
  for await (const item of checked.read({ passOver: (other) => other !== id, signal })) {
    for (const document of isLarge(item) ? [item] : item) {
      if (document.id === id) leaves.push(await leafOf(document));
    }
  }
  return leaves;
}

/** Lengthens the last state where nothing has changed, or begins another one. */
function noteState(states: DocumentState[], leaves: Leaf[], at: string): void {
  const winner = winnerOf(leaves);
  const sorted = leaves.toSorted((a, b) => a.rev < b.rev ? -1 : 1);
  const last = states.at(-1);
  const isSame = last !== undefined && JSON.stringify(last.leaves) === JSON.stringify(sorted);
  if (isSame) {
    last.until = at;
    last.backups++;
    return;
  }
  const { rev = null, deleted = false } = winner ?? {};
  states.push({ rev, deleted, leaves: sorted, since: at, until: at, backups: 1 });
}
