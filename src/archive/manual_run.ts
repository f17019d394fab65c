/**
 * Reports of manual runs: `_runs/<suffix>/<task>/by-hand/<instant>-<run>.json`, apart from the folders of elapses,
 * whose names are moments at which the schedule fired. In: a report. Out: the same, for `status` and later questions.
 */
import { jsonBytes } from "../json/indented.ts";
import { joinKey } from "../store/key.ts";
import type { JsonOptions } from "../store/json.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { compactInstant, parseRunFolderName, shortRun } from "./layout.ts";
import type { Repository } from "./repository.ts";
import type { RunReport } from "./report.ts";
import { readRunReport } from "./run_folder.ts";

const FOLDER = "by-hand";

/** A run by hand, as its object's name tells. */
export interface ManualRun {
  /** Its key. */
  key: string;
  /** When it began. */
  at: Date;
}

/** Keeps the report of a run by hand, an object for each of its tasks. */
export async function storeManualRun(
  repository: Repository,
  report: RunReport,
  options: StoreCallOptions,
): Promise<void> {
  const name = `${compactInstant(new Date(report.started_at))}-${shortRun(report.run)}.json`;
  for (const task of report.tasks) {
    const key = joinKey(repository.taskFolder(task.task), FOLDER, name);
    await repository.store.replace(key, jsonBytes({ ...report, tasks: [task] }), options);
  }
}

/** The runs by hand of a task, the latest first. */
export async function listManualRuns(
  repository: Repository,
  task: string,
  options: StoreCallOptions,
): Promise<ManualRun[]> {
  const folder = joinKey(repository.taskFolder(task), FOLDER);
  const runs: ManualRun[] = [];
  for await (const { kind, name } of repository.store.list(folder, options)) {
    const at = kind === "object" ? parseRunFolderName(name.replace(/-[0-9a-f]{8}\.json$/, "")) : undefined;
    if (at !== undefined) runs.push({ key: joinKey(folder, name), at });
  }
  return runs.sort((a, b) => b.at.getTime() - a.at.getTime());
}

/** The report of a run by hand; undefined where it is gone, or not what it should be. */
export async function readManualRun(
  repository: Repository,
  { key }: ManualRun,
  options: StoreCallOptions & JsonOptions,
): Promise<RunReport | undefined> {
  return await readRunReport(repository.store, key, options);
}
