/** The fake S3 server held against AWS's own client: what that sends is accepted, what AWS refuses is refused. */
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { patternBytes } from "../store/store_contract.ts";
import { FakeS3, type FakeS3Options } from "./s3.ts";

const Bucket = "test-bucket";
const ODD_KEY = "a/account%2Fab/!'()*~ +&=?#é中\u{1F600}";

function testWithSdk(
  sentence: string,
  body: (given: { fake: FakeS3; client: S3Client; clientWith: (changed: object) => S3Client }) => Promise<void>,
  options: FakeS3Options = {},
): void {
  Deno.test(sentence, async () => {
    const fake = await FakeS3.start(options);
    const clients: S3Client[] = [];
    const clientWith = (changed: object) => {
      const client = new S3Client({
        endpoint: fake.url,
        region: fake.keys.region,
        forcePathStyle: true,
        maxAttempts: 1,
        requestChecksumCalculation: "WHEN_REQUIRED",
        responseChecksumValidation: "WHEN_REQUIRED",
        credentials: {
          accessKeyId: fake.keys.accessKeyId,
          secretAccessKey: fake.keys.secretAccessKey,
          ...(fake.keys.sessionToken === undefined ? {} : { sessionToken: fake.keys.sessionToken }),
          ...changed,
        },
      });
      clients.push(client);
      return client;
    };
    try {
      await body({ fake, client: clientWith({}), clientWith });
    } finally {
      for (const client of clients) client.destroy();
      await fake.close();
    }
  });
}

async function refusal(run: () => Promise<unknown>): Promise<[name: string, status: number | undefined]> {
  const error = await assertRejects(run, S3ServiceException);
  return [error.name, error.$metadata.httpStatusCode];
}

for (const options of [{}, { hostname: "::1", sessionToken: "session/+=token" }] as const) {
  const where = "hostname" in options ? ", over IPv6 with a session token" : "";
  testWithSdk(`FakeS3 stores, lists and gives back what the AWS SDK puts${where}`, async ({ fake, client }) => {
    const Body = patternBytes(10_000);
    const ChecksumSHA256 = new Uint8Array(await crypto.subtle.digest("SHA-256", Body)).toBase64();
    const put = await client.send(
      new PutObjectCommand({ Bucket, Key: ODD_KEY, Body, ChecksumSHA256, Metadata: { writer: "me" } }),
    );
    assertEquals(put.ChecksumSHA256, ChecksumSHA256);
    assertEquals(fake.object(Bucket, ODD_KEY)?.bytes, Body);
    const got = await client.send(new GetObjectCommand({ Bucket, Key: ODD_KEY }));
    assertEquals(await got.Body?.transformToByteArray(), Body);
    assertEquals([got.ETag, got.Metadata], [put.ETag, { writer: "me" }]);
    const part = await client.send(
      new GetObjectCommand({ Bucket, Key: ODD_KEY, Range: "bytes=100-199", IfMatch: put.ETag }),
    );
    assertEquals(part.ContentRange, "bytes 100-199/10000");
    assertEquals(await part.Body?.transformToByteArray(), Body.subarray(100, 200));
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: ODD_KEY }));
    assertEquals([head.ContentLength, head.ETag], [10_000, put.ETag]);
    const listed = await client.send(new ListObjectsV2Command({ Bucket }));
    assertEquals(listed.Contents?.map((object) => [object.Key, object.Size]), [[ODD_KEY, 10_000]]);
    const encoded = await client.send(new ListObjectsV2Command({ Bucket, EncodingType: "url" }));
    assertEquals(decodeURIComponent(encoded.Contents?.[0]?.Key?.replaceAll("+", " ") ?? ""), ODD_KEY);
  }, options);
}

testWithSdk("FakeS3 lists in pages, with folders", async ({ client }) => {
  for (const Key of ["f/a", "f/b/1", "f/b/2", "f/c", "f/d", "g"]) {
    await client.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  }
  const pages: string[][] = [];
  let ContinuationToken: string | undefined;
  do {
    const page = await client.send(
      new ListObjectsV2Command({
        Bucket,
        Prefix: "f/",
        Delimiter: "/",
        ...(ContinuationToken === undefined ? {} : { ContinuationToken }),
      }),
    );
    pages.push([
      ...(page.Contents ?? []).map((object) => object.Key ?? ""),
      ...(page.CommonPrefixes ?? []).map((folder) => folder.Prefix ?? ""),
    ]);
    ContinuationToken = page.NextContinuationToken;
  } while (ContinuationToken !== undefined);
  assertEquals(pages, [["f/a", "f/b/"], ["f/c", "f/d"]]);
}, { maxKeys: 2 });

testWithSdk("FakeS3 makes an object of the AWS SDK's parts, and only of right ones", async ({ fake, client }) => {
  const Key = "large";
  const begin = async () =>
    (await client.send(new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: "SHA256" }))).UploadId ?? "";
  const send = async (UploadId: string, sizes: number[]) => {
    const parts: { PartNumber: number; ETag: string; ChecksumSHA256: string }[] = [];
    for (const [index, size] of sizes.entries()) {
      const PartNumber = index + 1;
      const Body = patternBytes(size, PartNumber);
      const ChecksumSHA256 = new Uint8Array(await crypto.subtle.digest("SHA-256", Body)).toBase64();
      const sent = await client.send(
        new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body, ChecksumSHA256 }),
      );
      parts.push({ PartNumber, ETag: sent.ETag ?? "", ChecksumSHA256 });
    }
    return parts;
  };
  const UploadId = await begin();
  const Parts = await send(UploadId, [5 * 1024 * 1024, 1000]);
  const complete = (parts: typeof Parts, id = UploadId) =>
    client.send(
      new CompleteMultipartUploadCommand({
        Bucket,
        Key,
        UploadId: id,
        IfNoneMatch: "*",
        MultipartUpload: { Parts: parts },
      }),
    );
  assertEquals(await refusal(() => complete([...Parts].reverse())), ["InvalidPartOrder", 400]);
  assertEquals(await refusal(() => complete([{ ...Parts[0]!, ETag: '"0"' }])), ["InvalidPart", 400]);
  assertEquals(await refusal(() => complete([{ ...Parts[0]!, ChecksumSHA256: "AA==" }])), ["InvalidPart", 400]);
  assertEquals(await refusal(() => complete(Parts, "other")), ["NoSuchUpload", 404]);
  assertEquals(fake.objects.size, 0);
  await complete(Parts);
  assertEquals(fake.object(Bucket, Key)?.bytes.length, 5 * 1024 * 1024 + 1000);
  assertEquals(await refusal(() => complete(Parts)), ["NoSuchUpload", 404]);

  const tooSmall = await begin();
  const small = await send(tooSmall, [1000, 1000]);
  assertEquals(await refusal(() => complete(small, tooSmall)), ["PreconditionFailed", 412]);
  fake.objects.clear();
  assertEquals(await refusal(() => complete(small, tooSmall)), ["EntityTooSmall", 400]);
});

testWithSdk("FakeS3 refuses a wrong secret, token, key and region", async ({ fake, client, clientWith }) => {
  const put = new PutObjectCommand({ Bucket, Key: "a", Body: "x" });
  assertEquals(await refusal(() => clientWith({ secretAccessKey: "wrong" }).send(put)), ["SignatureDoesNotMatch", 403]);
  assertEquals(await refusal(() => clientWith({ accessKeyId: "wrong" }).send(put)), ["InvalidAccessKeyId", 403]);
  assertEquals(await refusal(() => clientWith({ sessionToken: "wrong" }).send(put)), ["InvalidToken", 400]);
  fake.keys.region = "eu-west-1";
  const [name, status] = await refusal(() => client.send(put));
  assertEquals([name, status], ["AuthorizationHeaderMalformed", 400]);
  assertEquals(fake.objects.size, 0);
});

testWithSdk("FakeS3 refuses wrong checksums, taken keys, missing ones and deletion", async ({ fake, client }) => {
  const put = { Bucket, Key: "a", Body: "x" };
  const ChecksumSHA256 = new Uint8Array(32).toBase64();
  assertEquals(await refusal(() => client.send(new PutObjectCommand({ ...put, ChecksumSHA256 }))), ["BadDigest", 400]);
  await client.send(new PutObjectCommand({ ...put, IfNoneMatch: "*" }));
  assertEquals(await refusal(() => client.send(new PutObjectCommand({ ...put, IfNoneMatch: "*" }))), [
    "PreconditionFailed",
    412,
  ]);
  assertEquals(await refusal(() => client.send(new GetObjectCommand({ Bucket, Key: "none" }))), ["NoSuchKey", 404]);
  assertEquals(await refusal(() => client.send(new GetObjectCommand({ Bucket: "none", Key: "a" }))), [
    "NoSuchBucket",
    404,
  ]);
  assertEquals((await refusal(() => client.send(new HeadObjectCommand({ Bucket, Key: "none" }))))[1], 404);
  assertEquals(fake.objects.size, 1);
});

Deno.test("FakeS3 refuses a chunked body, an unsigned request and a signature that is too old", async () => {
  const fake = await FakeS3.start({ clockAheadMs: 0 });
  try {
    const url = `${fake.url}/${Bucket}/a`;
    const chunked = await fetch(url, { method: "PUT", body: new Blob(["x"]).stream() });
    assertEquals([chunked.status, (await chunked.text()).includes("NotImplemented")], [501, true]);
    const unsigned = await fetch(url, { method: "PUT", body: "x" });
    assertEquals([unsigned.status, (await unsigned.text()).includes("AccessDenied")], [403, true]);
    const head = await fetch(`${fake.url}/${Bucket}`, { method: "HEAD" });
    assertEquals([head.status, head.headers.get("x-amz-bucket-region")], [403, "us-east-1"]);
    assertEquals(fake.objects.size, 0);
    assert(fake.requests.length >= 3);
  } finally {
    await fake.close();
  }
});

testWithSdk("FakeS3 refuses a request that is signed an hour apart", async ({ client }) => {
  const [name, status] = await refusal(() => client.send(new PutObjectCommand({ Bucket, Key: "a", Body: "x" })));
  assertEquals([name, status], ["RequestTimeTooSkewed", 403]);
}, { clockAheadMs: -60 * 60 * 1000 });
