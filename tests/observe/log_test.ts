import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type FlushResult, isJournal, type LogRecord, type LogSink, openLog } from "../../src/observe/log.ts";
import { Secret } from "../../src/secret.ts";

const AT = Date.UTC(2026, 0, 3, 18, 0, 1, 123);

function collect(options: Partial<Parameters<typeof openLog>[0]> = {}) {
  const lines: string[] = [];
  return { lines, ...openLog({ level: "debug", write: (line) => lines.push(line), now: () => AT, ...options }) };
}

class ListSink implements LogSink {
  readonly name = "list";
  records: LogRecord[] = [];
  readonly result: FlushResult;

  constructor(result: FlushResult = { lostLines: 0, causes: [] }) {
    this.result = result;
  }
  write(record: LogRecord) {
    this.records.push(record);
  }
  flush() {
    return Promise.resolve(this.result);
  }
}

Deno.test("openLog() writes plain lines of time, level, event and fields", () => {
  const { lines, log } = collect();
  log.info("Database saved", { database: "media", documents: 3, error: undefined });
  log.with({ run: "r1" }).with({ task: "week ly" }).warn("Slow", { task: "other" });
  log.error("No fields");
  assertEquals(lines, [
    "2026-01-03T18:00:01.123Z info  Database saved database=media documents=3",
    "2026-01-03T18:00:01.123Z warn  Slow task=other run=r1",
    "2026-01-03T18:00:01.123Z error No fields",
  ]);
});

Deno.test("openLog() writes nothing below its level, and sinks can have a level of their own", () => {
  const sink = new ListSink();
  const { lines, log } = collect({ level: "warn", sinkLevel: "info", sinks: [sink] });
  log.debug("a");
  log.info("b");
  log.warn("c");
  assertEquals(lines.length, 1);
  assertEquals(sink.records.map((record) => record.event), ["b", "c"]);
});

Deno.test("openLog() colours only when told to, and colours change no text", () => {
  const plain = collect();
  const colored = collect({ color: true });
  for (const { log } of [plain, colored]) log.warn("Slow", { database: "a b" });
  assertStringIncludes(colored.lines[0] ?? "", "\x1b[33m");
  // deno-lint-ignore no-control-regex
  assertEquals(colored.lines[0]?.replace(/\x1b\[\d+m/g, ""), plain.lines[0]);
});

Deno.test("openLog() writes priorities and no time stamp for the journal", () => {
  const { lines, log } = collect({ format: "auto", journal: true });
  log.debug("a");
  log.info("b", { x: 1 });
  log.warn("c");
  log.error("d");
  assertEquals(lines, ["<7>a", "<6>b x=1", "<4>c", "<3>d"]);
});

Deno.test("openLog() writes one JSON object per line, whose own keys no field can replace", () => {
  const { lines, log } = collect({ format: "json", journal: true });
  log.info("Saved", { level: "forged", time: 1, database: "a\nb\u009b", password: new Secret("hunter2") });
  assertMatch(lines[0] ?? "", /^[\x20-\x7e]+$/);
  assertEquals(JSON.parse(lines[0] ?? ""), {
    time: "2026-01-03T18:00:01.123Z",
    level: "info",
    event: "Saved",
    level_: "forged",
    time_: 1,
    database: "a\nb\u009b",
    password: "***",
  });
});

Deno.test("openLog() keeps one line one line in every format, whatever an event or a name contains", () => {
  for (const format of ["plain", "json", "journald"] as const) {
    const { lines, log } = collect({ format });
    log.info("Event\n<0>forged", {
      "key\nforged": "value\n2026-01-03T18:00:01.123Z info forged",
      b: "\x1b]0;title\x07",
    });
    assertEquals(lines.length, 1);
    // deno-lint-ignore no-control-regex
    assertEquals(/[\u0000-\u001f\u007f-\u009f]/.test(lines[0] ?? ""), false, format);
  }
});

Deno.test("openLog() opens logs that do not mix", () => {
  const one = collect();
  const two = collect();
  one.log.info("one");
  two.log.info("two");
  assertEquals([one.lines.length, two.lines.length], [1, 1]);
});

Deno.test("openLog() never throws into its caller, and counts the lines it could not hand on", async () => {
  const sink = new ListSink();
  sink.write = () => {
    throw new Error("sink broke");
  };
  let broken = true;
  const lines: string[] = [];
  const { log, flush } = openLog({
    level: "info",
    write: (line) => {
      if (broken) throw new Error("EPIPE");
      lines.push(line);
    },
    sinks: [sink],
  });
  log.info("a");
  broken = false;
  const result = await flush();
  assertEquals(result.lostLines, 2);
  assertEquals(result.causes, ["Cannot write log lines: EPIPE", "Cannot hand log lines to list: sink broke"]);
  assertEquals(await flush(), { lostLines: 0, causes: [] });
});

Deno.test("flush() says on the console, and not to the sink, how many lines a sink has lost", async () => {
  const sink = new ListSink({ lostLines: 7, causes: ["Loki answered 400"] });
  const { lines, flush } = collect({ sinks: [sink] });
  assertEquals(await flush(), { lostLines: 7, causes: ["Loki answered 400"] });
  assertEquals(lines, [
    '2026-01-03T18:00:01.123Z warn  Log lines lost sink=list lostLines=7 cause="Loki answered 400"',
  ]);
  assertEquals(sink.records, []);
});

Deno.test("flush() has two seconds, and half a second after one that has lost lines, unless told otherwise", async () => {
  const deadlines: number[] = [];
  const results = [{ lostLines: 1, causes: ["x"] }, { lostLines: 0, causes: [] }];
  const sink: LogSink = {
    name: "list",
    write() {},
    flush({ deadlineMs }) {
      deadlines.push(deadlineMs);
      return Promise.resolve(results.shift() ?? { lostLines: 0, causes: [] });
    },
  };
  const { flush, close } = collect({ sinks: [sink] });
  await flush();
  await flush();
  await flush({ deadlineMs: 7 });
  await close();
  assertEquals(deadlines, [2000, 500, 7, 2000]);
});

Deno.test("close() leaves the console open and hands nothing more to sinks", async () => {
  const sink = new ListSink();
  const { lines, log, close } = collect({ sinks: [sink] });
  log.info("a");
  await close();
  log.info("b");
  assertEquals([lines.length, sink.records.length], [2, 1]);
});

Deno.test("isJournal() compares the variable with the file behind standard error", () => {
  assertEquals(isJournal("8:123", { dev: 8, ino: 123 }), true);
  assertEquals(isJournal("8:18446744073709551615", { dev: 8n, ino: 18446744073709551615n }), true);
  assertEquals(isJournal("8:123", { dev: 8, ino: 124 }), false);
  assertEquals(isJournal(undefined, { dev: 8, ino: 123 }), false);
  assertEquals(isJournal("", { dev: 8, ino: 123 }), false);
});
