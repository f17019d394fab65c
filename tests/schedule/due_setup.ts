/** A CouchDB with databases, a store, and machines that run schedules against them. */
import { hostname } from "node:os";
import { Repository } from "../../src/archive/repository.ts";
import type { ClaimTimes } from "../../src/schedule/claim.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import type { RetryPolicy } from "../../src/retry.ts";
import type { ScheduledContext } from "../../src/schedule/due.ts";
import { Secret } from "../../src/secret.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { Store } from "../../src/store/store.ts";
import { couchOk } from "../couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { FakeS3 } from "../fakes/s3.ts";

/** Short enough for a test, and in the proportions of the real ones. */
export const QUICK_TIMES: ClaimTimes = { heartbeatMs: 200, staleMs: 800, watchMs: 150, settleMs: 200 };

const QUICK_RETRY: RetryPolicy = { attempts: 2, firstWaitMs: 5, longestWaitMs: 20 };

/** The stores that claims are tried on. */
export const STORES = ["file://", "s3://", "s3:// that overwrites"] as const;

/** A machine: a process of its own, as far as store and CouchDB can tell. */
export type Machine = ScheduledContext & { log: RecordedLog; interrupt: AbortController; kill: AbortController };

/** What a test works with. */
export interface ScheduledSetup extends AsyncDisposable {
  server: FakeCouchDb;
  store: Store;
  /** A machine; its run has its name. */
  machine(name: string, part?: Partial<ScheduledContext>): Machine;
  /** The names of the objects in a folder. */
  namesIn(folder: string): Promise<string[]>;
  /** An object's JSON. */
  // deno-lint-ignore no-explicit-any -- tests look into objects of every shape
  json(key: string): Promise<any>;
}

/** The same store, but that a call fails where `failure` returns an error, or does what that does before it returns. */
export function storeThatFails(
  store: Store,
  failure: (method: "create" | "replace" | "read" | "list", key: string) => Error | undefined,
): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      if (name === "list") {
        return async function* (key: string, ...rest: unknown[]) {
          const error = failure(name, key);
          if (error !== undefined) throw error;
          yield* member.call(target, key, ...rest);
        };
      }
      if (name !== "create" && name !== "replace" && name !== "read") return member.bind(target);
      return (key: string | string[], ...rest: unknown[]) => {
        const error = failure(name, [key].flat()[0]!);
        return error === undefined ? member.call(target, key, ...rest) : Promise.reject(error);
      };
    },
  });
}

/** Starts all that a test needs. Hold it with `await using`. */
export async function setUpScheduled(
  kind: typeof STORES[number],
  databases: Readonly<Record<string, number>>,
): Promise<ScheduledSetup> {
  const server = await startFakeCouchDb();
  for (const [database, documents] of Object.entries(databases)) {
    await couchOk(server, `PUT /${encodeURIComponent(database)}`);
    const docs = Array.from({ length: documents }, (_, index) => ({ _id: `d${index}`, index }));
    await couchOk(server, `POST /${encodeURIComponent(database)}/_bulk_docs`, { docs });
  }
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-scheduled-" });
  const ignoresConditions = kind === "s3:// that overwrites";
  const s3 = kind === "file://" ? undefined : await FakeS3.start({ ignoresConditions });
  const store = s3 === undefined ? new DirectoryStore(root) : new S3Store({
    bucket: "s3://test-bucket/folder",
    endpoint: s3.url,
    region: s3.keys.region,
    accessKeyId: s3.keys.accessKeyId,
    secretAccessKey: new Secret(s3.keys.secretAccessKey),
  });
  store.conditions = ignoresConditions ? "ignored" : "held";
  return {
    server,
    store,
    machine(name, part = {}) {
      const log = new RecordedLog();
      const { url, login, password } = server;
      const couch = new CouchClient({ url, login, password: new Secret(password), log, retry: QUICK_RETRY });
      const interrupt = new AbortController();
      const kill = new AbortController();
      return {
        couch,
        repository: new Repository(store, { prefix: "backup", suffix: "couchdb" }),
        log,
        progress: SILENT_PROGRESS,
        run: name,
        host: hostname(),
        pid: 1,
        now: () => new Date(),
        stop: interrupt.signal,
        signal: kill.signal,
        times: QUICK_TIMES,
        interrupt,
        kill,
        ...part,
      } as Machine;
    },
    async namesIn(folder) {
      const names: string[] = [];
      for await (const { name } of store.list(folder)) names.push(name);
      return names;
    },
    async json(key) {
      return JSON.parse(await new Response(await store.read(key)).text());
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(root, { recursive: true });
      await s3?.close();
      await server.stop();
    },
  };
}
