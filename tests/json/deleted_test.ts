import { assertEquals } from "@std/assert";
import { BULK_GET_SHAPE, DocumentScanner, Found } from "../../src/json/scan.ts";

/** Whether each document of one answer is deleted, its bytes pushed in two parts cut at `cut`. */
function deletedOf(text: string, cut: number): boolean[] {
  const bytes = new TextEncoder().encode(text);
  const scanner = new DocumentScanner(BULK_GET_SHAPE);
  const found: boolean[] = [];
  for (const part of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
    scanner.push(part);
    for (let what = scanner.next(); what !== Found.Nothing; what = scanner.next()) {
      if (what === Found.DocumentEnd) found.push(scanner.isDeleted);
    }
  }
  scanner.finish();
  return found;
}

Deno.test("DocumentScanner tells a deleted revision by its own member, wherever the bytes are cut", () => {
  const docs: [text: string, deleted: boolean][] = [
    ['{"_id":"a","_rev":"1-x","_deleted":true}', true],
    ['{"_id":"a","_rev":"1-x","_deleted":true,"_revisions":{"start":1,"ids":["x"]}}', true],
    ['{"_deleted":true}', true],
    ['{"_id":"_deleted","text":"_deleted\\":true","d":{"_deleted":true},"e":[{"_deleted":true}]}', false],
    ['{"_id":"a","_deleted":false}', false],
    ['{"_deleted_conflicts":["1-x"],"_d":1,"_":2,"":3}', false],
    ['{"a":"\\\\","_deleted":true}', true],
  ];
  const text = `{"results":[{"id":"a","docs":[${docs.map(([doc]) => `{"ok":${doc}}`).join(",")}]}]}`;
  for (let cut = 0; cut <= text.length; cut++) {
    assertEquals(deletedOf(text, cut), docs.map(([, deleted]) => deleted), `cut at ${cut}`);
  }
});
