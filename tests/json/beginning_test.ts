import { assertEquals } from "@std/assert";
import { beginningOfObject } from "../../src/json/beginning.ts";

Deno.test("beginningOfObject() finds the members at the top of an object, as far as the text goes", () => {
  const text = '{"a" : 1 , "b\\"":"x}{\\"", "c":[{"d":1},"]"],"e":{"f":{}},"g":null}\n7';
  const names = ["a", 'b"', "c", "e", "g"];
  const whole = beginningOfObject(text, 0);
  assertEquals(whole.members.map(({ name, valueAt }) => [name, text[valueAt]]), [
    ["a", "1"],
    ['b"', '"'],
    ["c", "["],
    ["e", "{"],
    ["g", "n"],
  ]);
  assertEquals(whole.end, text.indexOf("\n"));
  for (let cut = 0; cut < text.indexOf("\n"); cut++) {
    const { members, end } = beginningOfObject(text.slice(0, cut), 0);
    assertEquals(end, undefined, `cut at ${cut}`);
    assertEquals(members.map(({ name }) => name), names.slice(0, members.length));
  }
});

Deno.test("beginningOfObject() finds nothing in what is no object", () => {
  for (const text of ["", "[", "7", "{", "{]", "{7:1}", '{"a"7}', "null"]) {
    assertEquals(beginningOfObject(text, 0).end, undefined, text);
  }
  assertEquals(beginningOfObject("{}", 0), { members: [], end: 2 });
});
