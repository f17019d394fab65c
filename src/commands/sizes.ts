/**
 * What backups cost in the store. In: a repository. Out: bytes by task, by database and in all, with what no backup
 * names counted apart. By the folders' listings and the manifests, so that it is what is there and not what was
 * planned.
 */
import { type DatabaseHoldings, readHoldings } from "../archive/holdings.ts";
import { nothingHeldOf } from "../archive/held_databases.ts";
import { isManifestName, isPinName } from "../archive/layout.ts";
import type { Repository } from "../archive/repository.ts";
import { decodeDatabase } from "../database_name.ts";

/** What something takes up. */
export interface Size {
  /** Complete backups. */
  backups: number;
  /** Their chunks, each counted once. */
  bytes: number;
}

/** The same with what belongs to no backup. */
export interface SizeWithLeftovers extends Size {
  /** Chunks, checkpoints and whatever else lies there and belongs to no complete backup. */
  leftover_bytes: number;
}

/** What `list --sizes --json` prints. */
export interface SizesReport {
  /** By the decoded name, in the order of the names. */
  databases: ({ database: string } & SizeWithLeftovers)[];
  /** By the task that made them, in the order of the names. A chunk that backups of two tasks name counts for both. */
  tasks: ({ task: string } & Size)[];
  /** All of it. */
  total: SizeWithLeftovers;
}

/**
 * Adds up what backups take up in the store.
 *
 * @param options `database`: of this one alone; encoded or not.
 * @throws UsageError where one database is named and there is nothing of it; StoreError when the store fails.
 */
export async function measureBackups(
  { repository, signal }: { repository: Repository; signal: AbortSignal },
  options: { database?: string | undefined } = {},
): Promise<SizesReport> {
  const database = options.database === undefined ? undefined : decodeDatabase(options.database);
  const report: SizesReport = { databases: [], tasks: [], total: { backups: 0, bytes: 0, leftover_bytes: 0 } };
  const tasks = new Map<string, Size>();
  let isEmpty = true;
  for await (const holdings of readHoldings(repository, { database, signal })) {
    if (holdings.folders.length > 0) isEmpty = false;
    const one = measure(holdings, tasks);
    report.databases.push(one);
    report.total.backups += one.backups;
    report.total.bytes += one.bytes;
    report.total.leftover_bytes += one.leftover_bytes;
  }
  if (database !== undefined && isEmpty) throw await nothingHeldOf(repository, database, { signal });
  report.databases.sort((a, b) => a.database < b.database ? -1 : 1);
  report.tasks = [...tasks].map(([task, size]) => ({ task, ...size })).sort((a, b) => a.task < b.task ? -1 : 1);
  return report;
}

function measure({ database, folders }: DatabaseHoldings, tasks: Map<string, Size>): SizesReport["databases"][number] {
  const sum = { database, backups: 0, bytes: 0, leftover_bytes: 0 };
  for (const { objects, backups } of folders) {
    const named = new Set<string>();
    const namedByTask = new Map<string, Set<string>>();
    const known = new Set(backups.flatMap(({ seen }) => seen));
    for (const { task, chunks } of backups) {
      sum.backups++;
      const own = namedByTask.get(task) ?? new Set<string>();
      for (const name of chunks.keys()) named.add(name), own.add(name);
      namedByTask.set(task, own);
      const size = tasks.get(task) ?? { backups: 0, bytes: 0 };
      size.backups++;
      tasks.set(task, size);
    }
    const bytesOf = (names: Iterable<string>) =>
      [...names].reduce((bytes, name) => bytes + (objects.get(name)?.sizeBytes ?? 0), 0);
    for (const [task, names] of namedByTask) tasks.get(task)!.bytes += bytesOf(names);
    sum.bytes += bytesOf(named);
    sum.leftover_bytes += bytesOf(
      [...objects.keys()].filter((name) =>
        !named.has(name) && !known.has(name) && !isManifestName(name) && !isPinName(name)
      ),
    );
  }
  return sum;
}
