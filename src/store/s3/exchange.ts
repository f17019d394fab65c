/**
 * One conversation with an S3 server, guarded against stalls. In: a signed request. Out: the answer as soon as its headers
 * are there, its body read by and by; or a failure as soon as nothing has moved for too long.
 */
import { isOutOfTime, orAborted } from "../../abort.ts";
import type { Fetch } from "../../trusted_fetch.ts";
import type { S3OpenAnswer, S3Settings } from "./request.ts";

/** A request as it is sent. */
export interface SignedRequest {
  url: URL;
  method: string;
  headers: Headers;
  body: Uint8Array<ArrayBuffer> | null;
}

/** How a conversation has failed. */
export interface ExchangeFailure {
  /** `timeout` where nothing has moved; else `unreachable` before the headers are there, and `cut_off` after them. */
  code: "timeout" | "unreachable" | "cut_off";
  /** What has happened, a clause. */
  text: string;
}

/** What an exchange takes beside the request. */
export interface ExchangeOptions extends Pick<S3Settings, "stallMs" | "uploadBytesPerSecond"> {
  /** @default the platform's */
  fetch?: Fetch | undefined;
  signal: AbortSignal | undefined;
  /** Makes the error that is thrown, or throws another one. */
  explain: (cause: unknown, failure: ExchangeFailure) => Error;
}

/**
 * Sends and receives, and gives up when nothing moves for too long.
 *
 * @throws The signal's reason, or what `explain` makes of a failure; so does reading the answer.
 */
export async function exchange(
  { url, method, headers, body }: SignedRequest,
  { stallMs, uploadBytesPerSecond, fetch = globalThis.fetch, signal, explain }: ExchangeOptions,
): Promise<S3OpenAnswer> {
  const stall = new AbortController();
  const ended = signal === undefined ? stall.signal : AbortSignal.any([signal, stall.signal]);
  /**
   * Waits for a step of the conversation, at most `limitMs`. Not until fetch says that the signal has ended it: in
   * Deno 2.9.6 a read of an answer goes on for ever where the answer's Response was collected before the signal came.
   */
  const within = async <T>(limitMs: number, step: Promise<T>, failure: ExchangeFailure): Promise<T> => {
    const timer = setTimeout(() => stall.abort(), limitMs);
    try {
      return await orAborted(step, ended);
    } catch (cause) {
      if (isOutOfTime(signal)) throw explain(cause, { code: "timeout", text: `no answer from ${url.host} in time` });
      signal?.throwIfAborted();
      if (!stall.signal.aborted) throw explain(cause, failure);
      const text = `no data from ${url.host} for ${Math.round(limitMs / 1000)} seconds`;
      throw explain(cause, { code: "timeout", text });
    } finally {
      clearTimeout(timer);
    }
  };
  const response = await within(
    stallMs + (body?.length ?? 0) * 1000 / uploadBytesPerSecond,
    fetch(url, {
      method,
      headers,
      // A Uint8Array and no stream: S3 answers 501 to a chunked body, which is what Deno makes of a stream.
      body: body === null ? null : uncopied(body),
      redirect: "manual",
      signal: ended,
    }),
    { code: "unreachable", text: `no answer from ${url.host}` },
  );
  const reader = response.body?.getReader();
  return {
    status: response.status,
    headers: response.headers,
    read: async () => {
      if (reader === undefined) return undefined;
      try {
        const failure = { code: "cut_off", text: `the answer of ${url.host} was cut off` } as const;
        const { done, value } = await within(stallMs, reader.read(), failure);
        return done ? undefined : value;
      } catch (error) {
        reader.cancel().catch(() => {}); // Closes the connection, where the signal has not.
        throw error;
      }
    },
    close: () => stall.abort(),
  };
}

/**
 * The same bytes, so that fetch sends them without making a copy. It takes its copy by slice(), which asks the array's
 * species for room; ours offers the very memory that holds the bytes. Nobody changes them before the answer is there.
 *
 * Forty parts of 5 MiB, one after the other, cost 121 MB with the copies, which V8 is slow to collect, and 55 MB
 * without (Deno 2.9.6). A runtime that copies in another way makes its copy.
 *
 * @see https://tc39.es/ecma262/#sec-%typedarray%.prototype.slice
 */
function uncopied(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const same = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const species = function () {
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  };
  Object.defineProperty(same, "constructor", { value: { [Symbol.species]: species } });
  return same;
}
