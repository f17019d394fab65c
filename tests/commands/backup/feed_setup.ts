/**
 * A backup of one database, `db` unless it is named, of a double or cluster of doubles into a folder, and what it
 * holds.
 */
import { testParallel } from "../../test_parallel.ts";
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { DatabaseReport } from "../../../src/archive/report.ts";
import { Repository } from "../../../src/archive/repository.ts";
import { backup } from "../../../src/commands/backup/backup.ts";
import type { BackupOptions, RunContext } from "../../../src/commands/backup/context.ts";
import { SILENT_PROGRESS } from "../../../src/observe.ts";
import { openStore } from "../../../src/store/open.ts";
import type { Task } from "../../../src/task/task.ts";
import type { CouchServer } from "../../couch_request.ts";
import { impatientClient } from "../../couchdb/impatient_client.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { type ArchivedBackup, readBackup } from "../../read_archive.ts";

/** Patience of milliseconds. */
const SHORT_PATIENCE: NonNullable<RunContext["patience"]> = { patienceMs: 400, firstWaitMs: 10 };
/** A cluster is waited for as briefly. */
const SHORT_TIMES: NonNullable<RunContext["clusterTimes"]> = {
  freshMs: 1000,
  betweenLooksMs: 5,
  patienceMs: 1500,
};

/** For a run that must find what it waits for, however busy the machine is. */
export const LONG_PATIENCE: Partial<RunContext> = {
  patience: { ...SHORT_PATIENCE, patienceMs: 30_000 },
  clusterTimes: { ...SHORT_TIMES, patienceMs: 30_000 },
};

/** What may be asked of a run. */
export interface RunRequest extends BackupOptions {
  task?: Partial<Task>;
  context?: Partial<RunContext>;
  /** Of January 2026, in the path. */
  day?: number;
  /** Whether these are all databases of the task, so that the run is remembered as its last one. */
  isWhole?: boolean;
}

/** A folder that databases are backed up into. */
export class Backups implements AsyncDisposable {
  readonly log: RecordedLog = new RecordedLog();
  readonly root: string = Deno.makeTempDirSync({ prefix: "couchdb-backup feed-" });
  #runs = 0;

  /** One run over the database, through one server. */
  async run(
    server: CouchServer,
    { database = "db", pattern = database, ...options }: RunRequest & { database?: string; pattern?: string } = {},
  ): Promise<DatabaseReport> {
    return (await this.runAll(server, [{ database, pattern }], options))[0]!;
  }

  /** One run over several databases. */
  async runAll(
    server: CouchServer,
    databases: readonly { database: string; pattern: string }[],
    { task = {}, context = {}, day = 3, isWhole = false, ...options }: RunRequest = {},
  ): Promise<DatabaseReport[]> {
    const never = new AbortController().signal;
    const full: Task = {
      name: "weekly",
      databases: [],
      exclude: [],
      delaySeconds: 0,
      chunk: 100,
      backupOnlyPrevious: false,
      attachments: true,
      revisions: true,
      tombstones: false,
      parallel: testParallel(3),
      allowEmpty: false,
      ...task,
    };
    const report = await backup(
      {
        couch: impatientClient(server),
        repository: new Repository(await openStore({ bucket: pathToFileURL(this.root).href }), {
          prefix: "",
          suffix: "couchdb",
        }),
        log: this.log,
        progress: SILENT_PROGRESS,
        run: `run ${++this.#runs}`,
        now: () => new Date(),
        signal: never,
        stop: never,
        patience: SHORT_PATIENCE,
        clusterTimes: SHORT_TIMES,
        ...context,
      },
      [{
        task: full,
        date: { year: 2026, month: 1, day },
        databases: databases.map((one) => ({ ...one, encoded: one.database })),
        warnings: [],
        ...isWhole ? { listed: databases.map(({ database }) => database) } : {},
      }],
      options,
    );
    return report.tasks[0]!.databases;
  }

  /** The folder of the backups of `db`. */
  get folder(): string {
    return this.folderOf("db");
  }

  /** The folder of the backups of a database. */
  folderOf(database: string): string {
    return join(this.root, "2026/01/03/couchdb", database);
  }

  /** What the newest backup holds. */
  async read(database = "db"): Promise<ArchivedBackup> {
    return await readBackup(this.folderOf(database));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}

/** Of each document in an archive whether it is deleted. */
export function archivedStates({ leafRevisions }: ArchivedBackup): Map<string, boolean> {
  const isDeleted = (revisions: ReadonlyMap<string, string>) =>
    [...revisions.values()].every((text) => text.includes('"_deleted":true'));
  return new Map([...leafRevisions].map(([id, revisions]) => [id, isDeleted(revisions)]));
}

/** Checks that an archive holds all these documents, and that just these of them are deleted. */
export function expectDocuments(
  archived: ArchivedBackup,
  ids: readonly string[],
  deleted: readonly string[] = [],
): void {
  const found = archivedStates(archived);
  const missing = ids.filter((id) => !found.has(id));
  assertEquals(missing.slice(0, 3), [], `${missing.length} of ${ids.length} documents are missing`);
  assertEquals(ids.filter((id) => found.get(id)).sort(), [...deleted].sort(), "tombstones");
}
