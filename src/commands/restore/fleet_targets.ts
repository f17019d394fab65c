/**
 * The databases that a whole restore writes to, looked at before the first is written to. In: backups, and names for
 * them. Out: targets, with what each holds and what an earlier restore has noted there; or an error that names all that
 * must not be written to.
 */
import type { BackupOfMoment } from "../../archive/moment.ts";
import { refusePlain, requireUnlockable } from "../../archive/unlock.ts";
import { readRestoreNote, type RestoreNote } from "../../couchdb/restore_note.ts";
import { describeDiscreetly, describeError, UsageError } from "../../errors.ts";
import { loadAhead } from "../../parallel.ts";
import { joinKey } from "../../store/key.ts";
import { explainName, readRenames, unmetRenames } from "../../task/rename.ts";
import type { FleetContext, FleetRequest } from "./context.ts";
import { describeContents } from "./target.ts";

/** Targets that are looked at at once. */
const TARGETS_AT_ONCE = 16;

/** Problems that a message names one by one. */
const SHOWN_PROBLEMS = 20;

/** A database on its way. */
export interface Target extends BackupOfMoment {
  /** The decoded name to restore to. */
  to: string;
  /** What an earlier restore has noted there. */
  note: RestoreNote | undefined;
  /** Documents that it holds now. */
  documents: number;
  /** Marks of deleted ones that it holds now. */
  deleted: number;
  /** When it was created; null where CouchDB does not tell. */
  created: string | null;
  /** A position in its changes feed, of now; "" where it is not there. */
  position: string;
  /** Whether it is not there. */
  isMissing: boolean;
}

/** Whether what is restored was sealed, so that nothing but its own report may name its documents. */
export function isSealed({ point }: Pick<Target, "point">): boolean {
  return point.manifest.recipients !== undefined;
}

/** How an error is described in a log. */
export function describerOf(target: Pick<Target, "point">): (error: unknown) => string {
  return isSealed(target) ? describeDiscreetly : describeError;
}

/** Determines every target, and refuses all when one is invalid. @throws UsageError that names the invalid ones. */
export async function examineTargets(
  context: FleetContext,
  found: readonly BackupOfMoment[],
  request: FleetRequest,
): Promise<Target[]> {
  await examineSeals(context, found, request);
  const rename = readRenames(request.map ?? []);
  const problems: string[] = [];
  let isOdd = false;
  const sources = new Map<string, string[]>();
  for (const { database } of found) sources.set(rename(database), [...sources.get(rename(database)) ?? [], database]);
  for (const [to, from] of sources) {
    if (from.length > 1) problems.push(`"${to}" would get ${from.map((name) => `"${name}"`).join(" and ")}`);
    const reason = explainName(to);
    if (reason === undefined) continue;
    problems.push(`"${to}" is not a valid database name: ${reason}`);
    isOdd ||= from.includes(to);
  }
  for (const text of unmetRenames(request.map ?? [], found.map(({ database }) => database))) {
    problems.push(`--map "${text}" matches none of them`);
  }
  // A folder of that name lies among the backups: somebody has put it there.
  const remedy = isOdd ? "leave it out by --exclude, or give it another name by --map" : "correct --map";
  if (problems.length > 0) throw refuse(problems, `Nothing was written: ${remedy}`);
  const targets = await lookAtTargets(context, found, request);
  for (const target of targets) {
    if (isFilled(target) && !isOurs(target) && request.intoExisting !== true) problems.push(describeFilled(target));
  }
  if (problems.length > 0) {
    throw refuse(problems, "Nothing was written: restore under other names (--map), or add --into-existing");
  }
  return targets;
}

/** @throws UsageError and ArchiveError where one could not be opened, or is in clear and should not be. */
async function examineSeals(
  { repository, seal }: FleetContext,
  found: readonly BackupOfMoment[],
  { allowPlain }: FleetRequest,
): Promise<void> {
  for (const { point: { folder, name, manifest: origin } } of found) {
    refusePlain({ origin, folder, url: repository.locate(joinKey(folder, name)) }, { seal, allowPlain });
  }
  const manifests = found.map(({ point: { folder, name, manifest } }) => ({ manifest, key: joinKey(folder, name) }));
  await requireUnlockable(manifests, seal);
}

/** Looks what the targets hold, and what earlier restores have noted there. */
export async function lookAtTargets(
  { couch, signal }: FleetContext,
  found: readonly BackupOfMoment[],
  { map = [] }: FleetRequest,
): Promise<Target[]> {
  const rename = readRenames(map);
  const counts = await couch.documentCounts(found.map(({ database }) => rename(database)), { signal });
  const look = async (one: BackupOfMoment, signal: AbortSignal): Promise<Target> => {
    const to = rename(one.database);
    const { documents = 0, deleted = 0, created = null, position = "" } = counts.get(to) ?? {};
    const isMissing = !counts.has(to);
    const target = { ...one, to, note: undefined, documents, deleted, created, position, isMissing };
    return isFilled(target) ? { ...target, note: await readRestoreNote(couch, to, { signal }) } : target;
  };
  return await Array.fromAsync(loadAhead(found, look, { limit: TARGETS_AT_ONCE, signal }));
}

export function isFilled({ to, documents, deleted }: Target): boolean {
  // CouchDB puts a design document of its own into a new _users.
  return documents + deleted > (to === "_users" ? 1 : 0);
}

/** Why a target that holds documents is not written to. */
export function describeFilled(target: Target): string {
  const { to, documents, deleted } = target;
  const holds = `"${to}" holds ${describeContents(documents, deleted)}`;
  return isNoted(target) ? `${holds}, and a note of a restore that does not fit them` : holds;
}

/** Whether a target's note speaks of this very backup. */
function isNoted({ note, point }: Target): boolean {
  return note !== undefined && note.run === point.manifest.run && note.database === point.manifest.database;
}

/**
 * Whether what lies in a target was put there by a restore of this very backup. A note that says so is a document,
 * which anybody may write who may write to the database, and which comes along when its files are copied: where it says
 * that all is done, the database itself must agree. Where it says that something was begun, everything is compared
 * anyway.
 */
export function isOurs(target: Target): boolean {
  const { note } = target;
  if (note === undefined || !isNoted(target)) return false;
  if (!note.done) return true;
  return note.witness?.created === target.created && target.documents + target.deleted >= leastDocuments(target);
}

/**
 * The least number of documents of a backup, deleted ones too; 0 for one with parents, or with documents read again.
 */
function leastDocuments({ point: { manifest } }: Target): number {
  const isPlain = manifest.parent === null && manifest.chunks.every(({ again }) => again !== true);
  return isPlain ? manifest.totals.documents : 0;
}

function refuse(problems: readonly string[], hint: string): UsageError {
  const shown = problems.slice(0, SHOWN_PROBLEMS).map((problem) => `\n  ${problem}`).join("");
  const more = problems.length > SHOWN_PROBLEMS ? `\n  and ${problems.length - SHOWN_PROBLEMS} more` : "";
  return new UsageError(`Cannot restore all of these databases:${shown}${more}`, { hint });
}
