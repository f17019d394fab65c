import { assertEquals } from "@std/assert";
import { PROGRAM_NAME, VERSION } from "../src/version.ts";

Deno.test("VERSION and PROGRAM_NAME are those of deno.json", async () => {
  const { name, version } = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  assertEquals(VERSION, version);
  assertEquals(name.split("/").at(-1), PROGRAM_NAME);
});
