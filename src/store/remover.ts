/**
 * The door for who deletes, apart from the store: only `expire` goes through it, and nothing else of the program can delete
 * an object or needs a right to, but for `check --store`, which takes away what it has just written where it may. In: keys below the bucket folder. Out: they are gone.
 */
import type { StoreCallOptions } from "./store.ts";

/** Deletes objects of one store, one by one. */
export interface Remover {
  /**
   * What keeps anybody from deleting an object for good, as a phrase such as `locked until 2027-01-01T00:00:00.000Z`;
   * undefined where nothing is known to.
   */
  findHold(key: string, options?: StoreCallOptions): Promise<string | undefined>;

  /**
   * Deletes an object; one that is gone already is no error. In a bucket with versions S3 puts a mark in its place, and the
   * bytes stay until a rule of the bucket's takes them.
   *
   * @throws StoreError where it may not be deleted.
   */
  remove(key: string, options?: StoreCallOptions): Promise<void>;
}
