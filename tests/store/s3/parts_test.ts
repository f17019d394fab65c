import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { StoreError } from "../../../src/errors.ts";
import { cutIntoParts, mostBytes, PartMemory, partSize } from "../../../src/store/s3/parts.ts";
import { patternBytes, pieces } from "../store_contract.ts";

Deno.test("cutIntoParts() gives the same bytes back for every size and every cut", async () => {
  for (const size of [0, 1, 9, 10, 11, 19, 20, 21, 35]) {
    const body = patternBytes(size);
    for (const pieceBytes of [1, 3, 7, 10, 11, 20, 100]) {
      const seen: { number: number; bytes: number[]; last: boolean }[] = [];
      for await (
        const { number, bytes, last } of cutIntoParts(pieces(body, pieceBytes), new PartMemory({ smallestBytes: 10 }))
      ) {
        seen.push({ number, bytes: [...bytes], last });
      }
      const what = `${size} bytes in pieces of ${pieceBytes}`;
      assertEquals(seen.flatMap((part) => part.bytes), [...body], what);
      const count = Math.max(1, Math.ceil(size / 10));
      assertEquals(
        seen.map((part) => [part.number, part.last]),
        [...Array(count).keys()].map((index) => [index + 1, index === count - 1]),
        what,
      );
      assert(seen.slice(0, -1).every((part) => part.bytes.length === 10), what);
    }
  }
});

Deno.test("cutIntoParts() leaves a part untouched until it is given back, and then uses its buffer again", async () => {
  const body = patternBytes(50);
  for (const givesBack of [true, false]) {
    const memory = new PartMemory({ smallestBytes: 10 });
    const parts: Uint8Array<ArrayBuffer>[] = [];
    const buffers = new Set<ArrayBuffer>();
    for await (const { bytes, number } of cutIntoParts(pieces(body, 7), memory)) {
      parts.push(bytes);
      buffers.add(bytes.buffer);
      for (const part of parts.slice(-2)) {
        const position = (part === bytes ? number - 1 : number - 2) * 10;
        assertEquals(part, body.subarray(position, position + 10));
      }
      const sent = parts.at(-2);
      if (givesBack && sent !== undefined) memory.give(sent);
    }
    assertEquals(buffers.size, givesBack ? 2 : 5);
  }
});

Deno.test("cutIntoParts() takes no more memory for a small body than that needs, about", async () => {
  const memory = new PartMemory({ smallestBytes: 5 << 20 });
  const sizes = [[0, 16], [100, 16], [16 << 10, 16], [20_000, 256], [256 << 10, 256], [300_000, 5120], [5 << 20, 5120]];
  for (const [size, kilobytes] of sizes) {
    const body = patternBytes(size!);
    for (const pieceBytes of [1000, 70_000, 6 << 20]) {
      const parts = await Array.fromAsync(cutIntoParts(pieces(body, pieceBytes), memory));
      assertEquals(parts.map(({ bytes, number, last }) => [bytes.buffer.byteLength >> 10, number, last]), [
        [kilobytes, 1, true],
      ]);
      assertEquals(parts[0]!.bytes, body);
      memory.give(parts[0]!.bytes);
    }
  }
});

Deno.test("PartMemory enter() lets one full part through at a time, or several smaller bodies", async () => {
  const memory = new PartMemory({ smallestBytes: 10 });
  const sending: number[] = [];
  let mostAtOnce = 0;
  let sent = 0;
  const send = async (sizeBytes: number) => {
    const leave = await memory.enter(sizeBytes, undefined);
    sending.push(sizeBytes);
    mostAtOnce = Math.max(mostAtOnce, sending.length);
    const inFlight = sending.reduce((sum, size) => sum + size, 0);
    assert(sending.length === 1 || inFlight <= 16, `${sending} at once`);
    await new Promise((resolve) => setTimeout(resolve, 2));
    sending.splice(sending.indexOf(sizeBytes), 1);
    sent++;
    leave();
  };
  await Promise.all([10, 10, 6, 6, 100, 1, 1, 16, 0].map(send));
  assertEquals(sent, 9);
  assert(mostAtOnce >= 2);
});

Deno.test("PartMemory enter() keeps no full part waiting for ever while small bodies come and go", async () => {
  const memory = new PartMemory({ smallestBytes: 10 });
  const sending = await Promise.all(Array.from({ length: 16 }, () => memory.enter(1, undefined)));
  let isThrough = false;
  const full = memory.enter(10, undefined).then((leave) => {
    isThrough = true;
    return leave;
  });
  let turns = 0;
  for (; !isThrough && turns < 100; turns++) {
    sending.shift()?.();
    void memory.enter(1, undefined).then((leave) => sending.push(leave));
    await new Promise((resolve) => setTimeout(resolve));
  }
  assertEquals(turns, 10);
  (await full)();
  for (let leave = sending.shift(); leave !== undefined; leave = sending.shift()) {
    leave();
    await new Promise((resolve) => setTimeout(resolve));
  }
  (await memory.enter(100, undefined))();
});

Deno.test("PartMemory enter() can be left by a signal", async () => {
  const memory = new PartMemory({ smallestBytes: 10 });
  const leave = await memory.enter(20, undefined);
  const waiting = memory.enter(1, AbortSignal.timeout(5));
  await assertRejects(() => waiting, DOMException);
  leave();
  (await memory.enter(20, undefined))();
});

Deno.test("partSize() lets ten thousand parts hold 4.8 TiB, and stays at the minimum up to 5 GiB", () => {
  const MIB = 1024 * 1024;
  const whole = Array.from({ length: 10_000 }, (_, index) => partSize(index + 1, { smallestBytes: 5 * MIB })).reduce(
    (sum, size) => sum + size,
    0,
  );
  assert(whole >= 4.8 * 1024 * 1024 * MIB, `${whole}`);
  assertEquals([1, 1000, 1001, 2001, 10_000].map((number) => partSize(number, { smallestBytes: 5 * MIB }) / MIB), [
    5,
    5,
    10,
    20,
    2560,
  ]);
});

Deno.test("partSize() grows sooner where fewer parts are allowed, and never where all have to be equal", () => {
  const sizes = (rules: { equal?: boolean; maxParts?: number }) =>
    [1, 100, 101, 1000].map((number) => partSize(number, { smallestBytes: 5, ...rules }));
  assertEquals(sizes({ maxParts: 1000 }), [5, 5, 10, 5 * 512]);
  assertEquals(sizes({ maxParts: 1000, equal: true }), [5, 5, 5, 5]);
  assertEquals(mostBytes({ smallestBytes: 5, maxParts: 1000, equal: true }), 5000);
  assertEquals(mostBytes({ smallestBytes: 5, maxParts: 1000 }), 5 * 100 * 1023);
});

Deno.test("cutIntoParts() says too_large where the parts that are allowed do not hold the body", async () => {
  const cut = async (size: number) => {
    const memory = new PartMemory({ smallestBytes: 10, equal: true, maxParts: 3 });
    return (await Array.fromAsync(cutIntoParts(pieces(patternBytes(size), 7), memory))).length;
  };
  assertEquals([await cut(20), await cut(30)], [2, 3]);
  const error = await assertRejects(() => cut(31), StoreError);
  assertEquals(error.facts.code, "too_large");
  assertStringIncludes(error.hint ?? "", "part_size");
});
