/**
 * What all build scripts do: run another program, clear a folder, and put a built file with its checksum where it belongs.
 */
import { dirname } from "node:path";

/** A build that cannot go on. The message is for the person who started it. */
export class BuildError extends Error {
  override name = "BuildError";
}

/**
 * Runs a program to its end, its output going where this one's goes.
 *
 * @returns What it said on standard error, when it failed; undefined when it did not.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: { env?: Record<string, string> } = {},
): Promise<string | undefined> {
  const output = await execute(program, args, { ...options, stdout: "inherit" });
  return output.success ? undefined : new TextDecoder().decode(output.stderr).trim();
}

/** Runs a program to its end and returns what it wrote on standard output. @throws BuildError where it fails. */
export async function capture(program: string, args: readonly string[]): Promise<string> {
  const output = await execute(program, args, { stdout: "piped" });
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (!output.success) throw new BuildError(`"${program} ${args.join(" ")}" failed:\n${stderr!.trim()}`);
  return stdout!;
}

async function execute(
  program: string,
  args: readonly string[],
  options: Deno.CommandOptions,
): Promise<Deno.CommandOutput> {
  try {
    return await new Deno.Command(program, { ...options, args: [...args], stderr: "piped" }).output();
  } catch (cause) {
    throw new BuildError(`Cannot run "${program}": ${(cause as Error).message}`, { cause });
  }
}

/**
 * The moment by which what is built is dated: `SOURCE_DATE_EPOCH`, else that of the last commit, so that building again
 * gives the same bytes.
 *
 * @see https://reproducible-builds.org/specs/source-date-epoch/
 */
export async function sourceDate(): Promise<Date> {
  const said = Deno.env.get("SOURCE_DATE_EPOCH") ?? (await capture("git", ["log", "-1", "--format=%ct"])).trim();
  const seconds = Number(said);
  if (said === "" || !Number.isInteger(seconds)) {
    throw new BuildError(`SOURCE_DATE_EPOCH "${said}" is no number of seconds`);
  }
  return new Date(seconds * 1000);
}

/** Removes a folder with all that is in it, where it is there. */
export async function removeFolder(path: string | URL): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** Writes a file, and beside it `<file>.sha256` as `sha256sum --check` reads it. */
export async function writeArtifact(path: string, bytes: Uint8Array<ArrayBuffer>, mode = 0o644): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeFile(path, bytes, { mode });
  await Deno.chmod(path, mode);
  await writeChecksum(path, bytes);
}

/** Writes `<file>.sha256` for a file that holds `bytes`. */
export async function writeChecksum(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  const name = path.slice(path.lastIndexOf("/") + 1);
  await Deno.writeTextFile(`${path}.sha256`, `${digest}  ${name}\n`);
  say(`${path}  ${(bytes.length / 1024 / 1024).toFixed(1)} MB  sha256 ${digest}`);
}

/** Tells the person who builds. */
export function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Runs a build script and turns its failure into a message and an exit code. */
export async function build(script: () => Promise<void>): Promise<void> {
  try {
    await script();
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    Deno.stderr.writeSync(new TextEncoder().encode(`${error.message}\n`));
    Deno.exit(1);
  }
}
