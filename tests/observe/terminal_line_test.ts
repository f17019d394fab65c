import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { formatForTerminal } from "../../src/observe/terminal_line.ts";
import type { LogLevel } from "../../src/observe/log.ts";
import type { LogFields } from "../../src/observe.ts";

const NAME = "account/ab/cd/0123456789abcdef0123456789ab";
const SAVED = { database: NAME, documents: 1234, compressedBytes: 45_026, durationMs: 340, kind: "full", run: "r" };

function lineOf(
  level: LogLevel,
  event: string,
  fields: LogFields,
  { columns = 80, ascii = false, color = false } = {},
): string | undefined {
  return formatForTerminal({ timeMs: 0, level, event, fields }, { columns: () => columns, ascii, color });
}

const ended = (fields: LogFields, look = {}) => lineOf("info", "database is backed up", fields, look);

Deno.test("formatForTerminal() gives a database a line: a mark, its name, documents, size and time", () => {
  assertEquals(ended(SAVED), "✓ account/ab/cd/0123456789abcdef0123456789ab    1,234 documents   45 kB    0.3s");
  const month = { ...SAVED, database: `${SAVED.database}-202610`, documents: 300, compressedBytes: 300 };
  assertEquals(ended(month), "✓ account/ab/cd/0123456789abcdef0123456789ab-202610  300 documents  300 B  0.3s");
  assertEquals(
    ended(SAVED, { columns: 120 }),
    "✓ account/ab/cd/0123456789abcdef0123456789ab        1,234 documents   45 kB    0.3s",
  );
  assertEquals(
    ended({ ...SAVED, documents: 0, kind: "unchanged" }),
    "= account/ab/cd/0123456789abcdef0123456789ab          unchanged            0.3s",
  );
  assertEquals(ended({ ...SAVED, database: "media", unreadable: 2 })?.[0], "!");
});

Deno.test("formatForTerminal() fits a database's line into any width, and leaves the last facts out first", () => {
  for (let columns = 38; columns <= 200; columns++) {
    assertLessOrEqual(ended(SAVED, { columns })?.length ?? 0, columns - 1, `at ${columns}`);
  }
  assertEquals(ended(SAVED, { columns: 50 }), "✓ account/ab/…123456789ab  1,234 documents  45 kB");
  assertEquals(ended(SAVED, { columns: 20 }), "✓ account/…56789ab  1,234 documents");
});

Deno.test("formatForTerminal() says of a failure the database, the cause, and what to do on a line of its own", () => {
  const failure = { database: "media", error: "No space left", hint: "Make room", task: "weekly", run: "r" };
  assertEquals(lineOf("error", "database is not backed up", failure), "✗ media: No space left\n    Make room");
});

Deno.test("formatForTerminal() shows that something is asked again, and when", () => {
  const fields = { attempt: 2, waitMs: 334, error: "Cannot list the databases", run: "r" };
  const event = "couchdb does not answer as it should: retrying";
  assertEquals(
    lineOf("warn", event, fields),
    `! ${event} in 0.3s, for the second time:\n    Cannot list the databases`,
  );
});

Deno.test("formatForTerminal() gives other lines their facts, and no mark to what is as it should be", () => {
  assertEquals(
    lineOf("info", "database is created", { q: 2, n: 1, run: "r", database: "copy" }),
    "  copy: database is created q=2 n=1",
  );
  assertEquals(lineOf("info", "task is saved", { saved: 3, task: "weekly" }), "  task weekly: task is saved saved=3");
  assertEquals(lineOf("info", "full backup", { reason: "x" }), undefined);
});

Deno.test("formatForTerminal() says which backup of a database is verified, where its name is whole beside that", () => {
  const verified = { database: "orders", documents: 1200, durationMs: 90, finishedAt: "2026-11-28T02:30:41.180Z" };
  const shown = (fields: LogFields, columns = 80) => lineOf("info", "backup is verified", fields, { columns });
  assertEquals(
    shown(verified),
    `✓ ${"orders".padEnd(26)}      1,200 documents    0.1s  2026-11-28T02:30:41Z`,
  );
  assertEquals(
    shown({ ...verified, database: NAME }),
    ended({ ...SAVED, documents: 1200, durationMs: 90, compressedBytes: undefined }),
  );
  assert(shown({ ...verified, database: NAME }, 120)?.endsWith("  2026-11-28T02:30:41Z"));
  for (let columns = 38; columns <= 200; columns++) {
    assertLessOrEqual(shown(verified, columns)?.length ?? 0, columns - 1, `at ${columns}`);
  }
});

Deno.test("formatForTerminal() gives a backup that was restored for a test a line, and its scratch database none", () => {
  const database = "couchdb_backup_test_0b5a8fd2_3";
  for (
    const event of ["archive is found", "database is created", "security object is restored", "database is restored"]
  ) {
    assertEquals(lineOf("info", event, { database, documents: 3 }), undefined);
  }
  assertEquals(
    lineOf("warn", "document is not restored", { database, id: "a" }),
    `! ${database}: document is not restored id=a`,
  );
  const fields = { database: "media", documents: 3, leafRevisions: 4, problems: 0, durationMs: 400 };
  assertEquals(
    lineOf("info", "backup was restored for a test", fields),
    "✓ media                                                 3 documents    0.4s",
  );
  assertEquals(lineOf("info", "backup was restored for a test", { ...fields, problems: 1 })?.[0], "!");
  for (const event of ["backups came back as they were saved", "backups are verified"]) {
    assertEquals(lineOf("info", event, { backups: 5 }), undefined);
  }
});

Deno.test("formatForTerminal() shows nothing but ASCII where a terminal can show no more", () => {
  const fields = { ...SAVED, database: NAME };
  const lines = [
    ended(fields, { ascii: true }),
    ended({ ...fields, kind: "unchanged" }, { ascii: true }),
    lineOf("error", "database is not backed up", { database: "a", error: "x" }, { ascii: true }),
    lineOf("warn", "selection", { warning: "x" }, { ascii: true }),
  ];
  assertEquals(lines.map((line) => line?.[0]), ["+", "=", "x", "!"]);
  for (const line of lines) assert(/^[\x20-\x7e]*$/.test(line ?? "…"), line);
});

Deno.test("formatForTerminal() lets no name, error or hint move the cursor or begin a line", () => {
  const evil = "a\n✓ b\x1b[2J\u202e";
  const shown = [
    ended({ ...SAVED, database: evil }),
    lineOf("error", "database is not backed up", { database: evil, error: evil, hint: evil, [evil]: evil }),
    lineOf("warn", evil, { warning: evil }),
  ].join("");
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x09\x0b-\x1f\u202e]/.test(shown), shown);
  const below = shown.split("\n").slice(1);
  assertEquals(below.filter((line) => !line.startsWith("    ")), [], "what is broken off, and the hint");
});

Deno.test("formatForTerminal() colours the mark alone, where there are colours", () => {
  assertEquals(ended(SAVED, { color: true })?.startsWith("\x1b[32m✓\x1b[39m account"), true);
});
