/**
 * Whether the disk of a bucket folder has room for the next backups. In: the folder, the catalog of what was saved, and
 * CouchDB's own sizes for what was not yet. Out: a question of `check`.
 */
import { statfs } from "node:fs/promises";
import { Catalog } from "../archive/catalog.ts";
import type { Repository } from "../archive/repository.ts";
import type { Found, Probe } from "../commands/check.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { DatabaseInfos } from "../couchdb/database_infos.ts";
import { formatDate } from "../dates.ts";
import { CouchError, describeError, isMissing } from "../errors.ts";
import { counted, formatSize } from "../observe/figures.ts";
import { forEachParallel } from "../parallel.ts";
import { selectTasks } from "../task/selection.ts";
import type { Task } from "../task/task.ts";

/** Databases that CouchDB is asked about at once; most logins get the answers of all of them by one request. */
const DATABASES_AT_ONCE = 50;

/** What the disk has left, beside the size of the last backups and of what has none yet. */
export function spaceProbe(
  root: string,
  { repository, tasks, now }: { repository: Repository; tasks: readonly Task[]; now: () => Date },
): Probe {
  return {
    check: "store_space",
    async run(signal, couch): Promise<string | Found> {
      let free: number;
      try {
        const { bavail, bsize } = await statfs(root);
        free = bavail * bsize;
      } catch (error) {
        if (!isNotAllowed(error)) throw error;
        return "Free disk space is unknown: Deno was started without --allow-sys=statfs";
      }
      const last = await lastBackups(repository, signal);
      const fresh = await sizeOfUnsaved(couch, { tasks, saved: last.saved, now, signal });
      const detail = [
        `${formatSize(free)} are free on the disk of the bucket folder`,
        ...last.bytes === 0 ? [] : [`the last backups took ${formatSize(last.bytes)} (${last.what})`],
        ...fresh === undefined ? [] : [fresh.what],
      ].join(", ");
      if (free > last.bytes + (fresh?.bytes ?? 0)) return detail;
      // Compression makes less of what CouchDB counts, but how much less depends on the documents.
      return { detail, hint: "Make room: the next backup may not fit", warning: true };
    },
  };
}

/**
 * What CouchDB counts of the databases that tasks select and of which there is no backup, before compression; undefined
 * where there is none.
 */
async function sizeOfUnsaved(
  couch: CouchClient | undefined,
  { tasks, saved, now, signal }: {
    tasks: readonly Task[];
    saved: ReadonlySet<string>;
    now: () => Date;
    signal: AbortSignal;
  },
): Promise<{ bytes: number; what: string } | undefined> {
  if (couch === undefined) return { bytes: 0, what: "the size of a first backup is unknown, as CouchDB does not tell" };
  try {
    const selections = selectTasks(await couch.listDatabases({ signal }), tasks, { startedAt: now() });
    const selected = selections.flatMap(({ databases }) => databases.map(({ database }) => database));
    const unsaved = [...new Set(selected)].filter((database) => !saved.has(database));
    if (unsaved.length === 0) return undefined;
    let bytes = 0;
    const infos = new DatabaseInfos(couch, { signal });
    infos.expect(unsaved);
    const addSize = async (database: string, signal: AbortSignal) => {
      try {
        const { info } = await infos.first(database, { signal });
        bytes += info.external_bytes;
      } catch (error) {
        // It may have been deleted since it was listed.
        if (!isMissing(error)) throw error;
      }
    };
    await forEachParallel(() => unsaved, addSize, { limit: DATABASES_AT_ONCE, signal });
    const which = `${counted(unsaved.length, "database")} without a backup`;
    return { bytes, what: `${which} ${unsaved.length === 1 ? "has" : "have"} ${formatSize(bytes)} before compression` };
  } catch (error) {
    if (!(error instanceof CouchError)) throw error;
    return { bytes: 0, what: `the size of a first backup is unknown: ${describeError(error)}` };
  }
}

/** Whether Deno's permission flags forbid the call; Node has no such error. */
function isNotAllowed(error: unknown): boolean {
  return error instanceof Error && error.name === "NotCapable";
}

/** The stored size of each task's backups of the newest date that it has, by the catalog, and the databases in it. */
async function lastBackups(
  repository: Repository,
  signal: AbortSignal,
): Promise<{ bytes: number; what: string; saved: ReadonlySet<string> }> {
  const catalog = new Catalog(repository);
  const saved = new Set<string>();
  const tasks = new Map<string, { date: string; bytes: number; databases: number }>();
  for await (const database of catalog.databases({ signal })) {
    const entry = await catalog.latest(database, { signal });
    if (entry === undefined) continue;
    saved.add(database);
    const date = formatDate(entry.date);
    const known = tasks.get(entry.task);
    if (known !== undefined && known.date > date) continue;
    const sum = known?.date === date ? known : { date, bytes: 0, databases: 0 };
    sum.bytes += entry.compressedBytes;
    sum.databases++;
    tasks.set(entry.task, sum);
  }
  const sums = [...tasks.values()];
  const databases = sums.reduce((sum, task) => sum + task.databases, 0);
  return {
    bytes: sums.reduce((sum, { bytes }) => sum + bytes, 0),
    what: `${counted(databases, "database")} of ${counted(tasks.size, "task")}`,
    saved,
  };
}
