/**
 * The Runtime API of a Lambda, as a custom runtime speaks it: its four requests and the form of a failure. In: the
 * address in `AWS_LAMBDA_RUNTIME_API`. Out: events, as text, and nothing for results and failures.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
import { counted } from "../src/counts.ts";
import { describeError, EXIT, hintOf, ProgramError } from "../src/errors.ts";
import type { Log } from "../src/observe.ts";

/** The Runtime API does not behave as documented; the process has to end, and Lambda starts a new one. */
export class RuntimeApiError extends ProgramError {
  override readonly exitCode: number = EXIT.unexpected;
}

/** A failure as the Runtime API takes it. `category` stands in the error type of Lambda's own metrics. */
export interface Failure {
  category: "Function" | "Runtime";
  errorType: string;
  errorMessage: string;
  stackTrace: string[];
}

/** An event as `next` delivers it: `text` is not looked at yet. */
export interface Delivery {
  requestId: string;
  text: string;
  deadlineMs: number;
  /** X-Ray's header for this invocation. */
  traceId: string | undefined;
}

/** The class's name is what a state machine's `Retry` and `Catch` compare with. Only a defect needs its stack. */
export function failureOf(error: unknown): Failure {
  const expected = error instanceof ProgramError;
  const hint = hintOf(error);
  return {
    category: "Function",
    errorType: error instanceof Error ? error.name : "Error",
    errorMessage: describeError(error) + (hint === undefined ? "" : `\n${hint}`),
    stackTrace: error instanceof Error && !expected ? (error.stack ?? "").split("\n").map((line) => line.trim()) : [],
  };
}

/** A failure of the loop itself. */
export function runtimeFailure(reason: string, errorMessage: string): Failure {
  return { category: "Runtime", errorType: `Runtime.${reason}`, errorMessage, stackTrace: [] };
}

/** The Runtime API's four requests. */
export class RuntimeApi {
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
    };
  }

  /** Sends a result; one that is refused (413: larger than 6 MB) becomes the invocation's error. */
  async respond(requestId: string, body: string, log: Log): Promise<void> {
    const status = await this.#post(`invocation/${requestId}/response`, body, {});
    if (status < 400) return;
    const message = `Cannot send the result: the Runtime API answered ${status} to ${
      counted(body.length, "character")
    }`;
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
