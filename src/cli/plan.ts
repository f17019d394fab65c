/** `couchdb-backup plan <config>`: what each task selects and why, and when it runs next. */
import { formatInZone } from "../dates.ts";
import { EXIT } from "../errors.ts";
import { counted, formatCount } from "../observe/figures.ts";
import type { Plan, TaskPlan } from "../commands/plan.ts";
import type { ExcludedDatabase, SelectedDatabase } from "../task/select.ts";
import type { Command } from "./command.ts";
import { readMoment, readWholeNumber } from "./flag_values.ts";
import { withSession } from "./session.ts";

const DEFAULT_COUNT = 3;
const MOST_ELAPSES = 10_000;
/** Of what a pattern selects or leaves out only so many names are shown; --json has them all. */
const SHOWN_NAMES = 10;

export const command: Command = {
  name: "plan",
  usage: ["[<config>]"],
  help: [
    "Shows what each task selects and by which pattern, what it leaves out and why, what no task selects, and when each runs",
    "next.",
    "",
    "It shows to whom backups are sealed, and how much an incremental task would read now.",
    "",
    "It warns of patterns that match nothing, of delays longer than the time between two runs, and of databases too",
    "large for one request. The selection is that of the next run; nothing is stored.",
  ],
  flags: [
    {
      name: "from",
      value: "INSTANT",
      summary: "list elapses after this moment (2026-01-03T18:00Z) or date (in UTC)",
      default: "now",
    },
    { name: "count", value: "N", summary: "how many elapses to list, 1 to 10,000", default: String(DEFAULT_COUNT) },
    { name: "offline", summary: "plan the times only, without CouchDB" },
  ],
  operands: { least: 0, most: 0 },
  exits: { ok: "also if there are warnings", couchdb: "CouchDB", store: "the store" },
  examples: [
    { line: "couchdb-backup plan cfg.yaml", summary: "what the next run takes" },
    {
      line: "couchdb-backup plan --offline --from 2026-01-03T18:00:00Z --count 10 cfg.yaml",
      summary: "ten elapses, without CouchDB",
    },
  ],

  async run(call) {
    const count = readWholeNumber(call, "count", { least: 1, most: MOST_ELAPSES }) ?? DEFAULT_COUNT;
    const from = readMoment(call, "from", "T00:00Z");
    return await withSession(call, async (session) => {
      const offline = call.isOn("offline");
      const plan = await session.plan({ from, count, offline });
      call.print(plan, () => describePlan(plan, offline), { isProse: true });
      return EXIT.ok;
    });
  },
};

function describePlan({ tasks, unselected }: Plan, isOffline: boolean): string {
  const lines = tasks.flatMap((task) => [...describeTask(task, isOffline), ""]);
  if (unselected !== undefined && unselected.length > 0) {
    lines.push(`No task selects ${countDatabases(unselected.length)}`, ...shorten(unselected, "  "), "");
  }
  return lines.join("\n");
}

function describeTask(plan: TaskPlan, isOffline: boolean): string[] {
  const { task, normalized, timezone, next, date, databases, changes, excluded, warnings } = plan;
  const inZone = (instant: string) => formatInZone(new Date(instant), timezone);
  const lines = [
    `Task ${task}`,
    normalized === null ? "  schedule   none: it only runs by hand" : `  schedule   ${normalized}, in ${timezone}`,
    ...next.map((instant, index) => `  ${(index === 0 ? "next" : "").padEnd(9)}  ${inZone(instant)}`),
  ];
  const { encrypt_to: recipients = [] } = plan;
  lines.push(...recipients.map((one, index) => `  ${(index === 0 ? "sealed to" : "").padEnd(9)}  ${one}`));
  if (!isOffline) {
    lines.push(`  selects    ${countDatabases(databases.length)} for the folder of ${date}`);
    for (const [pattern, selected] of Map.groupBy(databases, ({ pattern }: SelectedDatabase) => pattern)) {
      lines.push(`    by ${pattern}: ${formatCount(selected.length)}`);
      lines.push(...shorten(selected.map(({ database }) => database), "      "));
    }
    if (changes !== undefined) lines.push(`  would read ${describeChanges(changes)}`);
    if (excluded.length > 0) lines.push(`  leaves out ${countDatabases(excluded.length)}`);
    for (const [reason, left] of Map.groupBy(excluded, ({ reason }: ExcludedDatabase) => reason)) {
      lines.push(`    ${reason}: ${formatCount(left.length)}`);
      lines.push(...shorten(left.map(({ database }) => database), "      "));
    }
  }
  return [...lines, ...warnings.map((warning) => `  warning    ${warning}`)];
}

/** What an incremental run would read now. */
function describeChanges({ full, changed, unchanged, documents }: NonNullable<TaskPlan["changes"]>): string {
  return `${counted(documents, "document")}: of ${countDatabases(full)} all, ` +
    `of ${countDatabases(changed)} the changes, of ${countDatabases(unchanged)} nothing`;
}

function countDatabases(count: number): string {
  return counted(count, "database");
}

function shorten(names: readonly string[], indent: string): string[] {
  const shown = names.slice(0, SHOWN_NAMES).map((name) => `${indent}${name}`);
  const rest = names.length - shown.length;
  return rest === 0 ? shown : [...shown, `${indent}… and ${formatCount(rest)} more; --json lists all of them`];
}
