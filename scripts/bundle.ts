/**
 * Bundles the program into a few JavaScript files without imports from elsewhere: what the executable, the Lambda layer
 * and the npm package are made of. A bundle starts in less than half the time of the sources, and holds no package that
 * is for tests alone. In: main.ts. Out: a folder with main.js and the parts that it loads when they are needed.
 */
import { basename } from "node:path";
import { BuildError, removeFolder, run } from "./artifact.ts";

/** What {@linkcode bundle} may be told. */
export interface BundleOptions {
  /** Files of the checkout, each of which becomes one of the bundle. @default ["main.ts"] */
  entries?: readonly string[];
  /** Whether the code is made small, or left for people to read. @default true */
  minify?: boolean;
  /**
   * Whether parts are loaded when they are needed; one file serves a process whose files are replaced as it runs.
   * @default true
   */
  splitting?: boolean;
  /**
   * Whether Deno learns of a part only when it is needed. Else it reads and parses every part before the first line
   * runs, unless its cache knows them: 0.15 s and 50 MB at the first start, and at each one where nothing is cached.
   * Not for `deno compile`, which puts into the executable what it can see. @default false
   */
  lazy?: boolean;
}

/** The form of packages that have several: the AWS SDK's modules, and not the CommonJS that it has for Node. */
const CONDITION = "module";

/**
 * Bundles into `folder`, which is emptied first, and returns the path of the program's main file.
 *
 * @throws BuildError Also where a package is CommonJS: what it requires, a bundle refuses when it runs.
 */
export async function bundle(
  folder: string,
  { entries = ["main.ts"], minify = true, splitting = true, lazy = false }: BundleOptions = {},
): Promise<string> {
  await removeFolder(folder);
  const args = ["bundle", "--quiet", "--frozen", "--platform=deno", "--outdir", folder];
  if (splitting) args.push("--code-splitting");
  // An error's class is its name: in the log, and for the state machine that a Lambda answers.
  if (minify) args.push("--minify", "--keep-names");
  const complaint = await run(Deno.execPath(), [...args, ...entries], { env: { DENO_CONDITIONS: CONDITION } });
  if (complaint !== undefined) throw new BuildError(`Cannot bundle the program:\n${complaint}`);
  await refuseCommonJs(folder);
  await removeOrphans(folder, entries);
  if (lazy) await hideParts(folder);
  return `${folder}/main.js`;
}

/** What the bundler puts in the place of `require` throws, and parts that are CommonJS have no exports but a default. */
async function refuseCommonJs(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    const text = await Deno.readTextFile(`${folder}/${name}`);
    const [found] = /Dynamic require of |\bexport default [\w$]+\(\);?\s*$/.exec(text) ?? [];
    if (found !== undefined) throw new BuildError(`Cannot bundle a package that is CommonJS: ${name} has "${found}"`);
  }
}

/** A part that only dropped code would have loaded, such as what the AWS SDK has for browsers, is written all the same. */
async function removeOrphans(folder: string, entries: readonly string[]): Promise<void> {
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  const texts = await Promise.all(names.map((name) => Deno.readTextFile(`${folder}/${name}`)));
  const roots = new Set(entries.map((entry) => basename(entry, ".ts") + ".js"));
  for (const name of names) {
    if (roots.has(name) || texts.some((text) => text.includes(`"./${name}"`))) continue;
    await Deno.remove(`${folder}/${name}`);
  }
}

/** Deno looks for parts wherever a literal is imported; of what is computed it learns when it is. */
async function hideParts(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith(".js")) continue;
    const text = await Deno.readTextFile(`${folder}/${name}`);
    await Deno.writeTextFile(
      `${folder}/${name}`,
      text.replaceAll(/\bimport\(("\.\/[\w-]+\.js")\)/g, "import(String($1))"),
    );
  }
}
