/**
 * What is small where it lies and large where it is read, or never ends: each in a process of the program's own, with
 * the permissions that it has in earnest, whose memory is looked at while it runs.
 */
import { assertEquals, assertLess } from "@std/assert";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { createGzip, createZstdCompress } from "node:zlib";
import process from "node:process";
import { EXIT } from "../../src/errors.ts";
import { RUN_FLAGS } from "../../scripts/run_flags.ts";
import { ROOT } from "../cli/program.ts";
import { denoFolder } from "../deno_folder.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { EXPECTED_CODES, PASSWORD, problemOfText } from "./cases.ts";
import { startHostileServer } from "./server.ts";

const MOST_SECONDS = 40;
const MOST_MEGABYTES = 150;
const BOMB_MEGABYTES = 300;

/**
 * The most memory that a process has had so far, in MB; undefined where it is over. Another program reads it: Deno
 * itself lets nobody look into /proc who has not all permissions.
 */
async function peakOf(pid: number): Promise<number | undefined> {
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/status`], stderr: "null" }).output();
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(new TextDecoder().decode(stdout)) ?? [];
  return kilobytes === undefined ? undefined : Number(kilobytes) / 1024;
}

async function program(args: string[], folder: string): Promise<Deno.Command> {
  return new Deno.Command("deno", {
    args: ["run", "--quiet", "--no-check", ...RUN_FLAGS, `${ROOT}main.ts`, ...args],
    env: { NO_COLOR: "1", HOME: folder, XDG_STATE_HOME: join(folder, "state"), DENO_DIR: await denoFolder() },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Deno parses sources that it has not seen yet, in 50 MB, before a run is measured it has. */
let parsed: Promise<unknown> | undefined;

/** Runs the program, and says how it ended and how much memory it took. */
async function runWatched(args: string[], folder: string) {
  await (parsed ??= program(["--version"], folder).then((command) => command.output()));
  const child = (await program(args, folder)).spawn();
  let megabytes = 0;
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      megabytes = Math.max(megabytes, await peakOf(child.pid) ?? 0);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const limit = setTimeout(() => child.kill("SIGKILL"), MOST_SECONDS * 1000);
  const [stdout, stderr, { code }] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.status,
  ]);
  isOver = true;
  clearTimeout(limit);
  await watching;
  return { code, text: stdout + stderr, megabytes };
}

/** A pattern of text, over and over, between a beginning and an end. */
function* repeated(beginning: string, part: string, end: string): Generator<Uint8Array> {
  yield Buffer.from(beginning);
  const block = Buffer.from(part.repeat(Math.ceil((1 << 20) / part.length)));
  for (let written = 0; written < BOMB_MEGABYTES << 20; written += block.length) yield block;
  yield Buffer.from(end);
}

/** Writes an object, compressed or not. @returns Its SHA-256 and size. */
async function writeObject(path: string, pieces: Iterable<Uint8Array>, compression?: "gzip" | "zstd") {
  await Deno.mkdir(dirname(path), { recursive: true });
  const hash = createHash("sha256");
  let sizeBytes = 0;
  using file = await Deno.open(path, { write: true, create: true });
  const writer = file.writable.getWriter();
  const put = async (bytes: Uint8Array) => {
    hash.update(bytes);
    sizeBytes += bytes.length;
    await writer.write(Uint8Array.from(bytes));
  };
  if (compression !== undefined) {
    const compressor = compression === "gzip" ? createGzip({ level: 1 }) : createZstdCompress();
    const feeding = (async () => {
      for (const bytes of pieces) await new Promise((resolve) => compressor.write(bytes, resolve));
      compressor.end();
    })();
    for await (const bytes of compressor) await put(bytes);
    await feeding;
  } else for (const bytes of pieces) await put(bytes);
  await writer.close();
  return { sha256: hash.digest("hex"), sizeBytes };
}

const FOLDER = "2026/11/25/db";

/** A manifest that names one chunk, and says little of it. */
function manifestOf({ sha256, sizeBytes }: { sha256: string; sizeBytes: number }): string {
  const sums = { documents: 1, leaf_revisions: 1, deleted: 0, absent: 0, bytes: 1000, compressed_bytes: sizeBytes };
  return JSON.stringify({
    format: 2,
    program: { name: "couchdb-backup", version: "0.1.0" },
    run: "0b5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4",
    task: "weekly",
    database: "db",
    started_at: "2026-11-25T18:00:00.000Z",
    finished_at: "2026-11-25T18:04:11.000Z",
    stored_at: null,
    couchdb: { url: "http://127.0.0.1:5984", version: "3.5.0" },
    options: { attachments: true, revisions: true, chunk: 1000, tombstones: false },
    properties: { doc_count: 1, doc_del_count: 0, q: 2, n: 1, partitioned: false, revs_limit: 1000, security: "{}" },
    kind: "full",
    parent: null,
    feed: null,
    unreadable: [],
    update_seq: { start: "1", end: "1" },
    totals: { ...sums, chunks: 1 },
    chunks: [{ name: "0000000.json.gz", ...sums, sha256 }],
  });
}

interface Bomb {
  name: string;
  /** @default "http://127.0.0.1:1" */
  couch?: string;
  /** Lines of the config beside. */
  more?: string;
  prepare?: (bucket: string) => Promise<unknown>;
  args: (config: string) => string[];
  codes: readonly number[];
}

async function explode(
  { name, couch = "http://127.0.0.1:1", more, prepare, args, codes }: Bomb,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup bomb-" });
  try {
    const config = join(folder, "config.yaml");
    const bucket = join(folder, "bucket");
    const place = more ?? `bucket: "${pathToFileURL(bucket).href}"`;
    const database = `{url: "${couch}", login: admin, password: ${JSON.stringify(PASSWORD)}}`;
    await Deno.writeTextFile(
      config,
      `database: ${database}\ntask: {weekly: {databases: [db], timezone: UTC}}\n${place}\n`,
    );
    await prepare?.(bucket);
    const { code, text, megabytes } = await runWatched(args(config), folder);
    process.stdout.write(`hostile: ${name}: exit code ${code}, ${Math.round(megabytes)} MB\n`);
    assertEquals(
      codes.includes(code) && EXPECTED_CODES.includes(code),
      true,
      `exit code ${code}: ${text.slice(0, 2000)}`,
    );
    assertEquals(text.trim() === "" ? undefined : problemOfText(text), undefined);
    assertLess(megabytes, MOST_MEGABYTES, `${name} took ${megabytes} MB`);
    // The watching itself works.
    assertLess(20, megabytes);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const DOCUMENT = ['{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-0","x":"', '"}}]}]}'] as const;
const deep = "[".repeat(1_000_000) + "]".repeat(1_000_000);

const FILES: Bomb[] = [
  {
    name: "a chunk of gzip that stands for much, in a manifest that says little",
    prepare: async (bucket) => {
      const stored = await writeObject(
        join(bucket, FOLDER, "0000000.json.gz"),
        repeated(DOCUMENT[0], "0", DOCUMENT[1]),
        "gzip",
      );
      await Deno.writeTextFile(join(bucket, FOLDER, "manifest.json"), manifestOf(stored));
    },
    args: (config) => ["verify", "db", "latest", "--config", config],
    codes: [EXIT.archive],
  },
  {
    name: "a chunk of zstd that stands for much, in a manifest that says little",
    prepare: async (bucket) => {
      const path = join(bucket, FOLDER, "0000000.json.zst");
      const stored = await writeObject(path, repeated(DOCUMENT[0], "0", DOCUMENT[1]), "zstd");
      const manifest = manifestOf(stored).replace("0000000.json.gz", "0000000.json.zst");
      await Deno.writeTextFile(join(bucket, FOLDER, "manifest.json"), manifest);
    },
    args: (config) => ["verify", "db", "latest", "--config", config],
    codes: [EXIT.archive],
  },
  {
    name: "a document without end in zstd, without a manifest",
    prepare: (bucket) =>
      writeObject(join(bucket, FOLDER, "0000000.json.zst"), repeated(DOCUMENT[0], "0", DOCUMENT[1]), "zstd"),
    args: (config) => ["verify", "db", FOLDER, "--config", config],
    codes: [EXIT.ok, EXIT.archive],
  },
  {
    name: "a document without end, without a manifest",
    prepare: (bucket) =>
      writeObject(join(bucket, FOLDER, "0000000.json.gz"), repeated(DOCUMENT[0], "0", DOCUMENT[1]), "gzip"),
    args: (config) => ["verify", "db", FOLDER, "--config", config],
    codes: [EXIT.ok, EXIT.archive],
  },
  {
    name: "an id without end",
    prepare: (bucket) =>
      writeObject(
        join(bucket, FOLDER, "0000000.json.gz"),
        repeated('{"results":[{"id":"', "0", '","docs":[]}]}'),
        "gzip",
      ),
    args: (config) => ["verify", "db", FOLDER, "--config", config],
    codes: [EXIT.archive],
  },
  {
    name: "a number without end in an array of documents",
    prepare: (bucket) => writeObject(join(bucket, FOLDER, "0000000.json.gz"), repeated('[{"_id":"a","n":', "9", "}]")),
    args: (config) => ["verify", "db", FOLDER, "--config", config],
    codes: [EXIT.ok, EXIT.archive],
  },
  {
    name: "blanks without end",
    prepare: (bucket) =>
      writeObject(join(bucket, FOLDER, "0000000.json.gz"), repeated('{"results":[', " ", "]}"), "gzip"),
    args: (config) => ["verify", "db", FOLDER, "--config", config],
    codes: [EXIT.ok, EXIT.archive],
  },
  {
    name: "a million brackets in a document",
    prepare: (bucket) =>
      writeObject(join(bucket, FOLDER, "0000000.json.gz"), [
        Buffer.from(`{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-0","x":${deep}}}]}]}`),
      ]),
    args: (config) => ["verify", "db", FOLDER, "--config", config],
    codes: [EXIT.ok, EXIT.archive],
  },
  {
    name: "an entry of the catalog without end",
    prepare: async (bucket) => {
      const name = `${9_999_999_999_999 - Date.UTC(2026, 10, 25)}-0b5a8fd2-20261125-2-full-1-1-1-0-x=.json`;
      await writeObject(join(bucket, "_catalog/db", name), repeated('{"task":"', "x", '"}'));
    },
    args: (config) => ["list", "backups", "--config", config],
    // Its name says all but the whole name of a long task; and its backup is not there.
    codes: [EXIT.ok],
  },
];

for (const bomb of FILES) Deno.test(`A bomb in the bucket: ${bomb.name}`, () => explode(bomb));

/** A body that goes on as long as somebody reads it. */
function endless(beginning: string, part: string): ReadableStream<Uint8Array> {
  const block = new TextEncoder().encode(part.repeat(Math.ceil(65_536 / part.length)));
  let begun = false;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(begun ? block : new TextEncoder().encode(beginning));
      begun = true;
    },
  });
}

const KEY = "<Contents><Key>x</Key><Size>1</Size><LastModified>2026-11-25T18:00:00.000Z</LastModified></Contents>";
const SERVERS: {
  name: string;
  body: () => BodyInit;
  status?: number;
  isS3?: true;
  args: (config: string) => string[];
}[] = [
  {
    name: "CouchDB lists databases without end",
    body: () => endless("[", '"database",'),
    args: (config) => ["list", "databases", "--config", config],
  },
  {
    name: "CouchDB explains a refusal without end",
    status: 403,
    body: () => endless('{"error":"', "x"),
    args: (config) => ["list", "databases", "--config", config],
  },
  {
    name: "S3 lists without end",
    isS3: true,
    body: () => endless("<ListBucketResult><IsTruncated>false</IsTruncated>", KEY),
    args: (config) => ["list", "backups", "--config", config],
  },
  {
    name: "S3 explains a refusal without end",
    isS3: true,
    status: 403,
    body: () => endless("<Error><Code>AccessDenied</Code><Message>", "x"),
    args: (config) => ["list", "backups", "--config", config],
  },
];

for (const { name, body, status = 200, isS3, args } of SERVERS) {
  Deno.test(`An answer that is a bomb: ${name}`, async () => {
    await using server = startHostileServer();
    server.answer = () => ({ status, body: body() });
    const keys = `region: us-east-1\ntoken: AKIA\nsecret: ${JSON.stringify(PASSWORD)}`;
    const more = isS3 ? `bucket: s3://bucket/folder\nendpoint: ${server.url}\n${keys}` : undefined;
    const codes = [isS3 ? EXIT.store : EXIT.couchdb];
    await explode({ name, args, codes, ...(isS3 ? { more: more! } : { couch: server.url }) });
  });
}

Deno.test("A bomb that is restored: a document without end goes by, or is refused, in little memory", async () => {
  await using server = await startFakeCouchDb({ users: [{ name: "admin", password: PASSWORD }] });
  await explode({
    name: "a million brackets, restored",
    couch: server.url,
    prepare: (bucket) =>
      writeObject(join(bucket, FOLDER, "0000000.json.gz"), [
        Buffer.from(`{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-0","x":${deep}}}]}]}`),
      ]),
    args: (config) => ["restore", "db", FOLDER, "--dry-run", "--config", config],
    codes: [EXIT.ok, EXIT.partial, EXIT.archive],
  });
});
