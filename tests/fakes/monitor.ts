/** A monitor that is told of runs: keeps what it is sent, and can be slow, refuse, or never answer. */

/** What it was sent. */
export interface Told {
  method: string;
  /** Path and query. */
  path: string;
  body: string;
  authorization: string | null;
}

/** Answers 200 unless told otherwise. Hold it with `await using`. */
export class FakeMonitor implements AsyncDisposable {
  readonly told: Told[] = [];
  /** The status of the answers to come, by turns; then 200. */
  statuses: number[] = [];
  /** Never answers from now on. */
  isSilent = false;
  readonly #released = Promise.withResolvers<void>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
      const { pathname, search } = new URL(request.url);
      const { method, headers } = request;
      const body = await request.text();
      this.told.push({ method, path: pathname + search, body, authorization: headers.get("authorization") });
      if (this.isSilent) await this.#released.promise;
      return new Response("OK", { status: this.statuses.shift() ?? 200 });
    });
  }

  /** Its address, with a path behind it. */
  url(path: string): string {
    return `http://127.0.0.1:${this.#server.addr.port}${path}`;
  }

  get paths(): string[] {
    return this.told.map(({ path }) => path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#released.resolve();
    await this.#server.shutdown();
  }
}
