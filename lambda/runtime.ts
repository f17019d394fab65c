/**
 * The loop of a Lambda custom runtime: takes events from the Runtime API one at a time, hands each to the handler
 * together with its deadline, and gives back the result or the error. In: the address in `AWS_LAMBDA_RUNTIME_API` and a
 * function that builds the handler. Out: nothing; the loop ends only when it is told to or when it cannot go on.
 */
import { describeError, EXIT, InterruptedError, ProgramError } from "../src/errors.ts";
import type { Log } from "../src/observe.ts";

/** One event, and what the handler has to know to answer it in time. */
export interface Invocation {
  /** The event, parsed from JSON and otherwise as it came. */
  event: unknown;
  requestId: string;
  /** Asks the handler to come to an end: what is in flight may be finished. Aborted with an `InterruptedError`. */
  stop: AbortSignal;
  /** Ends the work at once; what is left of the time is for storing how far it has come. Aborted likewise, later. */
  signal: AbortSignal;
  /** How long until `stop` is aborted, in milliseconds; 0 afterwards, Infinity when the event has no deadline. */
  remainingMs(): number;
  /** X-Ray's header for this invocation. */
  traceId: string | undefined;
  functionArn: string | undefined;
}

/** Answers an event. What it returns is sent as JSON; what it throws is reported as the invocation's error. */
export type Handler = (invocation: Invocation) => Promise<unknown>;

/** What the loop works with. */
export interface RuntimeOptions {
  /** Host and port of the Runtime API, the value of `AWS_LAMBDA_RUNTIME_API`. */
  api: string;
  /** Does what is done once per process. What it throws is reported as an init error and ends the loop. */
  init: () => Promise<Handler>;
  /** The process's environment; the loop keeps `_X_AMZN_TRACE_ID` in it, where AWS libraries look for it. */
  env: Record<string, string | undefined>;
  log: Log;
  /** Sends what is buffered (logs, metrics). The process is frozen as soon as its answer is out, so it comes before. */
  flush: () => Promise<void>;
  /** Ends the loop between two events. */
  signal?: AbortSignal | undefined;
  /**
   * How long before the deadline the handler is asked to stop, in milliseconds; a quarter of the whole time at most.
   *
   * @default 60_000
   */
  marginMs?: number | undefined;
}

/** The Runtime API does not behave as documented; the process has to end, and Lambda starts a new one. */
export class RuntimeApiError extends ProgramError {
  override readonly exitCode: number = EXIT.unexpected;
}

const DEFAULT_MARGIN_MS = 60_000;
const MAX_FLUSH_MS = 5_000;
/** The parts of the margin that are left when the work is ended, and when the answer is sent in any case. */
const SIGNAL_SHARE = 1 / 3;
const ANSWER_SHARE = 1 / 12;

/** A failure as the Runtime API takes it. `category` stands in the error type of Lambda's own metrics. */
interface Failure {
  category: "Function" | "Runtime";
  errorType: string;
  errorMessage: string;
  stackTrace: string[];
}

/** An event as `next` delivers it: `text` is not looked at yet. */
interface Delivery {
  requestId: string;
  text: string;
  deadlineMs: number;
  traceId: string | undefined;
  functionArn: string | undefined;
}

/** What the handler made of an event. `stuck` is a handler that goes on although its time is over. */
type Outcome = { body: string } | { failure: Failure; stuck: boolean };

/**
 * Answers events until `signal` is aborted.
 *
 * An event that is not JSON, a handler that throws, a result that cannot be sent: each is reported for its own
 * invocation, and the next event is taken.
 *
 * @throws What `init` threw, after it is reported; RuntimeApiError when the Runtime API cannot be reached or gives up;
 * InterruptedError when a handler does not stop in time: it would go on working in the middle of the next event.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
export async function serveInvocations(options: RuntimeOptions): Promise<void> {
  const api = new RuntimeApi(options.api);
  const handler = await initialise(api, options);
  while (options.signal?.aborted !== true) {
    const delivery = await api.next(options.signal);
    if (delivery === undefined) return;
    setTraceId(options.env, delivery.traceId);
    const outcome = await answer(delivery, handler, options.marginMs ?? DEFAULT_MARGIN_MS);
    await flushInTime(options, delivery.deadlineMs);
    if ("body" in outcome) {
      await api.respond(delivery.requestId, outcome.body, options.log);
      continue;
    }
    await api.fail(`invocation/${delivery.requestId}/error`, outcome.failure);
    if (outcome.stuck) throw new InterruptedError(outcome.failure.errorMessage);
  }
}

async function initialise(api: RuntimeApi, options: RuntimeOptions): Promise<Handler> {
  try {
    return await options.init();
  } catch (error) {
    options.log.error("start failed", { error: describeError(error) });
    await flushInTime(options, Infinity);
    await api.fail("init/error", failureOf(error));
    throw error;
  }
}

async function answer(delivery: Delivery, handler: Handler, marginMs: number): Promise<Outcome> {
  let event: unknown;
  try {
    event = JSON.parse(delivery.text);
  } catch (cause) {
    const message = `Cannot read the event: it is not JSON: ${describeError(cause)}`;
    return { failure: runtimeFailure("MalformedEvent", message), stuck: false };
  }
  const { requestId, traceId, functionArn } = delivery;
  const deadline = new Deadline(delivery.deadlineMs, marginMs);
  try {
    const result = await Promise.race([
      handler({
        event,
        requestId,
        traceId,
        functionArn,
        stop: deadline.stop,
        signal: deadline.signal,
        remainingMs: () => deadline.remainingMs(),
      }),
      deadline.passed,
    ]);
    if (result === DEADLINE_PASSED) {
      const message = "Cannot finish the event: the handler did not stop although its time is over";
      return { failure: runtimeFailure("DeadlineExceeded", message), stuck: true };
    }
    return { body: JSON.stringify(result) ?? "null" };
  } catch (error) {
    return { failure: failureOf(error), stuck: false };
  } finally {
    deadline.clear();
  }
}

const DEADLINE_PASSED = Symbol("deadline passed");

/** Lambda ends an invocation at its deadline without any signal, so the time is measured here. */
class Deadline {
  readonly stop: AbortSignal;
  readonly signal: AbortSignal;
  /** Settles when a handler that heeds `signal` would long have stopped, and an answer can only just be sent. */
  readonly passed: Promise<typeof DEADLINE_PASSED>;
  readonly #stopAtMs: number;
  readonly #timers: ReturnType<typeof setTimeout>[] = [];

  constructor(deadlineMs: number, wantedMarginMs: number) {
    const nowMs = Date.now();
    // With a short timeout a fixed margin would leave no time to work.
    const marginMs = Math.min(wantedMarginMs, Math.max(0, deadlineMs - nowMs) / 4);
    const [stop, signal] = [new AbortController(), new AbortController()];
    const { promise, resolve } = Promise.withResolvers<typeof DEADLINE_PASSED>();
    this.#stopAtMs = deadlineMs - marginMs;
    this.stop = stop.signal;
    this.signal = signal.signal;
    this.passed = promise;
    if (deadlineMs === Infinity) return;
    const at = (timeMs: number, action: () => void) => this.#timers.push(setTimeout(action, timeMs - nowMs));
    at(this.#stopAtMs, () => stop.abort(timeIsOver()));
    at(deadlineMs - marginMs * SIGNAL_SHARE, () => signal.abort(timeIsOver()));
    at(deadlineMs - marginMs * ANSWER_SHARE, () => resolve(DEADLINE_PASSED));
  }

  remainingMs(): number {
    return Math.max(0, this.#stopAtMs - Date.now());
  }

  clear(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

function timeIsOver(): InterruptedError {
  return new InterruptedError("The time of this Lambda invocation is nearly over");
}

/** A log server that does not answer must not cost the invocation its answer. */
async function flushInTime({ flush, log }: RuntimeOptions, deadlineMs: number): Promise<void> {
  const limitMs = Math.min(MAX_FLUSH_MS, Math.max(0, deadlineMs - Date.now()) / 2);
  const { promise: late, resolve } = Promise.withResolvers<"late">();
  const timer = setTimeout(() => resolve("late"), limitMs);
  try {
    const outcome = await Promise.race([flush(), late]);
    if (outcome === "late") log.warn("flush abandoned", { limitMs: Math.round(limitMs) });
  } catch (error) {
    log.warn("flush failed", { error: describeError(error) });
  } finally {
    clearTimeout(timer);
  }
}

function setTraceId(env: RuntimeOptions["env"], traceId: string | undefined): void {
  if (traceId === undefined) delete env._X_AMZN_TRACE_ID;
  else env._X_AMZN_TRACE_ID = traceId;
}

/** The class's name is what a state machine's `Retry` and `Catch` compare with. Only a defect needs its stack. */
function failureOf(error: unknown): Failure {
  const expected = error instanceof ProgramError;
  const hint = expected && error.hint !== undefined ? `\n${error.hint}` : "";
  return {
    category: "Function",
    errorType: error instanceof Error ? error.name : "Error",
    errorMessage: describeError(error) + hint,
    stackTrace: error instanceof Error && !expected ? (error.stack ?? "").split("\n").map((line) => line.trim()) : [],
  };
}

function runtimeFailure(reason: string, errorMessage: string): Failure {
  return { category: "Runtime", errorType: `Runtime.${reason}`, errorMessage, stackTrace: [] };
}

/** The Runtime API's four requests. */
class RuntimeApi {
  readonly #base: string;

  constructor(api: string) {
    this.#base = `http://${api}/2018-06-01/runtime/`;
  }

  /** Waits for the next event, without a limit: between two of them the process may be frozen for hours. */
  async next(signal: AbortSignal | undefined): Promise<Delivery | undefined> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${this.#base}invocation/next`, signal === undefined ? {} : { signal });
      text = await response.text();
    } catch (cause) {
      if (signal?.aborted === true) return undefined;
      throw new RuntimeApiError("Cannot take an event: the Runtime API cannot be reached", { cause });
    }
    const requestId = response.headers.get("Lambda-Runtime-Aws-Request-Id");
    if (!response.ok || requestId === null) {
      throw new RuntimeApiError(
        `Cannot take an event: the Runtime API answered ${response.status}, it should be 200 with a request id`,
      );
    }
    return {
      requestId,
      text,
      deadlineMs: Number(response.headers.get("Lambda-Runtime-Deadline-Ms") ?? Infinity),
      traceId: response.headers.get("Lambda-Runtime-Trace-Id") ?? undefined,
      functionArn: response.headers.get("Lambda-Runtime-Invoked-Function-Arn") ?? undefined,
    };
  }

  /** Sends a result; one that is refused (413: larger than 6 MB) becomes the invocation's error. */
  async respond(requestId: string, body: string, log: Log): Promise<void> {
    const status = await this.#post(`invocation/${requestId}/response`, body, {});
    if (status < 400) return;
    const message = `Cannot send the result: the Runtime API answered ${status} to ${body.length} characters`;
    log.error("result refused", { status });
    await this.fail(`invocation/${requestId}/error`, runtimeFailure("ResultRefused", message));
  }

  /** Reports a failure at `path`, relative to the API's base. */
  async fail(path: string, failure: Failure): Promise<void> {
    const { category, ...body } = failure;
    const type = failure.errorType.startsWith(`${category}.`) ? failure.errorType : `${category}.${failure.errorType}`;
    const status = await this.#post(path, JSON.stringify(body), { "Lambda-Runtime-Function-Error-Type": type });
    if (status < 400) return;
    throw new RuntimeApiError(`Cannot report "${failure.errorMessage}": the Runtime API answered ${status}`);
  }

  async #post(path: string, body: string, headers: Record<string, string>): Promise<number> {
    let response: Response;
    try {
      response = await fetch(this.#base + path, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers },
        body,
      });
      await response.body?.cancel();
    } catch (cause) {
      throw new RuntimeApiError(`Cannot post "${path}": the Runtime API cannot be reached`, { cause });
    }
    // 500 is the one status that the documentation calls final.
    if (response.status >= 500) {
      throw new RuntimeApiError(`Cannot post "${path}": the Runtime API answered ${response.status}`);
    }
    return response.status;
  }
}
