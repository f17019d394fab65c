/** What the sweeps work with: a source that nobody changes, folders in memory where there are such, an earlier backup. */
import { pathToFileURL } from "node:url";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { CouchServer } from "../couch_request.ts";
import { createDatabase } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { filesBelow, readTruth, type Truth } from "./judge.ts";
import { COUCH_PASSWORD, HARD, Program, TINY } from "./program.ts";

/** The folder's date in all runs, but for the earlier backup. */
export const DAY = "2026/01/03";

/** A source, and what is in it. */
export interface Source extends AsyncDisposable {
  server: FakeCouchDb;
  truths: ReadonlyMap<string, Truth>;
  /** The files of a repository that holds a backup of the day before. */
  earlier: ReadonlyMap<string, Uint8Array>;
  /** The same, and a backup of the day itself, by another run. */
  sameDay: ReadonlyMap<string, Uint8Array>;
}

/** A double of CouchDB with a password that must not be told. */
export async function startCouch(): Promise<FakeCouchDb> {
  return await startFakeCouchDb({ users: [{ name: "admin", password: COUCH_PASSWORD }] });
}

let source: Promise<Source> | undefined;

/** The source of all tests of a file; made once, and left to the end of the process. */
export async function openSource(): Promise<Source> {
  return await (source ??= makeSource());
}

async function makeSource(): Promise<Source> {
  const server = await startCouch();
  await seedHardDatabase(server, HARD, { documents: 12, attachmentBytes: 600, paddingBytes: 60 });
  await createDatabase(server, TINY, ["a", "b", "c"]);
  const truths = new Map<string, Truth>();
  for (const database of [HARD, TINY]) truths.set(database, await readTruth(server, database));
  const folder = await makeFolder();
  const store = () => new DirectoryStore(`${folder}/bucket`);
  await mustSucceed(new Program({ couch: server, store: store() }).backup({ day: 2 }));
  const earlier = await filesBelow(folder);
  await mustSucceed(new Program({ couch: server, store: store() }).backup());
  const sameDay = await filesBelow(folder);
  await Deno.remove(folder, { recursive: true });
  return { server, truths, earlier, sameDay, [Symbol.asyncDispose]: () => server.stop() };
}

async function mustSucceed(run: ReturnType<Program["backup"]>): Promise<void> {
  const { exit, errors } = await run;
  if (exit !== 0) throw new Error(`A run without a fault exits with ${exit}: ${errors.join("; ")}`);
}

/** A temporary folder, in memory where the machine has such. */
export async function makeFolder(files: ReadonlyMap<string, Uint8Array> = new Map()): Promise<string> {
  const dir = await Deno.stat("/dev/shm").then(() => "/dev/shm", () => undefined);
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-faults-", ...(dir === undefined ? {} : { dir }) });
  for (const [path, bytes] of files) {
    await Deno.mkdir(`${folder}${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    await Deno.writeFile(folder + path, bytes);
  }
  return folder;
}

/** The folder of a database's backups of the day. */
export function folderOf(bucket: string, database: string): string {
  return `${bucket}/${DAY}/${encodeURIComponent(database)}`;
}

/** The URL of a folder, as a config has it. */
export function urlOf(folder: string): string {
  return pathToFileURL(folder).href;
}

/** A server by another address. */
export function through(server: CouchServer, { url }: { url: string }): CouchServer {
  return { url, login: server.login, password: server.password };
}
