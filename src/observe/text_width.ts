/**
 * How wide a text is on a terminal. In: text. Out: columns, and texts that are filled up or cut to so many. Letters of
 * East Asia and most emoji take two columns, marks that stand on the letter before them none. Pure.
 *
 * @see https://www.unicode.org/reports/tr11/
 */

import { stripVTControlCharacters } from "node:util";

/** Made when a text needs it: its rules take 9 ms to load, and most texts are plain. */
let segmenter: Intl.Segmenter | undefined;

function graphemesOf(text: string): Intl.Segments {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "grapheme" });
  return segmenter.segment(text);
}

/** What every terminal shows in one column a character. */
const PLAIN = /^[\x20-\x7e…✓✗~]*$/;
const NOTHING = /^[\p{Control}\p{Format}\p{Mark}]+$/u;
const EMOJI = /\p{Emoji_Presentation}|\p{Emoji}\ufe0f/u;
/** Wide and fullwidth, as Unicode's EastAsianWidth.txt has them, in blocks. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{17000}-\u{18cff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]/u;

/** The columns that a text takes. */
export function widthOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemesOf(text)) width += widthOfGrapheme(segment);
  return width;
}

function widthOfGrapheme(grapheme: string): number {
  if (NOTHING.test(grapheme)) return 0;
  return WIDE.test(grapheme) || EMOJI.test(grapheme) ? 2 : 1;
}

/** The text, filled up with spaces after it. */
export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - widthOf(text)));
}

/** The text, filled up with spaces before it. */
export function padStart(text: string, width: number): string {
  return " ".repeat(Math.max(0, width - widthOf(text))) + text;
}

/** The text with its middle left out, where it is wider than `width`: names tend to differ at both ends. */
export function shortenMiddle(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width < 1) return "";
  const parts = Array.from(graphemesOf(text), ({ segment }) => segment);
  const tail = takeWithin(parts.toReversed(), Math.floor((width - 1) / 2)).reverse();
  const head = takeWithin(parts, width - 1 - widthOf(tail.join("")));
  return `${head.join("")}…${tail.join("")}`;
}

/** The first of the graphemes that fit into `width`. */
function takeWithin(parts: readonly string[], width: number): string[] {
  const taken: string[] = [];
  let used = 0;
  for (const part of parts) {
    used += widthOfGrapheme(part);
    if (used > width) break;
    taken.push(part);
  }
  return taken;
}

/**
 * The text in lines of at most `columns`, broken between words; a word that is wider stays whole. Colours take no
 * columns.
 *
 * @param indent What stands before the first line, and before those below it.
 */
export function wrap(text: string, columns: number, [first, below]: readonly [string, string] = ["", ""]): string[] {
  const lines: string[] = [];
  let line = first;
  let isEmpty = true;
  // A number and its unit stay together.
  for (const word of text.split(/ (?![kMGTP]?B\b)/)) {
    if (!isEmpty && widthOf(stripVTControlCharacters(`${line} ${word}`)) > columns) {
      lines.push(line);
      line = below;
      isEmpty = true;
    }
    line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line];
}
