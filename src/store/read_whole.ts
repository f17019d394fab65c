/** Small objects, read as a whole: from a store and a key to the bytes or the text. */
import type { Store, StoreCallOptions } from "./store.ts";

/** All bytes of an object that fits into memory. @throws StoreError with code `not_found` */
export async function readBytes(store: Store, key: string, options: StoreCallOptions): Promise<Uint8Array> {
  return new Uint8Array(await new Response(await store.read(key, options)).arrayBuffer());
}

/** The text of an object that fits into memory; bytes that are not UTF-8 are replaced. @throws StoreError with code `not_found` */
export async function readText(store: Store, key: string, options: StoreCallOptions): Promise<string> {
  return await new Response(await store.read(key, options)).text();
}
