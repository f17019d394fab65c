/**
 * A Loki that takes pushes and holds them to the push contract: gzipped JSON, time stamps as strings of nanoseconds
 * that never go back within a stream, few labels, the right tenant and login. Faults are answered in the order they are
 * queued.
 */

/** A line that has arrived. */
export interface LokiLine {
  labels: Record<string, string>;
  time: bigint;
  line: string;
}

/** How one request goes wrong. `keep` says whether the lines are taken all the same (an answer that got lost). */
export interface LokiFault {
  status?: number;
  headers?: Record<string, string>;
  /** Accepts and never answers. */
  blackHole?: boolean;
  /** Takes the lines, then breaks the connection instead of answering. */
  keep?: boolean;
  /** What it says. @default "fault" */
  body?: string;
}

/** The double. Breaches of the contract are collected in `breaches`, as a server would answer 400. */
export class FakeLoki {
  /** What was taken, in the order of arrival. Like Loki, a second copy of a line (stream, stamp, text) is not kept. */
  readonly lines: LokiLine[] = [];
  readonly breaches: string[] = [];
  readonly requests: { at: number; lines: number; headers: Headers }[] = [];
  readonly faults: LokiFault[] = [];
  /** Every request goes wrong like this, once `faults` is used up. */
  always: LokiFault | undefined;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #released: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #known = new Set<string>();
  readonly #last = new Map<string, bigint>();

  readonly expected: { tenant?: string; authorization?: string };
  readonly hostname: "127.0.0.1" | "::1";

  constructor(expected: { tenant?: string; authorization?: string } = {}, hostname: "127.0.0.1" | "::1" = "127.0.0.1") {
    this.expected = expected;
    this.hostname = hostname;
    this.#server = Deno.serve({ port: 0, hostname, onListen() {} }, (request) => this.#answer(request));
  }

  get url(): string {
    const host = this.hostname === "::1" ? "[::1]" : this.hostname;
    return `http://${host}:${this.#server.addr.port}/loki/api/v1/push`;
  }

  async close(): Promise<void> {
    this.#released.resolve();
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const fault = this.faults.shift() ?? this.always;
    const body = new Uint8Array(await request.arrayBuffer());
    const entries = await this.#check(request, body);
    this.requests.push({ at: performance.now(), lines: entries.length, headers: request.headers });
    if (fault?.blackHole) await this.#released.promise;
    if (fault?.keep) this.#take(entries);
    if (fault !== undefined) {
      return new Response(fault.body ?? "fault\n", { status: fault.status ?? 500, headers: fault.headers ?? {} });
    }
    this.#take(entries);
    return new Response(null, { status: 204 });
  }

  async #check(request: Request, body: Uint8Array<ArrayBuffer>): Promise<LokiLine[]> {
    const breach = (text: string) => void this.breaches.push(text);
    const { pathname } = new URL(request.url);
    if (request.method !== "POST" || pathname !== "/loki/api/v1/push") breach(`${request.method} ${pathname}`);
    const { headers } = request;
    if (headers.get("content-type") !== "application/json") breach(`content-type ${headers.get("content-type")}`);
    if (headers.get("content-encoding") !== "gzip") breach(`content-encoding ${headers.get("content-encoding")}`);
    if (headers.get("x-scope-orgid") !== (this.expected.tenant ?? null)) breach("wrong tenant");
    if (headers.get("authorization") !== (this.expected.authorization ?? null)) breach("wrong login");
    if (body[0] !== 0x1f || body[1] !== 0x8b) breach("not gzip");
    const stream = new Blob([body]).stream().pipeThrough(new DecompressionStream("gzip"));
    const push = await new Response(stream).json();
    const entries: LokiLine[] = [];
    for (const { stream: labels, values } of push.streams) {
      const names = Object.keys(labels);
      if (names.length === 0 || names.length > 15) breach(`${names.length} labels`);
      for (const [name, value] of Object.entries(labels)) {
        if (!/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) || typeof value !== "string" || value === "") {
          breach(`label ${name}`);
        }
      }
      if (values.length === 0) breach("a stream without lines");
      for (const [time, line] of values) {
        if (typeof time !== "string" || !/^\d{19}$/.test(time)) breach(`time stamp ${time}`);
        if (typeof line !== "string" || /\n/.test(line)) breach("line");
        entries.push({ labels, time: BigInt(time), line });
      }
    }
    if (entries.length === 0) breach("a push without lines");
    return entries;
  }

  #take(entries: LokiLine[]): void {
    for (const entry of entries) {
      const stream = JSON.stringify(entry.labels);
      const copy = JSON.stringify([stream, String(entry.time), entry.line]);
      if (this.#known.has(copy)) continue;
      this.#known.add(copy);
      if (entry.time <= (this.#last.get(stream) ?? 0n)) this.breaches.push(`out of order: ${entry.line}`);
      this.#last.set(stream, entry.time);
      this.lines.push(entry);
    }
  }
}
