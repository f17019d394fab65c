import { assert, assertEquals } from "@std/assert";
import { isNotFound } from "../../src/errors.ts";
import { openStore } from "../../src/store/open.ts";
import { readBytes, readText } from "../../src/store/read_whole.ts";

Deno.test("readBytes() and readText() read an object from end to end, and say not_found of a missing one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const store = await openStore({ bucket: `file://${folder}` });
    const text = "ä€".repeat(100_000);
    await store.replace("a/b", new TextEncoder().encode(text));
    assertEquals(new TextDecoder().decode(await readBytes(store, "a/b", {})), text);
    assertEquals(await readText(store, "a/b", {}), text);
    for (const read of [readBytes, readText]) {
      assert(await read(store, "a/c", {}).then(() => false, isNotFound));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
