import { assertEquals, assertRejects } from "@std/assert";
import { StoreError } from "../../src/errors.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { readObjectBytes, readObjectText } from "../../src/store/whole.ts";

Deno.test("readObjectText() and readObjectBytes() give a whole object, and refuse one beyond their limit", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-whole-" });
  try {
    const store = new DirectoryStore(root);
    const bytes = new TextEncoder().encode("ä".repeat(100_000));
    await store.replace("a/b", bytes, {});
    assertEquals(await readObjectBytes(store, "a/b"), bytes);
    assertEquals(await readObjectText(store, "a/b"), "ä".repeat(100_000));
    assertEquals(await readObjectText(store, "a/b", { mostBytes: 200_000 }), "ä".repeat(100_000));
    for (const read of [readObjectText, readObjectBytes]) {
      const error = await assertRejects(
        () => read(store, "a/b", { mostBytes: 199_999 }),
        StoreError,
        '/a/b": it has more',
      );
      assertEquals([error.facts.code, error.facts.key], ["too_large", "a/b"]);
      await assertRejects(() => read(store, "a/b", { mostBytes: 1 << 17 }), StoreError, "more than 128 KiB,");
      await assertRejects(() => read(store, "a/b", { mostBytes: 1 << 10 }), StoreError, "more than 1 KiB,");
      const missing = await assertRejects(() => read(store, "a/c"), StoreError);
      assertEquals(missing.facts.code, "not_found");
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
