/**
 * What a run has to do: in go the config's tasks, the names CouchDB lists and what the command line says; out comes,
 * for each task, the databases and the date in the path. Pure.
 */
import type { Task } from "./task.ts";
import { type BackupDate, dateInZone, monthOf, previousMonth } from "../dates.ts";
import { dateZone } from "./times.ts";
import { UsageError } from "../errors.ts";
import { mustNameSome } from "../request.ts";
import { selectAll, selectDatabases, type SelectedDatabase, selectNamed } from "./select.ts";

/** The databases of one task in one run. */
export interface TaskSelection {
  /** The task. */
  task: Task;
  /** The date in the path. */
  date: BackupDate;
  /** What it selects, in the order of the names. */
  databases: SelectedDatabase[];
  /** Why the selection may not be what was meant, each a sentence. */
  warnings: string[];
  /**
   * The decoded names of all that CouchDB lists, where the selection is all that the task selects of them; absent where
   * it is a part of that.
   */
  listed?: readonly string[] | undefined;
}

/** What the command line says about the selection. */
export interface SelectionOptions {
  /** When the run started, or the elapse it catches up on; it fixes the date. */
  startedAt: Date;
  /** The date in the path, instead of the one that `startedAt` gives. */
  date?: BackupDate | undefined;
  /** Only these databases, or all but CouchDB's own, whatever the patterns say. */
  only?: readonly string[] | "all" | undefined;
}

/**
 * Finds out what each task has to back up.
 *
 * With `only`, each database goes with the first task that would select it, for that task's options and date, or with
 * the first task where none would.
 *
 * @param names Decoded names of all databases.
 * @throws UsageError when `only` names a database that does not exist.
 */
export function selectTasks(
  names: readonly string[],
  tasks: readonly Task[],
  options: SelectionOptions,
): TaskSelection[] {
  // Of databases that are named the patterns only say which task they go with.
  const explains = options.only === undefined;
  const selections = tasks.map((task) => selectByPatterns(names, task, { ...options, explains }));
  if (options.only === undefined) return selections;
  const wanted = options.only === "all" ? selectAll(names) : findNamed(names, options.only);
  const shared = selections.map(({ task, date }): TaskSelection => ({ task, date, databases: [], warnings: [] }));
  const selectedBy = firstSelections(selections);
  for (const found of wanted) shared[selectedBy.get(found.database) ?? 0]?.databases.push(found);
  // A run without any database is reported as one of the first task, which `isEmptyByMistake` then looks at.
  return wanted.length === 0 ? shared.slice(0, 1) : shared.filter(({ databases }) => databases.length > 0);
}

/** The index of the first selection that has each database. */
function firstSelections(selections: readonly TaskSelection[]): Map<string, number> {
  const first = new Map<string, number>();
  for (const [index, { databases }] of selections.entries()) {
    for (const { database } of databases) if (!first.has(database)) first.set(database, index);
  }
  return first;
}

/**
 * The tasks of these names, in the config's order; all of them where names are undefined.
 *
 * @throws UsageError when there is no task of a name, or the list is empty.
 */
export function pickTasks(tasks: readonly Task[], names: readonly string[] | undefined): readonly Task[] {
  mustNameSome(names, "tasks");
  if (names === undefined) return tasks;
  for (const name of names) {
    if (tasks.some((task) => task.name === name)) continue;
    const known = tasks.map((task) => `"${task.name}"`).join(", ");
    throw new UsageError(`The config has no task "${name}"`, { hint: `Its tasks are ${known}` });
  }
  return tasks.filter((task) => names.includes(task.name));
}

/** Whether a task has nothing to do although its config does not expect that. */
export function isEmptyByMistake(selection: TaskSelection): boolean {
  return selection.databases.length === 0 && !selection.task.allowEmpty;
}

/** The date in the path of a run that starts at, or catches up on an elapse at, `instant`. */
export function dateInPath(task: Task, instant: Date): BackupDate {
  const today = dateInZone(instant, dateZone(task));
  return task.backupOnlyPrevious ? previousMonth(today) : today;
}

function selectByPatterns(
  names: readonly string[],
  task: Task,
  { explains, ...options }: SelectionOptions & { explains: boolean },
): TaskSelection {
  const date = options.date ?? dateInPath(task, options.startedAt);
  const { selected, unmatched } = selectDatabases(names, task, { month: monthOf(date), explains });
  return { task, date, databases: selected, warnings: unmatched.map(({ explanation }) => explanation), listed: names };
}

function findNamed(names: readonly string[], wanted: readonly string[]): SelectedDatabase[] {
  const { selected, missing } = selectNamed(names, wanted);
  const [first] = missing;
  if (first === undefined) return selected;
  throw new UsageError(`CouchDB has no database "${first.name}"`, {
    hint: first.closest === undefined
      ? '"couchdb-backup list databases" lists all of them'
      : `Did you mean "${first.closest}"?`,
  });
}
