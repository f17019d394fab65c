/** Quotes and brackets that do not end where they should, found in texts that a parser has refused. */
import { assert, assertEquals } from "@std/assert";
import { findWrongMark } from "../../src/config/marks.ts";

/** The mistake is marked with `»`, which is no part of the text; a text without one has none. */
const TEXTS: Record<string, { text: string; fault?: string }> = {
  "quoted values of two lines": { text: 'a: "b\n  c"\nd: \'e\n  f\'\ng: ["h\n  i", "j"]\n' },
  "a quoted value of two lines with a comment behind it": { text: 'a: "b\n  c" # d\ne: f\n' },
  "quotes within words, comments and other quotes": {
    text: "a: it's\nb: x # \"\nc: '\"'\nd: \"'\"\ne: [it's, f\"]\ng: 'it''s'\nh: \"\\\"\"\n",
  },
  "keys in quotes": { text: "\"a\": 1\n'b': {\"c\":2, 'd': [1]}\n" },
  "brackets over several lines": { text: "a: [\n  b,\n  {c: d}, # ]\n]\ne: {\n  f: g\n}\n" },
  "brackets within words outside of brackets": { text: "a: b[c\nd: e{f\n" },
  "a quote that the next one closes": { text: 'a: »"b\nc: "d"\n', fault: "open" },
  "a quote that nothing closes": { text: 'a: "b"\nc: »"d\ne: f\n', fault: "open" },
  "a quote that the next one closes, below a value of two lines": {
    text: 'a: "b\n  c"\nd: »"e\nf: "g"\n',
    fault: "open",
  },
  "a quote of a list that the next one closes": { text: '- "a"\n- »"b\n- "c"\n', fault: "open" },
  "a quote between brackets that a later line closes": { text: 'a: ["b", »"c]\nd: "e"\n', fault: "open" },
  "a quote behind an anchor": { text: 'a: &x »"b\nc: "d"\n', fault: "open" },
  "a quote within a quoted value": { text: 'a: "b»"c"\n', fault: "followed" },
  "a quote within a quoted value between brackets": { text: "a: {b: 'it»'s'}\n", fault: "followed" },
  "a bracket before the next key": { text: "a: »[b, c\nd: e\n", fault: "open" },
  "a bracket at the end": { text: "a: b\nc: »{d: e\n", fault: "open" },
  "a bracket that another kind closes": { text: "a: {b: »[c}\n", fault: "open" },
  "a pattern that begins with a bracket": { text: "a:\n  - »[a-z].*\n", fault: "unquoted" },
  "a pattern with a bracket in a list": { text: "a: [b»[0-9]]\n", fault: "unquoted" },
};

for (const [what, { text, fault }] of Object.entries(TEXTS)) {
  Deno.test(`findWrongMark() ${fault === undefined ? "finds nothing in" : `finds ${fault}:`} ${what}`, () => {
    const lines = text.split("\n");
    const line = lines.findIndex((one) => one.includes("»")) + 1;
    const column = (lines[line - 1] ?? "").indexOf("»") + 1;
    const clean = lines.map((one) => one.replace("»", ""));
    const found = findWrongMark(clean, clean.length);
    const mark = clean[line - 1]?.[column - 1];
    assertEquals(found, fault === undefined ? undefined : { line, column, mark: mark!, fault: fault as "open" });
  });
}

Deno.test("findWrongMark() passes over what opens below the line where the parser stopped", () => {
  assertEquals(findWrongMark(["a: b: c", 'd: "e'], 1), undefined);
});

Deno.test("findWrongMark() takes no longer for a long line than for many short ones", () => {
  const lines = [`a ${" ".repeat(300_000)}`, `b: "${"x ".repeat(150_000)}`, `c: [${"[".repeat(100_000)}`];
  const startedAt = performance.now();
  findWrongMark(lines, lines.length);
  const seconds = (performance.now() - startedAt) / 1000;
  assert(seconds < 2, `${seconds} s`);
});
