/**
 * Speed and memory, as ratios against peers in one run on one machine: every row of docs/performance.md.
 *
 *   deno task bench [--json FILE] [--pinned] [--only WORD] [--sources]
 *
 * What needs no server is always measured; the rest needs COUCHDB_URL, such as http://admin:secret@127.0.0.1:5984,
 * where it makes and deletes databases named bench_…. COUCHBACKUP, the command of a couchbackup 2.11 (`couchbackup`,
 * called with `--url URL --db NAME`), and REFERENCE_SCRIPT, a command that backs the database $1 up in the reference
 * script's way, add those peers. BENCH_S3, such as http://KEY:SECRET@127.0.0.1:7070/BUCKET, is an S3 server on this
 * machine (scripts/ci/s3_server.sh), which is made to be 40 ms away; what is stored there stays. `--pinned` keeps
 * CouchDB on the first core and everything else on the second, as if on two machines; it needs COUCHDB_PID, the process
 * id of CouchDB's `beam.smp`. `--only` takes a part of a group's name: backup, small, memory, databases, increment,
 * restore, random, s3, start, pure; FILE then keeps the rows of the others, and is written after each group. The program
 * is measured bundled, as the Lambda layer and the image have it; `--sources` takes main.ts instead.
 *
 * Needs curl, GNU time and lscpu, and taskset where pinned. Smaller for a try: BENCH_DOCUMENTS (100000), BENCH_ROUNDS
 * (5), BENCH_SMALL_DOCUMENTS (1000000), BENCH_LARGE_DOCUMENTS (0: not measured), BENCH_DATABASES (1000),
 * BENCH_MEDIUM_DATABASES (200), BENCH_S3_DATABASES (500).
 */
import { parseArgs } from "node:util";
import { gzip } from "../../src/codec/gzip.ts";
import { BULK_GET_SHAPE, DocumentScanner, Found } from "../../src/json/scan.ts";
import { bundle } from "../bundle.ts";
import { RUN_ENVIRONMENT } from "../run_flags.ts";
import { BenchServer, CHUNK, curlBackup, curlDatabases, curlRestore, curlRestoreAll, record } from "./couchdb.ts";
import { startFar } from "./far.ts";
import { type Measure, type Row, Rows, run } from "./measure.ts";
import { OTHERS_PREFIX, pinCouchDb, type Pinned } from "./pinned.ts";

const DOCUMENTS = fromEnv("BENCH_DOCUMENTS", 100_000);
const SMALL_DOCUMENTS = fromEnv("BENCH_SMALL_DOCUMENTS", 1_000_000);
const LARGE_DOCUMENTS = fromEnv("BENCH_LARGE_DOCUMENTS", 0);
const DATABASES = fromEnv("BENCH_DATABASES", 1000);
const MEDIUM_DATABASES = fromEnv("BENCH_MEDIUM_DATABASES", 200);
const MEDIUM_DOCUMENTS = fromEnv("BENCH_MEDIUM_DOCUMENTS", 10_000);
const S3_DATABASES = fromEnv("BENCH_S3_DATABASES", 500);
/** How far the S3 server is made to be: there and back. */
const S3_MS = 40;
const ROUNDS = fromEnv("BENCH_ROUNDS", 5);

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    json: { type: "string" },
    only: { type: "string" },
    pinned: { type: "boolean", default: false },
    sources: { type: "boolean", default: false },
  },
});
const root = new URL("../../", import.meta.url).pathname;
const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-bench-" });
const main = flags.sources ? `${root}main.ts` : await bundle(`${root}dist/bench`, { lazy: true });
const prefix = flags.pinned ? OTHERS_PREFIX : [];
const peer = { folder, prefix };
const rows = new Rows();
/**
 * How many bucket folders there have been; the last one is in use. Each is a new one: one that is gone is taken for a
 * disk that is not mounted.
 */
let buckets = 0;

function fromEnv(name: string, value: number): number {
  return Number(Deno.env.get(name) ?? value);
}

interface Group {
  name: string;
  /** What it says when there is no CouchDB. */
  row: string;
  measure: (server: BenchServer) => Promise<void>;
}

const GROUPS: Group[] = [
  { name: "backup", row: "backup / curl", measure: benchBackup },
  { name: "small", row: `CPU for ${SMALL_DOCUMENTS} documents of 285 bytes`, measure: benchSmall },
  { name: "memory", row: "peak memory", measure: benchMemory },
  { name: "databases", row: `${DATABASES} databases of 10 documents / one curl process`, measure: benchDatabases },
  { name: "increment", row: "incremental / full", measure: benchIncrements },
  { name: "restore", row: "restore / 4 parallel curl posts", measure: benchRestore },
  { name: "random", row: "the same, ids at random", measure: benchRandomIds },
  { name: "s3", row: `${S3_DATABASES} databases to an S3 that is ${S3_MS} ms away`, measure: benchS3 },
];

async function bench(): Promise<void> {
  let pinned: Pinned | undefined;
  try {
    if (flags.pinned) pinned = await pinCouchDb({ pid: Deno.env.get("COUCHDB_PID") });
    const before = await rowsBefore();
    const isWanted = (name: string) => flags.only === undefined || name.includes(flags.only);
    if (isWanted("pure")) await benchPure();
    const url = Deno.env.get("COUCHDB_URL");
    for (const { row, measure } of GROUPS.filter(({ name }) => isWanted(name))) {
      if (url === undefined) rows.missing({ name: row, unit: "" }, "COUCHDB_URL is not set");
      else await measure(new BenchServer(new URL(url)));
      await removeBuckets();
      // A run takes half an hour: what was measured is kept, whatever ends it.
      await write(before);
    }
    if (isWanted("start")) await benchStart();
    await write(before);
  } finally {
    await pinned?.release();
    await Deno.remove(folder, { recursive: true });
  }
}

/** With `--only`, the rows that the file has. Those of both kinds in one file would look like one run. */
async function rowsBefore(): Promise<readonly Row[]> {
  const { json: path, only, pinned } = flags;
  if (path === undefined || only === undefined) return [];
  const { rows: before, isPinned } = await readBefore(path);
  if (isPinned === undefined || isPinned === pinned) return before;
  throw new Error(`"${path}" has rows that were measured ${isPinned ? "with" : "without"} --pinned: name another file`);
}

async function readBefore(path: string): Promise<{ rows: Row[]; isPinned?: boolean }> {
  const text = await Deno.readTextFile(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return '{"rows":[]}';
    throw error;
  });
  return JSON.parse(text) as { rows: Row[]; isPinned?: boolean };
}

/** Writes the rows beside those of other groups that the file had. */
async function write(before: readonly Row[]): Promise<void> {
  if (flags.json === undefined) return;
  const kept = before.filter(({ name }) => !rows.rows.some((row) => row.name === name));
  await Deno.writeTextFile(flags.json, `${JSON.stringify(await result([...kept, ...rows.rows]), null, 2)}\n`);
}

async function result(all: readonly Row[]) {
  const { stdout } = await new Deno.Command("lscpu").output();
  const cpu = /^Model name:\s*(.*)$/m.exec(new TextDecoder().decode(stdout))?.[1];
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: { cpu, cores: navigator.hardwareConcurrency, load: Deno.loadavg()[0] },
    deno: Deno.version.deno,
    isPinned: flags.pinned,
    program: flags.sources ? "sources" : "bundle",
    sizes: { DOCUMENTS, SMALL_DOCUMENTS, LARGE_DOCUMENTS, DATABASES, MEDIUM_DATABASES, MEDIUM_DOCUMENTS, ROUNDS },
    rows: all,
  };
}

async function benchPure(): Promise<void> {
  rows.heading("Pure: on the rows of one-KB documents");
  const found = Array.from({ length: 20_000 }, (_, n) => `{"id":"${n}","docs":[{"ok":${record(n)}}]}`);
  const bytes = new TextEncoder().encode(`{"results":[${found.join(",")}]}`);
  const megabytes = bytes.length / 1e6;
  const scan = await rates(megabytes, () => {
    const scanner = new DocumentScanner(BULK_GET_SHAPE);
    for (let at = 0; at < bytes.length; at += 65_536) {
      scanner.push(bytes.subarray(at, at + 65_536));
      while (scanner.next() !== Found.Nothing);
    }
    scanner.finish();
  });
  const parse = await rates(megabytes, () => void JSON.parse(new TextDecoder().decode(bytes)));
  const compress = await rates(megabytes, async () => {
    for await (const _ of gzip(new Blob([bytes]).stream())); // the bytes are not kept
  });
  rows.add({ name: "scanner", unit: "MB/s", values: scan });
  rows.add({ name: "JSON.parse of the whole", unit: "MB/s", values: parse });
  rows.add({ name: "gzip", unit: "MB/s", values: compress });
}

async function rates(megabytes: number, work: () => void | Promise<void>): Promise<number[]> {
  const found: number[] = [];
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    await work();
    found.push(megabytes / ((performance.now() - started) / 1000));
  }
  return found;
}

/** The row of a ratio, from pairs of the same round. */
function ratio(
  name: string,
  wanted: { must?: number; goal?: number; isRate?: boolean },
  sides: Record<string, number[]>,
) {
  const [above, below] = Object.values(sides);
  rows.add({ name, unit: "", values: above!.map((value, round) => value / below![round]!), ...wanted, behind: sides });
}

const seconds = (measures: readonly Measure[]) => measures.map((measure) => measure.seconds);
const cpu = (measures: readonly Measure[]) => measures.map(({ cpuSeconds }) => cpuSeconds);
const peak = (measures: readonly Measure[]) => measures.map(({ peakMb }) => peakMb);

async function benchBackup(server: BenchServer): Promise<void> {
  rows.heading(`${DOCUMENTS} documents of one KB, chunk ${CHUNK}, medians of ${ROUNDS} pairs`);
  await server.fill("bench_docs", DOCUMENTS);
  const couchbackup = Deno.env.get("COUCHBACKUP");
  const reference = Deno.env.get("REFERENCE_SCRIPT");
  const measured: Record<string, Measure[]> = {};
  const note = async (name: string, measure: Promise<Measure>) => (measured[name] ??= []).push(await measure);
  for (let round = 0; round < ROUNDS; round++) {
    await note("curl", curlBackup(server, "bench_docs", peer));
    await note("gzip", backup(server, "bench_docs"));
    await note("gzip floor", floor(server, "gzip", 4));
    await note("zstd", backup(server, "bench_docs", { compression: "zstd" }));
    await note("zstd floor", floor(server, "zstd", 1));
    if (couchbackup !== undefined) {
      const args = ["--url", server.auth, "--db", "bench_docs"];
      await note("couchbackup", run([...prefix, ...couchbackup.split(" "), ...args], { folder }));
    }
    if (reference !== undefined) {
      await note("reference", run([...prefix, "sh", "-c", reference, "sh", "bench_docs"], { folder }));
    }
  }
  const of = (name: string) => measured[name] ?? [];
  ratio("backup / curl", { must: 1.12, goal: 1 }, { backup: seconds(of("gzip")), curl: seconds(of("curl")) });
  const zstdSides = { backup: seconds(of("zstd")), curl: seconds(of("curl")) };
  ratio("backup with zstd / curl", { must: 1.05, goal: 0.95 }, zstdSides);
  const cpuSides = { "own CPU": cpu(of("gzip")), floor: cpu(of("gzip floor")) };
  ratio("own CPU / the floor, gzip 4", { must: 1.45, goal: 1.15 }, cpuSides);
  const zstdCpuSides = { "own CPU": cpu(of("zstd")), floor: cpu(of("zstd floor")) };
  ratio("own CPU / the floor, zstd 1", { must: 2.1, goal: 1.5 }, zstdCpuSides);
  for (const codec of ["gzip", "zstd"]) {
    ratio(`the floor with ${codec} / curl`, {}, { floor: seconds(of(`${codec} floor`)), curl: seconds(of("curl")) });
  }
  const other = { name: "couchbackup / backup", unit: "" as const, must: 1.3, goal: 1.6, isRate: true };
  if (couchbackup === undefined) rows.missing(other, "COUCHBACKUP is not set");
  else ratio(other.name, other, { couchbackup: seconds(of("couchbackup")), backup: seconds(of("gzip")) });
  if (reference !== undefined) {
    const sides = { reference: seconds(of("reference")), backup: seconds(of("gzip")) };
    ratio("reference script / backup", { must: 3.5, goal: 4, isRate: true }, sides);
  }
  rows.add({ name: "peak memory, in chunks", unit: "MB", values: peak(of("gzip")), must: 120, goal: 100 });
  const one = [];
  for (let round = 0; round < Math.min(ROUNDS, 3); round++) {
    one.push(await backup(server, "bench_docs", { chunk: null }));
  }
  rows.add({ name: "peak memory, in one request", unit: "MB", values: peak(one), must: 120, goal: 100 });
  const many = await backup(server, "bench_docs", { parallel: 16 });
  rows.add({ name: "peak memory, 16 in parallel", unit: "MB", values: peak([many]), must: 120, goal: 100 });
  await server.remove("bench_docs");
}

async function benchSmall(server: BenchServer): Promise<void> {
  rows.heading(`${SMALL_DOCUMENTS} documents of 285 bytes`);
  await server.fill("bench_small", SMALL_DOCUMENTS, { isSmall: true });
  const measures = [];
  for (let round = 0; round < Math.min(ROUNDS, 3); round++) measures.push(await backup(server, "bench_small"));
  const name = `CPU for ${SMALL_DOCUMENTS} documents of 285 bytes`;
  const share = SMALL_DOCUMENTS / 1e6;
  rows.add({ name, unit: "s", values: cpu(measures), must: 11 * share, goal: 8 * share });
  rows.add({ name: "peak memory for them", unit: "MB", values: peak(measures), must: 120, goal: 100 });
  const exports = [];
  for (let round = 0; round < Math.max(ROUNDS, 3); round++) exports.push(await exportIntoPipe("bench_small"));
  // All of them: it is where V8 is slow to collect that memory piles up.
  const worst = [Math.max(...peak(exports))];
  rows.add({ name: "peak memory of export into a pipe, the worst", unit: "MB", values: worst, must: 120, goal: 100 });
  rows.add({ name: "CPU of that export", unit: "s", values: cpu(exports) });
  const one = await backup(server, "bench_small", { chunk: null });
  rows.add({ name: "peak memory for them, in one request", unit: "MB", values: peak([one]), must: 120, goal: 100 });
  await server.remove("bench_small");
}

/** A pipe takes what a file does not wait for, and is where most memory was seen. */
function exportIntoPipe(database: string): Promise<Measure> {
  const words = [...programCommand(), "export", database, "latest", "--config", `${folder}/config.yaml`, "--quiet"];
  return run(["sh", "-c", '"$@" | cat > /dev/null', "sh", ...words], { folder, env: environment() });
}

async function benchMemory(server: BenchServer): Promise<void> {
  if (LARGE_DOCUMENTS > 0) {
    rows.heading(`${LARGE_DOCUMENTS} documents of 285 bytes: peak memory`);
    await server.fill("bench_large", LARGE_DOCUMENTS, { isSmall: true });
    const wanted = { unit: "MB" as const, must: 120, goal: 100 };
    rows.add({ name: "in chunks", values: peak([await backup(server, "bench_large")]), ...wanted });
    rows.add({
      name: "in one request",
      values: peak([await backup(server, "bench_large", { chunk: null })]),
      ...wanted,
    });
    rows.add({
      name: "16 in parallel",
      values: peak([await backup(server, "bench_large", { parallel: 16 })]),
      ...wanted,
    });
    await server.remove("bench_large");
  }
  rows.heading("An attachment of 200 MB: peak memory");
  await server.fill("bench_attachment", 10);
  const bytes = crypto.getRandomValues(new Uint8Array(65_536));
  const url = `${server.base}/bench_attachment/large/file`;
  const headers = {
    authorization: `Basic ${btoa(`${server.login}:${server.password}`)}`,
    "content-type": "application/octet-stream",
  };
  const body = ReadableStream.from(Array.from({ length: 3200 }, () => bytes));
  const response = await fetch(url, { method: "PUT", headers, body });
  if (!response.ok) throw new Error(`CouchDB answered ${response.status}: ${await response.text()}`);
  await response.body?.cancel();
  const measure = await backup(server, "bench_attachment");
  rows.add({ name: "with an attachment of 200 MB", unit: "MB", values: [measure.peakMb], must: 120, goal: 100 });
  await server.remove("bench_attachment");
}

async function benchDatabases(server: BenchServer): Promise<void> {
  rows.heading(`${DATABASES} databases of 10 documents`);
  const names = numbered("bench_many", DATABASES);
  for (const name of names) await server.fill(name, 10);
  const measured: Measure[] = [];
  const sixteen: Measure[] = [];
  const least: Measure[] = [];
  const curl: Measure[] = [];
  for (let round = 0; round < Math.min(ROUNDS, 3); round++) {
    curl.push(await curlDatabases(server, names, peer));
    least.push(await databasesFloor(server, "bench_many"));
    measured.push(await backup(server, "bench_many_.*"));
    sixteen.push(await backup(server, "bench_many_.*", { parallel: 16 }));
  }
  const wanted = { must: 0.9, goal: 0.7 };
  ratio(`${DATABASES} databases / one curl process making six requests each`, wanted, {
    backup: seconds(measured),
    curl: seconds(curl),
  });
  ratio(`the same, parallel: 16`, wanted, { backup: seconds(sixteen), curl: seconds(curl) });
  ratio(`the floor of ${DATABASES} databases / curl`, {}, { floor: seconds(least), curl: seconds(curl) });
  ratio(`own CPU for ${DATABASES} databases / the floor`, {}, { "own CPU": cpu(measured), floor: cpu(least) });
  const fleet: Measure[] = [];
  const fleetCurl: Measure[] = [];
  for (let round = 0; round < Math.min(ROUNDS, 3); round++) {
    fleetCurl.push(await curlRestoreAll(server, names, peer));
    await removeAll(server, names);
    fleet.push(await program(["restore", "--all", "latest", "--match", "bench_many_.*", `${folder}/config.yaml`]));
    if (round + 1 < Math.min(ROUNDS, 3)) await removeAll(server, names);
  }
  ratio(`restore --all, ${DATABASES} databases / the same requests by one curl process`, { must: 1, goal: 0.8 }, {
    restore: seconds(fleet),
    curl: seconds(fleetCurl),
  });
  await removeAll(server, names);
}

async function removeAll(server: BenchServer, names: readonly string[]): Promise<void> {
  for (const name of names) await server.remove(name);
}

async function benchIncrements(server: BenchServer): Promise<void> {
  rows.heading(`${MEDIUM_DATABASES} databases of ${MEDIUM_DOCUMENTS} documents, one in a hundred changed`);
  const names = numbered("bench_medium", MEDIUM_DATABASES);
  await fillAll(server, names, MEDIUM_DOCUMENTS);
  await compareRuns(server, "bench_medium_.*", {
    what: `${MEDIUM_DATABASES} databases, 1 % of them changed, incremental / full`,
    wanted: { must: 0.15, goal: 0.05 },
    async change() {
      for (const name of names.filter((_, n) => n % 100 === 0)) await server.change(name, MEDIUM_DOCUMENTS, 100);
    },
  });
  await removeAll(server, names);

  rows.heading(`One database of ${SMALL_DOCUMENTS} documents, one in a hundred changed`);
  await server.fill("bench_small", SMALL_DOCUMENTS, { isSmall: true });
  await compareRuns(server, "bench_small", {
    what: `one database of ${SMALL_DOCUMENTS}, 1 % changed, incremental / full`,
    wanted: { must: 0.08, goal: 0.04 },
    change: () => server.change("bench_small", SMALL_DOCUMENTS, 100),
  });
  await server.remove("bench_small");

  rows.heading(`${DATABASES} databases of 10 documents, nothing changed`);
  const many = numbered("bench_many", DATABASES);
  await fillAll(server, many, 10);
  await compareRuns(server, "bench_many_.*", {
    what: `${DATABASES} databases, nothing changed / full`,
    wanted: { must: 0.7, goal: 0.6 },
    change: () => Promise.resolve(),
    rounds: Math.min(ROUNDS, 3),
  });
  await removeAll(server, many);
}

/** Several databases at once: CouchDB writes them no faster one by one. */
async function fillAll(server: BenchServer, names: readonly string[], documents: number): Promise<void> {
  const waiting = [...names];
  const next = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      await server.fill(name, documents, { isSmall: true });
    }
  };
  await Promise.all(Array.from({ length: 4 }, next));
}

/** A full run of an incremental task, and one after a change: time, requests to CouchDB, and what is stored. */
async function compareRuns(
  server: BenchServer,
  pattern: string,
  { what, wanted, change, rounds = 1 }: {
    what: string;
    wanted: { must: number; goal: number };
    change: () => Promise<void>;
    rounds?: number;
  },
): Promise<void> {
  const task = { incremental: true };
  const runs: Record<"incremental" | "full", Traffic[]> = { incremental: [], full: [] };
  for (let round = 0; round < rounds; round++) {
    runs.full.push(await traffic(server, () => backup(server, pattern, task)));
    await change();
    runs.incremental.push(await traffic(server, () => backup(server, pattern, task, { isNew: false })));
  }
  const { incremental, full } = runs;
  ratio(what, wanted, { incremental: seconds(incremental), full: seconds(full) });
  const sides = (of: (one: Traffic) => number) => ({ incremental: incremental.map(of), full: full.map(of) });
  for (
    const [name, unit, of] of [
      ["CPU", "s", ({ cpuSeconds }: Traffic) => cpuSeconds],
      ["requests to CouchDB", "", ({ requests }: Traffic) => requests],
      ["stored", "MB", ({ storedMb }: Traffic) => storedMb],
    ] as const
  ) {
    const behind = sides(of);
    rows.add({ name: `${what}: ${name}`, unit, values: behind.incremental, behind });
  }
}

/** A measured run, with what it has asked and stored. */
interface Traffic extends Measure {
  requests: number;
  storedMb: number;
}

async function traffic(server: BenchServer, measured: () => Promise<Measure>): Promise<Traffic> {
  const stored = async () => await sizeBelow(`${folder}/bucket-${buckets}`) / 1e6;
  const [bucket, before, requests] = [buckets, await stored(), await server.requests()];
  const measure = await measured();
  const after = await stored();
  // A full run has a folder of its own.
  const storedMb = buckets === bucket ? after - before : after;
  return { ...measure, requests: await server.requests() - requests - 1, storedMb };
}

async function sizeBelow(path: string): Promise<number> {
  let bytes = 0;
  try {
    for await (const { name, isDirectory } of Deno.readDir(path)) {
      bytes += isDirectory ? await sizeBelow(`${path}/${name}`) : (await Deno.stat(`${path}/${name}`)).size;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return bytes;
}

async function benchRestore(server: BenchServer): Promise<void> {
  rows.heading(`Restore of ${DOCUMENTS} documents of one KB, medians of ${ROUNDS} pairs`);
  await server.fill("bench_docs", DOCUMENTS);
  await backup(server, "bench_docs");
  const measured: Measure[] = [];
  const curl: Measure[] = [];
  const least: Measure[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    curl.push(await curlRestore(server, DOCUMENTS, peer));
    measured.push(
      await program(["restore", "bench_restored", "latest/bench_docs", "--config", `${folder}/config.yaml`]),
    );
    await server.remove("bench_restored");
    least.push(await restoreFloor(server));
  }
  const sides = { restore: seconds(measured), curl: seconds(curl) };
  ratio("restore / 4 parallel curl posts", { must: 1.1, goal: 1 }, sides);
  ratio("the floor of a restore / 4 parallel curl posts", {}, { floor: seconds(least), curl: seconds(curl) });
  ratio("own CPU of a restore / the floor", {}, { "own CPU": cpu(measured), floor: cpu(least) });
  rows.add({ name: "peak memory for it", unit: "MB", values: peak(measured), must: 120, goal: 100 });
  await server.remove("bench_docs");
}

/**
 * Documents whose ids tell nothing of when they were made, as calls have them: the order in which they are asked for,
 * and posted, is what CouchDB takes its time for.
 */
async function benchRandomIds(server: BenchServer): Promise<void> {
  rows.heading(`${DOCUMENTS} documents of one KB with ids at random, medians of ${ROUNDS} pairs`);
  await server.fill("bench_docs", DOCUMENTS, { isRandom: true });
  const listing: Measure[] = [];
  const saved: Measure[] = [];
  const posts: Measure[] = [];
  const restored: Measure[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    listing.push(await curlBackup(server, "bench_docs", peer));
    saved.push(await backup(server, "bench_docs"));
    posts.push(await curlRestore(server, DOCUMENTS, { ...peer, isRandom: true }));
    restored.push(
      await program(["restore", "bench_restored", "latest/bench_docs", "--config", `${folder}/config.yaml`]),
    );
    await server.remove("bench_restored");
  }
  ratio("backup / curl, ids at random", {}, { backup: seconds(saved), curl: seconds(listing) });
  ratio("restore / 4 parallel curl posts in the order of writing, ids at random", {}, {
    restore: seconds(restored),
    curl: seconds(posts),
  });
  rows.add({ name: "peak memory of that backup", unit: "MB", values: peak(saved), must: 120, goal: 100 });
  await server.remove("bench_docs");
}

/** What is waited for there are its answers, one after the other, and what is in memory meanwhile. */
async function benchS3(server: BenchServer): Promise<void> {
  rows.heading(`To an S3 that is ${S3_MS} ms away`);
  const name = `${S3_DATABASES} databases of 10 documents to an S3 that is ${S3_MS} ms away`;
  const given = Deno.env.get("BENCH_S3");
  if (given === undefined) return rows.missing({ name, unit: "s" }, "BENCH_S3 is not set");
  await using far = startFar(new URL(given), S3_MS / 2);
  const { origin, username, password, pathname } = far.url;
  const store = {
    bucket: `s3://${pathname.slice(1)}`,
    endpoint: origin,
    region: "us-east-1",
    token: decodeURIComponent(username),
    secret: decodeURIComponent(password),
  };
  const limits = { unit: "MB" as const, must: 120, goal: 100 };
  const names = numbered("bench_many", S3_DATABASES);
  await fillAll(server, names, 10);
  const four: Measure[] = [];
  const sixteen: Measure[] = [];
  const verified: Measure[] = [];
  for (let round = 0; round < Math.min(ROUNDS, 3); round++) {
    sixteen.push(await backup(server, "bench_many_.*", { parallel: 16 }, { store }));
    four.push(await backup(server, "bench_many_.*", {}, { store }));
    verified.push(await program(["verify", "--all", `${folder}/config.yaml`]));
  }
  rows.add({ name, unit: "s", values: seconds(four), behind: { "own CPU": cpu(four) } });
  rows.add({ name: "the same with parallel: 16", unit: "s", values: seconds(sixteen) });
  rows.add({ name: "peak memory for them, to S3", values: peak(four), ...limits });
  rows.add({ name: "peak memory for them, to S3, 16 in parallel", values: peak(sixteen), ...limits });
  rows.add({
    name: "verify --all of them",
    unit: "s",
    values: seconds(verified),
    behind: { "own CPU": cpu(verified) },
  });
  await removeAll(server, names);
  await server.fill("bench_docs", DOCUMENTS);
  const large: Measure[] = [];
  for (let round = 0; round < Math.min(ROUNDS, 3); round++) {
    large.push(await backup(server, "bench_docs", {}, { store }));
  }
  rows.add({ name: `${DOCUMENTS} documents of one KB there`, unit: "s", values: seconds(large) });
  rows.add({ name: `peak memory for ${DOCUMENTS} documents there`, values: peak(large), ...limits });
  await server.remove("bench_docs");
}

async function benchStart(): Promise<void> {
  rows.heading("Start");
  const found: number[] = [];
  for (let round = 0; round < 2 * ROUNDS; round++) found.push(await timeToFirstRequest());
  rows.add({ name: "start to the first request", unit: "ms", values: found, must: 110, goal: 60 });
}

async function timeToFirstRequest(): Promise<number> {
  let arrived = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => {
    arrived ||= performance.now();
    return new Response('{"error":"unauthorized","reason":"a benchmark"}', { status: 401 });
  });
  const config = `${folder}/start.yaml`;
  const url = `http://127.0.0.1:${server.addr.port}`;
  await Deno.writeTextFile(
    config,
    `database: {url: "${url}"}\ntask: {t: {databases: [a]}}\nbucket: file://${folder}/start\n`,
  );
  const [command = "", ...args] = [...programCommand(), "backup", config, "--quiet"];
  const started = performance.now();
  const { code } = await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output();
  await server.shutdown();
  if (code !== 10) throw new Error(`The program ended with ${code} where CouchDB refuses the login`);
  return arrived - started;
}

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${name}_${String(n).padStart(4, "0")}`);
}

/** Backs up what the pattern selects, into a bucket folder of its own unless the last one is to be resumed. */
async function backup(
  server: BenchServer,
  pattern: string,
  task: Record<string, unknown> = {},
  { isNew = true, store }: { isNew?: boolean; store?: Record<string, unknown> } = {},
): Promise<Measure> {
  if (isNew) buckets++;
  const { chunk = CHUNK, ...others } = task;
  const config = {
    database: { url: server.base, login: server.login, password: server.password },
    task: { bench: { databases: [pattern], ...chunk === null ? {} : { chunk }, ...others } },
    ...store === undefined
      ? { bucket: `file://${folder}/bucket-${buckets}` }
      : { ...store, prefix: `bench-${crypto.randomUUID()}` },
  };
  // JSON is YAML.
  await Deno.writeTextFile(`${folder}/config.yaml`, JSON.stringify(config));
  return await program(["backup", `${folder}/config.yaml`]);
}

/** After a group: for some seconds ext4 looks for a new file's place among those that were just deleted. */
async function removeBuckets(): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (name.startsWith("bucket-")) await Deno.remove(`${folder}/${name}`, { recursive: true });
  }
}

async function floor(server: BenchServer, codec: string, level: number): Promise<Measure> {
  const out = `${folder}/floor`;
  const permissions = ["--allow-net", "--allow-read", "--allow-write"];
  const script = [Deno.execPath(), "run", "--quiet", "--no-check", ...permissions, `${root}scripts/bench/floor.ts`];
  const measure = await run([...prefix, ...script, `${server.auth}/bench_docs`, out, codec, String(level)], { folder });
  await Deno.remove(out, { recursive: true });
  return measure;
}

/** Fetches and stores small databases with nothing but what any backup must do. */
async function databasesFloor(server: BenchServer, prefixOfNames: string): Promise<Measure> {
  const out = `${folder}/floor`;
  const script = [Deno.execPath(), "run", "--quiet", "--no-check", "--allow-net", "--allow-read", "--allow-write"];
  const args = [`${root}scripts/bench/databases_floor.ts`, server.auth, out, prefixOfNames];
  const measure = await run([...prefix, ...script, ...args], { folder });
  await Deno.remove(out, { recursive: true });
  return measure;
}

/** Restores the backup of bench_docs in the last bucket folder with nothing but what any restore must do. */
async function restoreFloor(server: BenchServer): Promise<Measure> {
  await server.ask("PUT", "/bench_restored");
  const chunks = await folderBelow(`${folder}/bucket-${buckets}`, "bench_docs");
  const script = [Deno.execPath(), "run", "--quiet", "--no-check", "--allow-net", "--allow-read"];
  const args = [`${root}scripts/bench/restore_floor.ts`, `${server.auth}/bench_restored`, chunks];
  const measure = await run([...prefix, ...script, ...args], { folder });
  const { doc_count } = JSON.parse(await server.ask("GET", "/bench_restored"));
  if (doc_count !== DOCUMENTS) throw new Error(`The floor has restored ${doc_count} of ${DOCUMENTS} documents`);
  await server.remove("bench_restored");
  return measure;
}

/** The only folder of this name that has files, below another one. */
async function folderBelow(path: string, name: string): Promise<string> {
  for await (const entry of Deno.readDir(path)) {
    // What begins with "_" is no day: the catalog and the runs.
    if (!entry.isDirectory || entry.name.startsWith("_")) continue;
    const below = `${path}/${entry.name}`;
    return entry.name === name ? below : await folderBelow(below, name);
  }
  throw new Error(`"${path}" has no folder "${name}"`);
}

/** The program with the flags of `deno task start`. */
function programCommand(): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${root}deno.json`));
  const [, ...args] = (tasks.start.command as string).split(" ");
  return [...prefix, Deno.execPath(), ...args.map((arg) => arg === "main.ts" ? main : arg)];
}

/** Of the program: as the scripts that start a bundle set it, or nobody's for the sources. */
function environment(): Record<string, string> {
  return { XDG_STATE_HOME: `${folder}/state`, ...flags.sources ? {} : RUN_ENVIRONMENT };
}

function program(args: string[]): Promise<Measure> {
  return run([...programCommand(), ...args, "--quiet"], { folder, env: environment() });
}

await bench();
if (rows.rows.length === 0) throw new Error(`There is no group "${flags.only}"`);
