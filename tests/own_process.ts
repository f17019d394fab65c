import { assertEquals } from "@std/assert";
import { PERMISSIONS } from "../scripts/run_flags.ts";
import { denoFolder } from "./deno_folder.ts";

/**
 * Runs a program of the tests in a process of its own, with the permissions that couchdb-backup has. This is for what a
 * process has as a whole, such as its environment and its umask: test files run side by side in one process.
 *
 * @param program Its path from the project's root.
 * @param options.env Variables that it has beside those of this process.
 * @param options.umask Its umask, in octal digits.
 * @returns What it printed, which must be JSON.
 */
export async function runInOwnProcess(
  program: string,
  args: readonly string[],
  options: { env?: Readonly<Record<string, string>>; umask?: string } = {},
): Promise<unknown> {
  const line = [Deno.execPath(), "run", "--quiet", "--no-prompt", ...PERMISSIONS, program, ...args];
  const umask = options.umask === undefined ? ":" : `umask ${options.umask}`;
  const { stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", `${umask} && exec "$@"`, "sh", ...line],
    env: { DENO_DIR: await denoFolder(), ...options.env },
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
  return JSON.parse(new TextDecoder().decode(stdout));
}
