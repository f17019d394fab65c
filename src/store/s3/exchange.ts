/**
 * One exchange with S3 over HTTP. In: a request that is signed already. Out: its answer, of whatever status, whose body is
 * read by and by; or an error where nothing moves for too long or the connection breaks.
 */
import { StoreError } from "../../errors.ts";
import { describeSubject, type S3Subject } from "./error.ts";

/** How long S3 may be silent. */
export interface Patience {
  /** How long S3 may show no sign of life. @default 60000 */
  stallMs: number;
  /** The slowest uplink; a body gets this much time beside `stallMs`, as fetch reports no progress. @default 32 KiB */
  uploadBytesPerSecond: number;
}

/** An answer that is read to its end. */
export interface S3Answer {
  status: number;
  headers: Headers;
  body: string;
}

/** An answer whose body is read by and by. */
export interface S3OpenAnswer {
  status: number;
  headers: Headers;
  /** The next bytes, undefined at the end. @throws StoreError with code `timeout` or `cut_off` */
  read(): Promise<Uint8Array | undefined>;
  /** Ends the conversation. */
  close(): void;
}

/**
 * Sends a request and receives its answer, and gives up when nothing moves for too long.
 *
 * @throws StoreError with code `timeout`, `unreachable` or `cut_off`; the signal's reason.
 */
export async function exchange(
  sent: { url: URL; method: string; headers: Headers; body: Uint8Array<ArrayBuffer> | null },
  subject: Pick<S3Subject, "action" | "key" | "url">,
  options: Patience & { signal: AbortSignal | undefined },
): Promise<S3OpenAnswer> {
  const { stallMs, uploadBytesPerSecond, signal } = options;
  const { url, method, headers, body } = sent;
  const stall = new AbortController();
  /** Waits for a step of the conversation, at most `limitMs`. */
  const within = async <T>(
    limitMs: number,
    step: Promise<T>,
    failure: { code: string; text: string },
  ): Promise<T> => {
    const timer = setTimeout(() => stall.abort(), limitMs);
    try {
      return await step;
    } catch (cause) {
      signal?.throwIfAborted();
      const isStall = stall.signal.aborted;
      throw new StoreError(
        `${describeSubject(subject)}: ${
          isStall ? `no sign of life from ${url.host} for ${Math.round(limitMs / 1000)} seconds` : failure.text
        }`,
        { code: isStall ? "timeout" : failure.code, key: subject.key },
        { cause, hint: `Check network, DNS, proxy and firewall between this machine and ${url.origin}` },
      );
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
      signal: signal === undefined ? stall.signal : AbortSignal.any([signal, stall.signal]),
    }),
    { code: "unreachable", text: `no answer from ${url.host}` },
  );
  const reader = response.body?.getReader();
  return {
    status: response.status,
    headers: response.headers,
    read: async () => {
      if (reader === undefined) return undefined;
      const failure = { code: "cut_off", text: `the answer of ${url.host} was cut off` };
      const { done, value } = await within(stallMs, reader.read(), failure);
      return done ? undefined : value;
    },
    close: () => stall.abort(),
  };
}

/** Reads an answer to its end. */
export async function readWhole(answer: S3OpenAnswer): Promise<S3Answer> {
  const decoder = new TextDecoder();
  let body = "";
  for (let bytes = await answer.read(); bytes !== undefined; bytes = await answer.read()) {
    body += decoder.decode(bytes, { stream: true });
  }
  return { status: answer.status, headers: answer.headers, body: body + decoder.decode() };
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
