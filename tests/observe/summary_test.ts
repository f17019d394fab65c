import { assertEquals, assertLessOrEqual, assertMatch, assertStringIncludes } from "@std/assert";
import { formatSummary } from "../../src/observe/summary.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";

const SMALL = runReport([
  taskReport("weekly", [
    databaseReport("media", {
      documents: 1_234_567,
      bytes: 9_876_543_210,
      compressed_bytes: 1_234_567_890,
      seconds: 754,
    }),
    databaseReport("account/ab/cd/0123456789abcdef", { status: "resumed" }),
    databaseReport("empty", { documents: 0, bytes: 0, compressed_bytes: 0, seconds: 0.04 }),
    databaseReport("orders", {
      status: "failed",
      error: 'Cannot read database "orders": CouchDB answered 401 unauthorized',
      hint: "Check login and password",
    }),
  ]),
]);

Deno.test("formatSummary() shows a table of what was saved and then what failed, and why", () => {
  assertEquals(
    formatSummary(SMALL),
    `Task weekly, 2026-01-03
  DATABASE                        STATUS    DOCUMENTS    SIZE  STORED  RATIO    TIME
  media                           complete  1,234,567  9.9 GB  1.2 GB   8.0x  12m34s
  account/ab/cd/0123456789abcdef  resumed         100  100 kB   25 kB   4.0x    1.5s
  empty                           complete          0     0 B     0 B      -    0.0s
  Total                                     1,234,667  9.9 GB  1.2 GB   8.0x  12m36s

Saved 3 of 4 databases (1 failed) in 1m30s, run 20260103T180000Z-0123456789ab

Failed: 1
  orders: Cannot read database "orders": CouchDB answered 401 unauthorized
    Check login and password`,
  );
});

Deno.test("formatSummary() fits its table into any width, leaving out what matters least", () => {
  for (let columns = 10; columns <= 200; columns++) {
    const table = formatSummary(SMALL, { columns }).split("\n").slice(1, 6);
    for (const line of table) assertLessOrEqual(line.length, columns, line);
  }
  const narrow = formatSummary(SMALL, { columns: 40 });
  assertMatch(narrow, /^ {2}DATABASE +DOCUMENTS +TIME$/m);
  assertMatch(narrow, /^ {2}account\/a…789abcdef +100 +1\.5s$/m);
});

Deno.test("formatSummary() cuts a long table to its largest rows, and lists every failure", () => {
  const databases = Array.from(
    { length: 1000 },
    (_, index) => databaseReport(`db${index}`, { compressed_bytes: index }),
  );
  const failed = Array.from(
    { length: 500 },
    (_, index) =>
      databaseReport(`bad${index}`, { status: "failed", error: `cause ${index}`, hint: "Look at the store" }),
  );
  const lines = formatSummary(runReport([taskReport("t", [...databases, ...failed])]), { columns: 80, maxRows: 10 })
    .split("\n");
  const names = lines.slice(2, 14).map((line) => line.trim().split(/ {2,}/)[0]);
  assertEquals(names, [...Array.from({ length: 10 }, (_, index) => `db${990 + index}`), "990 smaller", "Total"]);
  assertMatch(lines[12] ?? "", /990 smaller +99,000 /);
  assertMatch(lines[13] ?? "", /Total +100,000 /);
  assertEquals(lines.filter((line) => /^ {2}bad\d+: cause \d+$/.test(line)).length, 500);
  assertEquals(lines.filter((line) => line.includes("Look at the store")).length, 1);
});

Deno.test("formatSummary() says why a task failed as a whole, and that nothing was saved", () => {
  const text = formatSummary(runReport([taskReport("weekly", [], "Cannot list databases: CouchDB answered 500")]));
  assertStringIncludes(text, "Task weekly, 2026-01-03\n  nothing saved\n");
  assertStringIncludes(text, "Failed: 1\n  task weekly: Cannot list databases: CouchDB answered 500");
});

Deno.test("formatSummary() is plain unless colour is asked for, and lets no name move the cursor", () => {
  const report = runReport([taskReport("t\x1b[2J", [
    databaseReport("a\rb"),
    databaseReport("c", { status: "failed", error: "line\nforged", hint: "h\x07" }),
  ])]);
  // deno-lint-ignore no-control-regex
  const controls = /[\x00-\x09\x0b-\x1f\x7f-\x9f]/;
  assertEquals(controls.test(formatSummary(report)), false);
  assertEquals(formatSummary(report).includes("\nforged"), false);
  const colored = formatSummary(report, { color: true });
  assertStringIncludes(colored, "\x1b[1m\x1b[31mFailed: 1\x1b[39m\x1b[22m");
  // deno-lint-ignore no-control-regex
  assertEquals(colored.replace(/\x1b\[[\d;]+m/g, ""), formatSummary(report));
});

Deno.test("formatSummary() names what is saved and yet needs a look, and when what failed is tried again", () => {
  const unreadable = Array.from({ length: 7 }, (_, index) => ({ id: `d${index}`, error: "timeout", reason: "" }));
  const databases = [
    databaseReport("a", { unreadable }),
    databaseReport("b", { warnings: ["It has 3 documents, the backup before has 1000"], shrunk_from: 1000 }),
    databaseReport("c", { status: "gone" }),
  ];
  const task = { ...taskReport("weekly", databases), warnings: ['CouchDB does not list "d" any more'] };
  const text = formatSummary(runReport([{ ...task, retry_at: "2026-01-03T18:05:00.000Z" }]));
  for (
    const line of [
      "Saved 2 of 3 databases",
      "Needs a look:",
      '  task weekly: CouchDB does not list "d" any more',
      '  a: CouchDB could not read 7 documents, which are not in the backup: "d0", "d1", "d2", "d3", "d4" and more',
      "  b: It has 3 documents, the backup before has 1000",
      "  task weekly: what failed is retried at 2026-01-03T18:05:00.000Z",
    ]
  ) assertStringIncludes(text, line);
});

Deno.test("formatSummary() tells documents that are missing from such as are there without a revision", () => {
  const missing = (id: string, rev: string) => ({ id, rev, error: "missing_revision", reason: "" });
  const unreadable = [{ id: "x", error: "timeout", reason: "" }, missing("y", "2-a"), missing("y", "2-b")];
  const text = formatSummary(runReport([taskReport("weekly", [databaseReport("a", { unreadable })])]));
  assertStringIncludes(text, '  a: CouchDB could not read 1 document, which is not in the backup: "x"\n');
  assertStringIncludes(text, '  a: CouchDB could not read 2 leaf revisions, which are not in the backup, of "y"');
});

Deno.test("formatSummary() tells what has changed from what has not, and why all of a database was saved again", () => {
  const because = "documents were purged since the last backup";
  const text = formatSummary(runReport([taskReport("weekly", [
    databaseReport("a", { kind: "incremental", unchanged: true, chunks: 0 }),
    databaseReport("b", { kind: "incremental" }),
    ...["c", "d", "e", "f"].map((name) => databaseReport(name, { kind: "full", full_because: because })),
  ])]));
  assertMatch(text, /^ {2}a +unchanged /m);
  assertMatch(text, /^ {2}b +incremental /m);
  assertMatch(text, /^ {2}c +complete /m);
  assertStringIncludes(text, `Full backup of c, d, e and 1 more: ${because}`);
});

Deno.test("formatSummary() says a cause once, with all that failed of it, and breaks long lines between words", () => {
  const broken = (database: string) =>
    databaseReport(database, {
      status: "failed",
      error: "No space left on the disk",
      hint: "Make room, such as: rm -r /backups/old && echo this hint is a long one",
    });
  const names = ["orders", "media", "account/ab/cd/0123456789abcdef0123456789ab", "x", "y"];
  const report = runReport([taskReport("weekly", names.map(broken))]);
  const lines = formatSummary(report, { columns: 80, isEachTold: true }).split("\n");
  assertEquals(lines.slice(lines.indexOf("Failed: 5")), [
    "Failed: 5",
    "  orders, media, account/ab/cd/0123456789abcdef0123456789ab, x, y: No space",
    "    left on the disk",
    "    Make room, such as: rm -r /backups/old && echo this hint is a long one",
  ]);
});

Deno.test("formatSummary() names more databases than a call takes arguments", () => {
  const failed = Array.from({ length: 150_000 }, (_, index) => {
    return databaseReport(`d${index}`, { status: "failed", error: `one of its own, ${index}` });
  });
  const lines = formatSummary(runReport([taskReport("weekly", failed)])).split("\n");
  assertStringIncludes(lines.at(-1)!, "d149999: one of its own, 149999");
  const warned = failed.map(({ error: _, ...one }) => ({ ...one, status: "complete" as const, warnings: ["odd"] }));
  assertStringIncludes(formatSummary(runReport([taskReport("weekly", warned)])), "d149999: odd");
});
