/** Where the program's output goes may break under it; what it does must not. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { main } from "../../src/cli/cli.ts";
import { couchOk } from "../couch_request.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { outputTo } from "../fakes/output.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";
import { PERMISSIONS, ROOT } from "./program.ts";

/** A script that is called with `program`, a command line, in the shell. */
interface Shell {
  /** Runs `script`; `$program` is the program's command line without arguments, `$folder` is a folder for files. */
  run(script: string): Promise<{ code: number; stdout: string; stderr: string }>;
  folder: string;
}

/** A double with a database of 40 documents, and a config that saves it in 40 chunks. */
async function withDatabase(test: (shell: Shell) => Promise<void>): Promise<void> {
  await using server = await startFakeCouchDb();
  await couchOk(server, "PUT /a");
  const docs = Array.from({ length: 40 }, (_, index) => ({ _id: `document ${index}` }));
  await couchOk(server, "POST /a/_bulk_docs", { docs });
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-output-" });
  await Deno.writeTextFile(
    `${folder}/config.yaml`,
    `database: {url: "${server.url}", login: ${server.login}, password: ${server.password}}
task: {often: {cron: "*:*:*", databases: [a], chunk: 1}}
bucket: file://${folder}/bucket
`,
  );
  const program = ["deno", "run", "--quiet", "--no-check", ...PERMISSIONS, `${ROOT}main.ts`].join(" ");
  const run = async (script: string) => {
    const child = new Deno.Command("bash", {
      args: ["-c", script],
      env: { NO_COLOR: "1", XDG_STATE_HOME: folder, program, folder },
      stdin: "null",
    });
    const { code, stdout, stderr } = await child.output();
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  };
  try {
    await test({ run, folder });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Fails unless the backup is whole. */
async function assertWhole({ run }: Shell): Promise<void> {
  const { code, stdout, stderr } = await run('$program verify a latest --config "$folder/config.yaml" --json');
  assertEquals(code, 0, stderr);
  assertEquals(JSON.parse(stdout).documents, 40);
}

Deno.test("report --output takes the place of a file alone: a pipe and what is the system's stay what they are", async () => {
  await withDatabase(async ({ run, folder }) => {
    // The program's permissions keep it from /dev in their own way: what they forbid is told in a line, too.
    const { stdout } = await run(`
      mkfifo "$folder/pipe"
      for path in "$folder/pipe" "$folder" /dev/couchdb-backup.html /dev/../proc/page; do
        $program report --output "$path" "$folder/config.yaml" 2>&1
        echo "ends with $?"
      done
      test -p "$folder/pipe" && echo "still a pipe"`);
    const hint = "  Name a file; without --output it goes to standard output";
    const refused = [`${folder}/pipe`, folder, "/dev/couchdb-backup.html", "/dev/../proc/page"].flatMap((path) => [
      `couchdb-backup: Cannot write the report to "${path}": it is not a file`,
      hint,
      "ends with 1",
    ]);
    assertEquals(stdout.trimEnd().split("\n"), [...refused, "still a pipe"]);
  });
});

Deno.test("backup 2>&1 | head -1 saves everything and ends with 0", async () => {
  await withDatabase(async (shell) => {
    const { code, stdout } = await shell.run(
      '{ $program backup "$folder/config.yaml" --all; echo $? >"$folder/code"; } 2>&1 | head -1; cat "$folder/code"',
    );
    assertEquals([code, stdout.trimEnd().split("\n").at(-1)], [0, "0"], stdout);
    await assertWhole(shell);
  });
});

Deno.test("backup saves everything on a terminal that is closed, and ends with 0", async () => {
  await withDatabase(async (shell) => {
    // `script` is the terminal: killed, it takes the terminal with it, and all in it get SIGHUP. The shell lives on for
    // the code.
    const { stdout, stderr } = await shell.run(
      `script -qfc 'trap : HUP; $program backup $folder/config.yaml --all; echo $? >$folder/code' "$folder/screen" >/dev/null 2>&1 &
       until [ -s "$folder/screen" ]; do sleep 0.05; done
       kill -9 $!
       for _ in $(seq 200); do [ -s "$folder/code" ] && break; sleep 0.1; done
       cat "$folder/code"`,
    );
    assertEquals(stdout, "0\n", stderr);
    await assertWhole(shell);
  });
});

Deno.test("a result that its reader does not want whole is no failure; one that the disk does not take is", async () => {
  await withDatabase(async ({ run }) => {
    const piped = await run('{ $program help backup; $program --help; echo "$? of help" >&2; } | true');
    assertStringIncludes(piped.stderr, "0 of help");
    const full = await run("$program --help >/dev/full");
    assertEquals(full.code, 1, full.stderr);
    assertStringIncludes(full.stderr, "couchdb-backup: Cannot write the result: ");
  });
});

Deno.test("log lines that the disk does not take are counted as lost; those that nobody reads are not", async () => {
  await withDatabase(async (shell) => {
    const { folder } = shell;
    const metrics = `${folder}/backup.prom`;
    const config = `${await Deno.readTextFile(`${folder}/config.yaml`)}prometheus: ${metrics}\n`;
    await Deno.writeTextFile(`${folder}/config.yaml`, config);
    const lost = async () => /^couchdb_backup_log_lines_lost\{.*\} (\d+)$/m.exec(await Deno.readTextFile(metrics))?.[1];
    const seen = await shell.run('$program backup "$folder/config.yaml"');
    assertEquals(await lost(), "0");
    const full = await shell.run('$program backup "$folder/config.yaml" 2>/dev/full');
    assertEquals(full.code, 0, full.stdout);
    const lines = seen.stderr.trimEnd().split("\n").length;
    assert(lines > 1);
    assertEquals(await lost(), String(lines));
    await assertWhole(shell);
    await shell.run('$program backup "$folder/config.yaml" 2>&1 >/dev/null | true; true');
    assertEquals(await lost(), "0");
  });
});

Deno.test("an error keeps its exit code where nobody can be told of it", async () => {
  await withDatabase(async ({ run }) => {
    assertEquals((await run("$program restores 2>/dev/full")).code, 2);
    // The reader ends at once, the program begins when it has.
    const { stdout } = await run(
      `{ sleep 0.5; $program restores; echo $? >"$folder/code"; } 2>&1 | true
       until [ -s "$folder/code" ]; do sleep 0.1; done
       cat "$folder/code"`,
    );
    assertEquals(stdout, "2\n");
  });
});

Deno.test("results fit a terminal of 80 columns between words, but for commands that are to be pasted", async () => {
  await using server = await startFakeCouchDb();
  await couchOk(server, "PUT /orders");
  await couchOk(server, "POST /orders/_bulk_docs", { docs: [{ _id: "order:1" }] });
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-output-" });
  try {
    const config = `${folder}/config.yaml`;
    await Deno.writeTextFile(
      config,
      `database: {url: "${server.url}", login: ${server.login}, password: ${server.password}}
task: {often: {cron: "*:*:*", databases: [orders], retention: {keep_last: 1}}}
bucket: ${folder}/bucket
`,
    );
    // Whatever the umask: check has something to say of that.
    await Deno.chmod(config, 0o644);
    const calls = [
      ["backup"],
      ["check"],
      ["restore", "orders_check", "latest/orders"],
      ["diff", "orders_check", "latest/orders", "live"],
      ["verify", "orders", "latest"],
      ["test-restore"],
      ["status"],
      ["keep", "orders", "latest"],
      ["unkeep", "orders", "latest"],
      ["find", "orders", "--id", "order:1"],
      ["expire"],
      ["report", "--output", `${folder}/report of this CouchDB and of all of its databases, for a year.html`],
      ["verify", "--all"],
    ];
    for (const args of calls) {
      let printed = "";
      const output = { ...outputTo((text) => void (printed += text)), isTerminal: true, columns: () => 80 };
      const shell = new QuietShell({ XDG_STATE_HOME: folder, NO_COLOR: "1" });
      const code = await main([...args, "--config", config, "--quiet"], {
        env: shell.env,
        stdout: output,
        stderr: outputTo((text) => void (shell.err += text)),
        journal: false,
        onSignal: () => () => {},
        exit: shell.exit,
      });
      assertEquals(code, 0, `${args.join(" ")}: ${shell.err}`);
      if (args[0] === "check") {
        // What is said of a row goes on below where it began, and a hint can be pasted.
        assertStringIncludes(printed, `none with\n${" ".repeat(31)}an attachment was found to try\n`);
        assertStringIncludes(printed, `chmod o-rwx ${config}\n`);
      }
      const long = printed.split("\n").filter((line) =>
        line.length > 79 && !/couchdb-backup |^ +chmod /.test(line) && line.trim().includes(" ")
      );
      assertEquals(long, [], args.join(" "));
      assert(printed !== "", args.join(" "));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
