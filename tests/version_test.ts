import { assertEquals, assertMatch } from "@std/assert";
import { PROGRAM_NAME, VERSION } from "../src/version.ts";

const read = (path: string) => Deno.readTextFile(new URL(`../${path}`, import.meta.url));

Deno.test("VERSION and PROGRAM_NAME are those of deno.json", async () => {
  const { name, version } = JSON.parse(await read("deno.json"));
  assertEquals(VERSION, version);
  assertEquals(name.split("/").at(-1), PROGRAM_NAME);
});

Deno.test("CHANGELOG.md has one section for the version under way, and docs name no other package", async () => {
  const sections = [...(await read("CHANGELOG.md")).matchAll(/^## (\S+)/gm)].map(([, title = ""]) => title);
  assertEquals(sections, [`${VERSION},`]);
  assertMatch(await read("docs/build.md"), new RegExp(`couchdb-backup-${VERSION.replaceAll(".", "\\.")}\\.tgz`));
});
