/**
 * A store in an S3 bucket: in go keys and bytes, out go requests of S3's client. An object appears under its key in one
 * step and only where none is (`If-None-Match: *`), so that of two writers one gets the key, on any machine.
 */
import { createHash, randomUUID } from "node:crypto";
import { isNotFound, StoreError } from "../../errors.ts";
import { untilAborted } from "../../abort.ts";
import { openCredentials } from "../../aws/credential_chain.ts";
import { MultipartUpload } from "./multipart.ts";
import { type BodyPart, cutIntoParts, PartMemory } from "./parts.ts";
import { S3Client, type S3Settings } from "./client.ts";
import { checkEndpoint, parseS3Url } from "./endpoint.ts";
import { describeSubject } from "./error.ts";
import { readObject } from "./read.ts";
import { parseListing } from "./xml.ts";
import type { Store, StoreCallOptions, StoredObject, StoreEntry, StoreOptions } from "../store.ts";
import { checkFolder, checkKey, compareEntries } from "../key.ts";

/**
 * Metadata that says which call of create() wrote an object. When S3 says that a key is taken, that may be by our own
 * request whose answer was lost; a checksum would not tell it from another writer's equal body.
 */
const WRITER_HEADER = "x-amz-meta-couchdb-backup-writer";

/** A SHA-256 as node:crypto gives it. */
interface Digest {
  toString(encoding: "hex" | "base64"): string;
}

/** Keeps objects in an S3 bucket, or in one of a server that speaks S3. */
export class S3Store implements Store {
  readonly url: string;
  readonly #client: S3Client;
  readonly #memory: PartMemory;
  /** What every object is stored with. */
  readonly #headers: Record<string, string>;

  /** @throws StoreError with code `bad_bucket` or `bad_endpoint`; AwsError with code `no_credentials`. */
  constructor(options: StoreOptions, settings: Partial<S3Settings> = {}) {
    const location = parseS3Url(options.bucket);
    this.#client = new S3Client({
      ...location,
      region: options.region,
      endpoint: options.endpoint === undefined ? undefined : checkEndpoint(options.endpoint),
      credentials: openCredentials(options),
    }, settings);
    this.#memory = new PartMemory(this.#client.settings.partBytes);
    this.url = this.#client.url;
    const sse = options.sse ?? (options.kmsKeyId === undefined ? undefined : "aws:kms");
    this.#headers = {
      ...(options.storageClass === undefined ? {} : { "x-amz-storage-class": options.storageClass }),
      ...(sse === undefined ? {} : { "x-amz-server-side-encryption": sse }),
      ...(options.kmsKeyId === undefined ? {} : { "x-amz-server-side-encryption-aws-kms-key-id": options.kmsKeyId }),
    };
  }

  locate(key: string): string {
    return `${this.url}/${checkKey(key)}`;
  }

  async create(
    keys: Iterable<string>,
    body: AsyncIterable<Uint8Array>,
    options: StoreCallOptions = {},
  ): Promise<StoredObject> {
    // Whatever fails first, the body's producer or the sending, ends the other.
    const failed = new AbortController();
    const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
    const parts = cutIntoParts(untilAborted(body, signal), this.#memory);
    try {
      const candidates = checkedKeys(keys);
      const first = await parts.next();
      if (first.done === true) throw new TypeError("cutIntoParts() yielded no part");
      return first.value.last
        ? await this.#createSmall(candidates, first.value, signal)
        : await this.#createLarge(candidates, first.value, parts, signal);
    } catch (error) {
      failed.abort(error);
      throw error;
    } finally {
      await parts.return();
    }
  }

  async replace(key: string, body: Uint8Array, options: StoreCallOptions = {}): Promise<void> {
    const bytes = body as Uint8Array<ArrayBuffer>;
    await this.#put(checkKey(key), bytes, createHash("sha256").update(bytes).digest(), {}, options.signal);
  }

  async read(key: string, options: StoreCallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    return await readObject(this.#client, checkKey(key), options.signal);
  }

  async stat(
    key: string,
    options: StoreCallOptions = {},
  ): Promise<{ sizeBytes: number; modified: Date } | undefined> {
    const headers = await this.#head(checkKey(key), options.signal);
    if (headers === undefined) return undefined;
    return {
      sizeBytes: Number(headers.get("content-length")),
      modified: new Date(headers.get("last-modified") ?? ""),
    };
  }

  async *list(folder: string, options: StoreCallOptions = {}): AsyncIterable<StoreEntry> {
    const path = this.#client.fullKey(checkFolder(folder));
    const prefix = path === "" ? "" : `${path}/`;
    let token: string | undefined;
    do {
      const answer = await this.#client.send({
        method: "GET",
        action: "list",
        right: "s3:ListBucket",
        folder,
        query: {
          "list-type": "2",
          delimiter: "/",
          "encoding-type": "url",
          "max-keys": String(this.#client.settings.pageSize),
          prefix,
          ...(token === undefined ? {} : { "continuation-token": token }),
        },
      }, options.signal);
      const page = parseListing(answer.body, prefix);
      if (page === undefined) {
        throw new StoreError(
          `${describeSubject({ action: "list", key: folder, url: this.url })}: the answer is not a listing`,
          { code: "strange_answer", key: folder },
          { hint: "What answers at endpoint is not an S3 server" },
        );
      }
      yield* page.entries.sort(compareEntries);
      token = page.continuationToken;
    } while (token !== undefined);
  }

  /** Stores a body that is one part, under the first free key. */
  async #createSmall(keys: Iterable<string>, part: BodyPart, signal: AbortSignal): Promise<StoredObject> {
    const writer = randomUUID();
    const digest = createHash("sha256").update(part.bytes).digest();
    const leave = await this.#memory.enter(part.bytes.length, signal);
    let last = "";
    try {
      for (const key of keys) {
        last = key;
        const isStored = await this.#putIfFree(key, part.bytes, { digest, writer, signal });
        if (!isStored) continue;
        this.#memory.give(part.bytes);
        return { key, sizeBytes: part.bytes.length, sha256: digest.toString("hex") };
      }
    } finally {
      leave();
    }
    throw this.#exists(last);
  }

  /** Stores a body of several parts under the first key that is free now; one part is sent while the next is filled. */
  async #createLarge(
    keys: Iterable<string>,
    first: BodyPart,
    rest: AsyncIterator<BodyPart, void>,
    signal: AbortSignal,
  ): Promise<StoredObject> {
    const writer = randomUUID();
    const key = await this.#firstFree(keys, signal);
    const headers = { ...this.#headers, [WRITER_HEADER]: writer };
    const upload = await MultipartUpload.begin(this.#client, key, { headers, signal });
    const sending = new AbortController();
    let sent: Promise<void> | undefined;
    try {
      const send = async (part: BodyPart, leave: () => void) => {
        try {
          await upload.send(part, AbortSignal.any([signal, sending.signal]));
          this.#memory.give(part.bytes);
        } finally {
          leave();
        }
      };
      for (let part = first;;) {
        sent = send(part, await this.#memory.enter(part.bytes.length, signal));
        if (part.last) break;
        const [, next] = await Promise.all([sent, rest.next()]);
        if (next.done === true) throw new TypeError("cutIntoParts() ended without a last part");
        part = next.value;
      }
      await sent;
      await upload.complete(signal);
      return { key, ...upload.whole() };
    } catch (error) {
      sending.abort(error);
      await sent?.catch(() => undefined); // A part that arrives after the abort would stay.
      const isAnswerLost = hasCode(error, "PreconditionFailed") || hasCode(error, "NoSuchUpload");
      if (isAnswerLost && await this.#isWrittenBy(writer, key, signal)) {
        return { key, ...upload.whole() };
      }
      await upload.abort();
      throw hasCode(error, "PreconditionFailed") ? this.#exists(key) : error;
    }
  }

  /** Stores an object where none is; false when the key is taken by another writer. */
  async #putIfFree(
    key: string,
    body: Uint8Array<ArrayBuffer>,
    { digest, writer, signal }: { digest: Digest; writer: string; signal: AbortSignal },
  ): Promise<boolean> {
    try {
      await this.#put(key, body, digest, { "if-none-match": "*", [WRITER_HEADER]: writer }, signal);
      return true;
    } catch (error) {
      if (!hasCode(error, "PreconditionFailed")) throw error;
      return await this.#isWrittenBy(writer, key, signal);
    }
  }

  async #put(
    key: string,
    body: Uint8Array<ArrayBuffer>,
    digest: Digest,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    await this.#client.send({
      method: "PUT",
      action: "store",
      right: "s3:PutObject",
      key,
      headers: { ...this.#headers, ...headers, "x-amz-checksum-sha256": digest.toString("base64") },
      body,
      sha256: digest.toString("hex"),
    }, signal);
  }

  /** The object's headers, undefined when there is none. */
  async #head(key: string, signal: AbortSignal | undefined): Promise<Headers | undefined> {
    try {
      const request = { method: "HEAD", action: "look at", right: "s3:GetObject", key } as const;
      return (await this.#client.send(request, signal)).headers;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #isWrittenBy(writer: string, key: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#head(key, signal))?.get(WRITER_HEADER) === writer;
  }

  async #firstFree(keys: Iterable<string>, signal: AbortSignal): Promise<string> {
    let last = "";
    for (const key of keys) {
      last = key;
      if (await this.#head(key, signal) === undefined) return key;
    }
    throw this.#exists(last);
  }

  #exists(key: string): StoreError {
    return new StoreError(`Cannot store "${key}" in "${this.url}": the key is taken`, { code: "exists", key });
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof StoreError && error.facts.code === code;
}

/** The keys, each refused before it is used; the first before the body is touched. */
function checkedKeys(keys: Iterable<string>): Iterable<string> {
  const iterator = keys[Symbol.iterator]();
  const first = iterator.next();
  if (first.done === true) throw new StoreError("Cannot store an object without a key", { code: "bad_key" });
  checkKey(first.value);
  return (function* () {
    for (let next: IteratorResult<string> = first; next.done !== true; next = iterator.next()) {
      yield checkKey(next.value);
    }
  })();
}
