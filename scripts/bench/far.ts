/** A server that is some way away. In: one on this machine, and a time. Out: an address whose answers take that longer. */

/** A way to a server. */
export interface Far extends AsyncDisposable {
  url: URL;
}

/** Opens a way that takes every byte `delayMs`, there and back, whatever else is on its way. */
export function startFar(target: URL, delayMs: number): Far {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections = new Set<Deno.TcpConn>();
  const pass = async (from: Deno.TcpConn, to: Deno.TcpConn) => {
    let last: Promise<void> = Promise.resolve();
    try {
      for await (const bytes of from.readable) {
        const dueMs = performance.now() + delayMs;
        last = last.then(async () => {
          await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - performance.now())));
          for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
        });
        // Of its failure hears who waits for the last one.
        last.catch(() => {});
      }
      await last;
    } catch {
      // Whoever has closed the connection knows.
    }
    for (const one of [from, to]) {
      if (connections.delete(one)) {
        try {
          one.close();
        } catch {
          // The stream of its bytes has closed it.
        }
      }
    }
  };
  const accepting = (async () => {
    for await (const near of listener) {
      // Where the server is not there, whoever has asked gets no answer, and says so.
      const far = await Deno.connect({ hostname: target.hostname, port: Number(target.port) }).catch(() =>
        near.close()
      );
      if (far === undefined) continue;
      for (const one of [near, far]) {
        one.setNoDelay();
        connections.add(one);
      }
      void pass(near, far);
      void pass(far, near);
    }
  })();
  const url = new URL(target);
  url.port = String(listener.addr.port);
  url.hostname = "127.0.0.1";
  return {
    url,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      for (const one of connections) one.close();
    },
  };
}
