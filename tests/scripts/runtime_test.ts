import { assertEquals } from "@std/assert";
import { BOOTSTRAP, startScript } from "../../scripts/runtime.ts";

/** What Deno has in its environment when the script, made for its folder, has started it. */
async function arenasOf(script: (folder: string) => string, env: Record<string, string>): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/deno`, '#!/bin/sh\necho "$MALLOC_ARENA_MAX"\n', { mode: 0o755 });
    await Deno.writeTextFile(`${folder}/start`, script(folder), { mode: 0o755 });
    const { code, stdout, stderr } = await new Deno.Command("sh", { args: [`${folder}/start`], env, clearEnv: true })
      .output();
    assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
    return new TextDecoder().decode(stdout).trim();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const [name, script] of [["startScript()", startScript], ["the layer's bootstrap", () => BOOTSTRAP]] as const) {
  Deno.test(`${name} has one arena of the C library, or as many as whoever calls it wants`, async () => {
    assertEquals(await arenasOf(script, {}), "1");
    assertEquals(await arenasOf(script, { MALLOC_ARENA_MAX: "4" }), "4");
  });
}
