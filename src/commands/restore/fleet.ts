/**
 * Restores all databases of a moment, several at a time. In: a moment, which databases, and names for them. Out: a
 * report.
 *
 * Every target is determined and checked before the first is written to: two sources of one target, an invalid name, or
 * a target that holds other documents end it, with all of them named. In each target a local document notes what is
 * being restored into it and whether that is done, so that the same command continues after any kill: what is done is
 * skipped, what was begun is finished.
 */
import type { Archive } from "../../archive/archive.ts";
import { placeOfPoint } from "../../archive/find.ts";
import { CopyCounts } from "../../couchdb/copy_counts.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import { isUnwritten, type RestoreWitness, storeRestoreNote } from "../../couchdb/restore_note.ts";
import { encodeDatabase } from "../../database_name.ts";
import { describeError, EXIT, exitCodeOf, hintOf, isFatalForRun } from "../../errors.ts";
import { withinRun } from "../../observe.ts";
import { eitherSignal, forEachParallel } from "../../parallel.ts";
import { mustBeCount } from "../../request.ts";
import type { Place } from "../shares.ts";
import { joinKey } from "../../store/key.ts";
import type { BegunFleet, FleetContext, FleetRequest, OneOfMany } from "./context.ts";
import { type FleetDatabase, type FleetReport, isThere } from "./fleet_report.ts";
import { claimRoom, fleetRoom } from "./fleet_room.ts";
import { findFleet, readMoment } from "./fleet_selection.ts";
import { describeDoubt, describerOf, examineTargets, isOurs, LAGGING_HINT, type Target } from "./fleet_targets.ts";
import { FreshSettings } from "./fresh_settings.ts";
import { mustBePossible } from "./request.ts";
import { restoreOneOfMany } from "./restore.ts";

/**
 * Restores all databases of a moment.
 *
 * @throws UsageError before anything is written, when the targets are not as they must be; StoreError and CouchError
 * when these cannot be found out; the reason of `context.signal`. What fails later is in the report.
 */
export async function restoreFleet(given: FleetContext, request: FleetRequest): Promise<FleetReport> {
  mustBePossible(request);
  mustBeCount(request.databasesAtOnce, "databasesAtOnce");
  const context = beginFleet(given);
  const { log, now, progress } = context;
  const startedAt = now();
  const signal = eitherSignal(context);
  const notAfter = readMoment(request.path);
  const { kept, leftOut } = await findFleet({ ...context, signal }, request, { notAfter });
  const targets = await examineTargets({ ...context, signal }, kept, request);
  progress.runStarted({ action: "restore", databases: targets.length });
  const outcomes = new Map<string, FleetDatabase>();
  const fresh = new FreshSettings();
  const room = fleetRoom(targets, { atOnce: request.databasesAtOnce });
  /** What every further database would meet as well, where one has met it: a login that is refused. */
  let fatal: { error: unknown; told: string } | undefined;
  const work = async (target: Target, { place, signal }: { place: Place; signal: AbortSignal }) => {
    const makeRoom = async (archive: Archive) => {
      const requests = await claimRoom(place, archive, { signal });
      // Another database may have been refused while this one waited for its turn.
      if (fatal !== undefined) throw fatal.error;
      return requests;
    };
    const one = { ...context, fresh, makeRoom, signal };
    const restored = fatal === undefined
      ? restoreTarget(one, target, request).catch((error) => {
        signal.throwIfAborted();
        if (fatal !== undefined && error === fatal.error) return noteUntried(one, target, fatal);
        const told = describerOf(target)(error);
        if (isFatalForRun(error)) fatal ??= { error, told };
        return noteFailure(one, target, {
          error,
          told,
          shown: request.isDiscreet === true ? told : describeError(error),
        });
      })
      // A database that is restored already needs no request, and cannot be refused any.
      : restoredBefore(target, request) ?? noteUntried(one, target, fatal);
    outcomes.set(target.to, await restored);
  };
  try {
    await forEachParallel(
      () => targets,
      (target, signal) => room.within(target, (place) => work(target, { place, signal }), { signal }),
      { limit: room.limit, signal },
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

/** Adds what all databases of a whole restore have in common. */
export function beginFleet(context: FleetContext): BegunFleet {
  const { couch, log, clusterTimes: times } = context;
  return { ...context, counts: new CopyCounts(couch, { log, times }) };
}

/**
 * Logs why a database is not restored.
 *
 * @param options `told`: what a log may say of the error; `shown`: what the report may. @default the same
 * @returns Its part of the report.
 */
function noteFailure(
  { log }: Pick<FleetContext, "log">,
  target: Target,
  { error, told, shown = told }: { error: unknown; told: string; shown?: string },
): FleetDatabase {
  const hint = hintOf(error);
  log.error("database is not restored", { database: target.to, error: told, hint });
  return {
    ...addressOf(target),
    status: "failed",
    error: shown,
    ...hint === undefined ? {} : { hint },
    exit_code: exitCodeOf(error),
  };
}

/** The same of one that CouchDB was not asked for, as it would meet what another one has met. */
function noteUntried(
  context: Pick<FleetContext, "log">,
  target: Target,
  { error, told }: { error: unknown; told: string },
): FleetDatabase {
  return noteFailure(context, target, {
    error,
    told: `Not tried, as it would fail like the one before: ${told}`,
  });
}

function addressOf(
  { database: source, to, point }: Target,
): Pick<FleetDatabase, "source" | "database" | "finished_at"> {
  return { source, database: to, finished_at: point.finishedAt.toISOString() };
}

/** What an earlier restore has brought back; undefined where it has not, or all is to be written again. */
export function restoredBefore(target: Target, request: FleetRequest): FleetDatabase | undefined {
  const { note, documents: there, lag } = target;
  if (!isOurs(target) || note?.done !== true || request.intoExisting === true) return undefined;
  const { documents: restored = 0, at } = note;
  const outcome: FleetDatabase = { ...addressOf(target), status: "already" };
  if (there >= restored) return outcome;
  if (lag !== undefined) {
    const error = `It was restored before, and ${describeDoubt(target)}`;
    return { ...outcome, status: "failed", error, hint: LAGGING_HINT, exit_code: EXIT.couchdb };
  }
  // Said, as it may have been emptied since: "restored before" alone would be taken for all being there.
  return { ...outcome, fewer: { restored, restored_at: at, there } };
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
  const begun = isOurs(target) && target.note?.done === false ? target.note.id : undefined;
  const id = begun ?? crypto.randomUUID();
  context.onBegun?.(id);
  // Without a note that is known there most likely is none; null saves the request for it.
  let known: string | null | undefined = target.note === undefined ? null : undefined;
  const store = async (done: boolean, live?: number) => {
    const note = { id, run, database, done, at: now().toISOString(), documents: live, ...done ? { witness } : {} };
    known = await storeRestoreNote(couch, to, note, { signal, known });
  };
  const onReady = () => store(false);
  let witness: RestoreWitness | undefined;
  const onWritten = (info: DatabaseInfo) => {
    witness = { created: info.instance_start_time, position: info.update_seq };
  };
  // A dry run has to look again: it does not try to create the database, which would tell that it is there by now.
  const isMissing = target.isMissing && request.dryRun !== true;
  const report = await restoreOneOfMany({
    ...context,
    progress: withinRun(context.progress),
    onReady,
    onWritten,
    place: placeOfPoint(repository, point),
    isMissing,
    isBegun: begun !== undefined && request.intoExisting !== true,
  }, {
    ...request,
    database: encodeDatabase(to),
    path: repository.locate(joinKey(point.folder, point.name)),
    intoExisting: request.intoExisting === true || isOurs(target),
  });
  // Beside other documents deletions may win, so that the number of live documents is not known.
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
  const { fewer, error, hint } = before;
  if (error !== undefined) {
    log.error("database is not restored", { database: to, error, hint });
    return before;
  }
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
