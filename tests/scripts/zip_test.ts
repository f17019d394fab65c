import { assertEquals, assertNotEquals } from "@std/assert";
import { crc32 } from "node:zlib";
import { writeZip, type ZipEntry } from "../../scripts/zip.ts";

const text = (value: string) => new TextEncoder().encode(value);

/** Reads an archive the way an extractor does: from its end, by the central directory. */
async function readZip(zip: Uint8Array<ArrayBuffer>): Promise<(ZipEntry & { date: number; time: number })[]> {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.length);
  const end = zip.length - 22;
  assertEquals(view.getUint32(end, true), 0x06054b50);
  const entries = [];
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    assertEquals(view.getUint32(at, true), 0x02014b50);
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(zip.subarray(at + 46, at + 46 + nameLength));
    const local = view.getUint32(at + 42, true);
    assertEquals(view.getUint32(local, true), 0x04034b50);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const deflated = zip.slice(start, start + view.getUint32(at + 20, true));
    const inflated = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const bytes = new Uint8Array(await new Response(inflated).arrayBuffer());
    assertEquals(view.getUint32(at + 16, true), crc32(bytes));
    assertEquals(view.getUint32(at + 24, true), bytes.length);
    // The local header repeats the fields.
    assertEquals(zip.slice(local + 4, local + 30), zip.slice(at + 6, at + 32));
    const mode = view.getUint32(at + 38, true) >>> 16;
    entries.push({ name, bytes, mode, time: view.getUint16(at + 12, true), date: view.getUint16(at + 14, true) });
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  assertEquals(at, end);
  return entries;
}

Deno.test("writeZip() writes names, bytes and Unix modes that an extractor gets back", async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(70_000 - 4_500)).slice();
  const zip = writeZip([
    { name: "program/mod.js", bytes: text("x".repeat(100_000)), mode: 0o644 },
    { name: "bootstrap", bytes, mode: 0o755 },
    { name: "ü", bytes: text(""), mode: 0o600 },
  ]);
  const entries = await readZip(zip);
  assertEquals(entries.map(({ name, mode }) => [name, mode.toString(8)]), [
    ["bootstrap", "100755"],
    ["program/mod.js", "100644"],
    ["ü", "100600"],
  ]);
  assertEquals(entries[0]!.bytes, bytes);
  assertEquals(entries[1]!.bytes, text("x".repeat(100_000)));
  assertEquals(new Set(entries.map(({ date, time }) => `${date} ${time}`)), new Set(["33 0"]));
});

Deno.test("writeZip() gives the same bytes for the same entries, in whatever order", () => {
  const entries = ["b", "a", "c"].map((name) => ({ name, bytes: text(name), mode: 0o644 }));
  assertEquals(writeZip(entries), writeZip(entries.toReversed()));
  assertNotEquals(writeZip(entries), writeZip(entries.slice(1)));
});

Deno.test("writeZip() writes an archive of nothing", async () => {
  assertEquals(await readZip(writeZip([])), []);
});
