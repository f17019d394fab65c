import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { Duplex } from "node:stream";
import { getHeapStatistics } from "node:v8";
import { Steps } from "../../src/codec/steps.ts";

/** A stream object that takes everything, and gives nothing but what the tests push. */
function sink(): Duplex {
  return new Duplex({ read() {}, write: (_bytes, _encoding, done) => done() });
}

Deno.test("Steps keeps nothing of the steps that are done, however many there are", async () => {
  const steps = new Steps(sink());
  const bytes = new Uint8Array(1);
  const before = getHeapStatistics().used_heap_size;
  let least = Infinity;
  for (let count = 1; count <= 300_000; count++) {
    await steps.step(bytes);
    // The lowest of many looks is one right after V8 has collected.
    if (count > 200_000 && count % 100 === 0) least = Math.min(least, getHeapStatistics().used_heap_size - before);
  }
  steps.close();
  assert(least < 32e6, `${least} bytes are kept`);
});

Deno.test("Steps.step() throws what a stream has failed with, in the middle of a step and before it", async () => {
  const failure = new Error("damaged");
  const stream = sink();
  const steps = new Steps(stream);
  assertEquals(await steps.step(new Uint8Array(1)), []);
  stream.destroy(failure);
  await new Promise((resolve) => setTimeout(resolve));
  assertStrictEquals(await assertRejects(() => steps.step(new Uint8Array(1))), failure);
  assertStrictEquals(await assertRejects(() => steps.end()), failure);

  const silent = new Duplex({ read() {}, write() {} });
  const stuck = new Steps(silent).step(new Uint8Array(1));
  silent.destroy(failure);
  assertStrictEquals(await assertRejects(() => stuck), failure);
});
