/** Backs a database up in one call, for tests of what is done with a backup. */
import { Repository } from "../src/archive/repository.ts";
import { backup } from "../src/commands/backup/backup.ts";
import type { Task } from "../src/task/task.ts";
import type { CouchClient } from "../src/couchdb/client.ts";
import type { BackupDate } from "../src/dates.ts";
import { backupFolder, MANIFEST_NAME, parseManifestName, shortRun } from "../src/archive/layout.ts";
import { joinKey } from "../src/store/key.ts";
import { encodeDatabase } from "../src/database_name.ts";
import type { Manifest } from "../src/archive/manifest.ts";
import { parseManifest } from "../src/archive/manifest_json.ts";
import { SILENT_LOG, SILENT_PROGRESS } from "../src/observe.ts";
import type { Store } from "../src/store/store.ts";

/** What to make an archive of. */
export interface ArchiveRequest extends Partial<Pick<Task, "chunk" | "attachments" | "revisions" | "tombstones">> {
  couch: CouchClient;
  store: Store;
  /** Decoded. */
  database: string;
  /** @default "" */
  prefix?: string;
  /** @default "" */
  suffix?: string;
  /** @default 22 October 2026 */
  date?: BackupDate;
  /** @default the clock of this machine */
  now?: () => Date;
}

/** A backup that was made. */
export interface MadeArchive {
  /** The key of its folder. */
  folder: string;
  manifest: Manifest;
  /** The name of the object that makes it complete. `manifest.json` is a copy of it. */
  manifestName: string;
}

/** Backs a database up. */
export async function makeArchive(request: ArchiveRequest): Promise<MadeArchive> {
  const { couch, store, database, prefix = "", suffix = "" } = request;
  const { date = { year: 2026, month: 10, day: 22 } } = request;
  const task: Task = {
    name: "weekly",
    databases: [],
    exclude: [],
    delaySeconds: 0,
    chunk: request.chunk,
    backupOnlyPrevious: false,
    attachments: request.attachments ?? true,
    revisions: request.revisions ?? true,
    parallel: 1,
    allowEmpty: false,
    tombstones: request.tombstones ?? false,
  };
  const never = new AbortController().signal;
  const context = {
    couch,
    repository: new Repository(store, { prefix, suffix }),
    log: SILENT_LOG,
    progress: SILENT_PROGRESS,
    run: crypto.randomUUID(),
    now: request.now ?? (() => new Date()),
    signal: never,
    stop: never,
  };
  const databases = [{ database, encoded: encodeDatabase(database), pattern: "--database" }];
  const report = await backup(context, [{ task, date, databases, warnings: [] }], {});
  if (!report.ok) throw new Error(`"${database}" could not be backed up: ${JSON.stringify(report)}`);
  const folder = backupFolder({ prefix, suffix, date, database });
  const key = joinKey(folder, MANIFEST_NAME);
  const bytes = new Uint8Array(await new Response(await store.read(key)).arrayBuffer());
  const manifest = parseManifest(bytes, key);
  const names = (await Array.fromAsync(store.list(folder))).map(({ name }) => name);
  const manifestName = names.find((name) => parseManifestName(name)?.run === shortRun(manifest.run))!;
  return { folder, manifest, manifestName };
}
