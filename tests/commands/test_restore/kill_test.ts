/** test-restore as a process of its own, killed while its scratch databases are there: the next one drops them. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { startProgram } from "../../cli/program.ts";
import { couchOk } from "../../couch_request.ts";
import { setUpFleet } from "../restore/fleet_setup.ts";

const SCRATCH = /^couchdb_backup_test_[0-9a-f]{8}_\d+$/;
const HOUR_MS = 3_600_000;

Deno.test("test-restore that is killed leaves databases that the next one drops, an hour later and not before", async () => {
  await using setup = await setUpFleet(3);
  const { server, folder } = setup;
  await (await setup.open()).backup();
  const config = join(folder, "config.yaml");
  await Deno.writeTextFile(
    config,
    `database: {url: "${server.url}", login: "${server.login}", password: "${server.password}"}
task: {all: {databases: [".*"], exclude: ["_.*"], timezone: UTC}}
bucket: "${pathToFileURL(join(folder, "bucket")).href}"
`,
  );
  const scratch = async () =>
    ((await couchOk(server, "GET /_all_dbs")).json as string[]).filter((name) => SCRATCH.test(name));
  // When the database is noted, closed, written to, and read again. Another one may just be made.
  for (const endpoint of ["document", "_security", "_bulk_docs", "_bulk_get"]) {
    const program = startProgram(["test-restore", config, "--quiet"], { XDG_STATE_HOME: join(folder, "state") });
    server.faults.add({
      where: (request) => request.endpoint === endpoint && SCRATCH.test(request.database ?? ""),
      fault: { kind: "run", run: () => program.kill("SIGKILL") },
    });
    assertEquals((await program.ended).code, 137, endpoint);
    server.faults.clear();
    const left = await scratch();
    assertEquals(left.length > 0, true, endpoint);
    const soon = await (await setup.open({ now: () => new Date(Date.now() + HOUR_MS - 120_000) })).testRestore();
    assertEquals([soon.ok, soon.dropped, soon.kept.map(({ database }) => database)], [true, [], left], endpoint);
    const later = await (await setup.open({ now: () => new Date(Date.now() + HOUR_MS + 1000) })).testRestore();
    assertEquals([later.ok, later.dropped, await scratch()], [true, left, []], endpoint);
  }
});
