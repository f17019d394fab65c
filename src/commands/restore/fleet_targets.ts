/**
 * The databases that a whole restore writes to, looked at before the first is written to. In: backups, and names for
 * them. Out: targets, with what each holds and what an earlier restore has noted there; or an error that names all that
 * must not be written to.
 */
import type { BackupOfMoment } from "../../archive/moment.ts";
import { refusePlain, requireUnlockable } from "../../archive/unlock.ts";
import type { CopyCount } from "../../couchdb/copy_counts.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import { readRestoreNote, type RestoreNote } from "../../couchdb/restore_note.ts";
import { CouchError, describeDiscreetly, describeError, UsageError } from "../../errors.ts";
import { loadAhead } from "../../parallel.ts";
import { joinKey } from "../../store/key.ts";
import { explainName, readRenames, unmetRenames } from "../../task/rename.ts";
import type { BegunFleet, FleetContext, FleetRequest } from "./context.ts";
import { describeContents, holdsDocuments, LAGGING } from "./target.ts";

/** Targets that are looked at at once. */
const TARGETS_AT_ONCE = 16;

/** What to do where a copy may lag. */
export const LAGGING_HINT = "Wait until the nodes of the cluster are up to date, and run the same command again";

/** What can be done where databases must not be written to as they are. */
const OTHERWISE = "restore under other names (--map), or add --into-existing";

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
  /** Why it may hold more, where that would change what becomes of it: a node of the cluster is not up to date. */
  lag: string | undefined;
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
  context: BegunFleet,
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
  const refused = targets.filter((target) => whyNotFree(target, request) !== undefined);
  if (refused.length === 0) return targets;
  const reasons = refused.flatMap((target) => whyNotFree(target, request) ?? []);
  if (refused.some(({ lag }) => lag !== undefined)) {
    // A node that never comes back must not keep anybody from restoring.
    const hint = `${LAGGING_HINT}. Nothing was written: where that takes too long, ${OTHERWISE}`;
    throw new CouchError(listing(reasons), { error: LAGGING }, { hint });
  }
  throw refuse(reasons, `Nothing was written: ${OTHERWISE}`);
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
  context: BegunFleet,
  found: readonly BackupOfMoment[],
  { map = [] }: FleetRequest,
): Promise<Target[]> {
  const { couch, signal } = context;
  const rename = readRenames(map);
  const infos = await couch.manyDatabaseInfos(found.map(({ database }) => rename(database)), { signal });
  const look = async (one: BackupOfMoment, signal: AbortSignal): Promise<Target> => {
    const to = rename(one.database);
    const nothing = { note: undefined, documents: 0, deleted: 0, created: null, position: "", lag: undefined };
    const first = infos.get(to);
    // One that is there and says nothing tells why when it is restored.
    if (first === undefined) return { ...one, to, ...nothing, isMissing: !infos.has(to) };
    return await lookAt({ ...context, signal }, { ...one, to, ...nothing, isMissing: false }, first);
  };
  return await Array.fromAsync(loadAhead(found, look, { limit: TARGETS_AT_ONCE, signal }));
}

/** Counts what is there again where that would be written to, refused or told of for having too little. */
async function lookAt({ couch, counts, signal }: BegunFleet, target: Target, first: DatabaseInfo): Promise<Target> {
  const { to } = target;
  const isHolding = (info: DatabaseInfo) => holdsDocuments(to, info);
  const { info, lag } = await counts.most(to, { first, isEnough: isHolding }, { signal });
  const held = counting(target, { info, lag });
  // An empty one may be a backup's that has no document, and its note alone tells that it is restored.
  const note = await readRestoreNote(couch, to, { signal });
  const noted = { ...held, note };
  // What is not the database that was restored is none the more for what it holds.
  if (!isNoted(noted) || note?.done !== true || note.witness?.created !== held.created) return noted;
  const isWhole = (info: DatabaseInfo) =>
    isOurs(counting(noted, { info, lag })) && info.doc_count >= (note.documents ?? 0);
  const most = await counts.most(to, { first: info, isEnough: isWhole }, { signal });
  return counting(noted, most);
}

/** A target with what is counted of it. */
function counting<T extends Target>(target: T, { info, lag }: CopyCount): T {
  const { doc_count: documents, doc_del_count: deleted, instance_start_time: created, update_seq: position } = info;
  return { ...target, documents, deleted, created, position, lag };
}

function isFilled({ to, documents, deleted }: Target): boolean {
  return holdsDocuments(to, { doc_count: documents, doc_del_count: deleted });
}

/** Why a target must not be written to, as a phrase; undefined where it may be, or needs not be. */
export function whyNotFree(target: Target, { intoExisting }: FleetRequest): string | undefined {
  if (intoExisting === true || isOurs(target)) return undefined;
  if (target.lag !== undefined) return describeDoubt(target);
  return isFilled(target) ? describeFilled(target) : undefined;
}

/** That nobody knows what a target holds. */
export function describeDoubt({ to, lag }: Target): string {
  return `what "${to}" holds is not known, as a copy may lag: ${lag}`;
}

/** Why a target that holds documents is not written to. */
function describeFilled(target: Target): string {
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
  return new UsageError(listing(problems), { hint });
}

function listing(problems: readonly string[]): string {
  const shown = problems.slice(0, SHOWN_PROBLEMS).map((problem) => `\n  ${problem}`).join("");
  const more = problems.length > SHOWN_PROBLEMS ? `\n  and ${problems.length - SHOWN_PROBLEMS} more` : "";
  return `Cannot restore all of these databases:${shown}${more}`;
}
