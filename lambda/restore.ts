/**
 * What the Lambda function does with the events that restore: all in one call, or as the state machine that restores
 * asks for it, a plan, rounds, a summary. In: an event and a session. Out: the answer. Nothing is written to the store.
 */
import type { FleetRequest } from "../src/commands/restore/context.ts";
import { planFleet, restoreRound, summariseFleet } from "../src/commands/restore/fleet_rounds.ts";
import { isThere, type LeftOut } from "../src/commands/restore/fleet_report.ts";
import { counted } from "../src/counts.ts";
import { EXIT, ProgramError } from "../src/errors.ts";
import type { ProgramSession } from "../src/session/session.ts";
import type { RestorePlanResult, RestoreRoundResult, RestoreSummaryResult } from "./answers.ts";
import type { RestoreEvent, RestorePlanEvent, RestoreRoundEvent, RestoreSummaryEvent } from "./events.ts";
import { inFields } from "./field_words.ts";

/** Not everything that was to be restored is there. */
export class NotRestoredError extends ProgramError {
  override readonly exitCode: number = EXIT.partial;
}

/** Databases at the same time where nobody says how many. */
const DEFAULT_DATABASES = 4;
/** How many names a message has; the log has more. */
const NAMES_IN_MESSAGE = 10;

/** Finds out what an execution has to restore, and that it may. */
export async function planRestore(session: ProgramSession, { request }: RestorePlanEvent): Promise<RestorePlanResult> {
  const plan = await planFleet(await session.restoreContext(), requestOf(request));
  for (const { database, reason } of plan.leftOut) {
    session.surroundings.log.warn("database is left out", { database, reason });
  }
  return {
    moment: plan.moment.toISOString(),
    started: plan.startedAt.toISOString(),
    databases: plan.databases,
    stretches: plan.stretches,
    concurrency: request.parallel ?? DEFAULT_DATABASES,
  };
}

/** Restores some databases, as far as the time lets it. */
export async function restoreStretch(
  session: ProgramSession,
  { request, moment, stretch, cursor }: RestoreRoundEvent,
): Promise<RestoreRoundResult> {
  const round = await restoreRound(await session.restoreContext(), requestOf(request), { moment, stretch, cursor });
  return { ...round, error: round.error === null ? null : inFields(round.error) };
}

/** Says how an execution came out. */
export async function summariseRestore(
  session: ProgramSession,
  { request, moment, started, map }: RestoreSummaryEvent,
): Promise<RestoreSummaryResult> {
  const at = { moment, startedAt: started };
  const { databases, failed, leftOut } = await summariseFleet(await session.restoreContext(), requestOf(request), at);
  const [first] = Array.isArray(map) ? map.flatMap(({ error }) => error ?? []) : [map.Cause ?? map.Error];
  return summaryOf({ databases, failed, leftOut, moment: moment.toISOString(), first });
}

/**
 * Restores all in this call.
 *
 * @param options.latest The moment that is named where the newest backups were asked for.
 * @throws NotRestoredError when not all is there.
 */
export async function restoreAtOnce(
  session: ProgramSession,
  event: RestoreEvent,
  { latest }: { latest: Date },
): Promise<RestoreSummaryResult> {
  const request = { ...requestOf(event), databasesAtOnce: event.parallel, isDiscreet: true };
  const { databases, left_out, moment } = await session.restoreAll(request);
  const broken = databases.filter((one) => !isThere(one));
  const first = broken.flatMap(({ database, error }) => error === undefined ? [] : `"${database}": ${error}`)[0];
  const failed = broken.map(({ database }) => database);
  const summary = summaryOf({
    databases: databases.length,
    failed,
    leftOut: left_out,
    moment: moment ?? latest.toISOString(),
    first,
  });
  if (!summary.ok) throw new NotRestoredError(summary.message, { hint: "The log has the causes" });
  return summary;
}

function requestOf(
  { path, match, exclude, map, gone, into_existing, salvage, allow_plain }: RestoreEvent,
): FleetRequest {
  return { path, match, exclude, map, gone, intoExisting: into_existing, salvage, allowPlain: allow_plain };
}

function summaryOf({ databases, failed, leftOut, moment, first }: {
  databases: number;
  failed: string[];
  leftOut: LeftOut[];
  moment: string;
  /** The first cause that is known. */
  first: string | undefined;
}): RestoreSummaryResult {
  const missing = leftOut.filter(({ is_missing }) => is_missing).map(({ database }) => database);
  const ok = failed.length + missing.length === 0;
  const parts = [
    failed.length === 0
      ? `${counted(databases, "database")} ${databases === 1 ? "is" : "are"} restored`
      : `${failed.length} of ${counted(databases, "database")} are not restored: ${named(failed)}`,
    missing.length === 0 ? [] : `${counted(missing.length, "database")} without a backup: ${named(missing)}`,
    first === undefined || ok ? [] : first,
    failed.length === 0 ? [] : `the same with "path": "${moment}" goes on`,
  ];
  const counts = { databases, failed: failed.length, left_out: leftOut.length };
  return { ok, ...counts, moment, message: inFields(parts.flat().join("; ")) };
}

function named(names: readonly string[]): string {
  const more = names.length > NAMES_IN_MESSAGE ? ` and ${names.length - NAMES_IN_MESSAGE} more` : "";
  return names.slice(0, NAMES_IN_MESSAGE).join(", ") + more;
}
