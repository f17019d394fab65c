import { assertEquals, assertLess, assertThrows } from "@std/assert";
import type { Task } from "../../src/task/task.ts";
import { formatDate } from "../../src/dates.ts";
import { UsageError } from "../../src/errors.ts";
import { selectDatabases } from "../../src/task/select.ts";
import { isEmptyByMistake, pickTasks, type SelectionOptions, selectTasks } from "../../src/task/selection.ts";

const NAMES = ["_replicator", "_users", "a", "a/b", "cdr-202602", "cdr-202603", "media"];

function task(name: string, databases: string[], part: Partial<Task> = {}): Task {
  const rest = { exclude: [], delaySeconds: 0, backupOnlyPrevious: false };
  const content = { attachments: true, revisions: true, tombstones: false };
  return { name, databases, ...rest, ...content, parallel: 4, allowEmpty: false, timezone: "UTC", ...part };
}

const TASKS = [
  task("weekly", ["a", "a%2Fb"]),
  task("monthly", ["cdr-[0-9]{6}"], { backupOnlyPrevious: true }),
];

/** The selection in short: `weekly 2026/03/31: a, a/b`. */
function select(tasks: Task[], options: Partial<SelectionOptions> = {}, names = NAMES): string[] {
  return selectTasks(names, tasks, { startedAt: new Date("2026-03-31T12:00:00Z"), ...options })
    .map(({ task, date, databases }) =>
      `${task.name} ${formatDate(date)}: ${databases.map(({ database }) => database).join(", ")}`
    );
}

Deno.test("selectTasks() gives each task its databases and its date, one month back for the previous month's", () => {
  assertEquals(select(TASKS), ["weekly 2026/03/31: a, a/b", "monthly 2026/02/28: cdr-202602"]);
});

Deno.test("selectTasks() fixes the date by the start of the run in the task's zone", () => {
  const startedAt = new Date("2026-01-01T02:00:00Z");
  const tasks = [task("ny", ["a"], { timezone: "America/New_York" }), task("utc", ["a"])];
  assertEquals(select(tasks, { startedAt }), ["ny 2025/12/31: a", "utc 2026/01/01: a"]);
});

Deno.test("selectTasks() takes a given date for the path, and its month for the previous month's databases", () => {
  const date = { year: 2026, month: 3, day: 5 };
  assertEquals(select(TASKS, { date }), ["weekly 2026/03/05: a, a/b", "monthly 2026/03/05: cdr-202603"]);
});

Deno.test("selectTasks() leaves a named database to the task that selects it, else to the first", () => {
  assertEquals(select(TASKS, { only: ["cdr-202602"] }), ["monthly 2026/02/28: cdr-202602"]);
  assertEquals(select(TASKS, { only: ["media", "a%2Fb", "_users"] }), ["weekly 2026/03/31: media, a/b, _users"]);
});

Deno.test("selectTasks() takes all databases but CouchDB's own, each once", () => {
  assertEquals(select(TASKS, { only: "all" }), [
    "weekly 2026/03/31: a, a/b, cdr-202603, media",
    "monthly 2026/02/28: cdr-202602",
  ]);
});

Deno.test("selectTasks() finds the task of each of a hundred thousand databases within seconds", () => {
  const names = Array.from({ length: 100_000 }, (_, index) => `account/${index}`);
  const begun = performance.now();
  assertEquals(select([task("all", ["[a-z].*"])], { only: "all" }, names)[0]?.split(", ").length, 100_000);
  // Compared one by one it takes half a minute.
  assertLess(performance.now() - begun, 6_000);
});

Deno.test("selectDatabases() looks for what would match only where that is told", () => {
  const rules = { databases: ["accoumt"], exclude: [], backupOnlyPrevious: false };
  const [told] = selectDatabases(["account"], rules).unmatched;
  const [untold] = selectDatabases(["account"], rules, { explains: false }).unmatched;
  assertEquals([told?.closest.length, untold?.closest.length], [1, 0]);
  assertEquals(untold?.explanation, 'pattern "accoumt" matches none of 1 database');
});

Deno.test("selectTasks() refuses a named database that does not exist, with the nearest one", () => {
  const error = assertThrows(() => select(TASKS, { only: ["a", "medai"] }), UsageError);
  assertEquals([error.message, error.hint], ['CouchDB has no database "medai"', 'Did you mean "media"?']);
});

Deno.test("selectTasks() does not take it for a success when all databases are none", () => {
  const selections = selectTasks(["_users"], TASKS, { startedAt: new Date(), only: "all" });
  assertEquals(selections.map(isEmptyByMistake), [true]);
});

Deno.test("isEmptyByMistake() holds a task without databases against it, unless the config allows it", () => {
  const selections = selectTasks(NAMES, [task("t", ["b.*"]), task("u", ["b.*"], { allowEmpty: true }), TASKS[0]!], {
    startedAt: new Date("2026-03-31T12:00:00Z"),
  });
  assertEquals(selections.map(isEmptyByMistake), [true, false, false]);
  assertEquals(selections.map(({ warnings }) => warnings.length), [1, 1, 0]);
});

Deno.test("pickTasks() keeps the config's order, takes all where none is named, and refuses a name that is none", () => {
  const names = (wanted?: string[]) => pickTasks(TASKS, wanted).map(({ name }) => name);
  assertEquals(names(), ["weekly", "monthly"]);
  assertThrows(() => names([]), UsageError, '"tasks" is an empty list');
  assertEquals(names(["monthly", "weekly"]), ["weekly", "monthly"]);
  assertEquals(names(["monthly"]), ["monthly"]);
  const error = assertThrows(() => names(["weekly", "daily"]), UsageError, 'The config has no task "daily"');
  assertEquals(error.hint, 'Its tasks are "weekly", "monthly"');
});
