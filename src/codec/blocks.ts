/** A stream of bytes in pieces of one size: each call of a compressor costs more than a copy. */

/** Blocks that nobody uses, to be filled again: as garbage, one for each chunk, they would be collected late. */
const spare: Uint8Array<ArrayBuffer>[] = [];
const MOST_SPARE = 8;

/** A block of that size, with anything in it. Whoever is done with it gives it back. */
export function takeBlock(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const at = spare.findIndex(({ length }) => length === sizeBytes);
  return at < 0 ? new Uint8Array(sizeBytes) : spare.splice(at, 1)[0]!;
}

/** The block is not used any more, and nothing that was cut from it. */
export function giveBlock(block: Uint8Array<ArrayBuffer>): void {
  if (spare.length >= MOST_SPARE) spare.shift();
  spare.push(block);
}

/**
 * The same bytes in pieces of at least `sizeBytes`, but for the last one; each is valid until the next one is asked
 * for.
 *
 * @param options.isExact Whether no piece may be larger; else large ones pass as they are. @default false
 */
export async function* inBlocks(
  source: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  { isExact = false }: { isExact?: boolean } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  let block: Uint8Array<ArrayBuffer> | undefined;
  let used = 0;
  try {
    for await (const bytes of source) {
      if (!isExact && used === 0 && bytes.length >= sizeBytes) {
        yield bytes;
        continue;
      }
      block ??= takeBlock(sizeBytes);
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
  } finally {
    if (block !== undefined) giveBlock(block);
  }
}
