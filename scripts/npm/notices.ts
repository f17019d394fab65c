/**
 * Which packages a bundle is made of, and their licences: who passes a package on passes its licence on. In: a bundle's
 * text. Out: the same without the paths of this machine, and the packages whose code is in it.
 */
import { bundle } from "../bundle.ts";

/** A package of npm. */
export interface BundledPackage {
  /** `zod` or `@smithy/core`. */
  name: string;
  version: string;
  /** Where its files lie. */
  folder: string;
}

/**
 * How the bundler names a file of a package: by its path in Deno's cache, in comments and as the names of functions.
 */
const ORIGIN = /[^\s"]*\/npm\/[^/\s"]+\/((?:@[^/\s"]+\/)?[^/\s"]+)\/(\d[^/\s"]*)(?=\/)/g;

/** Finds the packages in a bundle's code, and names its origins by their packages. */
export function findPackages(code: string): { code: string; packages: BundledPackage[] } {
  const packages = new Map<string, BundledPackage>();
  const named = code.replaceAll(ORIGIN, (folder: string, name: string, version: string) => {
    packages.set(`${name}@${version}`, { name, version, folder });
    return `npm:${name}@${version}`;
  });
  return { code: named, packages: [...packages.values()] };
}

/** The text that goes with the bundle: each package with the licence that lies in it, or with the name of it. */
export async function noticesOf(packages: readonly BundledPackage[]): Promise<string> {
  const sorted = packages.toSorted((a, b) => a.name < b.name ? -1 : 1);
  // Packages of one maker have one text.
  const owners = new Map<string, string[]>();
  for (const one of sorted) {
    const text = await licenceOf(one);
    owners.set(text, [...owners.get(text) ?? [], `${one.name} ${one.version}`]);
  }
  const parts = [...owners].map(([text, names]) => `${names.join("\n")}\n\n${text}\n`);
  return ["The code of these packages is a part of this one.\n", ...parts].join(`\n${"-".repeat(80)}\n\n`);
}

/** The packages whose code is in the program, once each. */
export async function bundledPackages(): Promise<BundledPackage[]> {
  // Names of packages stand only in a bundle that is left readable.
  const main = await bundle("dist/readable", { minify: false, splitting: false });
  return findPackages(await Deno.readTextFile(main)).packages;
}

/** {@linkcode noticesOf} the program. */
export async function bundledNotices(): Promise<string> {
  return await noticesOf(await bundledPackages());
}

async function licenceOf({ folder }: BundledPackage): Promise<string> {
  for await (const { name } of Deno.readDir(folder)) {
    if (/^licen[cs]e(\.(md|txt))?$/i.test(name)) return (await Deno.readTextFile(`${folder}/${name}`)).trim();
  }
  const { license, author } = JSON.parse(await Deno.readTextFile(`${folder}/package.json`));
  const by = typeof author === "string" ? `, by ${author}` : "";
  return `License: ${license}${by}. The package comes without a text of it.`;
}
