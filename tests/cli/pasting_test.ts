/** What hints show can be pasted: commands with the config, quoted, and such as the command line takes. */
import { assertEquals, assertNotEquals } from "@std/assert";
import { main } from "../../src/cli/cli.ts";
import { completeCommands, completeHints, withCompleteHints } from "../../src/cli/pasting.ts";
import { commandLine } from "../../src/command_line.ts";
import { RecordedLog } from "../fakes/log.ts";
import { outputTo } from "../fakes/output.ts";
import { shellWords } from "../shell_words.ts";
import { walk } from "../source_files.ts";

Deno.test("completeCommands() puts the config into each command that wants one, and into nothing else", () => {
  const complete = (text: string) => completeCommands(text, "it's $1.yaml");
  const config = `--config 'it'\\''s $1.yaml'`;
  assertEquals(
    complete('"couchdb-backup list backups" shows them; couchdb-backup plan'),
    `"couchdb-backup list ${config} backups" shows them; couchdb-backup plan ${config}`,
  );
  const others = [
    '"couchdb-backup help" lists',
    '"couchdb-backup list --help"',
    "couchdb-backup lists",
    "of couchdb-backup",
  ];
  for (const text of others) assertEquals(complete(text), text);
  assertEquals(completeCommands("couchdb-backup list", undefined), "couchdb-backup list");
});

Deno.test("completeHints() and withCompleteHints() complete what is called a hint, at any depth", () => {
  const hint = "couchdb-backup list";
  const at = new Date();
  assertEquals(
    completeHints({ ok: false, hint, error: hint, at, tasks: [{ databases: [{ hint, error: null }] }] }, "c"),
    {
      ok: false,
      hint: `${hint} --config c`,
      error: hint,
      at,
      tasks: [{ databases: [{ hint: `${hint} --config c`, error: null }] }],
    },
  );
  const log = new RecordedLog();
  withCompleteHints(log, "c").with({ run: 1 }).error("lost", { hint, error: hint });
  withCompleteHints(log, "c").info("plain");
  assertEquals(log.lines.map(({ fields }) => fields), [{ run: 1, hint: `${hint} --config c`, error: hint }, {}]);
});

Deno.test("completeCommands() knows every command that takes a config", async () => {
  let commands = 0;
  for (const { path } of await walk(["src/cli"])) {
    const { command } = await import(`../../${path}`);
    if (command === undefined) continue;
    commands++;
    const line = `couchdb-backup ${command.name}`;
    assertEquals(completeCommands(line, "c.yaml"), `${line} --config c.yaml`);
  }
  assertNotEquals(commands, 0);
});

Deno.test("commandLine() is read by a shell as the words that it was made of", async () => {
  const words = ["--task", "it's a $task", "--date", "2026-10-22", "account/a+b"];
  assertEquals(await shellWords(commandLine("backup", words)), [["couchdb-backup", "backup", ...words]]);
});

Deno.test("every command that a message of the source shows is one of the command line", async () => {
  let commands = 0;
  for (const { path, text } of await walk(["src", "lambda"])) {
    // Those in quotes within a text; what is put together by commandLine() is tried where it is made, and examples of
    // the help in help_test.ts.
    for (const [, command = ""] of text.matchAll(/(?<!line: )"(couchdb-backup [a-z][^"`$.]*)"/g)) {
      // To be called without anything else, and with the config that is put into it.
      for (const shown of [command, completeCommands(command, "nowhere.yaml")]) {
        commands++;
        const [words = []] = await shellWords(shown);
        const err: string[] = [];
        const output = outputTo((text) => void err.push(text));
        await main(words.slice(1), {
          env: { COUCHDB_BACKUP_CONFIG: "nowhere.yaml" },
          stdout: output,
          stderr: output,
          journal: false,
          onSignal: () => () => {},
          exit: () => {
            throw new Error("exit");
          },
        });
        // It gets as far as its config, or does not want one.
        const said = err.join("");
        assertEquals(
          /Cannot read the config|^Usage: |^couchdb-backup \S+: backs up/m.test(said),
          true,
          `${path}: ${said}`,
        );
      }
    }
  }
  assertNotEquals(commands, 0);
});
