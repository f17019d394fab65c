import { assertEquals, assertMatch } from "@std/assert";
import { formatMetrics } from "../../src/observe/metrics.ts";
import { writeMetricsFile } from "../../src/observe/textfile.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";
import { runInOwnProcess } from "../own_process.ts";

async function withFolder(use: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

const WEEKLY = runReport([taskReport("weekly", [databaseReport("a")])]);
const MONTHLY = runReport([taskReport("monthly", [databaseReport("b")])]);

Deno.test("writeMetricsFile() writes a file that everybody may read, and keeps other tasks in it", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/couchdb-backup.prom`;
    assertEquals(
      await runInOwnProcess("tests/fakes/storing_program.ts", [JSON.stringify({ metrics: path })], { umask: "077" }),
      [],
    );
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o644);
    assertEquals(await writeMetricsFile(WEEKLY, { path, lostLogLines: 2 }), []);
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o644);
    assertEquals(await Deno.readTextFile(path), formatMetrics(WEEKLY, { lostLogLines: 2 }));
    assertEquals(await writeMetricsFile(MONTHLY, { path }), []);
    const text = await Deno.readTextFile(path);
    assertMatch(
      text,
      /couchdb_backup_documents\{task="weekly"\} 100\ncouchdb_backup_documents\{task="monthly"\} 100\n/,
    );
    assertEquals(names(folder), ["couchdb-backup.prom"]);
  });
});

Deno.test("writeMetricsFile() replaces the file in one step: a reader never sees half of it", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/couchdb-backup.prom`;
    const many = runReport(Array.from({ length: 300 }, (_, index) => taskReport(`t${index}`, [])));
    await writeMetricsFile(many, { path });
    const whole = await Deno.readTextFile(path);
    let [reads, isOver] = [0, false];
    const writing = (async () => {
      // However much time a busy machine has for either.
      for (let round = 0; !isOver && (round < 20 || reads < 4); round++) {
        assertEquals(await writeMetricsFile(many, { path }), []);
      }
    })().finally(() => isOver = true);
    try {
      for (; !isOver; reads++) assertEquals(await Deno.readTextFile(path), whole);
    } finally {
      isOver = true;
      await writing;
    }
  });
});

Deno.test("writeMetricsFile() returns a warning and leaves nothing behind where it cannot write", async () => {
  await withFolder(async (folder) => {
    const [missing = ""] = await writeMetricsFile(WEEKLY, { path: `${folder}/none/x.prom` });
    assertMatch(missing, /^Cannot write metrics to ".*\/none\/x\.prom": /);
    await Deno.mkdir(`${folder}/taken.prom`);
    assertEquals((await writeMetricsFile(WEEKLY, { path: `${folder}/taken.prom` })).length, 1);
    assertEquals(names(folder), ["taken.prom"]);
    // What stands in the way of the temporary file cannot be removed either, and both are said.
    await Deno.mkdir(`${folder}/y.prom.${Deno.pid}.tmp`);
    const [first = "", second = ""] = await writeMetricsFile(WEEKLY, { path: `${folder}/y.prom` });
    assertMatch(first, /^Cannot write metrics to /);
    assertMatch(second, /^Cannot remove ".*\/y\.prom\.\d+\.tmp": /);
  });
});
