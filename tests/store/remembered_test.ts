import { assertEquals, assertRejects } from "@std/assert";
import { pathToFileURL } from "node:url";
import { StoreError } from "../../src/errors.ts";
import { openStore } from "../../src/store/open.ts";
import { remembered } from "../../src/store/remembered.ts";
import type { Store } from "../../src/store/store.ts";
import { readObjectText } from "../../src/store/whole.ts";

Deno.test("remembered() lists a folder and reads what is kept once, whoever writes over the bytes, and all else each time", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-remembered-" });
  try {
    const near = await openStore({ bucket: pathToFileURL(root).href });
    await near.replace("a/kept", new TextEncoder().encode("kept"));
    await near.replace("a/other", new TextEncoder().encode("other"));
    const asked: string[] = [];
    const counted = new Proxy(near, {
      get(_, name: keyof Store) {
        const member = near[name];
        if (typeof member !== "function") return member;
        return (...call: unknown[]) => {
          asked.push(`${name} ${String(call[0])}`);
          return (member as (...call: unknown[]) => unknown).apply(near, call);
        };
      },
    });
    const store = remembered(counted, (key) => key !== "a/other");
    for (let n = 0; n < 2; n++) {
      for await (const bytes of await store.read("a/kept")) {
        assertEquals(new TextDecoder().decode(bytes), "kept");
        bytes.fill(0);
      }
      assertEquals(await readObjectText(store, "a/other"), "other");
      assertEquals((await Array.fromAsync(store.list("a"))).map(({ name }) => name), ["kept", "other"]);
      assertEquals((await Array.fromAsync(store.list("a", { prefix: "o" }))).map(({ name }) => name), ["other"]);
      await assertRejects(() => readObjectText(store, "a/none"), StoreError);
    }
    assertEquals(asked.toSorted(), [
      "list a",
      "list a",
      "list a",
      "read a/kept",
      "read a/none",
      "read a/none",
      "read a/other",
      "read a/other",
    ]);
    await near.replace("a/none", new TextEncoder().encode("there now"));
    assertEquals(await readObjectText(store, "a/none"), "there now");
    assertEquals(store.url, near.url);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
