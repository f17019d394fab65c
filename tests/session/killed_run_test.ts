/**
 * A run by hand whose process is killed before any of its operations of the store. `--resume` alone says what that run
 * has found, where nobody has heard it.
 */
import { assert, assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { Repository } from "../../src/archive/repository.ts";
import type { RunReport } from "../../src/archive/report.ts";
import { parseConfig } from "../../src/config/config.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { Certificates } from "../../src/session/certificates.ts";
import { ProgramSession } from "../../src/session/session.ts";
import { openStore } from "../../src/store/open.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { couchOk } from "../couch_request.ts";
import { runUntil } from "../faults/stepped_store.ts";
import { edit } from "../fakes/couchdb/edits.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";

/** What a run says of its two tasks: which databases are not listed any more, and which have shrunk from what. */
function toldBy({ tasks }: RunReport): unknown[] {
  return tasks.map(({ task, unlisted, databases }) => [
    task,
    unlisted,
    databases.map(({ database, shrunk_from, error }) => [database, shrunk_from, error]),
  ]);
}

const WANTED = [
  ["first", ["gone"], [["shrunk", 40, undefined]]],
  ["second", ["gone"], [["other", undefined, undefined]]],
];

Deno.test("backup --resume says what a run by hand has found that was killed before its report was printed", async () => {
  const fake = await startFakeCouchDb();
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup killed-" });
  try {
    for (const name of ["gone", "other", "shrunk"]) await createDatabase(fake, name, idsOf(40));
    const { url, login, password } = fake;
    const bucketOf = (name: string) => pathToFileURL(`${folder}/${name}`).href;
    const openAt = async (name: string, run: string, store = openStore({ bucket: bucketOf(name) })) => {
      const config = parseConfig(
        `database: {url: "${url}", login: "${login}", password: "${password}"}
task: {first: {databases: ["gone|shrunk"]}, second: {databases: ["gone|other"]}}
bucket: "${bucketOf(name)}"
`,
        { file: `${folder}/config.yaml`, env: {} },
      );
      const { signal } = new AbortController();
      return new ProgramSession({
        config,
        repository: new Repository(await store, config),
        log: new RecordedLog(),
        progress: SILENT_PROGRESS,
        run,
        signal,
        stop: signal,
        now: () => new Date(),
        host: undefined,
        flush: () => Promise.resolve({ lostLines: 0 }),
        notifier: undefined,
        certificates: new Certificates(),
        close: () => Promise.resolve(),
      });
    };
    const date = { year: 2026, month: 1, day: 3 };
    assertEquals((await (await openAt("before", "run 1")).backup({ date })).ok, true);
    await couchOk(fake, "DELETE /gone");
    edit(fake.databases.get("shrunk")!, ...idsOf(40).slice(0, 35).map((_id) => ({ _id, _deleted: true })));

    /** A run over a copy of what there was, which is killed; then its resumption. */
    const kill = async (place: number) => {
      const name = `killed before operation ${place}`;
      await copyFolder(`${folder}/before`, `${folder}/${name}`);
      const day = { ...date, day: 4 };
      let heard: RunReport | undefined;
      const { isMet } = await runUntil(
        { place, isBehind: false },
        await openStore({ bucket: bucketOf(name) }),
        async (store) => {
          const session = await openAt(name, "run 2", Promise.resolve(store));
          return await session.backup({ date: day, onReport: (report) => void (heard = report) });
        },
      );
      const resumed = await (await openAt(name, "run 3")).backup({ date: day, resume: true });
      assertEquals(toldBy(heard ?? resumed), WANTED, name);
      await Deno.remove(`${folder}/${name}`, { recursive: true });
      return { isMet, isHeard: heard !== undefined };
    };
    let [place, killed, heard] = [0, 0, 0];
    for (let isMet = true; isMet;) {
      const outcome = await kill(++place);
      isMet = outcome.isMet;
      if (outcome.isHeard) heard++;
      else killed++;
    }
    assert(killed > 15 && heard > 2, `killed ${killed} times before the report was heard, and ${heard} times behind`);
  } finally {
    await fake.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
