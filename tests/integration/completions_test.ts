/** The printed completions in the shells they are for. Needs bash, zsh and fish: scripts/ci/shells.sh. */
import { assertEquals, assertMatch } from "@std/assert";
import { main } from "../../src/cli/cli.ts";
import { outputTo } from "../fakes/output.ts";

async function completions(shell: string): Promise<string> {
  let text = "";
  const exitCode = await main(["completions", shell], {
    env: {},
    stdout: outputTo((more) => text += more),
    stderr: outputTo(() => {}),
    journal: false,
    onSignal: () => () => {},
    exit: (code) => Deno.exit(code),
  });
  assertEquals(exitCode, 0);
  return text;
}

async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout).trim();
}

Deno.test("completions for bash complete commands and the flags of each", async () => {
  const complete = async (...words: string[]) =>
    await run(
      "bash",
      "-c",
      `${await completions(
        "bash",
      )}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _couchdb_backup; echo "\${COMPREPLY[@]}"`,
      "bash",
      "couchdb-backup",
      ...words,
    );
  assertEquals(await complete("res"), "restore");
  assertEquals(await complete("restore", "--into"), "--into-existing");
  assertEquals(await complete("verify", "--into"), "");
  assertEquals(await complete("list", "dat"), "databases");
  assertEquals(await complete("completions", "f"), "fish");
  assertEquals(await complete("list", "--log-format", "j"), "json journald");
  assertEquals(await complete("list", "--config", "deno.j"), "deno.json");
  assertEquals(await complete("restore", "--id", "d"), "", "nobody can guess an id");
  // As bash takes --flag=value apart.
  assertEquals(await complete("list", "--log-format", "="), "auto terminal plain json journald");
  assertEquals(await complete("list", "--log-format", "=", "j"), "json journald");
  assertEquals(await complete("report", "--output", "=", "deno.j"), "deno.json");
  assertEquals(await complete("help", "test"), "test-restore");
  assertEquals(await complete("he"), "help");
  assertEquals(await complete("--v"), "--version");
  assertEquals(await complete("completions", "de"), "", "it takes no config");
});

Deno.test("completions for bash complete a file whose name has spaces as one", async () => {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-completions-" });
  try {
    await Deno.writeTextFile(`${folder}/my own cfg.yaml`, "");
    const script = `${await completions("bash")}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _couchdb_backup; printf '<%s>' "\${COMPREPLY[@]}"`;
    for (const words of [["backup", "--config"], ["backup"]]) {
      const found = await run("bash", "-c", script, "bash", "couchdb-backup", ...words, `${folder}/my`);
      assertEquals(found, `<${folder}/my own cfg.yaml>`, words.join(" "));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("completions for fish complete commands and the flags of each", async () => {
  const script = await completions("fish");
  const complete = async (line: string) =>
    (await run("fish", "--no-config", "-c", `${script}\ncomplete -C '${line}'`)).split("\n").map((row) =>
      row.split("\t")[0]
    );
  assertEquals(await complete("couchdb-backup res"), ["restore"]);
  assertEquals(await complete("couchdb-backup restore --into"), ["--into-existing"]);
  assertEquals(await complete("couchdb-backup list dat"), ["databases"]);
  assertEquals(await complete("couchdb-backup list --log-format j"), ["journald", "json"]);
  assertEquals(await complete("couchdb-backup restore --id d"), [""], "nobody can guess an id");
  assertEquals(await complete("couchdb-backup plan --task list --si"), [""], "a task may be called as a command is");
  assertEquals(await complete("couchdb-backup list --si"), ["--since", "--sizes"]);
  assertEquals(await complete("couchdb-backup help test"), ["test-restore"]);
  assertEquals(await complete("couchdb-backup --v"), ["--version"]);
  assertEquals(await complete("couchdb-backup completions "), ["bash", "fish", "zsh"], "it takes no config");
});

Deno.test("completions for zsh are a script that zsh accepts", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, await completions("zsh"));
    assertEquals(await run("zsh", "-n", file), "");
    const text = await Deno.readTextFile(file);
    assertMatch(text, /'--log-format=\[.*?\]:FORMAT:\(auto /, "as --flag value, and as --flag=value");
    assertMatch(text, /^ +list\) .*'1:what:\{_alternative .*"files:file:_files"\}'/m, "list also takes a config");
  } finally {
    await Deno.remove(file);
  }
});
