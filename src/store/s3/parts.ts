/**
 * Cuts a body into the parts of an upload, and bounds the memory that parts take. Bytes of any lengths come in; parts
 * of given sizes go out.
 */
import { orAborted } from "../../abort.ts";
import { StoreError } from "../../errors.ts";

/** A piece of a body that is sent as one. */
export interface BodyPart {
  /** From 1. */
  number: number;
  /** Lies in a buffer of a {@linkcode PartMemory}, to be given back once it is sent. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Whether the body ends here. */
  last: boolean;
}

/**
 * What a body begins in, and what it moves into before it takes a whole part: most are small, V8 collects its whole heap
 * when it has made some such parts, and a task has dozens of small bodies in hand.
 */
const SMALL_BYTES = [16 << 10, 256 << 10];

/** Sizes of parts that grow, each twice the one before. */
const SIZES = 10;
/** As many as a backup with four requests in flight has chunks in hand; of large ones half as many. */
const BUFFERS_KEPT = 8;
/** What is being sent at once, in parts: one of full size, or several smaller bodies. */
const PARTS_SENT_AT_ONCE = 1.6;

/** What parts a store takes. */
export interface PartRules {
  /** The size of the first parts. */
  smallestBytes: number;
  /** Whether all parts have that size. @default false */
  equal?: boolean | undefined;
  /** The most parts of one body. @default 10000, S3's limit */
  maxParts?: number | undefined;
}

/** @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const MAX_PARTS = 10_000;

/**
 * The size of part `number`: doubled after each tenth of the parts that are allowed, or always the same. So an object
 * of up to 5 GiB gets by with the smallest parts, and the ten thousand that S3 allows hold 4.8 TiB.
 */
export function partSize(number: number, rules: PartRules): number {
  const { smallestBytes, equal = false, maxParts = MAX_PARTS } = rules;
  return equal ? smallestBytes : smallestBytes * 2 ** Math.floor((number - 1) / Math.ceil(maxParts / SIZES));
}

/** The largest body that the parts hold together. */
export function mostBytes(rules: PartRules): number {
  const { maxParts = MAX_PARTS } = rules;
  let sum = 0;
  for (let number = 1; number <= maxParts; number++) sum += partSize(number, rules);
  return sum;
}

/**
 * The memory of all parts of one store. Buffers are used again, because V8 is slow to collect large ones; and as each
 * part that is being sent lies in memory twice, in its buffer and in the runtime's, full ones are sent one at a time.
 * So four writers of large objects take 30 MiB: a part being filled each, one being sent and its copy.
 */
export class PartMemory {
  readonly rules: PartRules;
  readonly smallestBytes: number;
  readonly #free: ArrayBuffer[] = [];
  /** In the order in which they came. */
  readonly #waiting = new Set<{ sizeBytes: number; admit: () => void }>();
  #sendingBytes = 0;

  constructor(rules: PartRules) {
    this.rules = rules;
    this.smallestBytes = rules.smallestBytes;
  }

  /**
   * A buffer for part `number`, of its size; for the first part of a body a smaller one, where that holds more than
   * `moreThan` bytes.
   */
  take(number: number, { moreThan = 0 }: { moreThan?: number } = {}): Uint8Array<ArrayBuffer> {
    const sizeBytes = partSize(number, this.rules);
    const small = number > 1 ? undefined : SMALL_BYTES.find((bytes) => moreThan < bytes && bytes < sizeBytes);
    if (small !== undefined) return new Uint8Array(small);
    const kept = sizeBytes === this.smallestBytes ? this.#free.pop() : undefined;
    return kept === undefined ? new Uint8Array(sizeBytes) : new Uint8Array(kept);
  }

  /** Takes a buffer back that nothing reads any more: not one whose sending was broken off. */
  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    if (buffer.byteLength === this.smallestBytes && this.#free.length < BUFFERS_KEPT) this.#free.push(buffer);
  }

  /**
   * Waits until `sizeBytes` can be sent, and until all have been let in that came before. A part that is larger than
   * all the room waits to be alone.
   *
   * @returns Says that they are sent, or not any more.
   * @throws The signal's reason.
   */
  async enter(sizeBytes: number, signal: AbortSignal | undefined): Promise<() => void> {
    if (this.#waiting.size === 0 && this.#fits(sizeBytes)) this.#sendingBytes += sizeBytes;
    else await this.#turn(sizeBytes, signal);
    return () => this.#leave(sizeBytes);
  }

  async #turn(sizeBytes: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise: admitted, resolve: admit } = Promise.withResolvers<void>();
    const one = { sizeBytes, admit };
    this.#waiting.add(one);
    try {
      await orAborted(admitted, signal);
    } catch (error) {
      // It may have been let in at the very moment.
      this.#leave(this.#waiting.delete(one) ? 0 : sizeBytes);
      throw error;
    }
  }

  #leave(sizeBytes: number): void {
    this.#sendingBytes -= sizeBytes;
    // Nobody overtakes the first: small bodies would keep a full part waiting for ever.
    for (const one of this.#waiting) {
      if (!this.#fits(one.sizeBytes)) return;
      this.#waiting.delete(one);
      this.#sendingBytes += one.sizeBytes;
      one.admit();
    }
  }

  #fits(sizeBytes: number): boolean {
    return this.#sendingBytes === 0 || this.#sendingBytes + sizeBytes <= PARTS_SENT_AT_ONCE * this.smallestBytes;
  }
}

/**
 * Yields the body's parts, at least one. The next buffer is taken when the next part is asked for, no earlier.
 *
 * @throws StoreError with code `too_large` where the body does not fit into the parts that are allowed.
 */
export async function* cutIntoParts(
  body: AsyncIterable<Uint8Array>,
  memory: PartMemory,
): AsyncGenerator<BodyPart, void, undefined> {
  let number = 1;
  let buffer = memory.take(number);
  let filledBytes = 0;
  for await (const bytes of body) {
    for (let start = 0; start < bytes.length;) {
      if (filledBytes === buffer.length && filledBytes < partSize(number, memory.rules)) {
        const larger = memory.take(number, { moreThan: filledBytes });
        larger.set(buffer);
        buffer = larger;
      }
      // A full part waits for the next byte: only then it is not the last one.
      if (filledBytes === buffer.length) {
        if (number === (memory.rules.maxParts ?? MAX_PARTS)) throw tooLarge(memory.rules);
        yield { number, bytes: buffer, last: false };
        number++;
        buffer = memory.take(number);
        filledBytes = 0;
      }
      const taken = Math.min(bytes.length - start, buffer.length - filledBytes);
      buffer.set(bytes.subarray(start, start + taken), filledBytes);
      filledBytes += taken;
      start += taken;
    }
  }
  yield { number, bytes: buffer.subarray(0, filledBytes), last: true };
}

function tooLarge(rules: PartRules): StoreError {
  const mebibytes = (bytes: number) => `${Math.floor(bytes / 1024 / 1024)} MiB`;
  return new StoreError(
    `Cannot store an object of more than ${mebibytes(mostBytes(rules))}: ${rules.maxParts ?? MAX_PARTS} parts ${
      rules.equal ? `of ${mebibytes(rules.smallestBytes)} each` : `from ${mebibytes(rules.smallestBytes)} on`
    } hold no more`,
    { code: "too_large" },
    {
      hint:
        "Raise part_size, or set chunk or chunk_bytes for the task, so that a database is stored in several objects",
    },
  );
}
