import { assert, assertEquals, assertLess, assertMatch, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import {
  CalendarStrip,
  dateOfDay,
  type ReportData,
  type ReportedDatabase,
  ticksOf,
} from "../../src/observe/report_data.ts";
import { formatReportPage } from "../../src/observe/report_page.ts";

const EVIL = `</script><img src=x onerror="alert('1')">&\u202e\u2028`;

function databaseOf(database: string, part: Partial<ReportedDatabase> = {}): ReportedDatabase {
  return {
    database,
    task: "nightly",
    last: "2026-11-28T02:00:00.000Z",
    age_seconds: 3600,
    documents: 10,
    bytes: 1000,
    depth: 1,
    unreadable: 0,
    backups: 3,
    days: ".f=",
    sizes: "<",
    ...part,
  };
}

function dataOf(databases: ReportedDatabase[], part: Partial<ReportData["tasks"][number]> = {}): ReportData {
  return {
    made_at: "2026-11-28T02:40:00.000Z",
    from: "2026-11-26",
    to: "2026-11-28",
    ok: true,
    tasks: [{
      task: "nightly",
      state: "saved",
      ok: true,
      last_complete_at: "2026-11-28T02:00:00.000Z",
      age_seconds: 2400,
      elapse: null,
      next: "2026-11-29T02:00:00.000Z",
      databases: 1,
      failed: [],
      error: null,
      retry_at: null,
      generations: 1,
      runs: [{ at: "2026-11-28T02:00:00.000Z", ok: true, seconds: 60, databases: 1, failed: 0, by_hand: false }],
      runs_unread: 0,
      ...part,
    }],
    proofs: { verify: null, test_restore: null },
    by_day: { complete: [0, 1, 0], unchanged: [0, 0, 1], failed: [0, 0, 0], bytes: [0, 1000, 0] },
    databases,
  };
}

Deno.test("CalendarStrip counts letters that repeat, and keeps what counts most of a day", () => {
  const strip = new CalendarStrip(8);
  strip.mark(2, "x");
  strip.mark(2, "f", 1023);
  strip.mark(2, "=");
  for (const day of [3, 4, 5]) strip.mark(day, "=");
  strip.mark(6, "l");
  assertEquals([strip.toString(), strip.sizes()], [".2f=3l.", String.fromCharCode(40 + 20)]);
  assertEquals(new CalendarStrip(365).toString(), ".365");
});

Deno.test("ticksOf() names months, January as its year, some days of a short time, and no more than fit", () => {
  const labels = (from: string, days: number) => ticksOf(from, days).map(([, label]) => label).join(" ");
  assertEquals(labels("2025-11-29", 365), "Dec 2026 Feb Mar Apr May Jun Jul Aug Sep Oct Nov");
  assertEquals(ticksOf("2025-11-29", 365)[1], [33, "2026"]);
  assertEquals(labels("2026-11-22", 7), "22 Nov 23 Nov 24 Nov 25 Nov 26 Nov 27 Nov 28 Nov");
  assertEquals(labels("2026-08-31", 90), "31 Aug 12 Sep 24 Sep 6 Oct 18 Oct 30 Oct 11 Nov 23 Nov");
  assertEquals(labels("2023-11-29", 1096), "2024 Apr Jul Oct 2025 Apr Jul Oct 2026 Apr Jul Oct");
  for (let days = 1; days < 12_000; days += 97) {
    const ticks = ticksOf("1996-02-29", days);
    assert(ticks.length >= 1 && ticks.length <= 13, `${days} days: ${ticks.length}`);
    for (const [day] of ticks) assert(day >= 0 && day < days);
  }
});

Deno.test("formatReportPage() says which day is which, and one failure among ten thousand databases is seen", () => {
  const by_day = { complete: [0, 9_000, 400], unchanged: [0, 1_000, 9_599], failed: [0, 0, 1], bytes: [0, 1000, 20] };
  const page = formatReportPage({ ...dataOf([databaseOf("media")]), by_day });
  assertEquals(dateOfDay("2026-11-26", 2), "2026-11-28");
  const [, drawn = ""] = /<svg class="days"[^>]*>([\s\S]*?)<\/svg>/.exec(page) ?? [];
  const days = [...drawn.matchAll(/<g><title>([^<]*)<\/title>(.*?)<\/g>/g)];
  assertEquals(days.map(([, title]) => title), [
    "2026-11-27: 9,000 saved, 1,000 unchanged, 0 failed, 1.0 kB stored",
    "2026-11-28: 400 saved, 9,599 unchanged, 1 failed, 20 B stored",
  ]);
  const partsOf = (text = "") =>
    [...text.matchAll(/class="(\w+)" x="2" y="([\d.]+)" width="1" height="([\d.]+)"/g)]
      .map(([, name, y, height]) => [name, Number(y), Number(height)]);
  const parts = partsOf(days[1]?.[2]);
  assertEquals(parts.find(([name]) => name === "x"), ["x", 0, 4]);
  const stack = parts.filter(([name]) => name !== "i");
  assertEquals(Math.round(stack.reduce((sum, [, , height]) => sum + Number(height), 0)), 80);
  assertMatch(page, /<svg class="ticks"[^>]*>.*>26 Nov<.*>28 Nov<.*<\/svg>/);
});

Deno.test("formatReportPage() unfolds a few failures, and folds what would push the rest off the screen", () => {
  const failed = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ database: `d${index}`, error: "No space left" }));
  const pageOf = (count: number) => formatReportPage(dataOf([databaseOf("d0")], { failed: failed(count), ok: false }));
  assertStringIncludes(pageOf(10), "<details open><summary>10 databases not saved");
  assertStringIncludes(pageOf(11), "<details><summary>11 databases not saved");
});

Deno.test("formatReportPage() shows hostile names as text, in HTML and in its data", () => {
  const failed = [{ database: EVIL, error: EVIL }];
  const data = dataOf([databaseOf(EVIL, { task: EVIL })], { task: EVIL, error: EVIL, failed, ok: false });
  const page = formatReportPage(data);
  assertEquals(page.includes("<img"), false);
  assertEquals(page.match(/<\/script>/g)?.length, 2, "the data's end and the script's");
  const outside = page.replace(/<script type="application\/json"[\s\S]*?<\/script>/, "");
  assertEquals(/[\u2028\u202e]/.test(outside), false);
  const [, json = ""] = /<script type="application\/json" id="data">([\s\S]*?)<\/script>/.exec(page) ?? [];
  assertEquals(JSON.parse(json).databases, data.databases);
});

Deno.test("formatReportPage() loads nothing, and its policy allows its own script and style and nothing else", () => {
  const page = formatReportPage(dataOf([databaseOf("media")]));
  assertEquals(/https?:\/\/|\bsrc=|@import|url\(|<link|<iframe/.test(page), false);
  const [, policy = ""] = /Content-Security-Policy" content="([^"]*)"/.exec(page) ?? [];
  const hash = (text = "") => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  const [, style] = /<style>([\s\S]*?)<\/style>/.exec(page) ?? [];
  const [, script] = /<script>([\s\S]*?)<\/script>/.exec(page) ?? [];
  assertEquals(policy, `default-src 'none'; style-src ${hash(style)}; script-src ${hash(script)}`);
  assertEquals(/ style=| on\w+=/.test(page), false, "what the policy would refuse");
});

Deno.test("formatReportPage() says what matters without its script: tasks, failures, the oldest restore points", () => {
  const failed = [{ database: "media", error: "No space left" }];
  const old = databaseOf("old", { age_seconds: 400 * 86_400, last: "2025-10-24T02:00:00.000Z" });
  const data = { ...dataOf([databaseOf("a"), old], { ok: false, state: "failed", failed }), ok: false };
  const text = formatReportPage(data).replace(/<script[\s\S]*<\/script>/, "");
  for (const part of ["✗ Something needs attention", "✗ failed", "<b>media</b> No space left", "2025-10-24 02:00"]) {
    assertStringIncludes(text, part);
  }
  assertMatch(text, /Oldest restore points[\s\S]*<th scope="row">old<[\s\S]*<th scope="row">a</);
  assertMatch(text, /aria-label="1 run of nightly, the longest took 1m00s"/);
  const proof = {
    at: "2026-11-27T05:00:00Z",
    ok: true,
    backups: 20,
    backups_in_all: 214,
    faulty: 0,
    documents: 9,
    seconds: 3,
  };
  const good = { ...proof, last_ok_at: proof.at };
  const bad = { ...proof, ok: false, faulty: 2, last_ok_at: null };
  const proved = formatReportPage({ ...data, proofs: { verify: good, test_restore: bad } });
  assertMatch(proved, /verify --all<\/b>, .*✓ nothing is wrong<\/span> of 20 looked at, 214 in all</);
  assertMatch(proved, /test-restore<\/b>, .*✗ something is wrong with 2<\/span> .*; never was all well/);
  assertStringIncludes(text, "<b>test-restore</b>: has not been run yet");
  assertStringIncludes(formatReportPage(dataOf([])), "There is no backup in the catalog");
});

Deno.test("formatReportPage() makes a page of ten thousand databases and a year in seconds, of less than 8 MB", () => {
  const databases = Array.from({ length: 10_000 }, (_, index) => {
    const strip = new CalendarStrip(365);
    for (let day = 0; day < 365; day++) {
      strip.mark(day, day % 30 === index % 30 ? "f" : (day * 7 + index) % 5 < 3 ? "=" : "i", 1000 * index);
    }
    const name = `account/ab/cd/${String(index).padStart(28, "0")}`;
    return databaseOf(name, { days: strip.toString(), sizes: strip.sizes() });
  });
  const begin = performance.now();
  const page = formatReportPage(dataOf(databases));
  assertLess(performance.now() - begin, 10_000);
  assertLess(page.length, 8_000_000);
  assert(page.length > 1_000_000);
});
