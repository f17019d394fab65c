import { assertEquals } from "@std/assert";
import { explainMisses } from "../../src/task/closest_misses.ts";

const HEX = "0123456789abcdef0123456789ab";
/** Names as Kazoo gives them: an account's id is 32 digits, the first four of them taken apart by slashes. */
const KAZOO = [`account/ab/cd/${HEX}`, `account/ef/01/${HEX}`];
const NAMES = [...KAZOO, ...KAZOO.map((name) => `${name}-202311`), "media", "system_config", "system_schemas", "a+b"];
const FIRST = `account%2Fab%2Fcd%2F${HEX}`;

const SENTENCES: [what: string, pattern: string, sentence: string][] = [
  [
    "a count that is too small",
    "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}",
    `it matches only the first 36 of the 48 characters of "${FIRST}"; ` +
    'with {28} in place of {16}, it would match 2: "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{28}"',
  ],
  [
    "a count that is too small, with something behind it",
    "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}-[0-9]{6}",
    'its part "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}" matches only the first 36 of the 55 characters of ' +
    `"${FIRST}-202311"; with {28} in place of {16}, it would match 2: ` +
    '"account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{28}-[0-9]{6}"',
  ],
  [
    "a count that is too large, against decoded names",
    "account/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{32}",
    `its part "account/[0-9a-f]{2}/[0-9a-f]{2}/" matches only the first 14 of the 42 characters of ` +
    `"account/ab/cd/${HEX}"; ` +
    'with {28} in place of {32}, it would match 2: "account/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}"',
  ],
  [
    "a count of a group, and a range",
    "account%2F(?:[0-9a-f]{2}%2F){3,4}[0-9a-f]{28}",
    `its part "account%2F" matches only the first 10 of the 48 characters of "${FIRST}"; ` +
    'with {2} in place of {3,4}, it would match 2: "account%2F(?:[0-9a-f]{2}%2F){2}[0-9a-f]{28}"',
  ],
  [
    "a count inside of a group",
    "(account/([0-9a-f]{3}/){2}[0-9a-f]{28})",
    `its part "account/" matches only the first 8 of the 42 characters of "account/ab/cd/${HEX}"; ` +
    'with {2} in place of {3}, it would match 2: "(account/([0-9a-f]{2}/){2}[0-9a-f]{28})"',
  ],
  [
    "an encoding in lower case",
    "account%2f.*",
    `its part "account%2" matches only the first 9 of the 48 characters of "${FIRST}"; ` +
    'in the case of the names, it would match 4: "account%2F.*"',
  ],
  ["capitals", "Media\\D?", 'in the case of the names, it would match 1: "media\\D?"'],
  [
    "a pattern for the beginning of names",
    "^system_$",
    'it matches only the first 7 of the 13 characters of "system_config"; with .* after it, it would match 2: "system_.*"',
  ],
  [
    "a pattern for the end of names",
    "config",
    'it matches only the last 6 of the 13 characters of "system_config"; with .* before it, it would match 1: ".*config"',
  ],
  [
    "a pattern for the middle of names",
    "tem_",
    'it matches only 4 of the 13 characters of "system_config"; with .* around it, it would match 2: ".*tem_.*"',
  ],
  [
    "an alternative",
    "other|system",
    'its part "system" matches only the first 6 of the 13 characters of "system_config"; ' +
    'with .* after it, it would match 2: "(?:other|system).*"',
  ],
  [
    "a pattern that asks for more than the name",
    "media_[0-9]+",
    'its part "media" matches all of "media"',
  ],
  [
    "a misspelt name",
    "system_confg",
    'its part "system_conf" matches only the first 11 of the 13 characters of "system_config"; ' +
    'spelt like a name, it would match 1: "system_config"',
  ],
  ["a name misspelt at its beginning", "sistem_config", 'spelt like a name, it would match 1: "system_config"'],
  ["a part that is no pattern by itself", "(?<x>media)\\k<x>", 'its part "(?<x>media)" matches all of "media"'],
  ["nothing that is alike", "zzz+", "not even its beginning matches that of a name"],
  ["a beginning that stands within a name", "dia[0-9]", "not even its beginning matches that of a name"],
];

for (const [what, pattern, sentence] of SENTENCES) {
  Deno.test(`explainMisses() explains ${what}`, () => {
    const full = `pattern "${pattern}" matches none of 8 databases; ${sentence}`;
    assertEquals(explainMisses(pattern, NAMES).sentence, full);
  });
}

Deno.test("explainMisses() names each database once, the nearest first, and where it matches", () => {
  const names = ["x_system_1", "system_config", "system/a", "mysystem", "media"];
  const { closest, repair } = explainMisses("system", names);
  assertEquals(closest, [
    { database: "system/a", name: "system/a", matchedPattern: "system", from: 0, to: 6 },
    { database: "mysystem", name: "mysystem", matchedPattern: "system", from: 2, to: 8 },
    { database: "x_system_1", name: "x_system_1", matchedPattern: "system", from: 2, to: 8 },
  ]);
  assertEquals(repair, { pattern: ".*system.*", change: "with .* around it", matches: 4 });
});

Deno.test("explainMisses() has nothing to compare with where there are no databases", () => {
  assertEquals(explainMisses("a", []), {
    sentence: 'pattern "a" matches none, as there are no databases',
    closest: [],
  });
});

Deno.test("explainMisses() takes less than a few seconds for ten thousand names", () => {
  const names = Array.from({ length: 10_000 }, (_, index) => `account/ab/cd/${String(index).padStart(28, "0")}`);
  const begin = performance.now();
  const { repair } = explainMisses("account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}", names);
  assertEquals([repair?.change, repair?.matches], ["with {28} in place of {16}", 10_000]);
  assertEquals(performance.now() - begin < 5000, true);
});
