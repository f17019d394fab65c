/**
 * A double of Lambda's Runtime API: hands out queued events, remembers what comes back, and can refuse it. One event
 * is under way at a time, as on Lambda.
 */

/** What a runtime posted: a result or an error. */
export interface Posted {
  kind: "response" | "error";
  body: unknown;
  headers: Headers;
}

/** An event to hand out. */
export interface QueuedEvent {
  /** Sent as JSON, unless `text` is given. */
  event?: unknown;
  /** The body as it stands, for events that are not JSON. */
  text?: string;
  /** How long the invocation may take, in milliseconds. @default 60_000 */
  timeoutMs?: number;
  traceId?: string;
  /** Answers the result with this status, once. */
  refuseWith?: number;
}

/** The double, listening on a port of its own until it is disposed of. */
export interface LambdaRuntimeDouble extends AsyncDisposable {
  /** The value of `AWS_LAMBDA_RUNTIME_API`. */
  api: string;
  /** Queues an event and resolves with the first thing posted for it that is not refused. */
  invoke(event: QueuedEvent): Promise<Posted>;
  /** Resolves with what is posted as the init error. */
  initError: Promise<Posted>;
  /** How often `next` was asked for. */
  asked(): number;
  /** Whatever is asked from now on is answered with this status. */
  breakWith(status: number): void;
}

interface Pending extends QueuedEvent {
  id: string;
  settle(posted: Posted): void;
}

/** Starts the double on the loopback address. */
export function startLambdaRuntime(): LambdaRuntimeDouble {
  const queue: Pending[] = [];
  const waiting: ((pending: Pending) => void)[] = [];
  const underWay = new Map<string, Pending>();
  const initError = Promise.withResolvers<Posted>();
  let asked = 0;
  let broken: number | undefined;

  const next = async (): Promise<Response> => {
    asked++;
    const pending = queue.shift() ?? await new Promise<Pending>((resolve) => waiting.push(resolve));
    underWay.set(pending.id, pending);
    const headers = new Headers({
      "Lambda-Runtime-Aws-Request-Id": pending.id,
      "Lambda-Runtime-Deadline-Ms": String(Date.now() + (pending.timeoutMs ?? 60_000)),
      "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:backup",
    });
    if (pending.traceId !== undefined) headers.set("Lambda-Runtime-Trace-Id", pending.traceId);
    return new Response(pending.text ?? JSON.stringify(pending.event), { headers });
  };

  const take = async (request: Request, id: string, kind: Posted["kind"]): Promise<Response> => {
    const body = await request.json();
    const pending = underWay.get(id);
    if (pending === undefined) return new Response("no such invocation", { status: 400 });
    if (kind === "response" && pending.refuseWith !== undefined) {
      return new Response("refused", { status: pending.refuseWith });
    }
    underWay.delete(id);
    pending.settle({ kind, body, headers: request.headers });
    return new Response("{}", { status: 202 });
  };

  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const path = new URL(request.url).pathname;
    if (broken !== undefined) {
      await request.body?.cancel();
      return new Response("broken", { status: broken });
    }
    if (request.method === "GET" && path === "/2018-06-01/runtime/invocation/next") return await next();
    const match = /^\/2018-06-01\/runtime\/invocation\/([^/]+)\/(response|error)$/.exec(path);
    if (request.method === "POST" && match !== null) {
      return await take(request, match[1]!, match[2] as Posted["kind"]);
    }
    if (request.method === "POST" && path === "/2018-06-01/runtime/init/error") {
      initError.resolve({ kind: "error", body: await request.json(), headers: request.headers });
      return new Response("{}", { status: 202 });
    }
    return new Response(`no such request: ${request.method} ${path}`, { status: 404 });
  });

  return {
    api: `127.0.0.1:${server.addr.port}`,
    initError: initError.promise,
    asked: () => asked,
    breakWith(status) {
      broken = status;
    },
    invoke(event) {
      const { promise, resolve } = Promise.withResolvers<Posted>();
      const pending: Pending = { ...event, id: crypto.randomUUID(), settle: resolve };
      const receiver = waiting.shift();
      if (receiver === undefined) queue.push(pending);
      else receiver(pending);
      return promise;
    },
    async [Symbol.asyncDispose]() {
      // A runtime that is still waiting would keep the server open for ever.
      await Promise.race([server.shutdown(), new Promise((resolve) => setTimeout(resolve, 50))]);
    },
  };
}
