/**
 * Splits zstd frames (RFC 8878) into header, blocks and checksum without decompressing them. A truncated stream must be
 * an error, and not every decompressor reports it (Deno 2.9.6 does not). In: a stream of bytes. Out: the parts of each
 * frame, each of them complete.
 */
import { concat } from "../concat.ts";
import { counted } from "../counts.ts";
import { CodecError } from "./error.ts";

/** The bytes are not zstd, end early, or fail their checksum. */
export class ZstdError extends CodecError {
  override readonly name: string = "ZstdError";
}

/** A piece of a frame that can be given to a decompressor. */
export interface ZstdPart {
  bytes: Uint8Array;
  /** The frame ends after it. */
  isEnd: boolean;
}

const MAGIC = 0xfd2fb528;
/** Frames with this magic number, whatever its last four bits, are skipped by every reader. */
const SKIPPABLE = 0x184d2a5;
/** A block, compressed or not, is never larger. */
const MOST_BLOCK_BYTES = 128 * 1024;

/** Whether bytes are zstd's. */
export function isZstd(bytes: Uint8Array): boolean {
  if (bytes.length < 4) return false;
  const magic = numberIn(bytes, 0, 4);
  return magic === MAGIC || magic >>> 4 === SKIPPABLE;
}

/**
 * Splits all frames of a stream.
 *
 * @param options `mostWindowBytes`: the window that a frame may need at most; it lies in memory.
 * @throws ZstdError where they end early, are none, or need more.
 */
export async function* zstdParts(
  source: AsyncIterable<Uint8Array>,
  { mostWindowBytes }: { mostWindowBytes: number },
): AsyncGenerator<ZstdPart, void, undefined> {
  const input = new Input(source);
  try {
    do {
      const magic = numberIn(await input.take(4), 0, 4);
      if (magic >>> 4 === SKIPPABLE) await input.skip(numberIn(await input.take(4), 0, 4));
      else if (magic === MAGIC) yield* partsOfFrame(input, mostWindowBytes);
      else throw new ZstdError("It is not zstd, or something else follows it");
    } while (!await input.hasEnded());
  } finally {
    await input.close();
  }
}

async function* partsOfFrame(
  input: Input,
  mostWindowBytes: number,
): AsyncGenerator<ZstdPart, void, undefined> {
  const { bytes, hasChecksum, windowBytes } = await headerOf(input);
  if (windowBytes > mostWindowBytes) {
    throw new ZstdError(`It needs a window of ${counted(windowBytes, "byte")}, more than ${mostWindowBytes}`);
  }
  yield { bytes, isEnd: false };
  for (let isLast = false; !isLast;) {
    const head = await input.take(3);
    const block = numberIn(head, 0, 3);
    isLast = (block & 1) === 1;
    const kind = block >>> 1 & 3;
    const sizeBytes = block >>> 3;
    if (kind === 3 || sizeBytes > MOST_BLOCK_BYTES) throw new ZstdError("It has a block that zstd does not know");
    // A block that repeats one byte stores that byte once.
    const content = await input.take(kind === 1 ? 1 : sizeBytes);
    yield { bytes: concat([head, content]), isEnd: isLast && !hasChecksum };
  }
  if (hasChecksum) yield { bytes: await input.take(4), isEnd: true };
}

/** A frame's header, with its magic number. */
async function headerOf(input: Input): Promise<{ bytes: Uint8Array; hasChecksum: boolean; windowBytes: number }> {
  const [descriptor = 0] = await input.take(1);
  const isSingle = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const contentSizeBytes = [isSingle ? 1 : 0, 2, 4, 8][descriptor >>> 6]!;
  if ((descriptor & 8) !== 0) throw new ZstdError("It is of a later kind of zstd");
  const rest = await input.take((isSingle ? 0 : 1) + dictionaryBytes + contentSizeBytes);
  if (dictionaryBytes > 0 && numberIn(rest, isSingle ? 0 : 1, dictionaryBytes) !== 0) {
    throw new ZstdError("It was compressed with a dictionary, which is not here");
  }
  const windowBytes = isSingle
    ? numberIn(rest, dictionaryBytes, contentSizeBytes) + (contentSizeBytes === 2 ? 256 : 0)
    : windowOf(rest[0]!);
  const magic = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, descriptor);
  return { bytes: concat([magic, rest]), hasChecksum: (descriptor & 4) !== 0, windowBytes };
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + base / 8 * (descriptor & 7);
}

/** A little-endian number; beyond 2^53 it is not exact, and too large anyway. */
function numberIn(bytes: Uint8Array, from: number, sizeBytes: number): number {
  let number = 0;
  for (let at = from + sizeBytes - 1; at >= from; at--) number = number * 256 + bytes[at]!;
  return number;
}

/** A stream that is read by numbers of bytes. */
class Input {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next bytes, so many. They are the caller's. @throws ZstdError when there are fewer. */
  async take(sizeBytes: number): Promise<Uint8Array> {
    const taken = new Uint8Array(sizeBytes);
    for (let filled = 0; filled < sizeBytes;) {
      if (await this.hasEnded()) throw new ZstdError("It ends before its end");
      const part = this.#rest.subarray(0, sizeBytes - filled);
      taken.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return taken;
  }

  async skip(sizeBytes: number): Promise<void> {
    for (let passed = 0; passed < sizeBytes;) {
      if (await this.hasEnded()) throw new ZstdError("It ends before its end");
      const part = this.#rest.subarray(0, sizeBytes - passed);
      passed += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
  }

  /** Whether nothing is left. */
  async hasEnded(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#source.next();
      if (done) return true;
      this.#rest = value;
    }
    return false;
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
