/**
 * The quotes and brackets of a text that is no YAML. A quote that is not closed swallows lines until the next one opens,
 * and the parser complains there; so the text is gone through from its beginning. In: its lines. Out: the first quote or
 * bracket that does not end where it should. Pure.
 */
import type { TextPlace } from "./places.ts";

/** A quote or bracket, where it opens, and what is wrong with it. */
export interface WrongMark extends TextPlace {
  mark: string;
  /**
   * - `open`: it is closed nowhere, or only by what opens the next value.
   * - `followed`: more stands behind the closing one, which is at this place.
   * - `unquoted`: a value begins with it, as `[a-z].*` does in a list, and is not in quotes.
   */
  fault: "open" | "followed" | "unquoted";
}

/** What closes a bracket. */
export const CLOSING: Readonly<Record<string, string>> = { "[": "]", "{": "}" };
/** A key at the beginning of a line, behind the dashes of a list. */
const KEY = /(?:- +)*(?:"(?:[^"\\]|\\.)*"\s*|'(?:[^']|'')*'\s*|[^\s#"'[\]{},&*!|>%@`-](?:[^:#]|:(?=\S))*):(?=\s|$)/y;
const KEY_LINE = /^\s*(?:- +)*["']?[\w-]+["']?\s*:(?:\s|$)/;
const PROPERTIES = /(?:[&!]\S*\s+)+/y;
const REST_OF_FLOW = /(?:[^,[\]{}:#\s]|:(?!\s|$)|(?<!\s)#)+/y;
/** What may stand behind a closing quote outside of brackets. */
const BLOCK_ENDING = /^\s*(?::(?:\s|$)|#|$)/;
/** The same between brackets, where the quote has opened in a line above. */
const FLOW_ENDING = /^\s*(?:[,:\]}]|#|$)/;
/** The same in the line of the opening one: a word that stands apart lacks a comma, and the parser tells where. */
const WORD_ENDING = /^(?:[\s,:\]}]|$)/;

/** The first quote or bracket that does not end where it should, of those that open at or above line `last`. */
export function findWrongMark(lines: readonly string[], last: number): WrongMark | undefined {
  return new MarkScan(lines).first(last);
}

class MarkScan {
  readonly #lines: readonly string[];
  /** From 0, as is the column. */
  #line = 0;
  #column = 0;
  /** The brackets that are open, the outermost first. */
  #open: WrongMark[] = [];

  constructor(lines: readonly string[]) {
    this.#lines = lines;
  }

  first(last: number): WrongMark | undefined {
    while (this.#line < Math.min(last, this.#lines.length)) {
      const found = this.#open.length === 0 ? this.#blockLine() : this.#flowLine();
      if (found !== undefined) return found.line <= last ? found : undefined;
    }
    return this.#line < this.#lines.length ? undefined : this.#open[0];
  }

  get #text(): string {
    return this.#lines[this.#line] ?? "";
  }

  /** A line outside of brackets: its key, and its value with all lines that this spans. */
  #blockLine(): WrongMark | undefined {
    if (this.#column === 0) {
      this.#pass(/\s*/y);
      if (!this.#pass(KEY)) this.#pass(/(?:- +)*/y);
    }
    this.#pass(/\s*/y);
    this.#pass(PROPERTIES);
    const first = this.#text[this.#column];
    if (first === '"' || first === "'") return this.#quoted(first);
    if (first === "[" || first === "{") return this.#push(first);
    return this.#nextLine();
  }

  /** What is left of a line between brackets. */
  #flowLine(): WrongMark | undefined {
    const outermost = this.#openAbove();
    if (outermost !== undefined && this.#column === 0) return outermost;
    for (;;) {
      this.#pass(/[\s,:]*/y);
      const next = this.#text[this.#column];
      if (next === undefined || next === "#") return this.#nextLine();
      if (next === '"' || next === "'") return this.#quoted(next);
      if (next === "[" || next === "{") return this.#push(next);
      if (next === "]" || next === "}") return this.#close(next);
      if (!this.#pass(REST_OF_FLOW)) this.#column++;
    }
  }

  /** The outermost bracket, where the line in hand is a key that stands no deeper than the line of the bracket. */
  #openAbove(): WrongMark | undefined {
    const [outermost] = this.#open;
    if (outermost === undefined || !KEY_LINE.test(this.#text)) return undefined;
    const depth = (line: string) => line.search(/\S|$/);
    return depth(this.#text) <= depth(this.#lines[outermost.line - 1]!) ? outermost : undefined;
  }

  #push(mark: string): WrongMark | undefined {
    const isWithin = this.#open.length > 0 && !/[\s,:[{]/.test(this.#text[this.#column - 1] ?? " ");
    if (isWithin) return this.#here(mark, "unquoted");
    this.#open.push(this.#here(mark, "open"));
    this.#column++;
    return undefined;
  }

  #close(mark: string): WrongMark | undefined {
    const opened = this.#open.pop();
    this.#column++;
    if (opened === undefined || CLOSING[opened.mark] !== mark) return opened;
    return /[^\s,:\]}]/.test(this.#text[this.#column] ?? "") ? { ...opened, fault: "unquoted" } : undefined;
  }

  /** Passes over a quoted text, which may go on over several lines. */
  #quoted(quote: string): WrongMark | undefined {
    const opened = this.#here(quote, "open");
    const rest = quote === '"' ? /(?:[^"\\]|\\.|\\$)*/y : /(?:[^']|'')*/y;
    this.#column++;
    this.#pass(rest);
    while (this.#text[this.#column] !== quote) {
      this.#nextLine();
      if (this.#line >= this.#lines.length) return opened;
      this.#pass(rest);
    }
    const closed = this.#here(quote, "followed");
    this.#column++;
    const isInLine = closed.line === opened.line;
    const ending = this.#open.length === 0 ? BLOCK_ENDING : isInLine ? WORD_ENDING : FLOW_ENDING;
    if (ending.test(this.#text.slice(this.#column))) return undefined;
    return isInLine ? closed : opened;
  }

  #here(mark: string, fault: WrongMark["fault"]): WrongMark {
    return { mark, fault, line: this.#line + 1, column: this.#column + 1 };
  }

  #nextLine(): undefined {
    this.#line++;
    this.#column = 0;
  }

  /** Goes on behind a sticky expression where it matches. */
  #pass(expression: RegExp): boolean {
    expression.lastIndex = this.#column;
    if (!expression.test(this.#text)) return false;
    this.#column = expression.lastIndex;
    return true;
  }
}
