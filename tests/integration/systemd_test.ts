/** The printed units against the systemd of this machine. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { escapeInstance } from "../../src/commands/systemd.ts";
import { startProgram } from "../cli/program.ts";

const BUCKETS = ["s3://data.example.com/folder", "file:///srv/backup"];

async function systemd(program: string, args: string[]): Promise<{ code: number; output: string }> {
  try {
    const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
    const [out, error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return { code, output: `${error}${out}` };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`${program} is not installed (Debian, Ubuntu: apt install systemd)`, { cause: error });
  }
}

for (const bucket of BUCKETS) {
  for (const flags of [[], ["--resident"], ["--user", "daemon"]]) {
    Deno.test(`systemd takes what "systemd ${flags.join(" ")}" prints for ${bucket}, and rates it 1.5 or better`, async () => {
      const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-systemd-" });
      try {
        const config = `${folder}/config.yaml`;
        await Deno.writeTextFile(
          config,
          `database: {url: "http://[::1]:5984", login: a, password_file: "\${CREDENTIALS_DIRECTORY}/password"}
task:
  weekly: {cron: "Sat *-*-1..7 18:00:00", timezone: Europe/Berlin, databases: [a], retention: {keep_last: 3}}
  "my task/50%": {cron: "daily UTC", databases: [a]}
bucket: ${bucket}
`,
        );
        // What a unit starts must exist for systemd to accept it.
        const args = ["systemd", config, "--program", "/bin/true", "--output", folder, "--json", ...flags];
        const { code, stdout, stderr } = await startProgram(args).ended;
        assertEquals(code, 0, stderr);
        const names = JSON.parse(stdout).files.map(({ name }: { name: string }) => name);
        assertEquals(names.length, flags.includes("--resident") ? 4 : 6);
        for (const name of names) {
          const verified = await systemd("systemd-analyze", ["verify", "--man=no", `${folder}/${name}`]);
          assertEquals(verified, { code: 0, output: "" }, name);
        }
        for (const name of names.filter((name: string) => name.endsWith(".service"))) {
          const options = ["security", "--offline=yes", "--no-pager", "--threshold=15"];
          const rated = await systemd("systemd-analyze", [...options, `${folder}/${name}`]);
          assertEquals(rated.code, 0, rated.output);
          assertStringIncludes(rated.output, "Overall exposure level");
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
}

Deno.test("systemd reads names and paths of credentials as the units mean them", async () => {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-systemd-" });
  try {
    const config = `${folder}/my config.yaml`;
    await Deno.writeTextFile(
      config,
      'database: {url: "http://[::1]:5984", login: a, password_file: "a 1%b"}\n' +
        "task: {weekly: {cron: weekly, databases: [a]}}\nbucket: s3://data.example.com/folder\n",
    );
    const args = ["systemd", config, "--program", "/bin/true", "--output", folder, "--json"];
    const { code, stderr } = await startProgram(args).ended;
    assertEquals(code, 0, stderr);
    const unit = `${folder}/couchdb-backup@.service`;
    // systemd shows what it has read only where it does not like that: a path that is not absolute.
    await Deno.writeTextFile(unit, (await Deno.readTextFile(unit)).replaceAll(`:${folder}/`, ":no/"));
    const { output } = await systemd("systemd-analyze", ["verify", "--man=no", unit]);
    for (const source of ["no/my config.yaml", "no/a 1%b"]) {
      assertStringIncludes(output, `Credential source "${source}" not valid`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("escapeInstance() escapes as systemd-escape does", async () => {
  const names = ["weekly", ".a.b", "a-b", "a/b c", "é:_", "@\\", "100%", "x@y.service"];
  const { output } = await systemd("systemd-escape", names);
  assertEquals(names.map(escapeInstance), output.trim().split(" "));
});
