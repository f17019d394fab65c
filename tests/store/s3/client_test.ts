import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InterruptedError, StoreError } from "../../../src/errors.ts";
import { staticProvider } from "../../../src/aws/credentials.ts";
import { Secret } from "../../../src/secret.ts";
import { S3Client } from "../../../src/store/s3/client.ts";
import { DEFAULT_SETTINGS } from "../../../src/store/s3/request.ts";
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

/** How often a request that fails is made in all. */
async function attemptsAt(client: S3Client, fake: FakeS3): Promise<number> {
  const before = fake.requests.length;
  await assertRejects(() => client.send(LIST), StoreError);
  return fake.requests.length - before;
}

Deno.test("S3Client is patient with a server that is busy, less with a silent one, and once for all requests", async () => {
  const fake = await FakeS3.start();
  const { accessKeyId, secretAccessKey } = fake.keys;
  const target = {
    bucket: "test-bucket",
    folder: "",
    region: fake.keys.region,
    endpoint: fake.url,
    credentials: staticProvider({ accessKeyId, secretAccessKey: new Secret(secretAccessKey) }),
  };
  const client = new S3Client(target, { attempts: 5, attemptsUnanswered: 2, backoffMs: 1 });
  const refuse = (times: number) =>
    fake.inject("ListObjectsV2", { kind: "refuse", status: 503, code: "SlowDown" }, times);
  try {
    refuse(5);
    assertEquals(await attemptsAt(client, fake), 5);
    // What one request has found out the next ones need not, until one goes well.
    refuse(2);
    assertEquals(await attemptsAt(client, fake), 2);
    assertEquals((await client.send(LIST)).status, 200);
    refuse(4);
    assertEquals((await client.send(LIST)).status, 200);
    let tries = 0;
    const silence = () => Promise.reject(new TypeError(`connection closed, ${++tries}`));
    await assertRejects(() => client.with({ fetch: silence }).send(LIST), StoreError, "no answer from");
    assertEquals(tries, 2);
  } finally {
    await fake.close();
  }
});

Deno.test("S3Client waits for a busy server for half a minute at least, and for little more than a minute", () => {
  const { attempts, attemptsUnanswered, backoffMs } = DEFAULT_SETTINGS;
  const longest = (tries: number) =>
    Array.from({ length: tries - 1 }, (_, index) => Math.min(20_000, backoffMs * 2 ** index))
      .reduce((sum, ms) => sum + ms, 0);
  // At random between a half and the whole.
  assertEquals([longest(attempts) / 2 > 30_000, longest(attempts) < 80_000], [true, true]);
  assertEquals(longest(attemptsUnanswered) < 20_000, true);
});

Deno.test("S3Client says what S3 has said where a time limit ends its patience, and the reason where somebody else does", async () => {
  const fake = await FakeS3.start();
  using silent = startBlackHole();
  const { accessKeyId, secretAccessKey } = fake.keys;
  const clientAt = (endpoint: string) =>
    new S3Client({
      bucket: "test-bucket",
      folder: "",
      region: fake.keys.region,
      endpoint,
      credentials: staticProvider({ accessKeyId, secretAccessKey: new Secret(secretAccessKey) }),
    }, { attempts: 3, backoffMs: 60_000 });
  try {
    fake.inject("ListObjectsV2", { kind: "refuse", status: 503, code: "SlowDown" }, 99);
    const send = (endpoint: string, signal: AbortSignal) => clientAt(endpoint).send(LIST, signal);
    const busy = await assertRejects(() => send(fake.url, AbortSignal.timeout(300)), StoreError);
    assertEquals([busy.facts.code, busy.facts.status], ["SlowDown", 503]);
    const mute = await assertRejects(() => send(silent.url, AbortSignal.timeout(300)), StoreError);
    assertEquals(mute.facts.code, "timeout");
    assertStringIncludes(mute.message, "no answer from 127.0.0.1:");
    const stop = new AbortController();
    setTimeout(() => stop.abort(new InterruptedError("Told to stop")), 300);
    await assertRejects(() => send(fake.url, stop.signal), InterruptedError, "Told to stop");
  } finally {
    await fake.close();
  }
});
