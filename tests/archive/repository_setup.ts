/**
 * A repository as runs of either version may have left it: backups put together by hand, in a folder that counts
 * requests.
 */
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Catalog, type CatalogEntry, entryOfManifest } from "../../src/archive/catalog.ts";
import { checkpointName, chunkName, MANIFEST_NAME, manifestName, shortRun } from "../../src/archive/layout.ts";
import {
  type BackupKind,
  type Checkpoint,
  type ChunkEntry,
  type Manifest,
  sumChunks,
} from "../../src/archive/manifest.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { Repository } from "../../src/archive/repository.ts";
import { parseDate } from "../../src/dates.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { Compression } from "../../src/codec/compression.ts";
import { joinKey } from "../../src/store/key.ts";
import type { Store, StoreCallOptions } from "../../src/store/store.ts";
import { RecordedLog } from "../fakes/log.ts";
import { OPTIONS, origin } from "./folder_setup.ts";

/** The database of these backups, unless another is asked for. */
export const DATABASE = "a/b";

/** What the catalog is told of a backup of it. */
export const CATALOG_ENTRY: CatalogEntry = {
  database: DATABASE,
  finishedAt: new Date("2026-11-25T18:04:11.123Z"),
  run: "0b5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4",
  date: { year: 2026, month: 10, day: 25 },
  task: "weekly",
  kind: "full",
  documents: 500,
  compressedBytes: 61_231,
  chunks: 3,
  unreadable: 1,
  manifestKey: "backup/ippbx/2026/10/25/couchdb/a%2Fb/manifest-20261125T180411Z-0b5a8fd2.json",
};

/** A backup that is wanted. */
export interface BackupRequest {
  /** The date in its path: `2026-10-25`. */
  day: string;
  /** `2026-11-25T18:04:11Z`, or with milliseconds. */
  finishedAt: string;
  /** @default finishedAt */
  startedAt?: string;
  /** @default 2 */
  format?: 1 | 2;
  /** @default a run of its own */
  run?: string;
  /** @default DATABASE */
  database?: string;
  /** @default "weekly" */
  task?: string;
  kind?: BackupKind;
  /** @default none */
  parent?: Manifest["parent"];
  /** The numbers of its chunks. @default none */
  chunks?: readonly number[];
  /** What its chunks are compressed with. @default "gzip" */
  compression?: Compression;
  /** Whether its chunks carry the name of its run. @default false */
  isPrefixed?: boolean;
  unreadable?: Manifest["unreadable"];
  options?: Partial<Manifest["options"]>;
  /** Whether the catalog has an entry. @default as in format 2 */
  isCatalogued?: boolean;
  /** Whether `manifest.json` is written, too. @default true */
  isCopied?: boolean;
}

/** A backup that was put there. */
export interface PutBackup {
  folder: string;
  /** The name of its manifest. */
  name: string;
  manifest: Manifest;
}

/** A repository to test with. */
export class TestRepository implements AsyncDisposable {
  readonly root: string;
  readonly store: Store;
  readonly repository: Repository;
  readonly log: RecordedLog = new RecordedLog();
  readonly signal: AbortSignal = new AbortController().signal;
  /** What was asked of the store: `list 2026/10`. */
  requests: string[] = [];

  private constructor(root: string, parts: { prefix: string; suffix: string }) {
    this.root = root;
    this.store = this.#counting(new DirectoryStore(root));
    this.repository = new Repository(this.store, parts);
  }

  static async open(
    { prefix = "backup/ippbx", suffix = "couchdb" }: { prefix?: string; suffix?: string } = {},
  ): Promise<TestRepository> {
    return new TestRepository(await Deno.makeTempDir({ prefix: "couchdb-backup-points-" }), { prefix, suffix });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }

  folder(day: string, database: string = DATABASE): string {
    return this.repository.backupFolder({ date: parseDate(day)!, database });
  }

  async write(folder: string, name: string, bytes: Uint8Array | string): Promise<void> {
    const body = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    await this.store.replace(joinKey(folder, name), body);
  }

  async put(request: BackupRequest): Promise<PutBackup> {
    const { day, format = 2, database = DATABASE, isCatalogued = format === 2, isCopied = true } = request;
    const folder = this.folder(day, database);
    const manifest = manifestOf(request);
    for (const { name } of manifest.chunks) await this.write(folder, name, "12345");
    const finishedAt = new Date(request.finishedAt);
    const name = format === 1 ? MANIFEST_NAME : manifestName(finishedAt, shortRun(manifest.run));
    if (isCatalogued) {
      const entry = entryOfManifest({ database, date: parseDate(day)!, folder, name, manifest, finishedAt });
      await new Catalog(this.repository).add(entry, {});
    }
    const bytes = format === 1 ? encodeFormat1(manifest) : encodeJson(manifest);
    await this.write(folder, name, bytes);
    if (format === 2 && isCopied) await this.write(folder, MANIFEST_NAME, bytes);
    return { folder, name, manifest };
  }

  /** Something of somebody else's in a folder beside those of a day's databases, as `a%2fb` is beside `a%2Fb`. */
  async putBeside(day: string, name: string): Promise<void> {
    await this.write(joinKey(dirname(this.folder(day)), name), "x", "x");
  }

  /** A backup that is under way, or was broken off. */
  async putUnfinished(request: BackupRequest): Promise<{ folder: string; name: string; checkpoint: Checkpoint }> {
    const folder = this.folder(request.day, request.database);
    const { finished_at, stored_at: _stored, feed: _feed, totals: _totals, update_seq, ...rest } = manifestOf(request);
    const checkpoint: Checkpoint = {
      ...rest,
      saved_at: finished_at,
      update_seq: { start: update_seq.start },
      listing: null,
    };
    const name = request.format === 1 ? "checkpoint.json" : checkpointName(shortRun(rest.run));
    for (const chunk of rest.chunks) await this.write(folder, chunk.name, "12345");
    await this.write(folder, name, encodeJson(checkpoint));
    return { folder, name, checkpoint };
  }

  /** The same store while somebody expires: what has one of these names is listed, and gone when it is read. */
  expiring(...names: string[]): Store {
    return new Proxy(this.store, {
      get: (target, method) => {
        if (method !== "read") return Reflect.get(target, method, target);
        return async (key: string, options: StoreCallOptions) => {
          if (names.includes(basename(key))) await rm(join(this.root, key), { force: true });
          return await target.read(key, options);
        };
      },
    });
  }

  #counting(store: Store): Store {
    const counted = new Set(["create", "replace", "read", "stat", "list"]);
    return new Proxy(store, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (counted.has(String(name))) this.requests.push(`${String(name)} ${args[0]}`);
          return value.apply(target, args);
        };
      },
    });
  }
}

/** The manifest of a backup, each chunk of ten documents and five bytes. */
export function manifestOf(request: BackupRequest): Manifest {
  const { finishedAt, database = DATABASE, task = "weekly", kind = "full", chunks: numbers = [] } = request;
  const run = request.run ?? crypto.randomUUID();
  const digits = request.isPrefixed === true ? shortRun(run) : undefined;
  const chunks = numbers.map((number): ChunkEntry => ({
    name: chunkName(number, { run: digits, compression: request.compression }),
    documents: 10,
    leaf_revisions: 10,
    deleted: 0,
    absent: 0,
    bytes: 100,
    compressed_bytes: 5,
    sha256: createHash("sha256").update("12345").digest("hex"),
  }));
  return {
    ...origin(run),
    format: request.format ?? 2,
    task,
    database,
    started_at: request.startedAt ?? finishedAt,
    options: { ...OPTIONS, chunk: null, ...request.options },
    kind,
    parent: request.parent ?? null,
    finished_at: new Date(finishedAt).toISOString(),
    stored_at: null,
    feed: null,
    unreadable: request.unreadable ?? [],
    update_seq: { start: "0", end: "0" },
    totals: sumChunks(chunks),
    chunks,
  };
}

/** As version 1 wrote it, without what format 2 has added. */
export function encodeFormat1(manifest: Manifest): Uint8Array {
  const added = new Set([
    "kind",
    "parent",
    "stored_at",
    "feed",
    "unreadable",
    "deleted",
    "tombstones",
    "instance_start_time",
    "purge_seq",
  ]);
  const text = JSON.stringify(manifest, (key, value) => added.has(key) ? undefined : value, 2);
  return new TextEncoder().encode(text + "\n");
}
