/**
 * CouchDB over HTTP: one method for each endpoint the program uses, and the only file that knows CouchDB's URLs. In go
 * names as people write them, out come parsed answers or, where documents are concerned, raw bytes. What a little patience
 * can heal is retried here, but for `_bulk_get`, whose failures its reader heals better.
 */
import { CouchError, isTransient } from "../errors.ts";
import { encodeDatabase } from "../keys.ts";
import type { Log } from "../observe/observe.ts";
import { DEFAULT_RETRY, parseRetryAfter, type RetryPolicy, wait, waitBeforeAttempt } from "../retry.ts";
import type { CouchOptions } from "./couchdb.ts";

/** What the client needs beside the config's options. */
export interface ClientOptions extends CouchOptions {
  log: Log;
  retry?: RetryPolicy | undefined;
  /** How long the first byte of an answer may take, in milliseconds. @default 60000 */
  answerTimeoutMs?: number | undefined;
  /**
   * The same for `_bulk_get`: CouchDB 3.3 and later build the whole answer before they send its first byte, 11 s for
   * 115 MB. @default 300000
   */
  bulkTimeoutMs?: number | undefined;
  /** How long an answer may pause between two bytes, in milliseconds. @default 60000 */
  stallTimeoutMs?: number | undefined;
}

/** What `GET /{db}` says. */
export interface DatabaseInfo {
  doc_count: number;
  doc_del_count: number;
  update_seq: string;
  /** Uncompressed size of the live documents and attachments, in bytes; 0 where CouchDB does not say. */
  external_bytes: number;
  q: number | null;
  n: number | null;
  partitioned: boolean;
}

/** What every call takes. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
}

interface CouchRequest extends CallOptions {
  method?: "GET" | "POST" | "PUT" | "HEAD" | "DELETE";
  /** JSON text. */
  body?: BodyInit | undefined;
  headers?: Record<string, string> | undefined;
  /** The action for the error message: `list the databases`. */
  action: string;
  /** The decoded name, for errors. */
  database?: string | undefined;
  answerTimeoutMs?: number | undefined;
}

/** An answer whose body has yet to be read. A loop over `bytes` that is left early ends the request. */
interface RawAnswer {
  status: number;
  headers: Headers;
  bytes: AsyncIterable<Uint8Array>;
}

/** A client for one CouchDB. */
export class CouchClient {
  /** The base URL, without credentials. */
  readonly url: string;
  /** How many requests were made again because of a passing failure, for the metrics. */
  retries = 0;

  readonly #authorization: string | undefined;
  readonly #log: Log;
  readonly retry: RetryPolicy;
  readonly #answerTimeoutMs: number;
  readonly #bulkTimeoutMs: number;
  readonly #stallTimeoutMs: number;

  constructor(options: ClientOptions) {
    this.url = options.url.replace(/\/+$/, "");
    this.#log = options.log;
    this.retry = options.retry ?? DEFAULT_RETRY;
    this.#answerTimeoutMs = options.answerTimeoutMs ?? 60_000;
    this.#bulkTimeoutMs = options.bulkTimeoutMs ?? 300_000;
    this.#stallTimeoutMs = options.stallTimeoutMs ?? 60_000;
    if (options.login !== undefined) {
      const credentials = new TextEncoder().encode(`${options.login}:${options.password?.reveal() ?? ""}`);
      this.#authorization = `Basic ${btoa(String.fromCharCode(...credentials))}`;
    }
  }

  /** `GET /`: CouchDB's version. */
  async serverVersion(options: CallOptions = {}): Promise<string> {
    const answer = await this.#json("/", { action: "reach CouchDB", ...options });
    const version = (answer as { version?: unknown } | null)?.version;
    if (typeof version === "string") return version;
    throw new CouchError(`Cannot use "${this.url}": it does not answer like a CouchDB`, { error: "not_couchdb" }, {
      hint: "Check database.url: it is the base URL, without a database's name",
    });
  }

  /** `GET /_all_dbs`: the decoded names of all databases. */
  async listDatabases(options: CallOptions = {}): Promise<string[]> {
    return await this.#json("/_all_dbs", { action: "list the databases", ...options }) as string[];
  }

  /** `GET /{db}`. */
  async databaseInfo(database: string, options: CallOptions = {}): Promise<DatabaseInfo> {
    const answer = await this.#json(`/${encodeDatabase(database)}`, {
      action: `read the properties of database "${database}"`,
      database,
      ...options,
    }) as Record<string, unknown> & {
      cluster?: { q?: number; n?: number };
      props?: { partitioned?: boolean };
      sizes?: { external?: number };
    };
    return {
      doc_count: Number(answer.doc_count ?? 0),
      doc_del_count: Number(answer.doc_del_count ?? 0),
      update_seq: String(answer.update_seq ?? ""),
      external_bytes: answer.sizes?.external ?? 0,
      q: answer.cluster?.q ?? null,
      n: answer.cluster?.n ?? null,
      partitioned: answer.props?.partitioned === true,
    };
  }

  /** `GET /{db}/_security`: its text as CouchDB sends it. */
  async security(database: string, options: CallOptions = {}): Promise<string> {
    const text = await this.#text(`/${encodeDatabase(database)}/_security`, {
      action: `read the security object of database "${database}"`,
      database,
      ...options,
    });
    return text.trim();
  }

  /** `GET /{db}/_revs_limit`. */
  async revsLimit(database: string, options: CallOptions = {}): Promise<number> {
    return Number(
      await this.#json(`/${encodeDatabase(database)}/_revs_limit`, {
        action: `read the revisions limit of database "${database}"`,
        database,
        ...options,
      }),
    );
  }

  /**
   * One page of `GET /{db}/_all_docs`: the ids of live documents and design documents, ordered by their UTF-8 bytes.
   *
   * @param range `after` is exclusive: the page begins with the first id behind it. `through` is inclusive: no id behind
   * it is listed. `limit` counts ids.
   * @see https://docs.couchdb.org/en/stable/api/database/bulk-api.html#db-all-docs
   */
  async listIds(
    database: string,
    range: { after?: string | undefined; through?: string | undefined; limit: number },
    options: CallOptions = {},
  ): Promise<string[]> {
    const query = new URLSearchParams({ limit: String(range.limit) });
    // Ids are ordered by their bytes, so the id with a NUL behind it is the smallest one that comes after it.
    if (range.after !== undefined) query.set("start_key", JSON.stringify(range.after + "\u0000"));
    if (range.through !== undefined) query.set("end_key", JSON.stringify(range.through));
    const answer = await this.#json(`/${encodeDatabase(database)}/_all_docs?${query}`, {
      action: `list the documents of database "${database}"`,
      database,
      ...options,
    }) as { rows: { id: string }[] };
    return answer.rows.map((row) => row.id);
  }

  /**
   * `POST /{db}/_bulk_get` for whole documents: every leaf revision of each id, deleted ones too. Not retried.
   *
   * @param body The JSON `{"docs":[{"id":…},…]}`, as bytes or as a stream where it is large.
   * @returns The pieces of `{"results":[…]}` as they arrive. Errors of single documents are rows in it.
   */
  async bulkGet(
    database: string,
    body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
    options: CallOptions & { revisions: boolean; attachments: boolean },
  ): Promise<AsyncIterable<Uint8Array>> {
    const { revisions, attachments, signal } = options;
    const answer = await this.#request(
      `/${encodeDatabase(database)}/_bulk_get?revs=${revisions}&attachments=${attachments}`,
      {
        method: "POST",
        body,
        headers: { "content-type": "application/json", accept: "application/json" },
        action: `read documents of database "${database}"`,
        database,
        signal,
        answerTimeoutMs: this.#bulkTimeoutMs,
      },
    );
    return answer.bytes;
  }

  async #json(path: string, init: CouchRequest): Promise<unknown> {
    return await this.#retrying(init, async () => {
      const text = await this.#readText(await this.#request(path, init));
      try {
        return JSON.parse(text);
      } catch (cause) {
        throw this.#failure(init, { error: "cut_off", reason: "the answer is not whole JSON" }, cause);
      }
    });
  }

  async #text(path: string, init: CouchRequest): Promise<string> {
    return await this.#retrying(init, async () => await this.#readText(await this.#request(path, init)));
  }

  async #readText(answer: RawAnswer): Promise<string> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of answer.bytes) text += decoder.decode(bytes, { stream: true });
    return text + decoder.decode();
  }

  async #retrying<T>(init: CouchRequest, attemptOnce: () => Promise<T>): Promise<T> {
    for (let attempt = 1;; attempt++) {
      try {
        return await attemptOnce();
      } catch (error) {
        if (attempt >= this.retry.attempts || !isTransient(error)) throw error;
        await this.waitAfterFailure(error as CouchError, attempt + 1, init.signal);
      }
    }
  }

  /** Waits before attempt `attempt`, as long as the policy or the server says. */
  async waitAfterFailure(error: CouchError, attempt: number, signal?: AbortSignal): Promise<void> {
    this.retries++;
    const { retryAfterMs } = error.facts;
    const waitMs = waitBeforeAttempt(attempt, { policy: this.retry, random: Math.random(), retryAfterMs });
    this.#log.debug("couchdb request is repeated", { attempt, waitMs: Math.round(waitMs), error: error.message });
    await wait(waitMs, signal);
  }

  /** Makes one request and returns its answer once the status says success. */
  async #request(path: string, init: CouchRequest): Promise<RawAnswer> {
    const watch = new Watch(init.signal);
    const started = performance.now();
    const headers = new Headers({ accept: "application/json", ...init.headers });
    if (this.#authorization !== undefined) headers.set("authorization", this.#authorization);
    const timeoutMs = init.answerTimeoutMs ?? this.#answerTimeoutMs;
    let response: Response;
    try {
      watch.expectWithin(timeoutMs);
      response = await fetch(this.url + path, {
        method: init.method ?? "GET",
        headers,
        signal: watch.signal,
        redirect: "error",
        ...(init.body === undefined ? {} : { body: init.body }),
        // Node wants to be told that a streamed request does not wait for its answer's end; Deno ignores it.
        ...(init.body instanceof ReadableStream ? { duplex: "half" } : {}),
      } as RequestInit);
    } catch (cause) {
      throw this.#broken(init, watch, cause, `no answer within ${Math.round(timeoutMs / 1000)} s`);
    }
    this.#log.debug("couchdb request", {
      method: init.method ?? "GET",
      path: path.length > 300 ? `${path.slice(0, 300)}…` : path,
      status: response.status,
      durationMs: Math.round(performance.now() - started),
    });
    const answer: RawAnswer = {
      status: response.status,
      headers: response.headers,
      bytes: this.#readBody(response, init, watch),
    };
    if (response.ok) return answer;
    throw await this.#refusal(answer, init);
  }

  async *#readBody(response: Response, init: CouchRequest, watch: Watch): AsyncGenerator<Uint8Array> {
    const reader = response.body?.getReader();
    let ended = false;
    try {
      for (;;) {
        watch.expectWithin(this.#stallTimeoutMs);
        const result = await reader?.read().catch((cause) => {
          const silence = `no byte for ${Math.round(this.#stallTimeoutMs / 1000)} s in the middle of the answer`;
          throw this.#broken(init, watch, cause, silence);
        });
        if (result === undefined || result.done) break;
        watch.rest();
        yield result.value;
      }
      ended = true;
    } finally {
      watch.rest();
      // A reader that leaves early must not leave the connection open behind it.
      if (!ended) watch.cancel();
    }
  }

  /** The error for an answer with a status of 300 or more. */
  async #refusal(answer: RawAnswer, init: CouchRequest): Promise<CouchError> {
    let body: { error?: unknown; reason?: unknown } = {};
    try {
      body = JSON.parse(await this.#readText(answer)) as typeof body ?? {};
    } catch (error) {
      if (init.signal?.aborted) throw error;
      // A proxy's HTML page: the status says all that can be said.
    }
    return this.#failure(init, {
      status: answer.status,
      error: typeof body.error === "string" ? body.error : "http_error",
      reason: typeof body.reason === "string" ? body.reason : undefined,
      retryAfterMs: parseRetryAfter(answer.headers.get("retry-after"), new Date()),
    });
  }

  /** The error for a conversation that broke: the caller's abort, a time-out, a lost connection, an unreachable server. */
  #broken(init: CouchRequest, watch: Watch, cause: unknown, silence: string): unknown {
    watch.rest();
    if (init.signal?.aborted) return init.signal.reason;
    if (cause instanceof CouchError) return cause;
    if (watch.expired) return this.#failure(init, { error: "timeout", reason: silence });
    const text = messagesOf(cause);
    // Not as its cause: its message quotes the whole URL, and that can hold an id of thousands of characters.
    const reason = text.replaceAll(/https?:\/\/[^\s()]+/g, this.url);
    return this.#failure(init, { error: NO_CONNECTION.test(text) ? "unreachable" : "cut_off", reason });
  }

  #failure(init: CouchRequest, facts: Omit<CouchError["facts"], "database">, cause?: unknown): CouchError {
    const { status, error, reason } = facts;
    const what = status === undefined
      ? `${WITHOUT_ANSWER[error] ?? error}${reason === undefined ? "" : ` (${reason})`}`
      : `CouchDB answered ${status} ${error}${reason === undefined ? "" : `, "${reason}"`}`;
    const hint = this.#hint(facts, init);
    return new CouchError(`Cannot ${init.action}: ${what}`, { ...facts, database: init.database }, { cause, hint });
  }

  #hint({ status, error }: { status?: number | undefined; error: string }, init: CouchRequest): string | undefined {
    if (status === 401) {
      return "Check database.login and database.password; it is not tried again, because CouchDB locks an address out after five failed logins";
    }
    if (status === 403 && error === "forbidden" && init.database === undefined) {
      return "The login needs the _admin role, or CouchDB has locked this address out for five minutes after failed logins";
    }
    if (status === 403) return `The login must be a server admin, or an admin or member of database "${init.database}"`;
    if (error === "unreachable") return `Check that CouchDB runs and that "${this.url}" is reachable from this machine`;
    if (status === 404 && init.database !== undefined) return "The database does not exist, or was deleted meanwhile";
    return undefined;
  }
}

const WITHOUT_ANSWER: Record<string, string> = {
  timeout: "CouchDB took too long",
  cut_off: "the connection broke",
  unreachable: "CouchDB cannot be reached",
};

/** How Deno and Node say that no connection came about; "connection" alone also stands in the error of a broken one. */
const NO_CONNECTION = /client error \(Connect\)|connect (?:E[A-Z]+|timeout)|ECONNREFUSED|ENOTFOUND|EAI_AGAIN/i;

function messagesOf(error: unknown): string {
  const messages: string[] = [];
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    // Where a name has several addresses, Node's error for all of them has a code and no message.
    messages.push(current.message || String((current as { code?: unknown }).code ?? current.name));
  }
  return messages.join(": ") || String(error);
}

/** Ends a request that is silent for too long, or that the caller gives up. */
class Watch {
  readonly #controller = new AbortController();
  readonly signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether it was the time that ended it. */
  expired = false;

  constructor(outer: AbortSignal | undefined) {
    this.signal = outer === undefined ? this.#controller.signal : AbortSignal.any([this.#controller.signal, outer]);
  }

  expectWithin(ms: number): void {
    this.rest();
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#controller.abort(new DOMException("Too long without a byte", "TimeoutError"));
    }, ms);
  }

  rest(): void {
    clearTimeout(this.#timer);
  }

  cancel(): void {
    this.#controller.abort(new DOMException("The answer is not wanted any more", "AbortError"));
  }
}
