/**
 * The program as a process of its own, ended at any moment: what it leaves is a complete backup or one that says that
 * it is not, and --resume finishes it. The double answers slowly, so that there are moments to be killed at.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Checkpoint } from "../../../src/archive/manifest.ts";
import { createDatabase, idsOf } from "../../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../../leaf_revisions.ts";
import { decompressed, filesOf, leafRevisionsOf, manifestOf, readBackup } from "../../read_archive.ts";
import { PERMISSIONS } from "../../../scripts/run_flags.ts";
import { until } from "../../until.ts";

const PROGRAM = fileURLToPath(new URL("../../../main.ts", import.meta.url));
const CHUNK = 10;
const IDS = idsOf(24 * CHUNK);
const PARALLEL = 2;
/** One request takes about this long, so that a run takes some 12 times as long. */
const REQUEST_MS = 150;

/** A database that is read slowly, and a folder of its own for its backup. */
class Scene {
  readonly fake: FakeCouchDb;
  readonly database: string;
  readonly root: string;

  private constructor(fake: FakeCouchDb, database: string, root: string) {
    this.fake = fake;
    this.database = database;
    this.root = root;
  }

  static async make(fake: FakeCouchDb, database: string): Promise<Scene> {
    await createDatabase(fake, database, IDS);
    const root = await Deno.makeTempDir({ prefix: "couchdb-backup kill-" });
    const config = [
      `database: {url: "${fake.url}", login: admin, password: secret}`,
      `task: {t: {databases: [${database}], chunk: ${CHUNK}, parallel: ${PARALLEL}, timezone: UTC}}`,
      `bucket: "${pathToFileURL(`${root}/bucket`).href}"`,
    ];
    await Deno.writeTextFile(`${root}/config.yaml`, config.join("\n"));
    return new Scene(fake, database, root);
  }

  get folder(): string {
    return `${this.root}/bucket/2026/01/03/${this.database}`;
  }

  start(...args: string[]): Deno.ChildProcess {
    return new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", ...PERMISSIONS, PROGRAM, "backup", `${this.root}/config.yaml`]
        .concat(["--date", "2026-01-03", "--json", "--quiet"], args),
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  slow(): void {
    const fault = { kind: "stall" as const, ms: REQUEST_MS };
    this.fake.faults.add({ database: this.database, endpoint: "_bulk_get", times: Infinity, fault });
  }

  /** Resolves when the program asks for the first page of ids. */
  async begun(count = 1): Promise<void> {
    await until(() => this.fake.requestsTo("_changes", this.database).length >= count, "a request for ids");
  }

  /** Resolves when the program has asked for so many chunks. */
  async asked(count: number): Promise<void> {
    await until(() => this.fake.requestsTo("_bulk_get", this.database).length >= count, `${count} chunks`);
  }

  /** The ids that the checkpoint says are stored. */
  async saved(): Promise<Set<string>> {
    const names = (await filesOf(this.folder)).filter((name) => /^checkpoint-/.test(name));
    const checkpoints = names.map((name): Checkpoint => JSON.parse(Deno.readTextFileSync(`${this.folder}/${name}`)));
    const [last] = checkpoints.sort((a, b) => a.saved_at < b.saved_at ? 1 : -1);
    const texts = (last?.chunks ?? []).map(({ name }) => decompressed(Deno.readFileSync(`${this.folder}/${name}`)));
    return new Set(texts.flatMap((text) => [...leafRevisionsOf(text.toString()).keys()]));
  }

  /** Checks that what is there is complete or says that it is not; then that --resume asks for the rest alone. */
  async expectResumable(what: string): Promise<"complete" | "unfinished"> {
    const wasComplete = await manifestOf(this.folder) !== undefined;
    if (wasComplete) await this.expectExact();
    const saved = wasComplete ? new Set(IDS) : await this.saved();
    this.fake.faults.clear();
    const since = this.fake.requests.length;
    const { code, stdout, stderr } = await this.start("--resume").output();
    assertEquals(code, 0, `${what}: ${new TextDecoder().decode(stderr)}`);
    const [database] = JSON.parse(new TextDecoder().decode(stdout)).tasks[0].databases;
    assertEquals(database.documents, IDS.length, what);
    const asked = this.fake.requestsTo("_bulk_get", this.database).filter(({ number }) => number > since);
    assertEquals(asked.flatMap(({ ids }) => ids).sort(), IDS.filter((id) => !saved.has(id)), what);
    await this.expectExact();
    return wasComplete ? "complete" : "unfinished";
  }

  async expectExact(): Promise<void> {
    const { leafRevisions } = await readBackup(this.folder);
    const expected = await readAllLeafRevisions(this.fake, this.database, { by: "_bulk_get" });
    assertEquals(compareLeafRevisions(expected, leafRevisions), []);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function withScene(test: (scene: Scene) => Promise<void>): Promise<void> {
  await using fake = await startFakeCouchDb();
  const scene = await Scene.make(fake, "a");
  try {
    await test(scene);
  } finally {
    await Deno.remove(scene.root, { recursive: true });
  }
}

Deno.test("a run that is killed leaves a complete backup or one that says it is not, and --resume finishes it", async () => {
  const runMs = Math.ceil(IDS.length / CHUNK / PARALLEL) * REQUEST_MS;
  let seed = 20260103;
  const outcomes: string[] = [];
  const killOne = async (index: number) => {
    // A tenth of the run each, and a moment of chance within it; the last falls about its end.
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const momentMs = runMs * (index + seed / 2 ** 32) / 9;
    await withScene(async (scene) => {
      scene.slow();
      const child = scene.start();
      await scene.begun();
      await sleep(momentMs); // In real time: that it can be any moment is the point.
      try {
        child.kill("SIGKILL");
      } catch (error) {
        // It has ended by itself before its last moment.
        if (!(error instanceof TypeError)) throw error;
      }
      const { code, signal } = await child.output();
      assert(signal === "SIGKILL" || code === 0, `${code} ${signal}`);
      const saved = await scene.saved();
      const outcome = await scene.expectResumable(`killed after ${Math.round(momentMs)} of ${runMs} ms`);
      outcomes.push(`${outcome} ${saved.size}`);
    });
  };
  const moments = [...Array(10).keys()];
  const next = async () => {
    for (let index = moments.shift(); index !== undefined; index = moments.shift()) await killOne(index);
  };
  await Promise.all([next(), next(), next()]);
  assert(outcomes.some((outcome) => /^unfinished [1-9]/.test(outcome)), `none had a checkpoint: ${outcomes}`);
});

Deno.test("a second run of the day that is killed leaves the first one's backup whole, and --resume finishes the second", async () => {
  await withScene(async (scene) => {
    assertEquals((await scene.start().output()).code, 0);
    const first = await manifestOf(scene.folder);
    scene.slow();
    const child = scene.start();
    await scene.asked(IDS.length / CHUNK + 8);
    child.kill("SIGKILL");
    await child.output();
    assertEquals(await manifestOf(scene.folder), first);
    await scene.expectExact();

    scene.fake.faults.clear();
    const { code, stdout } = await scene.start("--resume").output();
    const [database] = JSON.parse(new TextDecoder().decode(stdout)).tasks[0].databases;
    assertEquals([code, database.status, database.documents], [0, "resumed", IDS.length]);
    await scene.expectExact();
    assert((await manifestOf(scene.folder))?.run !== first?.run);
  });
});

Deno.test("SIGTERM ends a run within five seconds with 130, also while CouchDB is silent, and it can be resumed", async () => {
  await withScene(async (scene) => {
    const { fake, database } = scene;
    fake.faults.add({ database, endpoint: "_bulk_get", skip: 4, times: Infinity, fault: { kind: "stall" } });
    const child = scene.start();
    await scene.asked(4 + PARALLEL); // Four are read by then.
    const asked = performance.now();
    child.kill("SIGTERM");
    const { code, stdout, stderr } = await child.output();
    const tookMs = performance.now() - asked;
    assertEquals(code, 130);
    assert(tookMs < 5000, `${tookMs} ms`);
    assertEquals(JSON.parse(new TextDecoder().decode(stdout)).error.exit_code, 130);
    assertStringIncludes(new TextDecoder().decode(stderr), "--resume");
    // A request may overtake another one: what is stored behind one that is silent is asked for again.
    const saved = (await scene.saved()).size;
    assert(saved >= (4 - PARALLEL) * CHUNK && saved <= 4 * CHUNK, `${saved} documents`);
    assertEquals((await filesOf(scene.folder)).filter((name) => name.endsWith(".tmp")), []);
    assertEquals(await scene.expectResumable("SIGTERM"), "unfinished");
  });
});

Deno.test("a second SIGINT ends a run at once", async () => {
  await withScene(async (scene) => {
    const { fake, database } = scene;
    fake.faults.add({ database, endpoint: "_bulk_get", skip: 2, times: Infinity, fault: { kind: "stall" } });
    const child = scene.start();
    await scene.asked(2 + PARALLEL);
    let said = "";
    const reading = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) said += text;
    })();
    child.kill("SIGINT");
    // Two signals that come before the first is handled are one.
    await until(() => said.includes("stopping: chunks in flight are finished first"), "the first is handled");
    const asked = performance.now();
    child.kill("SIGINT");
    const [{ code }] = await Promise.all([child.status, child.stdout.cancel(), reading]);
    const tookMs = performance.now() - asked;
    assertEquals(code, 130);
    // What is in flight would be waited for three seconds.
    assert(tookMs < 2500, `${tookMs} ms`);
    assertEquals(await scene.expectResumable("two SIGINTs"), "unfinished");
  });
});
