/**
 * The door: how chunks are compressed, and how whatever is compressed is read, recognised by its first bytes. In goes a
 * stream of bytes, out comes another; bytes to be compressed may be written over as soon as the next ones are asked for.
 */
import { concat } from "../concat.ts";
import { UsageError } from "../errors.ts";
import type { Codec, Compression } from "./compression.ts";
import { gunzip, gzip } from "./gzip.ts";
import { gunzipMembers } from "./gzip_members.ts";
import { lacksZstd, unzstd, unzstdForeign, zstd } from "./zstd.ts";
import { isZstd } from "./zstd_parts.ts";

type Bytes = AsyncIterable<Uint8Array>;

/** A way to compress. */
interface Way {
  /** Whether bytes, four of them if there are as many, are such a beginning. */
  isIt: (beginning: Uint8Array) => boolean;
  /** Why the runtime cannot do it. */
  lack: () => UsageError | undefined;
  encode: (source: Bytes, level: number | undefined) => AsyncGenerator<Uint8Array>;
  /** Reads what this program has written. */
  decode: (source: Bytes) => AsyncGenerator<Uint8Array>;
  /** Reads what anybody may have written: several of them may follow each other. */
  decodeForeign: (source: Bytes) => AsyncGenerator<Uint8Array>;
}

const WAYS: Readonly<Record<Compression, Way>> = {
  gzip: { isIt: isGzip, lack: () => undefined, encode: gzip, decode: gunzip, decodeForeign: gunzipMembers },
  zstd: {
    isIt: isZstd,
    lack: lacksZstd,
    encode: zstd,
    decode: (source) => unzstd(source),
    decodeForeign: unzstdForeign,
  },
};
/** So many bytes tell what something is. */
const BEGINNING_BYTES = 4;

/** Whether bytes are gzip's. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** @throws UsageError where this runtime cannot write so: before anything is asked of anybody. */
export function requireCodec({ compression }: Codec): void {
  const lack = WAYS[compression].lack();
  if (lack === undefined) return;
  throw new UsageError(`Cannot compress with ${compression}: ${lack.message}`, { hint: lack.hint });
}

/** Compresses a stream of bytes; an error of `source` comes out as it is. */
export function encode(source: Bytes, { compression, level }: Codec): AsyncGenerator<Uint8Array> {
  return WAYS[compression].encode(source, level);
}

/**
 * Decompresses what is compressed, and passes on what is not; an error of `source` comes out as it is.
 *
 * @param options `isForeign`: nothing vouches for it that it is as this program writes it.
 * @throws CodecError when it is damaged; UsageError when this runtime cannot read it.
 */
export async function* decode(
  source: Bytes,
  { isForeign }: { isForeign: boolean },
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let beginning = new Uint8Array(0);
  while (beginning.length < BEGINNING_BYTES) {
    const { done, value } = await iterator.next();
    if (done) break;
    beginning = concat([beginning, value]);
  }
  const whole = (async function* () {
    try {
      yield beginning;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  })();
  const way = Object.values(WAYS).find(({ isIt }) => isIt(beginning));
  if (way === undefined) yield* whole;
  else yield* isForeign ? way.decodeForeign(whole) : way.decode(whole);
}
