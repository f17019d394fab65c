/**
 * What would happen, and why: for each task its next elapses, what it selects by which pattern, and probable
 * mistakes. In: the config's tasks and, unless offline, CouchDB. Nothing is written.
 */
import { askOfEach } from "./ask_each.ts";
import { counted } from "../counts.ts";
import { formatCalendar } from "../calendar/calendar.ts";
import type { Repository } from "../archive/repository.ts";
import type { ChangeForecast } from "./backup/forecast.ts";
import { codecOf, type Task } from "../task/task.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { DatabaseInfos } from "../couchdb/database_infos.ts";
import { formatIsoDate, monthOf } from "../dates.ts";
import { formatSeconds, formatSize } from "../observe/figures.ts";
import { type ExcludedDatabase, selectDatabases, type SelectedDatabase } from "../task/select.ts";
import { dateInPath } from "../task/selection.ts";
import { explainEnd, nextElapses, scheduleZone } from "../task/times.ts";

/** A database that is larger should not be asked for in one request: when that breaks, all of it is read again. */
const MOST_BYTES_IN_ONE_REQUEST = 500_000_000;
/** How many databases are asked for their size at the same time; most logins get the sizes of all of them at once. */
const PARALLEL_LOOKUPS = 50;
/** How many elapses are looked at to find the shortest time between two. */
const SAMPLED_ELAPSES = 20;

/** What one task would do. */
export interface TaskPlan {
  /** The task's name in the config. */
  task: string;
  /** As it is written; null for a task that only runs by hand. */
  cron: string | null;
  /** The schedule as systemd would print it; null for a task that only runs by hand. */
  normalized: string | null;
  /** The zone that the schedule is read in. */
  timezone: string;
  /** Such as `2026-01-03T18:00:00.000Z`. */
  next: string[];
  /** The date in the path of the next run, or of one that starts now. */
  date: string;
  /** To whom its backups are sealed, public keys of age; absent: to nobody. */
  encrypt_to?: readonly string[];
  /** What the next run would select of the databases that there are now. */
  databases: SelectedDatabase[];
  /** The databases that a pattern matches and that are left out nevertheless, and why. */
  excluded: ExcludedDatabase[];
  /** The patterns that select none. */
  unmatched: string[];
  /**
   * What of an incremental task's databases has changed; absent where it is not incremental, or CouchDB was not asked.
   */
  changes?: ChangeForecast;
  /** Each a sentence without a full stop. */
  warnings: string[];
}

/** What a config would do. */
export interface Plan {
  /** The tasks, in the config's order. */
  tasks: TaskPlan[];
  /** The databases that no task selects, by decoded name; absent where CouchDB was not asked. */
  unselected?: string[];
}

/** What {@linkcode plan} takes beside the tasks. */
export interface PlanOptions {
  /** Elapses after this instant are listed. */
  from: Date;
  /** How many of them. */
  count: number;
  /** Absent: only the times are planned. */
  couch?: CouchClient | undefined;
  /** Where the backups lie that incremental tasks go on from. Absent: what has changed is not looked at. */
  repository?: Repository | undefined;
  signal?: AbortSignal | undefined;
}

/** Plans each task. @throws CouchError when the databases cannot be listed, or CouchDB answers no more. */
export async function plan(tasks: readonly Task[], options: PlanOptions): Promise<Plan> {
  const { couch, signal } = options;
  if (couch === undefined) return { tasks: tasks.map((task) => planTimes(task, options)) };
  const names = await couch.listDatabases({ signal });
  const plans: TaskPlan[] = [];
  for (const task of tasks) {
    const times = planTimes(task, options);
    const startedAt = new Date(times.next[0] ?? options.from);
    const month = monthOf(dateInPath(task, startedAt));
    const { selected, excluded, unmatched } = selectDatabases(names, task, { month });
    const changes = await lookAtChanges(task, selected, { ...options, at: startedAt });
    plans.push({
      ...times,
      ...changes === undefined ? {} : { changes: changes.forecast },
      databases: selected,
      excluded,
      unmatched: unmatched.map(({ pattern }) => pattern),
      warnings: [
        ...times.warnings,
        ...unmatched.map(({ explanation }) => explanation),
        ...warnOfWaits(task, selected.length, options.from),
        ...task.chunk === undefined && task.chunkBytes === undefined ? await warnOfSizes(couch, selected, signal) : [],
        ...changes?.warnings ?? [],
      ],
    });
  }
  warnOfOverlaps(tasks, plans);
  const selected = new Set(plans.flatMap(({ databases }) => databases.map(({ database }) => database)));
  return { tasks: plans, unselected: names.filter((name) => !selected.has(name)) };
}

/** What the next run of an incremental task would read. */
async function lookAtChanges(
  task: Task,
  selected: readonly SelectedDatabase[],
  { couch, repository, at, signal = new AbortController().signal }: PlanOptions & { at: Date },
): Promise<{ forecast: ChangeForecast; warnings: string[] } | undefined> {
  if (task.increments === undefined || couch === undefined || repository === undefined) return undefined;
  const { forecastChanges } = await import("./backup/forecast.ts");
  return await forecastChanges({ couch, repository, signal, at }, task, selected.map(({ database }) => database));
}

function planTimes(task: Task, { from, count }: PlanOptions): TaskPlan {
  const next = nextElapses(task, { after: from, count });
  const { recipients } = codecOf(task);
  const end = explainEnd(task, from);
  return {
    task: task.name,
    cron: task.cron ?? null,
    normalized: task.calendar === undefined ? null : formatCalendar(task.calendar),
    timezone: scheduleZone(task),
    next: next.map((instant) => instant.toISOString()),
    date: formatIsoDate(dateInPath(task, next[0] ?? from)),
    ...recipients === undefined ? {} : { encrypt_to: recipients },
    databases: [],
    excluded: [],
    unmatched: [],
    warnings: end === undefined ? [] : [end],
  };
}

/**
 * A database that several tasks select is backed up by each of them: both are restore points, and `latest` is any of
 * them.
 */
function warnOfOverlaps(tasks: readonly Task[], plans: readonly TaskPlan[]): void {
  for (const [index, plan] of plans.entries()) {
    for (const [before, earlier] of plans.slice(0, index).entries()) {
      const names = new Set(earlier.databases.map(({ database }) => database));
      const both = plan.databases.filter(({ database }) => names.has(database)).map(({ database }) => database);
      if (both.length === 0) continue;
      const which = both.length === 1
        ? `database "${both[0]}"`
        : `${counted(both.length, "database")}, "${both[0]}" among them,`;
      const lacking = [tasks[before]!, tasks[index]!].flatMap((task) => lackingOf(task));
      plan.warnings.push(
        `${which} ${
          both.length === 1 ? "is" : "are"
        } selected by task "${earlier.task}" too: each backs up on its own, ` +
          `and "latest" is the newest backup of either` + (lacking.length === 0 ? "" : `; ${lacking.join(", ")}`),
      );
    }
  }
}

/** What a task's backups do not have. */
function lackingOf({ name, attachments, revisions }: Task): string[] {
  const without = [...attachments ? [] : ["attachments"], ...revisions ? [] : ["histories"]];
  return without.length === 0 ? [] : [`those of "${name}" are without ${without.join(" and ")}`];
}

/** The waits between databases alone can be longer than the time until the next run. */
function warnOfWaits(task: Task, databases: number, from: Date): string[] {
  const elapses = nextElapses(task, { after: from, count: SAMPLED_ELAPSES }).map(Number);
  const intervals = elapses.slice(1).map((elapse, index) => (elapse - elapses[index]!) / 1000);
  const shortest = Math.min(...intervals);
  const waits = task.delaySeconds * Math.max(0, databases - 1);
  if (waits <= shortest) return [];
  return [
    `the waits between ${counted(databases, "database")} take ${
      formatSeconds(waits)
    } ("delay: ${task.delaySeconds}"), and only ` +
    `${formatSeconds(shortest)} lie between two elapses`,
  ];
}

/** Without `chunk` a database is fetched in one request. */
async function warnOfSizes(
  couch: CouchClient,
  selected: readonly SelectedDatabase[],
  signal: AbortSignal = new AbortController().signal,
): Promise<string[]> {
  const large: { database: string; bytes: number }[] = [];
  const infos = new DatabaseInfos(couch, { signal });
  const names = selected.map(({ database }) => database);
  infos.expect(names);
  const warnings = await askOfEach(names, async (database, options) => {
    const { external_bytes: bytes } = (await infos.first(database, options)).info;
    if (bytes > MOST_BYTES_IN_ONE_REQUEST) large.push({ database, bytes });
  }, { unknown: "the size of", limit: PARALLEL_LOOKUPS, signal });
  const [largest] = large.toSorted((a, b) => b.bytes - a.bytes);
  if (largest !== undefined) {
    const which = large.length === 1
      ? `database "${largest.database}" holds ${formatSize(largest.bytes)}`
      : `${counted(large.length, "database")} hold more than ${
        formatSize(MOST_BYTES_IN_ONE_REQUEST)
      }, "${largest.database}" ` +
        `${formatSize(largest.bytes)}`;
    warnings.push(
      `${which}, and without "chunk" it is fetched in one request, which starts over if it breaks; set "chunk: 1000"`,
    );
  }
  return warnings;
}
