import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { StoreError } from "../../../src/errors.ts";
import { staticProvider } from "../../../src/aws/credentials.ts";
import { Secret } from "../../../src/secret.ts";
import { S3Client } from "../../../src/store/s3/client.ts";
import { startBlackHole } from "../../fakes/role_service.ts";
import { FakeS3 } from "../../fakes/s3.ts";

const CLOSED = "http://127.0.0.1:1";
const QUICK = { attempts: 3, backoffMs: 1, stallMs: 30_000 };
const LIST = { method: "GET", action: "list", right: "s3:ListBucket", query: { "list-type": "2" } } as const;

/** A client of a bucket that has several addresses, as one of AWS has. */
function clientOf(fake: FakeS3, bases: string[], region: string | undefined = fake.keys.region): S3Client {
  const { accessKeyId, secretAccessKey } = fake.keys;
  return new S3Client({
    bucket: "test-bucket",
    folder: "",
    region,
    bucketUrls: bases.map((base) => `${base}/test-bucket`),
    credentials: staticProvider({ accessKeyId, secretAccessKey: new Secret(secretAccessKey) }),
  }, QUICK);
}

Deno.test("S3Client asks the address of a bucket that answers: a closed, an unresolved and a silent one are passed over", async () => {
  const fake = await FakeS3.start();
  using silent = startBlackHole();
  try {
    for (const gone of [CLOSED, "http://no-such-name.invalid", silent.url]) {
      const client = clientOf(fake, [gone, fake.url]);
      const before = fake.requests.length;
      assertEquals((await client.send(LIST)).status, 200, gone);
      assertEquals(await client.findUrl(), `${fake.url}/test-bucket`);
      // One to see who answers, and none for the next client.
      assertEquals(fake.requests.length - before, 2);
      await clientOf(fake, [gone, fake.url]).send(LIST);
      assertEquals(fake.requests.length - before, 3);
    }
  } finally {
    await fake.close();
  }
});

Deno.test("S3Client finds the region by the address that answers", async () => {
  const fake = await FakeS3.start({ region: "eu-central-1" });
  try {
    const client = clientOf(fake, [CLOSED, fake.url], undefined);
    assertEquals((await client.send(LIST)).status, 200);
  } finally {
    await fake.close();
  }
});

Deno.test("S3Client turns to the other address when the one that answered is gone", async () => {
  const [first, second] = [await FakeS3.start(), await FakeS3.start()];
  try {
    const client = clientOf(first, [first.url, second.url]);
    await client.send(LIST);
    assertEquals([first.requests.length, second.requests.length], [2, 0]);
    await first.close();
    await client.send(LIST);
    assertEquals(second.count("ListObjectsV2"), 1);
  } finally {
    await second.close();
  }
});

Deno.test("S3Client names the addresses of a bucket where none answers", async () => {
  const fake = await FakeS3.start();
  try {
    const client = clientOf(fake, [CLOSED, "http://127.0.0.1:2"]);
    const error = await assertRejects(() => client.send(LIST), StoreError);
    assertEquals(error.facts.code, "unreachable");
    assertStringIncludes(error.message, "no answer from 127.0.0.1:1 or 127.0.0.1:2");
    assertStringIncludes(error.hint ?? "", "interface endpoint");
  } finally {
    await fake.close();
  }
});
