import { assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";
import { readSeen, seenFilter, stateKey, storeSeen } from "../../src/archive/seen_states.ts";
import { ArchiveError } from "../../src/errors.ts";
import { openStore } from "../../src/store/open.ts";

Deno.test("readSeen() takes what storeSeen() has stored, and nothing with other bytes in front of it", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-seen-" });
  try {
    const store = await openStore({ bucket: pathToFileURL(root).href });
    const { signal } = new AbortController();
    for (const count of [20, 5000]) {
      const filter = seenFilter(count);
      const rows = Array.from({ length: count }, (_, index) => ({ id: `d${index}`, revs: [`1-${index}`] }));
      for (const row of rows) filter.add(stateKey(row));
      const seen = await storeSeen(store, { folder: "a", run: "0123abcd", filter, signal });
      assertEquals([seen.bits === null, seen.object === null], [count > 1000, count < 1000]);
      const read = await readSeen(store, { folder: "a", seen, signal });
      assertEquals(rows.every((row) => read.mayHave(stateKey(row))), true);
      // As a resumed run stored it once: behind the filter of its listing.
      const wrong = new Uint8Array([...new Uint8Array(1020), ...read.bytes]);
      const { key } = await store.create(
        [`a/wrong-${count}.bin`],
        (async function* () {
          yield wrong;
        })(),
        { signal },
      );
      const sha256 = createHash("sha256").update(wrong).digest("hex");
      const object = { name: key.slice(2), bytes: wrong.length, sha256 };
      await assertRejects(
        () => readSeen(store, { folder: "a", seen: { ...seen, bits: null, object }, signal }),
        ArchiveError,
        "the filter of what a backup has seen: it is damaged",
      );
      const bits = wrong.toBase64({ alphabet: "base64url" });
      await assertRejects(
        () => readSeen(store, { folder: "a", seen: { ...seen, bits, object: null }, signal }),
        ArchiveError,
      );
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
