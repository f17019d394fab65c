/**
 * The command line: from arguments to one command and from its outcome to an exit code. The only place, beside lambda/,
 * that prints an error.
 */
import { type Call, type Command, helpText, parseCall } from "./command.ts";
import { completeCommands } from "./pasting.ts";
import type { Shell } from "./shell.ts";
import { describeError, EXIT, exitCodeOf, hintOf, ProgramError, UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { PROGRAM_NAME, VERSION } from "../version.ts";

/** Every command is loaded only when it is called: a start must cost next to nothing. */
const COMMANDS: Record<string, { summary: string; load: () => Promise<{ command: Command }> }> = {
  backup: { summary: "back up the databases a config selects", load: () => import("./backup.ts") },
  restore: { summary: "bring a backup back into a database", load: () => import("./restore.ts") },
  verify: { summary: "compare a backup with its manifest", load: () => import("./verify.ts") },
  "test-restore": { summary: "restore backups for a test, and compare them", load: () => import("./test_restore.ts") },
  list: { summary: "list the backups in the store, or CouchDB's databases", load: () => import("./list.ts") },
  show: { summary: "write one document of a backup to stdout", load: () => import("./show.ts") },
  export: { summary: "write the documents of a backup to stdout, one a line", load: () => import("./export.ts") },
  find: { summary: "say which revisions a document had over all backups", load: () => import("./find.ts") },
  diff: { summary: "say what changed between two backups, or since one", load: () => import("./diff.ts") },
  expire: { summary: "delete the backups that no rule keeps, or say which", load: () => import("./expire.ts") },
  keep: { summary: "pin a backup, so that it never expires", load: () => import("./keep.ts") },
  unkeep: { summary: "take the pin off a backup", load: () => import("./unkeep.ts") },
  plan: { summary: "say what each task selects, and when it runs next", load: () => import("./plan.ts") },
  status: { summary: "say how each task stands: saved, failed, late", load: () => import("./status.ts") },
  report: { summary: "make a page of what became of the backups", load: () => import("./report.ts") },
  schedule: { summary: "stay, and run each task when it is due", load: () => import("./schedule.ts") },
  systemd: { summary: "print unit and timer files for systemd", load: () => import("./systemd.ts") },
  check: { summary: "try all that a backup needs", load: () => import("./check.ts") },
  completions: { summary: "print completions for a shell", load: loadCompletions },
};

async function loadCompletions(): Promise<{ command: Command }> {
  const { completionsCommand } = await import("./completions.ts");
  const all = () =>
    Promise.all(
      Object.entries(COMMANDS).map(async ([name, { summary, load }]) => {
        return { name, summary, command: name === "completions" ? command : (await load()).command };
      }),
    );
  const command = completionsCommand(all);
  return { command };
}

/** Runs the program and returns its exit code. Never throws. */
export async function main(argv: readonly string[], shell: Shell): Promise<number> {
  const json = argv.includes("--json");
  let configPath: string | undefined;
  try {
    return await dispatch(argv, shell, (call) => configPath = call.configPath);
  } catch (error) {
    return fail(error, shell, { json, configPath });
  }
}

async function dispatch(argv: readonly string[], shell: Shell, onCall: (call: Call) => void): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    (name === undefined ? shell.stderr : shell.stdout).write(overview());
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
      hint: `${near === undefined ? "" : `Did you mean "${near}"? `}"${PROGRAM_NAME} help" lists them all`,
    });
  }
  const { command } = await entry.load();
  const call = parseCall(command, rest, shell);
  onCall(call);
  if (call.isOn("help")) {
    shell.stdout.write(helpText(command));
    return EXIT.ok;
  }
  return await command.run(call);
}

function overview(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  return [
    `${PROGRAM_NAME} ${VERSION}: backs up CouchDB databases to S3 or a folder, and restores them exactly`,
    "",
    `Usage: ${PROGRAM_NAME} <command> …; "${PROGRAM_NAME} <command> --help" explains one`,
    "",
    ...Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`),
    "",
  ].join("\n");
}

/** Says what went wrong: an expected error in its own words, anything else with its stack, for it is a defect. */
function fail(
  error: unknown,
  shell: Shell,
  { json, configPath }: { json: boolean; configPath: string | undefined },
): number {
  const exitCode = exitCodeOf(error);
  const message = describeError(error);
  const known = hintOf(error);
  const hint = known === undefined ? undefined : completeCommands(known, configPath);
  const lines = [`${PROGRAM_NAME}: ${message}`];
  if (hint !== undefined) lines.push(`  ${hint}`);
  if (!(error instanceof ProgramError) && error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  shell.stderr.write(`${lines.join("\n")}\n`);
  if (json) shell.stdout.write(`${JSON.stringify({ ok: false, error: { message, hint, exit_code: exitCode } })}\n`);
  return exitCode;
}
