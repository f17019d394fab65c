/**
 * Deletes objects of a store in a folder: files, and the folders that are empty without them, up to the bucket folder.
 */
import * as fs from "node:fs/promises";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { SILENT_LOG } from "../../observe.ts";
import { checkKey } from "../key.ts";
import type { Remover } from "../remover.ts";
import type { StoreCallOptions } from "../store.ts";
import { FileCalls } from "./calls.ts";
import { directoryError } from "./error.ts";
import { errorCode } from "../../system_error.ts";
import { Mount } from "./mount.ts";

/** Deletes files below one folder. */
export class DirectoryRemover implements Remover {
  readonly #root: string;
  readonly #url: string;
  readonly #mount: Mount;

  /** @param root The bucket folder, an absolute path. */
  constructor(root: string, { stateFolder }: { stateFolder?: string | undefined } = {}) {
    this.#root = root;
    this.#url = pathToFileURL(root).href;
    this.#mount = new Mount({ root, url: this.#url, log: SILENT_LOG, stateFolder, calls: new FileCalls(root) });
  }

  /** A file system has no such thing; what has been made immutable is found out by trying. */
  findHold(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async remove(key: string, { signal }: StoreCallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    const path = join(this.#root, checkKey(key));
    await this.#mount.requireFor("delete");
    try {
      await fs.rm(path, { force: true });
      // An empty folder stands for nothing: S3 has none either.
      for (let folder = dirname(path); folder.length > this.#root.length; folder = dirname(folder)) {
        await fs.rmdir(folder);
      }
    } catch (error) {
      if (STILL_IN_USE.has(errorCode(error))) return;
      throw directoryError(error, { action: "delete", key, url: this.#url, path });
    }
  }
}

/** What `rmdir` answers for a folder that holds something, that somebody else has removed, or that is a symbolic link. */
const STILL_IN_USE = new Set(["ENOTEMPTY", "EEXIST", "ENOENT", "ENOTDIR"]);
