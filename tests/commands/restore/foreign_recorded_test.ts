/** Files that other programs really wrote, restored: scripts/record_foreign.ts has recorded them on a real CouchDB. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { restore } from "../../../src/commands/restore/restore.ts";
import { restoredContents } from "../../restored_contents.ts";
import { setUpRestore } from "./setup.ts";

const FOLDER = "tests/fixtures/foreign";
const EXPECTED: Record<string, string[]> = JSON.parse(await Deno.readTextFile(`${FOLDER}/expected.json`));

for (const [name, expected] of Object.entries(EXPECTED)) {
  Deno.test(`restore() of ${name} gives every revision, body and attachment of its database`, async () => {
    await using setup = await setUpRestore();
    await Deno.copyFile(`${FOLDER}/${name}`, join(setup.root, name));
    const report = await restore(setup.context, { database: "new", path: name });
    assertEquals([report.ok, report.failed, report.damaged], [true, [], []]);
    const isShallow = name.includes("shallow");
    const contents = await restoredContents(setup.server, "new", isShallow ? [] : ["d09"]);
    // Shallow files have no histories.
    const comparable = (line: string) => isShallow ? line.replace(/,"_revisions":\{[^}]*\}/, "") : line;
    assertEquals(contents.map(comparable), expected.map(comparable));
    const hasTypes = contents.some((line) => line.includes('"content_type":"text/plain"'));
    const written = await Deno.readTextFile(`${FOLDER}/${name}`);
    assertEquals(hasTypes, /"content_?[tT]ype":"text\/plain"/.test(written));
  });
}

Deno.test("the recorded files are those of the folder, and are small", async () => {
  const names = (await Array.fromAsync(Deno.readDir(FOLDER))).map(({ name }) => name);
  assertEquals(names.filter((name) => name !== "expected.json").sort(), Object.keys(EXPECTED).sort());
  for (const name of names) assert((await Deno.stat(`${FOLDER}/${name}`)).size < 100_000, name);
});
