/** The client under test with retries and time-outs of milliseconds, and documents for it to read. */
import { type ClientOptions, CouchClient } from "../../src/couchdb/client.ts";
import { Secret } from "../../src/secret.ts";
import { couchOk, type CouchServer } from "../couch_request.ts";
import { RecordedLog } from "../fakes/log.ts";

/** How often such a client tries. */
export const ATTEMPTS = 4;

/** A client that gives up soon. */
export function impatientClient(server: CouchServer, options: Partial<ClientOptions> = {}): CouchClient {
  return new CouchClient({
    url: server.url,
    login: server.login,
    password: new Secret(server.password),
    log: new RecordedLog(),
    retry: { attempts: ATTEMPTS, firstWaitMs: 1, longestWaitMs: 4 },
    ...options,
  });
}

/** Creates a database of documents with the given ids, and with `members` behind the id of each. */
export async function createDatabase(
  server: CouchServer,
  name: string,
  ids: readonly string[],
  members = '"n":1.0',
): Promise<void> {
  await couchOk(server, `PUT /${encodeURIComponent(name)}`);
  const docs = ids.map((id) => `{"_id":${JSON.stringify(id)},${members}}`);
  await couchOk(server, `POST /${encodeURIComponent(name)}/_bulk_docs`, `{"docs":[${docs}]}`);
}

/** `count` ids in order: `d00000`, `d00001`, … */
export function idsOf(count: number): string[] {
  return Array.from({ length: count }, (_, number) => `d${String(number).padStart(5, "0")}`);
}

/**
 * A client to which the feed never shows the rows of some documents, as one copy may that lags and says nothing of it.
 */
export function without(ids: readonly string[], server: CouchServer): CouchClient {
  const client = impatientClient(server);
  const changes: CouchClient["changes"] = async (...args) => {
    const page = await client.changes(...args);
    return { ...page, rows: page.rows.filter(({ id }) => !ids.includes(id)) };
  };
  return new Proxy(client, {
    get: (target, name) => {
      const value: unknown = name === "changes" ? changes : Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
