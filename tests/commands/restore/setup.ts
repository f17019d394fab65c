/** A CouchDB, a store in a temporary folder, and the context in which restore, verify, list and check work. */
import { Repository } from "../../../src/archive/repository.ts";
import { CouchClient } from "../../../src/couchdb/client.ts";
import { SILENT_PROGRESS } from "../../../src/observe.ts";
import type { RestoreContext } from "../../../src/commands/restore/context.ts";
import type { RetryPolicy } from "../../../src/retry.ts";
import { Secret } from "../../../src/secret.ts";
import { DirectoryStore } from "../../../src/store/directory/store.ts";
import { openStore } from "../../../src/store/open.ts";
import { type FakeCouchDb, type FakeCouchDbOptions, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { RecordedLog } from "../../fakes/log.ts";

/** Patience enough for what the doubles do, and short waits. */
export const QUICK_RETRY: RetryPolicy = { attempts: 4, firstWaitMs: 5, longestWaitMs: 20 };

/** What a test works with. */
export interface RestoreSetup extends AsyncDisposable {
  server: FakeCouchDb;
  couch: CouchClient;
  store: DirectoryStore;
  /** The store's folder. */
  root: string;
  log: RecordedLog;
  context: RestoreContext & { repository: Repository };
}

/** Starts all that a test needs. Hold it with `await using`. */
export async function setUpRestore(options: FakeCouchDbOptions = {}): Promise<RestoreSetup> {
  const server = await startFakeCouchDb(options);
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-restore-" });
  const log = new RecordedLog();
  const { url, login, password } = server;
  const couch = new CouchClient({ url, login, password: new Secret(password), log, retry: QUICK_RETRY });
  const store = new DirectoryStore(root);
  const context = {
    couch,
    repository: new Repository(store, { prefix: "backup/ippbx", suffix: "couchdb" }),
    openStore: (bucket: string) => openStore({ bucket }),
    log,
    progress: SILENT_PROGRESS,
    now: () => new Date(),
    signal: new AbortController().signal,
  };
  return {
    server,
    couch,
    store,
    root,
    log,
    context,
    async [Symbol.asyncDispose]() {
      await Deno.remove(root, { recursive: true });
      await server.stop();
    },
  };
}

/** Changes one file of the store. */
export async function alterFile(path: string, alter: (bytes: Uint8Array) => Uint8Array): Promise<void> {
  await Deno.writeFile(path, alter(await Deno.readFile(path)));
}

/** The same bytes with one of them, in the middle, changed. */
export function flipByte(bytes: Uint8Array): Uint8Array {
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = bytes[middle]! ^ 0x01;
  return bytes;
}

/** The first half of the bytes. */
export function firstHalf(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(0, Math.floor(bytes.length / 2));
}

/** Text as gzip. */
export async function gzipText(text: string): Promise<Uint8Array> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
