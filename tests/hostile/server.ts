/**
 * A server on this machine whose answers are made by hand, one after the other: what answers need not be what was
 * meant.
 */

/** An answer as it goes out. */
export interface HostileAnswer {
  status?: number;
  headers?: Record<string, string>;
  body?: BodyInit | null;
}

/** A server. Hold it with `await using`. */
export interface HostileServer extends AsyncDisposable {
  /** Without a slash at its end. */
  url: string;
  /** Makes the next answers. */
  answer: (request: Request) => HostileAnswer | Promise<HostileAnswer>;
}

/** Starts a server. */
export function startHostileServer(): HostileServer {
  const listener = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { status = 200, headers = {}, body = null } = await hostile.answer(request);
    return new Response([204, 304].includes(status) ? null : body, { status, headers });
  });
  const hostile: HostileServer = {
    url: `http://127.0.0.1:${listener.addr.port}`,
    answer: () => ({ status: 404 }),
    [Symbol.asyncDispose]: () => listener.shutdown(),
  };
  return hostile;
}
