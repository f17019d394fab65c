import { assertEquals } from "@std/assert";
import { IdBatch, type ListedDocument, PackedPages } from "../../src/couchdb/batch.ts";
import { readUsualPage } from "../../src/couchdb/changes_page.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Ids and hashes that nothing can compress: packed pages of them are large. */
function randomDocuments(count: number): ListedDocument[] {
  const digits = () => crypto.randomUUID().replaceAll("-", "");
  return Array.from({ length: count }, (_, n) => ({ id: digits(), revs: [`${1 + n % 12}-${digits()}`] }));
}

/** The same as rows that are bytes. */
function asRows(documents: readonly ListedDocument[]): readonly ListedDocument[] {
  const rows = documents.map(({ id, revs }) => `{"seq":null,"id":"${id}","changes":[{"rev":"${revs[0]}"}]}`);
  return readUsualPage(encoder.encode(`{"results":[\n${rows.join(",\n")}\n],"last_seq":"9","pending":0}`))!.rows;
}

/** What a batch keeps of documents: a revision's first digits. */
function told(documents: readonly ListedDocument[]): string[] {
  return documents.map(({ id, revs }) => `${id} ${revs.map((rev) => rev.replace(/(?<=-.{8}).*/, ""))}`);
}

Deno.test("IdBatch.packed() has the documents of all its pages, however they came and whatever was packed since", () => {
  const documents = randomDocuments(12_345);
  const odd: ListedDocument[] = [
    { id: 'q"uo\\ted é', revs: ["1-0123456789abcdef"] },
    { id: "conflict", revs: ["2-0123456789abcdef", "2-fedcba9876543210"] },
    { id: "unlisted", revs: [] },
  ];
  const all = [...documents, ...odd, ...documents.slice(0, 10)];
  for (const form of [(some: readonly ListedDocument[]) => some, asRows]) {
    const pages = new PackedPages();
    for (let from = 0; from < documents.length; from += 4999) pages.add(form(documents.slice(from, from + 4999)));
    pages.add(odd);
    pages.add(form(documents.slice(0, 10)));
    new PackedPages().add(randomDocuments(5000));
    const batch = IdBatch.packed(pages);
    assertEquals(batch.count, all.length);
    assertEquals(told([...batch.pages()].flat()), told(all));
    const ids = [...batch.encodedIds()].map((bytes) => decoder.decode(bytes)).join("");
    assertEquals(ids, all.map(({ id }) => `,{"id":${JSON.stringify(id)}}`).join(""));
    assertEquals(batch.encodedBytes, encoder.encode(ids).length);
  }
});

Deno.test("IdBatch.without() has all others in their order, and what was packed stays packed", () => {
  const documents = randomDocuments(2500);
  const packed = new PackedPages();
  packed.add(documents);
  for (const batch of [IdBatch.of(documents), IdBatch.packed(packed)]) {
    for (const others of [documents.slice(1200, 1201), documents.slice(500, 2100), [], [{ id: "unknown", revs: [] }]]) {
      const left = batch.without(IdBatch.of(others))!;
      const expected = documents.filter((document) => !others.includes(document));
      assertEquals(left.count, expected.length);
      assertEquals(told([...left.pages()].flat()), told(expected));
      assertEquals(left.encodedBytes === undefined, batch.encodedBytes === undefined);
    }
    assertEquals(batch.without(batch), undefined);
  }
  assertEquals(IdBatch.of([]).without(IdBatch.of(documents)), undefined);
});
