import { assert, assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { bundle } from "../../scripts/bundle.ts";
import { RUN_FLAGS } from "../../scripts/run_flags.ts";

Deno.test("bundle() makes the code small, and leaves errors their names", async () => {
  const folder = await Deno.makeTempDir();
  const main = await bundle(`${folder}/program`, { entries: ["main.ts", "mod.ts"] });
  assertEquals(main, `${folder}/program/main.js`);
  const library = pathToFileURL(`${folder}/program/mod.js`).href;
  const program = `const { UsageError } = await import("${library}"); console.log(new UsageError("x").name);`;
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["eval", program] }).output();
  assertEquals(new TextDecoder().decode(stdout), "UsageError\n");
  const { size: small } = await Deno.stat(await bundle(`${folder}/program`, { splitting: false }));
  const { size: readable } = await Deno.stat(await bundle(`${folder}/program`, { splitting: false, minify: false }));
  assert(small < readable * 0.7, `${small} of ${readable} bytes`);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("bundle() takes of zod what is used: none of its languages", async () => {
  const folder = await Deno.makeTempDir();
  const text = await Deno.readTextFile(await bundle(`${folder}/program`, { splitting: false }));
  assert(text.includes("invalid_type"), "zod is in it");
  // Swedish: the bundler writes what is no ASCII in escapes.
  assertEquals(
    text.includes("Ogiltig inmatning"),
    false,
    'somewhere zod is imported as { z }: import * as z from "zod"',
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("bundle() keeps parts from Deno until they are needed, where it is to", async () => {
  const folder = await Deno.makeTempDir();
  const count = async (lazy: boolean) => {
    const main = await bundle(`${folder}/program`, { lazy });
    const files = (await Array.fromAsync(Deno.readDir(`${folder}/program`))).length;
    const command = (...args: string[]) => new Deno.Command(Deno.execPath(), { args }).output();
    // All that Deno reads and parses before the first line runs.
    const { stdout } = await command("info", "--json", "--no-config", main);
    const read = JSON.parse(new TextDecoder().decode(stdout)).modules.filter(({ kind }: { kind: string }) =>
      kind === "esm"
    );
    // "list" is a part of its own.
    const help = await command(
      "run",
      "--quiet",
      "--no-config",
      "--no-remote",
      "--no-npm",
      ...RUN_FLAGS,
      main,
      "list",
      "--help",
    );
    assertEquals(help.code, 0, new TextDecoder().decode(help.stderr));
    return { files, read: read.length };
  };
  const ahead = await count(false);
  assertEquals(ahead.read, ahead.files);
  const lazy = await count(true);
  assertEquals(lazy.files, ahead.files);
  assert(lazy.read < lazy.files / 3, `${lazy.read} of ${lazy.files} files are read before they are needed`);
  await Deno.remove(folder, { recursive: true });
});
