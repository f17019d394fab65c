/**
 * Objects in the folders of a database that belong to no backup: the chunks of an interrupted run, its checkpoint and
 * filter, what it was writing when it was killed, and remains of a deleted backup. In: all that is held of the
 * database. Out: the keys that may be deleted. Pure.
 */
import type { DatabaseHoldings, HeldFolder } from "../../archive/holdings.ts";
import {
  isCheckpointName,
  isFilterName,
  isPinName,
  isSeenName,
  parseChunkName,
  pinName,
} from "../../archive/layout.ts";
import { joinKey } from "../../store/key.ts";
import { YOUNGEST_MS } from "../../task/retention.ts";

/** A run that stored something or noted how far it has come so lately may be under way, suspended, or be resumed. */
const RESUMABLE_MS: number = 7 * YOUNGEST_MS;

/** An object that no backup needs. */
export interface LeftoverObject {
  key: string;
  sizeBytes: number;
}

/**
 * The objects that may go. Nothing does where a run may still go on from it, what is younger than a week, or younger
 * than the newest whole backup of the database: there it may be all that there is of what has changed since.
 *
 * @param options `now`: by the store's clock.
 */
export function findLeftovers({ folders }: DatabaseHoldings, { now }: { now: Date }): LeftoverObject[] {
  let newest = -Infinity;
  for (const { backups } of folders) {
    for (const { isWhole, finishedAt } of backups) if (isWhole) newest = Math.max(newest, finishedAt.getTime());
  }
  const before = Math.min(newest, now.getTime() - RESUMABLE_MS);
  return folders.filter((folder) => isQuiet(folder, now)).flatMap((folder) => {
    const named = new Set(folder.backups.flatMap(({ chunks, run, seen }) => [...chunks.keys(), ...seen, pinName(run)]));
    return [...folder.objects].filter(([name, { modified, isUnfinished = false }]) =>
      (isUnfinished || isPartOfRun(name)) && !named.has(name) && modified.getTime() < before
    ).map(([name, { sizeBytes }]) => ({ key: joinKey(folder.folder, name), sizeBytes }));
  });
}

/** Whether nobody may go on from what lies there, and everybody's manifest could be read. */
function isQuiet(folder: HeldFolder, now: Date): boolean {
  const latest = newestCheckpoint(folder);
  return folder.damaged.length === 0 && (latest === undefined || now.getTime() - latest.getTime() > RESUMABLE_MS);
}

/** When a run that has not finished last noted how far it had come in a folder; undefined where none did. */
function newestCheckpoint({ objects }: HeldFolder): Date | undefined {
  let newest: Date | undefined;
  for (const [name, { modified }] of objects) {
    if (isCheckpointName(name) && (newest === undefined || modified > newest)) newest = modified;
  }
  return newest;
}

/** What is not ours stays: somebody has put it there. */
function isPartOfRun(name: string): boolean {
  return parseChunkName(name) !== undefined || isCheckpointName(name) || isFilterName(name) || isPinName(name) ||
    isSeenName(name);
}
