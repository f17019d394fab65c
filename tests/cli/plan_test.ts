import { assertEquals, assertStringIncludes } from "@std/assert";
import { couchOk } from "../couch_request.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { startProgram } from "./program.ts";

Deno.test("plan prints for people what each task selects by which pattern, what it leaves out, what none selects, and the next elapses", async () => {
  await using server = await startFakeCouchDb();
  for (const name of ["a", "media", "media_old"]) await couchOk(server, `PUT /${name}`);
  const folder = await Deno.makeTempDir();
  try {
    const config = `${folder}/config.yaml`;
    await Deno.writeTextFile(
      config,
      `database: {url: "${server.url}", login: ${server.login}, password: ${server.password}}
task: {nightly: {cron: "22:30", timezone: Europe/Berlin, chunk: 9, databases: ["media.*", nothing], exclude: ["med.*_old"]}, hand: {databases: [a]}}
bucket: file://${folder}/bucket
`,
    );
    const args = ["plan", config, "--from", "2026-03-28T00:00:00Z", "--count", "2"];
    const { code, stdout } = await startProgram(args).ended;
    assertEquals(code, 0);
    assertEquals(
      stdout,
      `Task nightly
  schedule   *-*-* 22:30:00, in Europe/Berlin
  next       Sat 2026-03-28 22:30:00 GMT+1
             Sun 2026-03-29 22:30:00 GMT+2
  selects    1 database for the folder of 2026-03-28
    by media.*: 1
      media
  leaves out 1 database
    the exclude pattern "med.*_old" matches it: 1
      media_old
  warning    pattern "nothing" matches none of 5 databases; not even its beginning matches that of a name

Task hand
  schedule   none: it only runs by hand
  selects    1 database for the folder of 2026-03-28
    by a: 1
      a

No task selects 3 databases
  _replicator
  _users
  media_old
`,
    );
    const json = await startProgram([...args, "--offline", "--json"]).ended;
    assertEquals(JSON.parse(json.stdout).tasks[0].next, ["2026-03-28T21:30:00.000Z", "2026-03-29T20:30:00.000Z"]);
    const ofDay = await startProgram(["plan", config, "--from", "2026-03-28", "--offline", "--json"]).ended;
    assertEquals(JSON.parse(ofDay.stdout).tasks[0].next[0], "2026-03-28T21:30:00.000Z");
    // A day that there is not, and a time of day that would be another one on another machine.
    const refusals = [["--from", "tomorrow"], ["--from", "2026-02-30"], ["--from", "2026-03-28T00:00"], [
      "--count",
      "0",
    ]];
    for (const [flag = "", value = ""] of refusals) {
      const refused = await startProgram(["plan", config, flag, value]).ended;
      assertEquals(refused.code, 2, value);
      assertStringIncludes(refused.stderr, flag);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
