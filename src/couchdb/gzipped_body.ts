/**
 * Bodies on their way to CouchDB, gzipped where that pays: across a slow network they are sent in a third of the time,
 * and the quickest level costs next to nothing. In: a body, and what sends it. Out: what came of it. What does not get
 * smaller (attachments) is sent as it is, and so is everything once a server, or a proxy in front of it, has refused
 * such a body.
 */
import process from "node:process";
import { gzip, gzipSync, type ZlibOptions } from "node:zlib";
import { promisify } from "node:util";
import { CouchError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { release } from "./release.ts";

/** Less is one packet or some, whatever is done to it. */
const LEAST_BYTES = 4096;
/** Higher levels cost twice the time for a tenth of the size of the body. */
const LEVEL = 1;
/** A body that stays larger than this part of itself is not worth it: base64 alone gets to three quarters. */
const MOST_PART = 0.7;
/** How many bodies are sent uncompressed after such a one, before gzip is tried again. */
const REST_BODIES = 15;
/** What a server may answer that does not know what such a body is: CouchDB's own word for one, and HTTP's. */
const REFUSALS = new Set([400, 415]);

type Bytes = Uint8Array<ArrayBuffer>;
type Gzip = (bytes: Bytes, options: ZlibOptions) => Bytes | Promise<Bytes>;

/**
 * Node compresses in a thread of its own. Deno does it on this one either way, and what is then awaited is a stream
 * object for each body.
 */
const gzipBytes = (process.versions.deno === undefined ? promisify(gzip) : gzipSync) as Gzip;

/** Gzips the bodies for one server. */
export class GzippedBodies {
  readonly #log: Log;
  #state: "unknown" | "taken" | "refused" = "unknown";
  #rest = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Sends a body, gzipped where that is worth it; where the server refuses that, as it is.
   *
   * @param post Makes the request, with these headers beside its own.
   * @throws What `post` throws.
   */
  async send<T>(
    body: Bytes,
    post: (body: Bytes, headers: Record<string, string>) => Promise<T>,
  ): Promise<T> {
    const smaller = await this.#smaller(body);
    if (smaller === undefined) return await post(body, {});
    try {
      const answer = await post(smaller, { "content-encoding": "gzip" });
      this.#state = "taken";
      return answer;
    } catch (error) {
      if (!(error instanceof CouchError) || !this.#mayBeRefusal(error)) throw error;
      return await this.#sendPlain(body, post, error);
    } finally {
      release(smaller);
    }
  }

  async #smaller(body: Bytes): Promise<Bytes | undefined> {
    if (this.#state === "refused" || body.length < LEAST_BYTES) return undefined;
    if (this.#rest > 0) {
      this.#rest--;
      return undefined;
    }
    // In one piece, as a rule: documents shrink to less than a quarter.
    const bytes = await gzipBytes(body, { level: LEVEL, chunkSize: Math.max(LEAST_BYTES, body.length >> 2) });
    if (bytes.length <= body.length * MOST_PART) return bytes;
    this.#rest = REST_BODIES;
    return undefined;
  }

  #mayBeRefusal({ facts: { status } }: CouchError): boolean {
    // One that has taken such a body means the documents; 415 is about nothing else.
    return status !== undefined && REFUSALS.has(status) && (this.#state !== "taken" || status === 415);
  }

  /** What is refused as it is, too, was not refused for being gzipped. */
  async #sendPlain<T>(
    body: Bytes,
    post: (body: Bytes, headers: Record<string, string>) => Promise<T>,
    refusal: CouchError,
  ): Promise<T> {
    const answer = await post(body, {});
    if (this.#state !== "refused") {
      this.#state = "refused";
      this.#log.warn("gzipped requests are refused: requests are sent uncompressed from now on", {
        status: refusal.facts.status,
        hint: "CouchDB takes them; a proxy in front of it may not, which costs time across a slow network only",
      });
    }
    return answer;
  }
}
