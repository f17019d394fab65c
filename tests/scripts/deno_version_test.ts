import { assert, assertEquals } from "@std/assert";
import { DENO_VERSION } from "../../scripts/deno_version.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("whatever names a version of Deno to be run names the one of scripts/deno_version.ts", async () => {
  const files = [".ci/run", "README.md", "deno.json", "template.yaml"];
  for (const folder of ["docs", "scripts", "scripts/ci", "scripts/npm", "scripts/bench"]) {
    for await (const { name, isFile } of Deno.readDir(new URL(folder, ROOT))) {
      if (isFile && /\.(?:md|ts|sh|txt)$/.test(name)) files.push(`${folder}/${name}`);
    }
  }
  const named: string[] = [];
  for (const file of files) {
    const text = await Deno.readTextFile(new URL(file, ROOT));
    for (const [said, version] of text.matchAll(/\b(?:deno|glibc)@(\d+\.\d+\.\d+)\b|\bwith Deno (\d+\.\d+\.\d+)/g)) {
      named.push(`${file}: ${version ?? said.split(" ").at(-1)}`);
    }
  }
  assert(named.length > 8, named.join("\n"));
  assertEquals(named.filter((one) => !one.endsWith(`: ${DENO_VERSION}`)), []);
});

Deno.test("Lambda's Deno is of the version that all is tested with, and its digest is of that version", async () => {
  const text = await Deno.readTextFile(new URL("scripts/layer.ts", ROOT));
  assert(text.includes("@deno/linux-arm64-glibc@${DENO_VERSION}"));
  const [, digest] = /"(\d+\.\d+\.\d+)": "/.exec(text) ?? [];
  assertEquals(digest, DENO_VERSION);
});
