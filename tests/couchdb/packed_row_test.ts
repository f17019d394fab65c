import { assertEquals } from "@std/assert";
import type { ChangesRow } from "../../src/couchdb/changes_page.ts";
import { packRow, packRows } from "../../src/couchdb/packed_row.ts";

const encoder = new TextEncoder();
const BLOCK_BYTES = 1 << 16;

/** Rows of these ids and revisions, packed together. */
function pack(texts: readonly (readonly [id: string, rev: string])[]): ChangesRow[] {
  const rows: ChangesRow[] = [];
  const spots: number[] = [];
  let end = 0;
  for (const [id, rev] of texts) spots.push(end += id.length, end += rev.length);
  const bytes = encoder.encode(texts.flat().join(""));
  packRows(bytes, Int32Array.from(spots), texts.length, rows);
  bytes.fill(0);
  return rows;
}

const textsOf = (rows: readonly ChangesRow[]) => rows.map(({ id, revs }) => [id, ...revs]);

Deno.test("packRows() and packRow() fill block after block to its last byte, and no row changes another", () => {
  const wanted: string[][] = [];
  const rows: ChangesRow[] = [];
  for (let index = 0; index < 3 * BLOCK_BYTES; index++) {
    const id = String.fromCharCode(0x61 + index % 26);
    wanted.push([id, ""]);
    if (index % 2 === 0) rows.push(...pack([[id, ""]]));
    else rows.push(packRow(encoder.encode(id), 0, 1, 1, 1)!);
  }
  assertEquals(textsOf(rows).join(), wanted.join());
});

Deno.test("packRows() keeps rows of any length apart, and beside what was packed before", () => {
  const wanted: string[][] = [];
  const rows: ChangesRow[] = [];
  for (const length of [1, 4000, 8191, 8192, 8193, 40_000, BLOCK_BYTES - 6, 5000, 8190, 3, 0, 8100, 8191, 8191, 8191]) {
    const texts = [["a".repeat(length >> 1), "1-x"], ["", ""], ["b c", "c".repeat(length >> 1)]] as const;
    wanted.push(...texts.map((one) => [...one]));
    rows.push(...pack(texts));
  }
  assertEquals(textsOf(rows), wanted);
});
