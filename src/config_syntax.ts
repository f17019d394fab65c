/**
 * What is wrong with a text that is no YAML, told to somebody who writes a config twice a year. In: the text and the
 * place where the parser gave up, which is often the line below the mistake. Out: the problem, its place, and the line
 * with a caret below it. Secrets are never shown.
 */
import type { TextPlace } from "./config_places.ts";

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

/** The first line that a tab indents. The parser takes such a line for one that is not indented at all. */
export function findTab(text: string): SyntaxProblem | undefined {
  const lines = text.split(/\r?\n/);
  const index = lines.findIndex((line) => /^ *\t/.test(line) && (ANY_KEY.test(line) || /^\s*- /.test(line)));
  if (index < 0) return undefined;
  const place = { line: index + 1, column: lines[index]!.indexOf("\t") + 1 };
  const hint = "Indent with spaces";
  return { ...place, problem: "A tab indents this line", hint, excerpt: excerptOf(lines, place) };
}

/**
 * Explains why `text` is no YAML.
 *
 * @param knownKeys The keys that a config can have; a word at the beginning of a line that is one of them, without its
 * colon, is taken for the mistake.
 */
export function explainSyntax(text: string, complaint: ParserComplaint, knownKeys: ReadonlySet<string>): SyntaxProblem {
  const lines = text.split(/\r?\n/);
  const mistake = findMissingColon(lines, complaint.line, knownKeys);
  if (mistake !== undefined) return { ...mistake, excerpt: excerptOf(lines, mistake) };
  const secret = isSecretLine(lines, complaint.line);
  return {
    line: complaint.line,
    column: complaint.column,
    problem: describeProblem(complaint, { line: lines[complaint.line - 1] ?? "", secret }),
    ...secret ? { hint: "Put the value in quotes" } : {},
    excerpt: excerptOf(lines, complaint),
  };
}

function describeProblem(complaint: ParserComplaint, { line, secret }: { line: string; secret: boolean }): string {
  const problem = complaint.message.split("\n", 1)[0]!.replace(/ at line \d+, column \d+:?$/, "");
  if (problem.includes("duplicated key")) {
    const key = /^(["']?)([\w-]+)\1\s*:/.exec(line.slice(complaint.column - 1))?.[2];
    return key === undefined ? "A key is given twice in this mapping" : `Key "${key}" is given twice in this mapping`;
  }
  // What the parser quotes can be a piece of a password that begins with "*" or "!".
  return secret ? problem.replaceAll(/"[^"]*"|!<[^>]*>/g, '"***"') : problem;
}

type Mistake = Pick<SyntaxProblem, "line" | "column" | "problem" | "hint">;

/** The parser stops at the first colon behind a missing one: on the same line, or on the next that has content. */
function findMissingColon(lines: string[], stoppedAt: number, knownKeys: ReadonlySet<string>): Mistake | undefined {
  const hasContent = (line: string) => !/^\s*(#.*)?$/.test(line);
  const above = lines.slice(0, stoppedAt - 1).findLastIndex(hasContent);
  for (const index of [above, stoppedAt - 1]) {
    const line = lines[index];
    const [, before, key, rest] = /^(\s*(?:- +)?)([\w-]+)(.*)$/.exec(line ?? "") ?? [];
    if (line === undefined || before === undefined || key === undefined || rest === undefined) continue;
    const next = lines.slice(index + 1).find(hasContent) ?? "";
    const opensBlock = hasContent(next) && next.search(/\S/) > line.search(/\S/) && !before.includes("-");
    const column = before.length + key.length + 1;
    if (/^\s*(#.*)?$/.test(rest) ? opensBlock || knownKeys.has(key) : /^\s+[^\s:]/.test(rest) && knownKeys.has(key)) {
      return { line: index + 1, column, problem: `A colon is missing after "${key}"`, hint: `Write "${key}:"` };
    }
    if (/^:\S/.test(rest) && knownKeys.has(key)) {
      const problem = `A space is missing after the colon of "${key}"`;
      return { line: index + 1, column: column + 1, problem, hint: `Write "${key}: "` };
    }
  }
  return undefined;
}

const SECRET_KEY = /(pass|pwd|secret|token)[\w-]*["']?\s*[:=\s]/i;
const ANY_KEY = /^\s*(?:- +)*["']?[\w-]+["']?\s*:/;

/** Whether a line holds a secret, or goes on with the value of a key above that is one. */
function isSecretLine(lines: string[], line: number): boolean {
  if (SECRET_KEY.test(lines[line - 1] ?? "")) return true;
  if (ANY_KEY.test(lines[line - 1] ?? "")) return false;
  return SECRET_KEY.test(lines.slice(0, line - 1).findLast((above) => ANY_KEY.test(above)) ?? "");
}

/** A line as it may be shown: what stands behind a secret's key, and the credentials in a URL, become `***`. */
function hideSecrets(lines: string[], line: number): string {
  const text = lines[line - 1] ?? "";
  if (!isSecretLine(lines, line)) return text.replace(/\/\/.*@/, "//***@");
  return SECRET_KEY.test(text) ? hideSecret(text) : "***";
}

/** A text with `***` in place of what follows the name of a secret in it: `password "x` is a key that lacks its colon. */
export function hideSecret(text: string): string {
  const key = SECRET_KEY.exec(text);
  return key === null ? text : `${text.slice(0, key.index + key[0].length).trimEnd()} ***`;
}

/** `  12 | url: x`, and a caret below the column. */
function excerptOf(lines: string[], { line, column }: TextPlace): string {
  const margin = `  ${line} | `;
  const shown = hideSecrets(lines, line);
  const caretAt = Math.min(column - 1, shown.length);
  // Tabs are kept, so that the caret stands below its column however wide they are.
  const indent = shown.slice(0, caretAt).replaceAll(/[^\t]/g, " ");
  return `${margin}${shown}\n${" ".repeat(margin.length - 2)}| ${indent}^`;
}
