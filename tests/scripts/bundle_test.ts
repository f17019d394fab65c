import { assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { bundle } from "../../scripts/bundle.ts";

Deno.test("bundle() makes the code small, and leaves errors their names", async () => {
  const folder = await Deno.makeTempDir();
  const main = await bundle(`${folder}/program`, { entries: ["main.ts", "mod.ts"] });
  assertEquals(main, `${folder}/program/main.js`);
  const library = pathToFileURL(`${folder}/program/mod.js`).href;
  const program = `const { UsageError } = await import("${library}"); console.log(new UsageError("x").name);`;
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["eval", program] }).output();
  assertEquals(new TextDecoder().decode(stdout), "UsageError\n");
  await Deno.remove(folder, { recursive: true });
});
