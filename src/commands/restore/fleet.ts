/**
 * Restores all databases of a moment, several at a time. In: a moment, which databases, and names for them. Out: a
 * report.
 *
 * Every target is determined and checked before the first is written to: two sources of one target, an invalid name, or
 * a target that holds other documents end it, with all of them named. In each target a local document notes what is
 * being restored into it and whether that is done, so that the same command continues after any kill: what is done is
 * skipped, what was begun is finished.
 */
import { type BackupOfMoment, backupsOfMoment, type LastSelection, lastSelections } from "../../archive/moment.ts";
import type { Repository } from "../../archive/repository.ts";
import { refusePlain, requireUnlockable } from "../../archive/unlock.ts";
import type { DatabaseInfo } from "../../couchdb/client.ts";
import {
  isUnwritten,
  readRestoreNote,
  type RestoreNote,
  type RestoreWitness,
  storeRestoreNote,
} from "../../couchdb/restore_note.ts";
import { decodeDatabase, encodeDatabase } from "../../database_name.ts";
import { parseDate, parseInstant } from "../../dates.ts";
import { ArchiveError, describeDiscreetly, describeError, exitCodeOf, hintOf, UsageError } from "../../errors.ts";
import { withinRun } from "../../observe.ts";
import { eitherSignal, forEachParallel, loadAhead } from "../../parallel.ts";
import { joinKey } from "../../store/key.ts";
import { compilePattern } from "../../task/pattern.ts";
import { explainName, readRenames, unmetRenames } from "../../task/rename.ts";
import type { OneOfMany, RestoreContext, RestoreRequest } from "./context.ts";
import type { FleetDatabase, FleetReport, LeftOut } from "./fleet_report.ts";
import { FreshSettings } from "./fresh_settings.ts";
import { restoreOneOfMany } from "./restore.ts";
import { describeContents } from "./target.ts";

/** Databases at the same time, unless set otherwise. */
const DEFAULT_DATABASES = 4;
/** Targets that are looked at at once. */
const TARGETS_AT_ONCE = 16;
/** So much the clocks of machines that run tasks may differ. */
const CLOCKS_DIFFER_MS = 10 * 60_000;
/** Problems that a message names one by one. */
const SHOWN_PROBLEMS = 20;

/** CouchDB's system databases: restored only if named, because they hold logins and start replications. */
const ONLY_BY_NAME: ReadonlySet<string> = new Set(["_users", "_replicator", "_global_changes"]);

/** What a whole restore works with. */
export interface FleetContext extends RestoreContext {
  repository: Repository;
  /** Receives the name of the restore in a database's note, before it starts or resumes. */
  onBegun?: ((id: string) => void) | undefined;
}

/** What is to be restored, and how. */
export interface FleetRequest extends Omit<RestoreRequest, "database" | "path"> {
  /** `latest`, or a moment: of each database the newest backup that was complete then. */
  path: string;
  /** Patterns, of which one must match a database's name. @default every database but CouchDB's own */
  match?: readonly string[] | undefined;
  /** Patterns, of which none may match. */
  exclude?: readonly string[] | undefined;
  /** `FROM=TO`: names to restore to. @default their own */
  map?: readonly string[] | undefined;
  /** Databases at the same time. @default 4 */
  databasesAtOnce?: number | undefined;
  /** Its report goes where a log does, and names no documents of what is sealed. @default false */
  isDiscreet?: boolean | undefined;
  /** Bring back those, too, that the last run before the moment did not select any more. @default false */
  gone?: boolean | undefined;
}

/** Whether what is restored was sealed, so that nothing but its own report may name its documents. */
export function isSealed({ point }: Pick<Target, "point">): boolean {
  return point.manifest.recipients !== undefined;
}

/** How an error is described in a log. */
export function describerOf(target: Pick<Target, "point">): (error: unknown) => string {
  return isSealed(target) ? describeDiscreetly : describeError;
}

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

/**
 * Restores all databases of a moment.
 *
 * @throws UsageError before anything is written, when the targets are not as they must be; StoreError and CouchError
 * when these cannot be found out; the reason of `context.signal`. What fails behind that is in the report.
 */
export async function restoreFleet(context: FleetContext, request: FleetRequest): Promise<FleetReport> {
  const { log, now, progress } = context;
  const startedAt = now();
  const signal = eitherSignal(context);
  const notAfter = readMoment(request.path);
  const { kept, leftOut } = await findFleet({ ...context, signal }, request, { notAfter });
  const targets = await examineTargets({ ...context, signal }, kept, request);
  progress.runStarted({ action: "restore", databases: targets.length });
  const outcomes = new Map<string, FleetDatabase>();
  const fresh = new FreshSettings();
  try {
    await forEachParallel(
      () => each(targets),
      async (target, signal) =>
        void outcomes.set(target.to, await restoreOne({ ...context, fresh, signal }, target, request)),
      { limit: request.databasesAtOnce ?? DEFAULT_DATABASES, signal },
    );
  } finally {
    progress.runFinished();
  }
  const databases = targets.flatMap(({ to }) => outcomes.get(to) ?? []);
  const isMissing = leftOut.some(({ is_missing }) => is_missing);
  const report: FleetReport = {
    ok: databases.every(isThere) && !isMissing,
    moment: notAfter?.toISOString() ?? null,
    databases,
    left_out: leftOut,
    documents: databases.reduce((sum, { report }) => sum + (report?.documents ?? 0), 0),
    seconds: (now().getTime() - startedAt.getTime()) / 1000,
    ...request.dryRun === true ? { dry_run: true } : {},
  };
  const facts = { databases: databases.length, failed: databases.filter((one) => !isThere(one)).length };
  if (report.ok) {
    log.info(request.dryRun === true ? "all databases could be restored" : "all databases are restored", facts);
  } else log.error("not all databases are restored", { ...facts, leftOut: leftOut.length });
  return report;
}

/**
 * Finds the backups of a moment that are asked for.
 *
 * @param where.isPart Which databases are looked at, where they are not all of them: no pattern then need be met.
 * @returns What is to be restored, and what is not, by the names of the databases.
 * @throws ArchiveError when nothing is found, or nothing for a pattern.
 */
export async function findFleet(
  context: FleetContext,
  request: FleetRequest,
  { notAfter, isPart }: { notAfter: Date | undefined; isPart?: ((database: string) => boolean) | undefined },
): Promise<{ kept: BackupOfMoment[]; leftOut: LeftOut[] }> {
  const { log, now, repository, signal } = context;
  const matches = readFilter(request);
  const own = new Set<string>();
  const isWanted = (database: string) => {
    if (isPart?.(database) === false) return false;
    if (isLeftUnnamed(database, request)) own.add(database);
    return matches(database);
  };
  const selections = await lastSelections(repository, { notAfter, signal });
  const found = await Array.fromAsync(backupsOfMoment(repository, { notAfter, isWanted, log, now, signal }));
  if (isPart === undefined) {
    if (found.length === 0) throw nothingFound(context, request, request.match);
    const unmet = unmetPatterns(request, found);
    if (unmet.length > 0) throw nothingFound(context, request, unmet);
  }
  const { kept, leftOut } = sortOut(found, { selections, isWanted, gone: request.gone === true });
  leftOut.push(...findSuperseded(kept, { selections, notAfter }));
  for (const database of own) {
    const reason = `CouchDB's system databases are restored only if named (--match ${database})`;
    leftOut.push({ database, reason, is_missing: false });
  }
  return { kept, leftOut: leftOut.sort((a, b) => a.database < b.database ? -1 : 1) };
}

/** Whether a system database is skipped although no selection was given: missing logins are easily overlooked. */
function isLeftUnnamed(database: string, { match, exclude = [] }: FleetRequest): boolean {
  if (!ONLY_BY_NAME.has(database) || match !== undefined) return false;
  return !exclude.some((source) => compilePattern(source).matches(database));
}

/** Whether all of a database is there. */
export function isThere({ status, fewer }: FleetDatabase): boolean {
  return status === "restored" || (status === "already" && fewer === undefined);
}

/** What a path means; undefined for the newest of all. @throws UsageError when it is neither `latest` nor a moment. */
export function readMoment(path: string): Date | undefined {
  if (path === "latest") return undefined;
  const moment = parseInstant(path);
  if (moment !== undefined) return moment;
  const date = parseDate(path);
  throw new UsageError(`Cannot restore all databases of "${path}": it is neither "latest" nor a moment`, {
    hint: date === undefined
      ? 'A moment has a date, a time and a zone: "2026-11-25T18:05Z" or "2026-11-25T19:05:30+01:00"'
      : `A day has many moments; its end is "${path.replaceAll("/", "-")}T23:59:59Z"`,
  });
}

function readFilter({ match, exclude = [] }: FleetRequest): (database: string) => boolean {
  const wanted = match?.map(compilePattern);
  const unwanted = exclude.map(compilePattern);
  // A pattern such as ".*" names nobody.
  const isNamed = (database: string) => match?.some((source) => decodeDatabase(source) === database) === true;
  return (database) => {
    if (unwanted.some((pattern) => pattern.matches(database))) return false;
    if (ONLY_BY_NAME.has(database)) return isNamed(database);
    return wanted === undefined || wanted.some((pattern) => pattern.matches(database));
  };
}

/** Separates what is to be restored from what the last runs no longer had, and names what has no backup. */
function sortOut(
  found: readonly BackupOfMoment[],
  { selections, isWanted, gone }: {
    selections: readonly LastSelection[];
    isWanted: (database: string) => boolean;
    gone: boolean;
  },
): { kept: BackupOfMoment[]; leftOut: LeftOut[] } {
  const byTask = new Map(selections.map((selection) => [selection.task, selection]));
  const isSelected = (database: string) => selections.some(({ databases }) => databases.has(database));
  const leftOut: LeftOut[] = [];
  const kept = found.filter(({ database, point: { manifest, finishedAt } }) => {
    const last = byTask.get(manifest.task);
    // Without a report of its task, or where the backup is younger than that run, nobody can tell that it is gone.
    if (gone || last === undefined || isSelected(database) || finishedAt > last.at) return true;
    const at = last.at.toISOString().replace(/\.\d+Z$/, "Z");
    const reason = `the run of task "${last.task}" of ${at} no longer had it (--gone restores it)`;
    leftOut.push({ database, reason, is_missing: false });
    return false;
  });
  const there = new Set(found.map(({ database }) => database));
  for (const { task, databases } of selections) {
    for (const [database, status] of databases) {
      if (there.has(database) || status === "gone" || !isWanted(database)) continue;
      there.add(database);
      const reason = `task "${task}" should have saved it, but there is no complete backup`;
      leftOut.push({ database, reason, is_missing: true });
    }
  }
  return { kept, leftOut };
}

/**
 * Newer backups that the last runs had reported and that are not found: their manifests are damaged or gone, or the
 * index of a copied bucket is not whole. An older state is restored then, which nobody would notice.
 */
function findSuperseded(
  kept: readonly BackupOfMoment[],
  { selections, notAfter }: { selections: readonly LastSelection[]; notAfter: Date | undefined },
): LeftOut[] {
  return kept.flatMap(({ database, point: { manifest, finishedAt } }) => {
    // The report has the very moment of the manifest; that of another task may go by another machine's clock.
    const own = Date.parse(manifest.finished_at);
    for (const { task, savedAt } of selections) {
      const saved = savedAt.get(database);
      if (saved === undefined || (notAfter !== undefined && saved > notAfter)) continue;
      if (own + (task === manifest.task ? 0 : CLOCKS_DIFFER_MS) >= saved.getTime()) continue;
      const [newer, older] = [saved, finishedAt].map((moment) => moment.toISOString().replace(/\.\d+Z$/, "Z"));
      const reason =
        `the task "${task}" reported a backup of ${newer} that is damaged or not found, so that of ${older} ` +
        `is taken ("couchdb-backup list --rebuild" finds what the index lacks)`;
      return [{ database, reason, is_missing: true }];
    }
    return [];
  });
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

function isFilled({ to, documents, deleted }: Target): boolean {
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

async function restoreOne(
  context: FleetContext & OneOfMany,
  target: Target,
  request: FleetRequest,
): Promise<FleetDatabase> {
  const { log, signal } = context;
  try {
    return await restoreTarget(context, target, request);
  } catch (error) {
    signal.throwIfAborted();
    const hint = hintOf(error);
    const told = describerOf(target)(error);
    log.error("database is not restored", { database: target.to, error: told, hint });
    return {
      ...addressOf(target),
      status: "failed",
      error: request.isDiscreet === true ? told : describeError(error),
      ...hint === undefined ? {} : { hint },
      exit_code: exitCodeOf(error),
    };
  }
}

function addressOf(
  { database: source, to, point }: Target,
): Pick<FleetDatabase, "source" | "database" | "finished_at"> {
  return { source, database: to, finished_at: point.finishedAt.toISOString() };
}

/** What an earlier restore has brought back; undefined where it has not, or all is to be written again. */
export function restoredBefore(target: Target, request: FleetRequest): FleetDatabase | undefined {
  const { note, documents: there } = target;
  if (!isOurs(target) || note?.done !== true || request.intoExisting === true) return undefined;
  const { documents: restored = 0, at } = note;
  const outcome: FleetDatabase = { ...addressOf(target), status: "already" };
  // Where it was emptied again behind that restore, "restored before" alone would be believed.
  return there >= restored ? outcome : { ...outcome, fewer: { restored, restored_at: at, there } };
}

/** Restores one database, unless an earlier restore has. @throws As `restore` does. */
export async function restoreTarget(
  context: FleetContext & OneOfMany,
  target: Target,
  request: FleetRequest,
): Promise<FleetDatabase> {
  const { couch, now, repository, signal } = context;
  const { to, point } = target;
  const before = restoredBefore(target, request);
  if (before !== undefined) return await tellBefore(context, target, before);
  const { run, database } = point.manifest;
  const id = isOurs(target) && target.note?.done === false ? target.note.id : crypto.randomUUID();
  context.onBegun?.(id);
  // Into an empty database nobody has noted anything, most likely.
  let known: string | null | undefined = isFilled(target) ? undefined : null;
  const store = async (done: boolean, live?: number) => {
    const note = { id, run, database, done, at: now().toISOString(), documents: live, ...done ? { witness } : {} };
    known = await storeRestoreNote(couch, to, note, { signal, known });
  };
  const onReady = () => store(false);
  let witness: RestoreWitness | undefined;
  const onWritten = (info: DatabaseInfo) => {
    witness = { created: info.instance_start_time, position: info.update_seq };
  };
  // A dry run creates nothing that would tell.
  const isMissing = target.isMissing && request.dryRun !== true;
  const report = await restoreOneOfMany({
    ...context,
    progress: withinRun(context.progress),
    onReady,
    onWritten,
    isMissing,
  }, {
    ...request,
    database: encodeDatabase(to),
    path: repository.locate(joinKey(point.folder, point.name)),
    intoExisting: request.intoExisting === true || isOurs(target),
  });
  // Beside documents of others deletions may win: how many there must be is then not known.
  const live = request.intoExisting === true ? undefined : report.documents - report.deleted;
  if (request.dryRun !== true && report.ok) await store(true, live);
  return { ...addressOf(target), status: report.ok ? "restored" : "incomplete", report };
}

/** Says of a database that an earlier restore has brought back what has become of it since. */
async function tellBefore(
  { couch, log, signal }: FleetContext,
  { to, note, position: known }: Target,
  before: FleetDatabase,
): Promise<FleetDatabase> {
  const { fewer } = before;
  if (fewer !== undefined) {
    log.error("database was restored before, and has fewer documents now", { database: to, ...fewer });
    return before;
  }
  const since = note?.witness?.position ?? "";
  if (await isUnwritten(couch, to, { since, known }, { signal })) return before;
  log.warn("database was restored before and was written to since: it is left as it is", {
    database: to,
    at: note?.at,
  });
  return { ...before, written_since: note?.at ?? "" };
}

/** Patterns of --match that nothing is restored for: others that match would hide a slip of the pen. */
function unmetPatterns({ match = [], exclude = [] }: FleetRequest, found: readonly BackupOfMoment[]): string[] {
  // One that names what is excluded is met by that.
  const isExcluded = (source: string) => exclude.some((one) => compilePattern(one).matches(decodeDatabase(source)));
  return match.filter((source) => {
    const pattern = compilePattern(source);
    return !isExcluded(source) && !found.some(({ database }) => pattern.matches(database));
  });
}

function nothingFound(
  { repository }: FleetContext,
  { path }: FleetRequest,
  match: readonly string[] | undefined,
): ArchiveError {
  const key = repository.root;
  const which = match === undefined ? "" : ` of a database that ${match.map((one) => `"${one}"`).join(" or ")} matches`;
  return new ArchiveError(
    `There is no complete backup${which} in "${repository.locate(key)}"${path === "latest" ? "" : ` at ${path}`}`,
    { key, expected: "a manifest", found: "none" },
    { hint: 'Check prefix, suffix and the patterns; "couchdb-backup list" shows the backups there are' },
  );
}

async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  for (const item of items) yield await Promise.resolve(item);
}
