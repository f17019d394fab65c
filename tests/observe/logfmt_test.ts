import { assertEquals, assertNotMatch } from "@std/assert";
import { CouchError } from "../../src/errors.ts";
import { formatLogfmt, formatValue, printable, toPlainFields } from "../../src/observe/logfmt.ts";
import { Secret } from "../../src/secret.ts";
import { readLogfmt } from "../fakes/logfmt.ts";

Deno.test("formatValue() leaves plain words bare and quotes what could be misread", () => {
  const table: [unknown, string][] = [
    ["media", "media"],
    ["account/ab/cd", "account/ab/cd"],
    ["a%2Fb", "a%2Fb"],
    ["", '""'],
    ["two words", '"two words"'],
    ['say "hi"', '"say \\"hi\\""'],
    ["a=b", '"a=b"'],
    ["back\\slash", '"back\\\\slash"'],
    ["line\nbreak", '"line\\nbreak"'],
    ["\x1b[2J", '"\\u001b[2J"'],
    ["\u009b31m", '"\\u009b31m"'],
    ["\u2028", '"\\u2028"'],
    ["\u202eevil", '"\\u202eevil"'],
    ["\ud800", '"\\ud800"'],
    ["Москва", "Москва"],
    ["😀", "😀"],
    [12, "12"],
    [0.5, "0.5"],
    [Number.NaN, "NaN"],
    [10n ** 20n, "100000000000000000000"],
    [true, "true"],
    [null, "null"],
    [new Date(0), "1970-01-01T00:00:00.000Z"],
    [["a", "b"], '"[\\"a\\",\\"b\\"]"'],
    [{ a: 1n }, '"{\\"a\\":\\"1\\"}"'],
    [new Secret("hunter2"), "***"],
    [{ login: "x", password: new Secret("hunter2") }, '"{\\"login\\":\\"x\\",\\"password\\":\\"***\\"}"'],
    [new URL("http://admin:hunter2@localhost:5984/"), "http://***@localhost:5984/"],
    [["http://admin:hunter2@localhost:5984/"], '"[\\"http://***@localhost:5984/\\"]"'],
  ];
  for (const [value, text] of table) assertEquals(formatValue(value), text);
});

Deno.test("formatValue() prints an error with its causes, without stack and without a login in a URL", () => {
  const cause = new TypeError("error sending request for url (http://admin:hunter2@localhost:5984/_all_dbs)");
  const error = new CouchError('Cannot list databases of "localhost"', { error: "unreachable" }, { cause });
  assertEquals(
    formatValue(error),
    '"Cannot list databases of \\"localhost\\": error sending request for url (http://***@localhost:5984/_all_dbs)"',
  );
});

Deno.test("formatValue() prints values that throw, contain themselves or are huge", () => {
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  const throwing = {
    toJSON() {
      throw new Error("no");
    },
  };
  assertEquals(formatValue(loop), '"[unprintable]"');
  assertEquals(formatValue(throwing), '"[unprintable]"');
  assertEquals(formatValue("x".repeat(100_000)).length, 8193);
  assertEquals(formatValue(Array.from({ length: 10_000 }, () => "database")).length < 20_000, true);
});

Deno.test("formatLogfmt() keeps every value in its field, whatever characters it is made of", () => {
  const alphabet = [
    "a",
    " ",
    "=",
    '"',
    "\\",
    "\n",
    "\r",
    "\t",
    "\0",
    "\x1b",
    "\x7f",
    "\u0085",
    "\u2029",
    "é",
    "😀",
    "{",
  ];
  let seed = 1;
  const random = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  for (let round = 0; round < 2000; round++) {
    const word = () => Array.from({ length: random(8) }, () => alphabet[random(alphabet.length)]).join("");
    const fields = { database: word(), error: word(), last: word() };
    const line = formatLogfmt(fields);
    // deno-lint-ignore no-control-regex
    assertNotMatch(line, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
    assertEquals(readLogfmt(line), fields);
  }
});

Deno.test("formatLogfmt() makes keys safe and leaves out what is undefined", () => {
  assertEquals(formatLogfmt({ "a b": 1, 'c="d': 2, "": 3, "e\n": 4, gone: undefined }), "a_b=1 c__d=2 _=3 e_n=4");
});

Deno.test("toPlainFields() yields what JSON can hold", () => {
  const fields = { size: 10n, at: new Date(0), password: new Secret("x"), list: ["a"], gone: undefined };
  assertEquals(toPlainFields(fields), { size: "10", at: "1970-01-01T00:00:00.000Z", password: "***", list: ["a"] });
});

Deno.test("printable() changes nothing in ordinary text of any script", () => {
  for (const text of ["Database saved", "база данных", "データベース", "קובץ", "naïve 😀 👩🏽"]) {
    assertEquals(printable(text), text);
  }
});
