import { assertEquals } from "@std/assert";
import { lazily } from "../../src/archive/lazily.ts";

Deno.test("lazily() makes once what is wanted, undefined too, and again where that failed", () => {
  const made: string[] = [];
  const value = lazily(() => {
    made.push("one");
    if (made.length === 1) throw new Error("not yet");
    return undefined;
  });
  assertEquals(made, []);
  for (const expected of ["not yet", undefined, undefined]) {
    let found: string | undefined;
    try {
      found = value();
    } catch (error) {
      found = (error as Error).message;
    }
    assertEquals(found, expected);
  }
  assertEquals(made, ["one", "one"]);
});
