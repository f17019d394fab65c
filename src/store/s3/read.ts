/**
 * Reads an object: in goes a key, out comes a stream of bytes. When the connection breaks, reading goes on behind the
 * last byte that came, as long as the object is still the same.
 */
import { isTransient, StoreError } from "../../errors.ts";
import type { S3Client } from "./client.ts";
import type { S3OpenAnswer } from "./exchange.ts";
import { describeSubject } from "./error.ts";

/**
 * Opens the object under `key`; its bytes are asked for as they are read.
 *
 * @throws StoreError with code `not_found`; from the stream with `cut_off`, `timeout` or `unreachable` when it broke
 * and could not be resumed, and with `changed` when another object took its place meanwhile.
 */
export async function readObject(
  client: S3Client,
  key: string,
  signal: AbortSignal | undefined,
): Promise<ReadableStream<Uint8Array>> {
  const request = { method: "GET", action: "read", right: "s3:GetObject", key } as const;
  const subject = describeSubject({ action: "read", key, url: client.url });
  let answer: S3OpenAnswer | undefined = await client.retrying(() => client.open(request, signal), signal);
  const etag = answer.headers.get("etag");
  const announced = answer.headers.get("content-length");
  if (announced === null) {
    answer.close();
    // fetch decompresses an object that was stored with Content-Encoding, and then hides its length.
    throw new StoreError(`${subject}: S3 does not say its length`, { code: "no_length", key }, {
      hint:
        "Where it was stored with a Content-Encoding, copy it onto itself without (aws s3 cp --content-encoding '')",
    });
  }
  const sizeBytes = Number(announced);
  let position = 0;
  let failures = 0;

  const resume = async (): Promise<S3OpenAnswer> => {
    const headers = { range: `bytes=${position}-`, ...(etag === null ? {} : { "if-match": etag }) };
    const resumed = await client.open({ ...request, headers }, signal);
    const range = `bytes ${position}-${sizeBytes - 1}/${sizeBytes}`;
    if (resumed.status === 206 && resumed.headers.get("content-range") === range) return resumed;
    resumed.close();
    throw new StoreError(`${subject}: asked for the bytes from ${position}, S3 sent others`, { code: "changed", key });
  };

  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    while (position < sizeBytes) {
      try {
        signal?.throwIfAborted();
        answer ??= await resume();
        const bytes = await answer.read();
        if (bytes === undefined) {
          throw new StoreError(`${subject}: it ended after ${position} of ${sizeBytes} bytes`, {
            code: "cut_off",
            key,
          });
        }
        if (bytes.length === 0) continue;
        position += bytes.length;
        failures = 0;
        controller.enqueue(bytes);
        return;
      } catch (error) {
        signal?.throwIfAborted();
        answer?.close();
        answer = undefined;
        if (error instanceof StoreError && error.facts.code === "PreconditionFailed") {
          const facts = { code: "changed", key };
          throw new StoreError(`${subject}: another object took its place meanwhile`, facts, { cause: error });
        }
        failures++;
        if (failures >= client.settings.attempts || !isTransient(error)) throw error;
        await client.wait(failures, error, signal);
      }
    }
    answer?.close();
    controller.close();
  };
  return new ReadableStream<Uint8Array>({ pull, cancel: () => answer?.close() }, { highWaterMark: 0 });
}
