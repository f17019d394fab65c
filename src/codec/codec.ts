/**
 * The one way in and out of compression and encryption: chunks are written as the config says, and read as their first
 * bytes say. In goes a stream of bytes, out comes another; a piece that goes in may be overwritten once the next one is
 * asked for.
 */
import { concat } from "../concat.ts";
import { UsageError } from "../errors.ts";
import { isAge, MAGIC_BYTES, seal, unseal } from "./age.ts";
import { sealHeader } from "./age_header.ts";
import type { Codec, Compression } from "./compression.ts";
import { CodecError } from "./error.ts";
import { gunzip, gzip } from "./gzip.ts";
import { gunzipMembers } from "./gzip_members.ts";
import { lacksZstd, unzstd, unzstdForeign, zstd } from "./zstd.ts";
import { isZstd } from "./zstd_parts.ts";

type Bytes = AsyncIterable<Uint8Array>;

/** A way to compress. */
interface Way {
  /** Whether bytes, some twenty of them if there are as many, are such a beginning. */
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
/** How many bytes it takes to recognise a format. */
const BEGINNING_BYTES = MAGIC_BYTES.length;

/** Whether bytes are gzip's. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** To be called before a run begins. @throws UsageError if this runtime lacks the compression. */
export function requireCodec({ compression }: Codec): void {
  const lack = WAYS[compression].lack();
  if (lack === undefined) return;
  throw new UsageError(`Cannot compress with ${compression}: ${lack.message}`, { hint: lack.hint });
}

/**
 * Encrypts an empty stream to the recipients, if there are any. To be called before a run begins, so that a bad key
 * stops it at once.
 *
 * @throws UsageError if nothing can be encrypted to them.
 */
export async function requireSeal({ recipients }: Codec): Promise<void> {
  if (recipients === undefined) return;
  try {
    await sealHeader(recipients);
  } catch (error) {
    throw new UsageError(`Cannot seal to ${recipients.join(", ") || "nobody"}, as encrypt_to says`, {
      cause: error,
      hint: 'The keys must be those that "age-keygen" prints, age1…',
    });
  }
}

/** Compresses a stream of bytes, and encrypts it if there are recipients; an error of `source` comes out as it is. */
export function encode(source: Bytes, { compression, level, recipients }: Codec): AsyncGenerator<Uint8Array> {
  const compressed = WAYS[compression].encode(source, level);
  return recipients === undefined ? compressed : seal(compressed, recipients);
}

/** What {@linkcode decode} needs to know about the bytes. */
export interface DecodeOptions {
  /** Nothing vouches for it that it is as this program writes it. */
  isForeign: boolean;
  /** What opens it where it is sealed. @default nothing does */
  identities?: readonly string[] | undefined;
  /** It says that it is sealed, so that anything else is damage. @default false */
  mustBeSealed?: boolean | undefined;
}

/**
 * Decrypts what is encrypted, decompresses what is compressed, and passes on what is neither; an error of `source`
 * comes out as it is.
 *
 * @throws CodecError if the bytes are damaged, or no identity opens them; UsageError if this runtime lacks the
 * compression, or the bytes are encrypted and there is no identity.
 */
export async function* decode(
  source: Bytes,
  { isForeign, identities = [], mustBeSealed = false }: DecodeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { whole, beginning, drop } = await peek(source);
  const isSealed = isAge(beginning);
  if (isSealed ? identities.length === 0 : mustBeSealed) {
    await drop();
    throw isSealed ? identityNeeded("It") : new CodecError("It is not sealed, and its name says that it is");
  }
  yield* decompress(isSealed ? await peek(unseal(whole, identities)) : { whole, beginning }, isForeign);
}

/** The error for encrypted bytes where no identity is configured. @param subject Begins the sentence. */
export function identityNeeded(subject: string, recipients: readonly string[] = []): UsageError {
  const to = recipients.length === 0 ? "" : ` to ${recipients.join(", ")}`;
  return new UsageError(`${subject} is sealed${to}: an identity of age opens it, and none is given`, {
    hint:
      "Give the file with the secret key, --identity FILE, or name it in the config: identity_file or identity_secret",
  });
}

/** A stream of bytes, and its first ones. */
interface Peeked {
  whole: Bytes;
  beginning: Uint8Array;
}

function decompress({ whole, beginning }: Peeked, isForeign: boolean): Bytes {
  const way = Object.values(WAYS).find(({ isIt }) => isIt(beginning));
  if (way === undefined) return whole;
  return isForeign ? way.decodeForeign(whole) : way.decode(whole);
}

async function peek(source: Bytes): Promise<Peeked & { drop: () => Promise<void> }> {
  const iterator = source[Symbol.asyncIterator]();
  let beginning: Uint8Array = new Uint8Array(0);
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
  return { whole, beginning, drop: async () => void await iterator.return?.() };
}
