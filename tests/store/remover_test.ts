import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { StoreError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { openRemover, openStore } from "../../src/store/open.ts";
import type { Remover } from "../../src/store/remover.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { FakeS3, type FakeS3Options } from "../fakes/s3.ts";
import { bytesOf, listAll } from "./store_contract.ts";

interface Given extends AsyncDisposable {
  store: Store;
  remover: Remover;
  fake?: FakeS3;
}

async function openFolder(): Promise<Given> {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-remover-" });
  const options = { bucket: pathToFileURL(join(root, "bucket")).href };
  return {
    store: await openStore(options),
    remover: await openRemover(options),
    [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }),
  };
}

async function openS3(server: FakeS3Options = { allowsDelete: true }): Promise<Given & { fake: FakeS3 }> {
  const fake = await FakeS3.start(server);
  const { accessKeyId, secretAccessKey, region } = fake.keys;
  const options: StoreOptions = {
    bucket: "s3://test-bucket/x",
    region,
    endpoint: fake.url,
    accessKeyId,
    secretAccessKey: new Secret(secretAccessKey),
  };
  const [store, remover] = [await openStore(options), await openRemover(options)];
  return { store, remover, fake, [Symbol.asyncDispose]: () => fake.close() };
}

for (const [name, open] of [["a folder", openFolder], ["S3", openS3]] as const) {
  Deno.test(`Remover of ${name} deletes an object under an odd name, and no other; what is gone already is no error`, async () => {
    await using given = await open();
    const { store, remover } = given;
    for (const key of ["d/a%2Fb/0.json.gz", "d/a%2Fb/1.json.gz", "d/a/0.json.gz"]) {
      await store.replace(key, bytesOf("x"));
    }
    await remover.remove("d/a%2Fb/0.json.gz");
    await remover.remove("d/a%2Fb/0.json.gz");
    assertEquals((await listAll(store, "d/a%2Fb")).map((entry) => entry.name), ["1.json.gz"]);
    await remover.remove("d/a%2Fb/1.json.gz");
    assertEquals((await listAll(store, "d")).map((entry) => entry.name), ["a"]);
    assertEquals(await remover.findHold("d/a/0.json.gz"), undefined);
  });

  Deno.test(`Remover of ${name} refuses a key that leads out of the bucket folder`, async () => {
    await using given = await open();
    await assertRejects(() => given.remover.remove("d/../../x"), StoreError, 'has the segment ".."');
  });
}

Deno.test("Remover of S3 names the right that lacks", async () => {
  await using given = await openS3({});
  const error = await assertRejects(() => given.remover.remove("d/a"), StoreError, "Cannot delete");
  assertStringIncludes(error.hint ?? "", "s3:DeleteObject");
});

Deno.test("Remover of S3 asks before each further try, and deletes nothing where that says so", async () => {
  await using given = await openS3();
  const { fake, store, remover } = given;
  await store.replace("d/a", bytesOf("x"));
  fake.inject("DeleteObject", { kind: "refuse", status: 503, code: "SlowDown" }, 2);
  let asked = 0;
  const again = () => ++asked < 2 ? Promise.resolve() : Promise.reject(new Error("pinned"));
  await assertRejects(() => remover.remove("d/a", { again }), Error, "pinned");
  assertEquals([asked, fake.count("DeleteObject")], [2, 2]);
  assertEquals((await listAll(store, "d")).length, 1);
  await remover.remove("d/a", { again });
  assertEquals([asked, (await listAll(store, "d")).length], [2, 0]);
});

Deno.test("Remover of S3 tells locks and legal holds, and not those that have run out", async () => {
  await using given = await openS3();
  const { fake, store, remover } = given;
  await store.replace("d/a", bytesOf("x"));
  const until = (date: string) => ({ "x-amz-object-lock-retain-until-date": date });
  const said = async (headers: Record<string, string>) => {
    fake.inject("HeadObject", { kind: "alter", headers });
    const { hold } = await store.stat("d/a") ?? {};
    fake.inject("HeadObject", { kind: "alter", headers });
    const found = await remover.findHold("d/a");
    assertEquals(hold, found);
    return found;
  };
  assertEquals(await said(until("2099-01-01T00:00:00Z")), "locked until 2099-01-01T00:00:00.000Z");
  assertEquals(await said(until("2020-01-01T00:00:00Z")), undefined);
  assertEquals(await said({ "x-amz-object-lock-legal-hold": "ON" }), "under a legal hold");
  assertEquals(await remover.findHold("d/not-there"), undefined);
});

Deno.test("Remover of a folder whose disk is not mounted deletes nothing", async () => {
  await using given = await openFolder();
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-remover-" });
  try {
    const options = { bucket: pathToFileURL(join(root, "bucket")).href, stateFolder: join(root, "state") };
    await (await openStore(options)).replace("d/a", bytesOf("x"));
    await Deno.remove(join(root, "bucket", ".couchdb-backup"));
    await assertRejects(async () => await (await openRemover(options)).remove("d/a"), StoreError, "may not be mounted");
    await given.store.replace("d/a", bytesOf("x"));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("Remover of S3 goes by the server's clock where a HEAD is refused without a word because of it", async () => {
  await using given = await openS3({ allowsDelete: true, clockAheadMs: 3 * 3_600_000 });
  assertEquals(await given.remover.findHold("d/a"), undefined);
  assertEquals(given.fake.requests.map(({ operation, status }) => [operation, status]), [
    ["HeadObject", 403],
    ["HeadObject", 404],
  ]);
});
