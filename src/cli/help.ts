/** What `--help` shows. In: commands as they describe themselves, and a width. Out: text whose lines fit. Pure. */
import { EXIT } from "../errors.ts";
import { wrap } from "../observe/text_width.ts";
import { PROGRAM_NAME, VERSION } from "../version.ts";
import { FIRST_STEPS, SMALLEST_CONFIG } from "./first_steps.ts";
import { type Command, commonFlagsOf, type Flag, operandsOf, usageLines } from "./command.ts";
import type { CommandEntry, DescribedCommand } from "./commands.ts";

/** The exit codes of every command, and their meaning unless the command gives another one. */
const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: "done",
  unexpected: "unexpected: a bug in the program, or a fault of the machine",
  usage: "usage or config: nothing was started",
  partial: "finished, but not everything",
  couchdb: "CouchDB did not answer, or refused",
  store: "the store did not answer, or refused",
  archive: "a damaged or incomplete archive",
  interrupted: "interrupted",
};
const OF_EVERY_COMMAND: readonly (keyof typeof EXIT)[] = ["ok", "unexpected", "usage", "interrupted"];

/** The exit codes of a command, in their order, and what they mean. */
export function exitsOf({ exits }: Pick<Command, "exits">): { code: number; meaning: string }[] {
  const names = Object.keys(EXIT) as (keyof typeof EXIT)[];
  return names.filter((name) => name in exits || OF_EVERY_COMMAND.includes(name))
    .map((name) => ({ code: EXIT[name], meaning: exits[name] ?? EXIT_MEANINGS[name] }));
}

/** The exit codes of the program, and what they mean. */
export function exitsOfAll(): { code: number; meaning: string }[] {
  return exitsOf({ exits: EXIT_MEANINGS });
}

/** A flag with what its value is called: `--task NAME …`. */
export function flagWithValue({ name, value, repeated }: Flag): string {
  return `--${name}${value === undefined ? "" : ` ${value}`}${repeated ? " …" : ""}`;
}

/** What a flag does, which values it has, and what holds without it. */
export function describeFlag({ summary, values, default: otherwise, aliases = [] }: Flag): string {
  const more = [
    ...values === undefined ? [] : [`one of ${values.join(", ")}`],
    ...otherwise === undefined ? [] : [`default: ${otherwise}`],
    ...aliases.length === 0 ? [] : [`also ${aliases.map((name) => `--${name}`).join(", ")}`],
  ];
  return more.length === 0 ? summary : `${summary} (${more.join("; ")})`;
}

/** The paragraphs of a help, each in one line. */
export function paragraphsOf({ help }: Command): string[] {
  return help.join("\n").split("\n\n").map((paragraph) => paragraph.replaceAll("\n", " "));
}

/** The text that `<command> --help` shows, in lines of at most `columns`. */
export function helpText({ summary, command }: DescribedCommand, columns: number): string {
  const { name, flags, examples } = command;
  const flagRows = (some: readonly Flag[]) => some.map((flag) => [flagWithValue(flag), describeFlag(flag)] as const);
  const sections: [string, readonly (readonly [string, string])[]][] = [
    ["Operands", operandsOf(command).map((operand) => [operand.name, operand.summary])],
    ["Options", flagRows(flags)],
    ["Options of every command", flagRows(commonFlagsOf(command))],
    ["Exit codes", exitsOf(command).map(({ code, meaning }) => [String(code), meaning])],
  ];
  return [
    ...wrap(`${PROGRAM_NAME} ${name}: ${summary}`, columns),
    "",
    ...usageLines(command).map((line, index) => `${index === 0 ? "Usage:" : "      "} ${line}`),
    "",
    ...paragraphsOf(command).flatMap((paragraph) => [...wrap(paragraph, columns), ""]),
    ...sections.flatMap(([title, rows]) => rows.length === 0 ? [] : [`${title}:`, ...table(rows, columns), ""]),
    "Examples:",
    ...examples.flatMap((example) => [...wrap(`# ${example.summary}`, columns, ["  ", "  "]), `  ${example.line}`]),
    "",
  ].join("\n");
}

/** The text that `help` shows: the commands and how to begin, in lines of at most `columns`. */
export function overview(commands: Readonly<Record<string, CommandEntry>>, columns: number): string {
  return [
    ...wrap(
      `${PROGRAM_NAME} ${VERSION}: backs up CouchDB databases to S3 or a folder, and restores them exactly`,
      columns,
    ),
    "",
    ...wrap(`Usage: ${PROGRAM_NAME} <command> …; "${PROGRAM_NAME} <command> --help" explains one`, columns),
    "",
    ...table(Object.entries(commands).map(([name, { summary }]) => [name, summary]), columns),
    "",
    "To begin, six lines in a file cfg.yaml, with the password in $COUCHDB_PASSWORD:",
    "",
    ...SMALLEST_CONFIG.map((line) => `  ${line}`),
    "",
    "and then:",
    "",
    ...FIRST_STEPS.flatMap(({ line, summary }) => [...wrap(`# ${summary}`, columns, ["  ", "  "]), `  ${line}`]),
    "",
    "Options of every command:",
    ...table(commonFlagsOf({ needsNoConfig: false }).map((flag) => [flagWithValue(flag), describeFlag(flag)]), columns),
    "",
    "Exit codes:",
    ...table(exitsOfAll().map(({ code, meaning }) => [String(code), meaning]), columns),
    "",
    ...wrap(
      `Results go to stdout, log and progress to stderr. The man page, "man ${PROGRAM_NAME}", has all of this and the ` +
        `environment; docs/configuration.md has every key of the config.`,
      columns,
    ),
    "",
  ].join("\n");
}

/** What is longer than this stands in a line of its own. */
const MOST_LEFT = 24;

/** Rows of a name and what it is: the second column begins at one place, or below where the name is long. */
function table(rows: readonly (readonly [string, string])[], columns: number): string[] {
  const width = rows.reduce((width, [left]) => left.length > MOST_LEFT ? width : Math.max(width, left.length), 0);
  const indent = " ".repeat(width + 4);
  return rows.flatMap(([left, right]) => {
    const lines = wrap(right, columns, [indent, indent]);
    if (left.length > width) return [`  ${left}`, ...lines];
    const [first = "", ...rest] = lines;
    return [`  ${left.padEnd(width)}  ${first.slice(indent.length)}`, ...rest];
  });
}
