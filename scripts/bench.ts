/**
 * Speed and memory, as ratios against peers in one run on one machine: `deno task bench`. What needs no server is always
 * measured (the scanner, gzip); the rest needs COUCHDB_URL, such as http://admin:secret@127.0.0.1:5984, where it makes
 * and deletes databases named bench_…. COUCHBACKUP, the command of a couchbackup 2.11, and REFERENCE_SCRIPT, a command
 * that backs the database $1 up in the reference script's way, add those peers.
 *
 * Needs curl and GNU time. BENCH_DOCUMENTS (100000), BENCH_ROUNDS (5) and BENCH_LARGE_DOCUMENTS (0: not measured) change its size.
 */
import { BULK_GET_SHAPE, DocumentScanner, Found } from "../src/json/scan.ts";
import { gzip } from "../src/codec/gzip.ts";

const DOCUMENTS = Number(Deno.env.get("BENCH_DOCUMENTS") ?? 100_000);
const LARGE_DOCUMENTS = Number(Deno.env.get("BENCH_LARGE_DOCUMENTS") ?? 0);
const ROUNDS = Number(Deno.env.get("BENCH_ROUNDS") ?? 5);
const CHUNK = 1000;
const MANY_DATABASES = 1000;

/** One measured command. */
interface Measure {
  seconds: number;
  peakMb: number;
}

const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-bench-" });
/** How many bucket folders there have been; the last one is in use. */
let backups = 0;

async function bench(): Promise<void> {
  try {
    await benchScanner();
    const url = Deno.env.get("COUCHDB_URL");
    if (url === undefined) print("COUCHDB_URL is not set: backup and restore are not measured");
    else await benchCouchDb(new URL(url));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function benchScanner(): Promise<void> {
  heading("Pure: MB/s on the rows of one-KB documents");
  const rows = Array.from({ length: 20_000 }, (_, n) => `{"id":"${n}","docs":[{"ok":${document(n)}}]}`);
  const bytes = new TextEncoder().encode(`{"results":[${rows.join(",")}]}`);
  const megabytes = bytes.length / 1e6;
  const scan = await rate(megabytes, () => {
    const scanner = new DocumentScanner(BULK_GET_SHAPE);
    for (let at = 0; at < bytes.length; at += 65_536) {
      scanner.push(bytes.subarray(at, at + 65_536));
      while (scanner.next() !== Found.Nothing);
    }
    scanner.finish();
  });
  const parse = await rate(megabytes, () => void JSON.parse(new TextDecoder().decode(bytes)));
  const compress = await rate(megabytes, async () => {
    for await (const _ of gzip(new Blob([bytes]).stream())); // the bytes are not kept
  });
  row("scanner", scan, "MB/s");
  row("JSON.parse of the whole", parse, "MB/s");
  row("gzip", compress, "MB/s");
  row("scanner / JSON.parse", scan / parse, "", "the scanner's gain is memory: it keeps nothing");
}

async function benchCouchDb(url: URL): Promise<void> {
  const server = new BenchServer(url);
  heading(`${DOCUMENTS} documents of one KB, chunk ${CHUNK}, medians of ${ROUNDS}`);
  await server.fill("bench_docs", DOCUMENTS);
  const rounds: Record<string, Measure[]> = {};
  const note = (name: string, measure: Measure) => (rounds[name] ??= []).push(measure);
  for (let round = 0; round < ROUNDS; round++) {
    note("curl", await curlBackup(server, "bench_docs"));
    note("backup", await backup(server, "bench_docs", CHUNK));
    note("one request", await backup(server, "bench_docs", undefined));
    const couchbackup = Deno.env.get("COUCHBACKUP");
    if (couchbackup !== undefined) {
      note("couchbackup", await run(["sh", "-c", couchbackup, "sh", server.auth, "bench_docs"]));
    }
    const reference = Deno.env.get("REFERENCE_SCRIPT");
    if (reference !== undefined) note("reference", await run(["sh", "-c", reference, "sh", "bench_docs"]));
    note("restore", await restore(server));
    note("curl posts", await curlRestore(server));
  }
  for (const [name, measures] of Object.entries(rounds)) {
    row(name, median(measures.map(({ seconds }) => seconds)), "s");
    row("", median(measures.map(({ peakMb }) => peakMb)), "MB");
  }
  const seconds = (name: string) => median((rounds[name] ?? []).map((measure) => measure.seconds));
  row("whole backup / curl", seconds("backup") / seconds("curl"), "", "at most 1.15");
  if ("couchbackup" in rounds) {
    row("couchbackup / backup", seconds("couchbackup") / seconds("backup"), "", "at least 1.4");
  }
  if ("reference" in rounds) row("reference / backup", seconds("reference") / seconds("backup"), "", "at least 3.5");
  row("restore / curl posts", seconds("restore") / seconds("curl posts"), "", "at most 1.15");
  await server.remove("bench_docs");

  if (LARGE_DOCUMENTS > 0) {
    heading(`${LARGE_DOCUMENTS} documents: peak memory, at most 150 MB and within 10 % of the above`);
    await server.fill("bench_large", LARGE_DOCUMENTS);
    row("in chunks", (await backup(server, "bench_large", CHUNK)).peakMb, "MB");
    row("in one request", (await backup(server, "bench_large", undefined)).peakMb, "MB");
    await server.remove("bench_large");
  }

  heading(`${MANY_DATABASES} databases of 10 documents`);
  const names = Array.from({ length: MANY_DATABASES }, (_, n) => `bench_many_${String(n).padStart(4, "0")}`);
  for (const name of names) await server.fill(name, 10);
  const many = await backup(server, "bench_many_.*", CHUNK);
  const same = await curlRequests(server, names);
  for (const name of names) await server.remove(name);
  row("backup", many.seconds, "s");
  row("one curl process", same.seconds, "s");
  row("backup / curl", many.seconds / same.seconds, "", "at most 1.3");

  heading("Start");
  const starts: number[] = [];
  for (let round = 0; round < ROUNDS; round++) starts.push(await timeToFirstRequest());
  row("start to the first request", median(starts) * 1000, "ms", "at most 150");
}

/** A CouchDB that is filled and asked with the credentials of its URL. */
class BenchServer {
  /** With credentials. */
  readonly auth: string;
  readonly #headers: Record<string, string>;
  readonly #base: string;

  constructor(url: URL) {
    this.auth = url.href.replace(/\/$/, "");
    this.#base = url.origin;
    this.#headers = {
      authorization: `Basic ${btoa(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`)}`,
      "content-type": "application/json",
    };
  }

  get base(): string {
    return this.#base;
  }

  async fill(name: string, count: number): Promise<void> {
    await this.remove(name);
    await this.ask("PUT", `/${name}`);
    for (let from = 0; from < count; from += 1000) {
      const docs = Array.from({ length: Math.min(1000, count - from) }, (_, n) => document(from + n));
      await this.ask("POST", `/${name}/_bulk_docs`, `{"docs":[${docs.join(",")}]}`);
    }
  }

  async remove(name: string): Promise<void> {
    await this.ask("DELETE", `/${name}`, undefined, [404]);
  }

  async ask(method: string, path: string, body?: string, tolerated: number[] = []): Promise<string> {
    const response = await fetch(this.#base + path, {
      method,
      headers: this.#headers,
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    if (response.ok || tolerated.includes(response.status)) return text;
    throw new Error(`CouchDB answered ${response.status} to ${method} ${path}: ${text.slice(0, 200)}`);
  }

  /** A config for the program. */
  async config(pattern: string, chunk: number | undefined): Promise<string> {
    const url = new URL(this.auth);
    const path = `${folder}/config.yaml`;
    await Deno.writeTextFile(
      path,
      `database: {url: "${this.#base}", login: "${url.username}", password: "${url.password}"}\n` +
        `task: {bench: {databases: ["${pattern}"]${chunk === undefined ? "" : `, chunk: ${chunk}`}}}\n` +
        `bucket: "file://${folder}/backups-${backups}"\n`,
    );
    return path;
  }
}

/** The listing, then four `_bulk_get` at once into nothing: what CouchDB and the network take, and no more. */
async function curlBackup(server: BenchServer, name: string): Promise<Measure> {
  const listing = await run(["curl", "-sf", `${server.auth}/${name}/_all_docs`, "-o", `${folder}/ids.json`]);
  const { rows } = JSON.parse(await Deno.readTextFile(`${folder}/ids.json`)) as { rows: { id: string }[] };
  const bodies = inParts(rows.map(({ id }) => `{"id":${JSON.stringify(id)}}`));
  const fetching = await curlPosts(`${server.auth}/${name}/_bulk_get?revs=true&attachments=true`, bodies);
  return { seconds: listing.seconds + fetching.seconds, peakMb: Math.max(listing.peakMb, fetching.peakMb) };
}

/** Four curl processes that post ready-made `_bulk_docs` bodies: what CouchDB takes to write them. */
async function curlRestore(server: BenchServer): Promise<Measure> {
  await server.remove("bench_restored");
  await server.ask("PUT", "/bench_restored");
  const docs = Array.from({ length: DOCUMENTS }, (_, n) => document(n, "1-0123456789abcdef0123456789abcdef"));
  const posting = await curlPosts(`${server.auth}/bench_restored/_bulk_docs`, inParts(docs, '"new_edits":false,'));
  await server.remove("bench_restored");
  return posting;
}

function inParts(texts: string[], more = ""): string[] {
  const bodies: string[] = [];
  for (let from = 0; from < texts.length; from += CHUNK) {
    bodies.push(`{${more}"docs":[${texts.slice(from, from + CHUNK).join(",")}]}`);
  }
  return bodies;
}

async function curlPosts(url: string, bodies: string[]): Promise<Measure> {
  const configs: string[] = ["", "", "", ""];
  for (const [n, body] of bodies.entries()) {
    await Deno.writeTextFile(`${folder}/body-${n}`, body);
    configs[n % 4] += `next\nurl = "${url}"\nheader = "content-type: application/json"\n` +
      `data-binary = "@${folder}/body-${n}"\noutput = "/dev/null"\nsilent\nfail\n`;
  }
  await Promise.all(configs.map((text, n) => Deno.writeTextFile(`${folder}/curl-${n}`, text)));
  const measures = await Promise.all(configs.map((_, n) => run(["curl", "-K", `${folder}/curl-${n}`])));
  return {
    seconds: Math.max(...measures.map(({ seconds }) => seconds)),
    peakMb: Math.max(...measures.map(({ peakMb }) => peakMb)),
  };
}

/** The requests that a backup of small databases makes, from a single curl process that keeps its connection. */
async function curlRequests(server: BenchServer, names: string[]): Promise<Measure> {
  let text = "";
  for (const name of names) {
    const base = `${server.auth}/${name}`;
    const { rows } = JSON.parse(await server.ask("GET", `/${name}/_all_docs`)) as { rows: { id: string }[] };
    const body = JSON.stringify({ docs: rows.map(({ id }) => ({ id })) }).replaceAll('"', '\\"');
    for (const path of ["", "/_security", "/_revs_limit", "/_all_docs?limit=5000", ""]) {
      text += `next\nurl = "${base}${path}"\noutput = "/dev/null"\nsilent\nfail\n`;
    }
    text += `next\nurl = "${base}/_bulk_get?revs=true&attachments=true"\nheader = "content-type: application/json"\n` +
      `data = "${body}"\noutput = "/dev/null"\nsilent\nfail\n`;
  }
  await Deno.writeTextFile(`${folder}/curl-many`, text);
  return await run(["curl", "-K", `${folder}/curl-many`]);
}

async function backup(server: BenchServer, pattern: string, chunk: number | undefined): Promise<Measure> {
  await Deno.remove(`${folder}/backups-${backups}`, { recursive: true }).catch(() => {}); // the first time there is none
  // Another one: a bucket folder that is gone is taken for a disk that is not mounted.
  backups++;
  return await program(["backup", await server.config(pattern, chunk)]);
}

async function restore(server: BenchServer): Promise<Measure> {
  const config = await server.config("bench_docs", CHUNK);
  const day = (await Array.fromAsync(files(`${folder}/backups-${backups}`))).find((path) =>
    path.endsWith("manifest.json")
  )!;
  const measure = await program([
    "restore",
    "bench_restored",
    day.replace(/\/manifest\.json$/, ""),
    "--config",
    config,
  ]);
  await server.remove("bench_restored");
  return measure;
}

async function* files(path: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(path)) {
    if (entry.isDirectory) yield* files(`${path}/${entry.name}`);
    else yield `${path}/${entry.name}`;
  }
}

/** The program as `deno task start` runs it. */
function programCommand(): string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("../deno.json", import.meta.url)));
  const [, ...args] = (tasks.start.command as string).split(" ");
  const entry = new URL("../main.ts", import.meta.url).pathname;
  return [Deno.execPath(), ...args.map((arg) => arg === "main.ts" ? entry : arg)];
}

function program(args: string[]): Promise<Measure> {
  return run([...programCommand(), ...args, "--quiet"]);
}

async function timeToFirstRequest(): Promise<number> {
  const started = performance.now();
  let arrived = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => {
    arrived ||= performance.now();
    return new Response('{"error":"unauthorized","reason":"a benchmark"}', { status: 401 });
  });
  const config = `${folder}/start.yaml`;
  const text =
    `database: {url: "http://127.0.0.1:${server.addr.port}"}\ntask: {t: {databases: [a]}}\nbucket: file:///tmp\n`;
  await Deno.writeTextFile(config, text);
  await run([...programCommand(), "backup", config, "--quiet"], [10]);
  await server.shutdown();
  return (arrived - started) / 1000;
}

/** Runs a command under GNU time (Debian's package `time`), which knows its peak memory. */
async function run(command: string[], exitCodes = [0]): Promise<Measure> {
  const figures = `${folder}/time-${crypto.randomUUID()}`;
  const args = ["--quiet", "--format=%e %M", `--output=${figures}`, ...command];
  const { code, stderr } = await new Deno.Command("/usr/bin/time", { args, stdout: "null", stderr: "piped" }).output();
  if (!exitCodes.includes(code)) {
    throw new Error(`${command.join(" ")} ended with ${code}: ${new TextDecoder().decode(stderr).slice(-500)}`);
  }
  const [seconds = NaN, peakKb = NaN] = (await Deno.readTextFile(figures)).split(" ").map(Number);
  return { seconds, peakMb: peakKb / 1024 };
}

/** A telephony record of about one KB, the same for the same number. */
function document(n: number, revision?: string): string {
  let state = n + 1;
  const below = (limit: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const hex = (length: number) => Array.from({ length }, () => below(16).toString(16)).join("");
  const words = ["call", "from", "to", "queue", "agent", "hold", "transfer", "voicemail", "answered", "missed"];
  return JSON.stringify({
    _id: `${String(n).padStart(10, "0")}-${hex(16)}`,
    ...(revision === undefined ? {} : { _rev: revision }),
    type: "cdr",
    call_id: hex(32),
    caller: `+${below(1e11)}`,
    callee: `+${below(1e11)}`,
    duration_seconds: below(4000),
    timestamp: 63_000_000_000 + below(1e9),
    media_server: hex(64),
    notes: Array.from({ length: 100 }, () => words[below(words.length)]).join(" "),
  });
}

async function rate(megabytes: number, work: () => void | Promise<void>): Promise<number> {
  const seconds: number[] = [];
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    await work();
    seconds.push((performance.now() - started) / 1000);
  }
  return megabytes / median(seconds);
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

function heading(text: string): void {
  print(`\n== ${text}`);
}

function row(name: string, value: number, unit: string, must = ""): void {
  print(`${name.padEnd(32)} ${value.toFixed(2).padStart(9)} ${unit.padEnd(5)} ${must}`);
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

await bench();
