/** A CouchDB with many databases, a config that backs them up into a folder, and a session on it. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseConfig } from "../../../src/config/config.ts";
import type { Progress } from "../../../src/observe.ts";
import { openSession } from "../../../src/session/open.ts";
import type { ProgramSession } from "../../../src/session/session.ts";
import { couchOk } from "../../couch_request.ts";
import { createDatabase, idsOf } from "../../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";

/** What a test of many databases works with. */
export interface FleetSetup extends AsyncDisposable {
  server: FakeCouchDb;
  folder: string;
  log: RecordedLog;
  names: string[];
  /** A session; each is a process of its own, as far as anybody can tell. */
  open(parts?: { progress?: Progress; now?: () => Date; signal?: AbortSignal }): Promise<ProgramSession>;
  /** All leaf revisions of all databases. */
  state(names?: readonly string[]): Promise<Map<string, LeafRevisions>>;
  /** How two such states differ. */
  differences(before: Map<string, LeafRevisions>, after: Map<string, LeafRevisions>): string[];
  drop(names?: readonly string[]): Promise<void>;
}

/**
 * `count` databases of some documents each, whose names have slashes and pluses.
 *
 * @param options.server Where they are, which is stopped with the rest. @default one of its own
 */
export async function setUpFleet(
  count: number,
  { tasks, server: given }: { tasks?: string; server?: FakeCouchDb } = {},
): Promise<FleetSetup> {
  const server = given ?? await startFakeCouchDb();
  const names = Array.from({ length: count }, (_, index) => {
    const digits = String(index).padStart(3, "0");
    return index % 3 === 0 ? `account/${digits}/x` : index % 3 === 1 ? `account+${digits}` : `media${digits}`;
  }).sort();
  for (const [index, name] of names.entries()) {
    await createDatabase(server, name, idsOf(3 + index % 5), `"in":${JSON.stringify(name)},"n":9007199254740993`);
  }
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-fleet-" });
  const text = `database: {url: "${server.url}", login: "${server.login}", password: "${server.password}"}
task: ${tasks ?? `{all: {databases: [".*"], exclude: ["_.*"], chunk: 2, timezone: UTC}}`}
bucket: "${pathToFileURL(join(folder, "bucket")).href}"
`;
  const config = parseConfig(text, { file: "config.yaml", env: { XDG_STATE_HOME: join(folder, "state") } });
  const log = new RecordedLog();
  return {
    server,
    folder,
    log,
    names,
    open: (parts = {}) => openSession({ config, log, ...parts }),
    async state(of = names) {
      const all = new Map<string, LeafRevisions>();
      for (const name of of) all.set(name, await readAllLeafRevisions(server, name, { by: "_bulk_get" }));
      return all;
    },
    differences: (before, after) =>
      [...before].flatMap(([name, left]) =>
        compareLeafRevisions(left, after.get(name) ?? new Map()).map((difference) => `${name}: ${difference}`)
      ),
    async drop(of = names) {
      for (const name of of) await couchOk(server, `DELETE /${encodeURIComponent(name)}`);
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(folder, { recursive: true });
      await server.stop();
    },
  };
}
