import { assertEquals, assertThrows } from "@std/assert";
import { memberSpans, withRevision } from "../../src/json/spans.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("memberSpans() finds the members at the top, whatever stands in their values", () => {
  const text = ` {"a":1.0, "b\\"}":"x\\\\\\"{" ,"c":{"a":[1,{"d":"]}"}]},"é":null,"":[]} `;
  const found = memberSpans(bytes(text)).map(({ name, from, valueFrom, to }) => [
    name,
    textOf(bytes(text).subarray(from, to)),
    textOf(bytes(text).subarray(valueFrom, to)),
  ]);
  assertEquals(found, [
    ["a", '"a":1.0', "1.0"],
    ['b"}', '"b\\"}":"x\\\\\\"{"', '"x\\\\\\"{"'],
    ["c", '"c":{"a":[1,{"d":"]}"}]}', '{"a":[1,{"d":"]}"}]}'],
    ["é", '"é":null', "null"],
    ["", '"":[]', "[]"],
  ]);
  assertEquals(memberSpans(bytes("{}")), []);
});

Deno.test("memberSpans() refuses what is no whole object", () => {
  const text = '{"a":{"b":[1,"x"]},"c":true}';
  for (let end = 0; end < text.length; end++) {
    assertThrows(() => memberSpans(bytes(text.slice(0, end))), SyntaxError);
  }
  for (
    const other of [
      "[]",
      '"a"',
      "{1:2}",
      '{"a" 1}',
      '{"a":1 "b":2}',
      '{"a":}',
      '{"a":1,}',
      '{"a":1} x',
      "{}{}",
      '{"a":1}}',
    ]
  ) {
    assertThrows(() => memberSpans(bytes(other)), SyntaxError);
  }
});

Deno.test("withRevision() puts another revision in, takes the history out, and touches no other byte", () => {
  const text =
    '{"_id":"a","_rev":"3-x","n":9007199254740993,"f":1.0,"_revisions":{"start":3,"ids":["x"]},"z":{"_rev":"no"}}';
  assertEquals(
    textOf(withRevision(bytes(text), "5-y")),
    '{"_id":"a","_rev":"5-y","n":9007199254740993,"f":1.0,"z":{"_rev":"no"}}',
  );
  assertEquals(
    textOf(withRevision(bytes(text), undefined)),
    '{"_id":"a","n":9007199254740993,"f":1.0,"z":{"_rev":"no"}}',
  );
});
