/**
 * Gives memory back at once. V8 frees the memory of a buffer when it happens to collect the small object that stands for
 * it: who makes many large ones has most of them as garbage, which counts as memory like anything else.
 */
import { Buffer } from "node:buffer";

/**
 * Empties bytes that nobody will look at any more, and all that lies in the same buffer.
 *
 * Small ones stay as they are: they may be a part of the pool that `Buffer` cuts those from. So do all in Node 20, which
 * cannot do it.
 */
export function release({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength > Buffer.poolSize && "transfer" in buffer) buffer.transfer(0);
}
