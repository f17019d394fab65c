import { assertEquals, assertThrows } from "@std/assert";
import { BULK_GET_SHAPE, DocumentScanner, Found, FramingError, type JsonShape } from "../../src/json/scan.ts";

const encoder = new TextEncoder();

/** What a scan finds, as text: documents, elements with their ids, errors, in order. */
function scan(pieces: Uint8Array[], shape: JsonShape): string[] {
  const scanner = new DocumentScanner(shape);
  const found: string[] = [];
  let element: string | undefined;
  let document: string | undefined;
  for (const bytes of pieces) {
    const latin = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
    const text = (from: number, to: number) => latin.slice(from, to);
    let elementFrom = 0;
    let documentFrom = 0;
    scanner.push(bytes);
    for (let event = scanner.next(); event !== Found.Nothing; event = scanner.next()) {
      const at = scanner.position;
      if (event === Found.ElementStart) [element, elementFrom] = ["", at];
      if (event === Found.DocumentStart) [document, documentFrom] = ["", at];
      if (event === Found.Error) found.push(`error ${scanner.error?.error}/${scanner.error?.reason}`);
      if (event === Found.DocumentEnd) {
        found.push(`document ${document}${text(documentFrom, at)}`);
        document = undefined;
      }
      if (event === Found.ElementEnd) {
        found.push(`element ${JSON.stringify(scanner.id)} ${element}${text(elementFrom, at)}`);
        element = undefined;
      }
    }
    if (element !== undefined) element += text(elementFrom, bytes.length);
    if (document !== undefined) document += text(documentFrom, bytes.length);
  }
  scanner.finish();
  return found;
}

const HARD = JSON.stringify({
  results: [
    {
      id: 'q"uo\\te\n\u0000/+%😀',
      docs: [{ ok: { _id: "x", a: [1, { b: "]}\\" }], c: '\\"' } }, { ok: { _id: "y" } }],
    },
    { id: "gone", docs: [{ error: { id: "gone", rev: "undefined", error: "not_found", reason: "missing" } }] },
    { id: "e", docs: [] },
  ],
}).replace('"b"', '"n":9007199254740993,"m":1.0, "b"');

Deno.test("DocumentScanner finds the same rows, documents and errors wherever the bytes are cut in two or three", () => {
  const bytes = encoder.encode(HARD);
  const whole = scan([bytes], BULK_GET_SHAPE);
  assertEquals(whole.filter((line) => line.startsWith("document")).length, 2);
  assertEquals(whole.filter((line) => line.startsWith("element")).length, 3);
  assertEquals(whole.filter((line) => line.startsWith("error")), ["error not_found/missing"]);
  assertEquals(whole.some((line) => line.includes('"n":9007199254740993,"m":1.0, "b"')), true);
  for (let cut = 0; cut <= bytes.length; cut++) {
    assertEquals(scan([bytes.subarray(0, cut), bytes.subarray(cut)], BULK_GET_SHAPE), whole, `cut at ${cut}`);
    const second = cut + ((cut * 7) % (bytes.length - cut + 1));
    const three = [bytes.subarray(0, cut), bytes.subarray(cut, second), bytes.subarray(second)];
    assertEquals(scan(three, BULK_GET_SHAPE), whole, `cut at ${cut} and ${second}`);
  }
  assertEquals(scan(Array.from(bytes, (byte) => Uint8Array.of(byte)), BULK_GET_SHAPE), whole, "byte by byte");
});

/** A small deterministic generator, so that a failure can be repeated. */
function randomNumbers(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

function randomValue(random: (below: number) => number, depth: number): unknown {
  const kind = random(depth > 3 ? 4 : 6);
  if (kind === 0) return random(1e9) - 5e8;
  if (kind === 1) return [true, false, null][random(3)];
  if (kind <= 3) {
    const alphabet = ['"', "\\", "{", "}", "[", "]", ",", ":", "a", "é", "😀", "\n", "\u0000"];
    return Array.from({ length: random(80) }, () => alphabet[random(alphabet.length)]).join("");
  }
  if (kind === 4) return Array.from({ length: random(4) }, () => randomValue(random, depth + 1));
  return Object.fromEntries(
    Array.from({ length: random(4) }, (_, n) => [`${n}${randomValue(random, 4)}`, randomValue(random, depth + 1)]),
  );
}

Deno.test("DocumentScanner agrees with JSON.parse on generated rows, cut at random", () => {
  const random = randomNumbers(20260103);
  for (let round = 0; round < 300; round++) {
    const rows = Array.from({ length: random(5) }, () => ({
      id: String(randomValue(random, 4)),
      docs: Array.from({ length: random(3) }, () => ({ ok: { _id: randomValue(random, 0) } })),
    }));
    const indent = random(2) === 0 ? undefined : 1;
    const bytes = encoder.encode(
      JSON.stringify({ before: randomValue(random, 0), results: rows, after: 1 }, null, indent),
    );
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(bytes.length, at + random(40));
      pieces.push(bytes.subarray(at, end));
      at = end;
    }
    const found = scan(pieces, BULK_GET_SHAPE);
    const documents = found.filter((line) => line.startsWith("document ")).map((line) => {
      const latin = line.slice("document ".length);
      return JSON.parse(new TextDecoder().decode(Uint8Array.from(latin, (char) => char.charCodeAt(0))));
    });
    assertEquals(documents, rows.flatMap((row) => row.docs.map((entry) => entry.ok)), `round ${round}`);
    assertEquals(found.filter((line) => line.startsWith("element ")).length, rows.length, `round ${round}`);
  }
});

Deno.test("DocumentScanner.finish() refuses every proper prefix of an answer", () => {
  const bytes = encoder.encode(HARD);
  for (let cut = 0; cut < bytes.length; cut++) {
    assertThrows(() => scan([bytes.subarray(0, cut)], BULK_GET_SHAPE), FramingError, "JSON ends before it is closed");
  }
});

Deno.test("DocumentScanner refuses what is not of the shape, naming the byte", () => {
  const cases: [string, JsonShape, string][] = [
    ["<html>", BULK_GET_SHAPE, "JSON is not an object (byte 0)"],
    ['{"error":"not_found"}', BULK_GET_SHAPE, 'JSON has no array "results" (byte 21)'],
    ['{"results":{}}', BULK_GET_SHAPE, 'JSON member "results" is not an array (byte 11)'],
    ['{"results":[1]}', BULK_GET_SHAPE, "JSON array holds something other than an object (byte 12)"],
    ['{"results":[{"id":"a","docs":{}}]}', BULK_GET_SHAPE, 'JSON member "docs" is not an array (byte 29)'],
    ['{"results":[]}{', BULK_GET_SHAPE, "JSON goes on after its end (byte 14)"],
    [
      '{"results":[{"id":"a" "docs":[]}]}',
      BULK_GET_SHAPE,
      "JSON has neither a comma nor an end after a value (byte 22)",
    ],
    ['{"results":[{"id":"a",}]}', BULK_GET_SHAPE, "JSON has something other than a member name (byte 22)"],
    ['{"results" []}', BULK_GET_SHAPE, "JSON has no colon after a member name (byte 11)"],
    ["{}", { array: null, element: "document" }, "JSON is not an array (byte 0)"],
    ["[1]\n[2]", { array: null, element: "document" }, "JSON goes on after its end (byte 4)"],
    ["[1]\n{}", { array: null, element: "document", repeated: true }, "JSON goes on after its end (byte 4)"],
    ["[1,]", { array: null, element: "document" }, "JSON has no value where one must be (byte 3)"],
  ];
  for (const [text, shape, message] of cases) {
    const error = assertThrows(() => scan([encoder.encode(text)], shape), FramingError);
    assertEquals(error.message, message, text);
  }
});

Deno.test("DocumentScanner finds documents in bare arrays, in docs, and wrapped in rows", () => {
  const cases: [string, JsonShape, string[]][] = [
    ['[{"_id":"a"}, 7]', { array: null, element: "document" }, ['document {"_id":"a"}', "document 7"]],
    ['{"new_edits":false,"docs":[{"n":1.0}]}', { array: "docs", element: "document" }, ['document {"n":1.0}']],
    [
      '{"total_rows":1,"rows":[{"id":"a","value":{"rev":"1-x"},"doc":{"_id":"a"}}]}',
      { array: "rows", element: "wrapped" },
      ['document {"_id":"a"}', 'element "a" {"id":"a","value":{"rev":"1-x"},"doc":{"_id":"a"}}'],
    ],
    ["[]", { array: null, element: "document" }, []],
    ['[{"n":1}]\n[]\n[7]\n', { array: null, element: "document", repeated: true }, ['document {"n":1}', "document 7"]],
  ];
  for (const [text, shape, expected] of cases) assertEquals(scan([encoder.encode(text)], shape), expected, text);
});

Deno.test("DocumentScanner.idIs() and idIsPlain() say of every id whether it is the text, decoded or where it stands", () => {
  const ids = ["", "plain", 'q"uo\\te', "\\u0041", "A", "é", "é", "😀/+%", "x".repeat(100), "a\nb"];
  const bytes = encoder.encode(JSON.stringify({ results: ids.map((id) => ({ id, docs: [] })) }));
  for (let cut = 0; cut <= bytes.length; cut++) {
    const scanner = new DocumentScanner(BULK_GET_SHAPE);
    let row = 0;
    for (const piece of [bytes.slice(0, cut), bytes.slice(cut)]) {
      scanner.push(piece);
      for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
        if (found !== Found.ElementEnd) continue;
        const id = ids[row++]!;
        for (const other of ids) assertEquals(scanner.idIs(other), other === id, `${id} is ${other}, cut at ${cut}`);
        for (const other of ids) {
          if (!/^[ !#-\[\]-~]*$/.test(other)) continue;
          const plain = encoder.encode(`..${other}..`);
          const isPlain = scanner.idIsPlain(plain, 2, plain.length - 2);
          assertEquals(isPlain, other === id, `${id} is the bytes of ${other}, cut at ${cut}`);
        }
        assertEquals([scanner.id, scanner.idIs(id)], [id, true]);
      }
      piece.fill(0x22);
    }
    assertEquals(row, ids.length);
  }
});

Deno.test("DocumentScanner does not take an id with a bare control character, or with broken UTF-8, for any text", () => {
  for (const byte of [0x0a, 0xff]) {
    const asks = [
      (scanner: DocumentScanner) => scanner.idIs(`a${String.fromCharCode(byte)}b`),
      (scanner: DocumentScanner) => scanner.idIsPlain(encoder.encode("aXb"), 0, 3),
    ];
    for (const [at, ask] of asks.entries()) {
      const bytes = encoder.encode('{"results":[{"id":"a?b","docs":[]}]}');
      bytes[bytes.indexOf(0x3f)] = byte;
      const scanner = new DocumentScanner(BULK_GET_SHAPE);
      scanner.push(bytes);
      assertEquals(scanner.next(), Found.ElementStart);
      assertEquals(scanner.next(), Found.ElementEnd);
      assertThrows(() => ask(scanner), FramingError, undefined, `byte ${byte}, question ${at}`);
    }
  }
});

Deno.test("DocumentScanner gives an error's text whatever type it has", () => {
  const scanner = new DocumentScanner(BULK_GET_SHAPE);
  const text = '{"results":[{"id":"a","docs":[{"error":{"error":{"toString":1},"reason":7}}]}]}';
  scanner.push(new TextEncoder().encode(text));
  assertEquals([scanner.next(), scanner.next()], [Found.ElementStart, Found.Error]);
  assertEquals(scanner.error, { error: '{"toString":1}', reason: "7" });
});

Deno.test("DocumentScanner finds plain rows that stand one after the other, too", () => {
  const rows = ["a", "b"].map((id) => `{"id":"${id}","docs":[{"ok":{"_id":"${id}"}}]}`);
  const scanner = new DocumentScanner({ array: null, bare: true, repeated: true, element: "row" }, {
    findsPlain: true,
  });
  scanner.push(encoder.encode(rows.join("\n")));
  const ids: (string | undefined)[] = [];
  for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
    assertEquals([found, scanner.isClosed], [Found.PlainElement, true]);
    ids.push(scanner.id);
  }
  scanner.finish();
  assertEquals(ids, ["a", "b"]);
});

Deno.test("DocumentScanner reads bytes anew that are pushed again with other contents", () => {
  const texts = ["1-x", "2-y"].map((rev) => `{"id":"a","docs":[{"ok":{"_rev":"${rev}"}}]}`);
  // As long, and another end of the document.
  texts.push('{"id":"a","docs":[{"ok":{"_":{}}},{"ok":{}}]}'.slice(0, -1).padEnd(texts[0]!.length - 1) + "}");
  for (const findsPlain of [false, true]) {
    const scanner = new DocumentScanner(BULK_GET_SHAPE, { findsPlain });
    scanner.push(encoder.encode('{"results":['));
    assertEquals(scanner.next(), Found.Nothing);
    const bytes = new Uint8Array(texts[2]!.length + 1);
    const ends: number[][] = [];
    for (const text of texts) {
      bytes.set(encoder.encode(`${text},`.padEnd(bytes.length)));
      scanner.push(bytes);
      const found: number[] = [];
      for (let what = scanner.next(); what !== Found.Nothing; what = scanner.next()) {
        if (what === Found.PlainElement) found.push(scanner.elementEnd - "}]}".length);
        if (what === Found.DocumentEnd) found.push(scanner.position);
      }
      ends.push(found);
    }
    assertEquals(
      ends,
      texts.map((text) => [...text.matchAll(/\}+(?=\}(,|\]))/g)].map(({ index, 0: end }) => index + end.length)),
    );
  }
});

Deno.test("DocumentScanner finds no plain rows where elements are something else", () => {
  const bytes = encoder.encode('[{"id":"a","docs":[{"ok":{}}]}]');
  for (const element of ["document", "wrapped"] as const) {
    const scanner = new DocumentScanner({ array: null, element }, { findsPlain: true });
    scanner.push(bytes);
    assertEquals(scanner.next(), element === "document" ? Found.DocumentStart : Found.ElementStart);
  }
});
