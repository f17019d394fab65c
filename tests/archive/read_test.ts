import { assertEquals } from "@std/assert";
import { readFolder } from "../../src/archive/read.ts";
import { FOLDER, inStore } from "./folder_setup.ts";

Deno.test("readFolder() numbers on behind the highest chunk, and passes over what is none", async () => {
  await inStore(async (store, put) => {
    const empty = { objects: new Map(), nextNumber: 0, chunks: new Map(), hasManifest: false, hasCheckpoint: false };
    assertEquals(await readFolder(store, FOLDER, {}), empty, "a folder that does not exist");
    for (const name of ["0000000.json.gz", "0000007.json.gz", "notes.txt", "99.json.gz", "0000009.json.gz/inner"]) {
      await put(name, "12345");
    }
    assertEquals(await readFolder(store, FOLDER, {}), {
      ...empty,
      objects: new Map([["0000000.json.gz", 5], ["0000007.json.gz", 5], ["99.json.gz", 5], ["notes.txt", 5]]),
      nextNumber: 8,
      chunks: new Map([["0000000.json.gz", 5], ["0000007.json.gz", 5]]),
    });
    await put("manifest.json", "{}");
    await put("checkpoint.json", "{}");
    const { hasManifest, hasCheckpoint } = await readFolder(store, FOLDER, {});
    assertEquals([hasManifest, hasCheckpoint], [true, true]);
  });
});
