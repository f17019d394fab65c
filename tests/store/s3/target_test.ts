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

Deno.test("targetOf() refuses what AWS calls a bucket and is another thing, and takes an access point's alias", () => {
  const refused: [name: string, what: string][] = [
    ["backups--use1-az4--x-s3", "a directory bucket (S3 Express One Zone)"],
    ["point-abcdefghijklmnop--ol-s3", "an access point of Object Lambda"],
    ["mfzwi23gnjvgw.mrap", "a multi-region access point"],
    ["tables--table-s3", "a table bucket"],
  ];
  for (const [name, what] of refused) {
    const error = assertThrows(() => targetOf({ bucket: `s3://${name}/folder`, ...KEYS }), StoreError, what);
    assertEquals(error.facts.code, "bad_bucket");
    // Elsewhere names mean what they like.
    assertEquals(targetOf({ bucket: `s3://${name}`, endpoint: "http://[::1]:9000", ...KEYS }).bucket, name);
  }
  assertEquals(
    targetOf({ bucket: "s3://point-abcdefghijklmnop-s3alias", ...KEYS }).bucket,
    "point-abcdefghijklmnop-s3alias",
  );
});
