/**
 * Encrypts to public keys, and decrypts, in the age format (age-encryption.org/v1), so that the command `age` reads
 * what this writes and the other way round. In goes a stream of bytes, out comes another; nothing comes out before it
 * is authenticated. The payload is encrypted here, with node:crypto: the age package takes seven times as long.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { concat } from "../concat.ts";
import { giveBlock, takeBlock } from "./blocks.ts";
import { AGE_MAGIC, AgeError, headerEnd, MOST_HEADER_BYTES, openHeader, sealHeader } from "./age_header.ts";

const BLOCK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const NONCE_BYTES = 16;
const CIPHER = "chacha20-poly1305";
/** What every age file begins with. */
export const MAGIC_BYTES: Uint8Array = new TextEncoder().encode(AGE_MAGIC);

/** Whether bytes, 22 of them if there are as many, are an age file's. */
export function isAge(bytes: Uint8Array): boolean {
  return bytes.length >= MAGIC_BYTES.length && MAGIC_BYTES.every((byte, at) => bytes[at] === byte);
}

/** Seals a stream of bytes to recipients; an error of `source` comes out as it is. */
export async function* seal(
  source: AsyncIterable<Uint8Array>,
  recipients: readonly string[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const { header, fileKey } = await sealHeader(recipients);
  const nonce = randomBytes(NONCE_BYTES);
  yield concat([header, nonce]);
  const blocks = new Blocks(fileKey, nonce);
  // A block is the last one if nothing follows it, so each is held until the next one is there.
  const block = takeBlock(BLOCK_BYTES);
  let used = 0;
  try {
    for await (const bytes of source) {
      for (let from = 0; from < bytes.length;) {
        if (used === BLOCK_BYTES) {
          yield blocks.seal(block, false);
          used = 0;
        }
        const part = bytes.subarray(from, from + BLOCK_BYTES - used);
        block.set(part, used);
        used += part.length;
        from += part.length;
      }
    }
    yield blocks.seal(block.subarray(0, used), true);
  } finally {
    giveBlock(block);
  }
}

/**
 * Decrypts a stream of bytes; an error of `source` comes out as it is. Each block that comes out is authentic and in
 * its place. Whether the stream was cut off is known only at its end.
 *
 * @throws AgeError when it was changed or cut off, or when none of the identities opens it.
 */
export async function* unseal(
  source: AsyncIterable<Uint8Array>,
  identities: readonly string[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  const block = takeBlock(BLOCK_BYTES + TAG_BYTES);
  try {
    let ahead: Uint8Array = new Uint8Array(0);
    let end: number | undefined;
    while ((end = headerEnd(ahead)) === undefined || ahead.length < end + NONCE_BYTES) {
      if (ahead.length > MOST_HEADER_BYTES) throw new AgeError("Its header does not end");
      const { done, value } = await iterator.next();
      if (done) throw new AgeError("It ends within its header");
      ahead = concat([ahead, value]);
    }
    if (!isAge(ahead)) throw new AgeError("It is not sealed by age");
    const fileKey = await openHeader(ahead.slice(0, end), identities);
    const blocks = new Blocks(fileKey, ahead.slice(end, end + NONCE_BYTES));
    let used = 0;
    let isFirst = true;
    let bytes = ahead.subarray(end + NONCE_BYTES);
    for (;;) {
      for (let from = 0; from < bytes.length;) {
        if (used === block.length) {
          yield blocks.open(block, false);
          isFirst = false;
          used = 0;
        }
        const part = bytes.subarray(from, from + block.length - used);
        block.set(part, used);
        used += part.length;
        from += part.length;
      }
      const { done, value } = await iterator.next();
      if (done) break;
      bytes = value;
    }
    const last = blocks.open(block.subarray(0, used), true);
    if (last.length === 0 && !isFirst) throw new AgeError("Its last block is empty");
    if (last.length > 0) yield last;
  } finally {
    giveBlock(block);
    await iterator.return?.();
  }
}

/** The blocks of one payload, each with a nonce of its own: its number, and whether it is the last one. */
class Blocks {
  readonly #key: Uint8Array;
  readonly #nonce: Uint8Array = new Uint8Array(12);

  constructor(fileKey: Uint8Array, nonce: Uint8Array) {
    this.#key = new Uint8Array(hkdfSync("sha256", fileKey, nonce, "payload", 32));
  }

  seal(block: Uint8Array, isLast: boolean): Uint8Array {
    const cipher = createCipheriv(CIPHER, this.#key, this.#next(isLast), { authTagLength: TAG_BYTES });
    return concat([cipher.update(block), cipher.final(), cipher.getAuthTag()]);
  }

  open(block: Uint8Array, isLast: boolean): Uint8Array {
    if (block.length < TAG_BYTES) throw new AgeError("It ends within a block");
    const cipher = createDecipheriv(CIPHER, this.#key, this.#next(isLast), { authTagLength: TAG_BYTES });
    cipher.setAuthTag(block.slice(-TAG_BYTES));
    try {
      return concat([cipher.update(block.subarray(0, -TAG_BYTES)), cipher.final()]);
    } catch (error) {
      throw new AgeError("A block is not as it was sealed: it was changed, or the end is missing", { cause: error });
    }
  }

  #next(isLast: boolean): Uint8Array {
    const nonce = Uint8Array.from(this.#nonce);
    nonce[11] = isLast ? 1 : 0;
    for (let at = 10; at >= 0; at--) {
      this.#nonce[at]!++;
      if (this.#nonce[at] !== 0) break;
    }
    return nonce;
  }
}
