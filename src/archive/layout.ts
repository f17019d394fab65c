/**
 * Where things lie in an archive: the names of folders and objects, built and taken apart. Keys are relative to the
 * bucket folder and have neither a leading nor a trailing slash. The layout is specified in docs/archive.md. Pure.
 */
import { createHash } from "node:crypto";
import { type Compression, COMPRESSIONS, SEALED_EXTENSION } from "../codec/compression.ts";
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

/**
 * What makes a backup of format 1 complete. Of format 2 it is a copy of the folder's newest manifest, for people and
 * older readers; nothing here relies on it.
 */
export const MANIFEST_NAME = "manifest.json";
/** What says how far an unfinished backup of format 1 has come. */
export const CHECKPOINT_NAME = "checkpoint.json";
/** The folder, beside the years, that holds claims, plans and reports of runs. */
export const RUNS_FOLDER = "_runs";
/** The folder, beside the years, that holds what was found out about the store itself. */
export const STORE_FOLDER = "_store";
/** The folder, beside the years, that holds the index of complete backups. */
export const CATALOG_FOLDER = "_catalog";

/** The Rust port of the reference script counts with three digits: `000.json.gz`. */
const PORT_CHUNK_NAME = /^(\d{3,6})\.json\.gz$/;
/** A chunk: eight digits of its run or none, and its number. With more digits than twelve it would not be exact. */
export const CHUNK_NAME: RegExp = /^(?:([0-9a-f]{8})-)?(\d{7,12})\.json\.(?:gz|zst)(?:\.age)?$/;
const MANIFEST_OF_RUN = /^manifest-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-([0-9a-f]{8})\.json$/;
const CHECKPOINT_OF_RUN = /^checkpoint-([0-9a-f]{8})\.json$/;
const PIN_NAME = /^keep-([0-9a-f]{8})\.json$/;
/** The filter of a checkpoint. */
export const FILTER_NAME: RegExp = /^filter-[0-9a-f]{8}-[01]\.bin$/;
/** The filter of what a backup has seen. */
export const SEEN_NAME: RegExp = /^seen-[0-9a-f]{8}-\d{1,4}\.bin$/;

/** The folder of one backup: `<prefix>/2026/01/03/<suffix>/a%2Fb`. */
export function backupFolder(address: BackupAddress): string {
  return joinKey(address.prefix, formatDate(address.date), address.suffix, encodeDatabase(address.database));
}

/**
 * The eight hexadecimal digits that stand for a run in names of objects: the first of its id where that is a UUID, else
 * of the id's SHA-256.
 */
export function shortRun(run: string): string {
  const [, digits] = /^([0-9a-f]{8})-[0-9a-f]{4}-/.exec(run) ?? [];
  return digits ?? createHash("sha256").update(run).digest("hex").slice(0, 8);
}

/**
 * The name of chunk `number`, counted from 0: `0000012.json.gz`.
 *
 * @param options `run`: its {@linkcode shortRun} where the folder holds chunks of other runs:
 * `0b5a8fd2-0000012.json.gz`. `isSealed`: `0000012.json.gz.age`.
 */
export function chunkName(
  number: number,
  { run, compression = "gzip", isSealed = false }: {
    run?: string | undefined;
    compression?: Compression | undefined;
    isSealed?: boolean | undefined;
  } = {},
): string {
  const { extension } = COMPRESSIONS[compression];
  const name = `${run === undefined ? "" : `${run}-`}${String(number).padStart(7, "0")}.json.${extension}`;
  return isSealed ? `${name}.${SEALED_EXTENSION}` : name;
}

/** The number in a chunk's name, undefined when the name is not a chunk's. */
export function parseChunkName(name: string): number | undefined {
  const match = CHUNK_NAME.exec(name);
  return match === null ? undefined : Number(match[2]);
}

/** The number in the name of a chunk of the reference script's Rust port; undefined when the name is none. */
export function parsePortChunkName(name: string): number | undefined {
  const match = PORT_CHUNK_NAME.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** The name of a chunk of the Rust port: `012.json.gz`. */
export function portChunkName(number: number): string {
  return `${String(number).padStart(3, "0")}.json.gz`;
}

/** Whether an object is a chunk of a folder of them, whoever wrote it. */
export function isBackupChunkName(name: string): boolean {
  return parseChunkName(name) !== undefined || parsePortChunkName(name) !== undefined;
}

/** The run in a chunk's name; undefined where it has none. */
export function runOfChunkName(name: string): string | undefined {
  return CHUNK_NAME.exec(name)?.[1];
}

/** The name of the manifest of a run that finished at an instant: `manifest-20261125T180411Z-0b5a8fd2.json`. */
export function manifestName(finishedAt: Date, run: string): string {
  return `manifest-${compactInstant(finishedAt)}-${run}.json`;
}

/** The instant, to the second, and the run in a manifest's name; undefined when the name is none of format 2. */
export function parseManifestName(name: string): { finishedAt: Date; run: string } | undefined {
  const match = MANIFEST_OF_RUN.exec(name);
  if (match === null) return undefined;
  const finishedAt = instantOf(match.slice(1, 7));
  return finishedAt === undefined ? undefined : { finishedAt, run: match[7] ?? "" };
}

/** The name of a run's checkpoint: `checkpoint-0b5a8fd2.json`. */
export function checkpointName(run: string): string {
  return `checkpoint-${run}.json`;
}

/** The run in a checkpoint's name; undefined when the name is none of format 2. */
export function parseCheckpointName(name: string): string | undefined {
  return CHECKPOINT_OF_RUN.exec(name)?.[1];
}

/** The name of the filter of listed ids that belongs to a run's checkpoint; two take turns. */
export function filterName(run: string, turn: 0 | 1): string {
  return `filter-${run}-${turn}.bin`;
}

/** The name of the filter of what a backup has seen, where it does not stand in the manifest: `seen-0b5a8fd2-0.bin`. */
export function seenName(run: string, number: number): string {
  return `seen-${run}-${number}.bin`;
}

/** Whether an object is a filter of what a backup has seen. */
export function isSeenName(name: string): boolean {
  return SEEN_NAME.test(name);
}

/** Whether an object is a manifest, of whatever format. */
export function isManifestName(name: string): boolean {
  return name === MANIFEST_NAME || parseManifestName(name) !== undefined;
}

/** Whether an object is a checkpoint, of whatever format. */
export function isCheckpointName(name: string): boolean {
  return name === CHECKPOINT_NAME || CHECKPOINT_OF_RUN.test(name);
}

/** Whether an object is a filter that belongs to a checkpoint. */
export function isFilterName(name: string): boolean {
  return FILTER_NAME.test(name);
}

/** The name of what says whether the backup of a run is pinned, so that it never expires: `keep-0b5a8fd2.json`. */
export function pinName(run: string): string {
  return `keep-${run}.json`;
}

/** The run in a pin's name; undefined when the name is none. */
export function parsePinName(name: string): string | undefined {
  return PIN_NAME.exec(name)?.[1];
}

/** Whether an object is a pin. */
export function isPinName(name: string): boolean {
  return PIN_NAME.test(name);
}

/** An instant in names: `20260103T180000Z`. */
export function compactInstant(instant: Date): string {
  return instant.toISOString().replaceAll(/[-:]|\.\d+/g, "");
}

/** The folder of a database's entries in the catalog: `<prefix>/_catalog/<suffix>/a%2Fb`. */
export function catalogFolder(address: { prefix: string; suffix: string; database: string }): string {
  return joinKey(address.prefix, CATALOG_FOLDER, address.suffix, encodeDatabase(address.database));
}

/** The folder of all runs of a task: `<prefix>/_runs/<suffix>/<task>`. */
export function taskFolder(address: { prefix: string; suffix: string; task: string }): string {
  return joinKey(address.prefix, RUNS_FOLDER, address.suffix, encodeURIComponent(address.task.toWellFormed()));
}

/** The instant in the name of a run's folder; undefined when it is none. */
export function parseRunFolderName(name: string): Date | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(name);
  return match === null ? undefined : instantOf(match.slice(1));
}

/** The instant of a year, month, day, hour, minute and second; undefined where there is no such one. */
function instantOf([year, month, day, hour, minute, second]: readonly (string | undefined)[]): Date | undefined {
  const instant = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(instant.getTime()) ? undefined : instant;
}

/** The folder of one run of a task: `<prefix>/_runs/<suffix>/<task>/20260103T180000Z`. */
export function runFolder(address: { prefix: string; suffix: string; task: string; elapse: Date }): string {
  return joinKey(taskFolder(address), compactInstant(address.elapse));
}
