/**
 * Makes the test vectors of the archive's formats again: small repositories, and what a restore of each of their
 * backups must give: `deno run -A scripts/record_vectors.ts [format1|format2|increments|zstd|sealed]…`. Format 1 is
 * written by version 1 of this program, out of the history, format 2 by today's; both against the double of CouchDB.
 * docs/vectors.md says what is in them.
 */
import { gunzipSync } from "node:zlib";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { Repository } from "../src/archive/repository.ts";
import { backup } from "../src/commands/backup/backup.ts";
import type { BackupOptions } from "../src/commands/backup/context.ts";
import type { Compression } from "../src/codec/compression.ts";
import { CouchClient } from "../src/couchdb/client.ts";
import { SILENT_LOG, SILENT_PROGRESS } from "../src/observe.ts";
import { Secret } from "../src/secret.ts";
import { openStore } from "../src/store/open.ts";
import type { Task } from "../src/task/task.ts";
import { couchOk } from "../tests/couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../tests/fakes/couchdb.ts";
import { unreadable } from "../tests/fakes/couchdb/faults.ts";
import { type LeafRevisions, readAllLeafRevisions } from "../tests/leaf_revisions.ts";
import { formatVectors, type Vector, withoutHistories } from "../tests/vectors.ts";
import { removeFolder } from "./artifact.ts";

const FIXTURES = new URL("../tests/fixtures/", import.meta.url);
/** The last commit of version 1. */
const VERSION_1 = "ec5e143";
/** Stands in the manifests for the double's address, which differs each time. */
const COUCH_URL = "http://127.0.0.1:5984";
const SECURITY =
  '{"admins":{"names":["ann"],"roles":[]},"members":{"names":[],"roles":["staff"]},"n":9007199254740993}';

/** The tombstones that "orders" has behind the first run of format 2. */
const DELETED = ["deleted-before", "deleted-meanwhile"];

const RECORDS = {
  format1: recordFormat1,
  format2: recordFormat2,
  increments: recordIncrements,
  zstd: recordZstd,
  sealed: recordSealed,
};
for (const [name, record] of Object.entries(RECORDS)) {
  if (Deno.args.length === 0 || Deno.args.includes(name)) await record(new URL(`${name}/`, FIXTURES));
}

async function recordFormat1(folder: URL): Promise<void> {
  const repository = await emptyRepository(folder);
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-version-1-" });
  let leaves: LeafRevisions;
  try {
    await command("git", ["worktree", "add", "--force", "--detach", root, VERSION_1]);
    const script = new URL("record_format1.ts", import.meta.url).pathname;
    const flags = ["run", "-A", "--quiet", "--no-check", "--config", `${root}/deno.json`];
    leaves = leavesOf(JSON.parse(await command("deno", [...flags, script, root, repository])));
  } finally {
    await command("git", ["worktree", "remove", "--force", root]);
  }
  const both = {
    database: "a/b",
    has_histories: true,
    security: '{"admins":{"names":["ann"],"roles":[]},"members":{"names":[],"roles":["staff"]}}',
    revs_limit: 20,
    unreadable: [],
  };
  // The unfinished one has not come to its third chunk.
  const begun = new Map([...leaves].filter(([id]) => id !== "ä 😀/\0"));
  await writeVectors(folder, [
    { ...both, path: "backup/2026/01/03/couchdb/a%2Fb", verify: 0, restore: 0, documents: leaves },
    { ...both, path: "backup/2026/01/04/couchdb/a%2Fb", verify: 12, restore: 12, documents: begun },
  ]);
}

/** A run that is recorded. */
interface RecordedRun {
  run: string;
  day: number;
  hour: number;
  task: Partial<Task>;
  /** @default none: the run goes to its end */
  stop?: AbortSignal;
}

/** Where runs are recorded from, and to. */
interface Recording {
  /** The folder of the repository. */
  repository: string;
  server: FakeCouchDb;
  /** The server's address, where its feed comes in short pages. */
  url: string;
}

async function recordFormat2(folder: URL): Promise<void> {
  const repository = await emptyRepository(folder);
  await using server = await startFakeCouchDb();
  await using feed = shortPages(server);
  await seedOrders(server);
  const recording = { repository, server, url: feed.url };
  const first = await recordChangedMeanwhile(recording);
  const second = await recordWithoutHistories(recording);
  const third = await recordUnfinished(recording);

  const orders = { database: "orders", security: SECURITY, revs_limit: 5, unreadable: [] };
  const months = "backup/2026/11";
  await writeVectors(folder, [
    {
      path: `${months}/25/couchdb/orders/manifest-20261125T060000Z-33333333.json`,
      ...orders,
      verify: 3,
      restore: 3,
      has_histories: true,
      unreadable: ["unreadable"],
      documents: first,
    },
    {
      path: `${months}/25/couchdb/orders`,
      ...orders,
      verify: 0,
      restore: 0,
      has_histories: false,
      documents: second,
    },
    {
      path: `${months}/26/couchdb/orders`,
      ...orders,
      verify: 12,
      restore: 12,
      has_histories: true,
      documents: third,
    },
  ]);
  // What the program has found out of the store is no part of the format.
  await Deno.remove(`${repository}/backup/_store`, { recursive: true });
}

/**
 * When the last page of the feed is asked for, documents of the first one, which are stored, are changed and deleted;
 * and one document cannot be read. @returns What the backup has.
 */
async function recordChangedMeanwhile({ repository, server, url }: Recording): Promise<LeafRevisions> {
  onceAfterPages(server, 2, async () => {
    await write(server, [
      '{"_id":"again","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"state":"later"}',
      '{"_id":"deleted-meanwhile","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true}',
    ]);
  });
  const broken = { ids: ["unreadable"], error: "internal_error", reason: "badmatch" };
  server.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "error rows", ...broken } });
  await runBackup(repository, url, {
    run: "33333333-3333-4333-8333-333333333333",
    day: 25,
    hour: 6,
    task: { name: "with-histories" },
  });
  server.faults.clear();
  const documents = await readAllLeafRevisions(server, "orders", { also: ["deleted-meanwhile"] });
  documents.delete("unreadable");
  return documents;
}

/**
 * The second run of the day saves no histories. Ten changes, more than the revisions limit, come between two states of
 * a document. @returns What the backup has.
 */
async function recordWithoutHistories({ repository, server, url }: Recording): Promise<LeafRevisions> {
  onceAfterPages(server, 2, async () => {
    for (let change = 1, _rev = "1-a"; change <= 10; change++) {
      const { json } = await couchOk(server, "PUT /orders/hot", { _rev, state: `after ${change} changes` });
      _rev = json.rev;
    }
  });
  await runBackup(repository, url, {
    run: "44444444-4444-4444-8444-444444444444",
    day: 25,
    hour: 18,
    task: { name: "without-histories", revisions: false, tombstones: true },
  });
  return withoutHistories(await readAllLeafRevisions(server, "orders", { also: DELETED }));
}

/** A run that ends in the middle. @returns What it has stored. */
async function recordUnfinished({ repository, server, url }: Recording): Promise<LeafRevisions> {
  const stop = new AbortController();
  const stopping = { kind: "run", run: () => stop.abort(new Error("stopped for the test vectors")) } as const;
  server.faults.add({ endpoint: "_bulk_get", skip: 1, fault: stopping });
  const stopped = { run: "55555555-5555-4555-8555-555555555555", day: 26, hour: 6, stop: stop.signal };
  await runBackup(repository, url, { ...stopped, task: { name: "with-histories" } }).catch((error) => {
    if (error !== stop.signal.reason) throw error;
  });
  const all = await readAllLeafRevisions(server, "orders", { also: DELETED });
  const begun = await savedIds(`${repository}/backup/2026/11/26/couchdb/orders`);
  return new Map([...all].filter(([id]) => begun.includes(id)));
}

/**
 * A full backup, an increment, one of a database that has not changed, another increment, and one whose parent is gone.
 */
async function recordIncrements(folder: URL): Promise<void> {
  const repository = await emptyRepository(folder);
  await using server = await startFakeCouchDb();
  await seedOrders(server);
  await write(server, [1, 2, 3, 4].map((number) => `{"_id":"untouched-${number}","_rev":"1-a"}`));
  const vectors: Vector[] = [];
  let security = SECURITY;
  const save = async (day: number, digit: string, also: readonly string[]) => {
    const run = "dddddddd-dddd-4ddd-8ddd-dddddddddddd".replaceAll("d", digit);
    const task = { name: "weekly", chunk: 5, increments: { most: 14 } };
    await runBackup(repository, server.url, { run, day, hour: 6, task });
    vectors.push({
      path: `backup/2026/11/${day}/couchdb/orders`,
      database: "orders",
      verify: 0,
      restore: 0,
      has_histories: true,
      security,
      revs_limit: 5,
      unreadable: [],
      documents: await readAllLeafRevisions(server, "orders", { also }),
    });
  };
  await save(25, "6", []);
  await write(server, [
    '{"_id":"numbers","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"big":9007199254740995,"one":1.0}',
    '{"_id":"file","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true}',
    '{"_id":"deleted-before","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]},"made":"again"}',
    '{"_id":"conflict","_rev":"3-e","_revisions":{"start":3,"ids":["e","b","a"]},"_deleted":true}',
  ]);
  await save(26, "7", ["file"]);
  security = '{"admins":{"names":["bob"],"roles":[]},"members":{"names":[],"roles":[]}}';
  await couchOk(server, "PUT /orders/_security", security);
  await save(27, "8", ["file"]);
  // More changes than the revisions limit lie between the states of two backups.
  for (let change = 1, _rev = "1-a"; change <= 10; change++) {
    const { json } = await couchOk(server, "PUT /orders/hot", { _rev, state: `after ${change} changes` });
    _rev = json.rev;
  }
  await write(server, ['{"_id":"numbers","_rev":"3-c","_revisions":{"start":3,"ids":["c","b","a"]},"_deleted":true}']);
  await save(28, "9", ["file", "numbers"]);
  const last = vectors.at(-1)!;
  await command("mkdir", ["-p", `${repository}/torn/2026/11/28/couchdb`]);
  await command("cp", ["-r", `${repository}/${last.path}`, `${repository}/torn/2026/11/28/couchdb/`]);
  const own = new Map([...last.documents].filter(([id]) => ["hot", "numbers"].includes(id)));
  vectors.push({ ...last, path: "torn/2026/11/28/couchdb/orders", verify: 12, restore: 12, documents: own });
  await writeVectors(folder, vectors);
  await Deno.remove(`${repository}/backup/_store`, { recursive: true });
}

/** A full backup in gzip, an increment of it in zstd, and a full one in zstd. */
async function recordZstd(folder: URL): Promise<void> {
  const repository = await emptyRepository(folder);
  await using server = await startFakeCouchDb();
  await seedOrders(server);
  const vectors: Vector[] = [];
  const save = async (
    { day, digit, compression, full }: { day: number; digit: string; compression: Compression; full?: boolean },
    also: readonly string[] = [],
  ) => {
    const run = "dddddddd-dddd-4ddd-8ddd-dddddddddddd".replaceAll("d", digit);
    const task = { name: "weekly", chunk: 5, increments: { most: 14 }, codec: { compression } };
    await runBackup(repository, server.url, { run, day, hour: 6, task }, { full });
    vectors.push({
      path: `backup/2026/11/${day}/couchdb/orders`,
      database: "orders",
      verify: 0,
      restore: 0,
      has_histories: true,
      security: SECURITY,
      revs_limit: 5,
      unreadable: [],
      documents: await readAllLeafRevisions(server, "orders", { also }),
    });
  };
  await save({ day: 25, digit: "a", compression: "gzip" });
  await write(server, [
    '{"_id":"numbers","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"big":9007199254740995,"one":1.0}',
    '{"_id":"file","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true}',
  ]);
  await save({ day: 26, digit: "b", compression: "zstd" }, ["file"]);
  await save({ day: 27, digit: "c", compression: "zstd", full: true });
  await writeVectors(folder, vectors);
  await Deno.remove(`${repository}/backup/_store`, { recursive: true });
}

/** Sealed to two keys that lie beside it: a full backup in gzip and an increment in zstd, both without a document. */
async function recordSealed(folder: URL): Promise<void> {
  const repository = await emptyRepository(folder);
  const recipients: string[] = [];
  for (const name of ["one", "two"]) {
    const identity = await generateIdentity();
    const recipient = await identityToRecipient(identity);
    recipients.push(recipient);
    await Deno.writeTextFile(new URL(`${name}.key`, folder), `# public key: ${recipient}\n${identity}\n`);
  }
  await using server = await startFakeCouchDb();
  await seedOrders(server);
  server.faults.add(unreadable("orders", ["unreadable"], "error row"));
  const vectors: Vector[] = [];
  const save = async ({ day, digit, compression }: { day: number; digit: string; compression: Compression }) => {
    const run = "dddddddd-dddd-4ddd-8ddd-dddddddddddd".replaceAll("d", digit);
    const task = { name: "weekly", chunk: 5, increments: { most: 14 }, codec: { compression, recipients } };
    await runBackup(repository, server.url, { run, day, hour: 6, task });
    server.faults.clear();
    const documents = await readAllLeafRevisions(server, "orders", { also: day === 26 ? ["file"] : [] });
    documents.delete("unreadable");
    server.faults.add(unreadable("orders", ["unreadable"], "error row"));
    vectors.push({
      path: `backup/2026/11/${day}/couchdb/orders`,
      database: "orders",
      verify: 3,
      restore: 3,
      has_histories: true,
      security: SECURITY,
      revs_limit: 5,
      unreadable: ["unreadable"],
      documents,
    });
  };
  await save({ day: 25, digit: "a", compression: "gzip" });
  await write(server, [
    '{"_id":"numbers","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"big":9007199254740995,"one":1.0}',
    '{"_id":"file","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true}',
  ]);
  await save({ day: 26, digit: "b", compression: "zstd" });
  await writeVectors(folder, vectors);
  await Deno.remove(`${repository}/backup/_store`, { recursive: true });
}

async function seedOrders(server: FakeCouchDb): Promise<void> {
  // One range, so that the feed's order is that of writing.
  await couchOk(server, "PUT /orders?q=1");
  await couchOk(server, "PUT /orders/_revs_limit", "5");
  await couchOk(server, "PUT /orders/_security", SECURITY);
  await write(server, [
    '{"_id":"again","_rev":"1-a","_revisions":{"start":1,"ids":["a"]},"state":"earlier"}',
    '{"_id":"deleted-meanwhile","_rev":"1-a","_revisions":{"start":1,"ids":["a"]}}',
    '{"_id":"deleted-before","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true,"why":"it has a body"}',
    '{"_id":"hot","_rev":"1-a","state":"before ten changes"}',
    '{"_id":"conflict","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"winner":false}',
    '{"_id":"conflict","_rev":"2-c","_revisions":{"start":2,"ids":["c","a"]},"winner":true}',
    '{"_id":"conflict","_rev":"3-d","_revisions":{"start":3,"ids":["d","x","a"]},"_deleted":true}',
    '{"_id":"file","_rev":"1-a","_attachments":{"hello.txt":{"content_type":"text/plain","data":"aGVsbG8="}}}',
    '{"_id":"numbers","_rev":"1-a","big":9007199254740993,"one":1.0,"10":"ten","2":"two"}',
    '{"_id":"unreadable","_rev":"1-a"}',
    '{"_id":"ä 😀/\\u0000","_rev":"1-a"}',
    '{"_id":"_design/app","_rev":"1-a","views":{"all":{"map":"function (doc) { emit(doc._id); }"}}}',
  ]);
}

async function write(server: FakeCouchDb, documents: readonly string[]): Promise<void> {
  await couchOk(server, "POST /orders/_bulk_docs", `{"new_edits":false,"docs":[${documents.join(",")}]}`);
}

/** Does something when the page of the feed that comes after so many others is asked for. */
function onceAfterPages(server: FakeCouchDb, pages: number, run: () => Promise<void>): void {
  const where = ({ method }: { method: string }) => method === "GET";
  server.faults.add({ endpoint: "_changes", where, skip: pages, fault: { kind: "run", run } });
}

/** A proxy in front of the double whose pages of the feed have four rows, whatever is asked for. */
function shortPages(server: FakeCouchDb): { url: string } & AsyncDisposable {
  const proxy = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const { pathname, search } = new URL(request.url);
    const target = server.url + pathname + search.replace(/\blimit=\d+/, "limit=4");
    const { method, headers } = request;
    const body = method === "GET" ? null : await request.arrayBuffer();
    const answer = await fetch(target, { method, headers, body });
    return new Response(await answer.arrayBuffer(), { status: answer.status, headers: answer.headers });
  });
  return {
    url: `http://127.0.0.1:${proxy.addr.port}`,
    [Symbol.asyncDispose]: () => proxy.shutdown(),
  };
}

async function runBackup(
  root: string,
  url: string,
  { run, day, hour, task, stop }: RecordedRun,
  options: BackupOptions = {},
): Promise<void> {
  const couch = new CouchClient({ url, login: "admin", password: new Secret("secret"), log: SILENT_LOG });
  Object.defineProperty(couch, "url", { value: COUCH_URL });
  const store = await openStore({ bucket: `file://${root}` });
  const never = new AbortController().signal;
  const whole: Task = {
    name: "",
    databases: [],
    exclude: [],
    delaySeconds: 0,
    chunk: 3,
    backupOnlyPrevious: false,
    attachments: true,
    revisions: true,
    parallel: 1,
    allowEmpty: false,
    tombstones: false,
    ...task,
  };
  const context = {
    couch,
    repository: new Repository(store, { prefix: "backup", suffix: "couchdb" }),
    log: SILENT_LOG,
    progress: SILENT_PROGRESS,
    run,
    now: () => new Date(Date.UTC(2026, 10, day, hour)),
    signal: never,
    stop: stop ?? never,
  };
  const databases = [{ database: "orders", encoded: "orders", pattern: "--database" }];
  const date = { year: 2026, month: 11, day };
  const report = await backup(context, [{ task: whole, date, databases, warnings: [] }], options);
  const failed = report.tasks.flatMap(({ databases }) => databases).filter(({ error }) => error !== undefined);
  if (failed.length > 0) throw new Error(JSON.stringify(failed));
}

function leavesOf(entries: [string, string[]][]): LeafRevisions {
  return new Map(entries.map(([id, texts]) => [id, new Map(texts.map((text) => [JSON.parse(text)._rev, text]))]));
}

/** The ids in the chunks that the checkpoint of a folder names. */
async function savedIds(folder: string): Promise<string[]> {
  const { chunks } = JSON.parse(await Deno.readTextFile(`${folder}/checkpoint-55555555.json`));
  const ids = chunks.map(async ({ name }: { name: string }) => {
    const { results } = JSON.parse(gunzipSync(await Deno.readFile(`${folder}/${name}`)).toString());
    return results.map(({ id }: { id: string }) => id);
  });
  return (await Promise.all(ids)).flat();
}

async function emptyRepository(folder: URL): Promise<string> {
  const repository = new URL("repository", folder).pathname;
  await removeFolder(repository);
  await Deno.mkdir(repository, { recursive: true });
  return repository;
}

async function writeVectors(folder: URL, vectors: readonly Vector[]): Promise<void> {
  await Deno.writeTextFile(new URL("expected.json", folder), formatVectors(vectors));
}

async function command(name: string, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(name, { args: [...args] }).output();
  if (!success) throw new Error(`${name} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
