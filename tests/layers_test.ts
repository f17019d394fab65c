/**
 * The shape of the code, held by a small scan of its imports: dependencies point one way, packages stay where they
 * belong, and nothing under src/ is tied to one runtime or writes to the console.
 */
import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path/posix";

const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/**
 * The floors of the house, from the ground up: a folder imports only what stands on a floor below its own. `src` is the
 * ground, the files that lie directly in src/. A sub-folder belongs to the folder it lies in.
 */
const FLOORS: readonly (readonly string[])[] = [
  ["src", "src/json"],
  ["src/codec", "src/couchdb", "src/aws", "src/calendar"],
  ["src/store"],
  ["src/task"],
  ["src/archive", "src/config"],
  ["src/observe"],
  ["src/commands"],
  ["src/session"],
  ["src/schedule"],
  ["src/cli", "lambda"],
];

/** No await, no clock, no environment; what they load must not have any either. */
const PURE = [
  "archive/catalog_entry",
  "archive/layout",
  "archive/manifest",
  "archive/report",
  "calendar/calendar",
  "config/schema",
  "config/syntax",
  "dates",
  "errors",
  "json/scan",
  "secret",
  "task/pattern",
  "task/select",
  "task/selection",
  "version",
].map((name) => `src/${name}.ts`);

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

const files = [...await sourceFiles("src"), ...await sourceFiles("lambda")];
const codes = new Map<string, string>();
for (const file of files) codes.set(file, await Deno.readTextFile(`${ROOT}/${file}`));
const imports = [...codes].flatMap(([file, code]) => importsOf(file, code));
const values = imports.filter(({ isType }) => !isType);

/** `src/store/s3/xml.ts` -> `src/store`; a file directly in src/ lies on the ground. */
const roomOf = (file: string) => /^src\/[^/]+(?=\/)|^[^/]+(?=\/)/.exec(file)![0];
const floorOf = (room: string) => FLOORS.findIndex((rooms) => rooms.includes(room));
const told = (found: Import[]) => found.map(({ from, to }) => `${from} imports ${to}`);

/** All files that are loaded with `file`. */
function loadedWith(file: string, known = new Set<string>()): Set<string> {
  for (const { from, to } of values) {
    if (from !== file || !codes.has(to) || known.has(to)) continue;
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

Deno.test("every import under src/ and lambda/ leads to a file of theirs", () => {
  const local = imports.filter(({ to }) => /^(\.|src\/|[a-z_]+\/.*\.ts$|[a-z_]+\.ts$)/.test(to) && !to.startsWith("@"));
  assertEquals(told(local.filter(({ to }) => !codes.has(to))), []);
  assertEquals(local.length > 100, true, "the scan finds the imports");
});

Deno.test("every folder under src/ stands on one of the floors", () => {
  assertEquals([...new Set(files.map(roomOf))].sort(), FLOORS.flat().sort());
});

Deno.test("a folder imports only what stands on a floor below its own", () => {
  const wrong = imports.filter(({ from, to }) =>
    codes.has(to) && roomOf(from) !== roomOf(to) && floorOf(roomOf(to)) >= floorOf(roomOf(from))
  );
  const left = /^src\/session\/open.ts imports src\/cli/;
  assertEquals(told(wrong).filter((arrow) => !left.test(arrow)), []);
});

Deno.test("no file is loaded with itself: dependencies point one way", () => {
  assertEquals(files.filter((file) => loadedWith(file).has(file)), []);
});

Deno.test("pure files, and what they load, have no await, clock or environment", () => {
  const pure = new Set(PURE.flatMap((file) => [file, ...loadedWith(file)]));
  assertEquals([...pure].filter((file) => !codes.has(file)), [], "the files are there");
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
    ["zod", /^(src\/(archive|config|schedule|store|aws)\/|lambda\/)/],
  ];
  for (const [name, home] of homes) {
    const users = imports.filter(({ to }) => to === name || to.startsWith(`${name}/`)).map(({ from }) => from);
    assertEquals(users.filter((from) => !home.test(from)), [], name);
    assertEquals(users.length > 0, true, `${name} is used`);
  }
});

Deno.test("every package that src/ uses is mapped in deno.json", async () => {
  const { imports: mapped } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
  const packages = new Set(imports.map(({ to }) => to).filter((to) => !codes.has(to) && !/^node:/.test(to)));
  assertEquals([...packages].filter((name) => !Object.hasOwn(mapped, name)), []);
});

Deno.test("src/ and lambda/ use web and node APIs alone, never Deno's, and never the console", () => {
  for (const [file, code] of codes) {
    const found = withoutComments(code).match(/\bDeno\.(?!customInspect)\w+|\bconsole\./);
    assertEquals(found?.[0], undefined, file);
  }
});

Deno.test("only the config reads the environment", () => {
  const readers = [...codes].filter(([, code]) => /\bprocess\.env\b/.test(withoutComments(code))).map(([file]) => file);
  assertEquals(readers.filter((file) => file !== "src/config/config.ts"), []);
});
