/** A store in a folder of its own, which goes with the test. */
import { pathToFileURL } from "node:url";
import { DirectoryStore, type DirectoryStoreOptions } from "../../../src/store/directory/store.ts";
import { openStore } from "../../../src/store/open.ts";
import type { StoreUnderTest } from "../store_contract.ts";

/** An open one. */
export interface OpenDirectory extends StoreUnderTest, AsyncDisposable {
  /** The bucket folder. */
  root: string;
}

/** Opens a store in a folder that is not there yet; with `options` as the class takes them, else as the program does. */
export async function openDirectory(options?: DirectoryStoreOptions): Promise<OpenDirectory> {
  const above = await Deno.makeTempDir({ prefix: "couchdb-backup store-%2F-" });
  const root = `${above}/bucket`;
  const close = () => Deno.remove(above, { recursive: true });
  return {
    store: options === undefined
      ? await openStore({ bucket: pathToFileURL(root).href })
      : new DirectoryStore(root, options),
    root,
    leftovers: () => filesBelow(root),
    largeBytes: 3_000_000,
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function filesBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  try {
    for await (const entry of Deno.readDir(folder)) {
      if (entry.name === ".couchdb-backup") continue;
      if (entry.isDirectory) found.push(...await filesBelow(`${folder}/${entry.name}`));
      else found.push(`${folder}/${entry.name}`);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}
