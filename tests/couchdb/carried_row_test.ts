import { assert, assertEquals, assertThrows } from "@std/assert";
import { CarriedRow, parseCarryingPage } from "../../src/couchdb/carried_row.ts";
import { type ChangesRow, parseChangesPage } from "../../src/couchdb/changes_page.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const HASH = "23202479633c2b380f79507a776743d5";

interface FeedRow {
  id?: string;
  revs?: string[];
  deleted?: boolean;
  /** Members of the document behind its id and revision, with the comma before them. */
  members?: string;
  document?: string;
}

/** A row as CouchDB 3.5.0 sends it. */
function rowOf({ id = "a", revs = [`1-${HASH}`], deleted = false, members = "", document }: FeedRow): string {
  const changes = revs.map((rev) => `{"rev":"${rev}"}`).join(",");
  const doc = document ?? `{"_id":${JSON.stringify(id)},"_rev":"${revs[0]}"${members}}`;
  return `{"seq":null,"id":${JSON.stringify(id)},"changes":[${changes}]${
    deleted ? ',"deleted":true' : ""
  },"doc":${doc}}`;
}

function pageOf(...rows: string[]): string {
  return `{"results":[\n${rows.join(",\r\n")}\n],\n"last_seq":"2-x","pending":0}\n\n`;
}

function read(text: string, { revisions = true } = {}): ChangesRow[] {
  const page = parseCarryingPage(encoder.encode(text), "db", { revisions });
  assertEquals([page.last_seq, page.pending], ["2-x", 0]);
  return page.rows;
}

function answerOf(row: ChangesRow): string {
  assert(row instanceof CarriedRow, JSON.stringify(row));
  return decoder.decode(row.takeAnswer());
}

Deno.test("parseCarryingPage() makes of a first revision without attachments the very row that _bulk_get answers", () => {
  const members = ',"n":9007199254740993,"f":1.0,"e":1e+30,"u":"😀\u2028/","o":{"_rev":"2-x","a":[{}]}';
  for (const id of ["a", "_design/d", "with spaces, {and} [more]:"]) {
    const [row] = read(pageOf(rowOf({ id, members })));
    assertEquals([row!.id, row!.revs, row!.deleted], [id, [`1-${HASH}`], false]);
    const text = JSON.stringify(id);
    assertEquals(
      answerOf(row!),
      `{"id":${text},"docs":[{"ok":{"_id":${text},"_rev":"1-${HASH}"${members},` +
        `"_revisions":{"start":1,"ids":["${HASH}"]}}}]}`,
    );
  }
  const [plain] = read(pageOf(rowOf({})), { revisions: false });
  assertEquals(answerOf(plain!), `{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-${HASH}"}}]}`);
});

Deno.test("parseCarryingPage() carries later revisions where no history is wanted, and a document once", () => {
  const [row] = read(pageOf(rowOf({ revs: ["12-b"] })), { revisions: false });
  assert(row instanceof CarriedRow && row.hasAnswer);
  assertEquals(answerOf(row), '{"id":"a","docs":[{"ok":{"_id":"a","_rev":"12-b"}}]}');
  assert(!row.hasAnswer);
});

/** Rows of which `_bulk_get` would answer more, or something else. */
const ASKED_FOR: Record<string, FeedRow> = {
  "a later revision has a history": { revs: ["2-b"] },
  "conflicts": { revs: ["1-b", "1-a"] },
  "a tombstone": { deleted: true, members: ',"_deleted":true' },
  "attachments are stubs": { members: ',"_attachments":{"t":{"stub":true}}' },
  "another revision than the one listed": { document: '{"_id":"a","_rev":"1-other"}' },
  "another revision of the same length": { document: `{"_id":"a","_rev":"1-${HASH.replaceAll("2", "3")}"}` },
  "another document": { document: `{"_id":"b","_rev":"1-${HASH}"}` },
  "members in another order": { document: `{"_rev":"1-${HASH}","_id":"a"}` },
  "white space": { document: `{ "_id":"a","_rev":"1-${HASH}"}` },
  "no document": { document: "null" },
  "an id with escapes": { id: 'q"uo\\te' },
  "an id that is not ASCII": { id: "документ 😀" },
  "an id with a revision in it": { id: '","_rev":"1-x' },
};

Deno.test("parseCarryingPage() leaves to _bulk_get whatever is not all that there is of a document", () => {
  for (const [name, row] of Object.entries(ASKED_FOR)) {
    const text = pageOf(rowOf({ id: "before" }), rowOf(row));
    const rows = read(text);
    assert(!(rows[1] instanceof CarriedRow), name);
    assertEquals(rows[1]!.revs, parseChangesPage(encoder.encode(text), "db").rows[1]!.revs, name);
  }
});

Deno.test("parseCarryingPage() asks for the one document of a page that has attachments, and for none beside it", () => {
  const members = ',"_attachments":{"t":{"stub":true}}';
  // In a text that is decoded they would stand elsewhere than in the bytes.
  const before = `,"t":"${"é".repeat(500)}"`;
  const rows = read(pageOf(rowOf({ id: "a", members: before }), rowOf({ id: "b", members }), rowOf({ id: "c" })));
  assertEquals(rows.map((row) => row instanceof CarriedRow), [true, false, true]);
});

Deno.test("parseCarryingPage() reads pages without documents, or of another form, as pages", () => {
  const error = rowOf({ id: "b" }).replace(/"doc":.*\}$/, '"error":"not_found"}');
  const elsewhere = rowOf({ id: "b" }).replace(/,"doc":(.*)\}$/, ', "doc": $1}');
  const texts = [pageOf(), pageOf(rowOf({}).replace(/,"doc":.*/, "}")), pageOf(rowOf({}), error), pageOf(elsewhere)];
  for (const text of texts) {
    const rows = read(text);
    assertEquals(rows.map(({ id }) => id), JSON.parse(text).results.map(({ id }: { id: string }) => id));
    assert(rows.every((row) => !(row instanceof CarriedRow)), text);
  }
});

Deno.test("parseCarryingPage() takes no page for one that is cut anywhere", () => {
  const text = pageOf(rowOf({ members: ',"x":{"y":"]}"}' }), rowOf({ id: "b" }));
  for (let length = 0; length < text.trimEnd().length; length++) {
    assertThrows(
      () => parseCarryingPage(encoder.encode(text.slice(0, length)), "db", { revisions: true }),
      SyntaxError,
    );
  }
});
