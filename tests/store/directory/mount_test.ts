import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { StoreError } from "../../../src/errors.ts";
import { DirectoryStore } from "../../../src/store/directory/store.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { bytesOf, listAll, pieces, readAll } from "../store_contract.ts";

interface Machine {
  /** The bucket folder. */
  root: string;
  stateFolder: string;
  log: RecordedLog;
  /** A store as a new process opens it. */
  open(): DirectoryStore;
}

async function withMachine(body: (machine: Machine) => Promise<void>): Promise<void> {
  const above = await Deno.makeTempDir({ prefix: "couchdb-backup-mount-" });
  const machine = { root: join(above, "mnt"), stateFolder: join(above, "state"), log: new RecordedLog() };
  try {
    await body({ ...machine, open: () => new DirectoryStore(machine.root, machine) });
  } finally {
    await Deno.remove(above, { recursive: true });
  }
}

const store = (store: DirectoryStore, key = "a/b") => store.create([key], pieces(bytesOf("x")));

Deno.test("DirectoryStore needs no hand at the first run, and marks the folder", async () => {
  await withMachine(async ({ root, open, log }) => {
    assertEquals(await listAll(open(), ""), []);
    await store(open());
    assertEquals((await Deno.stat(join(root, ".couchdb-backup"))).isFile, true);
    await store(open(), "a/c");
    assertEquals((await listAll(open(), "")).map(({ name }) => name), ["a"]);
    assertEquals((await listAll(open(), "a")).map(({ name }) => name), ["b", "c"]);
    assertEquals(log.lines, []);
  });
});

Deno.test("DirectoryStore marks a folder that an earlier version of the program has filled", async () => {
  await withMachine(async ({ root, open }) => {
    await Deno.mkdir(join(root, "2026"), { recursive: true });
    await store(open(), "2026/x");
    assertEquals((await listAll(open(), "")).map(({ name }) => name), ["2026"]);
    await Deno.remove(root, { recursive: true });
    await assertRejects(() => store(open()), StoreError);
  });
});

for (
  const [state, unmount, found] of [
    ["is gone", (root: string) => Deno.rename(root, `${root}-disk`), "the folder is not there"],
    [
      "is an empty mount point",
      async (root: string) => {
        await Deno.rename(root, `${root}-disk`);
        await Deno.mkdir(root);
      },
      '".couchdb-backup" is not in the folder',
    ],
  ] as const
) {
  Deno.test(`DirectoryStore refuses a folder that earlier runs had and that ${state}, in another process and in the same`, async () => {
    await withMachine(async ({ root, open }) => {
      const old = open();
      await store(old);
      await unmount(root);
      for (const opened of [open(), old]) {
        const operations: Record<string, () => Promise<unknown>> = {
          create: () => store(opened),
          replace: () => opened.replace("a/b", bytesOf("x")),
          read: () => opened.read("a/b"),
          stat: () => opened.stat("a/b"),
          list: () => listAll(opened, ""),
          tryConditions: () => opened.tryConditions("_store/x"),
        };
        for (const [operation, run] of Object.entries(operations)) {
          const error = await assertRejects(run, StoreError, "may not be mounted", operation);
          assertEquals(error.facts.code, "not_mounted");
          assertStringIncludes(error.message, found);
          assertStringIncludes(error.hint ?? "", `touch ${root}/.couchdb-backup`);
        }
      }
      const left = state === "is gone" ? [] : await Array.fromAsync(Deno.readDir(root));
      assertEquals(left, []);
      // Mounted again.
      await Deno.remove(root).catch(() => undefined);
      await Deno.rename(`${root}-disk`, root);
      for (const opened of [open(), old]) assertEquals(await readAll(opened, "a/b"), bytesOf("x"));
    });
  });
}

Deno.test("DirectoryStore takes a new folder that was marked by hand, as its hint says", async () => {
  await withMachine(async ({ root, open }) => {
    await store(open());
    await Deno.remove(root, { recursive: true });
    const error = await assertRejects(() => store(open()), StoreError);
    const [, command = ""] = /on purpose: (.*)$/.exec(error.hint ?? "") ?? [];
    const { success } = await new Deno.Command("sh", { args: ["-c", command] }).output();
    assertEquals(success, true);
    await store(open());
    assertEquals(await readAll(open(), "a/b"), bytesOf("x"));
  });
});

Deno.test("DirectoryStore tells folders apart that have notes on one machine", async () => {
  await withMachine(async ({ root, stateFolder, open }) => {
    await store(open());
    const other = new DirectoryStore(`${root}-2`, { stateFolder });
    await store(other);
    await Deno.remove(`${root}-2`, { recursive: true });
    await store(open(), "a/c");
    await assertRejects(() => store(new DirectoryStore(`${root}-2`, { stateFolder })), StoreError, "mounted");
  });
});

Deno.test("DirectoryStore warns once where it cannot note the folder, or not mark it, and goes on", async () => {
  await withMachine(async ({ root, stateFolder, open, log }) => {
    await Deno.writeTextFile(stateFolder, "a file where the folder should be");
    const opened = open();
    for (const key of ["1", "2"]) await store(opened, key);
    assertEquals(log.events("warn"), [
      "bucket folder cannot be noted: if its disk is not mounted one day, that will not be noticed",
    ]);
    await Deno.remove(root, { recursive: true });
    await store(open(), "3");
  });
  await withMachine(async ({ root, open, log }) => {
    // Stands for a folder whose owner lets others write below it only: the tests may run as root.
    await Deno.mkdir(root);
    await Deno.symlink("/nowhere/at/all", join(root, ".couchdb-backup"));
    const opened = open();
    for (const key of ["1", "2"]) await store(opened, key);
    await store(open(), "3");
    assertEquals(log.events("warn"), [
      ...Array(2).fill("bucket folder cannot be marked: if its disk is not mounted one day, that will not be noticed"),
    ]);
  });
});

Deno.test("DirectoryStore notes nothing where it is not told where", async () => {
  await withMachine(async ({ root, stateFolder }) => {
    await store(new DirectoryStore(root));
    await Deno.remove(root, { recursive: true });
    await store(new DirectoryStore(root));
    await assertRejects(() => Deno.stat(stateFolder), Deno.errors.NotFound);
  });
});
