/** A proxy for TLS (CONNECT) that notes which hosts it is asked for, and lets some of them through. */
import { connect, createServer, type Socket } from "node:net";

/** What becomes of a host: a port of this machine, a refusal, or nothing at all. */
export type Route = number | "refused" | "silent";

/** A proxy that lets some hosts through. */
export async function startConnectProxy(
  routeOf: (host: string) => Route,
): Promise<{ url: string; hosts: string[] } & Disposable> {
  const hosts: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    sockets.add(client);
    client.on("error", () => client.destroy());
    client.once("data", (bytes) => {
      const host = /^CONNECT ([^:]+):443 /.exec(bytes.toString())?.[1] ?? "";
      hosts.push(host);
      const route = routeOf(host);
      if (route === "silent") return;
      if (route === "refused") return void client.end("HTTP/1.1 403 Forbidden\r\n\r\n");
      const upstream = connect(route, "127.0.0.1", () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n");
        client.pipe(upstream).pipe(client);
      });
      sockets.add(upstream);
      upstream.on("error", () => client.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    hosts,
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
