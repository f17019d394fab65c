/**
 * The command line: from arguments to one command and from its outcome to an exit code. The only place, beside lambda/,
 * that prints an error.
 */
import { type Call, parseCall } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { completeCommands } from "./pasting.ts";
import type { Output, Shell } from "./shell.ts";
import { describeError, EXIT, exitCodeOf, hintOf, InterruptedError, ProgramError, UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { linesForJournal } from "../observe/log.ts";
import { printableLines } from "../observe/logfmt.ts";
import { PROGRAM_NAME, VERSION } from "../version.ts";

/** Runs the program and returns its exit code. Never throws. */
export async function main(argv: readonly string[], shell: Shell): Promise<number> {
  const json = argv.includes("--json");
  let call: Call | undefined;
  try {
    return await dispatch(argv, shell, (parsed) => call = parsed);
  } catch (error) {
    return fail(error, shell, { json, call });
  }
}

async function dispatch(argv: readonly string[], shell: Shell, onCall: (call: Call) => void): Promise<number> {
  const [name, ...rest] = argv;
  // `help backup` and `backup --help` are the same.
  const about = name === "help" ? rest.find((word) => !word.startsWith("-")) : undefined;
  if (about !== undefined && about !== "help") return await dispatch([about, "--help"], shell, onCall);
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    const output = name === undefined ? shell.stderr : shell.stdout;
    const { overview } = await import("./help.ts");
    output.write(overview(COMMANDS, widthOf(output)));
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  if (name === "--version" || name === "version") {
    shell.stdout.write(`${PROGRAM_NAME} ${VERSION}\n`);
    return EXIT.ok;
  }
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) {
    const near = nearest(name, Object.keys(COMMANDS));
    throw new UsageError(`There is no command "${name}"`, {
      hint: `${near === undefined ? "" : `Did you mean "${near}"? `}"${PROGRAM_NAME} help" lists all of them`,
    });
  }
  const { command } = await entry.load();
  const call = parseCall(command, rest, shell);
  onCall(call);
  if (call.isOn("help")) {
    const { helpText } = await import("./help.ts");
    shell.stdout.write(helpText({ summary: entry.summary, command }, widthOf(shell.stdout)));
    return EXIT.ok;
  }
  return await command.run(call);
}

/** Lines longer than this are hard to read, and what is no terminal has no width. */
const MOST_COLUMNS = 100;

function widthOf({ isTerminal, columns }: Output): number {
  return isTerminal ? Math.min(columns(), MOST_COLUMNS) : 80;
}

/** Says what went wrong: an expected error in its own words, anything else with its stack, for it is a defect. */
function fail(error: unknown, shell: Shell, { json, call }: { json: boolean; call: Call | undefined }): number {
  const exitCode = exitCodeOf(error);
  const message = describeError(error);
  const known = hintOf(error);
  const hint = known === undefined ? undefined : completeCommands(known, call?.configName);
  const lines = [`${PROGRAM_NAME}: ${message}`];
  if (hint !== undefined) lines.push(`  ${hint}`);
  if (!(error instanceof ProgramError) && error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  const text = printableLines(lines.join("\n"));
  const format = call?.text("log-format") ?? "auto";
  const isForJournal = format === "journald" || (format === "auto" && shell.journal);
  // A stop that was asked for is as loud as the line that says that it has begun.
  const level = error instanceof InterruptedError ? "warn" : "error";
  shell.stderr.write(`${isForJournal ? linesForJournal(level, text) : text}\n`);
  if (json) shell.stdout.write(`${JSON.stringify({ ok: false, error: { message, hint, exit_code: exitCode } })}\n`);
  return exitCode;
}
