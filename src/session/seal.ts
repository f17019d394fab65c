/**
 * What a session knows of sealed backups: which ones must be sealed, and the identities that open them. In: the config,
 * and the task and database that a manifest names.
 */
import type { Config } from "../config/config.ts";
import { matcherOf } from "../task/pattern.ts";
import { isSealing, type Task } from "../task/task.ts";
import type { SessionParts } from "./parts.ts";

/** The task and database that a manifest names. */
export interface BackupName {
  task: string;
  database: string;
}

/**
 * Whether a backup must be sealed. It must if its task seals; if its task does not select its database but a task that
 * seals does; and if its task is no longer in the config and all others seal.
 */
export function isSealExpected(
  { tasks }: Pick<Config, "tasks">,
  { task: name, database }: BackupName,
): boolean {
  const selects = (task: Task) => selectionOf(task)(database);
  const task = tasks.find((one) => one.name === name);
  if (task === undefined ? tasks.every(isSealing) : isSealing(task)) return true;
  return tasks.some((one) => isSealing(one) && selects(one)) && (task === undefined || !selects(task));
}

/** By task: it is asked of each backup, and compiling patterns takes longer than opening one. */
const SELECTIONS = new WeakMap<Task, (database: string) => boolean>();

function selectionOf(task: Task): (database: string) => boolean {
  const known = SELECTIONS.get(task);
  if (known !== undefined) return known;
  const [isSelected, isExcluded] = [matcherOf(task.databases), matcherOf(task.exclude)];
  const selects = (database: string) => isSelected(database) && !isExcluded(database);
  SELECTIONS.set(task, selects);
  return selects;
}

/** What reads the identities that open sealed backups: those given by hand, else those that the config names. */
export async function identityReaderOf(
  { config: { identityFile, identitySecret, aws }, identityFiles, log, signal }: SessionParts,
): Promise<() => Promise<readonly string[]>> {
  const { identityReader } = await import("./identities.ts");
  return identityFiles !== undefined && identityFiles.length > 0
    ? identityReader({ files: identityFiles, aws, log, signal })
    : identityReader({
      files: identityFile === undefined ? [] : [identityFile.path],
      secret: identitySecret,
      aws,
      log,
      signal,
    });
}
