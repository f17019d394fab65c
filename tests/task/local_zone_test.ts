import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { localZone } from "../../src/task/local_zone.ts";
import { startProgram } from "../cli/program.ts";

const nobody = () => {
  throw new Error("the runtime is not to be asked");
};

for (
  const [tz, zone] of [
    ["Europe/Berlin", "Europe/Berlin"],
    [":Europe/Berlin", "Europe/Berlin"],
    ["/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"],
    [":/usr/share/zoneinfo/posix/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"],
    ["/usr/share/zoneinfo/right/Europe/Berlin", "Europe/Berlin"],
    ["posix/Europe/Berlin", "Europe/Berlin"],
    ["UTC", "UTC"],
    ["UTC0", "UTC"],
    ["GMT+00", "UTC"],
    [":UTC", "UTC"],
    ["", "UTC"],
    ["GMT", "GMT"],
    ["EST5EDT", "EST5EDT"],
    ["Etc/GMT+5", "Etc/GMT+5"],
  ] as const
) {
  Deno.test(`localZone() takes TZ="${tz}" for ${zone}`, () => assertEquals(localZone(tz, nobody), zone));
}

for (
  const tz of ["CET-1CEST,M3.5.0,M10.5.0/3", "Bogus/Zone", "/etc/localtime", "UTC1", "+01:00", "CEST", "europe/berlin"]
) {
  Deno.test(`localZone() refuses TZ="${tz}" rather than take it for UTC`, () => {
    const error = assertThrows(() => localZone(tz, nobody), UsageError);
    assertEquals(
      error.message,
      `Cannot tell the time zone of this machine: TZ is "${tz}", which is no zone of the IANA database`,
    );
    assertMatch(error.hint ?? "", /Europe\/Berlin or UTC, or give each task a timezone/);
  });
}

Deno.test("localZone() is the runtime's where TZ is not set, and nobody's where that knows none", () => {
  assertEquals(localZone(undefined, () => "Asia/Tokyo"), "Asia/Tokyo");
  for (const none of [undefined, "Etc/Unknown"]) {
    const error = assertThrows(() => localZone(undefined, () => none), UsageError);
    assertEquals(error.message, "Cannot tell the time zone of this machine");
  }
});

Deno.test("plan tells the zone of TZ, and says what is wrong with one that nobody can tell", async () => {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-zone-" });
  try {
    const path = `${folder}/cfg.yaml`;
    await Deno.writeTextFile(
      path,
      `database: {url: "http://127.0.0.1:1"}\ntask: {t: {cron: "Sat 18:00", databases: [a]}}\nbucket: file://${folder}/b\n`,
    );
    const plan = async (TZ: string) => await startProgram(["plan", "--offline", path], { TZ }).ended;
    for (
      const [tz, zone] of [["GMT", "GMT"], ["", "UTC"], [
        "/usr/share/zoneinfo/Europe/Paris",
        "Europe/Paris",
      ]] as const
    ) {
      const { code, stdout, stderr } = await plan(tz);
      assertEquals([code, stdout.split("\n")[1]], [0, `  schedule   Sat *-*-* 18:00:00, in ${zone}`], stderr);
    }
    // Whatever this machine has there: a link to a zone, a file without a name, nothing.
    const target = await Deno.realPath("/etc/localtime").catch(() => "");
    const machine = /\/zoneinfo\/(?:(?:posix|right)\/)?(.+)$/.exec(target)?.[1];
    const { code: codeOfFile, stdout, stderr: told } = await plan(":/etc/localtime");
    if (machine === undefined) assertEquals([codeOfFile, told.includes("Cannot tell the time zone")], [2, true], told);
    else assertEquals([codeOfFile, stdout.split("\n")[1]], [0, `  schedule   Sat *-*-* 18:00:00, in ${machine}`], told);
    const { code, stderr } = await plan("CET-1CEST");
    assertEquals(code, 2);
    assertMatch(
      stderr,
      /^couchdb-backup: Cannot tell the time zone of this machine: TZ is "CET-1CEST", which is no zone/,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("localZone() does not believe a Temporal that says UTC where the clock is another one, and does where it is UTC", async () => {
  const script = `import { localZone } from "${import.meta.resolve("../../src/task/local_zone.ts")}";
    globalThis.Temporal = { Now: { timeZoneId: () => "UTC" } };
    console.log(localZone(undefined));`;
  for (const [TZ, zone] of [["Europe/Berlin", "Europe/Berlin"], ["Africa/Abidjan", "UTC"]] as const) {
    const command = new Deno.Command(Deno.execPath(), { args: ["eval", "--quiet", script], env: { TZ } });
    assertEquals(new TextDecoder().decode((await command.output()).stdout).trim(), zone);
  }
});
