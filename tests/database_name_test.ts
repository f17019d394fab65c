import { assertEquals } from "@std/assert";
import { decodeDatabase, encodeDatabase } from "../src/database_name.ts";

Deno.test("encodeDatabase() encodes a name as URLs and object keys carry it, and decodeDatabase() undoes it", () => {
  const cases: [name: string, encoded: string][] = [
    ["a", "a"],
    ["a/b", "a%2Fb"],
    ["a+b", "a%2Bb"],
    ["account/ab/cd/0123456789abcdef-202311", "account%2Fab%2Fcd%2F0123456789abcdef-202311"],
    ["_users", "_users"],
    ["z_0$()+-/", "z_0$()%2B-%2F"],
  ];
  for (const [name, encoded] of cases) {
    assertEquals(encodeDatabase(name), encoded);
    assertEquals(decodeDatabase(encoded), name);
  }
  assertEquals(decodeDatabase("50%"), "50%", "what is no encoding stays as it is");
});
