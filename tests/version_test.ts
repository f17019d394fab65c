import { assertEquals, assertMatch } from "@std/assert";
import { complaintOfNode, OLDEST_NODE, PROGRAM_NAME, VERSION } from "../src/version.ts";

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

Deno.test("complaintOfNode() refuses a Node that the npm package is not for, and no other runtime", async () => {
  const told = (node: string) =>
    `This is Node ${node}; it must be 22.2 or later. The executable, deb and rpm need no Node`;
  for (const node of ["20.20.2", "22.1.0", "18.0.0"]) assertEquals(complaintOfNode({ node }), told(node));
  for (const node of ["22.2.0", "22.10.0", "24.0.0"]) assertEquals(complaintOfNode({ node }), undefined);
  assertEquals(complaintOfNode({ node: "20.11.1", deno: "2.9.6" }), undefined);
  assertMatch(await read("scripts/npm/npm.ts"), new RegExp(`node: ">=${OLDEST_NODE.replace(".", "\\.")}"`));
});
