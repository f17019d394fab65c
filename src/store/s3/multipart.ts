/**
 * A multipart upload. In: a key, then parts, one after the other. Out: one object when it is completed, none when it is
 * aborted. Until it is completed nothing can be read under its key; what is neither completed nor aborted goes on
 * costing money.
 */
import { createHash, type Hash } from "node:crypto";
import { StoreError } from "../../errors.ts";
import { withGrace } from "../../abort.ts";
import type { BodyPart } from "./parts.ts";
import type { S3Client } from "./client.ts";
import { describeSubject } from "./error.ts";
import { completeBody, isCompleted, parseUploadId, type S3Part } from "./xml.ts";

/** How long a beginning may go on after an abort, so that the upload's id is known and it can be aborted. */
const START_GRACE_MS = 5_000;
const ABORT_LIMIT_MS = 10_000;

/** One upload to one key. */
export class MultipartUpload {
  readonly #client: S3Client;
  readonly #key: string;
  readonly #uploadId: string;
  readonly #parts: S3Part[] = [];
  readonly #hash: Hash = createHash("sha256");
  #sizeBytes = 0;

  private constructor(client: S3Client, key: string, uploadId: string) {
    this.#client = client;
    this.#key = key;
    this.#uploadId = uploadId;
  }

  /** Begins an upload. `headers` hold what the object is to have: storage class, encryption, metadata. */
  static async begin(
    client: S3Client,
    key: string,
    options: { headers: Record<string, string>; signal?: AbortSignal | undefined },
  ): Promise<MultipartUpload> {
    options.signal?.throwIfAborted();
    const late = withGrace(options.signal, START_GRACE_MS);
    try {
      const answer = await client.send({
        method: "POST",
        action: "store",
        right: "s3:PutObject",
        key,
        query: { uploads: "" },
        headers: { ...options.headers, "x-amz-checksum-algorithm": "SHA256" },
      }, late.signal);
      const uploadId = parseUploadId(answer.body);
      if (uploadId === undefined) throw strangeAnswer(client, key, "an upload id");
      return new MultipartUpload(client, key, uploadId);
    } finally {
      late.dispose();
    }
  }

  /** Sends a part; they come in order, one at a time. */
  async send(part: BodyPart, signal?: AbortSignal): Promise<void> {
    const digest = createHash("sha256").update(part.bytes).digest();
    this.#hash.update(part.bytes);
    this.#sizeBytes += part.bytes.length;
    const sha256 = digest.toString("base64");
    const answer = await this.#client.send({
      method: "PUT",
      action: "store",
      right: "s3:PutObject",
      key: this.#key,
      query: { partNumber: String(part.number), uploadId: this.#uploadId },
      headers: { "x-amz-checksum-sha256": sha256 },
      body: part.bytes,
      sha256: digest.toString("hex"),
    }, signal);
    const etag = answer.headers.get("etag");
    if (etag === null) throw strangeAnswer(this.#client, this.#key, "the part's ETag");
    this.#parts.push({ number: part.number, etag, sha256 });
  }

  /**
   * Makes an object of the parts, if the key is still free.
   *
   * @throws StoreError with code `PreconditionFailed` when the key is taken, and `NoSuchUpload` when the upload is gone;
   * both also when an earlier attempt completed it and its answer was lost.
   */
  async complete(signal?: AbortSignal): Promise<void> {
    const answer = await this.#client.send({
      method: "POST",
      action: "store",
      right: "s3:PutObject",
      key: this.#key,
      query: { uploadId: this.#uploadId },
      headers: { "if-none-match": "*" },
      body: new TextEncoder().encode(completeBody(this.#parts)),
    }, signal);
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

function strangeAnswer(client: S3Client, key: string, missing: string): StoreError {
  return new StoreError(
    `${describeSubject({ action: "store", key, url: client.url })}: the answer does not say ${missing}`,
    { code: "strange_answer", key },
    { hint: "What answers at endpoint is not an S3 server" },
  );
}
