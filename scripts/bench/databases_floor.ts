/**
 * The least that the backup of many small databases can cost: the three requests that each takes, one call that
 * compresses, and its files as the program writes them, so that they outlive a power cut: a chunk, a manifest and its
 * copy, an entry of the catalog. Three databases at a time, as many as `parallel: 4` lets begin. Nothing is parsed or
 * checked. In: the server's URL with credentials, a folder, and what the names of the databases begin with.
 * deno run --allow-net --allow-read --allow-write scripts/bench/databases_floor.ts http://admin:secret@127.0.0.1:5984
 * /tmp/floor bench_many
 */
import { createHash } from "node:crypto";
import { closeSync, fsync, linkSync, mkdirSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { gzipSync } from "node:zlib";

const AT_A_TIME = 3;
const MANIFEST_BYTES = 1300;
const REQUESTS = ["_revs_limit", "_security", "_changes?style=all_docs&since=0&limit=4999&include_docs=true"];

const [server = "", folder = "", prefix = ""] = Deno.args;
const url = new URL(server);
const headers = {
  authorization: `Basic ${btoa(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`)}`,
};

async function ask(path: string): Promise<Uint8Array> {
  const response = await fetch(`${url.origin}/${path}`, { headers });
  if (!response.ok) throw new Error(`CouchDB answered ${response.status} to ${path}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function synced(file: number): Promise<void> {
  await new Promise<void>((resolve, reject) => fsync(file, (error) => error === null ? resolve() : reject(error)));
  closeSync(file);
}

const syncFolder = (path: string) => synced(openSync(path, "r"));

let temporary = 0;

/** Stores an object under a name that nothing has yet, or in place of what has it. */
async function store(path: string, name: string, bytes: Uint8Array, isReplaced = false): Promise<void> {
  const written = `${path}/.${temporary++}`;
  const file = openSync(written, "wx", 0o600);
  writeSync(file, bytes);
  await synced(file);
  if (isReplaced) return renameSync(written, `${path}/${name}`);
  linkSync(written, `${path}/${name}`);
  unlinkSync(written);
}

async function backup(database: string): Promise<void> {
  const [, , feed] = await Promise.all(REQUESTS.map((request) => ask(`${database}/${request}`)));
  const chunk = gzipSync(feed!, { level: 4 });
  createHash("sha256").update(chunk).digest("hex");
  const [home, catalog] = [`${folder}/day/${database}`, `${folder}/catalog/${database}`];
  mkdirSync(home);
  await store(home, "chunk", chunk);
  const manifest = new Uint8Array(MANIFEST_BYTES);
  mkdirSync(catalog);
  await Promise.all([store(home, "manifest", manifest), store(catalog, "entry", manifest.subarray(1000))]);
  await Promise.all([syncFolder(home), syncFolder(catalog)]);
  await store(home, "copy", manifest, true);
  await syncFolder(home);
}

const all = JSON.parse(new TextDecoder().decode(await ask("_all_dbs"))) as string[];
const names = all.filter((name) => name.startsWith(prefix)).values();
mkdirSync(`${folder}/day`, { recursive: true });
mkdirSync(`${folder}/catalog`);
await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
  for (const name of names) await backup(name);
}));
for (const path of ["day", "catalog"]) await syncFolder(`${folder}/${path}`);
