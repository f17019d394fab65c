import { assert, assertEquals, assertRejects } from "@std/assert";
import { fstatSync } from "node:fs";
import { StoreError } from "../../../src/errors.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { bytesOf, pieces, readAll } from "../store_contract.ts";
import { until } from "../../until.ts";
import { openDirectory } from "./directory_setup.ts";

/** A store that notes what it syncs. */
async function openWatched() {
  const synced: ("file" | "folder")[] = [];
  const sync = (file: number) => {
    synced.push(fstatSync(file).isDirectory() ? "folder" : "file");
    return Promise.resolve();
  };
  return Object.assign(await openDirectory({ sync }), { synced });
}

for (const code of ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOTTY", "ENOENT"]) {
  Deno.test(`DirectoryStore passes over a sync that the file system does not have, and says so once: ${code}`, async () => {
    const log = new RecordedLog();
    const sync = () => Promise.reject(Object.assign(new Error("fsync"), { code }));
    await using given = await openDirectory({ sync, log });
    for (const key of ["a/b/c", "d"]) {
      await given.store.create([key], pieces(bytesOf(key)));
      await given.store.replace(`${key}-replaced`, bytesOf(key));
      assertEquals(await readAll(given.store, key), bytesOf(key));
    }
    assertEquals(log.lines.map(({ level, fields }) => [level, fields["code"]]), [["warn", code]]);
    assertEquals((await given.leftovers()).length, 4);
  });
}

Deno.test("DirectoryStore fails where a sync fails in earnest", async () => {
  await using given = await openDirectory({
    sync: () => Promise.reject(Object.assign(new Error("fsync"), { code: "EIO" })),
  });
  const error = await assertRejects(() => given.store.create(["a"], pieces(bytesOf("x"))), StoreError);
  assertEquals(error.facts.code, "EIO");
  assertEquals(await given.leftovers(), []);
});

Deno.test("DirectoryStore syncs a chunk's name before it names what speaks of it, and not for each chunk", async () => {
  await using given = await openWatched();
  const body = () => pieces(new Uint8Array(10));
  await given.store.create(["f/manifest"], body());
  given.synced.length = 0;
  for (const name of ["0", "1", "2"]) await given.store.create([`f/${name}`], body(), { kind: "chunk" });
  assertEquals(given.synced, ["file", "file", "file"]);
  given.synced.length = 0;
  await given.store.create(["f/manifest-2"], body());
  assertEquals(given.synced, ["file", "folder", "folder"], "the chunks' names, then its own");
  given.synced.length = 0;
  await given.store.replace("f/manifest", new Uint8Array(3));
  assertEquals(given.synced, ["file", "folder"]);
});

Deno.test("DirectoryStore syncs what is followed with what follows it, or when it is told to settle", async () => {
  await using given = await openWatched();
  const body = () => pieces(new Uint8Array(10));
  await given.store.create(["f/0"], body(), { kind: "chunk" });
  given.synced.length = 0;
  await given.store.create(["f/manifest-1"], body(), { isFollowed: true });
  assertEquals(given.synced, ["file", "folder"], "the chunk's name is on the disk before it is spoken of");
  given.synced.length = 0;
  await given.store.replace("f/manifest", new Uint8Array(3), { isCopy: true });
  assertEquals(given.synced, ["file", "folder"], "both names by one sync");
  given.synced.length = 0;
  await given.store.create(["f/manifest-2"], body(), { isFollowed: true });
  await given.store.settle?.("f");
  assertEquals(given.synced, ["file", "folder"]);
  given.synced.length = 0;
  await given.store.create(["f/manifest-3"], body(), { isFollowed: true });
  await given.store.replace("f/other", new Uint8Array(3));
  assertEquals(given.synced, ["file", "file", "folder", "folder"], "what is no copy may speak of it");
});

Deno.test("DirectoryStore syncs the name of what an object is stored after before it names that object", async () => {
  for (const way of ["create", "replace"] as const) {
    await using given = await openWatched();
    await given.store.create(["f/manifest-0"], pieces(new Uint8Array(10)));
    given.synced.length = 0;
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const first = given.store.create(["f/manifest-1"], pieces(new Uint8Array(10)), { isFollowed: true, after: begun });
    const after = first.then(() => true);
    const second = way === "create"
      ? given.store.create(["f/manifest-2"], pieces(new Uint8Array(10)), { after })
      : given.store.replace("f/other", new Uint8Array(3), { after });
    await until(() => given.synced.length === 2, "both are on the disk, but for their names");
    assertEquals(given.synced.splice(0), ["file", "file"]);
    begin();
    await Promise.all([first, second]);
    assertEquals(given.synced, ["folder", "folder"], way);
  }
});

Deno.test("DirectoryStore stores nothing before the names of the folders that it has made are on the disk", async () => {
  const synced = new Set<string>();
  await using given = await openDirectory({
    sync: async (file) => {
      const { ino } = fstatSync(file);
      await new Promise((resolve) => setTimeout(resolve, 20));
      synced.add(String(ino));
    },
  });
  const { root } = given;
  await given.store.create(["2026/11/28/db/0"], pieces(bytesOf("x")), { kind: "chunk" });
  for (const folder of ["2026/11/28", "2026/11", "2026", "", ".."]) {
    assert(synced.has(String((await Deno.stat(`${root}/${folder}`)).ino)), `"${folder}" is not synced`);
  }
  assert(
    !synced.has(String((await Deno.stat(`${root}/2026/11/28/db`)).ino)),
    "a chunk's name waits for what names it",
  );
});

Deno.test("DirectoryStore waits for the names of folders that another object, which is still written, has made", async () => {
  const synced = new Set<number>();
  await using given = await openDirectory({
    sync: (file) => {
      synced.add(fstatSync(file).ino);
      return Promise.resolve();
    },
  });
  const { promise: isWritten, resolve: end } = Promise.withResolvers<void>();
  const { promise: isBegun, resolve: begin } = Promise.withResolvers<void>();
  const body = (async function* () {
    begin();
    await isWritten;
    yield bytesOf("x");
  })();
  const large = given.store.create(["2026/11/28/large/0"], body, { kind: "chunk" });
  await isBegun;
  await given.store.create(["2026/11/28/small/0"], pieces(bytesOf("x")), { kind: "chunk" });
  await given.store.create(["2026/11/28/small/manifest"], pieces(bytesOf("x")));
  for (const folder of ["2026/11/28/small", "2026/11/28", "2026/11", "2026", ""]) {
    assert(synced.has((await Deno.stat(`${given.root}/${folder}`)).ino ?? 0), `"${folder}" is not synced`);
  }
  end();
  await large;
});

Deno.test("DirectoryStore syncs a folder once for all who ask while another sync of it is under way, and not too early", async () => {
  let folders = 0;
  const { promise: isBegun, resolve: begin } = Promise.withResolvers<void>();
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>();
  await using given = await openDirectory({
    sync: async (file) => {
      if (!fstatSync(file).isDirectory()) return;
      folders++;
      begin();
      await isOver;
    },
  });
  await Deno.mkdir(`${given.root}/f`, { recursive: true });
  const isReady = new Set<string>();
  const create = async (name: string) => {
    await given.store.create([`f/${name}`], pieces(new Uint8Array(10)));
    isReady.add(name);
  };
  const first = create("first");
  await isBegun;
  const others = Array.from({ length: 10 }, (_, n) => create(String(n)));
  await until(async () => (await given.leftovers()).length === 11, "all have their names");
  assertEquals([folders, isReady.size], [1, 0]);
  end();
  await Promise.all([first, ...others]);
  assertEquals(folders, 2);
});
