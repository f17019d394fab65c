/**
 * Where things lie in an archive: the names of folders and objects, built and taken apart. Keys are relative to the
 * bucket folder and have neither a leading nor a trailing slash. The layout is specified in docs/archive.md.
 */
import { encodeDatabase } from "../database_name.ts";
import { type BackupDate, formatDate } from "../dates.ts";
import { joinKey } from "../store/key.ts";

/** What fixes the folder of one backup. */
export interface BackupAddress {
  /** The config's `prefix`; may be empty or hold slashes. */
  prefix: string;
  date: BackupDate;
  /** The config's `suffix`; may be empty or hold slashes. */
  suffix: string;
  /** The database's decoded name. */
  database: string;
}

/** The object that makes a backup complete. */
export const MANIFEST_NAME = "manifest.json";
/** The object that says how far an unfinished backup has come. */
export const CHECKPOINT_NAME = "checkpoint.json";
/** The folder, beside the years, that holds claims, plans and reports of runs. */
export const RUNS_FOLDER = "_runs";

const CHUNK_NAME = /^(\d{7,})\.json\.gz$/;

/** The folder of one backup: `<prefix>/2026/01/03/<suffix>/a%2Fb`. */
export function backupFolder(address: BackupAddress): string {
  return joinKey(address.prefix, formatDate(address.date), address.suffix, encodeDatabase(address.database));
}

/** The name of chunk `number`, counted from 0: `0000012.json.gz`. */
export function chunkName(number: number): string {
  return `${String(number).padStart(7, "0")}.json.gz`;
}

/** The number in a chunk's name, undefined when the name is not a chunk's. */
export function parseChunkName(name: string): number | undefined {
  const match = CHUNK_NAME.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** The folder of one run of a task: `<prefix>/_runs/<suffix>/<task>/20260103T180000Z`. */
export function runFolder(address: { prefix: string; suffix: string; task: string; elapse: Date }): string {
  const stamp = address.elapse.toISOString().replaceAll(/[-:]|\.\d+/g, "");
  return joinKey(address.prefix, RUNS_FOLDER, address.suffix, encodeURIComponent(address.task), stamp);
}
