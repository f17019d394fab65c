import { assertEquals } from "@std/assert";
import { hideInKey, hideInLine, hideInValue, keyAbove } from "../../src/config/disclosure.ts";

const HARMLESS = new Set(["url", "login", "prefix", "databases"]);

const LINES: [text: string, shown: string][] = [
  ["prefix: a b", "prefix: a b"],
  ["  - prefix: a", "  - prefix: a"],
  ["  password: x", "  password: ***"],
  ["  pasword: x # y", "  pasword: ***"],
  ["weekly: # each week", "weekly: # each week"],
  ["weekly", "weekly"],
  ["weekly x", "weekly ***"],
  ['url "http://h"', 'url "http://h"'],
  ['password "x"', "password ***"],
  ["password:x", "password ***"],
  ["{url: http://h, login: l, pwd: x, prefix: p}", "{url: http://h, login: l, pwd: ***"],
  ["login: {url: http://h, login: l, pwd: x, prefix: p}", "login: {url: http://h, login: l, pwd: ***"],
  ["url: http://u:p@w/x@h/a", "url: http://***@h/a"],
  ["# password: x", "***"],
  ["---", "---"],
  ["", ""],
  ["databases:\n- a.*", "- a.*"],
  ["databases:\n- 'a.*'", "- 'a.*'"],
  ["password: 'x\n  y'", "  ***"],
  ["password:\n- 'y'", "- ***"],
  ["password:\n  'y'", "  ***"],
  ["login: a\n: y", "***"],
  // A password whose key is gone.
  ['login: admin~: "secret"', "login: admin~: ***"],
  ['login: admin# : "secret"', "login: admin# : ***"],
  ['login: a\n  "secret"', "  ***"],
  ['login: a\n ]] "secret"', " ***"],
  ['"secret"', "***"],
  ["databases: [\n  'a', b]", "  'a', b]"],
  ["login: a\n  ]}", "  ]}"],
];

for (const [text, shown] of LINES) {
  Deno.test(`hideInLine() shows ${JSON.stringify(text)} as ${JSON.stringify(shown)}`, () => {
    const lines = text.split("\n");
    assertEquals(hideInLine(lines, lines.length, HARMLESS), shown);
  });
}

const VALUES: [value: string, shown: string][] = [
  ["http://h:5984/a@b", "http://***@b"],
  ["http://h:5984/a", "http://h:5984/a"],
  ["http://[2345::6]:5984", "http://[2345::6]:5984"],
  ["http://2345::6:5984", "http://2345::6:5984"],
  ["http://u:p/w@h", "http://***@h"],
  ["http:/u:p@h", "http:/***@h"],
  ["http//u:p@h", "http//***@h"],
  ["http://u:p", "http://***"],
  ["s3://id:key@bucket", "s3://***@bucket"],
  ["s3://bucket/folder", "s3://bucket/folder"],
  ["me@example.com", "me@example.com"],
  ["a password: x", "a password: ***"],
  ["a login: x", "a login: x"],
];

for (const [value, shown] of VALUES) {
  Deno.test(`hideInValue() shows "${value}" as "${shown}"`, () => assertEquals(hideInValue(value, HARMLESS), shown));
}

Deno.test("hideInKey() shows a name, and the first word of what is none", () => {
  assertEquals([hideInKey("pass_word.x-1"), hideInKey('password "x'), hideInKey("")], [
    "pass_word.x-1",
    "password ***",
    "",
  ]);
});

Deno.test("keyAbove() finds the nearest line above that begins with a key", () => {
  const lines = ["a: 1", "- b:", "c d", '"e": 2', "f"];
  assertEquals([1, 2, 3, 4, 5].map((line) => keyAbove(lines, line)), [undefined, "a", "b", "b", "e"]);
});

Deno.test("hideInValue() takes no longer for a long value than for many short ones", () => {
  const started = performance.now();
  for (const text of ["a".repeat(200_000), ":".repeat(200_000), `@${"/:".repeat(100_000)}`]) {
    hideInValue(text, HARMLESS);
  }
  // By squares it was 20 s.
  assertEquals(performance.now() - started < 2000, true);
});
