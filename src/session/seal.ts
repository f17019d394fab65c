/**
 * What a session knows of sealed backups: which ones must be sealed, and the identities that open them. In: the config,
 * and the task and database that a manifest names.
 */
import type { Config } from "../config/config.ts";
import { compilePattern } from "../task/pattern.ts";
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
  const matches = (pattern: string) => compilePattern(pattern).matches(database);
  const selects = ({ databases, exclude }: Task) => databases.some(matches) && !exclude.some(matches);
  const task = tasks.find((one) => one.name === name);
  if (task === undefined ? tasks.every(isSealing) : isSealing(task)) return true;
  return (task === undefined || !selects(task)) && tasks.some((one) => isSealing(one) && selects(one));
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
