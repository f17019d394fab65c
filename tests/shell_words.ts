/** Splits a command line as a shell does that gets it pasted; more than one command are several. */
export async function shellWords(commands: string): Promise<string[][]> {
  // Each command calls a function of the program's name, which prints its words.
  const script = `couchdb-backup() { printf '%s\\0' couchdb-backup "$@"; printf '\\0'; }\n${commands}\n`;
  const { code, stdout, stderr } = await new Deno.Command("bash", { args: ["-c", script] }).output();
  const said = new TextDecoder().decode(stderr);
  if (code !== 0 || said !== "") throw new Error(`A shell does not run ${commands}: ${said}`);
  return new TextDecoder().decode(stdout).split("\0\0").slice(0, -1).map((text) => text.split("\0"));
}
