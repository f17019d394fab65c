/** Two runs of a day at once, on stores that keep what exists and on those that do not. */
import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { parseManifestName } from "../../../src/archive/layout.ts";
import { backup } from "../../../src/commands/backup/backup.ts";
import { verify } from "../../../src/commands/verify.ts";
import { readBytes } from "../../../src/streams.ts";
import { selectTasks } from "../../../src/task/selection.ts";
import { task } from "../../fakes/task.ts";
import { setUpScheduled, STORES } from "../../schedule/due_setup.ts";

const DAY = new Date("2026-11-25T18:00:00Z");
const FOLDER = "backup/2026/11/25/couchdb/a";
const RUNS = ["0a5a8fd2-0000-4000-8000-000000000000", "0b5a8fd2-0000-4000-8000-000000000000"];

for (const kind of STORES) {
  Deno.test(`backup() of two runs at once leaves each that finished whole, in its own manifest (${kind})`, async () => {
    await using setup = await setUpScheduled(kind, { a: 60 });
    const { store } = setup;
    store.conditions = undefined; // As each process opens it.
    const reports = await Promise.all(RUNS.map((run) => {
      const selections = selectTasks(["a"], [task("daily", { databases: ["a"], timezone: "UTC", chunk: 5 })], {
        startedAt: DAY,
      });
      return backup(setup.machine(run), selections, {});
    }));
    assertEquals(reports.map(({ ok }) => ok), [true, true]);
    const manifests = (await setup.namesIn(FOLDER)).filter((name) => parseManifestName(name) !== undefined);
    assertEquals(manifests.length, 2);
    const chunks: string[] = [];
    for (const name of manifests) {
      const manifest = await setup.json(`${FOLDER}/${name}`);
      assertEquals(manifest.totals.documents, 60);
      for (const chunk of manifest.chunks) {
        chunks.push(chunk.name);
        const bytes = await readBytes(await store.read(`${FOLDER}/${chunk.name}`));
        assertEquals(createHash("sha256").update(bytes).digest("hex"), chunk.sha256, chunk.name);
      }
    }
    assertEquals(new Set(chunks).size, chunks.length);
    const context = { ...setup.machine("verify"), openStore: () => Promise.reject(new Error("no other store")) };
    assertEquals((await verify(context, { database: "a", path: "latest", quick: false })).problems, []);
  });
}
