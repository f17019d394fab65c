/**
 * `object_lock` on servers of others: moto from the Python of CLOUD_PYTHON, MinIO, and versitygw with versions. Each
 * has a bucket with Object Lock; a full backup and an increment of it are asked for their locks without the code under
 * test, nobody may delete a version of what is locked, and `expire` keeps it and says why.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { AwsClient } from "aws4fetch";
import { Buffer } from "node:buffer";
import { dirname, join } from "node:path";
import { parseConfig } from "../../src/config/config.ts";
import { openSession } from "../../src/session/open.ts";
import { ROOT } from "../cli/program.ts";
import { couchOk } from "../couch_request.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import { RecordedLog } from "../fakes/log.ts";
import { freePort } from "../fakes/tls_front.ts";
import { untilAnswers } from "../until_ready.ts";

const DAY_MS = 86_400_000;
const DAYS = 100;
const KEYS = { AWS_ACCESS_KEY_ID: "ci-access", AWS_SECRET_ACCESS_KEY: "ci-secret" };

interface Server {
  name: string;
  command: (place: { port: number; folder: string }) => { command: string; args: string[] };
  /** What answers once it is ready. */
  ready?: string;
}

const SERVERS: Server[] = [
  {
    name: "moto",
    command: ({ port }) => {
      const python = Deno.env.get("CLOUD_PYTHON") ?? join(ROOT, ".venv/bin/python");
      return { command: join(dirname(python), "moto_server"), args: ["-H", "127.0.0.1", "-p", String(port)] };
    },
  },
  {
    name: "MinIO",
    command: ({ port, folder }) => ({
      command: "sh",
      args: [`${ROOT}scripts/ci/minio_server.sh`, String(port), folder],
    }),
    ready: "/minio/health/ready",
  },
  {
    name: "versitygw",
    command: ({ port, folder }) => ({
      command: "sh",
      args: [`${ROOT}scripts/ci/s3_server.sh`, String(port), folder, "--versions"],
    }),
  },
];

/** Starts a server with an empty bucket that has Object Lock, and ends it behind the work. */
async function withLockedBucket(
  { command, ready = "/" }: Server,
  use: (place: { endpoint: string; client: AwsClient }) => Promise<void>,
): Promise<void> {
  const [port, folder] = [freePort(), await Deno.makeTempDir({ prefix: "couchdb-backup-lock-" })];
  const started = command({ port, folder });
  const child = new Deno.Command(started.command, { args: started.args, env: KEYS, stdout: "null", stderr: "null" })
    .spawn();
  const endpoint = `http://127.0.0.1:${port}`;
  const client = new AwsClient({
    accessKeyId: KEYS.AWS_ACCESS_KEY_ID,
    secretAccessKey: KEYS.AWS_SECRET_ACCESS_KEY,
    region: "us-east-1",
    service: "s3",
  });
  try {
    await untilAnswers(endpoint + ready);
    const made = await client.fetch(`${endpoint}/locked`, {
      method: "PUT",
      headers: { "x-amz-bucket-object-lock-enabled": "true" },
    });
    assertEquals(made.status, 200, await made.text());
    await use({ endpoint, client });
  } finally {
    child.kill("SIGTERM");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  }
}

/** Every version of every object, as the server lists them. */
async function listVersions(endpoint: string, client: AwsClient): Promise<{ key: string; version: string }[]> {
  const answer = await client.fetch(`${endpoint}/locked?versions`);
  const text = await answer.text();
  assertEquals(answer.status, 200, text);
  assert(!text.includes("<IsTruncated>true"), "one page has all");
  return [...text.matchAll(/<Version>(.*?)<\/Version>/gs)].map(([, one = ""]) => ({
    key: decodeURIComponent(/<Key>(.*?)<\/Key>/.exec(one)![1]!),
    version: /<VersionId>(.*?)<\/VersionId>/.exec(one)![1]!,
  }));
}

for (const server of SERVERS) {
  Deno.test(`object_lock on ${server.name}: chunks and manifests are locked, nobody deletes them, and expire keeps them`, async () => {
    await withLockedBucket(server, async ({ endpoint, client }) => {
      await using fake = await startFakeCouchDb();
      await couchOk(fake, "PUT /db");
      const database = fake.databases.get("db")!;
      const ids = fill(database, 300);
      // More than a part: such a chunk is stored by several requests.
      const text = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))).toString("base64");
      const large = Object.fromEntries(Array.from({ length: 120 }, (_, at) => [`part-${at}`, text.slice(at)]));
      edit(database, { _id: ids[299]!, ...large });
      const config = parseConfig(
        [
          `database: {url: "${fake.url}", login: "${fake.login}", password: "${fake.password}"}`,
          `task: {t: {databases: [db], chunk: 100, timezone: UTC, incremental: true, retention: {keep_last: 1}}}`,
          `bucket: s3://locked/folder`,
          `endpoint: "${endpoint}"`,
          `region: us-east-1`,
          `token: ${KEYS.AWS_ACCESS_KEY_ID}`,
          `secret: ${KEYS.AWS_SECRET_ACCESS_KEY}`,
          `part_size: 5`,
          `object_lock: {mode: governance, days: ${DAYS}}`,
        ].join("\n"),
        { file: "config.yaml", env: {} },
      );
      const withSession = async <T>(
        laterDays: number,
        use: (session: Awaited<ReturnType<typeof openSession>>) => Promise<T>,
      ) => {
        const now = () => new Date(Date.now() + laterDays * DAY_MS);
        await using session = await openSession({ config, log: new RecordedLog(), now });
        return await use(session);
      };
      const run = async (day: number, laterDays = 0) => {
        const { tasks: [task] } = await withSession(laterDays, async (session) => {
          return await session.backup({ date: { year: 2026, month: 1, day } });
        });
        const [report] = task!.databases;
        assertEquals(report!.error, undefined);
        return report!;
      };
      const full = await run(1);
      assertEquals(full.kind, "full");
      assert(full.compressed_bytes > 6 << 20, "one chunk is more than a part");
      edit(database, { _id: ids[0]!, changed: true });
      assertEquals((await run(2)).kind, "incremental");

      const isLocked = (key: string) => /\/\d{7}\.json\.gz$|\/manifest-[^/]*\.json$/.test(key);
      const versions = await listVersions(endpoint, client);
      assertEquals(versions.filter(({ key }) => isLocked(key)).length, 6, "four chunks and two manifests");
      for (const { key, version } of versions) {
        const url = `${endpoint}/locked/${key.split("/").map(encodeURIComponent).join("/")}`;
        const { status, headers } = await client.fetch(`${url}?versionId=${version}`, { method: "HEAD" });
        assertEquals(status, 200, key);
        const [mode, until] = ["mode", "retain-until-date"].map((name) => headers.get(`x-amz-object-lock-${name}`));
        if (!isLocked(key)) {
          assertEquals(until ?? "", "", `${key} is replaced or goes later, and is locked`);
          continue;
        }
        assertEquals(mode, "GOVERNANCE", key);
        const offMs = Date.parse(until!) - Date.now() - DAYS * DAY_MS;
        assert(Math.abs(offMs) < 600_000, `${key} is locked until ${until}`);
        // A right to delete, without the one to go round the lock, deletes no version of it.
        const gone = await client.fetch(`${url}?versionId=${version}`, { method: "DELETE" });
        const answer = await gone.text();
        assert(gone.status === 403 || gone.status === 400, `${key}: ${gone.status} ${answer}`);
        assertEquals((await client.fetch(url, { method: "HEAD" })).status, 200, key);
      }
      // All is stored, and locked, anew where the lock that is left would be too short.
      const again = await run(3, 51);
      assertEquals(again.kind, "full");
      assertMatch(again.full_because ?? "", /^the lock of a backup that it would rely on ends on .*object_lock/);

      // Two backups are beyond the policy, and locked: they stay, and it is said why.
      const expired = await withSession(80, (session) => session.expire({ confirm: true, showKept: true }));
      assertEquals([expired.ok, expired.expired.length, expired.kept, expired.problems], [true, 0, 3, []]);
      const reasons = (expired.kept_backups ?? []).flatMap(({ reasons }) => reasons).join("\n");
      assertMatch(reasons, /locked until \d{4}-/);
      await withSession(80, async (session) => {
        const report = await session.verify({ database: "db", path: "2026-01-02/db" });
        assertEquals([report.ok, report.problems], [true, []]);
      });
    });
  });
}
