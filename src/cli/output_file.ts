/**
 * Files that a command writes where its user says. In: a path and a content. Out: the whole file, or an error that names
 * it.
 */
import { rename, rm, writeFile } from "node:fs/promises";
import { describeError, EXIT, ProgramError } from "../errors.ts";

/**
 * Writes a file in one step: a reader sees the old one or the new one, and a link in its place is replaced.
 *
 * @param options `what`: what the message calls it, such as `the report to`; nothing but its path unless given.
 * @throws FileNotWrittenError when its folder does not take it.
 */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  { mode, what }: { mode: number; what?: string },
): Promise<void> {
  const part = `${path}.${crypto.randomUUID().slice(0, 8)}.part`;
  try {
    await writeFile(part, content, { mode, flag: "wx" });
    await rename(part, path);
  } catch (cause) {
    await rm(part, { force: true });
    throw new FileNotWrittenError(
      `Cannot write ${what === undefined ? "" : `${what} `}"${path}": ${describeError(cause)}`,
      { cause, hint: "Its folder must exist, and you must be allowed to write there" },
    );
  }
}

/** A file could not be written. */
class FileNotWrittenError extends ProgramError {
  override readonly exitCode = EXIT.unexpected;
}
