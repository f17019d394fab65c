/**
 * The store contract against a real S3 server, given by S3_ENDPOINT, S3_BUCKET, AWS_ACCESS_KEY_ID and
 * AWS_SECRET_ACCESS_KEY. Each test works in a folder of its own and leaves it in the bucket: no test needs the right
 * to delete.
 */
import { assertEquals } from "@std/assert";
import { AwsClient } from "aws4fetch";
import { Secret } from "../../src/secret.ts";
import { findConditions } from "../../src/store/conditions.ts";
import { openStore } from "../../src/store/open.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { StoreOptions } from "../../src/store/store.ts";
import { bytesOf, patternBytes, pieces, readAll, type StoreUnderTest, testStore } from "../store/store_contract.ts";

const needed = ["S3_ENDPOINT", "S3_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] as const;
const missing = needed.filter((name) => (Deno.env.get(name) ?? "") === "");
const given = (name: (typeof needed)[number]) => Deno.env.get(name) ?? "";

function optionsFor(folder: string): StoreOptions {
  return {
    bucket: `s3://${given("S3_BUCKET")}/${folder}`,
    region: Deno.env.get("AWS_REGION"),
    endpoint: given("S3_ENDPOINT"),
    accessKeyId: given("AWS_ACCESS_KEY_ID"),
    secretAccessKey: new Secret(given("AWS_SECRET_ACCESS_KEY")),
  };
}

/** The objects and unfinished uploads below a folder, asked for without the code under test. */
async function leftovers(folder: string): Promise<string[]> {
  const client = new AwsClient({
    accessKeyId: given("AWS_ACCESS_KEY_ID"),
    secretAccessKey: given("AWS_SECRET_ACCESS_KEY"),
    region: Deno.env.get("AWS_REGION") ?? "us-east-1",
    service: "s3",
  });
  const found: string[] = [];
  for (const query of ["list-type=2", "uploads"]) {
    const answer = await client.fetch(`${given("S3_ENDPOINT")}/${given("S3_BUCKET")}?${query}&prefix=${folder}%2F`);
    const text = await answer.text();
    assertEquals(answer.status, 200, text);
    found.push(...[...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) => `${query} ${match[1]}`));
  }
  return found;
}

function open(): Promise<StoreUnderTest> {
  const folder = `contract-${crypto.randomUUID()}`;
  return Promise.resolve({
    store: new S3Store(optionsFor(folder), { pageSize: 4 }),
    leftovers: () => leftovers(folder),
    largeBytes: 12 * 1024 * 1024 + 1,
    close: () => Promise.resolve(),
  });
}

if (missing.length > 0) {
  Deno.test("S3Store works with a real server", () => {
    throw new Error(`Cannot test against a real S3 server: set ${missing.join(", ")} (see scripts/ci/s3_server.sh)`);
  });
} else {
  testStore("S3Store on a real server", open);

  Deno.test("findConditions() on a real server: held, as the contract above says", async () => {
    const folder = `conditions-${crypto.randomUUID()}`;
    assertEquals(await findConditions(await openStore(optionsFor(folder)), "_store"), "held");
    assertEquals((await leftovers(folder)).length, 3);
  });

  Deno.test("S3Store on a real server finds the region itself", async () => {
    const store = await openStore({ ...optionsFor(`region-${crypto.randomUUID()}`), region: undefined });
    const { key } = await store.create(["a%2Fb"], pieces(bytesOf("found")));
    assertEquals(await readAll(store, key), bytesOf("found"));
  });

  Deno.test("S3Store on a real server stores a body of exactly one and two parts", async () => {
    const store = await openStore(optionsFor(`exact-${crypto.randomUUID()}`));
    for (const size of [5 * 1024 * 1024, 10 * 1024 * 1024]) {
      const stored = await store.create([`${size}`], pieces(patternBytes(size)));
      assertEquals((await store.stat(stored.key))?.sizeBytes, size);
    }
  });
}
