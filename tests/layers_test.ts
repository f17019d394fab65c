/**
 * The shape of the code, held by a small scan of its imports: dependencies point one way, packages stay where they
 * belong, and nothing under src/ is tied to one runtime or writes to the console. docs/development.md shows that shape.
 */
import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path/posix";
import { walk } from "./source_files.ts";

const ROOT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");

/**
 * The floors of the house, from the ground up: a folder imports only what stands on a floor below its own. `src` is the
 * ground, the files that lie directly in src/. A sub-folder belongs to the folder it lies in.
 */
const FLOORS: readonly (readonly string[])[] = [
  ["src"],
  ["src/json"],
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

/**
 * The code without its comments. A comment mark within a string is taken for a comment only where a space precedes it.
 */
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
/** Tests and scripts too. */
const everywhere = [...imports];
for (const file of [...await sourceFiles("tests"), ...await sourceFiles("scripts")]) {
  everywhere.push(...importsOf(file, await Deno.readTextFile(`${ROOT}/${file}`)));
}
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
  assertEquals(told(wrong), []);
});

Deno.test("no file is loaded with itself: dependencies point one way", () => {
  assertEquals(files.filter((file) => loadedWith(file).has(file)), []);
});

/** What has no place in a pure file: what waits, and what answers otherwise another time. */
const IMPURE = new RegExp(
  [
    /\basync\b|\bawait\b|\bset(Timeout|Interval|Immediate)\b|\bfetch\(/,
    /\bDate\.now\b|\bnew Date\(\)|\bperformance\./,
    /\bprocess\.|"node:(child_process|fs|http|https|net|os|process|timers|tls)/,
    /\bMath\.random\b|\bgetRandomValues\b|\brandom(Bytes|Int|UUID)\b/,
  ].map(({ source }) => source).join("|"),
);

/** Whether a file's header says that it is pure: `Pure.`, or `Pure:` and why. */
function isSaidPure(code: string): boolean {
  const [header = ""] = /^\/\*\*[\s\S]*?\*\//.exec(code) ?? [];
  return /(^|[.:] )Pure[.:]/.test(header.replaceAll(/[\s*]+/g, " "));
}

Deno.test("files whose headers say so are pure, and what they load: nothing waits, no clock, no environment, no chance", () => {
  const said = files.filter((file) => isSaidPure(codes.get(file)!));
  assertEquals(said.length > 50, true, "the scan finds them");
  const impure = said.flatMap((file) =>
    [file, ...loadedWith(file)].flatMap((loaded) => {
      const found = withoutComments(codes.get(loaded)!).match(IMPURE);
      return found === null ? [] : `${file} says so, and ${loaded} has ${found[0]}`;
    })
  );
  assertEquals(impure, []);
});

Deno.test("IMPURE and isSaidPure() find what they are for", () => {
  const impure = [
    "await x",
    "async () => {}",
    "Date.now()",
    "new Date()",
    "performance.now()",
    "process.env",
    "Math.random()",
    "crypto.randomUUID()",
    "crypto.getRandomValues(a)",
    'from "node:fs/promises"',
    "setTimeout(x)",
  ];
  assertEquals(impure.filter((code) => !IMPURE.test(code)), []);
  assertEquals(["new Date(text)", "Date.parse(text)", "process(x)", "random"].filter((code) => IMPURE.test(code)), []);
  const headers = [
    "/** A thing. Pure. */",
    "/**\n * A thing.\n * Pure.\n */",
    "/** A thing. Pure: the time is given. */",
  ];
  assertEquals(headers.filter((code) => !isSaidPure(code)), []);
  assertEquals(["/** A thing. */\n/** Pure. */", "/** Not so Pure. */"].filter(isSaidPure), []);
});

Deno.test("the packages for signatures, XML and schemas stay where outside data enters", () => {
  const homes: [name: string, home: RegExp][] = [
    ["aws4fetch", /^src\/(store|aws)\//],
    ["fast-xml-parser", /^src\/store\//],
    // One door: what is sealed and opened goes through it.
    ["age-encryption", /^src\/codec\//],
    ["@scure/base", /^src\/codec\//],
    // Where data from outside enters: what a user wrote, what lies in a store, what AWS answers.
    ["zod", /^(src\/(archive|config|schedule|store|aws)\/|lambda\/)/],
  ];
  for (const [name, home] of homes) {
    const users = imports.filter(({ to }) => to === name || to.startsWith(`${name}/`)).map(({ from }) => from);
    assertEquals(users.filter((from) => !home.test(from)), [], name);
    assertEquals(users.length > 0, true, `${name} is used`);
  }
});

Deno.test("each package of @std is imported at one place: its JavaScript has no types, the place's exports have", () => {
  const doors = [
    ["@std/bytes", "src/concat.ts"],
    ["@std/cli/parse-args", "src/cli/parse_args.ts"],
    ["@std/streams", "src/streams.ts"],
    ["@std/text", "src/nearest.ts"],
    ["@std/yaml", "src/config/yaml.ts"],
    // deno.json maps "@std/assert" onto this door.
    ["deno-std/assert", "tests/assert.ts"],
  ];
  const untyped = everywhere.filter(({ to }) => /^(@std|deno-std)\//.test(to) && to !== "@std/assert");
  assertEquals(untyped.map(({ from, to }) => [to, from]).sort(), doors);
});

Deno.test("deno.json maps every package that src/ uses, and none that nobody uses", async () => {
  const { imports: mapped } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
  const packages = new Set(imports.map(({ to }) => to).filter((to) => !codes.has(to) && !/^node:/.test(to)));
  assertEquals([...packages].filter((name) => !Object.hasOwn(mapped, name)), []);
  const used = new Set(everywhere.map(({ to }) => to));
  assertEquals(Object.keys(mapped).filter((name) => !used.has(name)), []);
});

Deno.test("src/ and lambda/ use web and node APIs alone, never Deno's but for one, and never the console", () => {
  for (const [file, code] of codes) {
    // Neither the web nor Node has a fetch with authorities of its own.
    if (file === "src/trusted_fetch.ts") continue;
    const found = withoutComments(code).match(/\bDeno\.(?!customInspect)\w+|\bconsole\./);
    assertEquals(found?.[0], undefined, file);
  }
});

Deno.test("src/ and lambda/ declare nothing with using: Node 22, which the package is for, does not know it", () => {
  const found = [...codes].filter(([, text]) => /^\s*(?:await\s+)?using\s+\w+\s*=/m.test(withoutComments(text)));
  assertEquals(found.map(([file]) => file), []);
});

Deno.test("nothing is added to a sum that was read before a wait: what others add meanwhile would be lost", () => {
  const found = [...codes].filter(([, text]) => /[+*-]=\s*\(*await\b/.test(withoutComments(text)));
  assertEquals(found.map(([file]) => file), []);
});

Deno.test("no test changes what its process has as a whole, for test files run side by side in one", async () => {
  const changes =
    /\bDeno\.(env\.(set|delete)|chdir|umask|exitCode\s*=)|\bprocess\.(env(\.\w+|\[.+?\])\s*\??=[^=]|chdir|umask)/;
  const found = (await walk(["tests"])).filter(({ path, text }) =>
    path !== "tests/layers_test.ts" && !path.endsWith("_program.ts") && changes.test(withoutComments(text))
  );
  assertEquals(found.map(({ path }) => path), [], "see tests/own_process.ts");
});

Deno.test("only the config reads the environment, and what calls the AWS SDK, which reads it by itself", () => {
  const readers = [...codes].filter(([, code]) => /\bprocess\.env\b/.test(withoutComments(code))).map(([file]) => file);
  assertEquals(readers, ["src/aws/credential_chain.ts"]);
});

const PAGE = await Deno.readTextFile(`${ROOT}/docs/development.md`);
const FENCED = [...PAGE.matchAll(/^```\n([\s\S]*?)^```$/gm)].map(([, text]) => text!);

/** A line of the tree in docs/development.md. */
interface Line {
  /** From the project's root, without a slash at its end: `src/store/s3`, `mod.ts`, `src/*.ts`. */
  path: string;
  isFolder: boolean;
  /** The file to read first, from the project's root. */
  door: string | undefined;
  idea: string | undefined;
}

/** `  cli/  cli.ts  arguments -> …`, indented by two more in each folder. */
function readTree(text: string): Line[] {
  const above: string[] = [];
  return text.trimEnd().split("\n").map((line) => {
    const [, indent, name, door, idea] = /^( *)([\w*.]+\/?)(?: +(\w+\.ts)(?= {2}))?(?: +(.*))?$/.exec(line) ?? [];
    if (indent === undefined || name === undefined) throw new Error(`Not a line of a tree: ${line}`);
    above.length = indent.length / 2;
    const path = [...above, name.replace("/", "")].join("/");
    above.push(name.replace("/", ""));
    return { path, isFolder: name.endsWith("/"), door: door && `${path}/${door}`, idea };
  });
}

Deno.test("docs/development.md shows every folder of src/ and lambda/ with its door and its idea", async () => {
  const tree = readTree(FENCED[0]!);
  const shown = tree.filter(({ path, isFolder }) => isFolder && /^(src|lambda)(\/|$)/.test(path));
  const folders = new Set(
    files.flatMap((file) => file.split("/").slice(0, -1).map((_, depth, parts) => parts.slice(0, depth + 1).join("/"))),
  );
  assertEquals(shown.map(({ path }) => path).sort(), [...folders].sort());
  // The ground is no folder with a door, nor is what only holds one room beside the other.
  const withoutDoor = shown.filter(({ door }) => door === undefined).map(({ path }) => path);
  assertEquals(withoutDoor, ["src", "src/commands"]);
  for (const { path, door, idea } of tree) {
    assertEquals(idea !== undefined || path === "src", true, `${path} has an idea`);
    if (door !== undefined) assertEquals(codes.get(door)?.slice(0, 3), "/**", `${door} opens with its idea`);
  }
  for (const { path } of tree.filter(({ path }) => !path.includes("*"))) await Deno.stat(`${ROOT}/${path}`);
});

Deno.test("docs/development.md gives the floors in their order", () => {
  const floors = FENCED[1]!.trim().split(" < ").map((floor) => floor.split(", "));
  const nameOf = (room: string) => room === "src" ? "ground" : room.replace("src/", "");
  assertEquals(floors, FLOORS.map((rooms) => rooms.map(nameOf)));
  const inTree = readTree(FENCED[0]!).map(({ path }) => path).filter((path) => floorOf(path) > 0);
  const order = inTree.map(floorOf);
  assertEquals(order, order.toSorted((a, b) => b - a), "the tree goes from the roof down");
});

Deno.test("docs/development.md names files and folders that exist", async () => {
  const text = PAGE.replaceAll(/^```\n[\s\S]*?^```$/gm, "");
  const named = [...text.matchAll(/`([^`\s]+)`/g)].map(([, name]) => name!)
    .filter((name) => /^[\w.-]+(\/[\w.-]+)*\/?$/.test(name) && (name.includes("/") || /\.(ts|md|yaml)$/.test(name)));
  assertEquals(named.length > 20, true, "the scan finds them");
  const missing: string[] = [];
  for (const name of new Set(named)) await Deno.stat(`${ROOT}/${name}`).catch(() => missing.push(name));
  assertEquals(missing, []);
});
