/** The library as somebody else's program sees it. */
import { assertEquals, assertMatch } from "@std/assert";
import { pathToFileURL } from "node:url";
import { createDatabase, idsOf } from "./couchdb/impatient_client.ts";
import { startFakeCouchDb } from "./fakes/couchdb.ts";
import { PERMISSIONS } from "../scripts/run_flags.ts";
import * as library from "../mod.ts";

const ROOT = new URL("..", import.meta.url);
const LIBRARY = new URL("mod.ts", ROOT).href;

/** Runs a program in `folder` that imports the library as its users do, by its name. */
async function run(code: string, { folder, flags }: { folder: string; flags: readonly string[] }) {
  const path = `${folder}/program.ts`;
  await Deno.writeTextFile(path, code.replaceAll('"couchdb-backup"', JSON.stringify(LIBRARY)));
  const config = new URL("deno.json", ROOT).pathname;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--check", `--config=${config}`, ...flags, path],
    cwd: folder,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** The examples of mod.ts that `deno test --doc` leaves out, since they want a CouchDB. */
async function examples(): Promise<string[]> {
  const [comment = ""] = /\/\*\*[\s\S]*?\*\//.exec(await Deno.readTextFile(new URL("mod.ts", ROOT))) ?? [];
  const blocks = [...comment.matchAll(/```ts ignore\n([\s\S]*?)```/g)];
  return blocks.map(([, block = ""]) => block.replaceAll(/^ \* ?/gm, ""));
}

Deno.test("mod.ts does nothing when it is imported: it needs no permission and says nothing", async () => {
  const folder = await Deno.makeTempDir();
  const code = `import * as library from "couchdb-backup";
if (typeof library.openSession !== "function") throw new Error("no library");`;
  assertEquals(await run(code, { folder, flags: [] }), { stdout: "", stderr: "" });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("mod.ts exports no value that docs/npm.md does not name", async () => {
  const page = await Deno.readTextFile(new URL("docs/npm.md", ROOT));
  const named = Object.keys(library).filter((name) => new RegExp(`\\b${name}\\b`).test(page));
  assertEquals(named.length > 10, true, "there are exports");
  assertEquals(Object.keys(library).filter((name) => !named.includes(name)), []);
});

Deno.test("mod.ts's example backs up, verifies and restores", async () => {
  await using couch = await startFakeCouchDb();
  for (const name of ["orders", "customers"]) await createDatabase(couch, name, idsOf(3));
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(
    `${folder}/config.yaml`,
    `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {weekly: {databases: [orders, customers]}}
bucket: "${pathToFileURL(`${folder}/backups`).href}"
`,
  );
  const [example = "", ...others] = await examples();
  assertEquals(others, [], "each of them is run here");
  const { stdout, stderr } = await run(example, { folder, flags: PERMISSIONS });
  assertEquals(stderr, "");
  const [first, second, last] = stdout.split("\n");
  assertEquals([first?.trim(), second?.trim()], [
    "customers: complete, 3 documents",
    "orders: complete, 3 documents",
  ]);
  assertMatch(last ?? "", /^3 documents of file:.*\/orders are in "orders_copy"$/);
  await Deno.remove(folder, { recursive: true });
});
