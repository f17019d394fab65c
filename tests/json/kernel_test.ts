import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  deletedBegun,
  feed,
  forget,
  IN_STRING,
  pass,
  passFeedRows,
  passOn,
  passRow,
  passState,
  row,
  wasDeleted,
  windowEnd,
} from "../../src/json/kernel.ts";
import { CODE, CODE_WITHOUT_SIMD, SOURCE_SHA256 } from "../../src/json/kernel_code.ts";
import { BULK_GET_SHAPE, DocumentScanner, Found } from "../../src/json/scan.ts";

const WINDOW_BYTES = 65_536;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A small deterministic generator, so that a failure can be repeated. */
function randomNumbers(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

/** Where the value ends that begins at `from`, byte by byte. */
function endOf(bytes: Uint8Array, from: number): number {
  let depth = 0;
  let isInString = false;
  for (let at = from; at < bytes.length; at++) {
    const char = String.fromCharCode(bytes[at]!);
    if (isInString && char === "\\") at++;
    else if (char === '"') isInString = !isInString;
    else if (!isInString && "{[".includes(char)) depth++;
    else if (!isInString && "}]".includes(char) && --depth === 0) return at + 1;
  }
  return -1;
}

function randomDocument(random: (below: number) => number, bytes: number): string {
  const parts = ['"a":"b"', String.raw`"q\"\\":"\\\\\""`, '"n":[1,{"x":{}},[]]', '"é":"ü{}[]"', '"brackets":"}]{["'];
  let text = "{";
  while (text.length < bytes) {
    if (text.length > 1) text += ",";
    text += random(3) === 0 ? `"${"x".repeat(random(60))}":"${"y".repeat(random(90))}"` : parts[random(parts.length)]!;
  }
  return `${text}}`;
}

/** The value's end by the kernel, window by window. */
function passWhole(bytes: Uint8Array, from: number): { end: number; isDeleted: boolean } {
  let end = pass(bytes, from);
  let isDeleted = wasDeleted();
  while (end < 0 && windowEnd() < bytes.length) {
    end = passOn(bytes, windowEnd(), passState());
    isDeleted ||= wasDeleted();
  }
  return { end, isDeleted };
}

Deno.test("pass() and passOn() find the end of a value, whatever is in it and wherever it lies beside a window's end", () => {
  const random = randomNumbers(20261129);
  for (let round = 0; round < 400; round++) {
    const before = " ".repeat(random(40));
    const size = random(3) === 0 ? WINDOW_BYTES - 60 + random(120) : random(300);
    const bytes = encoder.encode(`${before}${randomDocument(random, size)},"behind":"}"}`);
    assertEquals(passWhole(bytes, before.length).end, endOf(bytes, before.length), `round ${round}`);
  }
});

Deno.test("pass() finds an end in every place of sixteen bytes, behind every string", () => {
  for (let length = 0; length < 70; length++) {
    for (const char of ["x", "é", String.raw`\"`, String.raw`\\`, "{", "]"]) {
      const bytes = encoder.encode(`{"${"a".repeat(length % 17)}":"${char.repeat(length)}"}}}`);
      assertEquals(passWhole(bytes, 0).end, bytes.length - 2, `${length} of ${char}`);
    }
  }
});

Deno.test("passOn() goes on wherever the bytes were cut, in a string or behind a backslash too", () => {
  const text = String.raw`{"a":"b\\","c":"\"}","d":[{"e":"\\\""}],"f":"${"g".repeat(40)}\\"}`;
  const bytes = encoder.encode(text);
  for (let cut = 1; cut < bytes.length; cut++) {
    assertEquals(pass(bytes.slice(0, cut), 0), -1, `cut at ${cut}`);
    assertEquals(passOn(bytes.slice(cut), 0, passState()), bytes.length - cut, `cut at ${cut}`);
  }
});

Deno.test("pass() and passOn() begin anew, however a value before was left", () => {
  const [left, deleted, other] = ['{"a":"\\', '{"_deleted":true}', '{"":[]}'].map((text) => encoder.encode(text));
  pass(left!, 0);
  assertEquals(pass(other!, 0), other!.length);
  pass(other!.slice(0, 4), 0);
  const state = passState();
  pass(deleted!, 0);
  assertEquals(wasDeleted(), true);
  assertEquals(passOn(other!.slice(4), 0, state), other!.length - 4);
  assertEquals(wasDeleted(), false);
});

Deno.test("passOn() passes over a string whose quote is behind it", () => {
  assertEquals(passOn(encoder.encode(String.raw`a\"b\\",`), 0, IN_STRING), 7);
});

Deno.test("wasDeleted() tells a deleted revision by a member at its top, and deletedBegun() where that may begin", () => {
  const deleted = (text: string) => passWhole(encoder.encode(text), 0).isDeleted;
  assertEquals(deleted('{"_id":"a","_deleted":true}'), true);
  assertEquals(deleted('{"_id":"a","_deleted":true,"b":{}}'), true);
  for (
    const text of [
      '{"_id":"_deleted","b":true}',
      '{"b":{"_deleted":true}}',
      '{"_deleted":false}',
      '{"_deleted2":true}',
      String.raw`{"b":"\"_deleted\":true"}`,
    ]
  ) assertEquals(deleted(text), false, text);
  const bytes = encoder.encode('{"_id":"a","_dele');
  pass(bytes, 0);
  assertEquals(deletedBegun(), bytes.indexOf(0x64, 8) - 1);
  pass(encoder.encode('{"_id":"a","_di'), 0);
  assertEquals(deletedBegun(), -1);
  const begun = encoder.encode('{"_deleted":true');
  for (let length = 2; length <= begun.length; length++) {
    const isWhole = length === begun.length;
    pass(begun.slice(0, length), 0);
    assertEquals([wasDeleted(), deletedBegun()], [isWhole, isWhole ? -1 : 2], `${length} bytes`);
  }
});

const PLAIN = '{"id":"a b","docs":[{"ok":{"_id":"a b","_rev":"1-x","n":{"m":[1.0]}}}]}';

Deno.test("passRow() takes a row with a plain id and one document, and says where its parts are", () => {
  const bytes = encoder.encode(`[${PLAIN},`);
  assertEquals(passRow(bytes, 1), true);
  const text = (from: number, end: number) => decoder.decode(bytes.subarray(from, end));
  assertEquals(text(row.idFrom, row.idEnd), "a b");
  assertEquals(text(row.documentFrom, row.end), PLAIN.slice(PLAIN.indexOf(`{"_id"`)));
  assertEquals(text(1, row.end), PLAIN);
  assertEquals(wasDeleted(), false);
});

Deno.test("passRow() takes no row that is another, or is cut anywhere", () => {
  const others = [
    String.raw`{"id":"a\"b","docs":[{"ok":{}}]}`,
    '{"id":"é","docs":[{"ok":{}}]}',
    '{"id":"a\u007f","docs":[{"ok":{}}]}',
    '{"id":"a\nb","docs":[{"ok":{}}]}',
    '{"id":"a","docs":[{"ok":{}},{"ok":{}}]}',
    '{"id":"a","docs":[{"error":{}}]}',
    '{"id":"a","docs":[{"ok":null}]}',
    '{"id":"a","docs":[{"ok":{},"more":1}]}',
    '{"id":"a","docs":[{"ok":{}}],"more":1}',
    '{"id": "a","docs":[{"ok":{}}]}',
    '{"docs":[{"ok":{}}],"id":"a"}',
  ];
  for (const text of others) assertEquals(passRow(encoder.encode(`${text},`), 0), false, text);
  // What is behind the bytes in the window is of another row, and as it would have to be.
  assertEquals(passRow(encoder.encode(PLAIN), 0), true);
  for (let cut = 1; cut < PLAIN.length; cut++) {
    assertEquals(passRow(encoder.encode(PLAIN.slice(0, cut)), 0), false, `cut at ${cut}`);
  }
});

Deno.test("passRow() takes a row wherever the window's end cuts it, and none that is larger than a window", () => {
  for (let cut = 1; cut < PLAIN.length; cut++) {
    const from = WINDOW_BYTES - cut;
    const bytes = encoder.encode(`${"x".repeat(from)}${PLAIN}`);
    pass(bytes, 0);
    assertEquals(passRow(bytes, from), true, `cut behind ${cut}`);
    assertEquals(row.end, bytes.length, `cut behind ${cut}`);
  }
  const large = encoder.encode(`{"id":"a","docs":[{"ok":{"b":"${"c".repeat(WINDOW_BYTES)}"}}]}`);
  assertEquals(passRow(large, 0), false);
});

const feedRow = (id: string, rev: string) => `{"seq":null,"id":"${id}","changes":[{"rev":"${rev}"}]}`;

/** Rows that the kernel takes at `from`: ids and revisions. */
function takenRows(bytes: Uint8Array, from = 0): string[] {
  const found: string[] = [];
  const count = passFeedRows(bytes, from);
  for (let index = 0, at = 0; index < count; index++) {
    const [middle, end] = [feed.spots[2 * index]!, feed.spots[2 * index + 1]!];
    found.push(
      `${decoder.decode(feed.texts.subarray(at, middle))} ${decoder.decode(feed.texts.subarray(middle, end))}`,
    );
    at = end;
  }
  return found;
}

Deno.test("passFeedRows() takes rows as CouchDB writes them, up to one that is another", () => {
  const text = `${feedRow("a", "1-x")},\n${feedRow("b c", "22-y")},\r\n${feedRow("", "3-z")}`;
  assertEquals(takenRows(encoder.encode(`${text}\n],"last_seq":"4"}`)), ["a 1-x", "b c 22-y", " 3-z"]);
  assertEquals(feed.end, text.length);
  for (
    const other of [
      feedRow("é", "1-x"),
      feedRow(String.raw`a\"`, "1-x"),
      '{"seq":"7-g1","id":"a","changes":[{"rev":"1-x"}]}',
      '{"seq":null,"id":"a","changes":[{"rev":"1-x"}],"deleted":true}',
      '{"seq":null,"id":"a","changes":[{"rev":"1-x"},{"rev":"1-y"}]}',
      feedRow("a".repeat(5000), "1-x"),
      "]",
    ]
  ) {
    assertEquals(takenRows(encoder.encode(`${other},\n${feedRow("b", "1-x")}`)), [], other);
    const bytes = encoder.encode(`${feedRow("first", "1-x")},\n${other}`);
    assertEquals(takenRows(bytes), ["first 1-x"], other);
    assertEquals(feed.end, feedRow("first", "1-x").length, other);
  }
});

Deno.test("passFeedRows() takes a row wherever the window's end cuts it, and none that the bytes' end cuts", () => {
  const text = feedRow("a b", "1-x");
  for (let cut = 1; cut < text.length; cut++) {
    const from = WINDOW_BYTES - cut;
    const bytes = encoder.encode(`${"x".repeat(from)}${text}`);
    pass(bytes, 0);
    assertEquals(takenRows(bytes, from), ["a b 1-x"], `cut behind ${cut}`);
    assertEquals(feed.end, bytes.length, `cut behind ${cut}`);
  }
  // What is behind the bytes in the window is of another row, and as it would have to be.
  const two = `${text},\n${text}`;
  assertEquals(takenRows(encoder.encode(two)), ["a b 1-x", "a b 1-x"]);
  for (let cut = 1; cut < two.length; cut++) {
    const taken = cut < text.length ? [] : ["a b 1-x"];
    assertEquals(takenRows(encoder.encode(two.slice(0, cut))), taken, `cut behind ${cut}`);
  }
});

Deno.test("passRow() and passFeedRows() take printable ASCII for plain, but for quotes and backslashes", () => {
  for (let byte = 0; byte < 256; byte++) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x22 && byte !== 0x5c;
    const rows = [PLAIN.replace("a b", "a?b"), feedRow("a?b", "1-x"), feedRow("a", "1-?")].map((text) => {
      const bytes = encoder.encode(text);
      bytes[bytes.indexOf(0x3f)] = byte;
      return bytes;
    });
    const taken = [passRow(rows[0]!, 0) ? 1 : 0, passFeedRows(rows[1]!, 0), passFeedRows(rows[2]!, 0)];
    assertEquals(taken, isPlain ? [1, 1, 1] : [0, 0, 0], `byte ${byte}`);
  }
});

Deno.test("passFeedRows() takes texts of 4096 bytes together, and none that are longer", () => {
  for (const [idBytes, revBytes] of [[4093, 3], [3, 4093]] as const) {
    const [id, rev] = ["a".repeat(idBytes), "1".repeat(revBytes)];
    assertEquals(takenRows(encoder.encode(feedRow(id, rev))), [`${id} ${rev}`]);
    assertEquals(takenRows(encoder.encode(feedRow(`${id}a`, rev))), []);
  }
});

Deno.test("passFeedRows() takes the smallest rows that fit into a window, and those that its end cuts", () => {
  const bytes = encoder.encode(Array.from({ length: 4000 }, () => feedRow("", "")).join(","));
  const found: string[] = [];
  for (let at = 0; at < bytes.length; at = feed.end + 1) {
    const rows = takenRows(bytes, at);
    if (rows.length === 0) break;
    found.push(...rows);
  }
  assertEquals(found, Array(4000).fill(" "));
});

Deno.test("passFeedRows() leaves the window where it is unless its end cuts the row", () => {
  const other = '{"seq":null,"id":"a","changes":[{"rev":"1-x"}],"deleted":true}';
  for (const [text, isPlain] of [[other, false], [feedRow("a", "1-x"), true]] as const) {
    for (const before of [100, WINDOW_BYTES - 20]) {
      const bytes = encoder.encode(`[${" ".repeat(before - 1)}${text}${" ".repeat(WINDOW_BYTES)}`);
      pass(bytes, 0);
      assertEquals(takenRows(bytes, before), isPlain ? ["a 1-x"] : [], `${text} at ${before}`);
      assertEquals(windowEnd(), before > 100 ? before + WINDOW_BYTES : WINDOW_BYTES, `${text} at ${before}`);
    }
  }
  // One that is cut there, too, is larger than a window.
  const large = encoder.encode(` ${feedRow("a".repeat(WINDOW_BYTES), "1-x")}`);
  pass(large, 0);
  assertEquals(takenRows(large, 1), []);
});

Deno.test("the window shows what is asked for, whoever was there before, and what was filled anew behind forget()", () => {
  const first = encoder.encode(`{"a":"${"b".repeat(100)}"}`);
  const second = encoder.encode('{"a":"b"}');
  for (let round = 0; round < 3; round++) {
    assertEquals(pass(first, 0), first.length);
    assertEquals(pass(second, 0), second.length);
  }
  // Before what it shows, too.
  const large = encoder.encode(`[${" ".repeat(WINDOW_BYTES)}[]]`);
  assertEquals(pass(large, WINDOW_BYTES + 1), WINDOW_BYTES + 3);
  assertEquals(passWhole(large, 0).end, large.length);
  second.set(encoder.encode("[]"), 0);
  forget(second);
  assertEquals(pass(second, 0), 2);
});

/** The rows of an answer: ids, the bytes of rows and of documents, and which are deleted. */
function rowsOf(pieces: readonly Uint8Array[], findsPlain: boolean): string[] {
  const scanner = new DocumentScanner(BULK_GET_SHAPE, { findsPlain });
  const rows: string[] = [];
  let deleted = 0;
  let revisions = 0;
  let passed = 0;
  let from = 0;
  for (const piece of pieces) {
    scanner.push(piece);
    for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
      const at = passed + scanner.position;
      if (found === Found.PlainElement) {
        rows.push(`${scanner.id} ${at}-${passed + scanner.elementEnd} 1 ${scanner.isDeleted ? 1 : 0}`);
      } else if (found === Found.ElementStart) [from, revisions, deleted] = [at, 0, 0];
      else if (found === Found.DocumentEnd) {
        [revisions, deleted] = [revisions + 1, deleted + (scanner.isDeleted ? 1 : 0)];
      } else if (found === Found.ElementEnd) rows.push(`${scanner.id} ${from}-${at} ${revisions} ${deleted}`);
    }
    passed += piece.length;
  }
  scanner.finish();
  return rows;
}

Deno.test("DocumentScanner finds the same rows, whole or part by part, wherever the bytes are cut", () => {
  const random = randomNumbers(7);
  for (let round = 0; round < 150; round++) {
    const rows = Array.from({ length: random(40) }, () => {
      const id = [`plain ${random(1000)}`, 'q"uoted', "é", ""][random(4)]!;
      const documents = Array.from({ length: random(4) === 0 ? random(3) : 1 }, () => {
        const isDeleted = random(5) === 0 ? '"_deleted":true,' : "";
        return `{"ok":{"_id":${JSON.stringify(id)},${isDeleted}"d":${
          randomDocument(random, random(8) === 0 ? 70_000 : 90)
        }}}`;
      });
      return `{"id":${JSON.stringify(id)},"docs":[${documents.join(",")}]}`;
    });
    const bytes = encoder.encode(`{"results":[${rows.join(random(5) === 0 ? " ,\n" : ",")}]}`);
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(bytes.length, at + 1 + random([20, 3000, 200_000][random(3)]!));
      pieces.push(bytes.subarray(at, end));
      at = end;
    }
    const found = rowsOf(pieces, true);
    assertEquals(found.length, rows.length, `round ${round}`);
    assertEquals(found, rowsOf(pieces, false), `round ${round}`);
  }
});

Deno.test("kernel_code.ts was made of assembly/kernel.ts as it is: else run `deno task assemble`", async () => {
  const source = await Deno.readTextFile(new URL("../../src/json/assembly/kernel.ts", import.meta.url));
  assertEquals(SOURCE_SHA256, createHash("sha256").update(source).digest("hex"));
});

/** What a kernel says of the bytes between two places, by each of its functions. */
function sayings(code: string, windows: readonly { bytes: Uint8Array; from: number; end: number }[]): unknown[] {
  const kernel = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(code, "base64"))).exports as unknown as {
    [name: string]: ((...args: number[]) => number) & { value: number; buffer: ArrayBuffer };
  };
  const at = (name: string) => kernel[name]!.value;
  const { buffer } = kernel.memory!;
  const value = () => [kernel.state!(), kernel.wasDeleted!(), kernel.deletedBegun!()];
  return windows.flatMap(({ bytes, from, end }) => {
    new Uint8Array(buffer, at("INPUT")).set(bytes);
    const place = [at("INPUT") + from, at("INPUT") + end] as const;
    const result = () => new Int32Array(buffer, at("RESULT"), 1)[0];
    const row = kernel.row!(...place);
    const rowSaid = [row, row > 0 ? result() : 0];
    const count = kernel.feedRows!(...place);
    const spots = [...new Int32Array(buffer, at("SPOTS"), Math.max(0, 2 * count))];
    const texts = decoder.decode(new Uint8Array(buffer, at("TEXTS"), spots.at(-1) ?? 0));
    const passed = [kernel.pass!(...place), ...value()];
    const goneOn = [0, 1, 2, 3].map((state) => [kernel.resume!(...place, 4 * 3 + state), ...value()]);
    return [rowSaid, count, count > 0 ? result() : 0, spots, texts, passed, goneOn];
  });
}

Deno.test("the code for processors without SIMD says of any bytes what the one with SIMD says", () => {
  const random = randomNumbers(20261130);
  const parts = [
    PLAIN,
    feedRow("a", "1-x"),
    `${feedRow("b", "22-y")},\n${feedRow("c".repeat(40), "3-z")}`,
    randomDocument(random, 80),
    '{"_deleted":true}',
    ...[",", '"', "\\", "{", "}", "[", "]", "é", "\u007f", "\u001f", "x".repeat(15), " ".repeat(33)],
  ];
  const windows = Array.from({ length: 4000 }, () => {
    const bytes = encoder.encode(Array.from({ length: 1 + random(8) }, () => parts[random(parts.length)]!).join(""));
    const from = random(4) === 0 ? random(bytes.length) : 0;
    return { bytes, from, end: random(2) === 0 ? bytes.length : from + random(bytes.length - from + 1) };
  });
  assertEquals(sayings(CODE_WITHOUT_SIMD, windows), sayings(CODE, windows));
});
