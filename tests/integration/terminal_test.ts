/**
 * Progress bars and the program's lines on a real pseudo-terminal, in tmux: they draw, follow a resize and leave a
 * clean screen.
 */
import { PERMISSIONS, ROOT } from "../cli/program.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { until } from "../until.ts";
import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual, assertMatch } from "@std/assert";

const PROGRAM = new URL("../fakes/progress_program.ts", import.meta.url).pathname;

/** Runs tmux with a server of its own, whose socket is in `folder`. */
async function tmux(folder: string, ...args: string[]): Promise<string> {
  const command = new Deno.Command("tmux", { args: ["-S", `${folder}/tmux`, "-f", "/dev/null", ...args] });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(`tmux ${args[0]}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The screen's lines without empty ones at its end, once `wanted` is on it. */
async function screenWith(folder: string, wanted: RegExp): Promise<string[]> {
  for (let tries = 0; tries < 200; tries++) {
    const screen = (await tmux(folder, "capture-pane", "-p")).trimEnd();
    if (wanted.test(screen)) return screen.split("\n");
    await delay(50);
  }
  throw new Error(`the screen never showed ${wanted}: ${await tmux(folder, "capture-pane", "-p")}`);
}

/** Everything that was written since the earlier lines, scrolled away or not, with wrapped lines joined again. */
async function textOf(folder: string): Promise<string[]> {
  const text = await tmux(folder, "capture-pane", "-p", "-J", "-S", "-");
  const lines = text.trimEnd().split("\n").map((line) => line.trimEnd());
  const earlier = Array.from({ length: 40 }, (_, index) => `earlier ${index + 1}`);
  assertEquals(lines.slice(0, 40), earlier);
  return lines.slice(40);
}

Deno.test("openProgressBars() draws in a terminal, follows its resizing and leaves nothing but the log", async () => {
  const folder = await Deno.makeTempDir();
  // On a screen that is full, as after some work: on a nearly empty one tmux moves the first rows into its history when
  // it becomes narrower, the cursor's row among them, and puts the cursor elsewhere.
  const program = `seq -f 'earlier %.0f' 40; ${Deno.execPath()} run --quiet --no-check ${PROGRAM} 8000; sleep 60`;
  await tmux(folder, "new-session", "-d", "-x", "100", "-y", "30", program);
  try {
    const wide = await screenWith(folder, /first .*\[#+\.*\].*documents/);
    assertMatch(wide.at(-2) ?? "", /^backup {4}\[#*\.+\] {2}0\/3 databases {2}[\d,]+ documents/);
    for (const columns of [60, 40, 110, 70]) {
      await tmux(folder, "resize-window", "-x", String(columns));
      const isLog = (line: string) => /^\d{4}-\d\d-\d\dT\S+Z info {2}Chunk stored /.test(line);
      let bars: string[] = [];
      // tmux tells the program up to a quarter of a second later, and a busy machine lets it draw when it has time.
      const isDrawn = async () => {
        bars = (await textOf(folder)).filter((line) => !isLog(line));
        return bars.length === 2 && bars.every((bar) => bar.length < columns);
      };
      await delay(300);
      await until(isDrawn, `two bars of ${columns} columns`, 3_000).catch(() => {});
      assertEquals(bars.length, 2, `at ${columns}: ${JSON.stringify(bars)}`);
      for (const bar of bars) assertLessOrEqual(bar.length, columns - 1);
    }
    await screenWith(folder, /^The end$/m);
    const end = await textOf(folder);
    assertEquals(end.pop(), "The end");
    const chunks = end.map((line) => line.replace(/^\S+Z info {2}Chunk stored /, ""));
    const expected = ["first", "account/ab/cd/0123456789abcdef", "last"].flatMap((database) =>
      [1, 2, 3].map((chunk) => `database=${database} chunk=${chunk}`)
    );
    assertEquals(chunks, expected);
  } finally {
    await tmux(folder, "kill-server");
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openProgressLines() writes no control character where standard error is a pipe", async () => {
  const command = new Deno.Command(Deno.execPath(), { args: ["run", "--quiet", "--no-check", PROGRAM, "600"] });
  const { success, stderr } = await command.output();
  const text = new TextDecoder().decode(stderr);
  assert(success);
  // deno-lint-ignore no-control-regex
  assertEquals(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(text), false);
  assertGreaterOrEqual(text.match(/ info {2}Progress action=backup databases=3 /g)?.length ?? 0, 2);
});

/** What the program writes on a terminal of its own, once it is over; `escapes` keeps colours. */
async function runInTerminal(
  args: readonly string[],
  { columns, env = {}, escapes = false }: { columns: number; env?: Record<string, string>; escapes?: boolean },
): Promise<string[]> {
  const folder = await Deno.makeTempDir();
  const variables = { LANG: "C.UTF-8", XDG_STATE_HOME: folder, NO_COLOR: "", ...env };
  const words = Object.entries(variables).map(([name, value]) => `${name}='${value}'`);
  const program = [Deno.execPath(), "run", "--quiet", "--no-check", ...PERMISSIONS, `${ROOT}main.ts`, ...args];
  const line = `env LC_ALL= LC_CTYPE= ${words.join(" ")} ${program.join(" ")}; echo "The end: $?"; sleep 60`;
  await tmux(folder, "new-session", "-d", "-x", String(columns), "-y", "40", line);
  try {
    await screenWith(folder, /^The end: /m);
    const text = await tmux(folder, "capture-pane", "-p", "-J", "-S", "-", ...escapes ? ["-e"] : []);
    return text.trimEnd().split("\n").map((line) => line.trimEnd());
  } finally {
    await tmux(folder, "kill-server");
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("backup gives a person at a terminal a line for each database, and a program that reads it logfmt", async () => {
  await using couch = await startFakeCouchDb();
  const account = "account/ab/cd/0123456789abcdef0123456789ab";
  for (const name of [account, "broken", "media"]) await createDatabase(couch, name, idsOf(12));
  const faults = {
    endpoint: "_bulk_get",
    database: "broken",
    times: 1000,
    fault: { kind: "status", status: 404 },
  } as const;
  const folder = await Deno.makeTempDir();
  const config = `${folder}/config.yaml`;
  const text = `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {weekly: {databases: [".*[a-z]"], exclude: ["_.*"], incremental: true}}
bucket: ${folder}/bucket
`;
  await Deno.writeTextFile(config, text.replace("[a-z]", "[a-z0-9]"));
  const args = ["backup", config];
  // Times are as they come.
  const withoutTimes = (lines: string[]) =>
    lines.map((line) => line.replaceAll(/\d+\.\ds/g, "0.0s").replace(/run .*/, "run"));
  try {
    couch.faults.add(faults);
    const narrow = withoutTimes(await runInTerminal(args, { columns: 80 }));
    // Databases overlap within a task, so one's line may come before another's.
    assertMatch(
      narrow.join("\n"),
      /^✓ account\/ab\/cd\/0123456789abcdef0123456789ab {7}12 documents {2} *\d+ B {4}0\.0s$/m,
    );
    assertMatch(narrow.join("\n"), /^✗ broken: Cannot /m);
    const sum = narrow.findIndex((line) => line.startsWith("Task weekly"));
    assertMatch(narrow[sum]!, /^Task weekly, [\d-]{10}: 2 of 3 databases, 24 documents, /);
    assertMatch(
      narrow.slice(sum).join("\n"),
      /Saved 2 of 3 databases \(1 failed\) in 0\.0s, run[\s\S]*Failed: 1\n {2}broken: Cannot [\s\S]*The end: 3$/,
    );

    couch.faults.clear();
    const wide = withoutTimes(await runInTerminal(args, { columns: 120 }));
    assert(wide.includes(`= ${account.padEnd(44)}            unchanged            0.0s`), wide.join("\n"));
    assertMatch(wide.join("\n"), /^✓ broken {38} {9}12 documents/m);
    assertEquals(wide.at(-1), "The end: 0");

    const coloured = (await runInTerminal(args, { columns: 80, escapes: true })).join("\n");
    assert(coloured.includes("\x1b["), coloured);
    const plain = (await runInTerminal(args, { columns: 80, escapes: true, env: { NO_COLOR: "1" } })).join("\n");
    assert(!plain.includes("\x1b["), plain);

    const dumb = await runInTerminal(args, { columns: 80, escapes: true, env: { TERM: "dumb" } });
    assertMatch(dumb.join("\n"), /^= account\/ab\/cd\/0123456789abcdef0123456789ab /m);
    assert(/^[\x20-\x7e\n]*$/.test(dumb.join("\n")), dumb.join("\n"));

    const logfmt = await runInTerminal([...args, "--log-format", "plain"], { columns: 120 });
    assertMatch(logfmt[0] ?? "", /^\d{4}-\d\d-\d\dT\S+Z info {2}database is backed up documents=0 /);

    const pipe = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", ...PERMISSIONS, `${ROOT}main.ts`, ...args],
      env: { XDG_STATE_HOME: folder },
    }).output();
    assertMatch(
      new TextDecoder().decode(pipe.stderr),
      /^\d{4}-\d\d-\d\dT\S+Z info {2}database is backed up documents=0 /,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a CouchDB that is away shows at a terminal, and in a pipe, within two seconds", async () => {
  const folder = await Deno.makeTempDir();
  const config = `${folder}/config.yaml`;
  // Nothing listens on port 1.
  const text = `database: {url: "http://127.0.0.1:1"}\ntask: {all: {databases: [a]}}\nbucket: ${folder}/bucket\n`;
  await Deno.writeTextFile(config, text);
  const words = ["run", "--quiet", "--no-check", ...PERMISSIONS, `${ROOT}main.ts`, "backup", config];
  const line = `env LANG=C.UTF-8 LC_ALL= XDG_STATE_HOME=${folder} ${Deno.execPath()} ${words.join(" ")}`;
  const begin = performance.now();
  await tmux(folder, "new-session", "-d", "-x", "100", "-y", "40", `${line}; sleep 60`);
  try {
    await screenWith(
      folder,
      /^! couchdb does not answer as it should: retrying in 0\.\ds, for the second time/m,
    );
    const tookMs = performance.now() - begin;
    const child = new Deno.Command(Deno.execPath(), { args: words, env: { XDG_STATE_HOME: folder }, stderr: "piped" })
      .spawn();
    let said = "";
    for await (const part of child.stderr.pipeThrough(new TextDecoderStream())) {
      said += part;
      if (said.includes("retrying")) break;
    }
    child.kill("SIGKILL");
    await child.status;
    assertMatch(said, /warn {2}couchdb does not answer as it should: retrying attempt=2 waitMs=\d+ error=/);
    // The start of a process on a busy machine among them; the last of seven tries is after half a minute.
    assertLessOrEqual(tookMs, 8000);
  } finally {
    await tmux(folder, "kill-server");
    await Deno.remove(folder, { recursive: true });
  }
});
