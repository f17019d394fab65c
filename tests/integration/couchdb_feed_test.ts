/**
 * What may happen to a database while it is backed up, on a real CouchDB, given by COUCHDB_URL with the credentials of
 * an administrator in it. The same sequences run on the double in tests/commands/backup/feed_test.ts and
 * cluster_test.ts.
 */
import { assert, assertEquals } from "@std/assert";
import type { ArchivedBackup } from "../read_archive.ts";
import { Backups, expectDocuments } from "../commands/backup/feed_setup.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { startForwarder } from "../fakes/forwarder.ts";

const COUNT = 12_000;

function givenServer(): CouchServer {
  const url = Deno.env.get("COUCHDB_URL") ?? "";
  if (url !== "") return serverOf(url);
  throw new Error(
    "COUCHDB_URL is not set: it names the CouchDB to test against, as http://admin:secret@127.0.0.1:5984",
  );
}

/** Documents named by numbers. Returns their ids. */
async function fill(server: CouchServer, database: string, count: number, from = 0): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, at) => `d${String(from + at).padStart(7, "0")}`);
  for (let at = 0; at < count; at += 2000) {
    await couchOk(server, `POST /${database}/_bulk_docs`, { docs: ids.slice(at, at + 2000).map((_id) => ({ _id })) });
  }
  return ids;
}

/** Makes each document the newest revision of its id. */
async function edit(server: CouchServer, database: string, ids: readonly string[], members: Record<string, unknown>) {
  const { json } = await couchOk(server, `POST /${database}/_all_docs`, { keys: ids });
  const docs = json.rows.map(({ id, value }: { id: string; value: { rev: string } }) => {
    return { _id: id, _rev: value.rev, ...members };
  });
  await couchOk(server, `POST /${database}/_bulk_docs`, { docs });
}

interface Scene {
  server: CouchServer;
  database: string;
  /** All documents. */
  ids: readonly string[];
  /** Those of the first chunk. */
  first: readonly string[];
}

/** Backs a database of 12,000 documents up. Before the n-th request for documents something happens. */
async function backUpWhile(
  request: number,
  event: (scene: Scene) => Promise<void>,
  check: (archived: ArchivedBackup, scene: Scene) => void,
): Promise<void> {
  const server = givenServer();
  const database = `feed_${crypto.randomUUID().slice(0, 8)}`;
  await couchOk(server, `PUT /${database}?q=4`);
  try {
    const scene: Scene = { server, database, ids: await fill(server, database, COUNT), first: [] };
    let count = 0;
    await using forwarder = startForwarder(server, async ({ path, body }) => {
      if (!path.includes("/_bulk_get")) return;
      if (++count === 1) scene.first = JSON.parse(body).docs.map(({ id }: { id: string }) => id);
      if (count === request) await event(scene);
    });
    await using backups = new Backups();
    const report = await backups.run(forwarder, { database, task: { chunk: 1000, parallel: 1 } });
    assertEquals(report.status, "complete", report.error);
    assert(count >= request, "it has happened");
    check(await backups.read(database), scene);
  } finally {
    await couch(server, `DELETE /${database}`);
  }
}

Deno.test("backup() of a real CouchDB saves what is changed and deleted meanwhile in its later state", async () => {
  await backUpWhile(
    3, // The last page of the listing is asked for when the chunks of the first one are stored.
    async ({ server, database, first }) => {
      await edit(server, database, first.slice(0, 200), { later: true });
      await edit(server, database, first.slice(200, 300), { _deleted: true });
    },
    (archived, { ids, first }) => {
      expectDocuments(archived, ids, first.slice(200, 300));
      const later = (id: string) => [...archived.leafRevisions.get(id)!.values()][0]!.includes('"later":true');
      assertEquals(first.slice(0, 200).filter((id) => !later(id)), []);
    },
  );
});

Deno.test("backup() of a real CouchDB counts anew when documents are purged meanwhile", async () => {
  await backUpWhile(
    3,
    async ({ server, database, ids }) => {
      const { json } = await couchOk(server, `POST /${database}/_all_docs`, { keys: ids.slice(-50) });
      const purged = json.rows.map(({ id, value }: { id: string; value: { rev: string } }) => [id, [value.rev]]);
      await couchOk(server, `POST /${database}/_purge`, Object.fromEntries(purged));
    },
    (archived, { ids }) => expectDocuments(archived, ids.slice(0, -50)),
  );
});

Deno.test("backup() of a real CouchDB ends beside a writer, with all that was there when it began", async () => {
  let writing = true;
  let writer: Promise<void> | undefined;
  await backUpWhile(
    1,
    ({ server, database }) => {
      writer = (async () => {
        for (let from = 100_000; writing; from += 2000) await fill(server, database, 2000, from);
      })();
      // It ends with the backup, or when the database is deleted.
      writer.catch(() => {});
      setTimeout(() => writing = false, 20_000);
      return Promise.resolve();
    },
    (archived, { ids }) => {
      writing = false;
      expectDocuments(archived, ids);
    },
  );
  await writer?.catch(() => {});
});

Deno.test("backup() of a real CouchDB takes tombstones where they are wanted", async () => {
  const server = givenServer();
  const database = `feed_${crypto.randomUUID().slice(0, 8)}`;
  await couchOk(server, `PUT /${database}`);
  try {
    const ids = await fill(server, database, 100);
    await edit(server, database, ids.slice(0, 30), { _deleted: true });
    for (const tombstones of [true, false]) {
      await using backups = new Backups();
      const report = await backups.run(server, { database, task: { tombstones } });
      assertEquals([report.documents, report.deleted], tombstones ? [100, 30] : [70, 0]);
    }
  } finally {
    await couch(server, `DELETE /${database}`);
  }
});

Deno.test("backup() of a real CouchDB calls a database gone that is deleted meanwhile", async () => {
  const server = givenServer();
  const database = `feed_${crypto.randomUUID().slice(0, 8)}`;
  await couchOk(server, `PUT /${database}`);
  await fill(server, database, 300);
  let count = 0;
  await using forwarder = startForwarder(server, async ({ path }) => {
    if (path.includes("/_bulk_get") && ++count === 2) await couchOk(server, `DELETE /${database}`);
  });
  await using backups = new Backups();
  const report = await backups.run(forwarder, { database });
  assertEquals([report.status, report.error], ["gone", undefined]);
});
