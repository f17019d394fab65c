import { assertEquals } from "@std/assert";
import { recogniseFormat } from "../../src/archive/formats.ts";

const HEADER = '{"name":"@cloudant/couchbackup","version":"2.11.12","mode":"full","attachments":true}\n';
const DUMP_HEADER =
  '{"version":"1.2.9","db_type":"http","start_time":"2026-11-25T18:00:00.000Z","db_info":{"doc_count":2}}\n';

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
    ['{"results":[{"total_rows":3,"offset":0,"rows":[{"id":"a"', "an answer of _all_docs/queries"],
    ['{"results":[{"rows":[]}]}', "an answer of _all_docs/queries"],
    ['{"bookmark":"nil","warning":"No \\"index\\"","docs":[', "a body of _bulk_docs"],
    ['{"last_seq":5,"pending":0,"results":[{"id":"a","changes":[', "an answer of _changes"],
    ['[{"ok":{"_id":"a"', "an answer of open_revs"],
    ['[{"missing":"1-a"}]', "an answer of open_revs"],
    ['[{"_id":"a","ok":1,"id":1,"value":2,"doc":{}}', "arrays of documents"],
    ['[{"ok":1,"_id":"a"}', "arrays of documents"],
    ['[{"id":"a","key":"a","value":{"rev":"1-a"},"doc":{', "an array of rows"],
    ['[{"seq":1,"id":"a","changes":[{"rev":"1-a"}]', "an array of rows"],
    ['[{"id":"a","docs":[{"ok":{', "an array of rows of _bulk_get"],
    ['{"_id":"a"}\n{"_id":"b"}', "documents one after the other"],
    ['{"_id":"a","docs":{"rows":[', "documents one after the other"],
    ['{"results":[1],"_id":"a"}', "documents one after the other"],
    ['{"seq":"1-g1","id":"a","changes":[],"doc":{', "a continuous feed of _changes"],
    ['{"id":"a","key":"a","value":{},"doc":{', "rows one after the other"],
    ['{"id":"a","docs":[{"ok":{', "rows of _bulk_get one after the other"],
    [DUMP_HEADER, "a file of pouchdb-dump", DUMP_HEADER.length],
    [`\ufeff${HEADER}`, "a file of couchbackup", HEADER.length + 3],
    ['\ufeff{"docs":[', "a body of _bulk_docs", 3],
    ['{"docs":{}}', undefined],
    ['{"error":"not_found","reason":"missing"}', undefined],
    ['{"name":"something else"}\n[', undefined],
    ["hello", undefined],
    ["", undefined],
  ];
  for (const [text, name, skipBytes = 0] of cases) {
    const format = recogniseFormat(new TextEncoder().encode(text));
    assertEquals([format?.name, format?.skipBytes ?? 0], [name, skipBytes], JSON.stringify(text));
  }
});
