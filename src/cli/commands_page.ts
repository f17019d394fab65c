/** docs/commands.md. In: the commands as they describe themselves. Out: the page's text. Pure. */
import { commonFlagsOf, type Flag, operandsOf, usageLines } from "./command.ts";
import type { DescribedCommand } from "./commands.ts";
import { exitsOf, exitsOfAll, flagWithValue, paragraphsOf } from "./help.ts";
import { ENVIRONMENT, FILES } from "./surroundings.ts";

/** The page. */
export function commandsPage(commands: readonly DescribedCommand[]): string {
  return [
    "<!-- Made by `deno task commands` of what the commands say of themselves; a test holds it equal. -->",
    "",
    "# Commands",
    "",
    "`couchdb-backup <command> --help` shows the same, and so does the man page, `couchdb-backup.1`. Results go to stdout, " +
    "log and progress to stderr. The config is the last operand of every command, or comes by `--config`, or from the " +
    "environment. The shapes of `--json` stand in [design.md](design.md).",
    "",
    ...table(
      ["command", "what it does"],
      commands.map(({ summary, command: { name } }) => [`[${name}](#${name})`, cell(summary)]),
    ),
    "",
    "## Options of every command",
    "",
    ...flagTable(commonFlagsOf({ needsNoConfig: false })),
    "",
    "## Exit codes",
    "",
    ...table(["code", "meaning"], exitsOfAll().map(({ code, meaning }) => [String(code), cell(meaning)])),
    "",
    ...commands.flatMap(describe),
    "## Environment",
    "",
    ...surroundings("variable", ENVIRONMENT),
    "",
    "## Files",
    "",
    ...surroundings("file", FILES),
    "",
  ].join("\n");
}

function describe({ summary, command }: DescribedCommand): string[] {
  return [
    `## ${command.name}`,
    "",
    `${summary[0]!.toUpperCase()}${summary.slice(1)}.`,
    "",
    "```text",
    ...usageLines(command),
    "```",
    "",
    ...paragraphsOf(command).flatMap((paragraph) => [prose(paragraph), ""]),
    ...section(table(["operand", "what it is"], operandsOf(command).map((one) => [code(one.name), cell(one.summary)]))),
    ...section(flagTable(command.flags)),
    ...table(["exit code", "meaning"], exitsOf(command).map(({ code, meaning }) => [String(code), cell(meaning)])),
    "",
    "```sh",
    ...command.examples.flatMap((example) => [`# ${example.summary}`, example.line]),
    "```",
    "",
  ];
}

function section(lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [...lines, ""];
}

function flagTable(flags: readonly Flag[]): string[] {
  return table(
    ["option", "default", "what it does"],
    flags.map((flag) => {
      const { summary, values = [], aliases = [], value, default: otherwise } = flag;
      const more = [
        ...values.length === 0 ? [] : [`one of ${values.map(code).join(", ")}`],
        ...aliases.length === 0 ? [] : [`also ${aliases.map((name) => code(`--${name}`)).join(", ")}`],
      ];
      return [
        code(flagWithValue(flag)),
        cell(otherwise ?? (value === undefined ? "off" : "none")),
        [cell(summary), ...more].join("; "),
      ];
    }),
  );
}

function surroundings(title: string, some: typeof ENVIRONMENT): string[] {
  return table(
    [title, "what it is for"],
    some.map(({ names, summary }) => [names.map(code).join(", "), cell(summary)]),
  );
}

/** A table whose columns stand below each other in the source, too; nothing where it has no rows. */
function table(headings: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const widths = headings.map((heading, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]!.length), heading.length)
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((text, column) => text.padEnd(widths[column]!)).join(" | ")} |`;
  return [line(headings), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)];
}

function code(text: string): string {
  return `\`${text.replaceAll("|", "\\|")}\``;
}

/** What Markdown would take for markup: placeholders, options, patterns, variables. */
const MARKUP = /'[^']*[*_$\\^][^']*'|<[a-z]+>|--[a-z-]+|[^\s('][^\s']*[*_$\\^]\S*[^\s,.;:)]|[*_$\\^]\S*[^\s,.;:)]/g;

function prose(text: string): string {
  return text.replaceAll(MARKUP, (word) => `\`${word}\``).replaceAll(/\bdocs\/([a-z-]+\.md)/g, "[$1]($1)");
}

function cell(text: string): string {
  return prose(text).replaceAll("|", "\\|");
}
