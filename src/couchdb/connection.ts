/**
 * HTTP requests to CouchDB: credentials, time-outs, broken answers, and their errors. In: paths and bodies. Out: parsed
 * answers, texts or streams of bytes, or a CouchError. Transient failures are retried here, unless the caller has a
 * better way to handle them.
 */
import process from "node:process";
import { AbortableWaits, wait } from "../abort.ts";
import { basicAuthorization } from "../basic_auth.ts";
import { CouchError, isForeign, isTransient } from "../errors.ts";
import type { Log } from "../observe.ts";
import { release } from "./release.ts";
import { DEFAULT_RETRY, parseRetryAfter, type RetryPolicy, waitBeforeAttempt } from "../retry.ts";
import { RetryNotice } from "../retry_notice.ts";
import type { Fetch } from "../trusted_fetch.ts";
import type { CouchOptions } from "./couchdb.ts";
import { longAnswer } from "./answers.ts";
import { brokenConnection, couchError, type CouchFailure, foreignPage, isCutJson, refusalOf } from "./error.ts";
import { PATIENCE_MS, plainHttpFailure, speaksPlainHttp, speaksTls, tlsPortFailure } from "./wrong_scheme.ts";
import { Watch } from "./watch.ts";

/** What is read of an answer at once. */
const BUFFER_BYTES = 1 << 18;
/** Buffers that are used again: as many as there are requests in flight in most runs. */
const MOST_SPARE_BUFFERS = 16;
/** Answers that are held whole are pages of listings; memory of so much is kept for the next ones, of several databases. */
const MOST_SPARE_BYTES = 4 << 20;
/**
 * A page of 5,000 rows of the changes feed has a megabyte, and is asked for in parts where it has this much; a hundred
 * thousand names of databases have some.
 */
const MOST_CHARACTERS = 32 << 20;
/** An answer that is taken at once is given up where the process grows by so much meanwhile: it is not a short one. */
const MOST_GROWTH_BYTES = 64 << 20;
const LOOK_AT_GROWTH_MS = 100;
/** A page that is doubted is believed when it has come so often. */
const PAGE_ATTEMPTS = 3;

/** What the client needs beside the config's options. */
export interface ClientOptions extends CouchOptions {
  /** Takes a line for each request, at level debug. */
  log: Log;
  /** Makes the requests. @default the platform's */
  fetch?: Fetch | undefined;
  /** How often and how slowly a request is made again. @default about half a minute in all */
  retry?: RetryPolicy | undefined;
  /** How long the first byte of an answer may take, in milliseconds. @default 60000 */
  answerTimeoutMs?: number | undefined;
  /**
   * The same for `_bulk_get` and `_bulk_docs`: CouchDB 3.3 and later build the whole answer before they send its first
   * byte, 11 s for 115 MB, and a large document takes its time to be written. @default 300000
   */
  bulkTimeoutMs?: number | undefined;
  /** How long an answer may pause between two bytes, in milliseconds. @default 60000 */
  stallTimeoutMs?: number | undefined;
  /** Whether the log must not show what CouchDB says about documents. @default false */
  isDiscreet?: boolean | undefined;
  /**
   * Ends each wait for a repetition, and after it nothing is asked for again: what is in flight is finished, but
   * patience with a CouchDB that does not answer is at its end. @default nothing does
   */
  stop?: AbortSignal | undefined;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call at once; it then throws the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Whether it is asked for again although the client is to stop: by what cleans up. @default false */
  outlivesStop?: boolean | undefined;
}

/** One request. */
export interface CouchRequest extends CallOptions {
  method?: "GET" | "POST" | "PUT" | "HEAD" | "DELETE";
  /** JSON text. */
  body?: BodyInit | undefined;
  headers?: Record<string, string> | undefined;
  /** The action for the error message: `list the databases`. */
  action: string;
  /** The decoded name, for errors. */
  database?: string | undefined;
  answerTimeoutMs?: number | undefined;
  /** How many times at most it is made. @default the retry policy's */
  attempts?: number | undefined;
  /**
   * After how many of them in which CouchDB, though it is there, answers 500 or nothing it is given up: for what it will
   * not be able to do a moment later. @default as many as there are
   */
  mostFailures?: number | undefined;
  /**
   * Whether it is made again where something in front of CouchDB refuses it: for what is done without where CouchDB
   * itself does.
   *
   * @default false
   */
  doubtsPages?: boolean | undefined;
  /**
   * Whether no more than some megabytes are expected, and {@linkcode CouchConnection.parsed} may take them by one call
   * of the runtime: CouchDB sends a listing in pieces of 1.4 KB, and to take each costs more than to read what is in it.
   *
   * @default false
   */
  isShort?: boolean | undefined;
}

/** An answer whose body has yet to be read, in one way or the other. */
export interface RawAnswer {
  status: number;
  headers: Headers;
  /** A piece is valid until the next one is asked for. A loop that is left early ends the request. */
  bytes: AsyncIterable<Uint8Array>;
  /** All of them at once. */
  whole: () => Promise<Uint8Array>;
}

/** An answer that was read whole. */
export interface JsonAnswer {
  status: number;
  headers: Headers;
  /** Parsed. */
  value: unknown;
}

/** That no request has gone well for a while. */
export interface CouchTrouble {
  /** The last failure. */
  error: CouchError;
  /** How long ago the first one was, in milliseconds. */
  forMs: number;
}

/** Whether CouchDB was there, and could not do what it was asked for: no outage, no proxy and no haste of ours. */
function hasFailedAtIt({ facts: { status, error } }: CouchError): boolean {
  return status === 500 || error === "timeout";
}

/** Makes requests to one CouchDB. */
export class CouchConnection {
  /** The base URL, without credentials. */
  readonly url: string;
  /** How many requests were made again because of a passing failure, for the metrics. */
  retries = 0;

  /** How often and how slowly a request is made again. */
  readonly retry: RetryPolicy;
  /** How long the first byte of an answer to `_bulk_get` or `_bulk_docs` may take, in milliseconds. */
  readonly bulkTimeoutMs: number;

  #trouble: { error: CouchError; sinceMs: number } | undefined;
  /** Until the first answer the URL's scheme may be what keeps it away. */
  #hasAnswered = false;
  #hasAskedByTls = false;
  #wrongScheme: (CouchFailure & { hint: string }) | undefined;
  readonly #notice: RetryNotice;
  readonly #authorization: string | undefined;
  readonly #passwordFrom: string | undefined;
  readonly #fetch: Fetch;
  readonly #log: Log;
  readonly #isDiscreet: boolean;
  readonly #answerTimeoutMs: number;
  readonly #stallTimeoutMs: number;
  readonly #spareBuffers: ArrayBuffer[] = [];
  readonly #spareWholes: Uint8Array<ArrayBuffer>[] = [];
  readonly #stop: AbortSignal | undefined;

  constructor(options: ClientOptions) {
    this.url = options.url.replace(/\/+$/, "");
    this.#fetch = options.fetch ?? fetch;
    this.#log = options.log;
    this.#isDiscreet = options.isDiscreet ?? false;
    this.#notice = new RetryNotice(options.log, "couchdb does not answer as it should: retrying");
    this.retry = options.retry ?? DEFAULT_RETRY;
    this.#stop = options.stop;
    this.#passwordFrom = options.passwordFrom;
    this.#answerTimeoutMs = options.answerTimeoutMs ?? 60_000;
    this.bulkTimeoutMs = options.bulkTimeoutMs ?? 300_000;
    this.#stallTimeoutMs = options.stallTimeoutMs ?? 60_000;
    if (options.login !== undefined) {
      this.#authorization = basicAuthorization(options.login, options.password?.reveal() ?? "");
    }
  }

  /** What requests have met since the last one that went well; undefined where the last one did. */
  get trouble(): CouchTrouble | undefined {
    if (this.#trouble === undefined) return undefined;
    const { error, sinceMs } = this.#trouble;
    return { error, forMs: performance.now() - sinceMs };
  }

  /** Makes a request until it succeeds or patience ends. @returns The parsed answer. */
  async json(path: string, init: CouchRequest): Promise<unknown> {
    return (await this.jsonAnswer(path, init)).value;
  }

  /** The same. @returns The parsed answer, and what came with it. */
  async jsonAnswer(path: string, init: CouchRequest): Promise<JsonAnswer> {
    return await this.#retrying(init, async () => await this.jsonOnce(path, init));
  }

  /** Makes a request until it succeeds or patience ends. @returns The answer as it came. */
  async text(path: string, init: CouchRequest): Promise<string> {
    return await this.#retrying(init, async () => await this.#readText(await this.request(path, init), init));
  }

  /**
   * Makes a request until it succeeds or patience ends.
   *
   * @param parse Reads the whole answer, whose bytes are valid until it returns. Its SyntaxError says that they are not
   * whole.
   */
  async parsed<T>(path: string, init: CouchRequest, parse: (bytes: Uint8Array) => T): Promise<T> {
    return await this.#retrying(init, async () => {
      const answer = await this.request(path, init);
      const parseBytes = (bytes: Uint8Array) =>
        this.#parse({ init, answer, text: () => new TextDecoder().decode(bytes) }, () => parse(bytes));
      if (init.isShort) {
        const bytes = await answer.whole();
        const value = parseBytes(bytes);
        release(bytes);
        return value;
      }
      const buffer = this.#spareWholes.pop() ?? new Uint8Array(BUFFER_BYTES);
      const { whole, length } = await collect(answer.bytes, buffer, init);
      const value = parseBytes(whole.subarray(0, length));
      const spareBytes = this.#spareWholes.reduce((sum, spare) => sum + spare.length, whole.length);
      if (spareBytes <= MOST_SPARE_BYTES) this.#spareWholes.push(whole);
      return value;
    });
  }

  /** Makes a request once. @returns The parsed answer, and the status. */
  async jsonOnce(path: string, init: CouchRequest): Promise<JsonAnswer> {
    const answer = await this.request(path, init);
    const text = await this.#readText(answer, init);
    const value = this.#parse({ init, answer, text: () => text }, () => JSON.parse(text) as unknown);
    return { status: answer.status, headers: answer.headers, value };
  }

  #parse<T>({ init, answer, text }: { init: CouchRequest; answer: RawAnswer; text: () => string }, parse: () => T): T {
    try {
      return parse();
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
      const foreign = foreignPage(answer.headers, text());
      throw this.#failure(init, foreign ?? { error: "cut_off", reason: "the answer is not whole JSON" }, cause);
    }
  }

  /** Reads an answer whole: of those that hold documents none is read so. */
  async #readText(answer: RawAnswer, init: CouchRequest): Promise<string> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of answer.bytes) {
      text += decoder.decode(bytes, { stream: true });
      if (text.length > MOST_CHARACTERS) throw longAnswer(init, MOST_CHARACTERS);
    }
    return text + decoder.decode();
  }

  async #retrying<T>(init: CouchRequest, attemptOnce: () => Promise<T>): Promise<T> {
    const { attempts = this.retry.attempts, mostFailures = attempts } = init;
    let failures = 0;
    for (let attempt = 1;; attempt++) {
      try {
        return await attemptOnce();
      } catch (error) {
        const mayPass = isTransient(error) ||
          (init.doubtsPages === true && isForeign(error) && attempt < PAGE_ATTEMPTS);
        if (attempt >= attempts || !mayPass) throw error;
        if (hasFailedAtIt(error as CouchError) && ++failures >= mostFailures) throw error;
        await this.waitAfterFailure(error as CouchError, attempt + 1, init);
      }
    }
  }

  /** What a log says of an error. */
  tell(error: CouchError): string {
    return this.#isDiscreet ? error.discreet : error.message;
  }

  /**
   * Waits before attempt `attempt`, as long as the policy or the server says. @throws The reason of `signal` or `stop`.
   */
  async waitAfterFailure(error: CouchError, attempt: number, options: CallOptions = {}): Promise<void> {
    this.retries++;
    this.#trouble = { error, sinceMs: this.#trouble?.sinceMs ?? performance.now() };
    const { retryAfterMs } = error.facts;
    const waitMs = waitBeforeAttempt(attempt, { policy: this.retry, random: Math.random(), retryAfterMs });
    const told = this.tell(error);
    this.#log.debug("couchdb request is repeated", { attempt, waitMs: Math.round(waitMs), error: told });
    this.#notice.tell({ attempt, waitMs, error: told });
    await this.pause(waitMs, options);
  }

  /** Waits. @throws The reason of `signal` or `stop`. */
  async pause(ms: number, { signal, outlivesStop = false }: CallOptions): Promise<void> {
    const ends = [signal, outlivesStop ? undefined : this.#stop].filter((one) => one !== undefined);
    await wait(ms, ends.length > 1 ? AbortSignal.any(ends) : ends[0]);
  }

  /** Makes one request and returns its answer once the status says success. */
  async request(path: string, init: CouchRequest): Promise<RawAnswer> {
    const watch = new Watch(init.signal);
    const started = performance.now();
    const headers = new Headers({ accept: "application/json", ...init.headers });
    if (this.#authorization !== undefined) headers.set("authorization", this.#authorization);
    const timeoutMs = init.answerTimeoutMs ?? this.#answerTimeoutMs;
    const expectAnswer = () => watch.expectWithin(timeoutMs);
    let response: Response;
    // A large body takes its time on the way: what must not take long is each of its pieces, and then the answer.
    const body = init.body instanceof ReadableStream
      ? init.body.pipeThrough(new TransformStream({ transform: (bytes, to) => (expectAnswer(), to.enqueue(bytes)) }))
      : init.body;
    const isSilentByTls = !this.#hasAnswered && /^https:/i.test(this.url);
    const question = isSilentByTls ? setTimeout(() => this.#askPlainly(watch), PATIENCE_MS) : undefined;
    try {
      expectAnswer();
      response = await this.#fetch(this.url + path, {
        method: init.method ?? "GET",
        headers,
        signal: watch.signal,
        // Followed, it would carry the password elsewhere, and a POST would become a GET.
        redirect: "manual",
        ...(body === undefined ? {} : { body }),
        // Node wants to be told that a streamed request does not wait for its answer's end; Deno ignores it.
        ...(body instanceof ReadableStream ? { duplex: "half" } : {}),
      } as RequestInit);
    } catch (cause) {
      if (!watch.signal.aborted) await this.#askByTls(cause);
      throw this.#broken(init, watch, cause, `no answer within ${Math.round(timeoutMs / 1000)} s`);
    } finally {
      clearTimeout(question);
    }
    this.#hasAnswered = true;
    this.#log.debug("couchdb request", {
      method: init.method ?? "GET",
      path: this.#isDiscreet ? endpointOf(path) : path.length > 300 ? `${path.slice(0, 300)}…` : path,
      status: response.status,
      durationMs: Math.round(performance.now() - started),
    });
    const answer: RawAnswer = {
      status: response.status,
      headers: response.headers,
      bytes: this.#readBody(response, init, watch),
      whole: () => this.#readAtOnce(response, init, watch),
    };
    if (!response.ok) throw await this.#refusal(answer, path, init);
    if (foreignPage(response.headers) === undefined) return answer;
    // Documents come as JSON only: a page for people is no answer, whatever its status says.
    throw this.#failure(init, foreignPage(response.headers, await this.#readText(answer, init))!);
  }

  /** Ends a request that TLS keeps silent. */
  async #askPlainly(watch: Watch): Promise<void> {
    if (!await speaksPlainHttp(this.url, this.#fetch) || this.#hasAnswered) return;
    this.#wrongScheme = plainHttpFailure(this.url);
    watch.cancel();
  }

  /** Asks once whether a first connection that breaks behind `http://` is one to a TLS server. */
  async #askByTls(cause: unknown): Promise<void> {
    if (this.#hasAnswered || this.#hasAskedByTls || !/^http:/i.test(this.url)) return;
    if (brokenConnection(cause, this.url).error !== "cut_off") return;
    this.#hasAskedByTls = true;
    if (await speaksTls(this.url, this.#fetch)) this.#wrongScheme = tlsPortFailure(this.url);
  }

  /** Yields the answer's bytes through one buffer: a piece is valid until the next one is asked for. */
  async *#readBody(response: Response, init: CouchRequest, watch: Watch): AsyncGenerator<Uint8Array> {
    // A buffer for each piece would be garbage that V8 collects late: it would be most of the program's memory.
    const reader = response.body?.getReader({ mode: "byob" });
    let buffer = this.#spareBuffers.pop() ?? new ArrayBuffer(BUFFER_BYTES);
    let ended = false;
    // Not until fetch says that the signal has ended it: in Deno 2.9.6 a read goes on for ever where the Response was
    // collected before the signal came.
    const waits = new AbortableWaits(watch.signal);
    try {
      while (reader !== undefined) {
        watch.expectWithin(this.#stallTimeoutMs);
        let result: ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;
        try {
          result = await waits.for(reader.read(new Uint8Array(buffer)));
        } catch (cause) {
          const silence = `no byte for ${Math.round(this.#stallTimeoutMs / 1000)} s in the middle of the answer`;
          throw this.#broken(init, watch, cause, silence);
        }
        if (result.done) {
          buffer = result.value?.buffer ?? buffer;
          break;
        }
        watch.rest();
        yield result.value;
        buffer = result.value.buffer;
      }
      ended = true;
      if (response.ok) this.#trouble = undefined;
      // What is detached has gone to the stream for good.
      if (buffer.byteLength > 0 && this.#spareBuffers.length < MOST_SPARE_BUFFERS) this.#spareBuffers.push(buffer);
    } finally {
      waits.end();
      watch.end();
      // A reader that leaves early must not leave the connection open behind it.
      if (!ended) {
        watch.cancel();
        reader?.cancel().catch(() => {});
      }
    }
  }

  /** All of an answer that is expected to be short. @throws CouchError also where it is long after all. */
  async #readAtOnce(response: Response, init: CouchRequest, watch: Watch): Promise<Uint8Array> {
    const waits = new AbortableWaits(watch.signal);
    // How much has come shows in the process's memory only.
    let before: number | undefined;
    let isLong = false;
    const guard = setInterval(() => {
      const now = process.memoryUsage.rss();
      before ??= now;
      isLong = now - before > MOST_GROWTH_BYTES;
      if (isLong) watch.cancel();
    }, LOOK_AT_GROWTH_MS);
    try {
      watch.expectWithin(this.#stallTimeoutMs);
      const bytes = new Uint8Array(await waits.for(response.arrayBuffer()));
      if (response.ok) this.#trouble = undefined;
      return bytes;
    } catch (cause) {
      if (isLong) throw longAnswer(init, MOST_CHARACTERS);
      throw this.#broken(
        init,
        watch,
        cause,
        `not the whole answer within ${Math.round(this.#stallTimeoutMs / 1000)} s`,
      );
    } finally {
      clearInterval(guard);
      waits.end();
      watch.end();
    }
  }

  /** The error for an answer with a status of 300 or more. */
  async #refusal(answer: RawAnswer, path: string, init: CouchRequest): Promise<CouchError> {
    let body = "";
    let isCut = false;
    try {
      body = await this.#readText(answer, init);
      isCut = isCutJson(body);
    } catch (error) {
      if (init.signal?.aborted) throw error;
      // A page that breaks off: the status says all that can be said.
      isCut = true;
    }
    // Not of a 404: only CouchDB's own words say that something is not there.
    if (isCut && answer.status === 404) {
      return this.#failure(init, { error: "cut_off", reason: "the answer 404 is not whole" });
    }
    const failure = refusalOf(answer, body, this.url + path);
    const retryAfterMs = parseRetryAfter(answer.headers.get("retry-after"), new Date());
    return this.#failure(init, { ...failure, retryAfterMs }, undefined, path.replace(/\?.*$/s, ""));
  }

  /**
   * The error for a conversation that broke: the caller's abort, a time-out, a lost connection, an unreachable server.
   */
  #broken(init: CouchRequest, watch: Watch, cause: unknown, silence: string): unknown {
    watch.end();
    if (init.signal?.aborted) return init.signal.reason;
    if (cause instanceof CouchError) return cause;
    if (this.#wrongScheme !== undefined) return this.#failure(init, this.#wrongScheme);
    if (watch.expired) return this.#failure(init, { error: "timeout", reason: silence });
    return this.#failure(init, brokenConnection(cause, this.url));
  }

  #failure(
    { action, database }: CouchRequest,
    failure: CouchFailure & { hint?: string },
    cause?: unknown,
    path?: string,
  ): CouchError {
    const subject = { action, database, url: this.url, path, passwordFrom: this.#passwordFrom };
    return couchError(subject, failure, cause);
  }
}

/** All of the bytes, in `buffer` or, where they are more, in a larger one. */
async function collect(
  bytes: AsyncIterable<Uint8Array>,
  buffer: Uint8Array<ArrayBuffer>,
  init: CouchRequest,
): Promise<{ whole: Uint8Array<ArrayBuffer>; length: number }> {
  let whole = buffer;
  let length = 0;
  for await (const piece of bytes) {
    if (length + piece.length > whole.length) {
      const larger = new Uint8Array(Math.max(length + piece.length, 2 * whole.length));
      larger.set(whole.subarray(0, length));
      whole = larger;
    }
    whole.set(piece, length);
    length += piece.length;
    if (length > MOST_CHARACTERS) throw longAnswer(init, MOST_CHARACTERS);
  }
  return { whole, length };
}

/** A path without what stands after the endpoint's name: a document's id, a view. */
function endpointOf(path: string): string {
  const [, database = "", endpoint = ""] = /^(\/[^/?]*)(\/_[a-z_]+)?/.exec(path) ?? [];
  return `${database}${endpoint}`;
}
