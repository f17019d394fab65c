/**
 * Builds what template.yaml deploys: `deno task layer [--runtime compiled|deno] [--config FILE] [--ca FILE]`. Out:
 * dist/layer/ and dist/layer.zip, whose root holds `bootstrap`, and dist/function.zip, which carries the config when
 * that does not stand in the template, and the authority of a CouchDB with a certificate of its own. The same sources
 * and tools give the same bytes.
 */
import { parseArgs } from "node:util";
import { build, BuildError, removeFolder, say, writeArtifact } from "./artifact.ts";
import { bundle } from "./bundle.ts";
import { compile } from "./compile.ts";
import { BOOTSTRAP, takeRuntime } from "./runtime.ts";
import { writeZip, type ZipEntry } from "./zip.ts";

const LAYER = "dist/layer";
/** Lambda's limit for a function with its layers, unpacked. */
const MAX_UNPACKED_BYTES = 250 * 1024 * 1024;

/** Builds the layer's folder and archive. */
async function buildLayer(runtime: string): Promise<void> {
  await removeFolder(LAYER);
  await Deno.mkdir(LAYER, { recursive: true });
  if (runtime === "deno") {
    await Deno.copyFile(await takeRuntime("aarch64"), `${LAYER}/deno`);
    await bundle(`${LAYER}/program`, { lazy: true });
    await Deno.writeTextFile(`${LAYER}/bootstrap`, BOOTSTRAP);
    await Deno.chmod(`${LAYER}/deno`, 0o755);
  } else {
    await compile({ output: `${LAYER}/bootstrap`, target: "aarch64-unknown-linux-gnu" });
    // The checksum is of use beside an executable that is passed on, not within the layer.
    await Deno.remove(`${LAYER}/bootstrap.sha256`);
  }
  await Deno.chmod(`${LAYER}/bootstrap`, 0o755);

  const entries = await readEntries(LAYER);
  const unpacked = entries.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (unpacked > MAX_UNPACKED_BYTES) {
    throw new BuildError(`The layer has ${unpacked} bytes unpacked, Lambda takes ${MAX_UNPACKED_BYTES}`);
  }
  say(`${LAYER}  ${(unpacked / 1024 / 1024).toFixed(1)} MB unpacked`);
  await writeArtifact("dist/layer.zip", writeZip(entries));
}

/** Builds the function's own package: Lambda wants one, and the config can travel in it. */
async function buildFunction(files: { config: string | undefined; ca: string | undefined }): Promise<void> {
  const readme = "The program is in the layer. A config.yaml beside this file is its config, ca.pem its ca_file.\n";
  const entries: ZipEntry[] = [{ name: "README", bytes: new TextEncoder().encode(readme), mode: 0o644 }];
  for (const [name, what, file] of [["config.yaml", "config", files.config], ["ca.pem", "CA", files.ca]]) {
    if (file === undefined) continue;
    const bytes = await Deno.readFile(file).catch((cause) => {
      throw new BuildError(`Cannot read the ${what} "${file}": ${cause.message}`, { cause });
    });
    entries.push({ name: name!, bytes, mode: 0o644 });
  }
  await writeArtifact("dist/function.zip", writeZip(entries));
}

/** The files below a folder. Executables keep that right, other differences in mode do not count. */
async function readEntries(folder: string, prefix = ""): Promise<ZipEntry[]> {
  const entries: ZipEntry[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) {
      entries.push(...await readEntries(path, `${prefix}${name}/`));
      continue;
    }
    const { mode } = await Deno.stat(path);
    const isExecutable = ((mode ?? 0) & 0o100) !== 0;
    entries.push({ name: prefix + name, bytes: await Deno.readFile(path), mode: isExecutable ? 0o755 : 0o644 });
  }
  return entries;
}

const { values: flags } = parseArgs({
  args: Deno.args,
  options: { runtime: { type: "string", default: "compiled" }, config: { type: "string" }, ca: { type: "string" } },
});
await build(async () => {
  if (flags.runtime !== "compiled" && flags.runtime !== "deno") {
    throw new BuildError(`There is no runtime "${flags.runtime}": it is compiled or deno`);
  }
  await buildLayer(flags.runtime);
  await buildFunction({ config: flags.config, ca: flags.ca });
});
