/** Incremental backups of one database of a double, and what their restores bring. */
import { assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import type { DatabaseReport } from "../../../src/archive/report.ts";
import { Repository } from "../../../src/archive/repository.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import type { RestoreReport } from "../../../src/commands/restore/report.ts";
import { verify, type VerifyReport } from "../../../src/commands/verify.ts";
import { SILENT_PROGRESS } from "../../../src/observe.ts";
import { openStore } from "../../../src/store/open.ts";
import { couchOk, type CouchServer } from "../../couch_request.ts";
import { impatientClient } from "../../couchdb/impatient_client.ts";
import type { Database } from "../../fakes/couchdb/database.ts";
import { type FakeCouchDb, type FakeCouchDbOptions, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { filesOf } from "../../read_archive.ts";
import { Backups, type RunRequest } from "./feed_setup.ts";

/** Databases, backups of theirs, and restores of these. */
export class Increments implements AsyncDisposable {
  readonly backups: Backups = new Backups();
  readonly fake: FakeCouchDb;
  /** What opens backups that are sealed. */
  identities: readonly string[] = [];
  #restores = 0;

  private constructor(fake: FakeCouchDb) {
    this.fake = fake;
  }

  /** One server with an empty database `db`. */
  static async start(options: FakeCouchDbOptions = {}): Promise<Increments> {
    const fake = await startFakeCouchDb(options);
    await couchOk(fake, "PUT /db");
    return new Increments(fake);
  }

  get database(): Database {
    return this.fake.databases.get("db")!;
  }

  /** One run of an incremental task. */
  async run(
    { task = {}, server = this.fake, ...options }: RunRequest & { server?: CouchServer; database?: string } = {},
  ): Promise<DatabaseReport> {
    return await this.backups.run(server, { task: { increments: { most: 14 }, ...task }, ...options });
  }

  /** One run over several databases. */
  async runAll(databases: readonly string[], { task = {}, ...options }: RunRequest = {}): Promise<DatabaseReport[]> {
    return await this.backups.runAll(this.fake, databases.map((database) => ({ database, pattern: database })), {
      task: { increments: { most: 14 }, ...task },
      ...options,
    });
  }

  /** The same, of which something is expected. */
  async expectRun(
    expected: { kind: "full" | "incremental" | "unchanged"; documents?: number; because?: RegExp },
    options: Parameters<Increments["run"]>[0] = {},
  ): Promise<DatabaseReport> {
    const report = await this.run(options);
    const kind = report.unchanged ? "unchanged" : report.kind;
    assertEquals(
      [report.status === "failed" ? report.error : undefined, kind],
      [undefined, expected.kind],
      JSON.stringify(report),
    );
    if (expected.documents !== undefined) assertEquals(report.documents, expected.documents);
    const { full_because: because } = report;
    if (expected.because === undefined) {
      if (kind !== "full") assertEquals(because, undefined);
    } else assertEquals([because, expected.because.test(because ?? "")], [because, true]);
    return report;
  }

  get #paths() {
    return {
      repository: this.repository,
      openStore: (bucket: string) => openStore({ bucket }),
      log: this.backups.log,
      progress: SILENT_PROGRESS,
      now: () => new Date(),
      signal: new AbortController().signal,
      seal: { identities: () => Promise.resolve(this.identities), isExpectedOf: () => false },
    };
  }

  repository!: Repository;

  async #open(): Promise<void> {
    const store = await openStore({ bucket: pathToFileURL(this.backups.root).href });
    this.repository ??= new Repository(store, { prefix: "", suffix: "couchdb" });
  }

  /** Restores into a database of its own, and reads that; `also`: ids of deleted documents. */
  async restore(
    path = "latest/db",
    { also = [], ...options }: { also?: readonly string[]; salvage?: boolean } = {},
  ): Promise<{ report: RestoreReport; leaves: LeafRevisions }> {
    await this.#open();
    const database = `restored-${++this.#restores}`;
    const couch = impatientClient(this.fake);
    const report = await restore({ ...this.#paths, couch }, { database, path, noViews: true, ...options });
    return { report, leaves: await readAllLeafRevisions(this.fake, database, { by: "_bulk_get", also }) };
  }

  /** What a dry run says of a restore into a database that is not there. */
  async preview(path = "latest/db", options: { salvage?: boolean } = {}): Promise<RestoreReport> {
    await this.#open();
    const request = { database: "previewed", path, dryRun: true, ...options };
    return await restore({ ...this.#paths, couch: impatientClient(this.fake) }, request);
  }

  async verify(path = "latest/db"): Promise<VerifyReport> {
    await this.#open();
    return await verify(this.#paths, { database: "db", path });
  }

  /** What a run is given during which the backups of 3 January go. */
  async losing(): Promise<{ context: { repository: Repository }; isGone: () => boolean }> {
    const { root, folder } = this.backups;
    let isGone = false;
    const store = new Proxy(await openStore({ bucket: pathToFileURL(root).href }), {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (name !== "create") return typeof value === "function" ? value.bind(target) : value;
        return async (keys: Iterable<string>, ...others: unknown[]) => {
          // Whoever removes old backups does so between the look at the parent and the manifest.
          if (!isGone && Array.isArray(keys) && keys[0].startsWith("_catalog/")) {
            isGone = true;
            for (const name of await filesOf(folder)) await Deno.remove(`${folder}/${name}`);
          }
          return await value.call(target, keys, ...others);
        };
      },
      set: (target, name, value) => Reflect.set(target, name, value, target),
    });
    return { context: { repository: new Repository(store, { prefix: "", suffix: "couchdb" }) }, isGone: () => isGone };
  }

  /** What the database is now. */
  async leaves(also: readonly string[] = []): Promise<LeafRevisions> {
    return await readAllLeafRevisions(this.fake, "db", { by: "_bulk_get", also });
  }

  /** Checks that the newest backup brings back just what there is; `deleted`: what must be a tombstone there. */
  async expectExact(deleted: readonly string[] = [], path?: string): Promise<void> {
    const { report, leaves } = await this.restore(path, { also: deleted });
    assertEquals(compareLeafRevisions(await this.leaves(deleted), leaves), []);
    assertEquals([report.ok, report.damaged, report.missing], [true, [], 0]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fake.stop();
    await this.backups[Symbol.asyncDispose]();
  }
}
