/**
 * Files that a command writes where its user says. In: a path and a content. Out: the whole file, or an error that names
 * it.
 */
import { lstat, open, rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { describeError, EXIT, ProgramError } from "../errors.ts";
import { errorCode } from "../system_error.ts";

/** What lies there is the system's: a file in the place of /dev/stdout would be there for every program. */
const OF_THE_SYSTEM = /^\/(?:dev(?!\/shm\/)|proc|sys)(?:\/|$)/;

const DISK_IS_FULL = "Make room on the disk that it would lie on, or name a file on another one";
/** What to do, by the system's code. */
const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: DISK_IS_FULL,
  EDQUOT: DISK_IS_FULL,
  EROFS: "Its disk is mounted read-only: name a file on another one",
  ENAMETOOLONG: "Name a file whose name is shorter",
};

/** What to do about a file that the system does not take. */
export function hintForFile(error: unknown): string {
  return HINTS[errorCode(error)] ?? "Its folder must exist, and you must be allowed to write there";
}

/**
 * Writes a file in one step: a reader sees the old one or the new one, and a link in its place is replaced.
 *
 * @param options `what`: what the message calls it, such as `the report to`; nothing but its path unless given.
 * @throws FileNotWrittenError when its folder does not take it, or something other than a file is in its place.
 */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  { mode, what }: { mode: number; what?: string },
): Promise<void> {
  const failure = (reason: string, context: { cause?: unknown; hint: string }) =>
    new FileNotWrittenError(`Cannot write ${what === undefined ? "" : `${what} `}"${path}": ${reason}`, context);
  const refusal = (cause: unknown, more = "") =>
    failure(`${describeError(cause)}${more}`, {
      cause,
      hint: hintForFile(cause),
    });
  const part = `${path}.${crypto.randomUUID().slice(0, 8)}.part`;
  let file;
  try {
    if (OF_THE_SYSTEM.test(resolve(path)) || await isOther(path)) {
      throw failure("it is not a file", { hint: "Name a file; without --output it goes to standard output" });
    }
    file = await open(part, "wx", mode);
  } catch (cause) {
    throw cause instanceof FileNotWrittenError ? cause : refusal(cause);
  }
  try {
    try {
      await file.writeFile(content);
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (cause) {
    const left = await rm(part, { force: true }).then(
      () => "",
      (error) => `; "${part}" stays: ${describeError(error)}`,
    );
    throw refusal(cause, left);
  }
}

/** Whether something is there that is neither a file nor a link, such as a folder or a pipe. */
async function isOther(path: string): Promise<boolean> {
  try {
    const found = await lstat(path);
    return !found.isFile() && !found.isSymbolicLink();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** A file could not be written. */
class FileNotWrittenError extends ProgramError {
  override readonly exitCode = EXIT.unexpected;
}
