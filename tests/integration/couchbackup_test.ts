/**
 * Files that couchbackup writes, restored by this program and by its own couchrestore into two databases, which must be
 * equal: ids, leaf revisions, bodies, attachments with their types, digests and bytes. On the CouchDB of COUCHDB_URL,
 * else on the double. Wants what scripts/ci/couchbackup.sh installs.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { Repository } from "../../src/archive/repository.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { Secret } from "../../src/secret.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { openStore } from "../../src/store/open.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { type Couchbackup, installedCouchbackup, startCouchbackup } from "../couchbackup.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { restoredContents } from "../restored_contents.ts";

const BIN = await installedCouchbackup();

interface Place {
  server: CouchServer;
  tool: Couchbackup;
  /** A database's name, decoded, that no other run has; it is deleted in the end. */
  name(name: string): string;
  /** Restores a file by this program. */
  restore(file: Uint8Array, database: string): ReturnType<typeof restore>;
}

async function onServer(test: (place: Place) => Promise<void>): Promise<void> {
  const url = Deno.env.get("COUCHDB_URL") ?? "";
  const double = url === "" ? await startFakeCouchDb() : undefined;
  const server = double ?? serverOf(url);
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-couchbackup-" });
  const log = new RecordedLog();
  const { login, password } = server;
  const client = new CouchClient({ url: server.url, login, password: new Secret(password), log });
  const context = {
    couch: client,
    repository: new Repository(new DirectoryStore(root), { prefix: "", suffix: "" }),
    openStore: (bucket: string) => openStore({ bucket }),
    log,
    progress: SILENT_PROGRESS,
    now: () => new Date(),
    signal: new AbortController().signal,
  };
  const names: string[] = [];
  const stem = `files-${crypto.randomUUID().slice(0, 8)}`;
  try {
    await using tool = await startCouchbackup(server, BIN);
    await test({
      server,
      tool,
      name(name) {
        const full = `${stem}/${name}`;
        names.push(full);
        return full;
      },
      async restore(file, database) {
        await Deno.writeFile(join(root, "file.txt"), file);
        return await restore(context, { database, path: "file.txt", noViews: true });
      },
    });
  } finally {
    for (const name of names) await couch(server, `DELETE /${encodeURIComponent(name)}`);
    await Deno.remove(root, { recursive: true });
    await double?.stop();
  }
}

/** What must be as in the database that the backup was made of, which couchbackup's numbers are not. */
function revisionsAndAttachments(contents: readonly string[]): string[] {
  return contents.map((line) => {
    const at = line.indexOf(" {");
    const { _attachments = null, _revisions, _deleted = false } = JSON.parse(line.slice(at + 1));
    return `${line.slice(0, at)} ${JSON.stringify([_attachments, _revisions, _deleted])}`;
  });
}

type MakeFile = (tool: Couchbackup, database: string) => Promise<Uint8Array>;
const FILES: [what: string, make: MakeFile][] = [
  ["a file with attachments", (tool, database) => tool.backup(database, "--attachments")],
  [
    "a file that was stopped and resumed",
    (tool, database) => tool.resumedBackup(database, { cut: false, more: ["--attachments"] }),
  ],
  [
    "a file whose last line was cut off, resumed",
    (tool, database) => tool.resumedBackup(database, { cut: true, more: ["--attachments"] }),
  ],
];
for (const [what, make] of FILES) {
  Deno.test(`restore() of ${what} of couchbackup gives what couchrestore gives`, async () => {
    await onServer(async ({ server, tool, name, restore }) => {
      const source = name("source");
      const hard = await seedHardDatabase(server, source, { documents: 60 });
      const file = await make(tool, source);
      assert(new TextDecoder().decode(file).includes('"contentType":'), "couchbackup writes contentType");
      const [ours, theirs] = [name("ours"), name("theirs")];
      const report = await restore(file, ours);
      assertEquals([report.ok, report.failed, report.damaged], [true, [], []]);
      const { code, stderr } = await tool.restore(file, theirs, "--attachments");
      assertEquals(code, 0, stderr);
      const contents = await restoredContents(server, ours, hard.deletedIds);
      assertEquals(contents, await restoredContents(server, theirs, hard.deletedIds));
      assertEquals(contents.length >= hard.leafRevisions, true);
      const before = await restoredContents(server, source, hard.deletedIds);
      assertEquals(revisionsAndAttachments(contents), revisionsAndAttachments(before));
      assert(contents.some((line) => line.includes('"content_type":"text/plain"')), "there are attachments with types");
    });
  });
}

/** A database whose documents have no attachments. @returns The ids that are deleted. */
async function seedPlain(server: CouchServer, name: string): Promise<string[]> {
  const path = `/${encodeURIComponent(name)}`;
  await couchOk(server, `PUT ${path}`);
  const docs = Array.from({ length: 50 }, (_, number) => ({ _id: `d${number}`, number, "2": 1, "1": "\u2028 ä" }));
  await couchOk(server, `POST ${path}/_bulk_docs`, { docs });
  const conflict = { _id: "d7", _rev: "1-0b5a8fd28f0e4a4e9d3c6a43f0c2d3f4", other: true };
  await couchOk(server, `POST ${path}/_bulk_docs`, { new_edits: false, docs: [conflict] });
  const { json } = await couchOk(server, `GET ${path}/d9`);
  await couchOk(server, `DELETE ${path}/d9?rev=${json._rev}`);
  return ["d9"];
}

for (const mode of ["full", "shallow"]) {
  Deno.test(`restore() of couchbackup's ${mode} file gives what couchrestore gives`, async () => {
    await onServer(async ({ server, tool, name, restore }) => {
      const source = name("source");
      const plain = await seedPlain(server, source);
      const deletedIds = mode === "full" ? plain : [];
      const file = await tool.backup(source, "--mode", mode);
      const [ours, theirs] = [name("ours"), name("theirs")];
      assertEquals((await restore(file, ours)).ok, true);
      const { code, stderr } = await tool.restore(file, theirs);
      assertEquals(code, 0, stderr);
      const contents = await restoredContents(server, ours, deletedIds);
      assertEquals(contents, await restoredContents(server, theirs, deletedIds));
      assertEquals(contents.length, mode === "full" ? 51 : 49);
    });
  });
}

Deno.test("restore() of couchbackup's file of an empty database makes an empty database", async () => {
  await onServer(async ({ server, tool, name, restore }) => {
    const source = name("source");
    await couchOk(server, `PUT /${encodeURIComponent(source)}`);
    const file = await tool.backup(source);
    const ours = name("ours");
    const report = await restore(file, ours);
    assertEquals([report.ok, report.documents], [true, 0]);
    assertEquals((await couchOk(server, `GET /${encodeURIComponent(ours)}`)).json.doc_count, 0);
  });
});
