/**
 * The double of CouchDB is only worth what it has in common with CouchDB: the table of behaviours that the double is
 * tested with, run against a real one. Needs COUCHDB_URL with credentials of an administrator.
 */
import { assertEquals } from "@std/assert";
import { couch, couchOk, serverOf } from "../couch_request.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { checkBehaviour } from "../fakes/couchdb/behaviour.ts";
import { BEHAVIOURS } from "../fakes/couchdb/behaviours.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";

const url = Deno.env.get("COUCHDB_URL") ?? "";
const real = serverOf(url === "" ? "http://unset.invalid" : url);

Deno.test("COUCHDB_URL gives a real CouchDB to test against", () => {
  if (url === "") {
    throw new Error("Cannot test against a real CouchDB: set COUCHDB_URL (http://admin:secret@host:5984)");
  }
});

for (const behaviour of url === "" ? [] : BEHAVIOURS) {
  Deno.test(`a real CouchDB: ${behaviour.name}`, async () => {
    await checkBehaviour(real, behaviour);
  });
}

for (const partitioned of url === "" ? [] : [false, true]) {
  const kind = partitioned ? "partitioned" : "ordinary";
  Deno.test(`seedHardDatabase() makes the same ${kind} database in the double and in a real CouchDB`, async () => {
    await using fake = await startFakeCouchDb();
    const name = `hard/${crypto.randomUUID()}`;
    const path = `/${encodeURIComponent(name)}`;
    const options = { documents: 300, attachmentBytes: 1_000_000, partitioned };
    try {
      const made = await seedHardDatabase(fake, name, options);
      assertEquals(await seedHardDatabase(real, name, options), made);
      const also = made.deletedIds;
      const inDouble = await readAllLeafRevisions(fake, name, { also });
      const inReal = await readAllLeafRevisions(real, name, { also });
      // New edits get hashes that each server makes in its own way.
      for (const leaves of [inDouble, inReal]) {
        for (const id of leaves.keys()) if (id.startsWith("_design/")) leaves.delete(id);
      }
      assertEquals(compareLeafRevisions(inDouble, inReal), []);
      assertEquals(inReal.size, made.liveIds.length + made.deletedIds.length - designsIn(made.liveIds));
      const ids = inDouble.keys().toArray();
      assertEquals(ids, inReal.keys().toArray());
      const byBulkGet = await readAllLeafRevisions(real, name, { also, by: "_bulk_get" });
      assertEquals(compareLeafRevisions(inReal, byBulkGet).filter((text) => !text.startsWith('"_design/')), []);
      for (const setting of ["_security", "_revs_limit"]) {
        const texts = [fake, real].map(async (server) => (await couchOk(server, `GET ${path}/${setting}`)).text);
        const [one, other] = await Promise.all(texts);
        assertEquals(one, other);
      }
    } finally {
      await couch(real, `DELETE ${path}`);
    }
  });
}

function designsIn(ids: readonly string[]): number {
  return ids.filter((id) => id.startsWith("_design/")).length;
}
