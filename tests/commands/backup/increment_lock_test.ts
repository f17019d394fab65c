/** Locks on a chain in a double of S3: what a manifest says of its lock holds for all that its backup is made of. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseConfig } from "../../../src/config/config.ts";
import { openSession } from "../../../src/session/open.ts";
import { couchOk } from "../../couch_request.ts";
import { startFakeCouchDb } from "../../fakes/couchdb.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { FakeS3 } from "../../fakes/s3.ts";

const DAY_MS = 86_400_000;
const UNTIL = "x-amz-object-lock-retain-until-date";

Deno.test("backup() with object_lock says of each backup until when it is locked, and the next one goes by that", async () => {
  const fake = await startFakeCouchDb();
  const s3 = await FakeS3.start({ locksObjects: true });
  try {
    await couchOk(fake, "PUT /db");
    const database = fake.databases.get("db")!;
    const ids = fill(database, 300);
    const config = parseConfig(
      [
        `database: {url: "${fake.url}", login: "${fake.login}", password: "${fake.password}"}`,
        `task: {t: {databases: [db], chunk: 100, timezone: UTC, incremental: true}}`,
        `bucket: s3://test-bucket/folder`,
        `endpoint: "${s3.url}"`,
        `region: us-east-1`,
        `token: access`,
        `secret: "${s3.keys.secretAccessKey}"`,
        `object_lock: {mode: governance, days: 100}`,
      ].join("\n"),
      { file: "config.yaml", env: {} },
    );
    const run = async (day: number, later = 0) => {
      const now = () => new Date(Date.now() + later * DAY_MS);
      const session = await openSession({ config, log: new RecordedLog(), now });
      const { tasks: [task] } = await session.backup({ date: { year: 2026, month: 1, day } });
      await session.close();
      const [report] = task!.databases;
      assertEquals(report!.error, undefined);
      return report!;
    };
    assertEquals((await run(1)).kind, "full");
    edit(database, { _id: ids[0]!, changed: true });
    assertEquals((await run(2, 40)).kind, "incremental");
    const manifests = [...s3.objects].filter(([key]) => /\/manifest-[^/]*$/.test(key));
    assertEquals(manifests.length, 2);
    for (const [key, { bytes }] of manifests) {
      const { locked_until: until, chunks, parent } = JSON.parse(new TextDecoder().decode(bytes));
      assert(Date.parse(until) > Date.now() + 99 * DAY_MS, until);
      const folder = key.slice(0, key.lastIndexOf("/"));
      if (parent !== null) continue; // Its clock was ahead of the store's, which the locks go by.
      for (const name of [key.slice(folder.length + 1), ...chunks.map((chunk: { name: string }) => chunk.name)]) {
        const locked = s3.objects.get(`${folder}/${name}`)?.headers[UNTIL];
        assert(locked !== undefined && locked >= until, `${name} is locked until ${locked}, ${until} is said`);
      }
    }
    // Half of the lock is left for restore points to be safe: then the database is stored and locked anew.
    const again = await run(3, 51);
    assertEquals(again.kind, "full");
    assertMatch(again.full_because ?? "", /^the lock of a backup that it would rely on ends on .*object_lock/);
    assertEquals(again.chain_lost, undefined);
  } finally {
    await s3.close();
    await fake.stop();
  }
});
