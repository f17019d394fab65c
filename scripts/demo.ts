/**
 * The demo: the main job on an embedded server. Fills a few databases, backs them up to a local folder with the very
 * command a user would type, shows what came out, and restores one that is gone.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import process from "node:process";
import { main } from "../src/cli/cli.ts";
import { gunzip } from "../src/codec/gzip.ts";
import { removeFolder } from "./artifact.ts";
import { startDemoServer } from "./demo_server.ts";

const LOST = "account-0a1b2c3d-202610";
const FOLDER = fileURLToPath(new URL("../demo-backup", import.meta.url));

await removeFolder(FOLDER);
await Deno.mkdir(FOLDER);
const server = await startDemoServer();
await fillDatabases(server.url);

const config = join(FOLDER, "config.yaml");
await Deno.writeTextFile(
  config,
  `database:
  url: "${server.url}"
task:
  weekly:
    databases: ["system_config", "media"]
  monthly:
    databases: ["account-[0-9a-f]{8}-[0-9]{6}"]
    chunk: 100
bucket: "${new URL(`file://${FOLDER}`).href}"
prefix: "backup/demo"
suffix: "couchdb"
`,
);
heading("The config", config);
print(await Deno.readTextFile(config));

await run("The run", ["backup", config]);

heading("What is stored", FOLDER);
const files = await listFiles(FOLDER);
for (const { path, sizeBytes } of files) print(`${String(sizeBytes).padStart(8)}  ${path}`);

const manifest = files.findLast(({ path }) => path.endsWith("manifest.json"))!.path;
heading("A manifest", manifest);
print(await Deno.readTextFile(join(FOLDER, manifest)));

const chunk = files.find(({ path }) => path.endsWith(".json.gz"))!.path;
heading("The first document of a chunk, as the server sent it", chunk);
print(await firstDocument(join(FOLDER, chunk)));

const before = await ask(`${server.url}/${LOST}/_all_docs?include_docs=true`, "GET");
await ask(`${server.url}/${LOST}`, "DELETE");
await run("It is deleted by mistake, and comes back", ["restore", LOST, "latest", config]);
const after = await ask(`${server.url}/${LOST}/_all_docs?include_docs=true`, "GET");
if (after !== before) throw new Error(`"${LOST}" is not what it was before it was deleted`);
print("Every document is as it was.");
await server.close();
Deno.exit(0);

/** Runs the program as a user would, and ends with it where it fails. */
async function run(title: string, args: string[]): Promise<void> {
  heading(title, `couchdb-backup ${args.join(" ")}`);
  const terminal = { isTerminal: false, columns: () => 100, send: () => Promise.resolve(false) };
  const exitCode = await main(args, {
    env: {},
    stdout: { ...terminal, write: (text) => void process.stdout.write(text) },
    stderr: { ...terminal, write: (text) => void process.stderr.write(text) },
    journal: false,
    onSignal: () => () => {},
    exit: (code) => Deno.exit(code),
  });
  if (exitCode !== 0) Deno.exit(exitCode);
}

async function fillDatabases(url: string): Promise<void> {
  const databases: Record<string, Record<string, unknown>[]> = {
    "system_config": [
      { _id: "accounts", default_language: "en-us", pi: 3.14 },
      {
        _id: "prompts",
        _attachments: { "hello.txt": { content_type: "text/plain", data: btoa("Hello from an attachment\n") } },
      },
    ],
    "media": Array.from({ length: 40 }, (_, n) => ({ _id: `prompt ${n}`, name: `Prompt + ${n}/40 😀`, length: n })),
    "account-0a1b2c3d-202610": Array.from({ length: 250 }, (_, n) => ({
      _id: `202610-call-${String(n).padStart(4, "0")}`,
      type: "cdr",
      duration_s: (n * 37) % 600,
    })),
  };
  for (const [name, docs] of Object.entries(databases)) {
    await ask(`${url}/${name}`, "PUT");
    await ask(`${url}/${name}/_bulk_docs`, "POST", { docs });
  }
}

async function ask(url: string, method: string, body?: unknown): Promise<string> {
  const response = await fetch(url, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`The demo's server answered ${response.status} to ${method} ${url}: ${text}`);
  return text;
}

async function listFiles(folder: string, below = ""): Promise<{ path: string; sizeBytes: number }[]> {
  const found: { path: string; sizeBytes: number }[] = [];
  for await (const entry of Deno.readDir(join(folder, below))) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory) found.push(...await listFiles(folder, path));
    else found.push({ path, sizeBytes: (await Deno.stat(join(folder, path))).size });
  }
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

async function firstDocument(path: string): Promise<string> {
  const file = await Deno.open(path);
  const bytes: Uint8Array[] = [];
  for await (const piece of gunzip(file.readable)) bytes.push(piece);
  const { results } = JSON.parse(await new Blob(bytes as BlobPart[]).text());
  return JSON.stringify(results[0].docs[0].ok);
}

function heading(title: string, detail: string): void {
  print(`\n== ${title}: ${detail}`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
