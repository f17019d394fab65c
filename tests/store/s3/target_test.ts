import { assertEquals, assertThrows } from "@std/assert";
import { StoreError } from "../../../src/errors.ts";
import { Secret } from "../../../src/secret.ts";
import { S3Remover } from "../../../src/store/s3/remover.ts";
import { S3Store } from "../../../src/store/s3/store.ts";
import { targetOf } from "../../../src/store/s3/target.ts";
import type { StoreOptions } from "../../../src/store/store.ts";

const KEYS = { accessKeyId: "t", secretAccessKey: new Secret("s") };

Deno.test("targetOf() takes all that a config says of the way to the bucket", () => {
  const { credentials: _, ...target } = targetOf({
    bucket: "s3://name/folder",
    region: "eu-central-1",
    endpoint: "https://oss.example/",
    addressing: "virtual",
    ...KEYS,
  });
  assertEquals(target, {
    bucket: "name",
    folder: "folder",
    region: "eu-central-1",
    endpoint: "https://oss.example",
    addressing: "virtual",
    fetch: undefined,
    log: undefined,
  });
});

Deno.test("S3Store and S3Remover go the same way to the bucket", () => {
  const options: StoreOptions = { bucket: "s3://name", endpoint: "http://[::1]:9000", addressing: "virtual", ...KEYS };
  for (const open of [() => new S3Store(options), () => new S3Remover(options)]) {
    assertEquals(assertThrows(open, StoreError).facts.code, "bad_endpoint");
  }
});
