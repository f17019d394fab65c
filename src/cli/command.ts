/** What a subcommand is, and how its arguments are read and explained. */
import { type EXIT, UsageError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import type { LogFormat } from "../observe/log.ts";
import { printableLines } from "../observe/logfmt.ts";
import { widthOf, wrap } from "../observe/text_width.ts";
import type { Task } from "../task/task.ts";
import { parseArgs } from "./parse_args.ts";
import { completeCommands, completeHints } from "./pasting.ts";
import type { Shell } from "./shell.ts";
import { CONFIG_SOURCE_VARIABLE } from "../commands/systemd.ts";

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
  /** The default, for the help: `4`, `now`. @default off, or none */
  default?: string;
  /** The values that there are, where they can be counted. */
  values?: readonly string[];
}

/** An operand as the help explains it. */
export interface OperandHelp {
  /** As in the usage: `<db>`. */
  name: string;
  summary: string;
  /** The words that it may be, where they can be counted. */
  values?: readonly string[];
}

/** A call that does what it says; a test runs it. */
export interface Example {
  line: string;
  summary: string;
}

/** A subcommand. */
export interface Command {
  name: string;
  /** Its operands and the flags that it cannot do without, `<db> <path> [<config>]`; one for each way to call it. */
  usage: readonly string[];
  /** What it does: paragraphs, parted by empty lines. */
  help: readonly string[];
  flags: readonly Flag[];
  /** What its own operands are. @default it has none */
  operandHelp?: readonly OperandHelp[];
  /** The exit codes that mean something special for this command, and what. */
  exits: Partial<Record<keyof typeof EXIT, string>>;
  examples: readonly Example[];
  /**
   * How many operands it takes besides the config, which may follow them. `isConfig` tells whether an operand is the
   * config where it could also be one of the command's own.
   */
  operands: {
    least: number;
    most: number;
    isConfig?: (operand: string, index: number, flags: Readonly<Record<string, unknown>>) => boolean;
  };
  /** It works without a config, and takes none. @default false */
  needsNoConfig?: boolean;
  /** What to do after an interruption, as a sentence. @default nothing */
  afterInterruption?(call: Call, begun: { tasks: readonly Task[]; startedAt: Date }): string;
  /** Runs the command and returns the exit code. */
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

  /**
   * The config as a command that is pasted has to name it: units that systemd hands the config over to say where it
   * comes from, for the copy is gone when they end.
   */
  get configName(): string | undefined {
    return this.configPath === undefined ? undefined : this.shell.env[CONFIG_SOURCE_VARIABLE] || this.configPath;
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

  /** The same; undefined when it is not given. */
  listIfGiven(name: string): string[] | undefined {
    const values = this.list(name);
    return values.length === 0 ? undefined : values;
  }

  /** Whether a flag is there, whatever it is. */
  isGiven(name: string): boolean {
    return this.isOn(name) || this.text(name) !== undefined || this.list(name).length > 0;
  }

  /**
   * Prints a result: as one JSON object with `--json`, else as text for people. Names from a store or a server cannot
   * move the cursor; text with styles must have escaped them itself. Prose is wrapped at the terminal's width; commands
   * to paste are not.
   */
  print(
    result: unknown,
    text: () => string,
    { isStyled = false, isProse = false }: { isStyled?: boolean; isProse?: boolean } = {},
  ): void {
    if (this.isOn("json")) {
      this.shell.stdout.write(`${JSON.stringify(completeHints(result, this.configName))}\n`);
      return;
    }
    const { stdout } = this.shell;
    const completed = completeCommands(text(), this.configName);
    const shown = isStyled ? completed : printableLines(completed);
    stdout.write(isProse && stdout.isTerminal ? wrapLines(shown, stdout.columns() - 1) : shown);
  }
}

/** How the log may be written; auto chooses by where it goes. */
export const LOG_FORMATS: readonly LogFormat[] = ["auto", "terminal", "plain", "json", "journald"];

/** The operand that says which backup: of every command that takes one. */
export const BACKUP_PATH: OperandHelp = {
  name: "<path>",
  summary:
    "which backup: latest, a moment (2026-11-25T18:05Z: the newest that was complete then), a date (2026-10-22), " +
    "an s3:// or file:// URL, a local folder or chunk file, or a key below the bucket folder. The backup is that of the " +
    "path's last folder, or else of <db>; latest/orders or 2026-11-25T18:05Z/orders names another one",
};

/** The operand that says whose backup: of every command that looks into one. */
export const SAVED_DATABASE: OperandHelp = { name: "<db>", summary: "the database that was saved" };

/** The operand of every command that takes a config. */
const CONFIG_OPERAND: OperandHelp = { name: "<config>", summary: "the config; the same as --config" };

/** The flags that every command has. */
const COMMON_FLAGS: readonly Flag[] = [
  { name: "json", summary: "print the result as one JSON object" },
  { name: "quiet", summary: "log warnings and errors only" },
  { name: "verbose", summary: "log every request" },
  {
    name: "log-format",
    value: "FORMAT",
    summary: "how the log is written on standard error",
    default: "auto",
    values: LOG_FORMATS,
  },
  { name: "help", summary: "show this text" },
];

/** The flag of every command that looks into backups. */
export const IDENTITY_FLAG: Flag = {
  name: "identity",
  value: "FILE",
  repeated: true,
  summary: "what opens sealed backups, as age-keygen writes it",
  default: "the config's identity_file and identity_secret",
};

/** The flag of every command that takes a config; it may also stand after the operands. */
const CONFIG_FLAG: Flag = {
  name: "config",
  value: "FILE",
  summary: "the config, - for standard input",
  default:
    "$COUCHDB_BACKUP_CONFIG (a path, s3://BUCKET/KEY, a parameter's ARN, or the text itself), else ./config.yaml",
};

/** Lines that are to be pasted: commands of this program, and those that a hint begins with. */
const PASTED = /couchdb-backup |^ *(?:chmod|sudo) /;

/**
 * Wraps lines. What goes on below stands under the row's last column, where that leaves half of the width and every word
 * fits, else two columns further in than the line.
 */
function wrapLines(text: string, columns: number): string {
  return text.split("\n").flatMap((line) => {
    if (PASTED.test(line)) return [line];
    const [, indent = "", rest = ""] = /^( *)(.*)$/.exec(line) ?? [];
    const [row = ""] = /^.*\S {2,}(?=\S)/.exec(line.slice(0, columns >> 1)) ?? [];
    const last = line.slice(row.length);
    const isColumn = row !== "" && last.split(" ").every((word) => row.length + widthOf(word) <= columns);
    if (isColumn) return wrap(last, columns, [row, " ".repeat(widthOf(row))]);
    return wrap(rest, columns, [indent, `${indent}  `]);
  }).join("\n");
}

/** The flags of a command, with those that others have too. */
export function flagsOf(command: Command): readonly Flag[] {
  return [...command.flags, ...commonFlagsOf(command)];
}

/** The flags of a command that other commands have too. */
export function commonFlagsOf({ needsNoConfig }: Pick<Command, "needsNoConfig">): readonly Flag[] {
  return needsNoConfig === true ? COMMON_FLAGS : [CONFIG_FLAG, ...COMMON_FLAGS];
}

/** What the operands of a command are, the config among them. */
export function operandsOf({ operandHelp = [], needsNoConfig }: Command): readonly OperandHelp[] {
  return needsNoConfig === true ? operandHelp : [...operandHelp, CONFIG_OPERAND];
}

/** The lines that show how a command is called. */
export function usageLines({ name, usage }: Command): string[] {
  return usage.map((operands) => `couchdb-backup ${name} ${operands} [options]`);
}

/**
 * Reads a command's arguments.
 *
 * @throws UsageError naming the flag or operand that is unknown, missing or too much.
 */
export function parseCall(command: Command, argv: readonly string[], shell: Shell): Call {
  const flags = flagsOf(command);
  refuseOnOffValues(argv, flags);
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
      hint: `Usage: ${usageLines(command).join(", or ")}`,
    });
  }
  // With an operand missing, the config stands in its place; with the config not last, an operand in the config's.
  const isLast = configPath !== undefined && configPath !== parsed.flags.config;
  const seemsConfig = (operand: string) => /\.ya?ml$/i.test(operand);
  const isSure = configPath !== undefined && (!isLast || seemsConfig(configPath));
  const astray = command.needsNoConfig === true || isSure ? undefined : call.operands.find(seemsConfig);
  if (!call.isOn("help") && astray !== undefined) {
    const problem = isLast
      ? `takes the config as its last argument, and "${configPath}" is that`
      : "is missing an argument";
    throw new UsageError(`"${command.name}" ${problem}: "${astray}" seems to be the config`, {
      hint: `Usage: ${usageLines(command).join(", or ")}`,
    });
  }
  return call;
}

/**
 * The package takes every value of an on-off flag but "false" for "on": `--confirm=no` would delete.
 *
 * @throws UsageError for a value that is neither "true" nor "false".
 */
function refuseOnOffValues(argv: readonly string[], flags: readonly Flag[]): void {
  const onOff = new Set(
    flags.filter(({ value }) => value === undefined).flatMap(({ name, aliases = [] }) => [name, ...aliases]),
  );
  const end = argv.indexOf("--");
  for (const arg of end < 0 ? argv : argv.slice(0, end)) {
    const [, name = "", value = ""] = /^--([^=]+)=(.*)$/s.exec(arg) ?? [];
    if (!onOff.has(name) || value === "true" || value === "false") continue;
    throw new UsageError(`--${name} is on or off and takes no value, but "${value}" is given`, {
      hint: `Write --${name}, or leave it out`,
    });
  }
}

/** Finds the config among the operands: it is the last one if there are more than the command has of its own. */
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
    }"couchdb-backup ${command.name} --help" lists all of them`,
  });
}
