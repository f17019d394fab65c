/**
 * The requests that questions to an S3 server are made of, each with only what is asked about, so that a refusal names one
 * part of the protocol. In: a client, a folder for the objects, and what every object is stored with. Out: answers, and
 * refusals as values.
 */
import { gzipSync } from "node:zlib";
import { withGrace } from "../../abort.ts";
import { StoreError } from "../../errors.ts";
import { joinKey } from "../key.ts";
import type { S3Client } from "./client.ts";
import { ABORT_LIMIT_MS, md5Header, START_GRACE_MS } from "./multipart.ts";
import type { S3Answer, S3Request } from "./request.ts";
import { completeBody, parseUploadId, type S3Part } from "./xml.ts";

/** What a request has beside what the question is about. */
export interface AskOptions {
  /** Further headers. */
  more?: Record<string, string>;
  signal: AbortSignal;
}

/** A body of some kilobytes of text. */
export const TEXT: Uint8Array<ArrayBuffer> = new TextEncoder().encode(
  '{"about":"what this store holds"}\n'.repeat(1000),
);
/** Fronts and filters look at bytes that do not compress otherwise; these are like a chunk's. */
export const CHUNK: Uint8Array<ArrayBuffer> = new Uint8Array(gzipSync(TEXT));
/** Below S3's least size of a part, which the last one may have. */
export const TAIL: Uint8Array<ArrayBuffer> = new TextEncoder().encode("the last part\n");

/** Makes them. */
export class QuestionRequests {
  readonly client: S3Client;
  readonly #folder: string;
  readonly #headers: Record<string, string>;

  /** @param options `headers`: what every object is stored with. */
  constructor(client: S3Client, { folder, headers }: { folder: string; headers: Record<string, string> }) {
    this.client = client;
    this.#folder = folder;
    this.#headers = headers;
  }

  /** The key of an object of the questions. */
  keyOf(...names: string[]): string {
    return joinKey(this.#folder, ...names);
  }

  /** Any request; one that names no right writes. */
  async send(request: Pick<S3Request, "method" | "key"> & Partial<S3Request>, signal: AbortSignal): Promise<S3Answer> {
    return await this.client.send({ action: "ask about", right: "s3:PutObject", ...request }, signal);
  }

  /** Stores an object in one request. */
  async put(name: string, body: Uint8Array<ArrayBuffer>, { more = {}, signal }: AskOptions): Promise<S3Answer> {
    const headers = { ...this.#headers, ...md5Header(body), ...more };
    return await this.send({ method: "PUT", key: this.keyOf(name), headers, body }, signal);
  }

  /** Stores an object in parts; where that fails nothing is left of it. */
  async upload(
    name: string,
    parts: readonly Uint8Array<ArrayBuffer>[],
    { more = {}, signal }: AskOptions,
  ): Promise<S3Answer> {
    const id = await this.begin(name, signal);
    try {
      const taken: S3Part[] = [];
      for (const [index, body] of parts.entries()) {
        const answer = await this.sendPart(name, { id, number: index + 1, body, signal });
        taken.push({ number: index + 1, etag: answer.headers.get("etag") ?? "", sha256: undefined });
      }
      return await this.send({
        method: "POST",
        key: this.keyOf(name),
        query: { uploadId: id },
        headers: more,
        body: new TextEncoder().encode(completeBody(taken)),
      }, signal);
    } catch (error) {
      await this.giveUp(name, id);
      throw error;
    }
  }

  /** Begins an upload. @returns Its id. */
  async begin(name: string, signal: AbortSignal): Promise<string> {
    const request = { method: "POST", key: this.keyOf(name), query: { uploads: "" }, headers: this.#headers } as const;
    signal.throwIfAborted();
    const late = withGrace(signal, START_GRACE_MS);
    try {
      const id = parseUploadId((await this.send(request, late.signal)).body);
      if (id !== undefined) return id;
      throw new StoreError("Cannot begin an upload: the answer has no id", { code: "strange_answer" });
    } finally {
      late.dispose();
    }
  }

  /** Sends a part of an upload. */
  async sendPart(
    name: string,
    { id, number, body, signal }: { id: string; number: number; body: Uint8Array<ArrayBuffer>; signal: AbortSignal },
  ): Promise<S3Answer> {
    return await this.send({
      method: "PUT",
      key: this.keyOf(name),
      query: { partNumber: String(number), uploadId: id },
      headers: md5Header(body),
      body,
    }, signal);
  }

  /** Gives an upload up that something else has ended; a failure is not reported. */
  async giveUp(name: string, id: string): Promise<void> {
    await this.abort(name, id, AbortSignal.timeout(ABORT_LIMIT_MS)).catch(() => undefined);
  }

  /** Gives an upload up. */
  async abort(name: string, id: string, signal: AbortSignal): Promise<void> {
    await this.send({
      method: "DELETE",
      action: "abort the upload of",
      right: "s3:AbortMultipartUpload",
      key: this.keyOf(name),
      query: { uploadId: id },
    }, signal);
  }
}

/** A request that reads an object. */
export function getRequest(key: string, headers: Record<string, string> = {}): S3Request {
  return { method: "GET", action: "read", right: "s3:GetObject", key, headers };
}

/** What a request is refused with; undefined where it succeeds. */
export async function refusalOf(run: () => Promise<unknown>): Promise<StoreError | undefined> {
  try {
    await run();
    return undefined;
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
}

/** `501 NotImplemented`. */
export function answerOf({ facts, message }: StoreError): string {
  return facts.status === undefined ? message : `${facts.status} ${facts.code}`;
}
