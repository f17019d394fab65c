import { assertEquals, assertLessOrEqual, assertMatch } from "@std/assert";
import { openLog } from "../../src/observe/log.ts";
import { openProgressLines } from "../../src/observe/progress.ts";
import { openProgressBars } from "../../src/observe/progress_bars.ts";
import { FakeTerminal } from "../fakes/terminal.ts";
import { withFakeTimers } from "../fake_timers.ts";

/** Bars on a terminal of `columns`, with a clock that the test moves, and a width that it tells when the test says. */
function openBars(columns: number) {
  const terminal = new FakeTerminal(columns);
  const known = { columns };
  const clock = { ms: 0 };
  const bars = openProgressBars({
    write: (text) => terminal.write(text),
    columns: () => known.columns,
    intervalMs: 2,
    now: () => clock.ms,
  });
  return { terminal, known, clock, bars };
}

/** Half way through the second of four databases. */
function openHalfway(columns: number, pass: (ms: number) => void) {
  const opened = openBars(columns);
  const { bars, clock } = opened;
  bars.runStarted({ action: "backup", databases: 4 });
  bars.databaseStarted({ database: "first", documents: 1 });
  bars.advanced({ documents: 1, bytes: 1_000_000 });
  bars.databaseFinished({ database: "first", ok: false });
  clock.ms = 6000;
  bars.databaseStarted({ database: "account/ab/cd/0123", documents: 2000 });
  bars.advanced({ documents: 1000, bytes: 30_000_000 });
  clock.ms = 9000;
  pass(20);
  return opened;
}

Deno.test("openProgressBars() draws the run and the database in hand", async () => {
  await withFakeTimers((pass) => {
    const { terminal, bars } = openHalfway(120, pass);
    assertEquals(
      terminal.text(),
      "backup    [###########...................]  1 failed  1/4 databases  1,001 documents  15s left\n" +
        "account/ab/cd/0123  [###############...............]  1,000/2,000 documents   10.0 MB/s  3.0s left",
    );
    bars.runFinished();
  });
});

Deno.test("openProgressBars() leaves a clean screen with the log lines above, each whole", async () => {
  await withFakeTimers((pass) => {
    const { terminal, bars } = openHalfway(80, pass);
    bars.writeLine("line 1");
    pass(10);
    bars.writeLine("a line that is longer than the terminal is wide ".repeat(3).trim());
    bars.writeLine("line 3");
    assertEquals(terminal.text().split("\n").length, 6);
    bars.databaseFinished({ database: "account/ab/cd/0123", ok: true });
    pass(10);
    bars.runFinished();
    const wrapped = ("a line that is longer than the terminal is wide ".repeat(3).trim()).match(/.{1,80}/g) ?? [];
    assertEquals(terminal.text(), ["line 1", ...wrapped.map((row) => row.trimEnd()), "line 3"].join("\n"));
    bars.writeLine("after");
    assertEquals(terminal.text().endsWith("line 3\nafter"), true);
  });
});

Deno.test("openProgressBars() follows a resize in both directions without leaving anything behind", async () => {
  await withFakeTimers((pass) => {
    const { terminal, known, bars } = openHalfway(100, pass);
    bars.writeLine("log");
    for (const columns of [50, 20, 33, 120, 8, 80]) {
      // tmux wraps its screen at once and tells the program up to a quarter of a second later.
      terminal.resize(columns);
      pass(10);
      assertEquals(terminal.text().split("\n").length, 3);
      known.columns = columns;
      pass(10);
      const [first, ...others] = terminal.text().split("\n");
      assertEquals([first, others.length], ["log", 2], `at ${columns}`);
      for (const line of others) assertLessOrEqual(line.length, columns - 1);
    }
    bars.runFinished();
    assertEquals(terminal.text(), "log");
  });
});

Deno.test("openProgressBars() shows a run of one database as one bar, and no bar where the size is unknown", async () => {
  await withFakeTimers((pass) => {
    const { terminal, bars, clock } = openBars(80);
    bars.runStarted({ action: "restore", databases: 1 });
    bars.databaseStarted({ database: "media", documents: undefined });
    bars.advanced({ documents: 1234, bytes: 5_000_000 });
    clock.ms = 1000;
    pass(20);
    assertEquals(terminal.text(), "media     1,234 documents    5.0 MB/s  5.0 MB");
    bars.runFinished();
  });
});

Deno.test("openProgressBars() lets no name move the cursor, and no count take a bar beyond its end", async () => {
  await withFakeTimers((pass) => {
    const { terminal, bars } = openBars(80);
    bars.runStarted({ action: "backup", databases: 1 });
    bars.databaseStarted({ database: "a\n\x1b[2Jb", documents: 10 });
    bars.advanced({ documents: 1000, bytes: 0 });
    pass(20);
    assertMatch(terminal.text(), /^a\\n\\u001b\[2Jb {2}\[#+\] {2}1,000 documents/);
    bars.runFinished();
  });
});

Deno.test("openProgressBars() survives a terminal that is gone, and the log counts the lines it could not write", async () => {
  await withFakeTimers(async (pass) => {
    const bars = openProgressBars({
      write() {
        throw new Error("EIO");
      },
      columns: () => 80,
      intervalMs: 1,
    });
    const { log, flush } = openLog({ level: "info", write: (line) => bars.writeLine(line) });
    bars.runStarted({ action: "backup", databases: 2 });
    pass(10);
    log.info("a");
    bars.runFinished();
    assertEquals(await flush(), { lostLines: 1, causes: ["Cannot write log lines: EIO"] });
  });
});

Deno.test("openProgressLines() logs at intervals where the run is, and stops with it", async () => {
  await withFakeTimers((pass) => {
    const lines: string[] = [];
    const { log } = openLog({ level: "info", format: "journald", write: (line) => lines.push(line) });
    const clock = { ms: 0 };
    const progress = openProgressLines({ log, intervalMs: 10, now: () => clock.ms });
    progress.runStarted({ action: "verify", databases: 3 });
    progress.databaseStarted({ database: "a", documents: 1 });
    progress.databaseFinished({ database: "a", ok: false });
    progress.databaseStarted({ database: "media", documents: 400 });
    progress.advanced({ documents: 100, bytes: 1_000_000 });
    clock.ms = 4000;
    assertEquals(lines, []);
    pass(25);
    progress.runFinished();
    assertEquals(
      lines[0],
      "<6>Progress action=verify databases=3 finished=1 failed=1 database=media documents=100 expectedDocuments=400 " +
        "bytes=1000000 bytesPerSecond=250000 restSeconds=12",
    );
    const count = lines.length;
    pass(25);
    assertEquals(lines.length, count);
  });
});

Deno.test("openProgressLines() says nothing of a database between two, nor of a rest that nobody can know", async () => {
  await withFakeTimers((pass) => {
    const lines: string[] = [];
    const { log } = openLog({ level: "info", format: "journald", write: (line) => lines.push(line) });
    const progress = openProgressLines({ log, intervalMs: 5, now: () => 0 });
    progress.runStarted({ action: "backup", databases: 3 });
    pass(12);
    progress.runFinished();
    assertEquals(lines[0], "<6>Progress action=backup databases=3 finished=0");
  });
});

Deno.test("openProgressLines() counts databases that are in hand side by side, each for itself", () => {
  withFakeTimers((pass) => {
    const lines: string[] = [];
    const { log } = openLog({ level: "info", write: (line) => void lines.push(line) });
    const progress = openProgressLines({ log, intervalMs: 1000, now: () => 0 });
    progress.runStarted({ action: "backup", databases: 3 });
    for (const database of ["a", "b"]) progress.databaseStarted({ database, documents: 10 });
    progress.advanced({ database: "b", documents: 7, bytes: 70 });
    progress.advanced({ database: "a", documents: 4, bytes: 40 });
    pass(1000);
    progress.databaseFinished({ database: "a", ok: true });
    pass(1000);
    progress.runFinished();
    const shown = lines.map((line) => /finished=\d+.* database=\w documents=\d+/.exec(line)?.[0]);
    assertEquals(shown, ["finished=0 database=a documents=4", "finished=1 database=b documents=7"]);
  });
});
