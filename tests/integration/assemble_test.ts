/** Beside the unit tests, as the compiler is a large package. */
import { assertEquals } from "@std/assert";
import { codeFile } from "../../scripts/assemble.ts";

const room = new URL("../../src/json/", import.meta.url);

Deno.test("codeFile() makes of assembly/kernel.ts what kernel_code.ts is, byte by byte", async () => {
  const source = await Deno.readTextFile(new URL("assembly/kernel.ts", room));
  assertEquals(await codeFile(source), await Deno.readTextFile(new URL("kernel_code.ts", room)));
});
