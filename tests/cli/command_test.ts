/** How a command line is told apart: flags, operands, and the config among them. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseCall } from "../../src/cli/command.ts";
import { command as backup } from "../../src/cli/backup.ts";
import { command as diff } from "../../src/cli/diff.ts";
import { command as expire } from "../../src/cli/expire.ts";
import { command as keep } from "../../src/cli/keep.ts";
import { command as list } from "../../src/cli/list.ts";
import { command as restore } from "../../src/cli/restore.ts";
import { UsageError } from "../../src/errors.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";

Deno.test("parseCall() does not take the config for an argument that is missing before it", () => {
  const cases = [
    [diff, ["orders", "latest", "cfg.yaml"]],
    [keep, ["orders", "/etc/couchdb-backup/cfg.yml"]],
    [restore, ["orders", "cfg.yaml"]],
  ] as const;
  for (const [command, argv] of cases) {
    const error = assertThrows(() => parseCall(command, argv, new QuietShell()), UsageError);
    assertStringIncludes(error.message, `is missing an argument: "${argv.at(-1)}" seems to be the config`);
    assertStringIncludes(error.hint ?? "", `Usage: couchdb-backup ${command.name} `);
    // Whoever names the config means the others as they are.
    assertEquals(parseCall(command, [...argv, "--config", "x"], new QuietShell()).operands, argv);
  }
  assertEquals(parseCall(list, ["cfg.yaml"], new QuietShell()).configPath, "cfg.yaml");
  assertEquals(parseCall(restore, ["--all", "latest", "cfg.yaml"], new QuietShell()).configPath, "cfg.yaml");
  assertEquals(parseCall(restore, ["orders", "latest", "cfg.yaml"], new QuietShell()).operands, ["orders", "latest"]);
});

Deno.test("parseCall() tells of a config that does not stand last, in place of a file that is not there", () => {
  for (
    const [command, argv] of [[diff, ["orders", "latest", "cfg.yaml", "live"]], [restore, [
      "a",
      "cfg.yml",
      "latest",
    ]]] as const
  ) {
    const error = assertThrows(() => parseCall(command, argv, new QuietShell()), UsageError);
    const [found] = argv.filter((word) => word.startsWith("cfg"));
    assertEquals(
      error.message,
      `"${command.name}" takes the config as its last argument, and "${
        argv.at(-1)
      }" is that: "${found}" seems to be the config`,
    );
    assertStringIncludes(error.hint ?? "", `Usage: couchdb-backup ${command.name} `);
  }
  const named = parseCall(restore, ["a", "latest", "s3://bucket/config"], new QuietShell());
  assertEquals(named.configPath, "s3://bucket/config");
});

Deno.test("parseCall() refuses a value for an on-off flag that could mean the opposite: --confirm=no must not delete", () => {
  for (const value of ["no", "0", "off", "False", "yes", ""]) {
    const error = assertThrows(() => parseCall(expire, [`--confirm=${value}`], new QuietShell()), UsageError);
    assertStringIncludes(error.message, `--confirm is on or off and takes no value, but "${value}" is given`);
  }
  const isOn = (...argv: string[]) => parseCall(expire, argv, new QuietShell()).isOn("confirm");
  assertEquals([isOn("--confirm"), isOn("--confirm=true"), isOn("--confirm=false"), isOn()], [
    true,
    true,
    false,
    false,
  ]);
  // By its other name, too; and behind "--" it is an operand.
  assertThrows(() => parseCall(backup, ["--sheduled=no"], new QuietShell()), UsageError, "--sheduled is on or off");
  assertEquals(parseCall(keep, ["--", "--json=no", "latest"], new QuietShell()).operands, ["--json=no", "latest"]);
});
