/**
 * What the sweeps work with: a source that nobody changes, folders in memory where there are such, an earlier backup.
 */
import { generateIdentity, identityToRecipient } from "age-encryption";
import { pathToFileURL } from "node:url";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { CouchServer } from "../couch_request.ts";
import { createDatabase } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { filesBelow, readTruth, type Truth } from "./judge.ts";
import { COUCH_PASSWORD, HARD, Program, TINY } from "./program.ts";
import { FaultProxy } from "./proxy.ts";
import { COUCHDB_FAULTS } from "./wire_faults.ts";

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
  /** What the config says more; and the identity that opens the backups, where they are sealed. */
  config: readonly string[];
  identity: string | undefined;
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

let sealedSource: Promise<Source> | undefined;

/** The same, whose backups are sealed. */
export async function openSealedSource(): Promise<Source> {
  return await (sealedSource ??= generateIdentity().then(makeSource));
}

/** The lines by which a config seals, and opens what is sealed. */
async function sealing(identity: string): Promise<string[]> {
  const file = await Deno.makeTempFile({ prefix: "couchdb-backup-faults-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(file));
  await Deno.writeTextFile(file, `${identity}\n`);
  return [`encrypt_to: ["${await identityToRecipient(identity)}"]`, `identity_file: "${file}"`];
}

async function makeSource(identity?: string): Promise<Source> {
  const config = identity === undefined ? [] : await sealing(identity);
  const server = await startCouch();
  await seedHardDatabase(server, HARD, { documents: 12, attachmentBytes: 600, paddingBytes: 60 });
  await createDatabase(server, TINY, ["a", "b", "c"]);
  const truths = new Map<string, Truth>();
  for (const database of [HARD, TINY]) truths.set(database, await readTruth(server, database));
  const folder = await makeFolder();
  const store = () => new DirectoryStore(`${folder}/bucket`);
  await mustSucceed(new Program({ couch: server, store: store(), config }).backup({ day: 2 }));
  const earlier = await filesBelow(folder);
  await mustSucceed(new Program({ couch: server, store: store(), config }).backup());
  const sameDay = await filesBelow(folder);
  await Deno.remove(folder, { recursive: true });
  return { server, truths, earlier, sameDay, config, identity, [Symbol.asyncDispose]: () => server.stop() };
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

/** A clock of which each look takes more than a second: so a checkpoint is due behind each chunk. */
export function hastyClock(): () => Date {
  const startedMs = Date.now();
  let looks = 0;
  return () => new Date(startedMs + 1100 * looks++);
}

/** What a run leaves, beside a backup of the same day, that CouchDB has left at a request for documents. */
export async function makeUnfinished(
  { server, sameDay, config }: Source,
): Promise<ReadonlyMap<string, Uint8Array>> {
  await using proxy = await FaultProxy.start("couchdb", server.url);
  const folder = await makeFolder(sameDay);
  const gone = COUCHDB_FAULTS.find(({ name }) => name === "gone")!;
  proxy.onRequest = (number, request) => {
    const reads = proxy.requests.filter((one) => one.includes("/_bulk_get")).length;
    if (request.includes("/_bulk_get") && reads === 3) {
      proxy.onRequest = undefined;
      proxy.armFrom({ fault: gone, at: number, random: Math.random });
    }
  };
  const store = new DirectoryStore(`${folder}/bucket`);
  await new Program({ couch: through(server, proxy), store, config }).backup();
  const files = await filesBelow(folder);
  await Deno.remove(folder, { recursive: true });
  const chunks = [...files].filter(([path]) => /\/hard%2Fdb\/checkpoint-/.test(path))
    .map(([, bytes]) => JSON.parse(new TextDecoder().decode(bytes)).chunks.length);
  if (Math.max(...chunks) < 1) throw new Error("Nothing is left that could be resumed");
  return files;
}
