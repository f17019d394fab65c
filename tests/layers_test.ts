/**
 * The shape of the code, held by a small scan of its imports: dependencies point one way, packages stay where they
 * belong, and nothing under src/ is tied to one runtime or writes to the console.
 */
import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path/posix";

const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/** No await, no clock, no environment; what they load must not have any either. */
const PURE = [
  "calendar/calendar",
  "config/schema",
  "config/syntax",
  "dates",
  "errors",
  "json/scan",
  "keys",
  "manifest",
  "pattern",
]
  .concat(["report", "secret", "select", "task_selection", "version"]).map((name) => `src/${name}.ts`);
/** Each hides something: CouchDB's API, where bytes are kept, where lines and figures go. */
const FOLDERS = ["src/couchdb", "src/store", "src/aws", "src/observe"];
/** What one folder may know of another: the types in its door. */
const DOORS = ["src/couchdb/couchdb.ts", "src/store/store.ts", "src/observe/observe.ts"];
/** AWS's services and the S3 store know of each other until the options have a place of their own. */
const isAws = (file: string) => /^src\/(aws|store)\//.test(file);
/** Where the work of a run begins; what lies below must do without it. */
const COMMANDS = ["backup", "restore", "verify", "list", "check"].map((name) => `src/${name}.ts`);

interface Import {
  from: string;
  /** A path from the project's root, or a package. */
  to: string;
  /** It is gone when the types are. */
  isType: boolean;
}

async function sourceFiles(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}/${folder}`)) {
    if (isDirectory) files.push(...await sourceFiles(`${folder}/${name}`));
    else if (name.endsWith(".ts")) files.push(`${folder}/${name}`);
  }
  return files.sort();
}

/** The code without its comments. A comment mark within a string is taken for a comment only where a space precedes it. */
function withoutComments(code: string): string {
  return code.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "");
}

const STATEMENT = /\b(?:import|export)\s+(type\s+)?(?:([\w*${}\s,]+?)\s+from\s+)?"([^"]+)"|\bimport\(\s*"([^"]+)"/g;

function importsOf(file: string, code: string): Import[] {
  return [...withoutComments(code).matchAll(STATEMENT)].map(([, type, names, path, dynamicPath]) => {
    const named = /^\{([\s\S]*)\}$/.exec(names?.trim() ?? "")?.[1]?.split(",").map((name) => name.trim())
      .filter((name) => name !== "");
    const target = path ?? dynamicPath!;
    const to = target.startsWith(".") ? relative(ROOT, join(ROOT, dirname(file), target)) : target;
    return { from: file, to, isType: type !== undefined || named?.every((name) => name.startsWith("type ")) === true };
  });
}

const files = await sourceFiles("src");
const codes = new Map<string, string>();
for (const file of files) codes.set(file, await Deno.readTextFile(`${ROOT}/${file}`));
const imports = [...codes].flatMap(([file, code]) => importsOf(file, code));
const values = imports.filter(({ isType }) => !isType);

const folderOf = (file: string) => FOLDERS.find((folder) => file.startsWith(`${folder}/`));
const isCommand = (file: string) => COMMANDS.includes(file);
const isCli = (file: string) => file === "src/cli.ts" || file.startsWith("src/cli/");
const told = (found: Import[]) => found.map(({ from, to }) => `${from} imports ${to}`);

/** All files that are loaded with `file`. */
function loadedWith(file: string, known = new Set<string>()): Set<string> {
  for (const { from, to } of values) {
    if (from !== file || !to.startsWith("src/") || known.has(to)) continue;
    known.add(to);
    loadedWith(to, known);
  }
  return known;
}

Deno.test("importsOf() finds every kind of import, and tells types from values", () => {
  const code = `/** import { no } from "./no.ts"; */
import { a, type B } from "./a.ts";
import type { C } from "../c.ts";
import {
  type D,
  type E,
} from "./d.ts";
import * as fs from "node:fs";
import "./effect.ts";
export { f } from "./f.ts";
// import g from "./g.ts";
const loaded = await import("./h.ts");
`;
  assertEquals(importsOf("src/x/y.ts", code).map(({ to, isType }) => `${isType ? "type " : ""}${to}`), [
    "src/x/a.ts",
    "type src/c.ts",
    "type src/x/d.ts",
    "node:fs",
    "src/x/effect.ts",
    "src/x/f.ts",
    "src/x/h.ts",
  ]);
});

Deno.test("every import under src/ leads to a file that is there, and none out of src/", () => {
  const local = imports.filter(({ to }) => /^(\.|src\/|[a-z_]+\/.*\.ts$)/.test(to) && !to.startsWith("@"));
  assertEquals(told(local.filter(({ to }) => !codes.has(to))), []);
  assertEquals(local.length > 100, true, "the scan finds the imports");
});

Deno.test("couchdb, store and observe know of each other only the types in their doors", () => {
  const across = imports.filter(({ from, to }) => {
    const [own, other] = [folderOf(from), folderOf(to)];
    return own !== undefined && other !== undefined && own !== other && !(isAws(from) && isAws(to));
  });
  assertEquals(told(across.filter(({ to, isType }) => !isType || !DOORS.includes(to))), []);
});

Deno.test("couchdb, store and observe load nothing of each other, of the commands or of the command line", () => {
  for (const file of files) {
    const own = folderOf(file);
    if (own === undefined) continue;
    const foreign = [...loadedWith(file)].filter((loaded) =>
      isCli(loaded) || isCommand(loaded) ||
      (![own, undefined].includes(folderOf(loaded)) && !(isAws(file) && isAws(loaded)))
    );
    assertEquals(foreign, [], file);
  }
});

Deno.test("nothing but the command line itself knows the command line", () => {
  assertEquals(told(imports.filter(({ from, to }) => !isCli(from) && isCli(to))), []);
});

Deno.test("no file is loaded with itself: dependencies point one way", () => {
  assertEquals(files.filter((file) => loadedWith(file).has(file)), []);
});

Deno.test("pure files, and what they load, have no await, clock or environment", () => {
  const pure = new Set(PURE.filter((name) => codes.has(name)).flatMap((file) => [file, ...loadedWith(file)]));
  assertEquals([...pure].filter((file) => folderOf(file) !== undefined || isCli(file) || isCommand(file)), []);
  assertEquals(pure.size >= 15, true, "the files are there");
  for (const file of pure) {
    const code = withoutComments(codes.get(file)!);
    const found = code.match(
      /\bawait\b|\bDate\.now\b|\bnew Date\(\)|\bperformance\.|\bprocess\.|\bMath\.random\b|"node:fs/,
    );
    assertEquals(found?.[0], undefined, file);
  }
});

Deno.test("the packages for YAML, signatures and schemas stay where outside data enters", () => {
  const homes: [name: string, home: RegExp][] = [
    ["@std/yaml", /^src\/config\//],
    ["aws4fetch", /^src\/(store|aws)\//],
    ["fast-xml-parser", /^src\/store\//],
    // Where data from outside enters: what a user wrote, what lies in a store, what AWS answers.
    ["zod", /^src\/((manifest|claim|run_folder)\.ts$|config\/|store\/|aws\/)/],
  ];
  for (const [name, home] of homes) {
    const users = imports.filter(({ to }) => to === name || to.startsWith(`${name}/`)).map(({ from }) => from);
    assertEquals(users.filter((from) => !home.test(from)), [], name);
    assertEquals(users.length > 0, true, `${name} is used`);
  }
});

Deno.test("every package that src/ uses is mapped in deno.json", async () => {
  const { imports: mapped } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
  const packages = new Set(imports.map(({ to }) => to).filter((to) => !to.startsWith("src/") && !/^node:/.test(to)));
  assertEquals([...packages].filter((name) => !Object.hasOwn(mapped, name)), []);
});

Deno.test("src/ uses web and node APIs alone, never Deno's, and never the console", () => {
  for (const [file, code] of codes) {
    const found = withoutComments(code).match(/\bDeno\.(?!customInspect)\w+|\bconsole\./);
    assertEquals(found?.[0], undefined, file);
  }
});

Deno.test("only the config reads the environment", () => {
  const readers = [...codes].filter(([, code]) => /\bprocess\.env\b/.test(withoutComments(code))).map(([file]) => file);
  assertEquals(readers.filter((file) => file !== "src/config/config.ts"), []);
});
