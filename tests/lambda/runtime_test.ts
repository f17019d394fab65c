import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InterruptedError, StoreError } from "../../src/errors.ts";
import { type Log, SILENT_LOG } from "../../src/observe.ts";
import { type Handler, type Invocation, type RuntimeOptions, serveInvocations } from "../../lambda/runtime.ts";
import { RuntimeApiError } from "../../lambda/runtime_api.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { type LambdaRuntimeDouble, startLambdaRuntime } from "../fakes/lambda_runtime.ts";

/** Runs the loop against `lambda` while `scenario` goes, and returns what the loop came to. */
async function serve(
  lambda: LambdaRuntimeDouble,
  handler: Handler,
  options: Partial<RuntimeOptions> & { scenario: () => Promise<void> },
): Promise<void> {
  const { scenario, ...rest } = options;
  const stop = new AbortController();
  const loop = serveInvocations({
    api: lambda.api,
    init: () => Promise.resolve(handler),
    env: {},
    log: SILENT_LOG,
    flush: () => Promise.resolve(),
    signal: stop.signal,
    ...rest,
  });
  const outcome = loop.then(() => undefined, (error: unknown) => ({ error }));
  // A loop that has ended answers nothing any more: the scenario would wait for ever.
  await Promise.race([scenario(), outcome]);
  stop.abort();
  const ended = await outcome;
  if (ended !== undefined) throw ended.error;
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

/** A log that keeps its events. */
function recordingLog(): Log & { events: string[] } {
  const events: string[] = [];
  const note = (event: string) => void events.push(event);
  const log = { events, debug: note, info: note, warn: note, error: note, with: () => log };
  return log;
}

Deno.test("serveInvocations() answers one event after the other in one process", async () => {
  await using lambda = startLambdaRuntime();
  let served = 0;
  const handler: Handler = ({ event }) => Promise.resolve({ served: ++served, echo: event });
  await serve(lambda, handler, {
    async scenario() {
      const first = await lambda.invoke({ event: { a: "ü" } });
      const second = await lambda.invoke({ event: [1] });
      assertEquals([first.kind, first.body], ["response", { served: 1, echo: { a: "ü" } }]);
      assertEquals([second.kind, second.body], ["response", { served: 2, echo: [1] }]);
    },
  });
});

Deno.test("serveInvocations() answers null for a handler that returns nothing", async () => {
  await using lambda = startLambdaRuntime();
  await serve(lambda, () => Promise.resolve(undefined), {
    async scenario() {
      assertEquals((await lambda.invoke({ event: {} })).body, null);
    },
  });
});

Deno.test("serveInvocations() reports an expected error with its class, hint and no stack, and goes on", async () => {
  await using lambda = startLambdaRuntime();
  const handler: Handler = ({ event }) => {
    if (event === "ok") return Promise.resolve("fine");
    throw new StoreError("Cannot store the chunk", { code: "AccessDenied" }, {
      cause: new Error("403"),
      hint: "Give the role s3:PutObject",
    });
  };
  await serve(lambda, handler, {
    async scenario() {
      const failed = await lambda.invoke({ event: "fail" });
      assertEquals(failed.kind, "error");
      assertEquals(failed.headers.get("Lambda-Runtime-Function-Error-Type"), "Function.StoreError");
      assertEquals(failed.body, {
        errorType: "StoreError",
        errorMessage: "Cannot store the chunk: 403\nGive the role s3:PutObject",
        stackTrace: [],
      });
      assertEquals((await lambda.invoke({ event: "ok" })).body, "fine");
    },
  });
});

Deno.test("serveInvocations() reports a defect with its stack", async () => {
  await using lambda = startLambdaRuntime();
  const handler: Handler = () => Promise.reject(new TypeError("undefined is not a function"));
  await serve(lambda, handler, {
    async scenario() {
      const { body } = await lambda.invoke({ event: {} });
      const { errorType, stackTrace } = body as { errorType: string; stackTrace: string[] };
      assertEquals(errorType, "TypeError");
      assertStringIncludes(stackTrace.join("\n"), "runtime_test.ts");
    },
  });
});

Deno.test("serveInvocations() survives an event that is not JSON", async () => {
  await using lambda = startLambdaRuntime();
  const seen: unknown[] = [];
  const handler: Handler = ({ event }) => Promise.resolve(seen.push(event));
  await serve(lambda, handler, {
    async scenario() {
      for (const text of ["{", "", "\u0000"]) {
        const posted = await lambda.invoke({ text });
        assertEquals(posted.kind, "error");
        assertEquals(posted.headers.get("Lambda-Runtime-Function-Error-Type"), "Runtime.MalformedEvent");
      }
      assertEquals((await lambda.invoke({ event: "good" })).body, 1);
    },
  });
  assertEquals(seen, ["good"]);
});

Deno.test("serveInvocations() reports a result that is not JSON or is refused, and goes on", async () => {
  await using lambda = startLambdaRuntime();
  const handler: Handler = ({ event }) => Promise.resolve(event === "bigint" ? 1n : event);
  await serve(lambda, handler, {
    async scenario() {
      const unserialisable = await lambda.invoke({ event: "bigint" });
      assertEquals((unserialisable.body as { errorType: string }).errorType, "TypeError");
      const refused = await lambda.invoke({ event: "large", refuseWith: 413 });
      assertEquals(refused.kind, "error");
      assertEquals(refused.headers.get("Lambda-Runtime-Function-Error-Type"), "Runtime.ResultRefused");
      assertEquals((await lambda.invoke({ event: "fine" })).body, "fine");
    },
  });
});

Deno.test("serveInvocations() asks the handler to stop, then ends its work, before the deadline", () =>
  withTurnsForTime(async () => {
    await using lambda = startLambdaRuntime();
    const handler = async ({ stop, signal }: Invocation) => {
      const started = performance.now();
      await aborted(stop);
      const endedAtStop = signal.aborted;
      const stoppedMs = performance.now() - started;
      await aborted(signal);
      const endedMs = performance.now() - started;
      const reasons = [stop.reason, signal.reason].map((reason: Error) => reason.name);
      return { endedAtStop, stoppedMs, endedMs, reasons };
    };
    await serve(lambda, handler, {
      marginMs: 1_200,
      async scenario() {
        const { kind, body } = await lambda.invoke({ event: {}, timeoutMs: 4_800 });
        const { endedAtStop, stoppedMs, endedMs, reasons } = body as Awaited<ReturnType<typeof handler>>;
        assertEquals([kind, endedAtStop], ["response", false]);
        assertEquals(reasons, ["InterruptedError", "InterruptedError"]);
        assert(stoppedMs > 2_800 && stoppedMs < 4_300, `asked to stop after ${stoppedMs} ms`);
        assert(endedMs > 3_800 && endedMs < 4_700, `ended after ${endedMs} ms`);
      },
    });
  }));

Deno.test("serveInvocations() leaves three quarters of a short timeout to the handler", () =>
  withTurnsForTime(async () => {
    await using lambda = startLambdaRuntime();
    const handler: Handler = async ({ stop }) => {
      const started = performance.now();
      await aborted(stop);
      return performance.now() - started;
    };
    await serve(lambda, handler, {
      async scenario() {
        const { body: stoppedMs } = await lambda.invoke({ event: {}, timeoutMs: 4_000 });
        assert(typeof stoppedMs === "number" && stoppedMs > 2_400 && stoppedMs < 3_700, `${stoppedMs} ms`);
      },
    });
  }));

Deno.test("serveInvocations() fails an event whose handler does not stop, and ends the process's loop", async () => {
  await using lambda = startLambdaRuntime();
  let release = () => {};
  const handler: Handler = () => new Promise((resolve) => release = () => resolve("too late"));
  const run = serve(lambda, handler, {
    marginMs: 200,
    async scenario() {
      const { kind, headers } = await lambda.invoke({ event: {}, timeoutMs: 800 });
      assertEquals([kind, headers.get("Lambda-Runtime-Function-Error-Type")], ["error", "Runtime.DeadlineExceeded"]);
    },
  });
  await assertRejects(() => run, InterruptedError, "did not stop");
  release();
});

Deno.test("serveInvocations() flushes before it answers, a failing or hanging flush notwithstanding", async () => {
  await using lambda = startLambdaRuntime();
  const log = recordingLog();
  const steps: string[] = [];
  const flushes = [
    () => Promise.resolve(void steps.push("flushed")),
    () => Promise.reject(new Error("Loki is down")),
    () => new Promise<void>(() => {}),
  ];
  await serve(lambda, () => Promise.resolve(steps.push("handled")), {
    log,
    flush: () => flushes.shift()!(),
    async scenario() {
      await lambda.invoke({ event: 1 }).then(() => steps.push("answered"));
      assertEquals(steps, ["handled", "flushed", "answered"]);
      assertEquals((await lambda.invoke({ event: 2 })).kind, "response");
      assertEquals((await lambda.invoke({ event: 3, timeoutMs: 600 })).kind, "response");
    },
  });
  assertEquals(log.events, ["flush failed", "flush abandoned"]);
});

Deno.test("serveInvocations() keeps the trace id of the event in the environment, and no old one", async () => {
  await using lambda = startLambdaRuntime();
  const env: Record<string, string | undefined> = { _X_AMZN_TRACE_ID: "old" };
  const handler: Handler = () => Promise.resolve({ env: env._X_AMZN_TRACE_ID });
  await serve(lambda, handler, {
    env,
    async scenario() {
      const traced = await lambda.invoke({ event: {}, traceId: "Root=1-2-3" });
      assertEquals(traced.body, { env: "Root=1-2-3" });
      assertEquals((await lambda.invoke({ event: {} })).body, {});
    },
  });
});

Deno.test("serveInvocations() reports a failed start as init error and throws it", async () => {
  await using lambda = startLambdaRuntime();
  const log = recordingLog();
  let flushed = false;
  const run = serve(lambda, () => Promise.resolve(), {
    log,
    flush: () => Promise.resolve(void (flushed = true)),
    init: () => Promise.reject(new StoreError("Cannot find the bucket", { code: "NoSuchBucket" })),
    async scenario() {
      const { body, headers } = await lambda.initError;
      assertEquals((body as { errorType: string }).errorType, "StoreError");
      assertEquals(headers.get("Lambda-Runtime-Function-Error-Type"), "Function.StoreError");
    },
  });
  await assertRejects(() => run, StoreError, "Cannot find the bucket");
  assertEquals([log.events, flushed, lambda.asked()], [["start failed"], true, 0]);
});

Deno.test("serveInvocations() ends when the Runtime API fails or is gone", async () => {
  const options = {
    env: {},
    log: SILENT_LOG,
    flush: () => Promise.resolve(),
    init: () => Promise.resolve<Handler>(() => Promise.resolve()),
  };
  await using lambda = startLambdaRuntime();
  lambda.breakWith(500);
  await assertRejects(() => serveInvocations({ ...options, api: lambda.api }), RuntimeApiError, "answered 500");
  const port = freePort();
  await assertRejects(
    () => serveInvocations({ ...options, api: `127.0.0.1:${port}` }),
    RuntimeApiError,
    "cannot be reached",
  );
});

Deno.test("serveInvocations() does all of this in a process with an empty environment", async () => {
  await using lambda = startLambdaRuntime();
  const child = program(lambda, {});
  const first = await lambda.invoke({ event: { ask: "what is HOME" } });
  assertEquals(first.body, { served: 1, home: null });
  assertEquals((await lambda.invoke({ event: { ask: "fail" } })).kind, "error");
  assertEquals((await lambda.invoke({ text: "not JSON" })).kind, "error");
  const late = await lambda.invoke({ event: { ask: "work until told to stop" }, timeoutMs: 1_000 });
  assertEquals(late.body, { stopped: true, served: 3 });
  child.kill("SIGKILL");
  await child.output();
});

Deno.test("serveInvocations() ends the process with a code other than 0 after an init error", async () => {
  await using lambda = startLambdaRuntime();
  const child = program(lambda, { FAIL_INIT: "1" });
  const { body } = await lambda.initError;
  assertMatch((body as { errorMessage: string }).errorMessage, /The config is empty/);
  assertEquals((await child.output()).code, 1);
});

function program(lambda: LambdaRuntimeDouble, env: Record<string, string>): Deno.ChildProcess {
  return new Deno.Command("deno", {
    args: ["run", "--quiet", "--no-prompt", "--allow-net", "--allow-env", "tests/fakes/lambda_program.ts"],
    clearEnv: true,
    env: { AWS_LAMBDA_RUNTIME_API: lambda.api, ...env },
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}
