import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { trySlashInName } from "../../src/commands/slash_name.ts";
import { CouchError } from "../../src/errors.ts";
import { couchOk } from "../couch_request.ts";
import { impatientClient } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";

const CALL = { signal: new AbortController().signal };

async function serverWith(...names: string[]): Promise<FakeCouchDb> {
  const fake = await startFakeCouchDb();
  for (const name of names) await couchOk(fake, `PUT /${encodeURIComponent(name)}`);
  return fake;
}

Deno.test("trySlashInName() passes where CouchDB is asked as it should be, and writes nothing", async () => {
  for (const names of [[], ["orders"], ["orders", "account/ab"]]) {
    await using fake = await serverWith(...names);
    const before = fake.requests.length;
    assertEquals(typeof await trySlashInName(impatientClient(fake), CALL), "string");
    assertEquals(new Set(fake.requests.slice(before).map(({ method }) => method)), new Set(["GET"]));
  }
});

Deno.test("trySlashInName() finds a proxy that decodes %2F, whether a name with a slash is listed or not", async () => {
  for (const names of [["orders"], ["account/ab"], ["account", "account/ab"]]) {
    await using fake = await serverWith(...names);
    fake.front.decodesSlashes = true;
    const { hint = "" } = await assertRejects(() => trySlashInName(impatientClient(fake), CALL), CouchError);
    assertStringIncludes(hint, "decodes %2F");
  }
});

Deno.test("trySlashInName() finds a proxy that refuses %2F by a page of its own", async () => {
  await using fake = await serverWith("orders");
  const body = "<html><head><title>404 Not Found</title></head></html>";
  const fault = { kind: "answer" as const, status: 404, headers: { "content-type": "text/html" }, body };
  fake.faults.add({ where: ({ path }) => path.includes("%2F"), times: Infinity, fault });
  const { hint = "" } = await assertRejects(() => trySlashInName(impatientClient(fake), CALL), CouchError);
  assertStringIncludes(hint, "or refuses it");
});
