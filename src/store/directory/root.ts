/**
 * The folder that a store keeps its objects in. In: keys, and calls of node:fs. Out: paths, and the calls' results or errors
 * that name key and path.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { checkKey } from "../key.ts";
import { type DirectoryAction, directoryError, type DirectoryPlace } from "./error.ts";

/** The bucket folder. */
export class DirectoryRoot {
  /** `file:///path`. */
  readonly url: string;

  /** Absolute. */
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    this.url = pathToFileURL(path).href;
  }

  /** The path of an object. @throws StoreError with code `bad_key` */
  pathOf(key: string): string {
    return join(this.path, checkKey(key));
  }

  /** What an error about `key` speaks of. */
  place(action: DirectoryAction, key: string): DirectoryPlace {
    return { action, key, url: this.url, path: join(this.path, key) };
  }

  /** Waits for a call of node:fs and makes a StoreError of its failure. */
  async attempt<T>(action: DirectoryAction, key: string, call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw directoryError(error, this.place(action, key));
    }
  }
}
