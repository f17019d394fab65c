/**
 * `restore --all`: the same for all databases of a moment. In: the call. Out: the exit code, and what there is to say.
 */
import type { FleetRequest } from "../commands/restore/context.ts";
import { exitCodeOfFleet, type FleetDatabase, type FleetReport } from "../commands/restore/fleet_report.ts";
import { counted, formatCount, formatInstant, formatSeconds } from "../observe/figures.ts";
import type { ProgramSession } from "../session/session.ts";
import type { Call } from "./command.ts";
import { readWholeNumber } from "./flag_values.ts";

/** Databases at the same time. */
const MOST_PARALLEL = 32;

/** What the flags of `restore --all` ask for. */
export function readFleetRequest(call: Call, path: string): FleetRequest {
  return {
    path,
    match: call.listIfGiven("match"),
    exclude: call.list("exclude"),
    map: call.list("map"),
    databasesAtOnce: readWholeNumber(call, "parallel", { least: 1, most: MOST_PARALLEL }),
    gone: call.isOn("gone"),
    intoExisting: call.isOn("into-existing"),
    salvage: call.isOn("salvage"),
    dryRun: call.isOn("dry-run"),
    noViews: call.isOn("no-views"),
    allowPlain: call.isOn("allow-plain"),
  };
}

/** Restores and says how it came out. */
export async function restoreAll(session: ProgramSession, call: Call, request: FleetRequest): Promise<number> {
  const report = await session.restoreAll(request);
  call.print(report, () => describeFleet(report), { isProse: true });
  return exitCodeOfFleet(report);
}

/** The report for people: what is not as it should be first, sums last. */
export function describeFleet(report: FleetReport): string {
  const { databases, left_out, documents, dry_run, seconds } = report;
  const ofStatus = (status: FleetDatabase["status"]) => databases.filter((one) => one.status === status);
  const [restored, already] = [ofStatus("restored"), ofStatus("already")];
  const broken = [...ofStatus("failed"), ...ofStatus("incomplete")];
  const lines = databases.flatMap((one) => one.status === "restored" ? describeRestored(one, dry_run === true) : []);
  for (const line of [...broken.flatMap(describeBroken), ...already.flatMap(describeBefore)]) lines.push(line);
  for (const { database, reason } of left_out) lines.push(`left out: ${database}: ${reason}`);
  const sum = dry_run === true ? "Would restore" : "Restored";
  const parts = [
    `${sum} ${formatCount(restored.length)} of ${counted(databases.length, "database")}`,
    already.length === 0 ? "" : `${formatCount(already.length)} restored before`,
    broken.length === 0 ? "" : `${formatCount(broken.length)} NOT whole`,
    left_out.length === 0 ? "" : `${formatCount(left_out.length)} left out`,
  ].filter((part) => part !== "");
  lines.push(`${parts.join(", ")}: ${counted(documents, "document")} in ${formatSeconds(seconds)}`);
  return `${lines.join("\n")}\n`;
}

function describeRestored({ source, database, finished_at, report }: FleetDatabase, isDryRun: boolean): string[] {
  const name = source === database ? database : `${source} -> ${database}`;
  const documents = report?.documents ?? 0;
  const moment = formatInstant(finished_at);
  return [`${isDryRun ? "would restore" : "restored"}  ${name}  ${counted(documents, "document")}  as of ${moment}`];
}

function describeBefore({ database, fewer, written_since }: FleetDatabase): string[] {
  if (written_since !== undefined) {
    return [`left as it is: ${database}: it was restored at ${formatInstant(written_since)}, and written to since`];
  }
  if (fewer === undefined) return [];
  const { restored, restored_at, there } = fewer;
  const then = formatInstant(restored_at);
  return [
    `NOT RESTORED AGAIN: ${database}: it had ${
      counted(restored, "document")
    } when it was restored at ${then}, and has ` +
    `${formatCount(there)} now`,
    "  Restore it under another name (--map); or, where nothing that it holds is wanted, delete it and restore again",
  ];
}

function describeBroken({ database, error, hint, report }: FleetDatabase): string[] {
  if (error !== undefined) return [`FAILED: ${database}: ${error}`, ...hint === undefined ? [] : [`  ${hint}`]];
  if (report === undefined) return [];
  const { failed_revisions, damaged, missing, unreadable, lacking } = report;
  const lacks = [
    failed_revisions === 0 ? "" : `${counted(failed_revisions, "revision")} refused`,
    damaged.length === 0 ? "" : `${counted(damaged.length, "damaged chunk")}`,
    missing === 0 ? "" : `${counted(missing, "document")} missing`,
    unreadable.length === 0 ? "" : `${counted(unreadable.length, "document")} could not be read at backup time`,
    lacking.length === 0 ? "" : `${lacking.map(({ what }) => what).join(" and ")} could not be set`,
  ].filter((part) => part !== "");
  const hints = new Set(lacking.flatMap(({ hint }) => hint ?? []));
  return [`NOT WHOLE: ${database}: ${lacks.join(", ")}`, ...[...hints].map((hint) => `  ${hint}`)];
}
