import { assert, assertEquals, assertThrows } from "@std/assert";
import { isYamlComplaint, parseYaml } from "../../src/config/yaml.ts";

Deno.test("parseYaml() reads the core schema: a date stays the text that was written", () => {
  assertEquals(parseYaml("a: 2024-01-02\nb: [1, true, null]"), { a: "2024-01-02", b: [1, true, null] });
});

Deno.test("isYamlComplaint() knows the parser's errors, which tell line and column, from others", () => {
  const error = assertThrows(() => parseYaml("a: [1"));
  assert(isYamlComplaint(error));
  assertEquals([error.line, error.column > 0], [2, true]);
  assertEquals([isYamlComplaint(new SyntaxError("No")), isYamlComplaint(undefined)], [false, false]);
});
