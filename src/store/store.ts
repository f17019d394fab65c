/**
 * The door to where backups are kept. A store keeps objects under keys below one bucket folder; the pipeline knows
 * nothing else about it. Every store passes the same suite, tests/store/store_contract.ts.
 */
import type { KeyOptions } from "../aws/options.ts";
import type { Log } from "../observe.ts";
import type { Fetch } from "../trusted_fetch.ts";
import type { QuestionPlace, StoreQuestion } from "./questions.ts";

/** An object that {@linkcode Store.create} has stored. */
export interface StoredObject {
  /** The key it got, relative to the bucket folder. */
  key: string;
  /** The size of the stored bytes. */
  sizeBytes: number;
  /** SHA-256 of the stored bytes, 64 lower-case hexadecimal digits. */
  sha256: string;
}

/** What lies directly in a folder: an object, which `isUnfinished` says is none yet, or a folder of further ones. */
export type StoreEntry =
  | { kind: "object"; name: string; sizeBytes: number; modified: Date; isUnfinished?: true | undefined }
  | { kind: "folder"; name: string };

/** An object somewhere below a folder. Its name is what its key has behind the folder, `a%2Fb/manifest.json`. */
export type ObjectBelow = Extract<StoreEntry, { kind: "object" }>;

/** What {@linkcode Store.listBelow} takes. */
export interface ListBelowOptions extends Pick<ListOptions, "after" | "signal"> {
  /** The most objects of a page. @default 1000 */
  pageSize?: number | undefined;
}

/** What every operation takes. */
export interface StoreCallOptions {
  /** Cancels the operation; it then throws the signal's reason and leaves nothing half written. */
  signal?: AbortSignal | undefined;
}

/** What {@linkcode Store.create} takes. */
export interface CreateOptions extends StoreCallOptions {
  /**
   * A `chunk` gets the config's storage class. Everything else, small and read again soon, never does: a manifest or a
   * claim in an archive tier could not be read at all. A `chunk` and a `manifest`, which is never replaced, get the
   * lock. That a chunk outlives a power cut is certain only once something else is stored in its folder: before that
   * nobody knows of it.
   */
  kind?: "chunk" | "manifest" | undefined;
  /**
   * Something is stored in the same folder right after it, or {@linkcode Store.settle} is called: only then is it
   * certain that it outlives a power cut. @default false
   */
  isFollowed?: boolean | undefined;
  /**
   * The object appears only once this is done, and never where it fails: create() then throws what it failed with.
   * Where it can be done without being seen, the body is stored meanwhile.
   */
  after?: Promise<unknown> | undefined;
}

/** What {@linkcode Store.replace} takes. */
export interface ReplaceOptions extends StoreCallOptions {
  /**
   * It says the same as what was stored right before it, and need not wait until that outlives a power cut. @default
   * false
   */
  isCopy?: boolean | undefined;
  /** As in {@linkcode CreateOptions}; false: the object is not wanted any more, and what is there stays. */
  after?: Promise<boolean> | undefined;
}

/** What {@linkcode Store.list} takes. */
export interface ListOptions extends StoreCallOptions {
  /** Only what has a name that begins so: one request of S3, however many others lie there. */
  prefix?: string | undefined;
  /** Only what has a name after this one, in the order of the listing: what lies before costs nothing. */
  after?: string | undefined;
  /**
   * With what is being written, or was when its writer was killed. S3 shows no such thing: there a broken-off upload
   * takes up room until a rule of the bucket ends it. @default false
   */
  unfinished?: boolean | undefined;
}

/**
 * Whether a store keeps the promise of {@linkcode Store.create}: `held`, an object that exists is never changed;
 * `ignored`, of two writers of one key the later one wins.
 */
export type Conditions = "held" | "ignored";

/** What a store is opened with beside what the config says of the bucket. */
export interface StoreContext {
  /** Is told, once, of what a store lacks and what is done instead. @default nobody */
  log?: Log | undefined;
  /** Makes the requests to an S3 server. @default the platform's */
  fetch?: Fetch | undefined;
}

/**
 * A place that keeps objects. Keys are relative to the bucket folder, without a leading slash. Every operation retries
 * what a little patience can heal, and throws a `StoreError` otherwise, or an `AwsError` when it has no keys to sign
 * with.
 */
export interface Store {
  /** The bucket folder as the user would write it: `s3://name/folder` or `file:///path`. Holds no secret. */
  readonly url: string;

  /** What answers there: the endpoint as the config has it, `aws`, or `file:`. Holds no secret. */
  readonly server: string;

  /**
   * How far the store's clock is ahead of this machine's, by its last answer; undefined before the first one. S3 tells
   * whole seconds, so it is right to about one.
   */
  readonly clockSkewMs: number | undefined;

  /**
   * What is known of this store's conditions, undefined before anybody has asked; `findConditions()` sets it. Where
   * they are ignored, create() looks whether a key is free before it writes: two writers at one moment still get the
   * same one.
   */
  conditions: Conditions | undefined;

  /**
   * Tries by an object under `key`, of a few bytes, whether this store holds conditions. It takes no right to delete,
   * and the same key serves again and again.
   */
  tryConditions(key: string, options?: StoreCallOptions): Promise<Conditions>;

  /**
   * How many of several writers at one moment are told that `key`, which is free, is theirs; absent where only one can
   * be, by the way in which objects are made there.
   */
  countWinners?(key: string, options?: StoreCallOptions): Promise<number>;

  /** What can be asked of this kind of store; absent where that is what every store is asked. */
  questions?(place: QuestionPlace): Promise<readonly StoreQuestion[]>;

  /** The URL of an object, for messages and reports. */
  locate(key: string): string;

  /**
   * Stores `body` under the first of `keys` that is free. An object that exists is never changed, where the store holds
   * conditions: two writers that try the same key get different ones. Nothing can be read under the key before the
   * whole body is stored. A body that was begun is ended when it is not wanted any more.
   *
   * @throws what `body` throws; StoreError with code `exists` when `keys` is exhausted, or when the body was too large
   * to be kept and its key was taken meanwhile; `body` is then consumed and the caller has to produce it again.
   */
  create(
    keys: Iterable<string>,
    body: AsyncIterable<Uint8Array>,
    options?: CreateOptions,
  ): Promise<StoredObject>;

  /** Stores `body` under `key` in one step, in place of what may be there: a reader sees the old or the new object. */
  replace(key: string, body: Uint8Array, options?: ReplaceOptions): Promise<void>;

  /** Waits until what was stored in `folder` outlives a power cut; absent where everything does once it is stored. */
  settle?(folder: string): Promise<void>;

  /**
   * The object's bytes, from the first to the last.
   *
   * @throws StoreError with code `not_found`; and with `cut_off`, from the stream, when it ends before its announced
   * size.
   */
  read(key: string, options?: StoreCallOptions): Promise<ReadableStream<Uint8Array>>;

  /**
   * The size of an object, when it was stored, and what keeps it from being deleted, a phrase such as
   * `locked until 2027-01-01T00:00:00.000Z`, where the store says so; undefined when there is none.
   */
  stat(
    key: string,
    options?: StoreCallOptions,
  ): Promise<{ sizeBytes: number; modified: Date; hold?: string } | undefined>;

  /**
   * What lies directly in a folder; nothing when there is no such folder. Names are not decoded. The order is S3's: by
   * the UTF-8 bytes of the name, a folder's name taken with a trailing slash (`a-b` before the folder `a`).
   */
  list(folder: string, options?: ListOptions): AsyncIterable<StoreEntry>;

  /**
   * All objects below a folder, however deep they lie, by the UTF-8 bytes of their names, in pages: one request
   * each, however many folders there are. Absent where a listing of each folder costs no more.
   */
  listBelow?(folder: string, options?: ListBelowOptions): AsyncIterable<ObjectBelow[]>;
}

/** S3's Object Lock. */
export interface ObjectLock {
  /** Whether who has a right of its own may take the lock off (`GOVERNANCE`), or nobody (`COMPLIANCE`). */
  mode: "GOVERNANCE" | "COMPLIANCE";
  /** How long it holds, from the moment at which an object is stored. */
  days: number;
}

/** What a config says of the bucket. */
export interface StoreOptions extends KeyOptions {
  /** `s3://name/folder` or `file:///path`. */
  bucket: string;
  /** AWS region; found out from the environment or the bucket where absent. */
  region?: string | undefined;
  /** Base URL of an S3-compatible server, such as `http://[::1]:9000`. */
  endpoint?: string | undefined;
  /** Whether AWS's addresses are those validated by FIPS 140. @default false */
  fips?: boolean | undefined;
  /** Whether the bucket stands in the path or in the host's name. @default `path` with an endpoint, `virtual` on AWS */
  addressing?: "path" | "virtual" | undefined;
  /** The size of all parts of an upload, for stores that want equal ones. @default 5 MiB, growing with the object */
  partBytes?: number | undefined;
  /** The most parts that the store takes for an upload. @default 10000 */
  maxParts?: number | undefined;
  /** `x-amz-storage-class` of chunks, such as `STANDARD_IA`. */
  storageClass?: string | undefined;
  /** What keeps chunks and manifests from being deleted. @default nothing */
  objectLock?: ObjectLock | undefined;
  /** `x-amz-server-side-encryption`: `AES256`, `aws:kms` or `aws:kms:dsse`. */
  sse?: string | undefined;
  /** The key in KMS: its id or ARN, where `sse` is one of `aws:kms`. */
  kmsKeyId?: string | undefined;
  /**
   * A folder of this machine that outlives a restart, where a store in a folder notes that it was there: so that a disk
   * which is not mounted is told from a first run. @default none: it is not noted
   */
  stateFolder?: string | undefined;
}
