import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { RUN_FLAGS } from "../../../scripts/run_flags.ts";
import { FileCalls } from "../../../src/store/directory/calls.ts";

const LOCAL = 0xef53;

for (
  const [name, type, atOnce] of [
    ["ext4", 0xef53, true],
    ["Btrfs, whose number is negative in 32 bits", 0x9123683e | 0, true],
    ["tmpfs", 0x01021994, true],
    ["NFS", 0x6969, false],
    ["SMB", 0xfe534d42, false],
    ["FUSE", 0x65735546, false],
    ["APFS", 26, false],
  ] as const
) {
  Deno.test(`FileCalls makes calls ${atOnce ? "at once" : "beside"} on ${name}`, async () => {
    const calls = new FileCalls("/", { typeOf: () => Promise.resolve(type) });
    assertEquals(await calls.areMadeAtOnce(), atOnce);
    assertEquals((await calls.stat("/")).isDirectory(), true);
  });
}

Deno.test("FileCalls makes calls beside where nobody tells the type, and asks again", async () => {
  let isThere = false;
  const typeOf = () => isThere ? Promise.resolve(LOCAL) : Promise.reject(new Error("ENOENT"));
  const calls = new FileCalls("/", { typeOf });
  assertEquals(await calls.areMadeAtOnce(), false);
  isThere = true;
  assertEquals(await calls.areMadeAtOnce(), true);
});

Deno.test("FileCalls makes calls beside once ten of them were slow", async () => {
  let nowMs = 0;
  const calls = new FileCalls("/", { typeOf: () => Promise.resolve(LOCAL), now: () => nowMs += 60 });
  for (let slow = 0; slow < 10; slow++) {
    assertEquals(await calls.areMadeAtOnce(), true);
    await calls.stat("/");
  }
  assertEquals(await calls.areMadeAtOnce(), false);
});

for (const type of [LOCAL, 0x6969]) {
  Deno.test(`FileCalls does the same at once and beside: ${type === LOCAL ? "at once" : "beside"}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-calls-" });
    const calls = new FileCalls(folder, { typeOf: () => Promise.resolve(type) });
    try {
      assertEquals(await calls.makeFolders(`${folder}/a/b`, 0o700), `${folder}/a`);
      assertEquals(await calls.makeFolders(`${folder}/a/b`, 0o700), undefined);
      assertEquals(await calls.makeFolders(`${folder}/a/c`, 0o700), `${folder}/a/c`);
      assertEquals(((await calls.stat(`${folder}/a/c`)).mode & 0o777).toString(8), "700");
      assertEquals([await calls.isThere(`${folder}/a/c`), await calls.isThere(`${folder}/no`)], [true, false]);
      await Deno.remove(`${folder}/a/c`);
      const file = await calls.open(`${folder}/a/one`, "wx", 0o600);
      assertEquals((await calls.statOpen(file)).size, 0);
      await calls.close(file);
      await calls.link(`${folder}/a/one`, `${folder}/a/two`);
      await calls.rename(`${folder}/a/two`, `${folder}/a/three`);
      await Deno.symlink("loop", `${folder}/loop`);
      await calls.unlink(`${folder}/a/one`);
      assertEquals((await calls.readdir(`${folder}/a`))!.map(({ name }) => name).sort(), ["b", "three"]);
      assertEquals(await calls.readdir(`${folder}/no`), undefined);
      assertEquals(await calls.readdir(`${folder}/no/deeper`), undefined);
      assertEquals(await calls.readdir(`${folder}/a/b`), []);
      for (
        const [code, call] of [
          ["EEXIST", () => calls.open(`${folder}/a/three`, "wx", 0o600)],
          ["EEXIST", () => calls.link(`${folder}/a/three`, `${folder}/a/b`)],
          ["EEXIST", () => calls.makeFolders(`${folder}/a/three`, 0o700)],
          ["ENOTDIR", () => calls.makeFolders(`${folder}/a/three/four`, 0o700)],
          ["ENOENT", () => calls.stat(`${folder}/no`)],
          ["ENOTDIR", () => calls.readdir(`${folder}/a/three/four`)],
          ["ELOOP", () => calls.readdir(`${folder}/loop`)],
          ["ENAMETOOLONG", () => calls.readdir(`${folder}/${"n".repeat(300)}`)],
          ["ENOENT", () => calls.unlink(`${folder}/no`)],
        ] as const
      ) {
        const error = await assertRejects(call, Error);
        assertEquals((error as Error & { code?: string }).code, code);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

for (const [name, type] of [["at once", LOCAL], ["beside", 0x6969]] as const) {
  Deno.test(`FileCalls read() gives small and large content piece by piece: ${name}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-calls-" });
    const calls = new FileCalls(folder, { typeOf: () => Promise.resolve(type) });
    try {
      const bytes = Uint8Array.from({ length: 200_000 }, (_, at) => at % 251);
      await Deno.writeFile(`${folder}/one`, bytes);
      const file = await calls.open(`${folder}/one`, "r");
      const found = new Uint8Array(bytes.length);
      let length = 0;
      for (const size of [1000, 150_000, 64 << 10, 1000]) {
        const buffer = new Uint8Array(size);
        const bytesRead = await calls.read(file, buffer);
        found.set(buffer.subarray(0, bytesRead), length);
        length += bytesRead;
      }
      await calls.close(file);
      assertEquals([found, length], [bytes, 200_000]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("FileCalls reads beside once ten reads were slow, and goes on with other calls at once", async () => {
  let nowMs = 0;
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-calls-" });
  const calls = new FileCalls(folder, { typeOf: () => Promise.resolve(LOCAL), now: () => nowMs += 6 });
  try {
    await Deno.writeTextFile(`${folder}/one`, "x".repeat(100));
    const file = await calls.open(`${folder}/one`, "r");
    for (let slow = 0; slow < 10; slow++) await calls.read(file, new Uint8Array(1));
    const before = nowMs;
    assertEquals(await calls.read(file, new Uint8Array(100)), 90);
    assertEquals(nowMs, before, "a clock is read beside those that are made at once");
    assertEquals(await calls.areMadeAtOnce(), true);
    await calls.close(file);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("FileCalls needs no more permissions than the program has, at once and beside", async () => {
  const args = ["test", "--quiet", "--no-check", ...RUN_FLAGS, "--filter", "FileCalls does the same", import.meta.url];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } })
    .output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert(success, text);
  assertMatch(text, /2 passed/);
});
