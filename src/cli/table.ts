/** Tables for people. In: columns and rows, and a terminal's width where there is one. Out: lines that fit. Pure. */
import { padEnd, padStart, shortenMiddle, widthOf } from "../observe/text_width.ts";

/** A column: its heading, what stands in it, and on which side its values begin. */
export interface Column<Row> {
  heading: string;
  isNumber?: boolean;
  text: (row: Row) => string;
  /** Where the columns do not fit, those with the highest rank go first. @default it never goes */
  rank?: number;
  /** Where even so they do not fit, its texts are cut in the middle. @default false */
  canBeCut?: boolean;
}

/** A table as lines. */
export interface FittedTable {
  /** The line of headings. */
  head: string;
  /** A line for each row, in their order. */
  rows: string[];
  /** The headings of the columns that did not fit. */
  leftOut: string[];
}

const GAP = 2;
const NARROWEST_CUT = 12;

/** Lays out a table in lines of at most `columns`; as wide as it comes where that is undefined. */
export function fitTable<Row>(all: readonly Column<Row>[], rows: readonly Row[], columns?: number): FittedTable {
  const cells = all.map((column) => ({ column, texts: [column.heading, ...rows.map(column.text)] }));
  const wide = cells.map((cell) => ({
    ...cell,
    width: cell.texts.reduce((width, text) => Math.max(width, widthOf(text)), 0),
  }));
  const leftOut: string[] = [];
  if (columns !== undefined) {
    const excess = () => wide.reduce((sum, { width }) => sum + width + GAP, -GAP) - columns;
    while (excess() > 0) {
      const last = wide.filter(({ column }) => column.rank !== undefined)
        .toSorted((a, b) => b.column.rank! - a.column.rank!)[0];
      if (last === undefined) break;
      wide.splice(wide.indexOf(last), 1);
      leftOut.push(last.column.heading);
    }
    const cut = wide.find(({ column }) => column.canBeCut === true);
    if (cut !== undefined && excess() > 0) cut.width = Math.max(NARROWEST_CUT, cut.width - excess());
  }
  const lines = [0, ...rows.keys().map((index) => index + 1)].map((line) =>
    wide.map(({ column, texts, width }) => {
      const text = shortenMiddle(texts[line]!, width);
      return column.isNumber ? padStart(text, width) : padEnd(text, width);
    }).join(" ".repeat(GAP)).trimEnd()
  );
  const [head = "", ...rest] = lines;
  return { head, rows: rest, leftOut: all.map(({ heading }) => heading).filter((name) => leftOut.includes(name)) };
}
