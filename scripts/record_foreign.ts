/**
 * Records files that other programs really write, and what a restore of each must give:
 * `COUCHDB_URL=http://admin:secret@127.0.0.1:5984 deno run -A scripts/record_foreign.ts`, on a real CouchDB. The names
 * in tests/fixtures/foreign say which program and version has written them. Wants npm.
 */
import { couch, couchOk, type CouchServer, serverOf } from "../tests/couch_request.ts";
import { type Couchbackup, installedCouchbackup, startCouchbackup } from "../tests/couchbackup.ts";
import { restoredContents } from "../tests/restored_contents.ts";

const FIXTURES = new URL("../tests/fixtures/foreign/", import.meta.url);
const DATABASE = "files-recorded";
const server = serverOf(Deno.env.get("COUCHDB_URL") ?? "http://admin:secret@127.0.0.1:5984");

type Write = (tool: Couchbackup) => Promise<Uint8Array>;
const withAttachments = ["--attachments"];
const FILES: [name: string, version: string | undefined, hasAttachments: boolean, write: Write][] = [
  ["couchbackup-2.11.12-attachments.txt", undefined, true, (tool) => tool.backup(DATABASE, ...withAttachments)],
  [
    "couchbackup-2.11.12-shallow.txt",
    undefined,
    true,
    (tool) => tool.backup(DATABASE, "--mode", "shallow", ...withAttachments),
  ],
  [
    "couchbackup-2.11.12-resumed.txt",
    undefined,
    true,
    (tool) => tool.resumedBackup(DATABASE, { cut: false, more: withAttachments }),
  ],
  [
    "couchbackup-2.11.12-cut.txt",
    undefined,
    true,
    (tool) => tool.resumedBackup(DATABASE, { cut: true, more: withAttachments }),
  ],
  ["couchbackup-2.11.12.txt", undefined, false, (tool) => tool.backup(DATABASE)],
  ["couchbackup-2.9.2.txt", "2.9.2", false, (tool) => tool.backup(DATABASE)],
];

/**
 * What pouchdb-dump does, with a copy in memory: of a database at a URL it writes no attachments today, and fails.
 */
const DUMP = `
const PouchDB = require("pouchdb");
const replication = require("pouchdb-replication-stream");
PouchDB.plugin(replication.plugin);
PouchDB.adapter("writableStream", replication.adapters.writableStream);
PouchDB.plugin(require("pouchdb-adapter-memory"));
const copy = new PouchDB("copy", { adapter: "memory" });
PouchDB.replicate(process.argv[2], copy).then(() => copy.dump(process.stdout, { batch_size: 20 }));
`;

await Deno.mkdir(FIXTURES, { recursive: true });
const expected: Record<string, string[]> = {};
for (const [name, version, hasAttachments, write] of FILES) {
  const bin = version === undefined ? await installedCouchbackup() : await install(version);
  await couch(server, `DELETE /${DATABASE}`);
  try {
    const deletedIds = await seed(server, { hasAttachments });
    await using tool = await startCouchbackup(server, bin);
    const bytes = await write(tool);
    await Deno.writeFile(new URL(name, FIXTURES), bytes);
    const isShallow = name.includes("shallow");
    const contents = await restoredContents(server, DATABASE, isShallow ? [] : deletedIds);
    // In this mode there are winners only.
    expected[name] = isShallow ? contents.filter((line) => !line.startsWith("d07 1-")) : contents;
  } finally {
    await couch(server, `DELETE /${DATABASE}`);
  }
}
await recordDump();
await Deno.writeTextFile(new URL("expected.json", FIXTURES), JSON.stringify(expected, null, 1) + "\n");

/** Installs an older couchbackup. @returns The folder with its programs. */
async function install(version: string): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-record-" });
  // Its SDK wants to look into a file of axios that later versions hide.
  await Deno.writeTextFile(`${folder}/package.json`, '{"overrides":{"axios":"0.27.2"}}');
  const args = ["install", "--silent", "--prefix", folder, `@cloudant/couchbackup@${version}`];
  const { success } = await new Deno.Command("npm", { args }).output();
  if (!success) throw new Error(`npm did not install couchbackup ${version}`);
  return `${folder}/node_modules/.bin`;
}

/** Records what pouchdb-dump writes of the database. */
async function recordDump(): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-record-" });
  const packages = ["pouchdb@9.0.0", "pouchdb-adapter-memory@9.0.0", "pouchdb-replication-stream@1.2.9"];
  const { success } = await new Deno.Command("npm", { args: ["install", "--silent", "--prefix", folder, ...packages] })
    .output();
  if (!success) throw new Error("npm did not install pouchdb-replication-stream");
  await Deno.writeTextFile(`${folder}/dump.cjs`, DUMP);
  const url = new URL(`${server.url}/${DATABASE}`);
  [url.username, url.password] = [server.login, server.password];
  try {
    const deletedIds = await seed(server, { hasAttachments: true });
    const { success, stdout } = await new Deno.Command("node", { args: [`${folder}/dump.cjs`, url.href] }).output();
    if (!success) throw new Error("pouchdb-dump failed");
    const name = "pouchdb-dump-1.2.9.txt";
    await Deno.writeFile(new URL(name, FIXTURES), stdout);
    expected[name] = await restoredContents(server, DATABASE, deletedIds);
  } finally {
    await couch(server, `DELETE /${DATABASE}`);
  }
}

/** Fills the database; some documents have conflicts, deletions, attachments. @returns The ids that are deleted. */
async function seed(server: CouchServer, { hasAttachments }: { hasAttachments: boolean }): Promise<string[]> {
  await couchOk(server, `PUT /${DATABASE}`);
  const attachments = {
    "note.txt": { content_type: "text/plain", data: btoa("hello, hello, hello") },
    "ä.png": { content_type: "image/png", data: btoa("\x89PNG\r\n") },
    "contentType": { content_type: "application/json", data: btoa("{}") },
  };
  const docs = Array.from({ length: 45 }, (_, number) => ({
    _id: `d${String(number).padStart(2, "0")}`,
    number,
    contentType: "not an attachment's",
    ...(hasAttachments && number % 20 === 5 ? { _attachments: attachments } : {}),
  }));
  await couchOk(server, `POST /${DATABASE}/_bulk_docs`, { docs });
  const conflict = { _id: "d07", _rev: "1-0b5a8fd28f0e4a4e9d3c6a43f0c2d3f4", conflict: true };
  const { json: winner } = await couchOk(server, `GET /${DATABASE}/d07`);
  await couchOk(server, `PUT /${DATABASE}/d07`, { ...winner, changed: "\u2028" });
  await couchOk(server, `POST /${DATABASE}/_bulk_docs`, { new_edits: false, docs: [conflict] });
  const { json } = await couchOk(server, `GET /${DATABASE}/d09`);
  await couchOk(server, `DELETE /${DATABASE}/d09?rev=${json._rev}`);
  return ["d09"];
}
