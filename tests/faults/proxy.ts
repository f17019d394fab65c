/**
 * A proxy between the program and one of its servers. It counts requests, and does to the n-th one, or to all from the
 * n-th on, what a fault says. Connections serve one request each: Deno's fetch would send a request again by itself
 * where a connection that has served one before is reset.
 */
import { Buffer } from "node:buffer";
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { WireAnswer, WireFault } from "./wire_faults.ts";

/** A fault, the number of the request that meets it (from 1), and the chance that is the same for the same case. */
export interface ArmedFault {
  fault: WireFault;
  at: number;
  random: () => number;
}

/** A running proxy. */
export class FaultProxy implements AsyncDisposable {
  /** Method and path of each request so far. */
  readonly requests: string[] = [];
  /** Whether the fault has met a request that it could do something to. */
  isMet = false;
  /** Is told of each request before it is passed on. */
  onRequest: ((number: number, request: string) => void | Promise<void>) | undefined;

  readonly #name: string;
  readonly #target: URL;
  readonly #server: Server;
  readonly #agent = new Agent({ keepAlive: true });
  #armed: ArmedFault | undefined;

  private constructor(name: string, target: string) {
    this.#name = name;
    this.#target = new URL(target);
    this.#server = createServer((message, response) => void this.#serve(message, response));
  }

  /** @param name `s3` answers as S3 does where a fault refuses a request, anything else as CouchDB. */
  static async start(name: string, target: string): Promise<FaultProxy> {
    const proxy = new FaultProxy(name, target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  /** The URL that stands for the target's. */
  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}${this.#target.pathname.replace(/\/$/, "")}`;
  }

  /** From now on requests are counted anew, and meet this fault, or none. */
  arm(armed: ArmedFault | undefined): void {
    this.requests.length = 0;
    this.armFrom(armed);
  }

  /** From now on requests meet this fault, or none; they are counted on. */
  armFrom(armed: ArmedFault | undefined): void {
    this.#armed = armed;
    this.isMet = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = await readAll(message);
      const number = this.requests.push(`${message.method} ${message.url}`);
      await this.onRequest?.(number, this.requests.at(-1)!);
      const fault = this.#faultOf(number);
      if (fault?.instead !== undefined) {
        this.isMet = true;
        if (fault.instead === "silence") return;
        if (fault.instead === "reset") return void response.destroy();
        return send(response, message, fault.instead(this.#name));
      }
      const answer = await this.#forward(message, body);
      if (fault === undefined) return send(response, message, answer);
      const changed = fault.change?.(answer, this.#armed!.random, this.requests[number - 1]!);
      const hasHalf = answer.body.length > 1 && message.method !== "HEAD";
      this.isMet = changed !== undefined || fault.behind === "lose" || (fault.behind !== undefined && hasHalf);
      if (fault.behind === "lose") return void response.destroy();
      if (fault.behind === undefined || !hasHalf) return send(response, message, changed ?? answer);
      response.writeHead(answer.status, { ...answer.headers, "content-length": String(answer.body.length) });
      response.write(answer.body.subarray(0, answer.body.length >> 1), () => {
        // Soon, and yet behind the half that was written.
        if (fault.behind === "cut") setTimeout(() => response.destroy(), 5);
      });
    } catch {
      response.destroy(); // The program has left, or the server has.
    }
  }

  #faultOf(number: number): WireFault | undefined {
    if (this.#armed === undefined) return undefined;
    const { fault, at } = this.#armed;
    return number === at || (fault.forGood === true && number > at) ? fault : undefined;
  }

  async #forward(message: IncomingMessage, body: Buffer): Promise<WireAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const { hostname, port } = this.#target;
    // The host's name stays the proxy's, which S3's signatures cover.
    const headers = { ...message.headers, connection: "keep-alive", "content-length": String(body.length) };
    delete (headers as Record<string, unknown>)["transfer-encoding"];
    const options = { hostname, port, method: message.method, path: message.url, headers, agent: this.#agent };
    const sent = request(options, resolve);
    sent.on("error", reject);
    sent.end(body);
    const answer = await promise;
    const kept: Record<string, string> = {};
    for (const [name, value] of Object.entries(answer.headers)) {
      if (!/^(connection|keep-alive|transfer-encoding)$/.test(name) && value !== undefined) kept[name] = String(value);
    }
    return { status: answer.statusCode ?? 0, headers: kept, body: await readAll(answer) };
  }
}

function send(response: ServerResponse, { method }: IncomingMessage, { status, headers, body }: WireAnswer): void {
  // The length announced to HEAD is the object's.
  const length = method === "HEAD" || status === 204 ? {} : { "content-length": String(body.length) };
  response.writeHead(status, { ...headers, ...length, connection: "close" });
  response.end(method === "HEAD" ? undefined : body);
}

async function readAll(message: IncomingMessage): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of message) pieces.push(piece as Uint8Array);
  return Buffer.concat(pieces);
}
