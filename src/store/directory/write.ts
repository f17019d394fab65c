/**
 * Puts files onto the disk. In: a body, and the path that its file is to have. Out: a whole file under that path, which
 * outlives a power cut, or none.
 */
import { createHash, randomUUID } from "node:crypto";
import * as fs from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { untilAborted } from "../../abort.ts";
import { StoreError } from "../../errors.ts";
import type { StoredObject } from "../store.ts";
import { directoryError, errorCode, isMissing } from "./error.ts";
import type { DirectoryRoot } from "./root.ts";

/** The names of files that are not finished; no object has such a name. */
export const TEMP_NAME: RegExp = /^\.couchdb-backup-\d+-[0-9a-f-]+\.tmp$/;
const TEMP_MAX_AGE_MS = 24 * 60 * 60 * 1000;
/** What `link` answers where the file system has no hard links: FAT, exFAT, some network and FUSE file systems. */
const NO_HARD_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** A file whose bytes are on the disk but that has no lasting name yet. */
export interface TempFile extends Omit<StoredObject, "key"> {
  path: string;
}

/** Gives a file a second name, and fails with `EEXIST` where that name is taken, as link of node:fs does. */
export type Link = (existing: string, name: string) => Promise<void>;

/** Writes below one folder. */
export class DirectoryWriter {
  readonly #root: DirectoryRoot;
  readonly #link: Link;
  /** The folder that was last searched for leftovers; a backup writes thousands of objects into the same one. */
  #swept: string | undefined;

  constructor(root: DirectoryRoot, link: Link) {
    this.#root = root;
    this.#link = link;
  }

  /** Removes a file of ours that may be gone already. */
  async remove(path: string, key: string): Promise<void> {
    await this.#root.attempt("store", key, fs.rm(path, { force: true }));
  }

  /** Writes the whole body to a hidden file beside the place of `key` and waits until it is on the disk. */
  async writeTemp(key: string, body: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<TempFile> {
    signal?.throwIfAborted();
    const folder = dirname(this.#root.pathOf(key));
    await this.makeFolder(folder, key);
    await this.#sweep(folder, key);
    const path = join(folder, `.couchdb-backup-${process.pid}-${randomUUID()}.tmp`);
    const file = await this.#root.attempt("store", key, fs.open(path, "wx"));
    try {
      const hash = createHash("sha256");
      let sizeBytes = 0;
      for await (const bytes of untilAborted(body, signal)) {
        hash.update(bytes);
        sizeBytes += bytes.length;
        // A file system that is nearly full takes a part of what it is given.
        for (let written = 0; written < bytes.length;) {
          written += (await this.#root.attempt("store", key, file.write(bytes, written))).bytesWritten;
        }
      }
      await this.#root.attempt("store", key, file.sync());
      await this.#root.attempt("store", key, file.close());
      signal?.throwIfAborted();
      return { path, sizeBytes, sha256: hash.digest("hex") };
    } catch (error) {
      await file.close();
      await this.remove(path, key);
      throw error;
    }
  }

  /** Gives a finished file its lasting name; false when the name is taken. */
  async nameFile(tempPath: string, path: string, key: string): Promise<boolean> {
    try {
      await this.#link(tempPath, path);
      return true;
    } catch (error) {
      if (errorCode(error) === "EEXIST") return false;
      if (!NO_HARD_LINKS.has(errorCode(error))) throw directoryError(error, this.#root.place("store", key));
    }
    // Without hard links an empty file claims the name and is then replaced by the finished one. For that moment a
    // reader sees an empty object; whoever is killed there leaves it, and no manifest names it.
    try {
      await (await fs.open(path, "wx")).close();
    } catch (error) {
      if (errorCode(error) === "EEXIST") return false;
      throw directoryError(error, this.#root.place("store", key));
    }
    try {
      await fs.rename(tempPath, path);
    } catch (error) {
      await this.remove(path, key);
      throw directoryError(error, this.#root.place("store", key));
    }
    return true;
  }

  /**
   * Makes a folder and those above it, down from the bucket folder. That one's parent must exist: a backup to a disk
   * that is not mounted must not fill the disk below the mount point.
   */
  async makeFolder(folder: string, key: string): Promise<void> {
    try {
      await fs.mkdir(this.#root.path);
      await this.syncFolder(dirname(this.#root.path), key);
    } catch (error) {
      if (error instanceof StoreError) throw error;
      // For the root of the file system macOS says EISDIR.
      if (errorCode(error) !== "EEXIST" && errorCode(error) !== "EISDIR") {
        throw directoryError(error, { ...this.#root.place("store", key), path: this.#root.path });
      }
    }
    const made = await this.#root.attempt("store", key, fs.mkdir(folder, { recursive: true }));
    if (made === undefined) return;
    for (let path = folder; path.length >= made.length; path = dirname(path)) {
      await this.syncFolder(dirname(path), key);
    }
  }

  /** Makes the names in a folder outlive a power cut. */
  async syncFolder(folder: string, key: string): Promise<void> {
    if (process.platform === "win32") return; // Windows opens no folders and needs none of this.
    const handle = await this.#root.attempt("store", key, fs.open(folder, "r"));
    try {
      await handle.sync();
    } catch (error) {
      // Some network file systems do not sync folders at all (EINVAL); there is nothing else to be done there.
      if (errorCode(error) !== "EINVAL") throw directoryError(error, this.#root.place("store", key));
    } finally {
      await handle.close();
    }
  }

  /** Removes what a process that was killed more than a day ago has left in a folder. */
  async #sweep(folder: string, key: string): Promise<void> {
    if (this.#swept === folder) return;
    this.#swept = folder;
    for (const name of await this.#root.attempt("store", key, fs.readdir(folder))) {
      if (!TEMP_NAME.test(name)) continue;
      const path = join(folder, name);
      try {
        const { mtimeMs } = await fs.stat(path);
        if (Date.now() - mtimeMs > TEMP_MAX_AGE_MS) await fs.rm(path, { force: true });
      } catch (error) {
        // Its own process, or another one that sweeps, was faster.
        if (!isMissing(error)) {
          throw directoryError(error, this.#root.place("store", join(dirname(key), basename(path))));
        }
      }
    }
  }
}
