/**
 * The door: how chunks are compressed and sealed, and how whatever is so is read, recognised by its first bytes. In goes a
 * stream of bytes, out comes another; bytes to be compressed may be written over as soon as the next ones are asked for.
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
/** So many bytes tell what something is. */
const BEGINNING_BYTES = MAGIC_BYTES.length;

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

/**
 * Seals nothing to the recipients, where there are any: whether it can be done must be known before anything is asked of
 * anybody.
 *
 * @throws UsageError where nothing can be sealed to them.
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

/** Compresses a stream of bytes, and seals it where there are recipients; an error of `source` comes out as it is. */
export function encode(source: Bytes, { compression, level, recipients }: Codec): AsyncGenerator<Uint8Array> {
  const compressed = WAYS[compression].encode(source, level);
  return recipients === undefined ? compressed : seal(compressed, recipients);
}

/** What {@linkcode decode} is told of the bytes. */
export interface DecodeOptions {
  /** Nothing vouches for it that it is as this program writes it. */
  isForeign: boolean;
  /** What opens it where it is sealed. @default nothing does */
  identities?: readonly string[] | undefined;
  /** It says that it is sealed, so that anything else is damage. @default false */
  mustBeSealed?: boolean | undefined;
}

/**
 * Opens what is sealed, decompresses what is compressed, and passes on what is neither; an error of `source` comes out as
 * it is.
 *
 * @throws CodecError when it is damaged, or none of the identities opens it; UsageError when this runtime cannot read it,
 * or it is sealed and there is no identity.
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

/** What to say where something is sealed and nobody has said what opens it. @param subject Begins the sentence. */
export function identityNeeded(subject: string, recipients: readonly string[] = []): UsageError {
  const to = recipients.length === 0 ? "" : ` to ${recipients.join(", ")}`;
  return new UsageError(`${subject} is sealed${to}: an identity of age opens it, and none is given`, {
    hint: "Give the file with the secret key, --identity FILE, or name it in the config as identity_file",
  });
}

/** A stream of bytes, and how it begins. */
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
