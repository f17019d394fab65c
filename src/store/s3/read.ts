/**
 * Reads an object as a stream, to the byte that its length announces. When the connection breaks, reading goes on
 * behind the last byte that came, as long as the object is still the same.
 */
import { counted } from "../../counts.ts";
import { isTransient, StoreError } from "../../errors.ts";
import type { S3Client } from "./client.ts";
import type { S3OpenAnswer } from "./request.ts";
import { describeSubject, strangeAnswer } from "./error.ts";

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
  const open = async (headers: Record<string, string> = {}) =>
    withoutGzip(await client.open({ ...request, headers }, signal));
  let answer: S3OpenAnswer | undefined = await client.retrying(() => open(), signal);
  const etag = answer.headers.get("etag");
  const announced = lengthOf(answer.headers);
  let sizeBytes: number;
  try {
    // A success of another kind is not the object: 204 has no bytes, 206 has some of them.
    if (answer.status !== 200) throw strangeAnswer(client, key, `"200", but "${answer.status}"`, "read");
    sizeBytes = announced ?? await askLength(client, key, signal);
  } catch (error) {
    answer.close();
    throw error;
  }
  let position = 0;
  let failures = 0;

  const resume = async (): Promise<S3OpenAnswer> => {
    const headers = { range: `bytes=${position}-`, ...(etag === null ? {} : { "if-match": etag }) };
    const resumed = await open(headers);
    const range = `bytes ${position}-${sizeBytes - 1}/${sizeBytes}`;
    if (resumed.status === 206 && resumed.headers.get("content-range") === range) return resumed;
    resumed.close();
    throw new StoreError(`${subject}: asked for the bytes from ${position}, but S3 sent others`, {
      code: "changed",
      key,
    });
  };

  const tooLong = () => {
    answer?.close();
    return new StoreError(`${subject}: more than its ${counted(sizeBytes, "byte")} were received`, {
      code: "strange_answer",
      key,
    }, {
      hint:
        "Where it was stored with a Content-Encoding, which the store undoes, copy it onto itself without that header",
    });
  };

  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    while (position < sizeBytes) {
      try {
        signal?.throwIfAborted();
        answer ??= await resume();
        const bytes = await answer.read();
        if (bytes === undefined) {
          throw new StoreError(`${subject}: it ended after ${position} of ${counted(sizeBytes, "byte")}`, {
            code: "cut_off",
            key,
          });
        }
        if (bytes.length === 0) continue;
        if (bytes.length > sizeBytes - position) throw tooLong();
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
          throw new StoreError(`${subject}: it was replaced while it was read`, facts, { cause: error });
        }
        failures++;
        if (failures >= client.settings.attempts || !isTransient(error)) throw error;
        await client.wait(failures, error, signal);
      }
    }
    // Without a length nobody else has seen to it that nothing is left.
    if (announced === undefined && await answer?.read() !== undefined) throw tooLong();
    answer?.close();
    controller.close();
  };
  return new ReadableStream<Uint8Array>({ pull, cancel: () => answer?.close() }, { highWaterMark: 0 });
}

/** The length that an answer announces; undefined where it has none, or that of something else. */
export function lengthOf(headers: Headers): number | undefined {
  const length = headers.get("content-length");
  return length !== null && /^\d+$/.test(length) ? Number(length) : undefined;
}

/** An object's length where the answer with its bytes does not say it. */
async function askLength(client: S3Client, key: string, signal: AbortSignal | undefined): Promise<number> {
  const { headers } = await client.send({ method: "HEAD", action: "look at", right: "s3:GetObject", key }, signal);
  const length = lengthOf(headers);
  if (length === undefined) throw strangeAnswer(client, key, "its length", "read");
  return length;
}

/**
 * An answer's bytes as they lie in the store. One that was gzipped on its way, although that was not asked for, has no
 * length of its own. An object that was stored with a Content-Encoding has one, and is left as it is.
 */
function withoutGzip(answer: S3OpenAnswer): S3OpenAnswer {
  const encoding = answer.headers.get("content-encoding")?.toLowerCase();
  if ((encoding !== "gzip" && encoding !== "x-gzip") || lengthOf(answer.headers) !== undefined) return answer;
  let failure: unknown;
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const bytes = await answer.read();
        if (bytes === undefined) controller.close();
        else controller.enqueue(bytes as Uint8Array<ArrayBuffer>);
      } catch (error) {
        failure = error;
        controller.error(error);
      }
    },
  }, { highWaterMark: 0 });
  const reader = source.pipeThrough(new DecompressionStream("gzip")).getReader();
  return {
    ...answer,
    async read() {
      try {
        return (await reader.read()).value;
      } catch (error) {
        if (failure !== undefined) throw failure;
        throw new StoreError("Cannot read what was gzipped on its way: it is damaged or was cut off", {
          code: "cut_off",
        }, { cause: error });
      }
    },
  };
}
