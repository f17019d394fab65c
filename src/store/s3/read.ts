/**
 * Reads an object as a stream, to the byte that its length announces. When the connection breaks, reading goes on
 * after the last byte that came, as long as the object is still the same.
 */
import { counted } from "../../counts.ts";
import { StoreError } from "../../errors.ts";
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
  const reader = await ObjectReader.open(client, key, signal);
  return new ReadableStream<Uint8Array>(
    { pull: (controller) => reader.pull(controller), cancel: () => reader.close() },
    { highWaterMark: 0 },
  );
}

/** What is known of an object when the first answer is there. */
interface OpenObject {
  client: S3Client;
  key: string;
  signal: AbortSignal | undefined;
  sizeBytes: number;
  /** The answer has said how long it is: then the runtime has seen to it that no more comes. */
  isAnnounced: boolean;
  etag: string | null;
}

/** The reading of one object, over as many answers as that takes. */
class ObjectReader {
  readonly #object: OpenObject;
  /** `Cannot read "key" in "s3://…"`. */
  readonly #subject: string;
  /** Undefined where the last one broke. */
  #answer: S3OpenAnswer | undefined;
  #position = 0;
  /** Failures since the last bytes. */
  #failures = 0;

  private constructor(object: OpenObject, answer: S3OpenAnswer) {
    const { client, key } = object;
    this.#object = object;
    this.#subject = describeSubject({ action: "read", key, url: client.url });
    this.#answer = answer;
  }

  static async open(client: S3Client, key: string, signal: AbortSignal | undefined): Promise<ObjectReader> {
    const answer = await client.retrying(() => ask(client, key, { signal }), signal);
    try {
      // A success of another kind is not the object: 204 has no bytes, 206 has some of them.
      if (answer.status !== 200) throw strangeAnswer(client, key, `"200", but "${answer.status}"`, "read");
      const announced = lengthOf(answer.headers);
      const sizeBytes = announced ?? await askLength(client, key, signal);
      const etag = answer.headers.get("etag");
      return new ObjectReader({ client, key, signal, sizeBytes, isAnnounced: announced !== undefined, etag }, answer);
    } catch (error) {
      answer.close();
      throw error;
    }
  }

  close(): void {
    this.#answer?.close();
  }

  /** Gives the next bytes, or ends the stream. */
  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    const { sizeBytes, isAnnounced } = this.#object;
    while (this.#position < sizeBytes) {
      try {
        const bytes = await this.#next();
        if (bytes.length === 0) continue;
        this.#position += bytes.length;
        this.#failures = 0;
        controller.enqueue(bytes);
        return;
      } catch (error) {
        await this.#recover(error);
      }
    }
    // Without a length nobody else has seen to it that nothing is left.
    if (!isAnnounced && await this.#answer?.read() !== undefined) throw this.#tooLong();
    this.close();
    controller.close();
  }

  async #next(): Promise<Uint8Array> {
    const { key, signal, sizeBytes } = this.#object;
    signal?.throwIfAborted();
    this.#answer ??= await this.#resume();
    const bytes = await this.#answer.read();
    if (bytes === undefined) {
      throw new StoreError(`${this.#subject}: it ended after ${this.#position} of ${counted(sizeBytes, "byte")}`, {
        code: "cut_off",
        key,
      });
    }
    if (bytes.length > sizeBytes - this.#position) throw this.#tooLong();
    return bytes;
  }

  /** Waits, so that the rest can be asked for. @throws The error where that cannot help. */
  async #recover(error: unknown): Promise<void> {
    const { client, key, signal } = this.#object;
    this.close();
    this.#answer = undefined;
    if (error instanceof StoreError && error.facts.code === "PreconditionFailed") {
      const facts = { code: "changed", key };
      throw new StoreError(`${this.#subject}: it was replaced while it was read`, facts, { cause: error });
    }
    await client.waitAfter(++this.#failures, error, signal);
  }

  /** Asks for the bytes that have not come, of the very object. */
  async #resume(): Promise<S3OpenAnswer> {
    const { client, key, signal, sizeBytes, etag } = this.#object;
    const position = this.#position;
    const headers = { range: `bytes=${position}-`, ...(etag === null ? {} : { "if-match": etag }) };
    const resumed = await ask(client, key, { headers, signal });
    const range = `bytes ${position}-${sizeBytes - 1}/${sizeBytes}`;
    if (resumed.status === 206 && resumed.headers.get("content-range") === range) return resumed;
    resumed.close();
    throw new StoreError(`${this.#subject}: asked for the bytes from ${position}, but S3 sent others`, {
      code: "changed",
      key,
    });
  }

  #tooLong(): StoreError {
    const { key, sizeBytes } = this.#object;
    this.close();
    return new StoreError(`${this.#subject}: more than its ${counted(sizeBytes, "byte")} were received`, {
      code: "strange_answer",
      key,
    }, {
      hint:
        "Where it was stored with a Content-Encoding, which the store undoes, copy it onto itself without that header",
    });
  }
}

async function ask(
  client: S3Client,
  key: string,
  { headers = {}, signal }: { headers?: Record<string, string>; signal: AbortSignal | undefined },
): Promise<S3OpenAnswer> {
  const request = { method: "GET", action: "read", right: "s3:GetObject", key, headers } as const;
  return withoutGzip(await client.open(request, signal));
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
