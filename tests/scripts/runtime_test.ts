import { assertEquals, assertMatch } from "@std/assert";
import { bundle } from "../../scripts/bundle.ts";
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

Deno.test("what starts a bundle starts it whatever HOME is, and the program knows its HOME all the same", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await bundle(`${folder}/program`);
    for (const place of [folder, `${folder}/program`]) await Deno.symlink(Deno.execPath(), `${place}/deno`);
    await Deno.writeTextFile(`${folder}/package`, startScript(`${folder}/program`), { mode: 0o755 });
    await Deno.writeTextFile(`${folder}/layer`, BOOTSTRAP, { mode: 0o755 });
    await Deno.writeTextFile(
      `${folder}/config.yaml`,
      `database: {url: "http://127.0.0.1:9"}
task: {often: {databases: [a], cron: daily}}
bucket: "file://\${HOME}/bucket"
`,
    );
    // What npm passes over: a registry in a variable that is not set.
    const home = `${folder}/home`;
    await Deno.mkdir(home);
    await Deno.writeTextFile(`${home}/.npmrc`, "registry=${REGISTRY}\n");
    const print = async (script: string, env: Record<string, string>) => {
      const { stdout, stderr } = await new Deno.Command("sh", {
        args: [`${folder}/${script}`, "systemd", `${folder}/config.yaml`],
        env,
        clearEnv: true,
      }).output();
      const [bucket] = /^ReadWritePaths=.*$/m.exec(new TextDecoder().decode(stdout)) ?? [];
      return bucket ?? new TextDecoder().decode(stderr);
    };
    for (const script of ["package", "layer"]) {
      for (const HOME of [home, "/dev/null"]) {
        assertEquals(await print(script, { HOME }), `ReadWritePaths="-${HOME}/bucket"`, script);
      }
    }
    assertMatch(await print("package", {}), /variable HOME, which is not set/);
    assertEquals(await print("layer", {}), 'ReadWritePaths="-/tmp/bucket"');
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
