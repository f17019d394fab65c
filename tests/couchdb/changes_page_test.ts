import { assertEquals, assertThrows } from "@std/assert";
import { parseChangesPage, readChangesPage, readUsualPage } from "../../src/couchdb/changes_page.ts";
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
});
