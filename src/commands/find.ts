/**
 * The history of one document over all backups of its database. In: a database and an id. Out: the states that it had,
 * with when, and backups that could not be looked into. Needs no CouchDB.
 */
import { type Archive, placeOfChunk } from "../archive/archive.ts";
import { CheckedChunk, type ChunkPlace } from "../archive/chunk.ts";
import { explainUnusable } from "../archive/damage.ts";
import { isLarge } from "../archive/documents.ts";
import type { PathContext } from "../archive/find.ts";
import { suggestHeld } from "../archive/held_databases.ts";
import { takeInventory } from "../archive/inventory.ts";
import { LaterStates } from "../archive/later_states.ts";
import { parseManifestName } from "../archive/layout.ts";
import type { Repository } from "../archive/repository.ts";
import { type Leaf, leafOf, winnerOf } from "../archive/walk.ts";
import { decodeDatabase } from "../database_name.ts";
import { ArchiveError } from "../errors.ts";
import { splitKey } from "../store/key.ts";
import { openWhole } from "./open_whole.ts";
import { type SuspectBackup, Vanished } from "./vanished.ts";

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
