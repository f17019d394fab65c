/** What a subcommand is, and how its arguments are read and explained. */
import { UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { Task } from "../task/task.ts";
import { parseArgs } from "./parse_args.ts";
import { completeCommands, completeHints } from "./pasting.ts";
import type { Shell } from "./shell.ts";

/** One flag of a command. */
export interface Flag {
  /** Without dashes. */
  name: string;
  /** What its value is called in the help, such as `NAME`; absent for a flag that is on or off. */
  value?: string;
  /** It may be given more than once. */
  repeated?: boolean;
  /** Other names, such as the reference script's. */
  aliases?: readonly string[];
  summary: string;
}

/** A subcommand. */
export interface Command {
  name: string;
  /** Its arguments after the name: `<config>`. */
  usage: string;
  /** What it does: the first line of its help stands in the list of commands too. */
  help: readonly string[];
  flags: readonly Flag[];
  /**
   * How many operands it takes beside the config, which may stand behind them. `isConfig` says it of one that stands where
   * another one could.
   */
  operands: {
    least: number;
    most: number;
    isConfig?: (operand: string, index: number, flags: Readonly<Record<string, unknown>>) => boolean;
  };
  /** It works without a config, and takes none. @default false */
  needsNoConfig?: boolean;
  /** What to do after it was interrupted, as a sentence. @default nothing is left to do */
  afterInterruption?(call: Call, begun: { tasks: readonly Task[]; startedAt: Date }): string;
  /** Does it, and returns the exit code. */
  run(call: Call): Promise<number>;
}

/** One call of a command: its arguments, checked, and the process around it. */
export class Call {
  readonly command: Command;
  /** Without the config. */
  readonly operands: readonly string[];
  readonly shell: Shell;
  readonly flags: Readonly<Record<string, unknown>>;
  /** The config as it is named, `-` for standard input; undefined where it is not. */
  readonly configPath: string | undefined;

  constructor(
    command: Command,
    operands: readonly string[],
    shell: Shell,
    { configPath, ...flags }: Readonly<Record<string, unknown>> & { configPath?: string | undefined },
  ) {
    this.command = command;
    this.operands = operands;
    this.shell = shell;
    this.flags = flags;
    this.configPath = configPath;
  }

  /** Whether an on-off flag is given. */
  isOn(name: string): boolean {
    return this.flags[name] === true;
  }

  /** The value of a flag, undefined when it is not given. */
  text(name: string): string | undefined {
    const value = this.flags[name];
    return typeof value === "string" ? value : undefined;
  }

  /** The values of a flag that may be repeated. */
  list(name: string): string[] {
    const value = this.flags[name];
    return Array.isArray(value) ? value.map(String) : [];
  }

  /** Prints a result: as one JSON object with `--json`, else as text for people. */
  print(result: unknown, text: () => string): void {
    const shown = this.isOn("json")
      ? `${JSON.stringify(completeHints(result, this.configPath))}\n`
      : completeCommands(text(), this.configPath);
    this.shell.stdout.write(shown);
  }
}

/** The flags that every command has. */
export const COMMON_FLAGS: readonly Flag[] = [
  { name: "json", summary: "print the result as one JSON object" },
  { name: "quiet", summary: "log warnings and errors only" },
  { name: "verbose", summary: "log every request" },
  { name: "log-format", value: "FORMAT", summary: "plain, json, journald, terminal or auto (the default)" },
  { name: "help", summary: "show this text" },
];

/** The flag of every command that takes a config; it may also stand behind the operands. */
const CONFIG_FLAG: Flag = {
  name: "config",
  value: "FILE",
  summary: "the config, - for stdin; else $COUCHDB_BACKUP_CONFIG (a path, or the text itself), else ./config.yaml",
};

/** The flags of a command, with those that others have too. */
export function flagsOf(command: Command): readonly Flag[] {
  const own = command.needsNoConfig === true ? command.flags : [CONFIG_FLAG, ...command.flags];
  return [...own, ...COMMON_FLAGS];
}

/**
 * Reads a command's arguments.
 *
 * @throws UsageError naming the flag or operand that is unknown, missing or too much.
 */
export function parseCall(command: Command, argv: readonly string[], shell: Shell): Call {
  const flags = flagsOf(command);
  const names = (wanted: (flag: Flag) => boolean) => flags.filter(wanted).map((flag) => flag.name);
  const parsed = parseArgs(argv, {
    string: names((flag) => flag.value !== undefined),
    boolean: names((flag) => flag.value === undefined),
    collect: names((flag) => flag.repeated === true),
    alias: Object.fromEntries(flags.map((flag) => [flag.name, flag.aliases ?? []])),
    unknown: (arg) => arg.startsWith("-") && arg !== "-" ? refuseFlag(command, arg, flags) : undefined,
  });
  for (const flag of flags) {
    const values = [parsed.flags[flag.name]].flat();
    if (flag.value !== undefined && values.includes("")) {
      throw new UsageError(`--${flag.name} needs a value: --${flag.name} ${flag.value}`);
    }
  }
  const { least, most } = command.operands;
  const { operands, configPath } = findConfig(command, parsed.operands, parsed.flags);
  const call = new Call(command, operands, shell, { ...parsed.flags, configPath });
  const count = call.operands.length;
  if (!call.isOn("help") && (count < least || count > most)) {
    const tooMuch = call.operands[command.needsNoConfig === true ? most : most + 1];
    const problem = count < least ? "is missing an argument" : `does not take "${tooMuch}"`;
    throw new UsageError(`"${command.name}" ${problem}`, {
      hint: `Usage: couchdb-backup ${command.name} ${command.usage}`,
    });
  }
  return call;
}

/** Tells the config from the other operands: it is the last one, where there are more than the command has of its own. */
function findConfig(
  { name, needsNoConfig, operands: { most, isConfig = () => false } }: Command,
  operands: readonly string[],
  flags: Readonly<Record<string, unknown>>,
): { operands: readonly string[]; configPath: string | undefined } {
  const named = typeof flags.config === "string" ? flags.config : undefined;
  const last = operands.at(-1);
  const isLast = needsNoConfig !== true && last !== undefined &&
    (operands.length === most + 1 || isConfig(last, operands.length - 1, flags));
  if (!isLast) return { operands, configPath: named };
  if (named === undefined) return { operands: operands.slice(0, -1), configPath: last };
  throw new UsageError(`"${name}" is given two configs, "${named}" and "${last}"`, { hint: "Leave one of them out" });
}

function refuseFlag(command: Command, arg: string, flags: readonly Flag[]): never {
  const name = arg.replace(/^-+/, "").replace(/=.*$/, "");
  const known = flags.flatMap((flag) => [flag.name, ...flag.aliases ?? []]);
  const near = nearest(name, known);
  throw new UsageError(`"${command.name}" has no flag "${arg}"`, {
    hint: `${
      near === undefined ? "" : `Did you mean --${near}? `
    }"couchdb-backup ${command.name} --help" lists them all`,
  });
}

/** The text that `--help` shows. */
export function helpText(command: Command): string {
  const rows = flagsOf(command).map((flag) => {
    const left = `--${flag.name}${flag.value === undefined ? "" : ` ${flag.value}`}${flag.repeated ? " …" : ""}`;
    return [left, flag.summary] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, summary]) => `  ${left.padEnd(width)}  ${summary}`);
  return [
    `couchdb-backup ${command.name} ${command.usage}`,
    "",
    ...command.help,
    "",
    ...lines,
    "",
  ].join("\n");
}
