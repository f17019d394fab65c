/**
 * Cuts a body into the parts of an upload, and bounds the memory that parts take. Bytes of any lengths come in; parts of
 * given sizes go out.
 */
import { orAborted } from "../../abort.ts";

/** A piece of a body that is sent as one. */
export interface BodyPart {
  /** From 1. */
  number: number;
  /** Lies in a buffer of a {@linkcode PartMemory}, to be given back once it is sent. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Whether the body ends here. */
  last: boolean;
}

const PARTS_PER_SIZE = 1000;
const BUFFERS_KEPT = 4;
/** What is being sent at once, in parts: one of full size, or several smaller bodies. */
const PARTS_SENT_AT_ONCE = 1.6;

/**
 * The size of part `number`: doubled after each thousand parts. So an object of up to 5 GiB gets by with the smallest
 * parts, and the ten thousand that S3 allows hold 4.8 TiB.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
 */
export function partSize(number: number, smallestBytes: number): number {
  return smallestBytes * 2 ** Math.floor((number - 1) / PARTS_PER_SIZE);
}

/**
 * The memory of all parts of one store. Buffers are used again, because V8 is slow to collect large ones; and as each
 * part that is being sent lies in memory twice, in its buffer and in the runtime's, full ones are sent one at a time.
 * So four writers of large objects take 30 MiB: a part being filled each, one being sent and its copy.
 */
export class PartMemory {
  readonly smallestBytes: number;
  readonly #free: ArrayBuffer[] = [];
  readonly #waiting = new Set<() => void>();
  #sendingBytes = 0;

  /** @param smallestBytes The size of the first parts. */
  constructor(smallestBytes: number) {
    this.smallestBytes = smallestBytes;
  }

  /** A buffer for part `number`, of its size. */
  take(number: number): Uint8Array<ArrayBuffer> {
    const sizeBytes = partSize(number, this.smallestBytes);
    const kept = sizeBytes === this.smallestBytes ? this.#free.pop() : undefined;
    return kept === undefined ? new Uint8Array(sizeBytes) : new Uint8Array(kept);
  }

  /** Takes a buffer back that nothing reads any more: not one whose sending was broken off. */
  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    if (buffer.byteLength === this.smallestBytes && this.#free.length < BUFFERS_KEPT) this.#free.push(buffer);
  }

  /**
   * Waits until `sizeBytes` can be sent. A part that is larger than all the room waits to be alone.
   *
   * @returns Says that they are sent, or not any more.
   */
  async enter(sizeBytes: number, signal: AbortSignal | undefined): Promise<() => void> {
    const room = PARTS_SENT_AT_ONCE * this.smallestBytes;
    while (this.#sendingBytes > 0 && this.#sendingBytes + sizeBytes > room) {
      await orAborted(new Promise<void>((resolve) => this.#waiting.add(resolve)), signal);
    }
    this.#sendingBytes += sizeBytes;
    return () => {
      this.#sendingBytes -= sizeBytes;
      const waiting = [...this.#waiting];
      this.#waiting.clear();
      for (const wake of waiting) wake();
    };
  }
}

/** Yields the body's parts, at least one. The next buffer is taken when the next part is asked for, no earlier. */
export async function* cutIntoParts(
  body: AsyncIterable<Uint8Array>,
  memory: PartMemory,
): AsyncGenerator<BodyPart, void, undefined> {
  let number = 1;
  let buffer = memory.take(number);
  let filledBytes = 0;
  for await (const bytes of body) {
    for (let start = 0; start < bytes.length;) {
      // A full part waits for the next byte: only then it is not the last one.
      if (filledBytes === buffer.length) {
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
