import { assertEquals, assertLess, assertThrows } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { selectAll, selectDatabases, type SelectionRules, selectNamed } from "../../src/task/select.ts";

const NAMES = ["_users", "a", "a+b", "a/b", "calls-202310", "calls-202311", "calls-2023111", "media", "media_old"];

function rules(databases: string[], more: Partial<SelectionRules> = {}): SelectionRules {
  return { databases, exclude: [], backupOnlyPrevious: false, ...more };
}

const CASES: [what: string, rules: SelectionRules, selected: string[]][] = [
  ["whole names only", rules(["media", "a"]), ["a", "media"]],
  ["encoded and decoded names", rules(["a%2F.*", "a\\+."]), ["a+b", "a/b"]],
  ["a system database that a pattern matches", rules(["_.*"]), ["_users"]],
  ["all names, in their order", rules([".*"]), NAMES],
  ["what exclude does not match as a whole", rules(["media.*", "a.*"], { exclude: ["media", "a/."] }), [
    "a",
    "a+b",
    "media_old",
  ]],
  ["names of the month before only", rules([".*"], { backupOnlyPrevious: true }), ["calls-202311"]],
  ["nothing", rules(["nothing"]), []],
];

for (const [what, task, selected] of CASES) {
  Deno.test(`selectDatabases() selects ${what}`, () => {
    const selection = selectDatabases(NAMES, task, { month: "202311" });
    assertEquals(selection.selected.map(({ database }) => database), selected);
  });
}

Deno.test("selectDatabases() says which pattern selected a database, and why another was left out", () => {
  const task = rules(["a.*", "calls.*"], { exclude: ["a"], backupOnlyPrevious: true });
  assertEquals(selectDatabases(["a", "a/b-202311", "calls-202312"], task, { month: "202311" }), {
    selected: [{ database: "a/b-202311", encoded: "a%2Fb-202311", pattern: "a.*" }],
    excluded: [
      { database: "a", encoded: "a", pattern: "a.*", reason: 'the exclude pattern "a" matches it' },
      {
        database: "calls-202312",
        encoded: "calls-202312",
        pattern: "calls.*",
        reason: 'its name does not end in "-202311"',
      },
    ],
    unmatched: [
      {
        pattern: "calls.*",
        explanation: 'pattern "calls.*" selects none: of 1 matching database 1 does not end in "-202311"',
        closest: [],
      },
    ],
  });
});

Deno.test("selectDatabases() counts a pattern as matching that only matches what another one selects, too", () => {
  assertEquals(selectDatabases(NAMES, rules(["media", "med.*", "media_old"])).unmatched, []);
});

Deno.test("selectDatabases() says of a pattern whose databases are all left out how many these are", () => {
  const task = rules(["calls.*"], { exclude: [".*10"], backupOnlyPrevious: true });
  assertEquals(selectDatabases(NAMES, task, { month: "202401" }).unmatched.map(({ explanation }) => explanation), [
    'pattern "calls.*" selects none: of 3 matching databases 1 is excluded and 2 do not end in "-202401"',
  ]);
});

Deno.test("selectDatabases() explains why the sample's patterns match no name of Kazoo's", () => {
  const hex = "0123456789abcdef0123456789ab";
  const names = [`account/ab/cd/${hex}`, `account/ab/cd/${hex}-202311`];
  const weekly = selectDatabases(names, rules(["account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}"])).unmatched[0];
  assertEquals(weekly?.repair?.pattern, "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{28}");
  assertEquals(weekly?.closest[0], {
    database: names[0]!,
    name: `account%2Fab%2Fcd%2F${hex}`,
    matchedPattern: "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}",
    from: 0,
    to: 36,
  });
});

Deno.test("selectDatabases() looks for what would match for twenty patterns, not for each of thousands of names", () => {
  const names = Array.from({ length: 50 }, (_, index) => `gone-${index}`);
  const { unmatched } = selectDatabases(["gone", "orders"], {
    databases: names,
    exclude: [],
    backupOnlyPrevious: false,
  });
  assertEquals(unmatched.filter(({ closest }) => closest.length > 0).length, 20);
  assertEquals(unmatched.at(-1)?.explanation, 'pattern "gone-49" matches none of 2 databases');
});

/** How long it takes to hold so many names against as many databases, of which a third is excluded. */
function timeOfSelection(count: number): number {
  const names = Array.from({ length: count }, (_, index) => `account/${index % 100}/${index}`);
  const databases = names.map((name, index) => index % 2 === 0 ? name : name.replaceAll("/", "%2F"));
  const exclude = names.slice(count * 2 / 3);
  const begun = performance.now();
  const { selected, excluded, unmatched } = selectDatabases(names, rules(databases, { exclude }));
  const took = performance.now() - begun;
  assertEquals([selected.length, excluded.length, unmatched.length], [count * 2 / 3, count / 3, count / 3]);
  return took;
}

Deno.test("selectDatabases() takes ten times as long for ten times as many names and databases", () => {
  const few = Math.min(...[1, 2, 3].map(() => timeOfSelection(3_000)));
  // Compared one by one it would be a hundred times. A machine that is busy lets one of them wait, too.
  assertLess(timeOfSelection(30_000) / few, 40);
});

Deno.test("selectDatabases() names the first pattern that selects or excludes, plain or not, as they are written", () => {
  const task = rules(["a.b", "a%2Fb", "a/b", "a%2Fb", "[m-z].*", "media"], { exclude: ["o.*", "orders"] });
  const { selected, excluded, unmatched } = selectDatabases(["a/b", "media", "orders", "over"], task);
  assertEquals(selected.map(({ pattern }) => pattern), ["a.b", "[m-z].*"]);
  assertEquals(excluded.map(({ reason }) => reason), [
    'the exclude pattern "o.*" matches it',
    'the exclude pattern "o.*" matches it',
  ]);
  assertEquals(unmatched, []);
  assertEquals(selectDatabases(["a/b"], rules(["a%2Fb", "a.*"])).selected[0]?.pattern, "a%2Fb");
});

Deno.test("selectDatabases() refuses a pattern of another dialect, and a month that is needed and not given", () => {
  assertThrows(() => selectDatabases(NAMES, rules(["\\Amedia"])), UsageError, '"\\A" is unknown there');
  assertThrows(() => selectDatabases(NAMES, rules(["a"], { backupOnlyPrevious: true })), RangeError);
});

Deno.test("selectAll() selects all but CouchDB's own databases", () => {
  assertEquals(selectAll(["_global_changes", "_replicator", "_users", "_other", "a/b"]), [
    { database: "_other", encoded: "_other", pattern: "--all" },
    { database: "a/b", encoded: "a%2Fb", pattern: "--all" },
  ]);
});

Deno.test("selectNamed() takes encoded and decoded names, each database once, and system databases", () => {
  assertEquals(selectNamed(NAMES, ["a%2Fb", "_users", "a/b", "a+b"]), {
    selected: [
      { database: "a/b", encoded: "a%2Fb", pattern: "--database" },
      { database: "_users", encoded: "_users", pattern: "--database" },
      { database: "a+b", encoded: "a%2Bb", pattern: "--database" },
    ],
    missing: [],
  });
});

Deno.test("selectNamed() says what is missing and which name was probably meant", () => {
  assertEquals(selectNamed(NAMES, ["medai", "nothing.*", "50%"]), {
    selected: [],
    missing: [
      { name: "medai", closest: "media" },
      { name: "nothing.*", closest: undefined },
      { name: "50%", closest: undefined },
    ],
  });
});
