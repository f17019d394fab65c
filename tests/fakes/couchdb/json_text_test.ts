import { assertEquals } from "@std/assert";
import { elementsOf, kindOf, membersOf, objectText } from "./json_text.ts";

Deno.test("membersOf() cuts out values as they stand", () => {
  const text = ' { "10" : 1.0 , "2":9007199254740993,"a\\"\\u0041":"x\\\\","o":{"b":[1,"]}"]} ,"e":{},"n":null}\n';
  assertEquals(membersOf(text), [
    ["10", "1.0"],
    ["2", "9007199254740993"],
    ['a"A', '"x\\\\"'],
    ["o", '{"b":[1,"]}"]}'],
    ["e", "{}"],
    ["n", "null"],
  ]);
  assertEquals(membersOf("{ }"), []);
});

Deno.test("elementsOf() cuts out elements as they stand", () => {
  assertEquals(elementsOf('[1.50, "a,b]" ,[ ], {"x":"\\\\\\""},true ]'), [
    "1.50",
    '"a,b]"',
    "[ ]",
    '{"x":"\\\\\\""}',
    "true",
  ]);
  assertEquals(elementsOf("[\n]"), []);
});

Deno.test("objectText() puts together what membersOf() took apart", () => {
  const text = '{"2":1.0,"1":{"a":[9007199254740993]},"\\n":""}';
  assertEquals(objectText(membersOf(text)), text);
});

Deno.test("kindOf() tells values apart by their first character", () => {
  const kinds = ["{}", " []", '"{"', "1", "null"].map(kindOf);
  assertEquals(kinds, ["object", "array", "string", "other", "other"]);
});

Deno.test("membersOf() and elementsOf() agree with JSON.parse() on generated values", () => {
  let state = 7;
  const next = (below: number) => (state = (state * 1103515245 + 12345) % 2147483648) % below;
  const texts = ["", '"', "\\", '\\"', "}]", "ä😀", "\n\0", ",:", "x".repeat(20)];
  const generate = (depth: number): unknown => {
    switch (next(depth > 3 ? 4 : 6)) {
      case 0:
        return next(1000) - 500;
      case 1:
        return next(2) === 0;
      case 2:
        return null;
      case 3:
        return texts[next(texts.length)]! + texts[next(texts.length)]!;
      case 4:
        return Array.from({ length: next(5) }, () => generate(depth + 1));
      default:
        return Object.fromEntries(Array.from({ length: next(5) }, () => [texts[next(9)]!, generate(depth + 1)]));
    }
  };
  for (let round = 0; round < 500; round++) {
    const [object, array] = [{ a: generate(0), b: generate(0) }, [generate(0), generate(0)]];
    const indent = next(3);
    const members = membersOf(JSON.stringify(object, null, indent)).map(([key, text]) => [key, JSON.parse(text)]);
    assertEquals(Object.fromEntries(members), object);
    assertEquals(elementsOf(JSON.stringify(array, null, indent)).map((text) => JSON.parse(text)), array);
  }
});
