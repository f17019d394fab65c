import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { constants, gunzipSync, gzipSync } from "node:zlib";
import { GzipError } from "../../src/codec/gzip.ts";
import { gunzipMembers } from "../../src/codec/gzip_members.ts";
import { pieces } from "./streams.ts";

async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  return Buffer.concat(await Array.fromAsync(source)).toString();
}

const [one, two] = ["a document with 😀. ".repeat(5000), "and another one. ".repeat(9)].map((text) => gzipSync(text));
const both = Buffer.concat([one!, two!]);

Deno.test("gunzipMembers() undoes one member and several, however they are cut", async () => {
  for (const size of [1, 7, 333, one!.length, 1 << 20]) {
    assertEquals(
      await textOf(gunzipMembers(pieces(both, size))),
      "a document with 😀. ".repeat(5000) + "and another one. ".repeat(9),
    );
    assertEquals(await textOf(gunzipMembers(pieces(two!, size))), "and another one. ".repeat(9));
  }
});

Deno.test("gunzipMembers() refuses what is cut off within a member, changed, or followed by something else", async () => {
  const changed = Uint8Array.from(both);
  changed[both.length - 6]! ^= 1;
  const cases = [changed, Buffer.concat([one!, Buffer.from("xxxx")]), Buffer.from("hello"), both.subarray(0, 20)];
  for (let cut = one!.length + 1; cut < both.length; cut += 3) cases.push(both.subarray(0, cut));
  for (const bytes of cases) {
    for (const size of [5, 1 << 20]) await assertRejects(() => textOf(gunzipMembers(pieces(bytes, size))), GzipError);
  }
});

Deno.test("gunzipMembers() hands on the very error of its source, and ends it when the reader leaves early", async () => {
  for (const failure of [new TypeError("undefined is not a function"), new Error("S3 is gone")]) {
    for (const sizeBytes of [0, 10, one!.length, both.length]) {
      const source = (async function* () {
        yield* pieces(both.subarray(0, sizeBytes), 100);
        throw failure;
      })();
      assertStrictEquals(await assertRejects(() => textOf(gunzipMembers(source))), failure, `after ${sizeBytes} bytes`);
    }
  }
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const watched = (async function* () {
    try {
      yield* pieces(gzipSync(new Uint8Array(1 << 22)), 100);
    } finally {
      resolve();
    }
  })();
  for await (const bytes of gunzipMembers(watched)) if (bytes.length > 0) break;
  await ended;
});

Deno.test("gunzipMembers() gives large pieces back in small ones", async () => {
  const compressed = gzipSync(new Uint8Array(50 << 20));
  let [sum, most] = [0, 0];
  for await (const { length } of gunzipMembers(pieces(compressed, compressed.length))) {
    sum += length;
    most = Math.max(most, length);
  }
  assertEquals([sum, most <= 1 << 16], [50 << 20, true]);
});

Deno.test("gunzipMembers() gives all that is there of what is cut off or damaged, however it is cut and whoever waits", async () => {
  const lines = Array.from(
    { length: 20_000 },
    (_, number) => `{"_id":"${number}","r":"${Math.imul(number, 2654435761)}"}\n`,
  );
  const whole = gzipSync(lines.join(""));
  const cut = whole.subarray(0, Math.floor(whole.length * 0.7));
  const there = gunzipSync(cut, { finishFlush: constants.Z_SYNC_FLUSH });
  const damaged = Uint8Array.from(whole);
  damaged.fill(0xff, cut.length, cut.length + 50);
  const lengths = new Set<number>();
  for (const size of [100, 5000, 1 << 20]) {
    for (const waitsAfter of [0, 1, 5]) {
      for (const bytes of [cut, damaged]) {
        const found: Uint8Array[] = [];
        await assertRejects(async () => {
          for await (const piece of gunzipMembers(pieces(bytes, size))) {
            if (found.push(piece.slice()) <= waitsAfter) await new Promise((resolve) => setTimeout(resolve, 5));
          }
        }, GzipError);
        const text = Buffer.concat(found);
        if (bytes === damaged) lengths.add(text.length);
        else {assertEquals(
            [text.length, text.equals(there)],
            [there.length, true],
            `pieces of ${size}, ${waitsAfter} waits`,
          );}
      }
    }
  }
  assertEquals(lengths.size, 1, `the same of what is damaged each time: ${[...lengths]}`);
});
