/** A command of this program as somebody would type it, for hints. Pure. */
import { shellWord } from "./shell_word.ts";
import { PROGRAM_NAME } from "./version.ts";

/**
 * The command line of a subcommand and its words, quoted for a shell. The config is not among the words: the command
 * line that shows the hint adds its own.
 */
export function commandLine(name: string, words: readonly string[]): string {
  return [PROGRAM_NAME, name, ...words.map(shellWord)].join(" ");
}
