/**
 * Objects of no great size, read whole: manifests, checkpoints, claims, plans, reports. In: a store and a key. Out: bytes or text.
 * Who can write the bucket can put anything there, so that what no backup writes is refused before it fills the memory.
 */
import { concat } from "../concat.ts";
import { StoreError } from "../errors.ts";
import { checkKey } from "./key.ts";
import type { Store, StoreCallOptions } from "./store.ts";

/**
 * What grows with chunks or databases. A manifest has some 300 bytes a chunk: so large is that of four hundred thousand.
 * A report has some 500 bytes a database with a long name, and more where it tells of an error or a warning: so large is
 * that of a quarter of a million, and that of a hundred thousand of which each has failed.
 */
export const MOST_LARGE_BYTES: number = 128 << 20;
/** What does not grow with them: claims, heartbeats, how one database came out, what was found out or is remembered. */
const MOST_TEXT_BYTES = 16 << 20;

/** What reading takes. */
export interface WholeOptions extends StoreCallOptions {
  /** @default 128 MiB, of a text 16 MiB */
  mostBytes?: number | undefined;
}

/** An object's bytes. @throws StoreError as `Store.read` does, and with code `too_large`. */
export async function readObjectBytes(
  store: Store,
  key: string,
  { mostBytes = MOST_LARGE_BYTES, ...options }: WholeOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let bytesRead = 0;
  for await (const bytes of await store.read(key, options)) {
    bytesRead += bytes.length;
    if (bytesRead > mostBytes) throw tooLarge(store, key, mostBytes);
    pieces.push(bytes);
  }
  return concat(pieces);
}

/** An object as text, read as UTF-8. @throws StoreError as `Store.read` does, and with code `too_large`. */
export async function readObjectText(store: Store, key: string, options: WholeOptions = {}): Promise<string> {
  return new TextDecoder().decode(await readObjectBytes(store, key, { mostBytes: MOST_TEXT_BYTES, ...options }));
}

function tooLarge(store: Store, key: string, mostBytes: number): StoreError {
  return new StoreError(
    `Cannot read "${store.locate(checkKey(key))}": it has more than ${
      mostBytes < 1 << 20 ? `${mostBytes >> 10} KiB` : `${mostBytes >> 20} MiB`
    }, which nothing of its kind has`,
    { code: "too_large", key },
    { hint: "Check who can write to the bucket, and what stored this object there" },
  );
}
