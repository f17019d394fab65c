/**
 * The folders of old runs, with their claims, plans, outcomes and reports. In: a task. Out: the keys of what may go.
 */
import { DAY_MS } from "../../dates.ts";
import { listManualRuns } from "../../archive/manual_run.ts";
import { parseRunFolderName } from "../../archive/layout.ts";
import type { Repository } from "../../archive/repository.ts";
import { joinKey } from "../../store/key.ts";
import type { StoreCallOptions } from "../../store/store.ts";

/** The reports of a task's last runs stay however old they are: a task may run once a year. */
const FEWEST_RUNS = 12;
/** A report that is younger stays: questions come late. */
const YOUNGEST_RUN_MS = 90 * DAY_MS;

/**
 * The folders of a task's old runs, each with the keys of all that lies in it. @param options `now`: by the store's
 * clock.
 */
export async function* findOldRuns(
  repository: Repository,
  task: string,
  { now, signal }: StoreCallOptions & { now: Date },
): AsyncGenerator<{ folder: string; keys: string[] }> {
  const parent = repository.taskFolder(task);
  const runs: { name: string; elapse: Date }[] = [];
  for await (const { kind, name } of repository.store.list(parent, { signal })) {
    const elapse = kind === "folder" ? parseRunFolderName(name) : undefined;
    if (elapse !== undefined) runs.push({ name, elapse });
  }
  const byHand = await listManualRuns(repository, task, { signal });
  for (const { key, at } of byHand.slice(FEWEST_RUNS)) {
    if (now.getTime() - at.getTime() >= YOUNGEST_RUN_MS) yield { folder: key, keys: [key] };
  }
  runs.sort((a, b) => b.elapse.getTime() - a.elapse.getTime());
  for (const { name, elapse } of runs.slice(FEWEST_RUNS)) {
    if (now.getTime() - elapse.getTime() < YOUNGEST_RUN_MS) continue;
    const folder = joinKey(parent, name);
    yield { folder, keys: await Array.fromAsync(allBelow(repository, folder, { signal })) };
  }
}

async function* allBelow(
  repository: Repository,
  folder: string,
  options: StoreCallOptions,
): AsyncGenerator<string> {
  for await (const { kind, name } of repository.store.list(folder, options)) {
    if (kind === "object") yield joinKey(folder, name);
    else yield* allBelow(repository, joinKey(folder, name), options);
  }
}
