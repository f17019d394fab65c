/**
 * A double of CouchDB for tests: a real HTTP server on a free port, with databases in memory, that answers as CouchDB
 * 2.1 to 3.5 does, keeps every byte of a document's body, and does what servers and networks do wrong when told to.
 * The same table of behaviours runs against it and against a real CouchDB (couchdb/behaviours.ts).
 * It is `node:http` and not `Deno.serve`, which cannot close a connection without having answered.
 */
import type { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { type CouchAnswer, type CouchRequest, Refusal, refusalAnswer, textAnswer } from "./couchdb/answer.ts";
import { ClusterNode } from "./couchdb/cluster_node.ts";
import type { Database } from "./couchdb/database.ts";
import { type Fault, FaultPlan, refusedRowsOf } from "./couchdb/faults.ts";
import { decompress, readAll, recordOf, type RequestRecord } from "./couchdb/request_log.ts";
import { sendAnswer } from "./couchdb/sending.ts";
import { answerRequest } from "./couchdb/server_endpoints.ts";
import { SERVER_DEFAULTS, type ServerOptions, ServerState } from "./couchdb/server_state.ts";

export type { Fault, FaultRule } from "./couchdb/faults.ts";
export type { RequestRecord } from "./couchdb/request_log.ts";
export type { User } from "./couchdb/server_state.ts";

/** How a double is started. */
export interface FakeCouchDbOptions extends Partial<ServerOptions> {
  /** @default "127.0.0.1" */
  hostname?: "127.0.0.1" | "::1";
  /** The path under which CouchDB stands, as behind a proxy: `/couch`. @default "" */
  basePath?: string;
  /** Whether answers are compressed for clients that accept it, as a proxy does and CouchDB does not. @default false */
  gzipAnswers?: boolean;
}

/** What a proxy in front of the double does; tests set it when they like. */
export interface Front {
  /** `%2F` in paths is decoded, as by nginx where proxy_pass has a path. */
  decodesSlashes?: boolean;
  /** The connection of a request whose body is larger is reset, without an answer. */
  resetsAboveBytes?: number;
  /** A request with a larger `limit` is never answered in time: 504, with a page of HTML. */
  gatewayTimeoutAboveLimit?: number;
}

const GATEWAY_TIMEOUT: Fault = {
  kind: "answer",
  status: 504,
  headers: { "content-type": "text/html" },
  body: "<html><body><h1>504 Gateway Time-out</h1>\nThe server didn't respond in time.\n</body></html>\n",
};
const FOR_EVER_MS = 2 ** 31 - 1;

/** Starts a double. Stop it, or hold it with `await using`. */
export async function startFakeCouchDb(options: FakeCouchDbOptions = {}): Promise<FakeCouchDb> {
  const fake = new FakeCouchDb(options);
  await fake.listen();
  return fake;
}

/** A running double. */
export class FakeCouchDb implements AsyncDisposable {
  /** All requests so far, in the order of their arrival. */
  readonly requests: RequestRecord[] = [];
  readonly faults: FaultPlan = new FaultPlan(() => this.#server.closeIdleConnections());
  /** What a proxy in front of it does. */
  readonly front: Front = {};
  readonly #options: FakeCouchDbOptions;
  readonly #state: ServerState;
  readonly #node: ClusterNode;
  readonly #server: Server;
  readonly #stopping = new AbortController();
  readonly #defects: unknown[] = [];
  readonly #listeners: ((request: RequestRecord) => void | Promise<void>)[] = [];
  #inFlight = 0;

  /** Use {@linkcode startFakeCouchDb}, or `startFakeCluster()` for several that share their databases. */
  constructor(options: FakeCouchDbOptions, place?: { state: ServerState; node: ClusterNode }) {
    this.#options = options;
    this.#node = place?.node ?? new ClusterNode("couchdb@127.0.0.1");
    this.#state = place?.state ?? new ServerState({ ...SERVER_DEFAULTS, ...options }, [this.#node]);
    this.#server = createServer((message, response) => void this.#serve(message, response));
  }

  async listen(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.listen(0, this.#options.hostname ?? "127.0.0.1", resolve);
    await promise;
  }

  /** The base URL without credentials. */
  get url(): string {
    const { address, family, port } = this.#server.address() as AddressInfo;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}${this.#options.basePath ?? ""}`;
  }

  /** The first user's name. */
  get login(): string {
    return this.#state.options.users[0]!.name;
  }

  /** The first user's password. */
  get password(): string {
    return this.#state.options.users[0]!.password;
  }

  /** The databases as they are, by decoded name. */
  get databases(): ReadonlyMap<string, Database> {
    return this.#state.databases;
  }

  /** How often each view was asked for, by `database/_design/x/_view/y`, or `database/_partition/p/_design/…`. */
  get viewCalls(): ReadonlyMap<string, number> {
    return this.#state.viewCalls;
  }

  /** How often a wrong password came, by user name. */
  get failedLogins(): ReadonlyMap<string, number> {
    return this.#state.failedLogins;
  }

  /** What the node says of itself, and whether it is there. */
  get node(): ClusterNode {
    return this.#node;
  }

  /**
   * Does something with each request that comes, before it is answered or meets its fault: such as writing documents
   * between two pages of a feed.
   */
  onRequest(listener: (request: RequestRecord) => void | Promise<void>): void {
    this.#listeners.push(listener);
  }

  /** Breaks all connections. */
  closeConnections(): void {
    this.#server.closeAllConnections();
  }

  /** The requests to one endpoint, in the order of their arrival. */
  requestsTo(endpoint: string, database?: string): RequestRecord[] {
    return this.requests.filter((request) =>
      request.endpoint === endpoint && (database === undefined || request.database === database)
    );
  }

  /**
   * Closes all connections, also those that stall.
   * @throws Error when the double itself failed to answer a request: the test that asked for it proved nothing.
   */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
    if (this.#defects.length > 0) {
      throw new Error("The double of CouchDB failed to answer a request", { cause: this.#defects[0] });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#node.isAway) return void response.destroy();
    const { decodesSlashes, resetsAboveBytes, gatewayTimeoutAboveLimit = Infinity } = this.front;
    if (decodesSlashes) message.url = (message.url ?? "/").replaceAll(/%2F/gi, "/");
    let body: Buffer;
    try {
      body = await readAll(message, resetsAboveBytes);
    } catch {
      // The client has left while it was sending, or has sent too much; there is nobody to answer.
      return void response.destroy();
    }
    this.#inFlight++;
    const left = new AbortController();
    response.once("close", () => left.abort());
    const signal = AbortSignal.any([this.#stopping.signal, left.signal]);
    let record: RequestRecord | undefined;
    try {
      record = recordOf(message, body, {
        number: this.requests.length + 1,
        basePath: this.#options.basePath ?? "",
        inFlight: this.#inFlight,
      });
      this.requests.push(record);
      for (const listener of this.#listeners) await listener(record);
      const isTooSlow = Number(record.query.get("limit") ?? 0) > gatewayTimeoutAboveLimit;
      const fault = isTooSlow ? GATEWAY_TIMEOUT : this.faults.next(record);
      record.fault = fault?.kind;
      await this.#carryOut({ record, body, fault, response, signal });
    } catch (error) {
      // What stalls ends like this when the client leaves or the server stops.
      if (!signal.aborted) this.#defects.push(error);
      response.destroy();
    } finally {
      if (record !== undefined) record.outcome = response.writableFinished ? "answered" : "broken off";
      this.#inFlight--;
    }
  }

  async #carryOut({ record, body, fault, response, signal }: {
    record: RequestRecord;
    body: Buffer;
    fault: Fault | undefined;
    response: ServerResponse;
    signal: AbortSignal;
  }): Promise<void> {
    const wait = async (ms: number = FOR_EVER_MS) => await delay(ms, undefined, { signal });
    if (fault?.kind === "drop") return void response.destroy();
    if (fault?.kind === "stall") await wait(fault.ms);
    if (fault?.kind === "run") await fault.run();
    const answer = fault?.kind === "answer" ? plannedAnswer(fault) : this.#answer(record, body, fault);
    if (fault?.kind === "lose answer") return void response.destroy();
    if (fault?.kind === "status") answer.status = fault.status;
    record.status = answer.status;
    const headers: Record<string, string> = { server: `CouchDB/${this.#state.options.version} (a double)` };
    if (this.faults.willDrop) headers["connection"] = "close";
    const gzip = this.#options.gzipAnswers === true && (record.headers.get("accept-encoding") ?? "").includes("gzip");
    await sendAnswer(answer, { record, fault, response, headers, gzip, wait });
  }

  #answer(record: RequestRecord, body: Buffer, fault: Fault | undefined): CouchAnswer {
    try {
      const plain = decompress(record.headers, body);
      if (plain === undefined) throw new Refusal(400, "bad_request", "Request body is not properly gzipped.");
      const { method, segments, query, headers } = record;
      const refusedRows = refusedRowsOf(fault, record);
      const shortPage = fault?.kind === "short page" ? fault : undefined;
      const request: CouchRequest = {
        method,
        segments,
        query,
        headers,
        body: plain.toString(),
        refusedRows,
        shortPage,
      };
      return answerRequest(request, this.#state, this.#node);
    } catch (error) {
      if (error instanceof Refusal) return refusalAnswer(error);
      this.#defects.push(error);
      return refusalAnswer(new Refusal(500, "defect_of_the_double", String(error)));
    }
  }
}

function plannedAnswer({ status, headers = {}, body }: Extract<Fault, { kind: "answer" }>): CouchAnswer {
  const value = body ?? { error: "planned", reason: "A fault that the test asked for." };
  return { ...textAnswer(status, typeof value === "string" ? value : JSON.stringify(value)), headers };
}
