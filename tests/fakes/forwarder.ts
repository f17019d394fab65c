/**
 * A server in front of a real CouchDB, so that a test can do something between two requests of the program. It changes
 * nothing that passes.
 */
import type { CouchServer } from "../couch_request.ts";

/** A running forwarder. */
export interface Forwarder extends CouchServer, AsyncDisposable {}

/**
 * Starts a forwarder on a free port.
 *
 * @param onRequest Is awaited before a request is passed on. `path` has its query.
 */
export function startForwarder(
  target: CouchServer,
  onRequest: (request: { method: string; path: string; body: string }) => void | Promise<void>,
): Forwarder {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname, search } = new URL(request.url);
    const path = pathname + search;
    const body = request.body === null ? null : await request.text();
    await onRequest({ method: request.method, path, body: body ?? "" });
    const headers = new Headers(request.headers);
    headers.delete("host");
    return await fetch(target.url + path, { method: request.method, headers, body });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    login: target.login,
    password: target.password,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
