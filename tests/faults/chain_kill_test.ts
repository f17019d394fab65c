/**
 * SIGKILL to the program as a process of its own, just before and just behind each of its requests to the store: of an
 * incremental run, of one in which nothing has changed, and of expire. What was kept verifies and restores, what is
 * called complete is whole, and running again ends it.
 */
import { fileURLToPath } from "node:url";
import { openSession } from "../../src/session/open.ts";
import type { ProgramSession } from "../../src/session/session.ts";
import { parseConfig } from "../../src/config/config.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import type { FakeCouchDb } from "../fakes/couchdb.ts";
import { RecordedLog } from "../fakes/log.ts";
import { type FakeObject, FakeS3 } from "../fakes/s3.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { couchOk } from "../couch_request.ts";
import { FaultProxy } from "./proxy.ts";
import { COUCH_PASSWORD, S3_SECRET } from "./program.ts";
import { startCouch } from "./scene.ts";
import { never } from "./stepped_store.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { until } from "../until.ts";
import { PERMISSIONS } from "../../scripts/run_flags.ts";
import type { WireFault } from "./wire_faults.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const DATABASE = "db";
const DAY_MS = 86_400_000;

/** A moment of the database, and what lies in the bucket then. */
interface Point {
  truth: LeafRevisions;
  objects: ReadonlyMap<string, FakeObject>;
}

/** A database whose last edits are in no backup, with the chain before; the same with a second chain. */
interface Source {
  server: FakeCouchDb;
  /** The newest last. */
  chain: Point[];
  chains: Point[];
  /** What the database is when the killed run begins. */
  now: LeafRevisions;
}

let source: Promise<Source> | undefined;
const openSource = async () => await (source ??= makeSource());

function configFor(server: { url: string }, s3: { url: string }): string {
  return [
    `database: {url: "${server.url}", login: admin, password: "${COUCH_PASSWORD}"}`,
    `task: {all: {databases: [${DATABASE}], chunk: 20, parallel: 2, timezone: UTC, incremental: true, retention: {keep_last: 1}}}`,
    `bucket: s3://test-bucket/folder`,
    `endpoint: "${s3.url}"`,
    `region: us-east-1`,
    `token: access`,
    `secret: "${S3_SECRET}"`,
  ].join("\n");
}

async function withSession<T>(
  server: { url: string },
  s3: { url: string },
  run: (session: ProgramSession) => Promise<T>,
): Promise<T> {
  const config = parseConfig(configFor(server, s3), { file: "config.yaml", env: {} });
  const session = await openSession({ config, log: new RecordedLog() });
  try {
    return await run(session);
  } finally {
    await session.close();
  }
}

/** In place of the fake's clock: backups are as old as they have to be. */
async function startS3(objects: ReadonlyMap<string, FakeObject>, aheadMs = 0): Promise<FakeS3> {
  const fake = await FakeS3.start({ secretAccessKey: S3_SECRET, clockAheadMs: aheadMs, allowsDelete: true });
  for (const [key, object] of objects) fake.objects.set(key, object);
  return fake;
}

async function makeSource(): Promise<Source> {
  const server = await startCouch();
  await couchOk(server, `PUT /${DATABASE}`);
  const database = server.databases.get(DATABASE)!;
  const s3 = await startS3(new Map());
  const read = () => readAllLeafRevisions(server, DATABASE, { by: "_bulk_get" });
  const points: Point[] = [];
  const save = async (day: number, full = false) => {
    const report = await withSession(
      server,
      s3,
      (session) => session.backup({ date: { year: 2026, month: 1, day }, full }),
    );
    if (!report.ok) throw new Error(`A run without a fault fails: ${JSON.stringify(report)}`);
    points.push({ truth: await read(), objects: new Map(s3.objects) });
  };
  const change = (from: number) => {
    edit(database, ...ids.slice(from, from + 20).map((_id) => ({ _id, from })));
    const gone = ids.slice(from + 20, from + 23);
    edit(database, ...gone.map((_id) => ({ _id, _deleted: true })));
  };
  const ids = fill(database, 120);
  await save(2);
  change(0);
  await save(3);
  const chain = [...points];
  change(50);
  const now = await read();
  // Two chains, of which one is to expire, are in a database of the same contents later on.
  await save(4, true);
  await withSession(server, s3, (session) => session.backup({ date: { year: 2026, month: 1, day: 5 } }));
  points.push({ truth: now, objects: new Map(s3.objects) });
  await s3.close();
  return { server, chain, chains: points, now };
}

/** What is wrong with what the bucket has: every backup that calls itself complete must verify, and restore exactly. */
async function judge(
  { server }: Source,
  s3: FakeS3,
  { truths, least, newestOnly = false }: { truths: readonly LeafRevisions[]; least: number; newestOnly?: boolean },
): Promise<string[]> {
  return await withSession(server, s3, async (session) => {
    const breaches: string[] = [];
    const { backups } = await session.list({ database: DATABASE });
    const complete = backups.filter(({ complete }) => complete);
    if (complete.length < least) breaches.push(`${complete.length} restore points, of ${least} at least`);
    for (const { restore_path: path, kind, finished_at } of complete) {
      const what = `${kind} backup of ${finished_at}`;
      const { ok, problems } = await session.verify({ database: DATABASE, path: path! });
      if (!ok) breaches.push(`${what} does not verify: ${JSON.stringify(problems)}`);
      if (newestOnly && path !== complete[0]!.restore_path) continue;
      const into = `back-${crypto.randomUUID().slice(0, 8)}`;
      await session.restore({ database: into, path: path!, noViews: true });
      const found = await readAllLeafRevisions(server, into, { by: "_bulk_get" });
      await couchOk(server, `DELETE /${into}`);
      if (truths.every((truth) => compareLeafRevisions(truth, found, 1).length > 0)) {
        breaches.push(`${what} restores what never was`);
      }
    }
    return breaches;
  });
}

/** Runs the program, and kills it at a request; one behind which it is killed is carried out, and never answered. */
async function killAt(
  args: readonly string[],
  { server, s3, place, isBehind }: { server: FakeCouchDb; s3: FakeS3; place: number; isBehind: boolean },
): Promise<{ isMet: boolean; steps: number; met: string | undefined }> {
  await using proxy = await FaultProxy.start("s3", s3.url);
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-faults-" });
  try {
    await Deno.writeTextFile(`${folder}/config.yaml`, configFor(server, proxy));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-check", ...PERMISSIONS, MAIN, ...args, `${folder}/config.yaml`],
      env: { XDG_STATE_HOME: `${folder}/state` },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    // Carried out to its end before anybody looks at what is there.
    const lost: WireFault = { name: "killed", about: "its answer is lost", behind: "lose" };
    if (isBehind) proxy.arm({ fault: lost, at: place, random: Math.random });
    let isDead = false;
    proxy.onRequest = (number) => {
      if (isDead) return never();
      if (number !== place) return;
      isDead = true;
      child.kill("SIGKILL");
      return isBehind ? undefined : never();
    };
    const { signal } = await child.status;
    if (isBehind && isDead) await until(() => proxy.isMet, "the last request is carried out", 20_000);
    return { isMet: signal === "SIGKILL", steps: proxy.requests.length, met: proxy.requests[place - 1] };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

type Places = { steps: number };

async function killBackup(place: number, isBehind: boolean, isUnchanged: boolean): Promise<Verdict & Places> {
  const source = await openSource();
  const { server, chain, chains, now } = source;
  const points = isUnchanged ? chains : chain;
  const s3 = await startS3(points.at(-1)!.objects);
  try {
    const args = ["backup", "--quiet", "--date", "2026-01-09"];
    const { isMet, steps, met } = await killAt(args, { server, s3, place, isBehind });
    const truths = [...points.map(({ truth }) => truth), now];
    const breaches = await judge(source, s3, { truths, least: points.length });
    const report = await withSession(
      server,
      s3,
      (session) => session.backup({ date: { year: 2026, month: 1, day: 9 }, resume: true }),
    );
    const [one] = report.tasks[0]!.databases;
    const isAsMeant = report.ok && one?.kind === "incremental" && (one.unchanged === true) === isUnchanged;
    if (!isAsMeant) breaches.push(`running again does not end it: ${JSON.stringify(one)}`);
    breaches.push(...await judge(source, s3, { truths, least: points.length + 1, newestOnly: true }));
    return { result: isMet ? "said" : "untouched", breaches, met, steps };
  } finally {
    await s3.close();
  }
}

async function killExpire(place: number, isBehind: boolean): Promise<Verdict & Places> {
  const source = await openSource();
  const { server, chains } = source;
  const s3 = await startS3(chains.at(-1)!.objects, 60 * DAY_MS);
  try {
    const { isMet, steps, met } = await killAt(["expire", "--confirm", "--quiet"], { server, s3, place, isBehind });
    const truths = chains.map(({ truth }) => truth);
    // The newest, and the full backup that it relies on.
    const breaches = await judge(source, s3, { truths, least: 2 });
    const report = await withSession(server, s3, (session) => session.expire({ confirm: true }));
    if (!report.ok) breaches.push(`running again does not end it: ${JSON.stringify(report.problems)}`);
    breaches.push(...await judge(source, s3, { truths, least: 2, newestOnly: true }));
    const rest = await withSession(server, s3, (session) => session.expire({}));
    if (rest.expired.length + rest.leftovers.objects > 0) breaches.push(`something is left: ${JSON.stringify(rest)}`);
    const kept = [...s3.objects.keys()].filter((key) => /\/manifest-[^/]*$/.test(key)).length;
    if (kept !== 2) breaches.push(`${kept} backups are left in place of 2`);
    return { result: isMet ? "said" : "untouched", breaches, met, steps };
  } finally {
    await s3.close();
  }
}

for (
  const [subject, attempt] of [
    ["s3 increment", (place: number, isBehind: boolean) => killBackup(place, isBehind, false)],
    ["s3 carry-over", (place: number, isBehind: boolean) => killBackup(place, isBehind, true)],
    ["s3 expire", killExpire],
  ] as const
) {
  for (const isBehind of [false, true]) {
    sweep({
      subject,
      fault: `kill-9-${isBehind ? "behind" : "before"}-step`,
      parallel: 2,
      places: async () => (await attempt(Number.MAX_SAFE_INTEGER, false)).steps,
      attempt: (place) => attempt(place, isBehind),
    });
  }
}
