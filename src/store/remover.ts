/**
 * Deletion, kept apart from the store so that the type shows who can delete: `expire`, and `check --store`, which
 * removes what it has just written where it may. Nothing else in the program deletes an object or needs the right to.
 * In: keys below the bucket folder. Out: they are gone.
 */
import type { StoreCallOptions } from "./store.ts";

/** What deletion takes. */
export interface RemoveOptions extends StoreCallOptions {
  /** Awaited before each further try, where the store has not taken the one before: what it throws ends them. */
  again?: (() => Promise<void>) | undefined;
}

/** Deletes objects of one store, one by one. */
export interface Remover {
  /**
   * What prevents an object from being deleted for good, as a phrase such as `locked until 2027-01-01T00:00:00.000Z`;
   * undefined where nothing is known to prevent it.
   */
  findHold(key: string, options?: StoreCallOptions): Promise<string | undefined>;

  /**
   * Deletes an object; one that is gone already is no error. In a bucket with versions S3 puts a mark in its place, and
   * the bytes stay until a rule of the bucket's takes them.
   *
   * @throws StoreError where it may not be deleted.
   */
  remove(key: string, options?: RemoveOptions): Promise<void>;
}
