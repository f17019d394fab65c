/**
 * A sink that pushes log lines to Grafana Loki. In: lines. Out: requests, each a batch by time and size, in order,
 * gzipped. A run never waits for it and never fails because of it: the queue is bounded, what Loki does not take is
 * counted, and a flush has a deadline.
 */
import { formatLogfmt } from "./logfmt.ts";
import { type LokiAddress, LokiClient, type LokiEntry, type LokiOutcome } from "./loki_request.ts";
import { type FlushResult, type LogRecord, type LogSink, LossCount } from "./log.ts";

/** Where the lines go, and how patiently. Times in milliseconds. */
export interface LokiOptions extends LokiAddress {
  /** Labels on every line beside `task` and `level`: few and fixed, such as `app` and `host`. */
  labels?: Readonly<Record<string, string>>;
  /** How long lines wait for company. @default 1000 */
  batchMs?: number;
  /** A batch of this many characters goes at once. @default 262144 */
  batchCharacters?: number;
  /** The oldest waiting line is dropped for the line beyond these. @default 20000 */
  queueLines?: number;
  /** @default 8388608 */
  queueCharacters?: number;
  /** How long one request may take. @default 5000 */
  requestTimeoutMs?: number;
  /** The first wait after a failure; it doubles with every further one, up to `maxBackoffMs`. @default 500 */
  backoffMs?: number;
  /** @default 30000 */
  maxBackoffMs?: number;
  /** From 0 to 1, for the jitter. @default Math.random */
  random?: () => number;
}

const FLUSH_BACKOFF_MS = 100;

/**
 * Opens a sink for {@linkcode openLog}. `task` and `level` become labels, everything else is logfmt in the line.
 * Until it is flushed, a timer of it can keep the process alive.
 *
 * @throws TypeError when `url` is not an http or https URL.
 */
export function openLoki(options: LokiOptions): LogSink {
  return new LokiSink(options);
}

class LokiSink implements LogSink {
  readonly name = "loki";
  readonly #loki: LokiClient;
  readonly #options: Required<Omit<LokiOptions, "url" | "tenant" | "login" | "password" | "fetch">>;
  readonly #lost = new LossCount();

  /** Lines not yet taken by Loki, oldest first. The first `#onTheWire` of them are in the request under way. */
  #queue: LokiEntry[] = [];
  #queueCharacters = 0;
  #onTheWire = 0;
  #lastTime = 0n;

  #sending: Promise<void> | undefined;
  #request = new AbortController();
  #failures = 0;
  #lastCause: string | undefined;
  /** Until when Loki has asked to be left alone, on `performance.now()`'s clock. */
  #notBefore = 0;
  /** Ends the pause that the sending loop is in. */
  #wake: () => void = () => {};
  /** Ends the wait for company, but not a backoff. */
  #collected: () => void = () => {};
  /** On `performance.now()`'s clock, while a flush is under way. */
  #deadline: number | undefined;

  constructor({ url, tenant, login, password, fetch, ...rest }: LokiOptions) {
    this.#loki = new LokiClient({ url, tenant, login, password, fetch });
    this.#options = {
      labels: {},
      batchMs: 1_000,
      batchCharacters: 256 * 1024,
      queueLines: 20_000,
      queueCharacters: 8 * 1024 * 1024,
      requestTimeoutMs: 5_000,
      backoffMs: 500,
      maxBackoffMs: 30_000,
      random: Math.random,
      ...rest,
    };
  }

  write({ timeMs, level, event, fields }: LogRecord): void {
    const { task, ...others } = fields;
    const labels: Record<string, string> = { ...this.#options.labels, level };
    if (task !== undefined && task !== "") labels.task = String(task);
    // Loki orders lines by their stamps alone: two of one millisecond, or a clock set back, must not change the order.
    const time = BigInt(Math.round(timeMs * 1000)) * 1000n;
    this.#lastTime = time > this.#lastTime ? time : this.#lastTime + 1n;
    const line = formatLogfmt({ event, ...others });
    this.#queue.push({ stream: JSON.stringify(labels), time: this.#lastTime, line });
    this.#queueCharacters += line.length;
    this.#dropOverflow();
    if (this.#queueCharacters >= this.#options.batchCharacters) this.#collected();
    this.#sending ??= this.#sendAll();
  }

  async flush({ deadlineMs }: { deadlineMs: number }): Promise<FlushResult> {
    this.#deadline = performance.now() + deadlineMs;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#giveUp(`no answer in ${deadlineMs} ms`);
        resolve();
      }, deadlineMs);
    });
    this.#failures = 0;
    if (this.#notBefore > this.#deadline) this.#giveUp("");
    this.#wake();
    // Raced, because lines that are logged meanwhile could make the loop outlast the deadline.
    await Promise.race([this.#idle(), deadline]);
    clearTimeout(timer);
    this.#deadline = undefined;
    return this.#lost.take();
  }

  async #idle(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending;
  }

  async #sendAll(): Promise<void> {
    while (this.#queue.length > 0) {
      await this.#collect();
      if (this.#queue.length === 0) break;
      const outcome = await this.#push();
      if (outcome.result === "failed") {
        this.#onTheWire = 0;
        if (!this.#request.signal.aborted) this.#lastCause = outcome.cause;
        await this.#backOff(outcome.retryAfterMs);
        continue;
      }
      this.#failures = 0;
      this.#lastCause = undefined;
      if (outcome.result === "refused") this.#lost.add(this.#onTheWire, outcome.cause);
      this.#remove(0, this.#onTheWire);
      this.#onTheWire = 0;
    }
    // Here and not in a callback: a line logged between the loop's end and the callback would start no new loop.
    this.#sending = undefined;
  }

  /** Waits until there is a batch, or lines have waited long enough. */
  #collect(): Promise<void> {
    const ready = this.#deadline !== undefined || this.#failures > 0 ||
      this.#queueCharacters >= this.#options.batchCharacters;
    return ready ? Promise.resolve() : this.#pause(this.#options.batchMs, { collecting: true });
  }

  async #backOff(retryAfterMs = 0): Promise<void> {
    const { backoffMs, maxBackoffMs, random } = this.#options;
    // A flush has little time: it tries again sooner, so that a few failures do not use it up.
    const firstMs = this.#deadline === undefined ? backoffMs : Math.min(backoffMs, FLUSH_BACKOFF_MS);
    const limit = Math.min(maxBackoffMs, firstMs * 2 ** this.#failures);
    this.#failures++;
    this.#notBefore = performance.now() + Math.min(retryAfterMs, 2 * maxBackoffMs);
    const waitMs = Math.max(limit * (0.5 + random() / 2), this.#notBefore - performance.now());
    if (this.#deadline !== undefined && performance.now() + waitMs > this.#deadline) {
      // Nothing can be delivered any more before the deadline: the run need not wait for it.
      this.#giveUp("");
      return;
    }
    await this.#pause(waitMs, { collecting: false });
    // A flush ends the pause, but not the time for which the server has asked.
    const restMs = this.#notBefore - performance.now();
    if (restMs > 0 && this.#queue.length > 0) await this.#pause(restMs, { collecting: false });
  }

  #pause(ms: number, { collecting }: { collecting: boolean }): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#wake = end;
      this.#collected = collecting ? end : () => {};
    });
  }

  /** Sends the oldest lines as one request; how many there are is in `#onTheWire`. */
  async #push(): Promise<LokiOutcome> {
    // The lines are chosen again for each attempt, so that what the queue has dropped meanwhile is not sent. Lines that
    // arrive twice because an answer was lost have the same stamp and text, and Loki keeps one.
    const batch: LokiEntry[] = [];
    let characters = 0;
    for (const entry of this.#queue) {
      if (batch.length > 0 && characters + entry.line.length > this.#options.batchCharacters) break;
      characters += entry.line.length;
      batch.push(entry);
    }
    this.#onTheWire = batch.length;
    this.#request = new AbortController();
    const signal = AbortSignal.any([this.#request.signal, AbortSignal.timeout(this.#options.requestTimeoutMs)]);
    return await this.#loki.push(batch, signal);
  }

  #dropOverflow(): void {
    const { queueLines, queueCharacters } = this.#options;
    while (this.#queue.length > queueLines || this.#queueCharacters > queueCharacters) {
      // Lines on the wire may have arrived already: the oldest of the others goes.
      if (this.#onTheWire >= this.#queue.length) return;
      this.#remove(this.#onTheWire, 1);
      this.#lost.add(1, this.#lastCause ?? `${this.#loki.place} accepts lines more slowly than they are written`);
    }
  }

  #giveUp(reason: string): void {
    if (this.#queue.length === 0) return;
    this.#lost.add(this.#queue.length, this.#lastCause ?? `Cannot reach ${this.#loki.place}: ${reason}`);
    this.#remove(0, this.#queue.length);
    this.#onTheWire = 0;
    this.#request.abort();
    this.#wake();
  }

  #remove(from: number, count: number): void {
    for (const entry of this.#queue.splice(from, count)) this.#queueCharacters -= entry.line.length;
  }
}
