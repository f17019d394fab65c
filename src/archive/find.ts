/**
 * Finds the backup that an operator's `<path>` names: `latest`, an instant, a date, a URL, a local folder
 * or file, or a key below the bucket folder. Only folders are listed; nothing is read but the manifests that `latest`
 * and an instant look at.
 */
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type ArchivePlace, isBackupEntry } from "./archive.ts";
import { numberedFolders } from "./days.ts";
import { formatDate, parseDate, parseInstant } from "../dates.ts";
import { ArchiveError, UsageError } from "../errors.ts";
import { suggestHeld } from "./held_databases.ts";
import { CHECKPOINT_NAME, isCheckpointName, isManifestName, MANIFEST_NAME } from "./layout.ts";
import { Repository } from "./repository.ts";
import { newerAttempts } from "./newer_attempts.ts";
import { findRestorePoint, type RestorePoint } from "./restore_point.ts";
import { joinKey, splitKey } from "../store/key.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import type { Log } from "../observe.ts";
import type { Store } from "../store/store.ts";
import type { Seal } from "./unlock.ts";

/** What paths are resolved with. */
export interface PathContext {
  /** The config's; undefined when there is no config. */
  repository: Repository | undefined;
  /** Opens another store, with the config's credentials: `s3://name/folder` or `file:///path`. */
  openStore: (bucket: string) => Promise<Store>;
  /** Takes the log lines. */
  log: Log;
  /** What time it is. @default the clock of this machine */
  now?: (() => Date) | undefined;
  /** Ends it at once. */
  signal: AbortSignal;
  /** What opens sealed backups, and which are to be sealed. @default nothing opens them */
  seal?: Seal | undefined;
}

/**
 * Finds the backup that `path` means.
 *
 * @param database The decoded name of the database whose backup is looked for, where the path does not name one.
 * @throws UsageError when the path needs a config that there is none of; ArchiveError when nothing is there.
 */
export async function findArchive(context: PathContext, path: string, database: string): Promise<ArchivePlace> {
  const tried: string[] = [];
  const dated = await findDated(context, path, { database, tried });
  if (dated !== undefined) return dated;
  if (/^[a-z0-9]+:\/\//i.test(path)) return await findUrl(context, path, database);
  const local = await findLocal(context, path, database);
  if (local !== undefined) return local;
  if (isClearlyLocal(path)) throw nothingAt(path, []);
  const { store } = repositoryOf(context, path);
  const found = await findBelow(context, { store, key: joinKey(path), database });
  if (found.place !== undefined) return found.place;
  const day = /^(\d{4}([-/])\d{1,2}\2\d{1,2})(?:\/.*)?$/.exec(path)?.[1];
  if (day !== undefined && parseDate(day) === undefined) {
    throw new UsageError(`"${day}" is not a day of the calendar`, {
      hint: 'Write it as 2026-10-22 or 2026/10/22; "couchdb-backup list backups" shows the backups there are',
    });
  }
  if (database === "latest" || parseDate(database) !== undefined || parseInstant(database) !== undefined) {
    throw new UsageError(
      `There is no backup at "${path}", and "${database}" stands where a database's name is expected`,
      {
        hint: `The database comes first, then which backup of it: "${path}" "${database}"`,
      },
    );
  }
  throw nothingAt(path, [...tried, ...found.tried]);
}

/**
 * `latest`, a date or an instant, alone or with the name of another database after it: `2026-10-22/orders`,
 * `2026-11-25T18:05Z/orders`. A folder without a backup is put into `tried`.
 */
async function findDated(
  context: PathContext,
  path: string,
  { database, tried }: { database: string; tried: string[] },
): Promise<ArchivePlace | undefined> {
  const match = /^(latest|\d{4}([-/])\d{1,2}\2\d{1,2}|\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d[^/ ]*)(?:\/(.+?))?\/*$/i.exec(
    path,
  );
  if (match === null) return undefined;
  const [, when = "", , name] = match;
  const source = name === undefined ? database : decodeDatabase(name);
  if (when.toLowerCase() === "latest") {
    return await findPoint(context, repositoryOf(context, path), { database: source });
  }
  const date = parseDate(when);
  if (date === undefined && /[T ]/i.test(when)) {
    const notAfter = readInstant(when);
    return await findPoint(context, repositoryOf(context, path), { database: source, notAfter });
  }
  if (date === undefined) return undefined;
  const repository = repositoryOf(context, path);
  const { store } = repository;
  const folder = repository.backupFolder({ date, database: source });
  if (await holdsBackup(context, store, folder)) return { store, folder };
  const plain = joinKey(repository.prefix, formatDate(date), repository.suffix, source);
  if (plain !== folder && await holdsBackup(context, store, plain)) return { store, folder: plain };
  if (name === undefined) {
    const url = store.locate(folder);
    throw new ArchiveError(
      `There is no backup at "${url}"`,
      { key: url, expected: "a manifest or chunks", found: "neither" },
      { hint: await suggestHeld(repository, source, context) },
    );
  }
  // Not an error: without a prefix in the config, a date and a name may as well be the beginning of a key.
  tried.push(store.locate(folder));
  return undefined;
}

/** @throws UsageError when the text is no moment. */
function readInstant(text: string): Date {
  const instant = parseInstant(text);
  if (instant !== undefined) return instant;
  throw new UsageError(`Cannot read "${text}" as a moment`, {
    hint: 'A moment has a date, a time and a zone: "2026-11-25T18:05Z" or "2026-11-25T19:05:30+01:00"',
  });
}

/** The newest backup of a database that was complete at a moment, or of all. */
async function findPoint(
  { log, now = () => new Date(), signal }: PathContext,
  repository: Repository,
  { database, notAfter }: { database: string; notAfter?: Date | undefined },
): Promise<ArchivePlace> {
  const point = await findRestorePoint(repository, database, { notAfter, log, now, signal });
  const caveats = await newerAttempts(repository, { database, point, notAfter, log, now: now(), signal });
  for (const caveat of caveats) log.warn("backup is older than the last attempt", { database, caveat });
  return { ...placeOfPoint(repository, point), caveats };
}

/** Where a backup lies that has been found. */
export function placeOfPoint({ store }: Repository, { folder, name, manifest, damaged }: RestorePoint): ArchivePlace {
  return { store, folder, manifest: name, read: { manifest, damaged } };
}

/** A URL of something within the config's store, or within another one. */
async function findUrl(context: PathContext, url: string, database: string): Promise<ArchivePlace> {
  if (/^file:/i.test(url)) {
    const found = await findLocal(context, pathOfUrl(url), database);
    if (found !== undefined) return found;
    throw nothingAt(url, []);
  }
  const store = context.repository?.store;
  if (store !== undefined && (url === store.url || url.startsWith(`${store.url}/`))) {
    const found = await findBelow(context, { store, key: joinKey(url.slice(store.url.length)), database });
    if (found.place !== undefined) return found.place;
    throw nothingAt(url, found.tried);
  }
  const match = /^(s3:\/\/[^/]+)\/*(.*)$/i.exec(url);
  if (match === null) {
    throw new UsageError(`Cannot read "${url}": a backup's URL begins with s3:// or file://`);
  }
  const other = await context.openStore(match[1]!);
  const found = await findBelow(context, { store: other, key: joinKey(match[2]!), database });
  if (found.place !== undefined) return found.place;
  throw nothingAt(url, found.tried);
}

/** The local path of a `file:` URL. One that was put together by hand may have a database's `%2F` as it is. */
function pathOfUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch {
    return url.replace(/^file:(\/\/[^/]*)?/i, "");
  }
}

/** A local folder or file; undefined when there is none. */
async function findLocal(context: PathContext, path: string, database: string): Promise<ArchivePlace | undefined> {
  const absolute = resolve(path);
  const { href } = pathToFileURL(absolute);
  const { name } = splitKey(absolute);
  if (name === "") return undefined; // The root of the file system is nobody's backup.
  const below = await findInOwnStore(context, absolute, database);
  if (below !== undefined) return below;
  const parent = await context.openStore(splitKey(href).folder || "file:///");
  if (await parent.stat(name, { signal: context.signal }) !== undefined) {
    return placeOfObject({ store: parent, folder: "", name });
  }
  const store = await context.openStore(href);
  if (!await holdsAnything(store, context)) return undefined;
  const found = await findBelow(context, { store, key: "", database });
  if (found.place === undefined) throw nothingAt(path, found.tried);
  // The folder's own name says which database it is a backup of.
  return found.place.folder === "" ? { store: parent, folder: name } : found.place;
}

/**
 * What lies in the config's bucket folder, by a path of this machine. Who writes beside it, as `keep` does, must not take
 * a backup's folder for a bucket folder of its own, and put the mark of one there.
 */
async function findInOwnStore(
  context: PathContext,
  absolute: string,
  database: string,
): Promise<ArchivePlace | undefined> {
  const store = context.repository?.store;
  if (store === undefined || !store.url.startsWith("file:")) return undefined;
  const root = fileURLToPath(store.url);
  if (!absolute.startsWith(`${root}/`)) return undefined;
  return (await findBelow(context, { store, key: absolute.slice(root.length + 1), database })).place;
}

async function holdsAnything(store: Store, { signal }: PathContext): Promise<boolean> {
  for await (const _ of store.list("", { signal })) return true;
  return false;
}

function isClearlyLocal(path: string): boolean {
  return /^(\.{0,2}\/|~)/.test(path);
}

/** Looks at a key, and where it is a prefix, one or two steps below it. */
async function findBelow(
  context: PathContext,
  { store, key, database }: { store: Store; key: string; database: string },
): Promise<{ place?: ArchivePlace; tried: string[] }> {
  const { signal, repository } = context;
  const suffix = repository?.suffix ?? "";
  const encoded = encodeDatabase(database);
  if (key !== "") {
    const isObject = await store.stat(key, { signal }) !== undefined;
    if (isObject) return { place: placeOfObject({ store, ...splitKey(key) }), tried: [] };
  }
  // The Rust port of the reference script leaves slashes in names as they are.
  const names = [...new Set([encoded, database])];
  const below = names.flatMap((name) => [joinKey(key, name), joinKey(key, suffix, name)]);
  const candidates = [...new Set([key, ...below])];
  for (const folder of candidates) {
    if (await holdsBackup(context, store, folder)) return { place: { store, folder }, tried: [] };
  }
  if ((await numberedFolders(store, key, { digits: 4, signal })).length > 0) {
    const repository = new Repository(store, { prefix: key, suffix });
    return { place: await findPoint(context, repository, { database }), tried: [] };
  }
  return { tried: candidates.map((folder) => folder === "" ? store.url : store.locate(folder)) };
}

async function holdsBackup({ signal }: PathContext, store: Store, folder: string): Promise<boolean> {
  for await (const entry of store.list(folder, { signal })) if (isBackupEntry(entry)) return true;
  return false;
}

/** A single object: a chunk or a file of documents, or the manifest or checkpoint that stands for its whole backup. */
function placeOfObject({ store, folder, name }: { store: Store; folder: string; name: string }): ArchivePlace {
  // A manifest.json may be a copy of another manifest, and the backup of a checkpoint.json may be complete by now.
  if (name === MANIFEST_NAME || name === CHECKPOINT_NAME) return { store, folder };
  if (isManifestName(name) || isCheckpointName(name)) return { store, folder, manifest: name };
  return { store, folder, object: name };
}

function repositoryOf({ repository }: PathContext, path: string): Repository {
  if (repository !== undefined) return repository;
  throw new UsageError(`Cannot find "${path}" without a config`, {
    hint: "Give --config FILE, or the path as an s3:// or file:// URL or as a local folder",
  });
}

/** @param tried Where there might have been one; empty where the path itself is not there. */
function nothingAt(path: string, tried: readonly string[]): ArchiveError {
  const why = tried.length === 0 ? "there is no such file or folder" : `looked at ${tried.join(", ")}`;
  return new ArchiveError(
    `There is no backup at "${path}": ${why}`,
    { key: path, expected: "a manifest or chunks", found: "neither" },
    { hint: `"couchdb-backup list backups" shows the backups there are${path.includes("/") ? "" : PATHS}` },
  );
}

/** How a day and a moment are written, for somebody who has tried `yesterday` or `30.11.2026`. */
const PATHS = '; a day is written "2026-10-22", a moment "2026-11-25T18:05Z", and the newest backup is "latest"';
