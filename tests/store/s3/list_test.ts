import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { StoreError } from "../../../src/errors.ts";
import { Secret } from "../../../src/secret.ts";
import { S3Store } from "../../../src/store/s3/store.ts";
import { FakeS3, type FakeS3Options } from "../../fakes/s3.ts";
import { listAll } from "../store_contract.ts";

const names = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `${String(index + from).padStart(7, "0")}.json.gz`);

/** Lists a folder of objects, with folders between them, from a server with pages of four. */
async function listOn(
  options: FakeS3Options,
  { objects, deeper = [], list = (store) => listAll(store, "d") }: {
    objects: string[];
    deeper?: string[];
    list?: (store: S3Store) => Promise<{ name: string }[]>;
  },
): Promise<{ names: string[]; requests: number }> {
  const fake = await FakeS3.start({ maxKeys: 4, ...options });
  try {
    const store = new S3Store({
      bucket: "s3://test-bucket/f",
      endpoint: fake.url,
      region: fake.keys.region,
      accessKeyId: fake.keys.accessKeyId,
      secretAccessKey: new Secret(fake.keys.secretAccessKey),
    }, { attempts: 2, backoffMs: 1 });
    for (const name of [...objects, ...deeper]) {
      fake.objects.set(`test-bucket/f/d/${name}`, {
        bytes: new Uint8Array(1),
        etag: '"x"',
        checksum: undefined,
        headers: {},
        modified: new Date(),
      });
    }
    const entries = await list(store);
    return { names: entries.map(({ name }) => name), requests: fake.count("ListObjectsV2") };
  } finally {
    await fake.close();
  }
}

const MANY = names(0, 1500);

for (const nextMarkerOnly of ["start-after", "marker", "nothing"] as const) {
  Deno.test(`list() gives 1,500 parts where pages have no token: ${nextMarkerOnly}`, async () => {
    const found = await listOn({ nextMarkerOnly, maxKeys: 1000 }, { objects: MANY });
    assertEquals(found, { names: MANY, requests: 2 });
  });

  Deno.test(`list() gives each folder once where pages have no token: ${nextMarkerOnly}`, async () => {
    const deeper = names(0, 11).flatMap((name) => [`${name}/a`, `${name}/b`, `${name}/c`]);
    const { names: found } = await listOn({ nextMarkerOnly }, {
      objects: names(3, 9).map((name) => `${name}!`),
      deeper,
    });
    assertEquals(found, names(0, 11).flatMap((name, index) => index >= 3 && index < 9 ? [`${name}!`, name] : [name]));
  });
}

Deno.test("listBelow() goes by the markers of empty folders, however many pages they fill", async () => {
  const { names: found } = await listOn({}, {
    objects: ["z/1", "z/2"],
    deeper: names(0, 30).map((name) => `${name}/`),
    list: async (store) => (await Array.fromAsync(store.listBelow("d"))).flat(),
  });
  assertEquals(found, ["z/1", "z/2"]);
});

for (const endlessList of ["repeats", "repeats_with_new_tokens", "empty", "backwards"] as const) {
  Deno.test(`list() says endless, and names the store, where a server ${endlessList}`, async () => {
    const error = await assertRejects(() => listOn({ endlessList }, { objects: names(0, 10) }), StoreError);
    assertEquals(error.facts, { code: "endless", key: "d" });
    assertStringIncludes(error.message, '"d" in "s3://test-bucket/f"');
    assert(error.hint !== undefined);
  });
}

Deno.test("list() says endless where a server repeats a page without a token", async () => {
  for (const nextMarkerOnly of ["start-after", "nothing"] as const) {
    const error = await assertRejects(
      () => listOn({ endlessList: "repeats", nextMarkerOnly }, { objects: names(0, 10) }),
      StoreError,
    );
    assertEquals(error.facts.code, "endless");
  }
});

for (const times of [1, 99]) {
  Deno.test(`list() asks again for a page of which half comes as if it were all, ${times === 1 ? "once" : "in vain"}`, async () => {
    const fake = await FakeS3.start();
    try {
      const store = new S3Store({
        bucket: "s3://test-bucket",
        endpoint: fake.url,
        region: fake.keys.region,
        accessKeyId: fake.keys.accessKeyId,
        secretAccessKey: new Secret(fake.keys.secretAccessKey),
      }, { attempts: 3, backoffMs: 1 });
      for (const name of names(0, 3)) await store.replace(name, new Uint8Array(1));
      fake.inject("ListObjectsV2", { kind: "halve" }, times);
      if (times === 1) {
        assertEquals((await listAll(store, "")).map(({ name }) => name), names(0, 3));
        assertEquals(fake.count("ListObjectsV2"), 2);
      } else {
        const error = await assertRejects(() => listAll(store, ""), StoreError, "the answer was cut off");
        assertEquals([error.facts.code, fake.count("ListObjectsV2")], ["cut_off", 3]);
      }
    } finally {
      await fake.close();
    }
  });
}
