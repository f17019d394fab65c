/**
 * All that a release holds: `deno task release [--runtime compiled|deno] [--tag vVERSION] [--maintainer "NAME
 * <ADDRESS>"]`. Out: dist/release with deb and rpm of both architectures, the executables where they are compiled, the
 * npm package, the Lambda layer, the bill of materials (CycloneDX) and SHA256SUMS, which .github/workflows/release.yml
 * signs.
 */
import { parseArgs } from "node:util";
import { PROGRAM_NAME, VERSION } from "../../src/version.ts";
import { build, BuildError, capture, removeFolder, run, say, sourceDate } from "../artifact.ts";
import { bundledPackages } from "../npm/notices.ts";
import { ARCHITECTURES, DENO_VERSION } from "../runtime.ts";
import { makeSbom } from "./sbom.ts";

const FOLDER = "dist/release";

async function release(
  { runtime, tag, maintainer }: { runtime: string; tag: string | undefined; maintainer: string | undefined },
): Promise<void> {
  if (tag !== undefined && tag !== `v${VERSION}`) {
    throw new BuildError(`The tag is "${tag}", and the version in deno.json is ${VERSION}`);
  }
  if (Deno.version.deno !== DENO_VERSION) {
    throw new BuildError(`This is Deno ${Deno.version.deno}, and .dvmrc says ${DENO_VERSION}`);
  }
  await removeFolder(FOLDER);
  await Deno.mkdir(FOLDER, { recursive: true });

  await task("packages", "--runtime", runtime, ...maintainer === undefined ? [] : ["--maintainer", maintainer]);
  for (const [architecture, { debian, rpm, triple }] of Object.entries(ARCHITECTURES)) {
    await take(`dist/packages/${PROGRAM_NAME}_${VERSION}-1_${debian}.deb`);
    await take(`dist/packages/${PROGRAM_NAME}-${VERSION}-1.${rpm}.rpm`);
    if (runtime !== "compiled") continue;
    const executable = `${PROGRAM_NAME}-${VERSION}-${triple}`;
    await take(`dist/packages/${architecture}/usr/bin/${PROGRAM_NAME}`, executable);
    await Deno.chmod(`${FOLDER}/${executable}`, 0o755);
  }
  if (runtime !== "compiled") say("There are no executables: they are compiled, which needs denort");
  await task("npm");
  await capture("npm", ["pack", "--silent", "--pack-destination", FOLDER, "./dist/npm"]);
  await task("layer", "--runtime", runtime);
  await take("dist/layer.zip", `${PROGRAM_NAME}-${VERSION}-lambda-arm64.zip`);
  await Deno.writeTextFile(`${FOLDER}/${PROGRAM_NAME}-${VERSION}.cdx.json`, await billOfMaterials());

  const names = (await Array.fromAsync(Deno.readDir(FOLDER))).map(({ name }) => name).toSorted();
  const sums = await Promise.all(names.map(async (name) => {
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${FOLDER}/${name}`));
    return `${new Uint8Array(digest).toHex()}  ${name}\n`;
  }));
  await Deno.writeTextFile(`${FOLDER}/SHA256SUMS`, sums.join(""));
  for (const line of sums) say(line.trimEnd());
}

async function billOfMaterials(): Promise<string> {
  const packages = await Promise.all((await bundledPackages()).map(async ({ name, version, folder }) => {
    const { license } = JSON.parse(await Deno.readTextFile(`${folder}/package.json`));
    return { name, version, license };
  }));
  const { npm: lock } = JSON.parse(await Deno.readTextFile("deno.lock"));
  const sbom = await makeSbom({ packages, lock, denoVersion: DENO_VERSION, date: await sourceDate() });
  return `${JSON.stringify(sbom, undefined, 2)}\n`;
}

/** Runs a task of deno.json. */
async function task(name: string, ...args: string[]): Promise<void> {
  const complaint = await run(Deno.execPath(), ["task", "--quiet", name, ...args]);
  if (complaint !== undefined) throw new BuildError(`"deno task ${name}" failed:\n${complaint}`);
}

/** Puts a built file into the release. */
async function take(path: string, name: string = path.slice(path.lastIndexOf("/") + 1)): Promise<void> {
  await Deno.copyFile(path, `${FOLDER}/${name}`);
}

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    runtime: { type: "string", default: "compiled" },
    tag: { type: "string" },
    maintainer: { type: "string" },
  },
});
await build(() => release({ runtime: flags.runtime, tag: flags.tag, maintainer: flags.maintainer }));
