import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import { CheckedChunk } from "../../src/archive/chunk.ts";
import { isLarge } from "../../src/archive/documents.ts";
import { ArchiveError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";
import { A, B, FOREIGN_FILES, HEADER, MARKER } from "../foreign_files.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * The documents of a file, as a restore reads them, or those of one id; an ArchiveError instead where it refuses the file.
 */
async function documentsOf(
  text: string | Uint8Array,
  { salvage = false, size = 1 << 20, only }: { salvage?: boolean; size?: number; only?: string } = {},
): Promise<string[] | ArchiveError> {
  const bytes = typeof text === "string" ? encoder.encode(text) : text;
  const read = () =>
    Promise.resolve(ReadableStream.from((function* () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
    })()));
  const store = { read } as unknown as Store;
  try {
    const chunk = await CheckedChunk.open({ store, key: "file.json", entry: undefined }, { salvage });
    const found: string[] = [];
    for await (const item of chunk.read(only === undefined ? {} : { passOver: (id) => id !== only })) {
      if (!isLarge(item)) found.push(...item.map((document) => decoder.decode(document.bytes)));
    }
    const { leafRevisions, passedOver } = chunk.counts!;
    assertEquals(leafRevisions - passedOver.leafRevisions, found.length);
    if (only !== undefined) assertEquals(passedOver.documents, 2 - found.length);
    return found;
  } catch (error) {
    if (error instanceof ArchiveError) return error;
    throw error;
  }
}

for (const { what, text, isOfLines } of FOREIGN_FILES) {
  Deno.test(`CheckedChunk reads ${what}, whatever the pieces it comes in`, async () => {
    const compact = (found: string[] | ArchiveError) =>
      found instanceof ArchiveError ? found.message : found.map((document) => document.replaceAll("\n  ", ""));
    for (const size of [1, 2, 7, 63, 64, 65, 10_000]) {
      assertEquals(compact(await documentsOf(text, { size })), [A, B], `pieces of ${size}`);
    }
  });

  Deno.test(`CheckedChunk reads of ${what} what is wanted alone, and counts the rest`, async () => {
    const ids = async (size: number, only: string) => {
      const found = await documentsOf(text, { size, only });
      if (found instanceof ArchiveError) throw found;
      return found.map((document) => JSON.parse(document)._id);
    };
    for (const size of [1, 64, 10_000]) {
      for (const only of ["a", "b ä", "c"]) {
        assertEquals(await ids(size, only), only === "c" ? [] : [only], `${only} in pieces of ${size}`);
      }
    }
  });

  Deno.test(`CheckedChunk reads ${what} that is cut off anywhere in full or refuses it`, async () => {
    const bytes = encoder.encode(text);
    let refused = 0;
    for (let cut = 0; cut < bytes.length; cut++) {
      const found = await documentsOf(bytes.subarray(0, cut));
      if (found instanceof ArchiveError) {
        refused++;
        continue;
      }
      const begun = decoder.decode(bytes.subarray(0, cut));
      // Nobody can tell that lines are missing behind a whole one.
      const isWhole = found.length === 2 || (isOfLines && /^\s*$/.test(/[^\n]*$/.exec(begun)![0])) ||
        (isOfLines && text[begun.length] === "\n");
      assert(isWhole, `${found.length} documents and no error at ${cut}: ${begun.slice(-80)}`);
    }
    assert(refused > bytes.length / 2, `refused ${refused} of ${bytes.length}`);
  });
}

Deno.test("CheckedChunk passes over what couchbackup was writing when it was stopped, wherever that is cut", async () => {
  const line = `[${A},${B}]`;
  for (const header of [`${HEADER}\n`, ""]) {
    for (let cut = 0; cut <= line.length; cut++) {
      for (const first of ["", `[${A}]\n`]) {
        const text = `${header}${first}${line.slice(0, cut)}${MARKER}\n${line}\n`;
        const expected = [...(first === "" ? [] : [A]), A, B];
        assertEquals(await documentsOf(text), expected, text);
        assertEquals(await documentsOf(text, { size: 11 }), expected, text);
      }
    }
  }
});

Deno.test("CheckedChunk refuses a broken line of couchbackup's that is not resumed, and salvages every whole line", async () => {
  const cases: [text: string, whole: string[], problem: string][] = [
    [`${HEADER}\n[${A}]\n[{"_id":"x","t\n[${B}]\n`, [A, B], "Line 3 "],
    [`${HEADER}\n[${A}]\n[${B}]\n[{"_id":"x"`, [A, B], "Line 4 "],
    [`[${A}]\n[{"_id":"x","t\n[${B}]\n`, [A, B], "Line 2 "],
    // Its writing was resumed, and nothing came of that.
    [`${HEADER}\n[${A}]\n[{"_id":"x"${MARKER}\n`, [A], "Line 3 "],
    // In this mode nothing can be resumed.
    [`${HEADER.replace("full", "shallow")}\n[${A}]\n[{"_id":"x"${MARKER}\n[${B}]\n`, [A, B], "Line 3 "],
    // The first line is broken, which makes it look like a JSON text over many lines.
    [`[{"_id":"x","t":[\n[${A}]\n[${B}]\n`, [A, B], ""],
    [`${A}\n{"_id":"x","t":\n${B}\n`, [A, B], "Line 2 "],
    [`${A}\n{"id":"x"}\n${B}\n`, [A, B], 'number 2 in line 2 has no "_id"'],
    [`${HEADER}\n{"rows":[${A}]}\n[${B}]\n`, [B], "Line 2 "],
    [`${HEADER}\n{"marker":\n[${B}]\n`, [B], "Line 2 "],
    // pouchdb-dump says behind each batch how far it has come; one that failed leaves its first line alone.
    [`{"version":"1.2.9","db_info":{}}\n{"docs":[${A}]}\n{"seq":1}\n{"docs":[${B}]}\n`, [A, B], "Line 5 "],
    [`{"version":"1.2.9","db_info":{"doc_count":2}}\n`, [], "Line 2 "],
  ];
  for (const [text, whole, problem] of cases) {
    const refused = await documentsOf(text);
    assert(refused instanceof ArchiveError, text);
    assert(refused.message.includes(problem), refused.message);
    assertEquals(await documentsOf(text, { salvage: true }), whole, text);
    assertEquals(await documentsOf(text, { salvage: true, size: 5 }), whole, text);
  }
});

Deno.test("CheckedChunk reads a compressed file that was written in several parts", async () => {
  // As `couchbackup --resume … | gzip >> file.gz` leaves it.
  const parts = [`${HEADER}\n[${A}]\n[{"_id":"x"`, `${MARKER}\n[${B}]\n`].map((text) => gzipSync(text));
  const bytes = Buffer.concat(parts);
  for (const size of [1, 100, 10_000]) assertEquals(await documentsOf(bytes, { size }), [A, B]);
  assert(await documentsOf(bytes.subarray(0, -9)) instanceof ArchiveError);
});

Deno.test("CheckedChunk salvages the whole lines of a compressed file that is cut off", async () => {
  const documents = Array.from({ length: 2000 }, (_, number) => `{"_id":"${number}","r":"${Math.sin(number)}"}`);
  for (
    const text of [documents.slice(0, 50).join("\n"), documents.join("\n"), `${HEADER}\n[${documents.join("]\n[")}]\n`]
  ) {
    const bytes = gzipSync(text);
    const cut = bytes.subarray(0, Math.floor(bytes.length * 0.7));
    const refused = await documentsOf(cut);
    assert(refused instanceof ArchiveError);
    for (const size of [100, 1 << 20]) {
      const found = await documentsOf(cut, { salvage: true, size });
      if (found instanceof ArchiveError) throw found;
      assert(found.length > 10 && found.length < documents.length, `${found.length} documents`);
      assertEquals(found, documents.slice(0, found.length));
    }
  }
  const array = gzipSync(`[${documents.join(",")}]`);
  assert(await documentsOf(array.subarray(0, array.length / 2), { salvage: true }) instanceof ArchiveError);
});

Deno.test("CheckedChunk takes the last state of a document in a continuous feed", async () => {
  const row = (seq: number, id: string, rev: string, more = "") =>
    `{"seq":${seq},"id":"${id}","changes":[{"rev":"${rev}"}],"doc":{"_id":"${id}","_rev":"${rev}"${more}}}\n`;
  const text = row(1, "a", "1-a") + row(2, "b", "1-b") + row(3, "a", "2-a", ',"_deleted":true') + row(4, "c", "1-c") +
    row(5, "b", "2-b");
  assertEquals(await documentsOf(text), [
    '{"_id":"a","_rev":"2-a","_deleted":true}',
    '{"_id":"c","_rev":"1-c"}',
    '{"_id":"b","_rev":"2-b"}',
  ]);
});
