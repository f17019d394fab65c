import { assertEquals, assertThrows } from "@std/assert";
import { type ChangesRow, parseChangesPage, readChangesPage, readUsualPage } from "../../src/couchdb/changes_page.ts";
import { PackedRow } from "../../src/couchdb/packed_row.ts";
import { CouchError } from "../../src/errors.ts";

const encoder = new TextEncoder();

const [FIRST, SECOND] = ["1-g1AAAACLeJzLYWBgYMpgTmEQT84vTc5ISdI1NLO0MHEw", "2-g1AAAACzeJzLYWBgYMpgTmEQT84vTc5ISdI1NLO"];

/** As CouchDB 3.5.0 sends it, with its line ends. */
const REAL = `{"results":[
{"seq":"${FIRST}","id":"d1","changes":[{"rev":"1-23202479633c2b380f79507a776743d5"}]},\r
{"seq":null,"id":"d2","changes":[{"rev":"3-a"},{"rev":"2-b"}],"deleted":true}
],
"last_seq":"${SECOND}","pending":1}

`;

Deno.test("readUsualPage() reads a page of a real CouchDB without parsing it", () => {
  assertEquals(readUsualPage(encoder.encode(REAL)), {
    rows: [
      { id: "d1", revs: ["1-23202479633c2b380f79507a776743d5"], deleted: false, position: FIRST },
      { id: "d2", revs: ["3-a", "2-b"], deleted: true, position: undefined },
    ],
    last_seq: SECOND!,
    pending: 1,
  });
  const empty = '{"results":[\n\n],\n"last_seq":"0","pending":0}\n';
  assertEquals(readUsualPage(encoder.encode(empty)), { rows: [], last_seq: "0", pending: 0 });
});

/** Pages that are another's, or hold what is not plain. */
const OTHERS = {
  "an id with escapes": REAL.replace('"d1"', '"q\\"uo\\u0041\\n"'),
  "an id that is not ASCII": REAL.replace('"d1"', '"документ 😀"'),
  "numbers as positions": REAL.replace(`"${FIRST}"`, "1").replace(`"${SECOND}"`, "2"),
  "members in another order":
    '{"last_seq":"2-x","pending":0,"results":[{"id":"a","changes":[{"rev":"1-a"}],"seq":"2-x"}]}',
  "members that nobody knows": REAL.replace('"deleted":true', '"deleted":true,"more":1'),
  "deleted: false": REAL.replace('"deleted":true', '"deleted":false'),
  "white space": JSON.stringify(JSON.parse(REAL), null, 2),
  "no word of what follows": REAL.replace(',"pending":1', ""),
  "null for what follows": REAL.replace('"pending":1', '"pending":null'),
};

Deno.test("parseChangesPage() reads whatever is a page as JSON.parse would", () => {
  for (const [name, text] of Object.entries({ REAL, ...OTHERS })) {
    assertEquals(parseChangesPage(encoder.encode(text), "db"), readChangesPage(JSON.parse(text), "db"), name);
  }
});

Deno.test("parseChangesPage() takes no page for one that is cut anywhere, or lacks what a page must have", () => {
  const end = REAL.trimEnd().length;
  for (const text of [REAL, ...Object.values(OTHERS)]) {
    for (let length = 0; length < Math.min(end, text.trimEnd().length); length++) {
      assertThrows(() => parseChangesPage(encoder.encode(text.slice(0, length)), "db"), SyntaxError);
    }
  }
  for (
    const text of ['{"results":[],"pending":0}', '{"last_seq":"1"}', '{"results":[{"id":"a"}],"last_seq":"1"}', "[]"]
  ) {
    assertThrows(() => parseChangesPage(encoder.encode(text), "db"), CouchError);
  }
  // What is no number of rows would be the end of the feed, or none.
  for (const pending of ["1.5", "-1", '"1"', "true", "1e300", "[]"]) {
    for (const text of [REAL, OTHERS["white space"]]) {
      const wrong = text.replace(/"pending": ?1/, `"pending":${pending}`);
      assertThrows(() => parseChangesPage(encoder.encode(wrong), "db"), CouchError, "pending", pending);
    }
  }
});

/** What anybody can see of a row. */
function seenOf({ id, revs, deleted, position }: ChangesRow): ChangesRow {
  return { id, revs, deleted, position };
}

Deno.test("readUsualPage() keeps plain rows as bytes, and they stay what they are when the page is gone", () => {
  const rows = Array.from({ length: 3000 }, (_, n) => ({
    id: n === 7 ? "" : n === 8 ? "x".repeat(6000) : `order ${n}`.padEnd(n % 90, "~"),
    revs: n % 100 === 5 ? [`2-${n}`, "1-b"] : [`${n + 1}-${String(n).padStart(32, "0")}`],
    deleted: n % 100 === 6,
    position: n % 100 === 7 ? SECOND : undefined,
  }));
  const pages = [rows.slice(0, 1000), rows.slice(1000, 1001), rows.slice(1001)].map((part) => {
    const texts = part.map(({ id, revs, deleted, position }) =>
      `{"seq":${position === undefined ? "null" : `"${position}"`},"id":"${id}","changes":[${
        revs.map((rev) => `{"rev":"${rev}"}`).join(",")
      }]${deleted ? ',"deleted":true' : ""}}`
    );
    const bytes = encoder.encode(`{"results":[\n${texts.join(",\r\n")}\n],\n"last_seq":"9","pending":0}\n`);
    const page = readUsualPage(bytes);
    bytes.fill(0x7e);
    return page!.rows;
  });
  assertEquals(pages.flat().map(seenOf), rows as ChangesRow[]);
  const isPacked = ({ id, revs, deleted, position }: ChangesRow) =>
    id.length < 6000 && revs.length === 1 && !deleted && position === undefined;
  for (const row of pages.flat()) assertEquals(row instanceof PackedRow, isPacked(row), row.id.slice(0, 20));
});
