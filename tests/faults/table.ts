/** The table of the fault suite: rows -> Markdown, and the rows of docs/faults.md. Pure. */
import type { Row } from "./sweep.ts";

const HEADINGS = ["what runs", "fault", "tried", "survived", "said, then whole", "silent loss"];

/** Rows in an order that does not depend on which test was done first. */
export function sortRows(rows: readonly Row[]): Row[] {
  const key = ({ subject, fault }: Row) => `${subject}\0${fault}`;
  return rows.toSorted((a, b) => key(a) < key(b) ? -1 : 1);
}

/** A table as `deno fmt` leaves it. */
export function formatTable(rows: readonly Row[]): string {
  const cells = rows.map(({ subject, fault, tried, whole, said, broken }) =>
    [subject, fault, tried, whole, said, broken].map(String)
  );
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...cells.map((row) => row[column]!.length))
  );
  const line = (row: readonly string[]) => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(HEADINGS), rule, ...cells.map(line)].join("\n");
}

const TABLE = /^\| what runs .*\n(?:\|.*\n)+/m;

/** The page with these rows in place of its table's. */
export function withTable(page: string, rows: readonly Row[]): string {
  return page.replace(TABLE, () => `${formatTable(rows)}\n`);
}

/** The rows of the page's table. */
export function rowsOfPage(page: string): Row[] {
  const [, , ...lines] = TABLE.exec(page)?.[0].trim().split("\n") ?? [];
  return lines.map((line) => {
    const [subject = "", fault = "", ...counts] = line.split("|").map((cell) => cell.trim()).slice(1, -1);
    const [tried = 0, whole = 0, said = 0, broken = 0] = counts.map(Number);
    return { subject, fault, tried, whole, said, broken };
  });
}
