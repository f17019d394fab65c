/** Progress bars on a real pseudo-terminal, in tmux: they draw, follow a resize and leave a clean screen. */
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
  const program = `seq -f 'earlier %.0f' 40; ${Deno.execPath()} run --quiet --no-check ${PROGRAM} 5000; sleep 60`;
  await tmux(folder, "new-session", "-d", "-x", "100", "-y", "30", program);
  try {
    const wide = await screenWith(folder, /first .*\[#+\.*\].*documents/);
    assertMatch(wide.at(-2) ?? "", /^backup {4}\[#*\.+\] {2}0\/3 databases {2}[\d,]+ documents/);
    for (const columns of [60, 40, 110, 70]) {
      await tmux(folder, "resize-window", "-x", String(columns));
      await delay(300);
      const bars = (await textOf(folder)).filter((line) => !/^\d{4}-\d\d-\d\dT\S+Z info {2}Chunk stored /.test(line));
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
