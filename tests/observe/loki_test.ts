import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLess,
  assertMatch,
  assertNotMatch,
  assertThrows,
} from "@std/assert";
import { openLog } from "../../src/observe/log.ts";
import { type LokiOptions, openLoki } from "../../src/observe/loki.ts";
import { Secret } from "../../src/secret.ts";
import { readLogfmt } from "../fakes/logfmt.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { FakeLoki } from "../fakes/loki.ts";
import { until } from "../until.ts";

/** A sink that loses no time between failures. */
function openTestLoki(loki: FakeLoki, options: Partial<LokiOptions> = {}) {
  return openLoki({
    url: loki.url,
    labels: { app: "couchdb-backup", host: "h1" },
    batchMs: 10,
    backoffMs: 5,
    maxBackoffMs: 20,
    ...options,
  });
}

function record(event: string, fields: Record<string, unknown> = {}, timeMs = 1_767_463_201_123) {
  return { timeMs, level: "info" as const, event, fields };
}

/** The events of what arrived, in the order of their stamps, which is the order a reader of Loki sees. */
function eventsOf(loki: FakeLoki): string[] {
  const sorted = loki.lines.toSorted((a, b) => (a.time < b.time ? -1 : 1));
  return sorted.map(({ line }) => readLogfmt(line).event ?? "");
}

function events(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `e${index}`);
}

/** Resolves soon after the double has answered so many requests. */
async function requested(loki: FakeLoki, count: number) {
  await until(() => loki.requests.length >= count, `${count} requests`);
  await new Promise((go) => setTimeout(go, 30)); // Nothing shows from outside that the sink has read the answer.
}

Deno.test("openLoki() pushes lines as logfmt, labelled with app, host, task and level, in the contract's form", async () => {
  const authorization = `Basic ${btoa("user:p\u00c3\u00a4ss")}`;
  const loki = new FakeLoki({ tenant: "t1", authorization });
  const sink = openTestLoki(loki, { tenant: "t1", login: "user", password: new Secret("päss") });
  const { log, close } = openLog({ level: "info", write() {}, sinks: [sink], now: () => 1_767_463_201_123 });
  log.with({ run: "r1", task: "weekly" }).info("Database saved", { database: "a b", documents: 3 });
  log.warn("No task", { task: undefined });
  assertEquals(await close(), { lostLines: 0, causes: [] });
  await loki.close();
  assertEquals(loki.breaches, []);
  assertEquals(loki.lines, [
    {
      labels: { app: "couchdb-backup", host: "h1", level: "info", task: "weekly" },
      time: 1_767_463_201_123_000_000n,
      line: 'event="Database saved" database="a b" documents=3 run=r1',
    },
    {
      labels: { app: "couchdb-backup", host: "h1", level: "warn" },
      time: 1_767_463_201_123_000_001n,
      line: 'event="No task"',
    },
  ]);
});

Deno.test("openLoki() adds the push path to a URL that has none, and takes the login out of it", async () => {
  const loki = new FakeLoki({ authorization: `Basic ${btoa("user:p:w/")}` });
  const sink = openTestLoki(loki, { url: new URL("/", loki.url).href.replace("//", "//user:p%3Aw%2F@") });
  sink.write(record("a"));
  await sink.flush({ deadlineMs: 30_000 });
  await loki.close();
  assertEquals([loki.breaches, eventsOf(loki)], [[], ["a"]]);
});

Deno.test("openLoki() throws for an address that is no URL, without quoting it", () => {
  for (const url of ["login:hunter2@host", "host", ""]) {
    assertThrows(() => openLoki({ url }), TypeError, "Loki's address is not an http or https URL");
  }
});

Deno.test("openLoki() keeps the order of lines of one millisecond and when the clock is set back", async () => {
  const loki = new FakeLoki();
  const sink = openTestLoki(loki);
  const times = [1_767_463_201_123, 1_767_463_201_123, 1_767_463_200_000, 1_767_463_201_124, 1_767_463_201_124];
  times.forEach((timeMs, index) => sink.write(record(`e${index}`, { task: `t${index % 2}` }, timeMs)));
  await sink.flush({ deadlineMs: 30_000 });
  await loki.close();
  assertEquals(loki.breaches, []);
  assertEquals(eventsOf(loki), events(5));
});

Deno.test("openLoki() sends by itself after a while, and at once when a batch is full", async () => {
  const loki = new FakeLoki();
  const patient = openTestLoki(loki, { batchMs: 60_000, batchCharacters: 1000 });
  for (const event of events(200)) patient.write(record(event, { filler: "x".repeat(30) }));
  await until(() => loki.lines.length >= 150, "the batches that are full", 5000);
  await patient.flush({ deadlineMs: 30_000 });
  assertEquals([loki.breaches, eventsOf(loki)], [[], events(200)]);
  for (const { lines } of loki.requests) assertLess(lines, 30);

  const before = loki.requests.length;
  const timed = openTestLoki(loki, { batchMs: 20 });
  timed.write(record("timed"));
  await until(() => loki.requests.length > before, "the batch that has waited");
  await timed.flush({ deadlineMs: 30_000 });
  await loki.close();
});

Deno.test("openLoki() delivers every line once and in order through 500, 500, 500, 429 and a lost answer", async () => {
  const loki = new FakeLoki();
  loki.faults.push({ status: 500 }, { status: 503 }, { status: 500 }, { status: 429, headers: { "retry-after": "0" } });
  loki.faults.push({ status: 502, keep: true });
  const sink = openTestLoki(loki, { batchMs: 1, batchCharacters: 500 });
  for (const event of events(300)) {
    sink.write(record(event, { run: "r1" }));
    // Lines come while others are on their way.
    if (Number(event.slice(1)) % 10 === 0) await new Promise((go) => setTimeout(go, 1));
  }
  assertEquals(await sink.flush({ deadlineMs: 30_000 }), { lostLines: 0, causes: [] });
  await loki.close();
  assertEquals([loki.breaches, eventsOf(loki)], [[], events(300)]);
});

Deno.test("flush() gets through three failures within its deadline, however patient the sink is otherwise", () =>
  withTurnsForTime(async () => {
    const loki = new FakeLoki();
    loki.faults.push({ status: 500 }, { status: 500 }, { status: 500 });
    const sink = openTestLoki(loki, { backoffMs: 10_000, maxBackoffMs: 60_000, random: () => 1 });
    sink.write(record("a"));
    assertEquals(await sink.flush({ deadlineMs: 2500 }), { lostLines: 0, causes: [] });
    await loki.close();
    assertEquals(eventsOf(loki), ["a"]);
  }));

Deno.test("openLoki() waits as long as Retry-After asks for, also in a flush", async () => {
  const loki = new FakeLoki();
  loki.faults.push({ status: 429, headers: { "retry-after": "1" } });
  const sink = openTestLoki(loki, { maxBackoffMs: 1000 });
  sink.write(record("a"));
  await requested(loki, 1);
  assertEquals(await sink.flush({ deadlineMs: 30_000 }), { lostLines: 0, causes: [] });
  await loki.close();
  const [first, second] = loki.requests;
  assertGreaterOrEqual((second?.at ?? 0) - (first?.at ?? 0), 950);
});

Deno.test("openLoki() gives up at once where Retry-After lies beyond the flush's deadline", () =>
  withTurnsForTime(async () => {
    const loki = new FakeLoki();
    loki.always = { status: 429, headers: { "retry-after": "30" } };
    for (const flushFirst of [true, false]) {
      const sink = openTestLoki(loki, { maxBackoffMs: 60_000 });
      sink.write(record("a"));
      if (!flushFirst) await requested(loki, loki.requests.length + 1);
      const started = performance.now();
      const { lostLines, causes } = await sink.flush({ deadlineMs: 4000 });
      assertLess(performance.now() - started, 3000);
      assertEquals(lostLines, 1);
      assertMatch(causes[0] ?? "", /^Loki at "127\.0\.0\.1:\d+" answered 429 fault$/);
    }
    await loki.close();
  }));

Deno.test("openLoki() drops what Loki refuses, counts it, says why and goes on", async () => {
  const loki = new FakeLoki();
  loki.faults.push({ status: 400 });
  const sink = openTestLoki(loki);
  for (const event of events(3)) sink.write(record(event));
  assertEquals((await sink.flush({ deadlineMs: 30_000 })).lostLines, 3);
  sink.write(record("later"));
  assertEquals((await sink.flush({ deadlineMs: 30_000 })).lostLines, 0);
  await loki.close();
  assertEquals([eventsOf(loki), loki.requests.length], [["later"], 2]);
});

Deno.test("openLoki() says the title of a page that a proxy answers, on one line", async () => {
  const loki = new FakeLoki();
  loki.faults.push({
    status: 404,
    body: "<!DOCTYPE html>\n<html>\n<title>No such\n page</title>\n<h1>nginx</h1></html>",
  });
  const sink = openTestLoki(loki);
  sink.write(record("a"));
  const { causes } = await sink.flush({ deadlineMs: 30_000 });
  await loki.close();
  assertEquals(causes, [`Loki at "${new URL(loki.url).host}" answered 404 No such page`]);
});

Deno.test("openLoki() drops the oldest lines first when the queue is full, and counts them", async () => {
  for (const limit of [{ queueLines: 100 }, { queueCharacters: "event=e1000".length * 100 }]) {
    const loki = new FakeLoki();
    loki.always = { status: 500 };
    const sink = openTestLoki(loki, limit);
    const all = Array.from({ length: 1000 }, (_, index) => `e${index + 1000}`);
    for (const event of all) sink.write(record(event));
    await until(() => loki.requests.length >= 2, "a second attempt");
    loki.always = undefined;
    const { lostLines, causes } = await sink.flush({ deadlineMs: 30_000 });
    await loki.close();
    assertEquals([lostLines, causes.length], [900, 1]);
    assertEquals([loki.breaches, eventsOf(loki)], [[], all.slice(900)]);
  }
});

Deno.test("flush() of a Loki that accepts and never answers ends at its deadline with every line counted", () =>
  withTurnsForTime(async () => {
    const loki = new FakeLoki();
    loki.always = { blackHole: true };
    const sink = openTestLoki(loki, { batchCharacters: 100 });
    for (const event of events(50)) sink.write(record(event));
    await until(() => loki.requests.length === 1, "the request that is not answered");
    const started = performance.now();
    const flushing = sink.flush({ deadlineMs: 300 });
    // Lines that are logged while the flush waits do not prolong it.
    const writing = setInterval(() => sink.write(record("late")), 0);
    const { lostLines, causes } = await flushing;
    clearInterval(writing);
    assertLess(performance.now() - started, 2000);
    assertGreaterOrEqual(lostLines, 50);
    assertMatch(causes[0] ?? "", /^Cannot reach Loki at "127\.0\.0\.1:\d+": no answer in 300 ms$/);
    await sink.flush({ deadlineMs: 1 });
    await loki.close();
  }));

Deno.test("flush() tells why when nothing listens, and write() takes no time meanwhile", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = listener.addr;
  listener.close();
  const sink = openLoki({ url: `http://login:hunter2@127.0.0.1:${port}/`, backoffMs: 5 });
  const started = performance.now();
  for (const event of events(10_000)) sink.write(record(event));
  assertLess(performance.now() - started, 5000);
  const { lostLines, causes } = await sink.flush({ deadlineMs: 1500 });
  assertEquals(lostLines, 10_000);
  assertMatch(causes.join(), new RegExp(`^Cannot reach Loki at "127\\.0\\.0\\.1:${port}": .*refused`));
  assertNotMatch(causes.join(), /hunter2/);
});

Deno.test("openLoki() gives a request up after its time limit and tries again", () =>
  withTurnsForTime(async () => {
    const loki = new FakeLoki();
    loki.faults.push({ blackHole: true });
    const sink = openTestLoki(loki, { requestTimeoutMs: 50 });
    sink.write(record("a"));
    assertEquals(await sink.flush({ deadlineMs: 30_000 }), { lostLines: 0, causes: [] });
    assert(loki.requests.length >= 2);
    await loki.close();
    assertEquals(eventsOf(loki), ["a"]);
  }));
