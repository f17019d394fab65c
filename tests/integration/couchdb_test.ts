/**
 * Whole backups of a real CouchDB, given by COUCHDB_URL with the credentials of an administrator in it:
 * `http://admin:secret@127.0.0.1:5984`. Each test makes databases of its own and deletes them.
 */
import { testParallel } from "../test_parallel.ts";
import { assert, assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { Repository } from "../../src/archive/repository.ts";
import { backup } from "../../src/commands/backup/backup.ts";
import type { BackupOptions } from "../../src/commands/backup/context.ts";
import type { Task } from "../../src/task/task.ts";
import { DEFAULT_RETRY } from "../../src/retry.ts";
import { encodeDatabase } from "../../src/database_name.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { openStore } from "../../src/store/open.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { impatientClient } from "../couchdb/impatient_client.ts";
import { RecordedLog } from "../fakes/log.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { readBackup } from "../read_archive.ts";

function givenServer(): CouchServer {
  const url = Deno.env.get("COUCHDB_URL") ?? "";
  if (url !== "") return serverOf(url);
  throw new Error(
    "COUCHDB_URL is not set: it names the CouchDB to test against, as http://admin:secret@127.0.0.1:5984",
  );
}

/** Gives a test databases with names like `a/b` below a prefix that is its own, and a folder; removes both. */
async function onServer(
  test: (server: CouchServer, place: { name(name: string): string; root: string }) => Promise<void>,
): Promise<void> {
  const server = givenServer();
  const prefix = `e2e_${crypto.randomUUID().slice(0, 8)}`;
  const names = new Set<string>();
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup couchdb-" });
  const name = (of: string) => {
    names.add(prefix + of);
    return prefix + of;
  };
  try {
    await test(server, { name, root });
  } finally {
    for (const made of names) await couch(server, `DELETE /${encodeURIComponent(made)}`);
    await Deno.remove(root, { recursive: true });
  }
}

async function run(
  server: CouchServer,
  { root, databases, task = {}, ...options }: BackupOptions & {
    root: string;
    databases: string[];
    task?: Partial<Task>;
    stop?: AbortSignal;
  },
) {
  const full: Task = {
    name: "t",
    databases,
    exclude: [],
    delaySeconds: 0,
    backupOnlyPrevious: false,
    attachments: true,
    revisions: true,
    tombstones: false,
    parallel: testParallel(4),
    allowEmpty: false,
    ...task,
  };
  const { signal } = new AbortController();
  const selected = databases.map((database) => ({
    database,
    encoded: encodeDatabase(database),
    pattern: "--database",
  }));
  const date = { year: 2026, month: 1, day: 3 };
  return await backup(
    {
      couch: impatientClient(server, { retry: DEFAULT_RETRY }),
      repository: new Repository(await openStore({ bucket: pathToFileURL(root).href }), {
        prefix: "",
        suffix: "couchdb",
      }),
      log: new RecordedLog(),
      progress: SILENT_PROGRESS,
      run: crypto.randomUUID(),
      now: () => new Date(),
      signal,
      stop: options.stop ?? signal,
    },
    [{ task: full, date, databases: selected, warnings: [] }],
    options,
  );
}

const folderOf = (root: string, name: string) => `${root}/2026/01/03/couchdb/${encodeDatabase(name)}`;

Deno.test("backup() stores every leaf revision of a real CouchDB byte by byte, in chunks and in one request", async () => {
  await onServer(async (server, { name, root }) => {
    const databases = ["", "/b", "+b"].map(name);
    const made = [];
    for (const database of databases) {
      made.push(await seedHardDatabase(server, database, { documents: 300, attachmentBytes: 3_000_000 }));
    }
    for (const chunk of [1, 7, 1000, undefined]) {
      const folder = `${root}/${chunk ?? "all"}`;
      const report = await run(server, { root: folder, databases, task: { chunk } });
      assertEquals(report.ok, true, JSON.stringify(report));
      for (const [index, database] of databases.entries()) {
        const { manifest, leafRevisions } = await readBackup(folderOf(folder, database));
        const expected = await readAllLeafRevisions(server, database);
        assertEquals(compareLeafRevisions(expected, leafRevisions), [], database);
        const { liveIds, leafRevisions: count, deletedIds } = made[index]!;
        assertEquals([manifest.totals.documents, manifest.totals.leaf_revisions], [liveIds.length, count]);
        const { doc_count, doc_del_count, revs_limit } = manifest.properties;
        assertEquals([doc_count, doc_del_count, revs_limit], [liveIds.length, deletedIds.length, 500]);
        assertEquals(manifest.totals.absent, 0);
      }
    }
  });
});

Deno.test("backup() saves what a real CouchDB says of a database, an empty and partitioned one too", async () => {
  await onServer(async (server, { name, root }) => {
    const [empty, partitioned] = [name("_empty"), name("_partitioned")];
    await couchOk(server, `PUT /${empty}?q=3`);
    await couchOk(server, `PUT /${empty}/_security`, '{"members":{"roles":["x"]},"10":1.0,"2":9007199254740993}');
    await seedHardDatabase(server, partitioned, { documents: 30, partitioned: true });
    const report = await run(server, { root, databases: [empty, partitioned], task: { chunk: 20 } });
    assertEquals(report.ok, true, JSON.stringify(report));
    const { manifest } = await readBackup(folderOf(root, empty));
    const { q, partitioned: isPartitioned, security } = manifest.properties;
    assertEquals([q, isPartitioned, manifest.chunks], [3, false, []]);
    assertEquals(security, (await couchOk(server, `GET /${empty}/_security`)).text.trim());
    const other = await readBackup(folderOf(root, partitioned));
    assertEquals(other.manifest.properties.partitioned, true);
    assertEquals(compareLeafRevisions(await readAllLeafRevisions(server, partitioned), other.leafRevisions), []);
  });
});

Deno.test("backup() stops at a real CouchDB when it is told to, and resumes with what is missing", async () => {
  await onServer(async (server, { name, root }) => {
    const database = name("");
    const { liveIds } = await seedHardDatabase(server, database, { documents: 400 });
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("stopped")), 150);
    const task = { chunk: 3, parallel: 1 };
    const stopped = await run(server, { root, databases: [database], task, stop: stop.signal }).catch((error) => error);
    assertEquals(stopped.message, "stopped");
    const report = await run(server, { root, databases: [database], task, resume: true });
    const [one] = report.tasks[0]!.databases;
    assertEquals([one?.status, one?.documents], ["resumed", liveIds.length]);
    const { manifest, leafRevisions } = await readBackup(folderOf(root, database));
    assertEquals(compareLeafRevisions(await readAllLeafRevisions(server, database), leafRevisions), []);
    assert(manifest.chunks.length > 100);
  });
});

Deno.test("backup() fails a database that was named and that a real CouchDB does not have, and saves the other", async () => {
  await onServer(async (server, { name, root }) => {
    const [gone, there] = [name("_gone"), name("_there")];
    await seedHardDatabase(server, there, { documents: 10 });
    const report = await run(server, { root, databases: [gone, there] });
    assertEquals(report.tasks[0]!.databases.map(({ status }) => status), ["failed", "complete"]);
    assert(report.tasks[0]!.databases[0]!.error?.includes("404 not_found"));
    await readBackup(folderOf(root, there));
  });
});
