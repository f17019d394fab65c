import { assertEquals } from "@std/assert";
import { inspect } from "node:util";
import { Secret } from "../src/secret.ts";

Deno.test("Secret shows itself to nobody but who asks for it", () => {
  const password = new Secret("hunter2");
  const shown = [`${password}`, JSON.stringify({ password }), Deno.inspect({ password }), inspect({ password })];
  assertEquals(shown, ["***", '{"password":"***"}', "{ password: *** }", "{ password: *** }"]);
  assertEquals([Object.keys(password), password.reveal()], [[], "hunter2"]);
});
