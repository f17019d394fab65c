import { assert, assertEquals, assertThrows } from "@std/assert";
import { StoreError } from "../../../src/errors.ts";
import {
  bucketUrls,
  checkAddressing,
  checkEndpoint,
  encodeKey,
  encodeQuery,
  parseS3Url,
} from "../../../src/store/s3/endpoint.ts";

Deno.test("parseS3Url() takes bucket and folder as they stand", () => {
  const cases: [url: string, bucket: string, folder: string][] = [
    ["s3://data.example.com/folder", "data.example.com", "folder"],
    ["s3://name", "name", ""],
    ["s3://name/", "name", ""],
    ["S3://name//a///b//", "name", "a/b"],
    ["s3://name/account%2Fab/100% #1?x", "name", "account%2Fab/100% #1?x"],
    ["s3://Old_Name/x", "Old_Name", "x"],
  ];
  for (const [url, bucket, folder] of cases) assertEquals(parseS3Url(url), { bucket, folder }, url);
});

Deno.test("parseS3Url() refuses what cannot be a bucket, and shows no password", () => {
  for (
    const url of ["s3://", "s3:///folder", "s3://ab", "s3://a b c/x", "s3://-abc", "s3://user:hunter2@name/x", "name"]
  ) {
    const error = assertThrows(() => parseS3Url(url), StoreError);
    assertEquals(error.facts.code, "bad_bucket");
    assert(!error.message.includes("hunter2"), error.message);
  }
});

Deno.test("bucketUrls() are AWS's dual-stack one, then the older one, in path style where a wildcard does not reach", () => {
  const cases: [bucket: string, region: string, urls: string[]][] = [
    ["name", "eu-west-1", [
      "https://name.s3.dualstack.eu-west-1.amazonaws.com",
      "https://name.s3.eu-west-1.amazonaws.com",
    ]],
    ["data.example.com", "us-east-1", [
      "https://s3.dualstack.us-east-1.amazonaws.com/data.example.com",
      "https://s3.us-east-1.amazonaws.com/data.example.com",
    ]],
    ["Old_Name", "us-east-1", [
      "https://s3.dualstack.us-east-1.amazonaws.com/Old_Name",
      "https://s3.us-east-1.amazonaws.com/Old_Name",
    ]],
    ["name", "eusc-de-east-1", [
      "https://name.s3.dualstack.eusc-de-east-1.amazonaws.eu",
      "https://name.s3.eusc-de-east-1.amazonaws.eu",
    ]],
    ["name", "cn-north-1", [
      "https://name.s3.dualstack.cn-north-1.amazonaws.com.cn",
      "https://name.s3.cn-north-1.amazonaws.com.cn",
    ]],
  ];
  for (const [bucket, region, urls] of cases) assertEquals(bucketUrls({ bucket, region }), urls);
  assertEquals(bucketUrls({ bucket: "name", region: "us-gov-west-1", fips: true }), [
    "https://name.s3-fips.dualstack.us-gov-west-1.amazonaws.com",
    "https://name.s3-fips.us-gov-west-1.amazonaws.com",
  ]);
});

Deno.test("bucketUrls() name a bucket as addressing_style says, and in the path of an endpoint where it says nothing", () => {
  const region = "us-east-1";
  const cases: [endpoint: string | undefined, addressing: "path" | "virtual" | undefined, url: string][] = [
    ["http://[::1]:9000", undefined, "http://[::1]:9000/name"],
    ["https://proxy.example/s3/", undefined, "https://proxy.example/s3/name"],
    ["https://oss-cn-beijing.aliyuncs.com", "virtual", "https://name.oss-cn-beijing.aliyuncs.com"],
    ["http://proxy.example:81/s3/", "virtual", "http://name.proxy.example:81/s3"],
    ["https://minio.example", "path", "https://minio.example/name"],
    [undefined, "path", "https://s3.dualstack.us-east-1.amazonaws.com/name"],
  ];
  for (const [endpoint, addressing, url] of cases) {
    assertEquals(bucketUrls({ bucket: "name", region, endpoint, addressing })[0], url);
  }
});

Deno.test("checkAddressing() refuses what cannot stand before a host's name", () => {
  assertEquals(checkAddressing({ bucket: "name", endpoint: "https://oss.example", addressing: "virtual" }), "virtual");
  assertEquals(checkAddressing({ bucket: "Old_Name", endpoint: "http://[::1]:9000", addressing: "path" }), "path");
  assertEquals(checkAddressing({ bucket: "Old_Name", endpoint: undefined, addressing: undefined }), undefined);
  for (
    const [bucket, endpoint] of [
      ["name", "http://[::1]:9000"],
      ["name", "http://127.0.0.1:9000"],
      ["Old_Name", "https://oss.example"],
    ] as const
  ) {
    const error = assertThrows(() => checkAddressing({ bucket, endpoint, addressing: "virtual" }), StoreError);
    assertEquals([error.facts.code, error.hint], ["bad_endpoint", "Set addressing_style: path, or leave it out"]);
  }
});

Deno.test("checkEndpoint() takes http and https URLs without login and query", () => {
  assertEquals(checkEndpoint("http://[::1]:9000/"), "http://[::1]:9000");
  assertEquals(checkEndpoint("https://minio.example.com/s3"), "https://minio.example.com/s3");
  for (const endpoint of ["", "minio:9000", "ftp://minio", "http://a:hunter2@minio", "http://minio?x=1"]) {
    const error = assertThrows(() => checkEndpoint(endpoint), StoreError);
    assertEquals(error.facts.code, "bad_endpoint");
    assert(!error.message.includes("hunter2"), error.message);
  }
});

Deno.test("encodeKey() encodes every byte once, but for what SigV4 leaves alone and the slash", () => {
  const cases: [key: string, encoded: string][] = [
    ["account%2Fab/0000000.json.gz", "account%252Fab/0000000.json.gz"],
    ["a+b c", "a%2Bb%20c"],
    ["!'()*", "%21%27%28%29%2A"],
    ["A-Za-z0-9-._~", "A-Za-z0-9-._~"],
    [";:@&=$,?#[]", "%3B%3A%40%26%3D%24%2C%3F%23%5B%5D"],
    ["é/中/\u{1F600}", "%C3%A9/%E4%B8%AD/%F0%9F%98%80"],
  ];
  for (const [key, encoded] of cases) {
    assertEquals(encodeKey(key), encoded);
    assertEquals(new URL(`http://host/${encodeKey(key)}`).pathname, `/${encoded}`, "a URL parser leaves it alone");
    assertEquals(decodeURIComponent(encoded), key);
  }
});

Deno.test("encodeQuery() writes a space as %20 and keeps a parameter without a value", () => {
  assertEquals(encodeQuery({ uploads: "" }), "uploads=");
  assertEquals(encodeQuery({ prefix: "a b/+&=", delimiter: "/" }), "prefix=a%20b%2F%2B%26%3D&delimiter=%2F");
});
