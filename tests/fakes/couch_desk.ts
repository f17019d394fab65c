/** A double of CouchDB with some databases, and an empty folder beside it, for one test. Set-ups extend it. */
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, type FakeCouchDbOptions, startFakeCouchDb } from "./couchdb.ts";

/** What stands on a desk. */
export interface DeskParts {
  fake: FakeCouchDb;
  /** Absolute; it is removed with all that is in it. */
  folder: string;
}

/** Starts a double with databases of twelve documents each, and makes a folder whose name has a blank in it. */
export async function layDesk(databases: readonly string[], options: FakeCouchDbOptions = {}): Promise<DeskParts> {
  const fake = await startFakeCouchDb(options);
  for (const name of databases) await createDatabase(fake, name, idsOf(12));
  return { fake, folder: await Deno.makeTempDir({ prefix: "couchdb-backup desk-" }) };
}

/** A desk; at its end the double stops and the folder is gone. */
export class CouchDesk implements AsyncDisposable {
  readonly fake: FakeCouchDb;
  readonly folder: string;

  constructor({ fake, folder }: DeskParts) {
    this.fake = fake;
    this.folder = folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fake.stop();
    await Deno.remove(this.folder, { recursive: true });
  }
}
