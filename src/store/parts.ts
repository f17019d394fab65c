/** Cuts a body into the parts of a multipart upload. Bytes of any lengths come in; parts of given sizes go out. */

/** A piece of a body that is sent as one. */
export interface BodyPart {
  /** From 1. */
  number: number;
  /** Valid until the part after the next one is asked for. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Whether the body ends here. */
  last: boolean;
}

const FIRST_BUFFER_BYTES = 64 * 1024;
const PARTS_PER_SIZE = 1000;

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
 * Yields the body's parts, at least one. Two buffers take turns, so that one part can be sent while the next is being
 * filled and memory holds no more than these.
 */
export async function* cutIntoParts(
  body: AsyncIterable<Uint8Array>,
  smallestBytes: number,
): AsyncGenerator<BodyPart, void, undefined> {
  let filling = new Uint8Array(0);
  let resting = new Uint8Array(0);
  let number = 1;
  let filledBytes = 0;
  for await (const bytes of body) {
    for (let start = 0; start < bytes.length;) {
      // A full part waits for the next byte: only then it is not the last one.
      if (filledBytes === partSize(number, smallestBytes)) {
        yield { number, bytes: filling.subarray(0, filledBytes), last: false };
        number++;
        filledBytes = 0;
        [filling, resting] = [resting, filling];
      }
      const limitBytes = partSize(number, smallestBytes);
      const taken = Math.min(bytes.length - start, limitBytes - filledBytes);
      if (filling.length < filledBytes + taken) {
        // Most bodies are much smaller than a part; what has a second part will fill it.
        const wantedBytes = number === 1 ? Math.max(FIRST_BUFFER_BYTES, 2 * filling.length) : limitBytes;
        const larger = new Uint8Array(Math.min(limitBytes, Math.max(wantedBytes, filledBytes + taken)));
        larger.set(filling.subarray(0, filledBytes));
        filling = larger;
      }
      filling.set(bytes.subarray(start, start + taken), filledBytes);
      filledBytes += taken;
      start += taken;
    }
  }
  yield { number, bytes: filling.subarray(0, filledBytes), last: true };
}
