/**
 * A store in a folder of the local file system: in go keys and bytes, out come files. An object is a file; it appears
 * under its name in one step, after its bytes have reached the disk, so that a power cut leaves the whole object or
 * none.
 */
import * as fs from "node:fs/promises";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { StoreError } from "../../errors.ts";
import { checkFolder, compareEntries } from "../key.ts";
import type { Store, StoreCallOptions, StoredObject, StoreEntry } from "../store.ts";
import { directoryError, isMissing } from "./error.ts";
import { DirectoryRoot } from "./root.ts";
import { DirectoryWriter, type Link, TEMP_NAME } from "./write.ts";

const READ_BYTES = 256 * 1024;

/** What tests replace. */
export interface DirectoryStoreOptions {
  /** Gives a file a second name, and fails with `EEXIST` where that name is taken. @default link of node:fs */
  link?: Link;
}

/** Keeps objects as files below one folder. */
export class DirectoryStore implements Store {
  readonly url: string;
  readonly #root: DirectoryRoot;
  readonly #writer: DirectoryWriter;

  /** @param root An absolute path. The folder itself is made when something is stored; its parent must exist. */
  constructor(root: string, options: DirectoryStoreOptions = {}) {
    this.#root = new DirectoryRoot(root);
    this.#writer = new DirectoryWriter(this.#root, options.link ?? fs.link);
    this.url = this.#root.url;
  }

  locate(key: string): string {
    return pathToFileURL(this.#root.pathOf(key)).href;
  }

  async create(
    keys: Iterable<string>,
    body: AsyncIterable<Uint8Array>,
    options: StoreCallOptions = {},
  ): Promise<StoredObject> {
    const candidates = keys[Symbol.iterator]();
    let candidate = candidates.next();
    if (candidate.done === true) throw new StoreError("Cannot store an object without a key", { code: "bad_key" });
    let key = candidate.value;
    const temp = await this.#writer.writeTemp(key, body, options.signal);
    try {
      for (; candidate.done !== true; candidate = candidates.next()) {
        key = candidate.value;
        const path = this.#root.pathOf(key);
        await this.#writer.makeFolder(dirname(path), key);
        if (!await this.#writer.nameFile(temp.path, path, key)) continue;
        await this.#writer.syncFolder(dirname(path), key);
        return { key, sizeBytes: temp.sizeBytes, sha256: temp.sha256 };
      }
    } finally {
      await this.#writer.remove(temp.path, key);
    }
    throw new StoreError(`Cannot store "${key}" in "${this.url}": the key is taken`, { code: "exists", key });
  }

  async replace(key: string, body: Uint8Array, options: StoreCallOptions = {}): Promise<void> {
    const path = this.#root.pathOf(key);
    const temp = await this.#writer.writeTemp(key, once(body), options.signal);
    try {
      await this.#root.attempt("store", key, fs.rename(temp.path, path));
    } finally {
      await this.#writer.remove(temp.path, key);
    }
    await this.#writer.syncFolder(dirname(path), key);
  }

  async read(key: string, options: StoreCallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    const { signal } = options;
    signal?.throwIfAborted();
    const file = await this.#root.attempt("read", key, fs.open(this.#root.pathOf(key), "r"));
    let sizeBytes: number;
    try {
      const info = await this.#root.attempt("read", key, file.stat());
      if (!info.isFile()) {
        throw directoryError(Object.assign(new Error(), { code: "ENOENT" }), this.#root.place("read", key));
      }
      sizeBytes = info.size;
    } catch (error) {
      await file.close();
      throw error;
    }
    let position = 0;
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
      try {
        signal?.throwIfAborted();
        const buffer = new Uint8Array(Math.min(READ_BYTES, sizeBytes - position));
        const bytesRead = buffer.length === 0
          ? 0
          : (await this.#root.attempt("read", key, file.read(buffer))).bytesRead;
        if (bytesRead === 0) {
          if (position < sizeBytes) {
            throw new StoreError(
              `Cannot read "${key}" in "${this.url}": it ended after ${position} of ${sizeBytes} bytes`,
              { code: "cut_off", key },
            );
          }
          await file.close();
          controller.close();
          return;
        }
        position += bytesRead;
        controller.enqueue(buffer.subarray(0, bytesRead));
      } catch (error) {
        await file.close();
        throw error;
      }
    };
    return new ReadableStream<Uint8Array>({ pull, cancel: () => file.close() }, { highWaterMark: 0 });
  }

  async stat(
    key: string,
    options: StoreCallOptions = {},
  ): Promise<{ sizeBytes: number; modified: Date } | undefined> {
    options.signal?.throwIfAborted();
    try {
      const info = await fs.stat(this.#root.pathOf(key));
      return info.isFile() ? { sizeBytes: info.size, modified: info.mtime } : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error instanceof StoreError ? error : directoryError(error, this.#root.place("look at", key));
    }
  }

  async *list(folder: string, options: StoreCallOptions = {}): AsyncIterable<StoreEntry> {
    options.signal?.throwIfAborted();
    const path = join(this.#root.path, checkFolder(folder));
    let found;
    try {
      found = await fs.readdir(path, { withFileTypes: true });
    } catch (error) {
      if (isMissing(error)) return;
      throw directoryError(error, this.#root.place("list", folder));
    }
    const entries = found
      .filter((entry) => !TEMP_NAME.test(entry.name))
      .map((entry) => ({ kind: entry.isDirectory() ? "folder" as const : "object" as const, name: entry.name }))
      .sort(compareEntries);
    for (const { kind, name } of entries) {
      options.signal?.throwIfAborted();
      if (kind === "folder") {
        yield { kind, name };
        continue;
      }
      try {
        const info = await fs.stat(join(path, name));
        if (info.isFile()) yield { kind, name, sizeBytes: info.size, modified: info.mtime };
        // What is neither a file nor a folder itself can be a symbolic link to a folder.
        else if (info.isDirectory()) yield { kind: "folder", name };
      } catch (error) {
        if (!isMissing(error)) throw directoryError(error, this.#root.place("list", folder));
      }
    }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
