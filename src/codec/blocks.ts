/** A stream of bytes in pieces of one size: each call of a compressor costs more than a copy. */

/**
 * The same bytes in pieces of at least `sizeBytes`, but for the last one; each is valid until the next one is asked for.
 * Large pieces pass as they are.
 */
export async function* inBlocks(
  source: AsyncIterable<Uint8Array>,
  sizeBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let block: Uint8Array | undefined;
  let used = 0;
  for await (const bytes of source) {
    if (used === 0 && bytes.length >= sizeBytes) {
      yield bytes;
      continue;
    }
    block ??= new Uint8Array(sizeBytes);
    for (let from = 0; from < bytes.length;) {
      const part = bytes.subarray(from, from + sizeBytes - used);
      block.set(part, used);
      used += part.length;
      from += part.length;
      if (used < sizeBytes) break;
      yield block;
      used = 0;
    }
  }
  if (used > 0) yield block!.subarray(0, used);
}
