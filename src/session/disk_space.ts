/**
 * Whether the disk of a bucket folder has room for the next backups. In: the folder, and the catalog of what was saved. Out: a
 * question of `check`.
 */
import { statfs } from "node:fs/promises";
import { Catalog } from "../archive/catalog.ts";
import type { Repository } from "../archive/repository.ts";
import type { Probe } from "../commands/check.ts";
import { formatDate } from "../dates.ts";
import { counted, formatSize } from "../observe/figures.ts";

/** What the disk has left, beside the size of the last backups. */
export function spaceProbe(root: string, repository: Repository): Probe {
  return {
    check: "store_space",
    async run(signal) {
      const last = await lastBackupBytes(repository, signal);
      let free: number;
      try {
        const { bavail, bsize } = await statfs(root);
        free = bavail * bsize;
      } catch (error) {
        if (!isNotAllowed(error)) throw error;
        return "How much space the disk has left is not known: Deno was not given --allow-sys=statfs";
      }
      const left = `${formatSize(free)} are free on the disk of the bucket folder`;
      if (last === undefined) return `${left}; how much a backup takes is known when there is one`;
      const detail = `${left}, the last backups took ${formatSize(last.bytes)} (${last.what})`;
      if (free > last.bytes) return detail;
      return { detail, hint: "Make room: the next backup may not fit", warning: true };
    },
  };
}

/** Deno's answer to what its flags do not allow; Node has no such error. */
function isNotAllowed(error: unknown): boolean {
  return error instanceof Error && error.name === "NotCapable";
}

/** The stored size of each task's backups of the newest date that it has, by the catalog. */
async function lastBackupBytes(
  repository: Repository,
  signal: AbortSignal,
): Promise<{ bytes: number; what: string } | undefined> {
  const catalog = new Catalog(repository);
  const tasks = new Map<string, { date: string; bytes: number; databases: number }>();
  for await (const database of catalog.databases({ signal })) {
    const entry = await catalog.latest(database, { signal });
    if (entry === undefined) continue;
    const date = formatDate(entry.date);
    const known = tasks.get(entry.task);
    if (known !== undefined && known.date > date) continue;
    const sum = known?.date === date ? known : { date, bytes: 0, databases: 0 };
    sum.bytes += entry.compressedBytes;
    sum.databases++;
    tasks.set(entry.task, sum);
  }
  if (tasks.size === 0) return undefined;
  const sums = [...tasks.values()];
  const databases = sums.reduce((sum, task) => sum + task.databases, 0);
  return {
    bytes: sums.reduce((sum, { bytes }) => sum + bytes, 0),
    what: `${counted(databases, "database")} of ${counted(tasks.size, "task")}`,
  };
}
