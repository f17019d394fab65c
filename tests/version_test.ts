import { assertEquals, assertMatch } from "@std/assert";
import { PROGRAM_NAME, VERSION } from "../src/version.ts";

const read = (path: string) => Deno.readTextFile(new URL(`../${path}`, import.meta.url));

Deno.test("VERSION and PROGRAM_NAME are those of deno.json", async () => {
  const { name, version } = JSON.parse(await read("deno.json"));
  assertEquals(VERSION, version);
  assertEquals(name.split("/").at(-1), PROGRAM_NAME);
});

Deno.test("the version of Deno stands in .dvmrc, and the pages that show it show that one", async () => {
  const root = new URL("../", import.meta.url);
  const version = (await Deno.readTextFile(new URL(".dvmrc", root))).trim();
  const shown = new Set<string>();
  for (const path of ["README.md", "docs/build.md", "docs/development.md", ".ci/run"]) {
    const text = await Deno.readTextFile(new URL(path, root));
    for (const [, found = ""] of text.matchAll(/\bdeno@(\d[\d.]*)/g)) shown.add(found);
  }
  assertEquals([...shown], [version]);
});

Deno.test("CHANGELOG.md has one section for the version under way, and docs name no other package", async () => {
  const sections = [...(await read("CHANGELOG.md")).matchAll(/^## (\S+)/gm)].map(([, title = ""]) => title);
  assertEquals(sections, [`${VERSION},`]);
  assertMatch(await read("docs/build.md"), new RegExp(`couchdb-backup-${VERSION.replaceAll(".", "\\.")}\\.tgz`));
});
