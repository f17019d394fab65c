/**
 * Builds the npm package: `deno task npm`. In: main.ts, mod.ts and the documents. Out: dist/npm, ready for `npm pack`
 * or `npm publish`: JavaScript for Node 22.2 and later that needs no other package, its declarations, and nothing that
 * only people who work on it need.
 */
import { dirname } from "node:path";
import { build, removeFolder, say } from "../artifact.ts";
import { bundle } from "../bundle.ts";
import { PROGRAM_NAME } from "../../src/version.ts";
import { declare } from "./declarations.ts";
import { DOCUMENTS, relink } from "./documents.ts";
import { type BundledPackage, findPackages, noticesOf } from "./notices.ts";

const FOLDER = "dist/npm";
const LIBRARY = `${FOLDER}/lib`;

async function buildPackage(): Promise<void> {
  await removeFolder(FOLDER);
  await bundle(LIBRARY, { entries: ["main.ts", "mod.ts"], minify: false });
  const packages = new Map<string, BundledPackage>();
  for await (const { name } of Deno.readDir(LIBRARY)) {
    const found = findPackages(await Deno.readTextFile(`${LIBRARY}/${name}`));
    for (const one of found.packages) packages.set(`${one.name}@${one.version}`, one);
    await write(`lib/${name}`, name === "main.js" ? `#!/usr/bin/env node\n${found.code}` : found.code);
  }
  await Deno.chmod(`${LIBRARY}/main.js`, 0o755);
  await write("lib/mod.d.ts", await declare("mod.ts", { name: PROGRAM_NAME }));
  await write("THIRD_PARTY_LICENSES", await noticesOf([...packages.values()]));
  for (const [place, source] of Object.entries(DOCUMENTS)) {
    const text = await Deno.readTextFile(source);
    await write(place, place.endsWith(".md") ? relink(text, place) : text);
  }
  const { version, license } = JSON.parse(await Deno.readTextFile("deno.json"));
  await write("package.json", `${JSON.stringify(manifest({ version, license }), undefined, 2)}\n`);
  say(`${FOLDER}  ${PROGRAM_NAME} ${version}: npm pack ./${FOLDER}`);
}

/** What package.json says. All files of the folder belong to the package. */
function manifest({ version, license }: { version: string; license: string }): Record<string, unknown> {
  return {
    name: PROGRAM_NAME,
    version,
    description: "Backs up CouchDB databases to S3 or a folder, and restores them exactly",
    keywords: ["couchdb", "backup", "restore", "s3", "cli"],
    license,
    type: "module",
    engines: { node: ">=22.2" },
    bin: { [PROGRAM_NAME]: "lib/main.js" },
    exports: { ".": { types: "./lib/mod.d.ts", default: "./lib/mod.js" }, "./package.json": "./package.json" },
    types: "./lib/mod.d.ts",
    author: "The couchdb-backup developers",
    ...sourceOf(Deno.env.get("GITHUB_SERVER_URL"), Deno.env.get("GITHUB_REPOSITORY")),
  };
}

/** Where the sources are, which the release knows: npm compares it with the provenance that it is given. */
function sourceOf(server: string | undefined, repository: string | undefined): Record<string, unknown> {
  if (!server || !repository) return {};
  const home = `${server}/${repository}`;
  return {
    homepage: `${home}#readme`,
    repository: { type: "git", url: `git+${home}.git` },
    bugs: { url: `${home}/issues` },
    publishConfig: { access: "public", provenance: true },
  };
}

async function write(place: string, text: string): Promise<void> {
  const path = `${FOLDER}/${place}`;
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, text);
}

await build(buildPackage);
