/**
 * Compiles the program into one executable: `deno task compile [--target TRIPLE] [--output FILE]`. In: main.ts, and
 * the runtime `denort`, which Deno downloads or takes from `DENORT_BIN`. Out: dist/couchdb-backup and its checksum.
 */
import { parseArgs } from "node:util";
import { build, BuildError, run, writeChecksum } from "./artifact.ts";
import { bundle } from "./bundle.ts";
import { RUN_FLAGS } from "./run_flags.ts";
import { ARCHITECTURES } from "./runtime.ts";

/** The targets that the program is made for: the machines of employees and servers, and Lambda's. */
const TARGETS: readonly string[] = Object.values(ARCHITECTURES).map(({ triple }) => triple);

/**
 * Compiles the program.
 *
 * @param options.target One of `deno compile --target`'s; this machine's where absent.
 * @throws BuildError saying what to do where the runtime cannot be had.
 */
export async function compile(options: { output: string; target?: string | undefined }): Promise<void> {
  const { output, target } = options;
  if (target !== undefined && !TARGETS.includes(target)) {
    throw new BuildError(`Cannot compile for "${target}": the targets are ${TARGETS.join(" and ")}`);
  }
  const main = await bundle("dist/program");
  const args = [
    ["compile", "--quiet", "--no-check", ...RUN_FLAGS],
    target === undefined ? [] : ["--target", target],
    ["--output", output, main],
  ];
  const complaint = await run(Deno.execPath(), args.flat());
  if (complaint !== undefined) {
    const denortBin = Deno.env.get("DENORT_BIN");
    throw new BuildError(explainFailure(complaint, { target: target ?? Deno.build.target, denortBin }));
  }
  await writeChecksum(output, await Deno.readFile(output));
}

/** Deno's complaint, or what to do about it when it is that the runtime cannot be had. */
export function explainFailure(
  complaint: string,
  { target, denortBin }: { target: string; denortBin: string | undefined },
): string {
  if (!complaint.includes("denort")) return `Cannot compile:\n${complaint}`;
  if (denortBin !== undefined) {
    return `Cannot compile: DENORT_BIN is "${denortBin}", which cannot be used\n${complaint}`;
  }
  const reason = complaint.split("\n").find((line) => line.includes("error sending request")) ?? complaint;
  return [
    `Cannot compile: the runtime for ${target} cannot be fetched`,
    reason.trim(),
    "",
    `On a machine that reaches Deno's releases, take denort-${target}.zip of version ${Deno.version.deno} and unpack it.`,
    "Then name the file here: DENORT_BIN=/path/to/denort deno task compile",
    'A Lambda layer needs no denort when it is built with "deno task layer --runtime deno".',
  ].join("\n");
}

if (import.meta.main) {
  const { values: flags } = parseArgs({
    args: Deno.args,
    options: { target: { type: "string" }, output: { type: "string", default: "dist/couchdb-backup" } },
  });
  await build(() => compile({ output: flags.output, target: flags.target }));
}
