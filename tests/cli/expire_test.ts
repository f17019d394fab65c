import { assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { main } from "../../src/cli/cli.ts";
import type { Shell } from "../../src/cli/shell.ts";
import { outputTo } from "../fakes/output.ts";
import { TestRepository } from "../archive/repository_setup.ts";

/** Runs the program on a config beside the repository. */
async function run(setup: TestRepository, args: string[], retention = "retention: {keep_last: 1, grace: 0d}") {
  const config = join(setup.root, "..", `${setup.root.split("/").at(-1)}.yaml`);
  await Deno.writeTextFile(
    config,
    `database: {url: "http://127.0.0.1:9", login: a, password_file: nowhere}
task: {weekly: {databases: [a], timezone: UTC, ${retention}}}
bucket: "${pathToFileURL(setup.root).href}"
prefix: backup/ippbx
suffix: couchdb
`,
  );
  const written = { out: "", err: "" };
  const shell: Shell = {
    stdout: outputTo((text) => written.out += text),
    stderr: outputTo((text) => written.err += text),
    env: { COUCHDB_BACKUP_CONFIG: config, XDG_STATE_HOME: join(setup.root, ".state") },
    journal: false,
    onSignal: () => () => {},
    exit: (code) => {
      throw new Error(`exit ${code}`);
    },
  };
  try {
    return { code: await main(args, shell), ...written };
  } finally {
    await Deno.remove(config);
  }
}

async function withTwoBackups(): Promise<TestRepository> {
  const setup = await TestRepository.open();
  await setup.put({ day: "2026-01-03", finishedAt: "2026-01-03T10:00:00Z", chunks: [0] });
  await setup.put({ day: "2026-01-10", finishedAt: "2026-01-10T10:00:00Z", chunks: [0] });
  return setup;
}

Deno.test("main() says what expires and deletes it with --confirm, without CouchDB and its password", async () => {
  await using setup = await withTwoBackups();
  const shown = await run(setup, ["expire"]);
  assertEquals([shown.code, shown.out], [
    0,
    `expires  2026-01-03T10:00:00Z  a/b  task weekly  5 B  no rule keeps it
Would delete 1 backup of 1 database (5 B), 0 left-over objects (0 B) and 0 old runs; 1 backup stays
Kept because: the newest of its database (1), keep_last (1)
Nothing was deleted: run it with --confirm to delete
`,
  ]);
  const done = await run(setup, ["expire", "--confirm", "--json"]);
  const { ok, confirmed, expired, kept } = JSON.parse(done.out);
  assertEquals([done.code, ok, confirmed, expired.length, kept], [0, true, true, 1, 1]);
  const listed = await run(setup, ["list", "--json"]);
  assertEquals(JSON.parse(listed.out).backups.length, 1);
});

Deno.test("main() says what keeps every backup where nothing expires, without --show-kept", async () => {
  await using setup = await TestRepository.open();
  const now = Date.now();
  for (const minutes of [10, 20, 30]) {
    const finishedAt = new Date(now - minutes * 60_000).toISOString();
    await setup.put({ day: finishedAt.slice(0, 10), finishedAt, chunks: [0] });
  }
  const { code, out } = await run(setup, ["expire"]);
  assertEquals([code, out], [
    0,
    `Would delete 0 backups of 0 databases (0 B), 0 left-over objects (0 B) and 0 old runs; 3 backups stay
Kept because: the newest of its database (1), younger than a day (3), keep_last (1)
Nothing was deleted: run it with --confirm to delete
`,
  ]);
  const { kept, kept_by, kept_backups } = JSON.parse((await run(setup, ["expire", "--json"])).out);
  assertEquals([kept, kept_by, kept_backups], [3, { newest: 1, younger_than_a_day: 3, keep_last: 1 }, undefined]);
});

Deno.test("main() ends with 2 where --database names one of which there is no backup", async () => {
  await using setup = await withTwoBackups();
  const { code, err } = await run(setup, ["expire", "--database", "a/c"]);
  assertEquals(code, 2);
  assertStringIncludes(err, 'There is no backup of database "a/c"');
  assertStringIncludes(err, 'Did you mean "a%2Fb"?');
});

Deno.test("main() refuses to expire without a retention, and names the key", async () => {
  await using setup = await withTwoBackups();
  const { code, err } = await run(setup, ["expire", "--confirm"], "chunk: 5");
  assertEquals(code, 2);
  assertStringIncludes(err, "No task has a retention, so nothing expires");
  assertStringIncludes(err, "retention: {keep_last: 8");
});

Deno.test("main() pins a backup, which then stays, and takes the pin off", async () => {
  await using setup = await withTwoBackups();
  const pinned = await run(setup, ["keep", "a/b", "2026-01-03T10:00Z", "--reason", "audit"]);
  assertEquals([pinned.code, pinned.out], [
    0,
    'The backup of "a/b" of 2026-01-03T10:00:00Z is pinned: it stays until unkeep removes the pin\n',
  ]);
  const held = await run(setup, ["expire", "--confirm", "--show-kept"]);
  assertStringIncludes(held.out, "stays  2026-01-03T10:00:00Z  a/b  task weekly  5 B  pinned: audit\n");
  const freed = await run(setup, ["unkeep", "a%2Fb", "2026-01-03T10:00Z"]);
  assertEquals(freed.code, 0);
  const folder = join(setup.root, setup.folder("2026-01-03"));
  for (const command of ["keep", "unkeep"]) assertEquals((await run(setup, [command, "a/b", folder])).code, 0);
  for (const one of [folder, dirname(folder)]) {
    const names = await Array.fromAsync(Deno.readDir(one), ({ name }) => name);
    assertEquals(names.filter((name) => name.startsWith(".")), [], "the folder of a backup is no bucket folder");
  }
  assertStringIncludes((await run(setup, ["expire", "--confirm"])).out, "deleted  2026-01-03T10:00:00Z  a/b");
  const gone = await run(setup, ["keep", "a/b", "2026-01-03"]);
  assertEquals(gone.code, 12, gone.err);
});

Deno.test("main() says what backups take up with list --sizes", async () => {
  await using setup = await withTwoBackups();
  const { code, out } = await run(setup, ["list", "--sizes"]);
  assertEquals(code, 0);
  assertStringIncludes(out, "a/b             2  10 B        0 B\n");
});
