/** A text as one word of a shell's command line, so that a command that a message shows can be pasted. Pure. */

/** The text itself where no shell would read anything into it, else in single quotes, as every POSIX shell reads it. */
export function shellWord(text: string): string {
  return /^[\w@%+:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
