/**
 * What is wrong with a text that is no YAML, told to somebody who writes a config twice a year. In: the text and the
 * place where the parser gave up, which is often the line below the mistake. Out: the problem, its place, and the line
 * with a caret below it. Pure.
 */
import { hideInLine, keyAbove } from "./disclosure.ts";
import { CLOSING, findWrongMark } from "./marks.ts";
import type { TextPlace } from "./places.ts";

/** What the YAML parser says of a text it refuses. */
export interface ParserComplaint extends TextPlace {
  /** `Cannot read document: end of the stream or a document separator is expected at line 2, column 6:…`. */
  message: string;
}

/** A mistake in the text. */
export interface SyntaxProblem extends TextPlace {
  problem: string;
  /** What to write instead, where that is known. */
  hint?: string;
  /** The line, with a caret below the column, as two lines. */
  excerpt: string;
}

/** What is known of a config's keys. */
export interface KeySets {
  /** All of them: one that begins a line and lacks its colon is taken for the mistake. */
  known: ReadonlySet<string>;
  /** Those whose values may be shown. */
  harmless: ReadonlySet<string>;
}

/** The first line that a tab indents. The parser takes such a line for one that is not indented at all. */
export function findTab(text: string, keys: KeySets): SyntaxProblem | undefined {
  const lines = text.split(/\r?\n/);
  const index = lines.findIndex((line) => /^ *\t\s*(?:- |["']?[\w-]+["']?\s*:(?:\s|$))/.test(line));
  if (index < 0) return undefined;
  const place = { line: index + 1, column: lines[index]!.indexOf("\t") + 1 };
  const hint = "Indent with spaces";
  return { ...place, problem: "A tab indents this line", hint, excerpt: excerptOf(lines, place, keys) };
}

/** Explains why `text` is no YAML. */
export function explainSyntax(text: string, complaint: ParserComplaint, keys: KeySets): SyntaxProblem {
  const lines = text.split(/\r?\n/);
  complaint = placedInLine(complaint, lines);
  const mistake = findMissingColon(lines, complaint.line, keys) ?? findMark(lines, complaint) ??
    findReserved(lines, complaint.line);
  if (mistake !== undefined) return { ...mistake, excerpt: excerptOf(lines, mistake, keys) };
  return {
    line: complaint.line,
    column: complaint.column,
    ...describeComplaint(complaint, lines[complaint.line - 1] ?? ""),
    excerpt: excerptOf(lines, complaint, keys),
  };
}

function describeComplaint(complaint: ParserComplaint, line: string): Pick<SyntaxProblem, "problem" | "hint"> {
  const problem = complaint.message.split("\n", 1)[0]!.replace(/ at line \d+, column \d+:?$/, "");
  if (problem.includes("duplicated key")) {
    const key = /^(["']?)([\w-]+)\1\s*:/.exec(line.slice(complaint.column - 1))?.[2];
    const problem = `${key === undefined ? "A key" : `Key "${key}"`} is given twice in this mapping`;
    return { problem, hint: "Keep one of them" };
  }
  const valued = /^\s*(?:- +)?["']?([\w-]+)["']?\s*:\s+(?!["'|>[{&*!#])\S.*?:(?:\s|$)/.exec(line);
  if (valued !== null && /mapping|indentation/.test(problem)) {
    const schedule = valued[1] === "cron"
      ? '; the time of a schedule has no spaces: cron: "Sat *-*-1..7 18:00:00"'
      : "";
    return {
      problem: `The value of "${valued[1]}" has a colon followed by a space, and is not in quotes`,
      hint: `Put a value with a colon in quotes${schedule}`,
    };
  }
  if (problem.includes("more than 1 document")) {
    return { problem, hint: 'A config is one document: remove the line "---", or what stands below it' };
  }
  if (isOfEscape(complaint)) {
    return { problem, hint: "Write each \\ twice in double quotes, or put the value in single quotes" };
  }
  if (problem.includes("missing comma")) {
    return { problem, hint: "Put a comma between two values, and values in quotes" };
  }
  // What the parser quotes is an alias or a tag, and can be a password that begins with "*" or "!".
  const shown = problem.replace(/\s*(?:!<|").*[">]/, "");
  if (/^\s*(?:- +)?["']?<<["']?\s*:/.test(line) && shown.includes("alias")) {
    return {
      problem: shown,
      hint: "Merge keys of YAML (<<) are not allowed here: write the keys that it stands for",
    };
  }
  const isQuotable = /\b(?:alias|anchor|tag)\b/.test(shown);
  return { problem: shown, ...isQuotable ? { hint: "Put a value that begins with *, & or ! in quotes" } : {} };
}

type Mistake = Pick<SyntaxProblem, "line" | "column" | "problem" | "hint">;

/** The parser stops at the first colon after a missing one: on the same line, or on the next that has content. */
function findMissingColon(lines: string[], stoppedAt: number, { known, harmless }: KeySets): Mistake | undefined {
  const hasContent = (line: string) => !/^\s*(#.*)?$/.test(line);
  const above = lines.slice(0, stoppedAt - 1).findLastIndex(hasContent);
  for (const index of [above, stoppedAt - 1]) {
    const line = lines[index];
    const [, before, key, rest] = /^(\s*(?:- +)?)([\w-]+)(.*)$/.exec(line ?? "") ?? [];
    if (line === undefined || before === undefined || key === undefined || rest === undefined) continue;
    const next = lines.slice(index + 1).find(hasContent) ?? "";
    const owner = keyAbove(lines, index + 1);
    const isNamed = !before.includes("-") && (owner === undefined || harmless.has(owner));
    const opensBlock = isNamed && hasContent(next) && next.search(/\S/) > line.search(/\S/);
    const column = before.length + key.length + 1;
    if (/^\s*(#.*)?$/.test(rest) ? opensBlock || known.has(key) : /^\s+[^\s:]/.test(rest) && known.has(key)) {
      return { line: index + 1, column, problem: `A colon is missing after "${key}"`, hint: `Write "${key}:"` };
    }
    if (/^:\S/.test(rest) && known.has(key)) {
      const problem = `A space is missing after the colon of "${key}"`;
      return { line: index + 1, column: column + 1, problem, hint: `Write "${key}: "` };
    }
  }
  return undefined;
}

/** Of a key given twice over several lines the parser tells the line, and a column before its beginning. */
function placedInLine({ message, line, column }: ParserComplaint, lines: string[]): ParserComplaint {
  const first = (lines[line - 1] ?? "").search(/\S|$/) + 1;
  return { message, line, column: column < 1 ? first : column };
}

/** A quote or bracket that does not end where it should: the parser stops far behind it. */
function findMark(lines: string[], complaint: ParserComplaint): Mistake | undefined {
  if (isOfEscape(complaint)) return undefined;
  const found = findWrongMark(lines, complaint.line);
  if (found === undefined) return undefined;
  const { mark, fault, line, column } = found;
  const isQuote = mark === '"' || mark === "'";
  if (fault === "open" && isQuote) {
    const hint = "Close the quote at the end of the value";
    return { line, column, problem: "A quote opens here and is not closed in this line", hint };
  }
  if (fault === "open") {
    const hint = `Write "${CLOSING[mark]}" behind the last value`;
    return { line, column, problem: `A "${mark}" opens here and is not closed`, hint };
  }
  if (fault === "unquoted") {
    return { line, column, problem: `A value with "${mark}" in it is not in quotes`, hint: "Put the value in quotes" };
  }
  const others = mark === "'" ? "double" : "single";
  const hint = `Close each quote at the end of its value, and put a value with ${mark} in it in ${others} quotes`;
  return { line, column, problem: "A quote closes here, and more stands behind it", hint };
}

function isOfEscape({ message }: ParserComplaint): boolean {
  return message.includes("escape");
}

/** A value that begins with a character that no value may begin with unless it is in quotes. */
function findReserved(lines: string[], stoppedAt: number): Mistake | undefined {
  const [, before, key] = /^(\s*(?:- +)?["']?([\w-]+)["']?\s*:\s+)[%@`]/.exec(lines[stoppedAt - 1] ?? "") ?? [];
  if (before === undefined) return undefined;
  const problem = `The value of "${key}" begins with a character that YAML reserves`;
  return { line: stoppedAt, column: before.length + 1, problem, hint: "Put the value in quotes" };
}

/** `  12 | url: x`, and a caret below the column. */
function excerptOf(lines: string[], { line, column }: TextPlace, { harmless }: KeySets): string {
  const margin = `  ${line} | `;
  const shown = hideInLine(lines, line, harmless);
  const caretAt = Math.min(column - 1, shown.length);
  // Tabs are kept, so that the caret stands below its column however wide they are.
  const indent = shown.slice(0, caretAt).replaceAll(/[^\t]/g, " ");
  return `${margin}${shown}\n${" ".repeat(margin.length - 2)}| ${indent}^`;
}
