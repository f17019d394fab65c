import { assertEquals, assertStringIncludes } from "@std/assert";
import { seemsToBe } from "../../src/archive/seems.ts";

const encoder = new TextEncoder();

Deno.test("seemsToBe() tells what a file is by how it begins", () => {
  const tar = new Uint8Array(600);
  tar.set(encoder.encode("backup.json"));
  tar.set(encoder.encode("ustar"), 257);
  const couch = new Uint8Array(8192);
  couch.set(encoder.encode("db_header"), 4096 + 30);
  const bytes = (...numbers: number[]) => Uint8Array.from([...numbers, 0, 0, 0, 0, 0, 0]);
  const cases: [sample: string | Uint8Array, part: string | undefined][] = [
    ["BZh91AY&SY", "bzip2"],
    [bytes(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), "xz"],
    [bytes(0x50, 0x4b, 3, 4), "zip"],
    [bytes(0x04, 0x22, 0x4d, 0x18), "lz4"],
    ["age-encryption.org/v1\n-> X25519 ", "age"],
    ["-----BEGIN AGE ENCRYPTED FILE-----\n", "age"],
    [bytes(0xff, 0xfe, 0x7b, 0), "UTF-16"],
    [tar, "tar"],
    [couch, "database file of CouchDB"],
    ["--0b5a8fd2\r\nContent-Type: application/json\r\n\r\n{}", "Accept: application/json"],
    ["HTTP/1.1 200 OK\r\nServer: CouchDB", "headers"],
    ["<!DOCTYPE html><html>", "HTML"],
    ['data: {"seq":1,"id":"a","changes":[]}\nid: 1\n', "feed=normal"],
    ['{"error":"unauthorized","reason":"Name or password is incorrect."}\n', "CouchDB's error"],
    ['{"a":1,"b":{"rows":[]}}', '"a", "b"'],
    ["hello", undefined],
    ["", undefined],
  ];
  for (const [sample, part] of cases) {
    const what = seemsToBe(typeof sample === "string" ? encoder.encode(sample) : sample);
    if (part === undefined) assertEquals(what, undefined, String(sample));
    else assertStringIncludes(what ?? "", part);
  }
});
