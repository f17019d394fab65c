import { assert, assertEquals, assertThrows } from "@std/assert";
import { isYamlComplaint, parseYaml, YamlSizeError } from "../../src/config/yaml.ts";

Deno.test("parseYaml() reads the core schema: a date stays the text that was written", () => {
  assertEquals(parseYaml("a: 2024-01-02\nb: [1, true, null]"), { a: "2024-01-02", b: [1, true, null] });
});

Deno.test("isYamlComplaint() knows the parser's errors, which tell line and column, from others", () => {
  const error = assertThrows(() => parseYaml("a: [1"));
  assert(isYamlComplaint(error));
  assertEquals([error.line, error.column > 0], [2, true]);
  assertEquals([isYamlComplaint(new SyntaxError("No")), isYamlComplaint(undefined)], [false, false]);
});

Deno.test("parseYaml() refuses what is deeper or larger than a config, also where a few lines of aliases stand for it", () => {
  const bomb = Array.from({ length: 12 }, (_, level) => {
    const one = level === 0 ? "x" : `*a${level - 1}`;
    return `a${level}: &a${level} [${Array.from({ length: 9 }, () => one).join(", ")}]`;
  });
  assertThrows(() => parseYaml(bomb.join("\n")), YamlSizeError, "values");
  const list = "[".repeat(30) + "]".repeat(30);
  assertThrows(() => parseYaml(list), YamlSizeError, "20 levels");
  // The parser's own stack ends here.
  assertThrows(() => parseYaml("[".repeat(100_000)), YamlSizeError, "20 levels");
  assertThrows(() => parseYaml("&a [*a]"), Error);
  const databases = Array.from({ length: 10_000 }, (_, number) => `  - db${number}`).join("\n");
  assertEquals(Object.keys(parseYaml(`databases:\n${databases}`) as object), ["databases"]);
});
