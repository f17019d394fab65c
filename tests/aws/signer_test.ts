import { assertEquals } from "@std/assert";
import { AwsV4Signer } from "aws4fetch";
import { RequestSigner } from "../../src/aws/signer.ts";

const REQUEST = {
  method: "GET",
  url: "https://examplebucket.s3.amazonaws.com/test.txt",
  headers: {
    range: "bytes=0-9",
    "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  },
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  service: "s3",
  region: "us-east-1",
  datetime: "20130524T000000Z",
};

Deno.test("RequestSigner signs as AWS's documentation says", async () => {
  // The example "GET Object" of S3's API reference, whose headers are all signed.
  const { headers } = await new RequestSigner({ ...REQUEST, allHeaders: true }).sign();
  assertEquals(
    headers.get("authorization"),
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
      "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
      "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  );
});

Deno.test("RequestSigner signs every request as aws4fetch does, with keys that are derived once", async () => {
  const changes: Partial<ConstructorParameters<typeof AwsV4Signer>[0]>[] = [
    {},
    { method: "PUT", url: "https://b.s3.eu-central-1.amazonaws.com/a%20b/%C3%BC%2B?partNumber=1&uploadId=x%2Fy" },
    { datetime: "20130525T000000Z" },
    { region: "eu-central-1" },
    { secretAccessKey: "another+secret/é" },
    { sessionToken: "a/session+token==" },
    {
      service: "secretsmanager",
      method: "POST",
      url: "https://secretsmanager.us-east-1.api.aws/",
      headers: { "x-amz-target": "secretsmanager.GetSecretValue" },
      body: '{"SecretId":"ü"}',
    },
    { signQuery: true },
  ];
  const cache = new Map<string, ArrayBuffer>();
  // Twice: the second time each key is known.
  for (const change of [...changes, ...changes]) {
    const ours = await new RequestSigner({ ...REQUEST, ...change, cache }).sign();
    const theirs = await new AwsV4Signer({ ...REQUEST, ...change }).sign();
    assertEquals([ours.url.href, ...ours.headers], [theirs.url.href, ...theirs.headers]);
  }
  assertEquals(cache.size, 5, "a key for each day, region, secret and service");
});
