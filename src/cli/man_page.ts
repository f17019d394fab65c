/** The man page, couchdb-backup.1. In: the commands as they describe themselves. Out: roff for man(7). Pure. */
import { wrap } from "../observe/text_width.ts";
import { PROGRAM_NAME, VERSION } from "../version.ts";
import { commonFlagsOf, type Flag, operandsOf, usageLines } from "./command.ts";
import type { DescribedCommand } from "./commands.ts";
import { FIRST_STEPS, SMALLEST_CONFIG } from "./first_steps.ts";
import { describeFlag, exitsOf, exitsOfAll, flagWithValue, paragraphsOf } from "./help.ts";
import { ENVIRONMENT, FILES } from "./surroundings.ts";

/** The page, dated `date` (`2026-11-28`). */
export function manPage(commands: readonly DescribedCommand[], { date }: { date: string }): string {
  const lines = [
    `.\\" Made by "deno task man" of what the commands say of themselves.`,
    `.TH ${PROGRAM_NAME.toUpperCase().replaceAll("-", "\\-")} 1 ${date} "${PROGRAM_NAME} ${VERSION}" "User Commands"`,
    // Names of variables and paths are not to be parted by hyphens, nor what is left of a line to be spread.
    ".nh",
    ".ad l",
    ".SH NAME",
    `${roff(PROGRAM_NAME)} \\- back up CouchDB databases to S3 or a folder, and restore them exactly`,
    ".SH SYNOPSIS",
    ...commands.flatMap(({ command }) => usageLines(command)).flatMap((line) => [bold(line), ".br"]).slice(0, -1),
    ".SH DESCRIPTION",
    text(
      "Saves every leaf revision, conflict, history and attachment of the databases that a config selects, byte for byte, " +
        "as compressed chunks with a manifest. Each complete backup stays a restore point; nothing is overwritten.",
    ),
    ".P",
    text("The smallest config, in the file cfg.yaml; docs/configuration.md has every key:"),
    ".P",
    ".RS 4",
    ".nf",
    ...SMALLEST_CONFIG.map(roff),
    ".fi",
    ".RE",
    ".P",
    "The first steps with it:",
    ...FIRST_STEPS.flatMap(({ line, summary }) => term(line, `${summary[0]!.toUpperCase()}${summary.slice(1)}.`)),
    ".SH COMMANDS",
    ...commands.flatMap(({ summary, command }) => [
      `.SS ${roff(command.name)}`,
      text(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`),
      ".P",
      ...usageLines(command).flatMap((line) => [bold(line), ".br"]).slice(0, -1),
      ...paragraphsOf(command).flatMap((paragraph) => [".P", text(paragraph)]),
      ...operandsOf(command).flatMap(({ name, summary }) => term(name, summary)),
      ...command.flags.flatMap(flagTerm),
      ".P",
      "Exit status:",
      ...exitsOf(command).flatMap(({ code, meaning }) => term(String(code), meaning)),
      ".P",
      "Examples:",
      ...command.examples.flatMap(({ line, summary }) => [
        ".P",
        text(`${summary[0]!.toUpperCase()}${summary.slice(1)}:`),
        ".P",
        ".RS 4",
        ".nf",
        roff(line),
        ".fi",
        ".RE",
      ]),
    ]),
    ".SH OPTIONS",
    "Every command takes these.",
    ...commonFlagsOf({ needsNoConfig: false }).flatMap(flagTerm),
    ".SH EXIT STATUS",
    ...exitsOfAll().flatMap(({ code, meaning }) => term(String(code), meaning)),
    ".SH ENVIRONMENT",
    ...ENVIRONMENT.flatMap(({ names, summary }) => term(names.join(", "), summary)),
    ".SH FILES",
    ...FILES.flatMap(({ names, summary }) => term(names.join(", "), summary)),
    ".SH SEE ALSO",
    ".BR systemd.timer (5),",
    ".BR systemd.time (7),",
    ".BR curl (1)",
  ];
  return `${lines.join("\n")}\n`;
}

/** A text as roff reads it: no escapes, no requests, and dashes that can be copied. */
function roff(text: string): string {
  const escaped = text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq").replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha").replaceAll("~", "\\(ti").replaceAll("…", "\\&...");
  return escaped.startsWith(".") ? `\\&${escaped}` : escaped;
}

/** Text that is filled: a sentence a line or more, as man pages are written. */
function text(words: string): string {
  return roff(words).split(/(?<=[.?!]) (?=[A-Z])/).flatMap((sentence) => wrap(sentence, 79))
    .map((line) => line.replace(/^\./, "\\&.")).join("\n");
}

function bold(words: string): string {
  return `\\fB${roff(words)}\\fP`;
}

function term(name: string, summary: string): string[] {
  return [".TP", bold(name), text(summary)];
}

function flagTerm(flag: Flag): string[] {
  return term(flagWithValue(flag), describeFlag(flag));
}
