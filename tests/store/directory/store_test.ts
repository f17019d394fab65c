import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fstatSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { StoreError } from "../../../src/errors.ts";
import { DirectoryStore, type DirectoryStoreOptions } from "../../../src/store/directory/store.ts";
import { directoryError } from "../../../src/store/directory/error.ts";
import { openStore } from "../../../src/store/open.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { bytesOf, listAll, pieces, readAll, type StoreUnderTest, testStore } from "../store_contract.ts";

async function openDirectory(options?: DirectoryStoreOptions): Promise<StoreUnderTest & { root: string }> {
  const above = await Deno.makeTempDir({ prefix: "couchdb-backup store-%2F-" });
  const root = `${above}/bucket`;
  return {
    store: options === undefined
      ? await openStore({ bucket: pathToFileURL(root).href })
      : new DirectoryStore(root, options),
    root,
    leftovers: () => filesBelow(root),
    largeBytes: 3_000_000,
    close: () => Deno.remove(above, { recursive: true }),
  };
}

async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  try {
    for await (const entry of Deno.readDir(folder)) {
      if (entry.name === ".couchdb-backup") continue;
      if (entry.isDirectory) found.push(...await filesBelow(`${folder}/${entry.name}`));
      else found.push(`${folder}/${entry.name}`);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}

const noHardLinks = (): Promise<void> =>
  Promise.reject(Object.assign(new Error("operation not permitted"), { code: "EPERM" }));

testStore("DirectoryStore", () => openDirectory());
testStore("DirectoryStore without hard links", () => openDirectory({ link: noHardLinks }));

Deno.test("DirectoryStore create() removes temporary files of dead processes after a day, and no younger ones", async () => {
  const given = await openDirectory();
  try {
    await given.store.create(["folder/first"], pieces(bytesOf("x")));
    const old = `${given.root}/folder/.couchdb-backup-123-00000000-0000-4000-8000-000000000000.tmp`;
    const young = `${given.root}/folder/.couchdb-backup-124-00000000-0000-4000-8000-000000000000.tmp`;
    const foreign = `${given.root}/folder/.note.tmp`;
    for (const path of [old, young, foreign]) await Deno.writeTextFile(path, "left");
    const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000);
    for (const path of [old, foreign]) await Deno.utime(path, yesterday, yesterday);
    await new DirectoryStore(given.root).create(["folder/second"], pieces(bytesOf("x")));
    assertEquals(
      new Set(await given.leftovers()),
      new Set([`${given.root}/folder/first`, `${given.root}/folder/second`, young, foreign]),
    );
    assertEquals((await listAll(given.store, "folder")).map((entry) => entry.name), [".note.tmp", "first", "second"]);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore create() does not make the folder above the bucket: its disk may not be mounted", async () => {
  const given = await openDirectory();
  try {
    const store = new DirectoryStore(`${given.root}/not/mounted`);
    const error = await assertRejects(() => store.create(["a"], pieces(bytesOf("x"))), StoreError);
    assertEquals(error.facts.code, "ENOENT");
    assertStringIncludes(error.hint ?? "", `"${given.root}/not/mounted"`);
    assertEquals(await given.leftovers(), []);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore create() names a file that stands in its way", async () => {
  const given = await openDirectory();
  try {
    await given.store.create(["a"], pieces(bytesOf("x")));
    const error = await assertRejects(() => given.store.create(["a/b"], pieces(bytesOf("x"))), StoreError);
    assert(["ENOTDIR", "EEXIST"].includes(error.facts.code), error.message);
    assertEquals(error.facts.key, "a/b");
    assertEquals(await readAll(given.store, "a"), bytesOf("x"));
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore create() says when a name is too long for the file system", async () => {
  const given = await openDirectory();
  try {
    const error = await assertRejects(
      () => given.store.create([`a/${"x".repeat(300)}`], pieces(bytesOf("x"))),
      StoreError,
    );
    assertEquals(error.facts.code, "ENAMETOOLONG");
    assertEquals(await given.leftovers(), []);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore read() says cut_off when a file gets shorter while it is read", async () => {
  const given = await openDirectory();
  try {
    await given.store.create(["shrinking"], pieces(new Uint8Array(1_000_000)));
    const reader = (await given.store.read("shrinking")).getReader();
    await reader.read();
    await Deno.truncate(`${given.root}/shrinking`, 300_000);
    const error = await assertRejects(async () => {
      while (!(await reader.read()).done);
    }, StoreError);
    assertEquals([error.facts.code, error.facts.key], ["cut_off", "shrinking"]);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore locate() gives a URL that leads to the file", async () => {
  const given = await openDirectory();
  try {
    const { key } = await given.store.create(["account%2Fab/100% #1?"], pieces(bytesOf("found")));
    assertEquals(await Deno.readTextFile(fileURLToPath(given.store.locate(key))), "found");
    assertEquals(fileURLToPath(given.store.url), given.root);
  } finally {
    await given.close();
  }
});

Deno.test("directoryError() names the code, its meaning and what to do", () => {
  const place = { action: "store" as const, key: "a/b", url: "file:///mnt/usb", path: "/mnt/usb/a/b" };
  const cases: [code: string, message: RegExp, hint: RegExp][] = [
    ["ENOSPC", /ENOSPC, no space is left/, /Free space .*"\/mnt\/usb\/a\/b"/],
    ["EDQUOT", /quota/, /quota/],
    ["EACCES", /permission is denied/, /rights on "\/mnt\/usb\/a\/b"/],
    ["EROFS", /read-only/, /writable/],
    ["ENOENT", /no such folder/, /mount/],
    ["EMFILE", /too many files/, /LimitNOFILE/],
  ];
  for (const [code, message, hint] of cases) {
    const error = directoryError(Object.assign(new Error("x"), { code }), place);
    assertEquals(error.facts, { code, key: "a/b" });
    assert(message.test(error.message), error.message);
    assert(hint.test(error.hint ?? ""), error.hint);
    assertStringIncludes(error.message, 'Cannot store "a/b" in "file:///mnt/usb"');
  }
  assertStringIncludes(directoryError(new Error("strange"), place).message, "unknown, strange");
  const kept = new Error('Requires all access to "/proc/x", run again with the --allow-all flag');
  const { message } = directoryError(kept, place);
  assertStringIncludes(message, 'Deno does not let programs use "/proc/x": choose a path outside /proc, /sys and /dev');
  assert(!message.includes("--allow-all"), message);
});

for (const code of ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOTTY", "ENOENT"]) {
  Deno.test(`DirectoryStore passes over a sync that the file system does not have, and says so once: ${code}`, async () => {
    const log = new RecordedLog();
    const sync = () => Promise.reject(Object.assign(new Error("fsync"), { code }));
    const given = await openDirectory({ sync, log });
    try {
      for (const key of ["a/b/c", "d"]) {
        await given.store.create([key], pieces(bytesOf(key)));
        await given.store.replace(`${key}-replaced`, bytesOf(key));
        assertEquals(await readAll(given.store, key), bytesOf(key));
      }
      assertEquals(log.lines.map(({ level, fields }) => [level, fields["code"]]), [["warn", code]]);
      assertEquals((await given.leftovers()).length, 4);
    } finally {
      await given.close();
    }
  });
}

Deno.test("DirectoryStore fails where a sync fails in earnest", async () => {
  const given = await openDirectory({ sync: () => Promise.reject(Object.assign(new Error("fsync"), { code: "EIO" })) });
  try {
    const error = await assertRejects(() => given.store.create(["a"], pieces(bytesOf("x"))), StoreError);
    assertEquals(error.facts.code, "EIO");
    assertEquals(await given.leftovers(), []);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore takes no write for done that was not: one of no bytes, one that did not reach the file", async () => {
  for (
    const [write, code] of [
      [() => Promise.resolve(0), "ENOSPC"],
      [
        (_: number, bytes: Uint8Array, start: number) => Promise.resolve(bytes.length - start),
        "cut_off",
      ],
    ] as const
  ) {
    const given = await openDirectory({ write });
    try {
      const error = await assertRejects(() => given.store.create(["a"], pieces(bytesOf("x"))), StoreError);
      assertEquals(error.facts.code, code);
      assertEquals(await given.leftovers(), []);
    } finally {
      await given.close();
    }
  }
});

Deno.test("DirectoryStore says why it cannot look for the marker of its folder, once and with the system's code", async () => {
  const given = await openDirectory();
  try {
    await Deno.mkdir(given.root);
    await Deno.symlink(".couchdb-backup", `${given.root}/.couchdb-backup`);
    const error = await assertRejects(() => given.store.create(["a"], pieces(bytesOf("x"))), StoreError);
    assertEquals(error.facts.code, "ELOOP");
    assertEquals(error.message.match(/Cannot store/g)?.length, 1, error.message);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore syncs a chunk's name before it names what speaks of it, and not for each chunk", async () => {
  const synced: string[] = [];
  const given = await openDirectory({
    sync: (file) => {
      synced.push(fstatSync(file).isDirectory() ? "folder" : "file");
      return Promise.resolve();
    },
  });
  const body = () => pieces(new Uint8Array(10));
  try {
    await given.store.create(["f/manifest"], body());
    synced.length = 0;
    for (const name of ["0", "1", "2"]) await given.store.create([`f/${name}`], body(), { kind: "chunk" });
    assertEquals(synced, ["file", "file", "file"]);
    synced.length = 0;
    await given.store.create(["f/manifest-2"], body());
    assertEquals(synced, ["file", "folder", "folder"], "the chunks' names, then its own");
    synced.length = 0;
    await given.store.replace("f/manifest", new Uint8Array(3));
    assertEquals(synced, ["file", "folder"]);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore syncs what is followed with what follows it, or when it is told to settle", async () => {
  const synced: string[] = [];
  const given = await openDirectory({
    sync: (file) => {
      synced.push(fstatSync(file).isDirectory() ? "folder" : "file");
      return Promise.resolve();
    },
  });
  const body = () => pieces(new Uint8Array(10));
  try {
    await given.store.create(["f/0"], body(), { kind: "chunk" });
    synced.length = 0;
    await given.store.create(["f/manifest-1"], body(), { isFollowed: true });
    assertEquals(synced, ["file", "folder"], "the chunk's name is on the disk before it is spoken of");
    synced.length = 0;
    await given.store.replace("f/manifest", new Uint8Array(3), { isCopy: true });
    assertEquals(synced, ["file", "folder"], "both names by one sync");
    synced.length = 0;
    await given.store.create(["f/manifest-2"], body(), { isFollowed: true });
    await given.store.settle?.("f");
    assertEquals(synced, ["file", "folder"]);
    synced.length = 0;
    await given.store.create(["f/manifest-3"], body(), { isFollowed: true });
    await given.store.replace("f/other", new Uint8Array(3));
    assertEquals(synced, ["file", "file", "folder", "folder"], "what is no copy may speak of it");
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore stores nothing before the names of the folders that it has made are on the disk", async () => {
  let root = "";
  const synced = new Set<string>();
  const given = await openDirectory({
    sync: async (file) => {
      const { ino } = fstatSync(file);
      await new Promise((resolve) => setTimeout(resolve, 20));
      synced.add(String(ino));
    },
  });
  root = given.root;
  try {
    await given.store.create(["2026/11/28/db/0"], pieces(bytesOf("x")), { kind: "chunk" });
    for (const folder of ["2026/11/28", "2026/11", "2026", "", ".."]) {
      assert(synced.has(String((await Deno.stat(`${root}/${folder}`)).ino)), `"${folder}" is not synced`);
    }
    assert(
      !synced.has(String((await Deno.stat(`${root}/2026/11/28/db`)).ino)),
      "a chunk's name waits for what names it",
    );
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore syncs a folder once for all who ask while another sync of it is under way, and not too early", async () => {
  let folders = 0;
  const given = await openDirectory({
    sync: async (file) => {
      if (!fstatSync(file).isDirectory()) return;
      folders++;
      await new Promise((resolve) => setTimeout(resolve, 200));
    },
  });
  try {
    await given.store.create(["f/a"], pieces(new Uint8Array(10)));
    folders = 0;
    const names = Array.from({ length: 10 }, (_, n) => `f/${n}`);
    await Promise.all(names.map((name) => given.store.create([name], pieces(new Uint8Array(10)))));
    assert(folders >= 2 && folders < 10, `${folders} syncs`);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore makes a folder anew that somebody has removed meanwhile", async () => {
  const given = await openDirectory();
  try {
    await given.store.create(["f/a"], pieces(new Uint8Array(10)));
    await Deno.remove(`${given.root}/f`, { recursive: true });
    await given.store.create(["f/b"], pieces(new Uint8Array(10)));
    assertEquals((await listAll(given.store, "f")).map(({ name }) => name), ["b"]);
  } finally {
    await given.close();
  }
});

Deno.test("DirectoryStore makes what nobody else can read, unless the bucket folder is handed to a group", async () => {
  const place = await Deno.makeTempDir({ prefix: "couchdb-backup-modes-" });
  const umask = Deno.umask(0);
  const modesBelow = async (folder: string): Promise<Set<string>> => {
    const modes = new Set<string>();
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const path = `${folder}/${name}`;
      const { mode } = await Deno.stat(path);
      if (name !== ".couchdb-backup") {
        modes.add(`${isDirectory ? "folder" : "file"} ${((mode ?? 0) & 0o7777).toString(8)}`);
      }
      if (isDirectory) { for (const one of await modesBelow(path)) modes.add(one); }
    }
    return modes;
  };
  const fill = async (root: string, link?: () => Promise<void>) => {
    const stateFolder = `${place}/state`;
    const store = new DirectoryStore(root, link === undefined ? { stateFolder } : { stateFolder, link });
    await store.create(["a/b/chunk"], pieces(bytesOf("x")));
    await store.replace("a/c", new Uint8Array(1));
    return [...await modesBelow(root)].sort();
  };
  try {
    const noLinks = () => Promise.reject(Object.assign(new Error(), { code: "EPERM" }));
    assertEquals(await fill(`${place}/own`), ["file 600", "folder 700"]);
    assertEquals(await fill(`${place}/without links`, noLinks), ["file 600", "folder 700"]);
    assertEquals((await Deno.stat(`${place}/own`)).mode! & 0o777, 0o700);
    await Deno.mkdir(`${place}/open`, { mode: 0o755 });
    assertEquals(await fill(`${place}/open`), ["file 600", "folder 700"]);
    await Deno.mkdir(`${place}/shared`);
    await Deno.chmod(`${place}/shared`, 0o2750);
    assertEquals(await fill(`${place}/shared`), ["file 640", "folder 2750"]);
    assertEquals([...await modesBelow(`${place}/state`)].sort(), ["file 600", "folder 700"]);
  } finally {
    Deno.umask(umask);
    await Deno.remove(place, { recursive: true });
  }
});
