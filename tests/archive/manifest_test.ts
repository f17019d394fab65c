import { assertEquals } from "@std/assert";
import { sumChunks } from "../../src/archive/manifest.ts";
import { chunk } from "./folder_setup.ts";

Deno.test("sumChunks() adds up what the chunks say", () => {
  const chunks = [{ ...chunk(0), deleted: 2, absent: 1 }, { ...chunk(1), leaf_revisions: 12, bytes: 50 }];
  assertEquals(sumChunks(chunks), {
    documents: 20,
    leaf_revisions: 22,
    deleted: 2,
    absent: 1,
    chunks: 2,
    bytes: 150,
    compressed_bytes: 10,
  });
  assertEquals(Object.values(sumChunks([])), [0, 0, 0, 0, 0, 0, 0]);
});
