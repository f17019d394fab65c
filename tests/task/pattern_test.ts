import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { compilePattern, explainPattern } from "../../src/task/pattern.ts";

const MATCHES: [pattern: string, database: string, matches: boolean][] = [
  ["media", "media", true],
  ["media", "media2", false],
  ["media", "my_media", false],
  ["^media$", "media", true],
  ["a|b", "b", true],
  ["a|b", "ab", false],
  ["account%2F[0-9a-f]{2}", "account/ab", true],
  ["account/[0-9a-f]{2}", "account/ab", true],
  ["account%2F.*", "account/ab/cd", true],
  ["account%2f.*", "account/ab", false],
  ["a\\+b", "a+b", true],
  ["a%2Bb", "a+b", true],
  ["a+b", "a+b", false],
  ["[a-z0-9_$()+/-]*", "a$b(c)+d/e-f_1", true],
  ["_users", "_users", true],
];

for (const [source, database, matches] of MATCHES) {
  Deno.test(`compilePattern() makes "${source}" ${matches ? "match" : "refuse"} "${database}"`, () => {
    assertEquals(compilePattern(source).matches(database), matches);
  });
}

const REFUSED: [pattern: string, reason: string][] = [
  ["\\Amedia", '"\\A" is unknown there; leave it out, a pattern always matches the whole name'],
  ["media\\z", '"\\z" is unknown there; leave it out, a pattern always matches the whole name'],
  ["(?i)media", '"(?i" is unknown there; leave it out, the names of databases are in lower case'],
  ["a++b", 'the possessive "++" is unknown there; write "+"'],
  ["[ab]{2,3}+", 'the possessive "{2,3}+" is unknown there; write "{2,3}"'],
  ["\\Qa.b\\E", '"\\Q" is unknown there; write a "\\" before each special character instead'],
  ["[[:alnum:]]{4}", '"[:alnum:]" is unknown there; write a-z0-9 inside the brackets: [a-z0-9]'],
  ["[:xdigit:]+", '"[:xdigit:]" is unknown there; write 0-9a-f inside the brackets: [0-9a-f]'],
  ["(?>ab)", '"(?>" is unknown there; write (?:…)'],
  ["(?P<n>a)", '"(?P<" is unknown there; write (?<name>…)'],
  ["\\x{41}", '"\\x{" is unknown there; write \\u{…}'],
  ["a{,3}", '"{," is unknown there; write {0,…}'],
  ["media\\-old", '"\\-" is unknown there; "-" needs no "\\" before it'],
  ["account\\%2F", '"\\%" is unknown there; "%" needs no "\\" before it'],
  ["\\yes", '"\\y" is unknown there'],
  ["(media", "Unterminated group"],
  ["a)(b", "Unmatched ')'"],
  ["*", 'Nothing to repeat; what may be anything is written ".*"'],
  ["a|*b", 'Nothing to repeat; what may be anything is written ".*"'],
  ["[z-a]", "Range out of order in character class"],
  ["media\\", "\\ at end of pattern"],
];

for (const [source, reason] of REFUSED) {
  Deno.test(`explainPattern() says why "${source}" is no pattern`, () => {
    assertEquals(explainPattern(source), reason);
  });
}

for (const source of ["\\\\A", "(?:a|b)", "(?<n>a)\\k<n>", "(?<=a)b", "[\\-\\d]", "\\u{61}", "a+?", ""]) {
  Deno.test(`explainPattern() has nothing against "${source}"`, () => {
    assertEquals(explainPattern(source), undefined);
  });
}

Deno.test("compilePattern() names the pattern it refuses", () => {
  assertThrows(
    () => compilePattern("\\Qa"),
    UsageError,
    'Cannot use "\\Qa" as a regular expression of JavaScript: "\\Q" is unknown there; write a "\\" before each special character instead',
  );
});
