/**
 * A multipart upload: created, given its parts one after the other, and completed or aborted. Until it is completed
 * nothing can be read under its key; one that is neither completed nor aborted keeps costing money.
 */
import { createHash, type Hash } from "node:crypto";
import { withGrace } from "../../abort.ts";
import type { BodyPart } from "./parts.ts";
import type { S3Client } from "./client.ts";
import type { Dialect, Form } from "./dialect.ts";
import { rightsToStore } from "./hold.ts";
import { strangeAnswer, takenError } from "./error.ts";
import { completeBody, isCompleted, parseUploadId, type S3Part } from "./xml.ts";

/** How long a beginning may go on after an abort, so that the upload's id is known and it can be aborted. */
export const START_GRACE_MS = 5_000;
/** How long aborting may take. It goes by no other signal: what ends the upload must not keep it from being aborted. */
export const ABORT_LIMIT_MS = 10_000;

const CHECKSUM_HEADER = "x-amz-checksum-sha256";

/** A SHA-256 as node:crypto gives it. */
export interface Digest {
  toString(encoding: "hex" | "base64"): string;
}

/** What lets the server see that a body has come as it was sent. */
export function checksumHeader(body: Uint8Array, digest: Digest, checksums: boolean): Record<string, string> {
  return checksums ? { [CHECKSUM_HEADER]: digest.toString("base64") } : md5Header(body);
}

/** The older checksum, which is known everywhere. */
export function md5Header(body: Uint8Array): Record<string, string> {
  return { "content-md5": createHash("md5").update(body).digest("base64") };
}

/** One upload to one key. */
export class MultipartUpload {
  readonly #client: S3Client;
  readonly #key: string;
  readonly #uploadId: string;
  readonly #dialect: Dialect;
  readonly #parts: S3Part[] = [];
  readonly #hash: Hash = createHash("sha256");
  #sizeBytes = 0;

  private constructor(client: S3Client, key: string, upload: { id: string; dialect: Dialect }) {
    this.#client = client;
    this.#key = key;
    this.#uploadId = upload.id;
    this.#dialect = upload.dialect;
  }

  /** Begins an upload. `headers` hold what the object is to have: storage class, encryption, metadata. */
  static async begin(
    client: S3Client,
    key: string,
    options: { headers: Record<string, string>; dialect: Dialect; signal?: AbortSignal | undefined },
  ): Promise<MultipartUpload> {
    const { headers, dialect } = options;
    options.signal?.throwIfAborted();
    const late = withGrace(options.signal, START_GRACE_MS);
    try {
      const answer = await dialect.attempt(
        ({ checksums }) =>
          client.send({
            method: "POST",
            action: "begin the upload of",
            right: rightsToStore(headers),
            key,
            query: { uploads: "" },
            headers: { ...headers, ...(checksums ? { "x-amz-checksum-algorithm": "SHA256" } : {}) },
          }, late.signal),
        { conditions: true },
      );
      const uploadId = parseUploadId(answer.body);
      if (uploadId === undefined) throw strangeAnswer(client, key, "an upload id");
      return new MultipartUpload(client, key, { id: uploadId, dialect });
    } finally {
      late.dispose();
    }
  }

  /** Sends a part; they come in order, one at a time. */
  async send(part: BodyPart, signal?: AbortSignal): Promise<void> {
    const digest = createHash("sha256").update(part.bytes).digest();
    this.#hash.update(part.bytes);
    this.#sizeBytes += part.bytes.length;
    const [etag, sha256] = await this.#dialect.attempt(async ({ checksums }) => {
      const answer = await this.#client.send({
        method: "PUT",
        action: "upload a part of",
        right: "s3:PutObject",
        key: this.#key,
        query: { partNumber: String(part.number), uploadId: this.#uploadId },
        headers: checksumHeader(part.bytes, digest, checksums),
        body: part.bytes,
        sha256: digest.toString("hex"),
      }, signal);
      // To be named when the upload is completed, where the server keeps it. One that does not (OpenStack's Swift) takes
      // no list of parts that has it.
      return [answer.headers.get("etag"), answer.headers.get(CHECKSUM_HEADER) ?? undefined];
    }, { conditions: true });
    if (typeof etag !== "string") throw strangeAnswer(this.#client, this.#key, "the part's ETag");
    this.#parts.push({ number: part.number, etag, sha256 });
  }

  /**
   * Makes an object of the parts, if the key is still free.
   *
   * @throws StoreError with code `PreconditionFailed` when the key is taken, and `NoSuchUpload` when the upload is
   * gone; both also when an earlier attempt completed it and its answer was lost.
   */
  async complete(options: {
    /** Whether the store is known to hold conditions, so that none is given up. */
    isHeld: boolean;
    /** Looks whether the key is taken, where the form makes that necessary. @default no look */
    isTaken?: (form: Form) => Promise<boolean>;
    signal?: AbortSignal | undefined;
  }): Promise<void> {
    const { isHeld, isTaken, signal } = options;
    const answer = await this.#dialect.attempt(async (form) => {
      if (await isTaken?.(form)) throw takenError(this.#client.url, this.#key);
      return await this.#client.send({
        method: "POST",
        action: "complete the upload of",
        right: "s3:PutObject",
        key: this.#key,
        query: { uploadId: this.#uploadId },
        headers: form.conditions ? { "if-none-match": "*" } : {},
        body: new TextEncoder().encode(completeBody(this.#parts)),
      }, signal);
    }, { conditions: isHeld });
    if (!isCompleted(answer.body)) throw strangeAnswer(this.#client, this.#key, "that the object is complete");
  }

  /** Size and SHA-256 of the parts together. */
  whole(): { sizeBytes: number; sha256: string } {
    return { sizeBytes: this.#sizeBytes, sha256: this.#hash.copy().digest("hex") };
  }

  /**
   * Gives the upload up and frees what it took. A failure here is not reported: what made the upload fail says more,
   * and a lifecycle rule (AbortIncompleteMultipartUpload) removes what is left.
   */
  async abort(): Promise<void> {
    await this.#client.send({
      method: "DELETE",
      action: "abort the upload of",
      right: "s3:AbortMultipartUpload",
      key: this.#key,
      query: { uploadId: this.#uploadId },
    }, AbortSignal.timeout(ABORT_LIMIT_MS)).catch(() => undefined);
  }
}
