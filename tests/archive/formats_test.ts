import { assertEquals } from "@std/assert";
import { isGzip, recogniseFormat } from "../../src/archive/formats.ts";

const HEADER = '{"name":"@cloudant/couchbackup","version":"2.11.12","mode":"full","attachments":true}\n';

Deno.test("recogniseFormat() tells files of documents apart by how they begin", () => {
  const cases: [string, string | undefined, number?][] = [
    ['{"results":[', "rows of _bulk_get"],
    ['\n{ "results" : [\r\n', "rows of _bulk_get"],
    ['{"docs":[', "a body of _bulk_docs"],
    ['{"new_edits":false,"docs":[', "a body of _bulk_docs"],
    ['{"total_rows":3,"offset":null,"rows":[', "an answer of _all_docs"],
    ['{"update_seq":"1-g1AAA","total_rows":3,"rows":[', "an answer of _all_docs"],
    ['{"results":[\n{"seq":"1-g1AAA","id":"a","changes":[{"rev":"1-a"}]', "an answer of _changes"],
    ['{"results":[{"id":"seq","docs":[', "rows of _bulk_get"],
    ["[", "arrays of documents"],
    [" \n[{", "arrays of documents"],
    [`${HEADER}[{`, "a file of couchbackup", HEADER.length],
    [HEADER, "a file of couchbackup", HEADER.length],
    ['{"docs":{}}', undefined],
    ['{"error":"not_found","reason":"missing"}', undefined],
    ['{"_id":"a","docs":{"rows":[', undefined],
    ['{"name":"something else"}\n[', undefined],
    ["hello", undefined],
    ["", undefined],
  ];
  for (const [text, name, skipBytes = 0] of cases) {
    const format = recogniseFormat(new TextEncoder().encode(text));
    assertEquals([format?.name, format?.skipBytes ?? 0], [name, skipBytes], JSON.stringify(text));
  }
});

Deno.test("isGzip() knows gzip's first two bytes", () => {
  assertEquals([[0x1f, 0x8b, 8], [0x1f], [0x7b, 0x22], []].map((bytes) => isGzip(Uint8Array.from(bytes))), [
    true,
    false,
    false,
    false,
  ]);
});
