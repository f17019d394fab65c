/**
 * A store in an S3 bucket. An object appears under its key in one step and only where none is (`If-None-Match: *`), so
 * that of two writers one gets the key, on any machine.
 */
import { createHash, randomUUID } from "node:crypto";
import { DAY_MS } from "../../dates.ts";
import { StoreError } from "../../errors.ts";
import { orAborted, untilAborted } from "../../abort.ts";
import { checksumHeader, type Digest, md5Header, MultipartUpload } from "./multipart.ts";
import { type BodyPart, cutIntoParts, PartMemory } from "./parts.ts";
import { S3Client } from "./client.ts";
import type { S3Settings } from "./request.ts";
import { Dialect, type Form, isNotImplemented } from "./dialect.ts";
import { strangeAnswer } from "./error.ts";
import { holdOf, LOCK_MODE, LOCK_UNTIL, rightsToStore } from "./hold.ts";
import { listBelow, listFolder } from "./list.ts";
import { lengthOf, readObject } from "./read.ts";
import { targetOf } from "./target.ts";
import { retentionBody } from "./xml.ts";
import type {
  Conditions,
  CreateOptions,
  ListBelowOptions,
  ListOptions,
  ObjectBelow,
  ObjectLock,
  ReplaceOptions,
  Store,
  StoreCallOptions,
  StoreContext,
  StoredObject,
  StoreEntry,
  StoreOptions,
} from "../store.ts";
import { checkKey } from "../key.ts";
import { countWinners } from "../race.ts";
import type { QuestionPlace, StoreQuestion } from "../questions.ts";

/**
 * Metadata that says which call of create() wrote an object. When S3 says that a key is taken, that may be by our own
 * request whose answer was lost; a checksum would not tell it from another writer's equal body.
 */
const WRITER_HEADER = "x-amz-meta-couchdb-backup-writer";

/** Keeps objects in an S3 bucket, or in one of a server that speaks S3. */
export class S3Store implements Store {
  readonly url: string;
  readonly server: string;
  conditions: Conditions | undefined;
  readonly #client: S3Client;
  readonly #memory: PartMemory;
  readonly #dialect: Dialect;
  /** What every object is stored with. */
  readonly #headers: Record<string, string>;
  /** What chunks are stored with beside. */
  readonly #chunkHeaders: Record<string, string>;
  /** How long chunks and manifests are locked. */
  readonly #lock: ObjectLock | undefined;

  /** @throws StoreError with code `bad_bucket` or `bad_endpoint`; AwsError with code `no_credentials`. */
  constructor(options: StoreOptions, settings: Partial<S3Settings> = {}, context: StoreContext = {}) {
    const target = targetOf(options, context);
    this.server = target.endpoint ?? "aws";
    this.#client = new S3Client(target, {
      ...(options.partBytes === undefined ? {} : { partBytes: options.partBytes, equalParts: true }),
      ...(options.maxParts === undefined ? {} : { maxParts: options.maxParts }),
      ...settings,
    });
    const { partBytes, equalParts, maxParts } = this.#client.settings;
    this.#memory = new PartMemory({ smallestBytes: partBytes, equal: equalParts, maxParts });
    this.url = this.#client.url;
    this.#dialect = new Dialect({ url: this.url, log: context.log });
    const sse = options.sse ?? (options.kmsKeyId === undefined ? undefined : "aws:kms");
    this.#headers = {
      ...(sse === undefined ? {} : { "x-amz-server-side-encryption": sse }),
      ...(options.kmsKeyId === undefined ? {} : { "x-amz-server-side-encryption-aws-kms-key-id": options.kmsKeyId }),
    };
    this.#lock = options.objectLock;
    this.#chunkHeaders = options.storageClass === undefined ? {} : { "x-amz-storage-class": options.storageClass };
  }

  get clockSkewMs(): number | undefined {
    return this.#client.clockSkewMs;
  }

  locate(key: string): string {
    return `${this.url}/${checkKey(key)}`;
  }

  async create(
    keys: Iterable<string>,
    body: AsyncIterable<Uint8Array>,
    options: CreateOptions = {},
  ): Promise<StoredObject> {
    if (options.after !== undefined) await orAborted(options.after, options.signal);
    // Whatever fails first, the body's producer or the sending, ends the other.
    const failed = new AbortController();
    const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
    const parts = cutIntoParts(untilAborted(body, signal), this.#memory);
    try {
      const candidates = checkedKeys(keys);
      const headers: Record<string, string> = {
        ...this.#headers,
        ...(options.kind === "chunk" ? this.#chunkHeaders : {}),
        ...(options.kind === undefined ? {} : this.#lockHeaders()),
        [WRITER_HEADER]: randomUUID(),
      };
      const first = await parts.next();
      if (first.done === true) throw new TypeError("cutIntoParts() yielded no part");
      if (first.value.last) return await this.#createSmall(candidates, first.value, { headers, signal });
      const stored = await this.#createLarge(candidates, first.value, { rest: parts, headers, signal });
      if (LOCK_MODE in headers) await this.#lockStored(stored.key, headers, signal);
      return stored;
    } catch (error) {
      failed.abort(error);
      throw error;
    } finally {
      await parts.return();
    }
  }

  /** By the store's clock: the end must not lie in its past. In whole seconds, as not every server keeps more. */
  #lockHeaders(): Record<string, string> {
    if (this.#lock === undefined) return {};
    const untilMs = Date.now() + (this.clockSkewMs ?? 0) + this.#lock.days * DAY_MS;
    return {
      [LOCK_MODE]: this.#lock.mode,
      [LOCK_UNTIL]: new Date(Math.ceil(untilMs / 1000) * 1000).toISOString(),
    };
  }

  /**
   * Locks an object that was stored in parts, as its upload had asked for: Ceph 16 and moto 5.2 take those headers and
   * lock nothing. Where the lock is there, it stays as it is.
   */
  async #lockStored(key: string, headers: Record<string, string>, signal: AbortSignal): Promise<void> {
    const body = new TextEncoder().encode(retentionBody({ mode: headers[LOCK_MODE]!, until: headers[LOCK_UNTIL]! }));
    await this.#client.send({
      method: "PUT",
      action: "lock",
      right: "s3:PutObjectRetention",
      key,
      query: { retention: "" },
      headers: md5Header(body),
      body,
    }, signal);
  }

  async replace(key: string, body: Uint8Array, { after, signal }: ReplaceOptions = {}): Promise<void> {
    if (after !== undefined && !await orAborted(after, signal)) return;
    const bytes = body as Uint8Array<ArrayBuffer>;
    const digest = createHash("sha256").update(bytes).digest();
    await this.#dialect.attempt(
      ({ checksums }) => this.#put(checkKey(key), bytes, { digest, checksums, headers: this.#headers, signal }),
      { conditions: true },
    );
  }

  async tryConditions(key: string, options: StoreCallOptions = {}): Promise<Conditions> {
    const { signal } = options;
    const body = new TextEncoder().encode('{"about":"whether this store overwrites what exists"}\n');
    const digest = createHash("sha256").update(body).digest();
    const headers = { ...this.#headers, "if-none-match": "*" };
    const create = () =>
      this.#dialect.attempt(
        ({ checksums }) => this.#put(checkKey(key), body, { digest, checksums, headers, signal }),
        { conditions: true },
      );
    try {
      // The object of an earlier attempt does as well as one that is made now.
      if (await isDone(create) && await isDone(create)) return "ignored";
      // Large objects become visible by another request, and not every server that heeds the header there heeds it
      // here.
      const upload = await MultipartUpload.begin(this.#client, key, {
        headers: this.#headers,
        dialect: this.#dialect,
        signal,
      });
      try {
        await upload.send({ number: 1, bytes: body, last: true }, signal);
        if (await isDone(() => upload.complete({ isHeld: true, signal }))) return "ignored";
      } catch (error) {
        await upload.abort();
        // An answer was lost, and the attempt before it completed the upload in spite of the object.
        if (hasCode(error, "NoSuchUpload")) return "ignored";
        throw error;
      }
      await upload.abort();
      return "held";
    } catch (error) {
      if (!isNotImplemented(error)) throw error;
      await this.replace(key, body, { signal }); // Throws where it is something else that is not implemented.
      this.#dialect.dropConditions();
      return "ignored";
    }
  }

  async countWinners(key: string, options: StoreCallOptions = {}): Promise<number> {
    return await countWinners(this, key, options);
  }

  async questions(place: QuestionPlace): Promise<readonly StoreQuestion[]> {
    const { s3Questions } = await import("./questions.ts");
    const [client, headers, chunkHeaders] = [this.#client, this.#headers, this.#chunkHeaders];
    return s3Questions({ store: this, client, headers, chunkHeaders, writerHeader: WRITER_HEADER }, place);
  }

  async read(key: string, options: StoreCallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    return await readObject(this.#client, checkKey(key), options.signal);
  }

  async stat(
    key: string,
    options: StoreCallOptions = {},
  ): Promise<{ sizeBytes: number; modified: Date; hold?: string } | undefined> {
    const headers = await this.#client.head(checkKey(key), options.signal);
    if (headers === undefined) return undefined;
    const sizeBytes = lengthOf(headers);
    const modified = new Date(headers.get("last-modified") ?? "");
    if (sizeBytes === undefined) throw strangeAnswer(this.#client, key, "its length", "look at");
    if (Number.isNaN(modified.getTime())) throw strangeAnswer(this.#client, key, "its time", "look at");
    const hold = holdOf(headers);
    return { sizeBytes, modified, ...hold === undefined ? {} : { hold } };
  }

  list(folder: string, options: ListOptions = {}): AsyncIterable<StoreEntry> {
    return listFolder(this.#client, folder, options);
  }

  listBelow(folder: string, options: ListBelowOptions = {}): AsyncIterable<ObjectBelow[]> {
    return listBelow(this.#client, folder, options);
  }

  /** Stores a body that is one part, under the first free key. */
  async #createSmall(
    keys: Iterable<string>,
    part: BodyPart,
    { headers, signal }: { headers: Record<string, string>; signal: AbortSignal },
  ): Promise<StoredObject> {
    const digest = createHash("sha256").update(part.bytes).digest();
    const leave = await this.#memory.enter(part.bytes.length, signal);
    let last = "";
    try {
      for (const key of keys) {
        last = key;
        const isStored = await this.#dialect.attempt(
          (form) => this.#putIfFree(key, part.bytes, { digest, form, headers, signal }),
          { conditions: this.conditions === "held" },
        );
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
    { rest, headers, signal }: {
      rest: AsyncIterator<BodyPart, void>;
      headers: Record<string, string>;
      signal: AbortSignal;
    },
  ): Promise<StoredObject> {
    const key = await this.#firstFree(keys, signal);
    const upload = await MultipartUpload.begin(this.#client, key, { headers, dialect: this.#dialect, signal });
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
      await upload.complete({
        isHeld: this.conditions === "held",
        // Where conditions are ignored the key may have been taken while the parts were sent.
        isTaken: async (form) =>
          (this.conditions === "ignored" || !form.conditions) && await this.#client.head(key, signal) !== undefined,
        signal,
      });
      return { key, ...upload.whole() };
    } catch (error) {
      sending.abort(error);
      await sent?.catch(() => undefined); // A part that arrives after the abort would stay.
      const isAnswerLost = hasCode(error, "PreconditionFailed") || hasCode(error, "NoSuchUpload");
      let cause: unknown;
      try {
        if (isAnswerLost && await this.#isWrittenBy(headers[WRITER_HEADER], key, signal)) {
          return { key, ...upload.whole() };
        }
      } catch (failure) {
        cause = failure; // Whose it is nobody can say: what the store has said of the upload stands.
      }
      await upload.abort();
      signal.throwIfAborted();
      throw hasCode(error, "PreconditionFailed") ? this.#exists(key, cause) : error;
    }
  }

  /** Stores an object where none is; false when the key is taken by another writer. */
  async #putIfFree(
    key: string,
    body: Uint8Array<ArrayBuffer>,
    { digest, form, headers, signal }: {
      digest: Digest;
      form: Form;
      headers: Record<string, string>;
      signal: AbortSignal;
    },
  ): Promise<boolean> {
    const looksFirst = this.conditions === "ignored" || !form.conditions;
    if (looksFirst && await this.#client.head(key, signal) !== undefined) return false;
    const condition = form.conditions ? { "if-none-match": "*" } : {};
    try {
      await this.#put(key, body, { digest, ...form, headers: { ...headers, ...condition }, signal });
      return true;
    } catch (error) {
      if (!hasCode(error, "PreconditionFailed")) throw error;
      return await this.#isWrittenBy(headers[WRITER_HEADER], key, signal);
    }
  }

  async #put(
    key: string,
    body: Uint8Array<ArrayBuffer>,
    { digest, checksums, headers, signal }: {
      digest: Digest;
      checksums: boolean;
      headers: Record<string, string>;
      signal?: AbortSignal | undefined;
    },
  ): Promise<void> {
    // With a lock S3 wants a checksum, and by its documentation its name, too: moto takes none without.
    const named = checksums && LOCK_MODE in headers ? { "x-amz-sdk-checksum-algorithm": "SHA256" } : {};
    const answer = await this.#client.send({
      method: "PUT",
      action: "store",
      right: rightsToStore(headers),
      key,
      headers: { ...headers, ...checksumHeader(body, digest, checksums), ...named },
      body,
      sha256: digest.toString("hex"),
    }, signal);
    if (answer.headers.get("etag") === null) throw strangeAnswer(this.#client, key, "the object's ETag");
  }

  async #isWrittenBy(writer: string | undefined, key: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#client.head(key, signal))?.get(WRITER_HEADER) === writer;
  }

  async #firstFree(keys: Iterable<string>, signal: AbortSignal): Promise<string> {
    let last = "";
    for (const key of keys) {
      last = key;
      if (await this.#client.head(key, signal) === undefined) return key;
    }
    throw this.#exists(last);
  }

  #exists(key: string, cause?: unknown): StoreError {
    const message = `Cannot store "${key}" in "${this.url}": the key is taken`;
    return new StoreError(message, { code: "exists", key }, { cause });
  }
}

/** Whether a request succeeds; false where its condition does not hold. */
async function isDone(request: () => Promise<void>): Promise<boolean> {
  try {
    await request();
    return true;
  } catch (error) {
    if (hasCode(error, "PreconditionFailed")) return false;
    throw error;
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
