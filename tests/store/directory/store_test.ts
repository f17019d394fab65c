import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fstatSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { StoreError } from "../../../src/errors.ts";
import { FileCalls } from "../../../src/store/directory/calls.ts";
import { DirectoryStore } from "../../../src/store/directory/store.ts";
import { directoryError } from "../../../src/store/directory/error.ts";
import { bytesOf, listAll, pieces, readAll, testStore } from "../store_contract.ts";
import { runInOwnProcess } from "../../own_process.ts";
import { until } from "../../until.ts";
import { openDirectory } from "./directory_setup.ts";

const noHardLinks = (): Promise<void> =>
  Promise.reject(Object.assign(new Error("operation not permitted"), { code: "EPERM" }));

testStore("DirectoryStore", () => openDirectory());
testStore("DirectoryStore without hard links", () => openDirectory({ link: noHardLinks }));

Deno.test("DirectoryStore create() removes temporary files of dead processes after a day, and no younger ones", async () => {
  await using given = await openDirectory();
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
  const all = await Array.fromAsync(given.store.list("folder", { unfinished: true }));
  const unfinished = all.filter((entry) => entry.kind === "object" && entry.isUnfinished);
  assertEquals([all.length, unfinished.map(({ name }) => `${given.root}/folder/${name}`)], [4, [young]]);
});

Deno.test("DirectoryStore create() takes what this process is writing for no left-over, however old it looks", async () => {
  await using given = await openDirectory();
  await given.store.create(["folder/first"], pieces(bytesOf("x")));
  const written = Promise.withResolvers<void>();
  const slow = given.store.create(
    ["folder/slow"],
    (async function* () {
      yield bytesOf("y");
      await written.promise;
    })(),
  );
  const isTemp = (path: string) => path.endsWith(".tmp");
  await until(async () => (await given.leftovers()).some(isTemp), "the body is being written");
  // As where the clock was set by a day meanwhile, or a server of files has another one.
  const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000);
  for (const path of (await given.leftovers()).filter(isTemp)) await Deno.utime(path, yesterday, yesterday);
  await new DirectoryStore(given.root).create(["folder/second"], pieces(bytesOf("x")));
  written.resolve();
  await slow;
  assertEquals(
    new Set(await given.leftovers()),
    new Set(["first", "second", "slow"].map((name) => `${given.root}/folder/${name}`)),
  );
});

Deno.test("DirectoryStore create() does not make the folder above the bucket: its disk may not be mounted", async () => {
  await using given = await openDirectory();
  const store = new DirectoryStore(`${given.root}/not/mounted`);
  const error = await assertRejects(() => store.create(["a"], pieces(bytesOf("x"))), StoreError);
  assertEquals(error.facts.code, "ENOENT");
  assertStringIncludes(error.hint ?? "", `"${given.root}/not/mounted"`);
  assertEquals(await given.leftovers(), []);
});

Deno.test("DirectoryStore create() names a file that stands in its way", async () => {
  await using given = await openDirectory();
  await given.store.create(["a"], pieces(bytesOf("x")));
  const error = await assertRejects(() => given.store.create(["a/b"], pieces(bytesOf("x"))), StoreError);
  assert(["ENOTDIR", "EEXIST"].includes(error.facts.code), error.message);
  assertEquals(error.facts.key, "a/b");
  assertEquals(
    error.hint,
    `Remove or rename the file in the way: what should be a folder above "${given.root}/a/b" is a file. Or choose another bucket`,
  );
  assertEquals(await readAll(given.store, "a"), bytesOf("x"));
});

Deno.test("DirectoryStore create() says when a name is too long for the file system", async () => {
  await using given = await openDirectory();
  const error = await assertRejects(
    () => given.store.create([`a/${"x".repeat(300)}`], pieces(bytesOf("x"))),
    StoreError,
  );
  assertEquals(error.facts.code, "ENAMETOOLONG");
  assertStringIncludes(error.hint ?? "", "One of its names has 300 bytes, and 255 are the most");
  const long = Array.from({ length: 30 }, () => "x".repeat(200)).join("/");
  const whole = await assertRejects(() => given.store.create([long], pieces(bytesOf("x"))), StoreError);
  assertEquals(whole.hint, "Shorten prefix or suffix, or use an S3 bucket");
  assertEquals(await given.leftovers(), []);
});

Deno.test("DirectoryStore lists a symbolic link to a folder where the folder would be", async () => {
  await using given = await openDirectory();
  for (const name of ["elsewhere", "a-b", "a", "a0"]) {
    await Deno.mkdir(`${given.root}/folder/${name}`, { recursive: true });
  }
  await Deno.remove(`${given.root}/folder/a`);
  await Deno.symlink("elsewhere", `${given.root}/folder/a`);
  const found = (await listAll(given.store, "folder")).map(({ kind, name }) => `${kind} ${name}`);
  assertEquals(found, ["folder a-b", "folder a", "folder a0", "folder elsewhere"]);
});

Deno.test("DirectoryStore takes a symbolic link that leads to itself for nothing, and lists what lies beside it", async () => {
  await using given = await openDirectory();
  await given.store.create(["folder/a"], pieces(bytesOf("x")));
  await Deno.symlink("loop", `${given.root}/folder/loop`);
  await Deno.symlink("nowhere", `${given.root}/folder/lost`);
  assertEquals((await listAll(given.store, "folder")).map(({ name }) => name), ["a"]);
  for (const key of ["folder/loop", "folder/loop/a", "folder/lost"]) {
    assertEquals(await given.store.stat(key), undefined);
    const error = await assertRejects(() => given.store.read(key), StoreError);
    assertEquals(error.facts.code, "not_found");
  }
  assertEquals(await listAll(given.store, "folder/loop"), []);
  const error = await assertRejects(() => given.store.create(["folder/loop/a"], pieces(bytesOf("x"))), StoreError);
  assertEquals(error.facts.code, "EEXIST");
  assertStringIncludes(error.hint ?? "", "what should be a folder above");
});

Deno.test("DirectoryStore read() does not wait for a pipe that stands for an object", async () => {
  await using given = await openDirectory();
  await given.store.create(["a"], pieces(bytesOf("x")));
  const pipe = `${given.root}/pipe`;
  assertEquals((await new Deno.Command("mkfifo", { args: [pipe] }).output()).success, true);
  const reading = readAll(given.store, "pipe").catch((error) => error);
  const giveUp = Promise.withResolvers<string>();
  const timer = setTimeout(() => giveUp.resolve("it waits"), 2000);
  const found = await Promise.race([reading, giveUp.promise]);
  clearTimeout(timer);
  // Whoever waits is let go.
  if (found === "it waits") await Deno.writeTextFile(pipe, "");
  assert(found instanceof StoreError, String(found));
  assertEquals(found.facts.code, "not_found");
});

Deno.test("DirectoryStore read() that is cancelled while it reads closes its file once, whose number is then another one's", async () => {
  await using given = await openDirectory();
  await given.store.create(["large"], pieces(new Uint8Array(1_000_000)));
  const { close } = FileCalls.prototype;
  const closed: number[] = [];
  FileCalls.prototype.close = async function (file) {
    closed.push(file);
    await close.call(this, file);
  };
  try {
    const reader = (await given.store.read("large")).getReader();
    const reading = reader.read();
    await reader.cancel();
    assertEquals((await reading).done, true);
    // The thread that reads has told of its end; and what else comes of that.
    await until(() => closed.length > 0, "the file is closed");
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(closed.length, 1, `${closed}`);
  } finally {
    FileCalls.prototype.close = close;
  }
});

Deno.test("DirectoryStore read() says cut_off when a file gets shorter while it is read", async () => {
  await using given = await openDirectory();
  await given.store.create(["shrinking"], pieces(new Uint8Array(1_000_000)));
  const reader = (await given.store.read("shrinking")).getReader();
  await reader.read();
  await Deno.truncate(`${given.root}/shrinking`, 300_000);
  const error = await assertRejects(async () => {
    while (!(await reader.read()).done);
  }, StoreError);
  assertEquals([error.facts.code, error.facts.key], ["cut_off", "shrinking"]);
});

Deno.test("DirectoryStore locate() gives a URL that leads to the file", async () => {
  await using given = await openDirectory();
  const { key } = await given.store.create(["account%2Fab/100% #1?"], pieces(bytesOf("found")));
  assertEquals(await Deno.readTextFile(fileURLToPath(given.store.locate(key))), "found");
  assertEquals(fileURLToPath(given.store.url), given.root);
});

Deno.test("directoryError() names the code, its meaning and what to do", () => {
  const place = { action: "store" as const, key: "a/b", url: "file:///mnt/usb", path: "/mnt/usb/a/b" };
  const cases: [code: string, message: RegExp, hint: RegExp][] = [
    ["ENOSPC", /ENOSPC, no space is left/, /Free space .*"\/mnt\/usb\/a\/b"/],
    ["EDQUOT", /quota/, /quota/],
    ["EACCES", /permission is denied/, /rights on "\/mnt\/usb\/a\/b"/],
    ["EROFS", /read-only/, /writable.*its unit does not name.*couchdb-backup systemd/],
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
    await using given = await openDirectory({ write });
    const error = await assertRejects(() => given.store.create(["a"], pieces(bytesOf("x"))), StoreError);
    assertEquals(error.facts.code, code);
    assertEquals(await given.leftovers(), []);
  }
});

Deno.test("DirectoryStore tells what has failed, and not that the file could not be closed either", async () => {
  const full = () => Promise.reject(Object.assign(new Error("disk quota exceeded"), { code: "EDQUOT" }));
  await using given = await openDirectory();
  await given.store.create(["whole"], pieces(bytesOf("x")));
  const { close } = FileCalls.prototype;
  FileCalls.prototype.close = async function (file) {
    await close.call(this, file);
    // As NFS answers where what was written did not get to its server.
    throw Object.assign(new Error("disk quota exceeded"), { code: "EDQUOT" });
  };
  try {
    const store = new DirectoryStore(given.root, { write: full });
    for (const key of ["a", "whole"]) {
      const operation = key === "a"
        ? () => store.create([key], pieces(bytesOf("x")))
        : () => store.replace(key, bytesOf("y"));
      const error = await assertRejects(operation, StoreError);
      assertEquals([error.facts.code, error.facts.key], ["EDQUOT", key]);
    }
    assertEquals((await given.leftovers()).length, 1);
    // What was only read is there whatever becomes of the file.
    assertEquals(new TextDecoder().decode(await readAll(given.store, "whole")), "x");
  } finally {
    FileCalls.prototype.close = close;
  }
});

Deno.test("DirectoryStore says why it cannot look for the marker of its folder, once and with the system's code", async () => {
  await using given = await openDirectory();
  await Deno.mkdir(given.root);
  await Deno.symlink(".couchdb-backup", `${given.root}/.couchdb-backup`);
  const error = await assertRejects(() => given.store.create(["a"], pieces(bytesOf("x"))), StoreError);
  assertEquals(error.facts.code, "ELOOP");
  assertEquals(error.message.match(/Cannot store/g)?.length, 1, error.message);
});

Deno.test("DirectoryStore makes a folder anew that somebody has removed meanwhile", async () => {
  await using given = await openDirectory();
  await given.store.create(["f/a"], pieces(new Uint8Array(10)));
  await Deno.remove(`${given.root}/f`, { recursive: true });
  await given.store.create(["f/b"], pieces(new Uint8Array(10)));
  assertEquals((await listAll(given.store, "f")).map(({ name }) => name), ["b"]);
});

Deno.test("DirectoryStore makes what nobody else can read, unless the bucket folder is handed to a group", async () => {
  const place = await Deno.makeTempDir({ prefix: "couchdb-backup-modes-" });
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
  for (const [name, mode] of [["open", 0o755], ["shared", 0o2750]] as const) {
    await Deno.mkdir(`${place}/${name}`);
    await Deno.chmod(`${place}/${name}`, mode);
  }
  const folders = ["own", "without links", "open", "shared"];
  const stateFolder = `${place}/state`;
  const buckets = folders.map((name) => ({
    root: `${place}/${name}`,
    stateFolder,
    hasLinks: name !== "without links",
  }));
  await runInOwnProcess("tests/fakes/storing_program.ts", [JSON.stringify({ buckets })], { umask: "000" });
  const modes = await Promise.all(folders.map(async (name) => [...await modesBelow(`${place}/${name}`)].sort()));
  const own = ["file 600", "folder 700"];
  assertEquals(modes, [own, own, own, ["file 640", "folder 2750"]]);
  assertEquals((await Deno.stat(`${place}/own`)).mode! & 0o777, 0o700);
  assertEquals([...await modesBelow(stateFolder)].sort(), own);
  await Deno.remove(place, { recursive: true });
});

Deno.test("DirectoryStore create() has the bytes on the disk before what it comes after is done", async () => {
  let synced = 0;
  await using given = await openDirectory({
    sync: (file) => {
      if (fstatSync(file).isFile()) synced++;
      return Promise.resolve();
    },
  });
  const { promise: after, resolve } = Promise.withResolvers<void>();
  const created = given.store.create(["f/a"], pieces(bytesOf("x")), { after });
  await until(() => synced === 1, "the bytes are on the disk");
  assertEquals(await given.store.stat("f/a"), undefined);
  resolve();
  await created;
  assertEquals(await readAll(given.store, "f/a"), bytesOf("x"));
});

Deno.test("DirectoryStore create() whose body fails leaves nobody alone with the failure of what it comes after", async () => {
  await using given = await openDirectory();
  const { promise: after, reject } = Promise.withResolvers<void>();
  const body = (async function* () {
    yield await Promise.resolve(bytesOf("x"));
    throw new Error("the body has failed");
  })();
  const error = await assertRejects(() => given.store.create(["f/a"], body, { after }), Error);
  assertEquals(error.message, "the body has failed");
  reject(new Error("nobody waits for this"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals(await given.leftovers(), []);
});
