import { assertEquals } from "@std/assert";
import { describeSizes } from "../../src/cli/list.ts";
import { measureBackups } from "../../src/commands/sizes.ts";
import { TestRepository } from "../archive/repository_setup.ts";

Deno.test("measureBackups() counts each chunk once, by database and task, and what no backup names apart", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z", chunks: [0, 1] });
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T11:00:00Z", chunks: [0, 1, 2], task: "other" });
  await setup.put({ day: "2026-11-02", finishedAt: "2026-11-02T10:00:00Z", chunks: [0], database: "large" });
  await setup.write(setup.folder("2026-11-02", "large"), "0000009.json.gz", "1234567");
  await setup.write(setup.folder("2026-11-02", "large"), "checkpoint-0a0a0a0a.json", "12345678");
  const halfWritten = ".couchdb-backup-7-00000000-00000000-0000-4000-8000-000000000000.tmp";
  await setup.write(setup.folder("2026-11-03", "large"), halfWritten, "1234");
  const { repository, signal } = setup;
  const sizes = await measureBackups({ repository, signal });
  assertEquals(sizes, {
    databases: [
      { database: "a/b", backups: 2, bytes: 15, leftover_bytes: 0 },
      { database: "large", backups: 1, bytes: 5, leftover_bytes: 19 },
    ],
    tasks: [{ task: "other", backups: 1, bytes: 15 }, { task: "weekly", backups: 2, bytes: 15 }],
    total: { backups: 3, bytes: 20, leftover_bytes: 19 },
  });
  assertEquals((await measureBackups({ repository, signal }, { database: "large" })).total.bytes, 5);
  assertEquals(
    describeSizes(sizes),
    `DATABASE  BACKUPS  SIZE  LEFT OVER
a/b             2  15 B        0 B
large           1   5 B       19 B
TASK
other           1  15 B          -
weekly          2  15 B          -
ALL
                3  20 B       19 B
`,
  );
});

Deno.test("measureBackups() counts a backup once where its folder is there in another spelling, too", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z", chunks: [0, 1] });
  await setup.putBeside("2026-11-01", "a%2fb");
  const { repository, signal } = setup;
  const { databases, tasks, total } = await measureBackups({ repository, signal });
  assertEquals(databases, [{ database: "a/b", backups: 1, bytes: 10, leftover_bytes: 0 }]);
  assertEquals(tasks, [{ task: "weekly", backups: 1, bytes: 10 }]);
  assertEquals(total, { backups: 1, bytes: 10, leftover_bytes: 0 });
});
