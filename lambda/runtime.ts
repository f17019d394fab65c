/**
 * The loop of a Lambda custom runtime: takes events from the Runtime API one at a time, hands each to the handler
 * together with its deadline, and gives back the result or the error. In: the address in `AWS_LAMBDA_RUNTIME_API` and a
 * function that builds the handler. Out: nothing; the loop ends only when it is told to or when it cannot go on.
 */
import { describeError, InterruptedError } from "../src/errors.ts";
import type { Log } from "../src/observe.ts";
import { Deadline, DEADLINE_PASSED } from "./deadline.ts";
import { type Delivery, type Failure, failureOf, RuntimeApi, runtimeFailure } from "./runtime_api.ts";

/** One event, and what the handler has to know to answer it in time. */
export interface Invocation {
  /** The event, parsed from JSON and otherwise as it came. */
  event: unknown;
  requestId: string;
  /** Asks the handler to come to an end: what is in flight may be finished. Aborted with an `InterruptedError`. */
  stop: AbortSignal;
  /** Ends the work at once; what is left of the time is for storing how far it has come. Aborted likewise, later. */
  signal: AbortSignal;
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

const DEFAULT_MARGIN_MS = 60_000;
const MAX_FLUSH_MS = 5_000;

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
  const deadline = new Deadline(delivery.deadlineMs, marginMs);
  try {
    const result = await Promise.race([
      handler({ event, requestId: delivery.requestId, stop: deadline.stop, signal: deadline.signal }),
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
