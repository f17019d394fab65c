import { assertEquals, assertRejects } from "@std/assert";
import * as z from "zod";
import { StoreError } from "../../src/errors.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { jsonBytes } from "../../src/json/indented.ts";
import { readJson } from "../../src/store/json.ts";

Deno.test("readJson() gives back what jsonBytes() wrote, and nothing of what is gone, cut off or of another shape", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-json-" });
  try {
    const store = new DirectoryStore(root);
    const schema = z.object({ name: z.string() });
    const read = (key: string) => readJson(store, key, { schema, mostBytes: 100 });
    await store.replace("a/b", jsonBytes({ name: "é" }));
    assertEquals(await Deno.readTextFile(`${root}/a/b`), '{\n  "name": "é"\n}\n');
    assertEquals(await read("a/b"), { name: "é" });
    assertEquals(await read("a/c"), undefined);
    for (const text of ["", '{"name":"', "{}", "null"]) {
      await store.replace("a/b", new TextEncoder().encode(text));
      assertEquals(await read("a/b"), undefined, text);
    }
    await store.replace("a/b", new Uint8Array(101));
    assertEquals((await assertRejects(() => read("a/b"), StoreError)).facts.code, "too_large");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
