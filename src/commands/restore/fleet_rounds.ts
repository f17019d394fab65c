/**
 * A whole restore cut into rounds, for callers whose calls may not take long, such as the state machine of a Lambda: a
 * plan, then rounds of each stretch of databases until it is done, then a summary. In: what is to be restored, and the
 * step that is asked for. Out: what the step found, for the next one. Only CouchDB is written to: a note in each target
 * says what is done, and the summary goes by these notes.
 */
import type { BackupOfMoment } from "../../archive/moment.ts";
import { counted } from "../../counts.ts";
import type { Refusals } from "../../couchdb/write.ts";
import { CouchError, hintOf, isFatalForRun, isTransient, UsageError } from "../../errors.ts";
import { eitherSignal } from "../../parallel.ts";
import type { BegunFleet, FleetContext, FleetRequest } from "./context.ts";
import { beginFleet, restoredBefore, restoreTarget } from "./fleet.ts";
import { type FleetDatabase, isThere, type LeftOut } from "./fleet_report.ts";
import { findFleet, readMoment } from "./fleet_selection.ts";
import {
  describerOf,
  examineTargets,
  isOurs,
  isSealed,
  LAGGING_HINT,
  lookAtTargets,
  type Target,
  whyNotFree,
} from "./fleet_targets.ts";
import { FreshSettings } from "./fresh_settings.ts";
import { beginningOf, firstBeginning, firstPosition, type RestoreBeginning, type RestorePosition } from "./position.ts";
import type { RestoreReport } from "./report.ts";
import { LAGGING } from "./target.ts";

/** The most stretches: the plan is passed from step to step, and a state may have 256 KiB. */
const MOST_STRETCHES = 200;
/** An error is cut to this many characters, for the same reason. */
const ERROR_LENGTH = 400;

/**
 * How many rounds in a row may end without getting further than an earlier one. Where a chunk takes longer than a round,
 * each round still gets further into it, as it does not send again what is there; but what CouchDB refuses is sent again
 * by every round.
 */
const MOST_ROUNDS_WITHOUT_GAIN = 3;

/** The databases from one name to another, both of them included, in the order of their names. */
export interface Stretch {
  /** Decoded, as all names here. */
  from: string;
  to: string;
}

/** What a plan has found. */
export interface FleetPlan {
  /** The moment whose backups are restored: that of the newest one, where `latest` is asked for. */
  moment: Date;
  /** When the plan was made. */
  startedAt: Date;
  databases: number;
  stretches: Stretch[];
  leftOut: LeftOut[];
}

/** How far a round has brought a stretch. */
export interface FleetRound {
  /**
   * `unfinished`: there was no time for more, and the next round goes on. `refused`: what was met would be met by every
   * other database, too.
   */
  status: "finished" | "unfinished" | "refused";
  /** For the next round; null when there need be none. */
  cursor: string | null;
  /** Databases of the stretch that are not restored, until now. */
  failed: number;
  /** Why the first of them is not, and its name; null where none has failed. */
  error: string | null;
}

/** How a whole restore came out. */
export interface FleetSummary {
  databases: number;
  /** Those that are not there in full. */
  failed: string[];
  leftOut: LeftOut[];
}

/** What one round tells the next. */
interface Cursor extends RestoreBeginning {
  /** The last database that is done, as far as it can be; the beginning is that of the next one. */
  done: string | null;
  /** Of what is sealed without its reason. */
  refused: Refusals;
  /** The restore that wrote them, as the note in that database names it; null where there is none. */
  begun: string | null;
  /** Documents after those chunks that the round which came furthest has gone through. */
  reached: number;
  /** Rounds in a row that have come no further than one before them. */
  standing: number;
  failed: number;
  error: string | null;
}

/**
 * Finds out what there is to do. Every target is looked at.
 *
 * @throws UsageError when a target is not as it must be; ArchiveError when there is no backup; CouchError and
 * StoreError.
 */
export async function planFleet(context: FleetContext, request: FleetRequest): Promise<FleetPlan> {
  const startedAt = context.now();
  const wanted = readMoment(request.path);
  const looking = { ...beginFleet(context), signal: eitherSignal(context) };
  const { kept, leftOut } = await findFleet(looking, request, { notAfter: wanted });
  await examineTargets(looking, kept, request);
  const names = kept.map(({ database }) => database);
  const size = Math.ceil(names.length / MOST_STRETCHES);
  const stretches = names.flatMap((from, index) =>
    index % size === 0 ? { from, to: names[Math.min(index + size, names.length) - 1]! } : []
  );
  // A backup that becomes complete meanwhile must not change what `latest` means in the middle.
  const newest = kept.reduce((latest, { point }) => Math.max(latest, point.finishedAt.getTime()), 0);
  const moment = wanted ?? (newest === 0 ? startedAt : new Date(newest));
  return { moment, startedAt, databases: names.length, stretches, leftOut };
}

/**
 * Restores the databases of a stretch, one after the other, as far as the context's signals let it.
 *
 * @param at.cursor What the round before returned, "" for the first.
 * @throws What may heal by itself: the same round can be tried again.
 */
export async function restoreRound(
  context: FleetContext,
  request: FleetRequest,
  at: { moment: Date; stretch: Stretch; cursor: string },
): Promise<FleetRound> {
  return await new StretchRound(context, request, readCursor(at.cursor)).run(at);
}

/** One round of a stretch: what it has in hand, and how far it has come. */
class StretchRound {
  readonly #context: FleetContext;
  readonly #request: FleetRequest;
  /** The call's signal and its stop together. */
  readonly #either: AbortSignal;
  /** What each restore works with. */
  readonly #follow: BegunFleet;
  readonly #cursor: Cursor;
  /** Where the round before has ended. */
  readonly #before: Pick<Cursor, "done" | "chunks">;
  /** Of the database in hand. */
  #position: RestorePosition;
  #current: Target | undefined;

  constructor(context: FleetContext, request: FleetRequest, cursor: Cursor) {
    this.#context = context;
    this.#request = request;
    this.#either = eitherSignal(context);
    this.#cursor = cursor;
    this.#before = { done: cursor.done, chunks: cursor.chunks };
    this.#position = { ...firstPosition(), ...beginningOf(cursor) };
    this.#follow = {
      ...beginFleet(context),
      signal: this.#either,
      fresh: new FreshSettings(),
      onPosition: (position) => void (this.#position = position),
      onBegun: (id) => void (cursor.begun = id),
    };
  }

  async run(at: { moment: Date; stretch: Stretch }): Promise<FleetRound> {
    try {
      for (const target of await targetsOf(this.#follow, this.#request, at, this.#cursor.done)) {
        this.#current = target;
        this.#either.throwIfAborted();
        if (!await this.#restore(target)) return this.#result("refused");
      }
    } catch (error) {
      if (!this.#either.aborted) throw error;
      // The signal of the call itself leaves no time to look at anything.
      this.#context.signal.throwIfAborted();
      this.#noteInterruption(error);
      return this.#result("unfinished");
    }
    return this.#result("finished");
  }

  /** Restores one database. False where every other one would meet what it has met. */
  async #restore(target: Target): Promise<boolean> {
    this.#forgetOthers(target);
    const context = { ...this.#follow, beginning: beginningOf(this.#position) };
    try {
      mustBeFree(target, this.#request);
      const outcome = await restoreTarget(context, target, { ...this.#request, noViews: true });
      this.#finish(target, isThere(outcome) ? undefined : describeOutcome(outcome, target, this.#position.refused));
      return true;
    } catch (error) {
      this.#either.throwIfAborted();
      // It goes to a log, and to the history of a state machine.
      const told = describerOf(target)(error);
      const isRefused = isFatalForRun(error);
      if (!isRefused) {
        await mayHeal(this.#context, error);
        this.#context.log.error("database is not restored", { database: target.to, error: told, hint: hintOf(error) });
      }
      this.#finish(target, told);
      return !isRefused;
    }
  }

  /** If it was dropped and restored from the start meanwhile, it has nothing of what the cursor says is written. */
  #forgetOthers(target: Target): void {
    const cursor = this.#cursor;
    const isSame = isOurs(target) && target.note?.done === false && target.note.id === cursor.begun;
    if (isSame) return;
    if (cursor.chunks > 0) [cursor.reached, this.#before.chunks] = [0, 0];
    this.#startOver();
  }

  /** Nothing of the database in hand is there, as far as a later round may rely on it. */
  #startOver(): void {
    Object.assign(this.#cursor, firstBeginning());
    this.#position = firstPosition();
  }

  /** The database in hand is done, as far as it can be. */
  #finish({ database }: Target, problem?: string): void {
    const cursor = this.#cursor;
    cursor.done = database;
    [cursor.reached, cursor.standing] = [0, 0];
    this.#startOver();
    if (problem === undefined) return;
    cursor.failed++;
    cursor.error ??= `"${database}": ${problem}`.slice(0, ERROR_LENGTH);
  }

  /**
   * Takes down how far the round has come within its time; what does not come further is given up in the end.
   *
   * @throws What CouchDB or the store has met, where nothing at all was done: it may be there again.
   */
  #noteInterruption(error: unknown): void {
    const [cursor, before, position, current] = [this.#cursor, this.#before, this.#position, this.#current];
    Object.assign(cursor, beginningOf(position));
    cursor.refused = toldOf(position.refused, { isDiscreet: current !== undefined && isSealed(current) });
    const isFurther = cursor.done !== before.done || cursor.chunks > before.chunks;
    if (isFurther) [cursor.reached, cursor.standing] = [0, 0];
    else if (position.requests > 0) noteReached(cursor, position);
    if (cursor.standing >= MOST_ROUNDS_WITHOUT_GAIN && current !== undefined) {
      const reached = counted(cursor.reached, "document");
      this.#giveUp(
        current,
        `Cannot make progress in one of its chunks within one call: stuck at ${reached} ` +
          `for ${cursor.standing} calls; CouchDB refuses documents of it or is too slow`,
      );
    } else if (!isFurther && position.requests === 0) {
      const { trouble } = this.#context.couch;
      if (trouble !== undefined) throw trouble.error;
      if (current === undefined) throw error;
      this.#giveUp(current, "Cannot bring any document back within the time of one call");
    }
  }

  #giveUp(target: Target, problem: string): void {
    this.#finish(target, problem);
    this.#context.log.error("database is not restored", { database: target.to, error: this.#cursor.error });
  }

  #result(status: FleetRound["status"]): FleetRound {
    const { failed, error } = this.#cursor;
    return { status, cursor: status === "unfinished" ? JSON.stringify(this.#cursor) : null, failed, error };
  }
}

/**
 * Says how it came out, by the notes in the targets and not by what rounds have said: one may have died with its
 * answer.
 *
 * @throws ArchiveError, CouchError and StoreError.
 */
export async function summariseFleet(
  context: FleetContext,
  request: FleetRequest,
  { moment, startedAt }: { moment: Date; startedAt: Date },
): Promise<FleetSummary> {
  const looking = { ...beginFleet(context), signal: eitherSignal(context) };
  const { kept, leftOut } = await findFleet(looking, request, { notAfter: moment });
  const targets = await lookAtTargets(looking, kept, request);
  const isRestored = (target: Target) => {
    const before = restoredBefore(target, { ...request, intoExisting: false });
    // Beside documents of others it is written again each time, and an earlier note says nothing of this time.
    const isOfNow = request.intoExisting !== true || Date.parse(target.note?.at ?? "") >= startedAt.getTime();
    return before !== undefined && isThere(before) && isOfNow;
  };
  const failed = targets.filter((target) => !isRestored(target)).map(({ to }) => to);
  const facts = { databases: targets.length, failed: failed.length, leftOut: leftOut.length };
  if (failed.length === 0) context.log.info("all databases are restored", facts);
  else context.log.error("not all databases are restored", { ...facts, names: failed.slice(0, 1000) });
  return { databases: targets.length, failed, leftOut };
}

/** Takes down how far a round has come that has finished no chunk. */
function noteReached(cursor: Cursor, { documents }: RestorePosition): void {
  cursor.standing = documents > cursor.reached ? 0 : cursor.standing + 1;
  cursor.reached = Math.max(cursor.reached, documents);
}

async function targetsOf(
  context: BegunFleet,
  request: FleetRequest,
  { moment, stretch: { from, to } }: { moment: Date; stretch: Stretch },
  done: string | null,
): Promise<Target[]> {
  const isPart = (database: string) => database >= from && database <= to && (done === null || database > done);
  const { kept }: { kept: BackupOfMoment[] } = await findFleet(context, request, { notAfter: moment, isPart });
  return await lookAtTargets(context, kept, request);
}

/** Somebody may have written to a target since the plan was made. */
function mustBeFree(target: Target, request: FleetRequest): void {
  const reason = whyNotFree(target, request);
  if (reason === undefined) return;
  const { to, lag } = target;
  if (lag !== undefined) {
    const facts = { error: LAGGING, database: to };
    throw new CouchError(`Cannot restore into "${to}": ${reason}`, facts, { hint: LAGGING_HINT });
  }
  throw new UsageError(`Cannot restore into "${to}": somebody else has written to it since the restore began`, {
    hint: reason,
  });
}

/** @throws The error, where CouchDB or the store is away: what has failed is then no matter of one database. */
async function mayHeal({ couch, signal }: FleetContext, error: unknown): Promise<void> {
  if (!isTransient(error)) return;
  if (!(error instanceof CouchError)) throw error;
  try {
    await couch.greet({ signal });
  } catch {
    throw error;
  }
}

/** The same as a state machine may know it. */
function toldOf({ first, ...counts }: Refusals, { isDiscreet }: { isDiscreet: boolean }): Refusals {
  if (first === null) return { ...counts, first };
  const { error, reason } = first;
  return { ...counts, first: { error, reason: isDiscreet ? "" : reason.slice(0, ERROR_LENGTH) } };
}

/** @param before What CouchDB has refused of what is no design document, in earlier rounds too. */
function describeOutcome({ fewer, report, error }: FleetDatabase, target: Target, before: Refusals): string {
  if (error !== undefined) return error;
  if (fewer !== undefined) {
    return `it had ${counted(fewer.restored, "document")} when it was restored before, and has ${fewer.there} now`;
  }
  return report === undefined ? "it is not whole" : describeLoss(report, { isDiscreet: isSealed(target), before });
}

function describeLoss(
  { failed_revisions, damaged, missing, unreadable, lacking, failed }: RestoreReport,
  { isDiscreet, before }: { isDiscreet: boolean; before: Refusals },
): string {
  const first = before.first ?? failed[0];
  const why = isDiscreet ? first?.error : first?.reason;
  const parts = [
    failed_revisions === 0 ? [] : `refused: ${counted(failed_revisions, "revision")}, the first with ${why}`,
    damaged.length === 0 ? [] : `damaged: ${counted(damaged.length, "chunk")}`,
    missing === 0 ? [] : `missing: ${counted(missing, "document")}`,
    unreadable.length === 0 ? [] : `not read when it was saved: ${counted(unreadable.length, "document")}`,
    lacking.map(({ what }) => `${what} could not be set`),
  ];
  return parts.flat().join(", ");
}

function readCursor(text: string): Cursor {
  const none = firstBeginning();
  const first: Cursor = { done: null, ...none, begun: null, reached: 0, standing: 0, failed: 0, error: null };
  if (text === "") return first;
  try {
    // A cursor of an earlier version, in the middle of an execution, does not have those with a default.
    const { done, chunks, begun = null, reached = 0, standing = 0, failed, error, ...lacks } = JSON.parse(text);
    const { chunksInAll = 0, leftOut = none.leftOut, leftOutMore = 0, refused = none.refused } = lacks;
    const written = { chunks, chunksInAll, leftOut, leftOutMore, refused };
    const isRight = [done, begun, error].every((one) => one === null || typeof one === "string") &&
      [chunks, chunksInAll, leftOutMore, reached, standing, failed, refused.revisions, refused.documents, ...leftOut]
        .every((one) => Number.isSafeInteger(one) && one >= 0) &&
      (refused.first === null ||
        [refused.first.error, refused.first.reason].every((one) => typeof one === "string"));
    if (isRight) return { done, ...written, begun, reached, standing, failed, error };
  } catch {
    // Said below.
  }
  throw new UsageError(`Cannot continue from the cursor "${text}": no round has returned it`);
}
