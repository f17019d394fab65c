/**
 * A store around a store, for who looks at the same folders and small objects again and again for a while: each is asked
 * for once. In: a store. Out: the same, to be thrown away when that while is over.
 */
import type { Store, StoreCallOptions, StoreEntry } from "./store.ts";
import { readObjectBytes } from "./whole.ts";

/** Objects of so many bytes in all are kept; further ones are read each time. */
const MOST_BYTES = 16 << 20;

/**
 * The same store; what it has listed and read stays as it was then. What has failed is tried again.
 *
 * @param isKept Of which keys the objects are small, and kept.
 */
export function remembered(store: Store, isKept: (key: string) => boolean): Store {
  const objects = new Map<string, Uint8Array<ArrayBuffer>>();
  const folders = new Map<string, readonly StoreEntry[]>();
  let bytesKept = 0;
  const known: Pick<Store, "read" | "list"> = {
    async read(key, options) {
      if (!isKept(key)) return await store.read(key, options);
      const bytes = objects.get(key) ?? await readObjectBytes(store, key, options);
      if (!objects.has(key) && bytesKept + bytes.length <= MOST_BYTES) {
        objects.set(key, bytes);
        bytesKept += bytes.length;
      }
      // Who reads may write over what it has got.
      return ReadableStream.from<Uint8Array>([bytes.slice()]);
    },
    list(folder, options = {}) {
      const { prefix, after, unfinished = false, signal } = options;
      const isWhole = prefix === undefined && after === undefined && !unfinished;
      return isWhole ? listOnce(folder, { signal }) : store.list(folder, options);
    },
  };
  async function* listOnce(folder: string, options: StoreCallOptions): AsyncGenerator<StoreEntry> {
    const entries = folders.get(folder) ?? await Array.fromAsync(store.list(folder, options));
    folders.set(folder, entries);
    yield* entries;
  }
  return new Proxy(store, {
    get(_, name: keyof Store) {
      if (name === "read" || name === "list") return known[name];
      const member = store[name];
      return typeof member === "function" ? member.bind(store) : member;
    },
  });
}
