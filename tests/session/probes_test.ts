/** What `check` asks of everything beside CouchDB and the store, each in the way in which a run uses it. */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Catalog } from "../../src/archive/catalog.ts";
import { Repository } from "../../src/archive/repository.ts";
import { exitCodeOfCheck, type Found, type Probe } from "../../src/commands/check.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { hintOf, ProgramError, UsageError } from "../../src/errors.ts";
import { Certificates } from "../../src/session/certificates.ts";
import { probesOf } from "../../src/session/probes.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { CouchClient } from "../../src/couchdb/client.ts";
import { createDatabase, impatientClient } from "../couchdb/impatient_client.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeLoki } from "../fakes/loki.ts";
import { FakeMonitor } from "../fakes/monitor.ts";

const NEVER = new AbortController().signal;

/** A folder with a config in it, whose bucket lies there too. */
async function withFolder(
  use: (place: {
    folder: string;
    config: (more?: string, database?: string) => Config;
    /** The answer of one probe. */
    ask: (config: Config, check: string, couch?: CouchClient) => Promise<string | Found>;
    probes: (config: Config) => Probe[];
    repository: Repository;
  }) => Promise<void>,
) {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-probes-" });
  await Deno.mkdir(`${folder}/bucket`);
  const repository = new Repository(new DirectoryStore(`${folder}/bucket`), { prefix: "", suffix: "" });
  const config = (more = "", database = "url: 'http://[::1]:5984'") => {
    const text = `database: {${database}}\ntask: {all: {databases: ['.*']}}\nbucket: file://${folder}/bucket\n${more}`;
    return parseConfig(text, { file: `${folder}/it's.yaml`, env: { XDG_STATE_HOME: `${folder}/state`, PW: "x" } });
  };
  const probes = (config: Config) =>
    probesOf(config, { repository, certificates: new Certificates(), now: () => new Date(), host: "h1" });
  const ask = async (config: Config, check: string, couch?: CouchClient) => {
    const probe = probes(config).find((probe) => probe.check === check);
    assert(probe !== undefined, check);
    return await probe.run(NEVER, couch);
  };
  try {
    await use({ folder, config, ask, probes, repository });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("probesOf() pushes a line to Loki, with login, tenant and labels, and says what it answers instead of taking it", async () => {
  await withFolder(async ({ config, ask }) => {
    const loki = new FakeLoki({ tenant: "ops", authorization: `Basic ${btoa("u:p")}` });
    const right = config(`loki: {url: "${loki.url}", tenant: ops, login: u, password: p, labels: {site: west}}`);
    const host = new URL(loki.url).host;
    assertEquals(await ask(right, "loki"), `Loki at "${host}" accepts a log line at /loki/api/v1/push`);
    assertEquals(loki.breaches, []);
    assertEquals(loki.lines.map(({ labels, line }): Record<string, string> => ({ ...labels, line })), [
      { app: "couchdb-backup", host: "h1", site: "west", level: "info", line: 'event="check pushes a line"' },
    ]);
    const answers: [number, string][] = [[401, "loki.login"], [404, "loki.url is the whole address"], [500, "own log"]];
    for (const [status, hint] of answers) {
      loki.faults.push({ status });
      const error = await assertRejects(() => ask(right, "loki"), ProgramError, `answered ${status}`);
      assertStringIncludes(hintOf(error) ?? "", hint);
    }
    await loki.close();
    const error = await assertRejects(() => ask(right, "loki"), ProgramError, "Cannot reach Loki");
    assertStringIncludes(hintOf(error) ?? "", "loki.url");
  });
});

Deno.test("probesOf() pushes to the Pushgateway as runs do, by a group of its own that is deleted again", async () => {
  const seen: string[] = [];
  let answer = (_method: string) => new Response(null, { status: 202 });
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    const { method, url, headers } = request;
    seen.push(`${method} ${new URL(url).pathname} ${headers.get("authorization")}`);
    return answer(method);
  });
  const host = `127.0.0.1:${server.addr.port}`;
  await withFolder(async ({ config, ask }) => {
    const gateway = config(`prometheus: {pushgateway: "http://u:p@${host}/base"}`);
    assertEquals(await ask(gateway, "pushgateway"), `The Pushgateway at "${host}" takes a push`);
    const path = `/base/metrics/job/couchdb-backup-check/instance/h1 Basic ${btoa("u:p")}`;
    assertEquals(seen, [`PUT ${path}`, `POST ${path}`, `DELETE ${path}`]);

    answer = (method) => new Response("no", { status: method === "DELETE" ? 403 : 200 });
    assertStringIncludes(
      String(await ask(gateway, "pushgateway")),
      "stays there, as it could not be deleted: it answered 403",
    );
    answer = (method) => new Response("no", { status: method === "POST" ? 401 : 200 });
    const error = await assertRejects(
      () => ask(gateway, "pushgateway"),
      ProgramError,
      "does not take a POST: it answered 401 no",
    );
    assertStringIncludes(hintOf(error) ?? "", "login");
  });
  await server.shutdown();
});

Deno.test("probesOf() has patience for each answer of a slow Pushgateway or monitor, not for all of them together", () =>
  withTurnsForTime(async () => {
    let slowMs = 200;
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async () => {
      await new Promise((resolve) => setTimeout(resolve, slowMs));
      return new Response(null, { status: 202 });
    });
    const host = `127.0.0.1:${server.addr.port}`;
    await withFolder(async ({ config, repository }) => {
      const [task] = config().tasks;
      const slow = {
        ...config(`prometheus: "http://${host}"\nnotify: "http://${host}/{task}"\n`),
        tasks: ["a", "b", "c"].map((name) => ({ ...task!, name })),
      };
      const context = { repository, certificates: new Certificates(), now: () => new Date(), patienceMs: 450 };
      const ask = async (check: string) =>
        await probesOf(slow, context).find((probe) => probe.check === check)!.run(NEVER, undefined);
      assertEquals(await ask("pushgateway"), `The Pushgateway at "${host}" takes a push`);
      assertEquals(await ask("notify"), `"${host}" takes 3 messages`);
      slowMs = 700;
      await assertRejects(() => ask("pushgateway"), ProgramError, "does not take a PUT");
      await assertRejects(() => ask("notify"), ProgramError, "no answer in time");
    });
    await server.shutdown();
  }));

Deno.test("probesOf() finds out that this runtime lacks a task's compression, which would end a backup with 2", async () => {
  await withFolder(async ({ config, repository }) => {
    const [task] = config().tasks;
    const codec = { compression: "zstd", level: 3 } as const;
    const packed = { ...config(), tasks: [task!, { ...task!, name: "packed", codec }] };
    const context = { repository, certificates: new Certificates(), now: () => new Date() };
    const found = (more = {}) =>
      probesOf(packed, { ...context, ...more }).filter(({ check }) => check === "compression");
    assertEquals(
      await found()[0]!.run(NEVER, undefined),
      'This runtime compresses "all" with gzip, "packed" with zstd',
    );
    const lacks = ({ compression }: { compression: string }) => {
      if (compression === "zstd") throw new UsageError("Cannot compress with zstd: Node 22.2.0 has no zstd");
    };
    await assertRejects(() => found({ requireCodec: lacks })[0]!.run(NEVER, undefined), UsageError, "has no zstd");
    const checks = [{ check: "loki", ok: false, detail: "" }, { check: "compression", ok: false, detail: "" }];
    assertEquals(exitCodeOfCheck({ ok: false, checks }), 2);
    assertEquals(probesOf(config(), context).some(({ check }) => check === "compression"), false);
  });
});

Deno.test("probesOf() tries the textfile's folder and leaves nothing there", async () => {
  await withFolder(async ({ folder, config, ask }) => {
    const path = `${folder}/metrics/couchdb.prom`;
    const file = config(`prometheus: ${path}`);
    await assertRejects(() => ask(file, "textfile"), Error, "ENOENT");
    await Deno.mkdir(`${folder}/metrics`);
    assertEquals(await ask(file, "textfile"), `"${path}" can be written`);
    // What is under the name that is tried gets bytes, for a full disk takes names, and no byte.
    await Deno.writeTextFile(`${folder}/written`, "");
    await Deno.symlink(`${folder}/written`, `${path}.${Deno.pid}.tmp`);
    assertEquals(await ask(file, "textfile"), `"${path}" can be written`);
    assert((await Deno.stat(`${folder}/written`)).size > 0);
    await Deno.symlink(`${folder}/gone/written`, `${path}.${Deno.pid}.tmp`);
    const refused = await assertRejects(() => ask(file, "textfile"), Error, `"${path}" cannot be written: ENOENT`);
    assertStringIncludes(hintOf(refused) ?? "", "have room");
    assertEquals(await Array.fromAsync(Deno.readDir(`${folder}/metrics`)), []);
  });
});

Deno.test("probesOf() compares the disk's free space with what the last backups took", async () => {
  await withFolder(async ({ config, ask, repository }) => {
    assertMatch(
      String(await ask(config(), "store_space")),
      /^[\d.]+ [kMGT]?B are free on the disk of the bucket folder, the size of a first backup is unknown, as CouchDB does not tell$/,
    );
    const catalog = new Catalog(repository);
    const entry = { run: "0b5a8fd2", kind: "full" as const, documents: 3, chunks: 1, unreadable: 0, manifestKey: "m" };
    const add = (database: string, day: number, compressedBytes: number, task = "all") =>
      catalog.add({
        ...entry,
        database,
        task,
        compressedBytes,
        date: { year: 2026, month: 11, day },
        finishedAt: new Date(Date.UTC(2026, 10, day)),
      }, {});
    await add("old", 1, 9e14);
    await add("a", 2, 3_000);
    await add("b", 2, 4_000);
    await add("c", 1, 1_000, "other");
    assertStringIncludes(
      String(await ask(config(), "store_space")),
      "the last backups took 8.0 kB (3 databases of 2 tasks)",
    );
    await add("a", 3, 9e14);
    const full = await ask(config(), "store_space");
    assert(typeof full !== "string" && full.warning === true, JSON.stringify(full));
    assertStringIncludes(full.detail, "(2 databases of 2 tasks)");
  });
});

Deno.test("probesOf() compares the disk's free space with what CouchDB counts of databases without a backup", async () => {
  await using fake = await startFakeCouchDb();
  const couch = impatientClient(fake);
  const answerInfo = (database: string, external: number) =>
    fake.faults.add({
      where: ({ method, path }) => method === "GET" && path === `/${database}`,
      times: Infinity,
      fault: {
        kind: "answer",
        status: 200,
        body: { db_name: database, doc_count: 3, doc_del_count: 0, update_seq: "3-x", sizes: { external } },
      },
    });
  for (const database of ["old", "new", "other"]) await createDatabase(fake, database, ["d1"]);
  answerInfo("new", 7_000);
  answerInfo("other", 9e15);
  // One by one, so that each has a size of its own.
  fake.faults.add({
    where: ({ path }) => path === "/_dbs_info",
    times: Infinity,
    fault: { kind: "answer", status: 403, body: { error: "forbidden", reason: "no" } },
  });
  await withFolder(async ({ config, ask, repository }) => {
    await new Catalog(repository).add({
      run: "0b5a8fd2",
      kind: "full",
      documents: 3,
      chunks: 1,
      unreadable: 0,
      manifestKey: "m",
      database: "old",
      task: "all",
      compressedBytes: 3_000,
      date: { year: 2026, month: 11, day: 2 },
      finishedAt: new Date(Date.UTC(2026, 10, 2)),
    }, {});
    const selecting = (...databases: string[]) => {
      const all = config();
      return { ...all, tasks: all.tasks.map((task) => ({ ...task, databases })) };
    };
    assertStringIncludes(
      String(await ask(selecting("old", "new"), "store_space", couch)),
      "the last backups took 3.0 kB (1 database of 1 task), 1 database without a backup has 7.0 kB before compression",
    );
    const full = await ask(selecting("old", "new", "other"), "store_space", couch);
    assert(typeof full !== "string" && full.warning === true, JSON.stringify(full));
    assertStringIncludes(full.detail, "2 databases without a backup have 9.0 PB before compression");
    assertStringIncludes(full.hint ?? "", "Make room");
  });
});

Deno.test("probesOf() asks CouchDB for the sizes of many databases by few requests, and counts all of them", async () => {
  await using fake = await startFakeCouchDb({ externalBytes: 1_000 });
  const couch = impatientClient(fake);
  for (let index = 0; index < 60; index++) await createDatabase(fake, `d${index}`, []);
  await withFolder(async ({ config, ask }) => {
    const all = config();
    const found = await ask(
      { ...all, tasks: all.tasks.map((task) => ({ ...task, databases: ["d.*"] })) },
      "store_space",
      couch,
    );
    assertStringIncludes(String(found), "60 databases without a backup have 60 kB before compression");
    assertEquals(fake.requestsTo("database").filter(({ method }) => method === "GET").length, 0);
  });
});

Deno.test("probesOf() warns where this machine cannot remember the bucket folder", async () => {
  await withFolder(async ({ folder, config, ask }) => {
    assertEquals(await ask(config(), "state_folder"), `"${folder}/state/couchdb-backup" can be written`);
    assertEquals(await Array.fromAsync(Deno.readDir(`${folder}/state/couchdb-backup/buckets`)), []);
    await Deno.remove(`${folder}/state`, { recursive: true });
    await Deno.writeTextFile(`${folder}/state`, "");
    const found = await ask(config(), "state_folder");
    assert(typeof found !== "string" && found.warning === true);
    assertStringIncludes(found.hint ?? "", "XDG_STATE_HOME");
  });
});

Deno.test("probesOf() warns of a file with a password that everybody can read, and of no other", async () => {
  await withFolder(async ({ folder, config, ask, probes }) => {
    const login = "url: 'http://[::1]:5984', login: u";
    const plain = [
      config("", `${login}, password: '\${PW}'`),
      config(),
      config("", "url: 'http://u:${PW}@[::1]:5984'"),
    ];
    for (const one of plain) assertEquals(probes(one).filter(({ check }) => check.endsWith("_mode")), []);
    const path = `${folder}/it's.yaml`;
    await Deno.writeTextFile(path, "");
    const holding = [
      config("", `${login}, password: x`),
      config("", "url: 'http://u:p@[::1]:5984'"),
      config("loki: http://u:p@h"),
    ];
    for (const one of holding) {
      await Deno.chmod(path, 0o644);
      assertEquals(await ask(one, "config_mode"), {
        detail: `"${path}" holds a password and can be read by everybody on this machine (mode 0644)`,
        hint: `chmod o-rwx '${folder}/it'\\''s.yaml'`,
        warning: true,
      });
      await Deno.chmod(path, 0o640);
      assertEquals(await ask(one, "config_mode"), `"${path}" has the mode 0640`);
    }
    await Deno.writeTextFile(`${folder}/pw`, "x", { mode: 0o604 });
    const found = await ask(config("", `${login}, password_file: pw`), "password_file_mode");
    assert(typeof found !== "string" && found.warning === true);
  });
});

Deno.test("probesOf() asks whether a monitor takes a message that changes nothing there", async () => {
  await withFolder(async ({ config, ask }) => {
    await using monitor = new FakeMonitor();
    const host = new URL(monitor.url("/")).host;
    assertEquals(await ask(config(`notify: "${monitor.url("/check")}"`), "notify"), `"${host}" takes 1 message`);
    assertEquals(monitor.paths, ["/check/log"]);
    await ask(config(`notify: {url: "${monitor.url("/hook")}", kind: webhook}`), "notify");
    assertEquals(JSON.parse(monitor.told[1]!.body).event, "log");
    monitor.statuses = [404];
    const error = await assertRejects(() => ask(config(`notify: "${monitor.url("/check")}"`), "notify"), ProgramError);
    assertEquals(error.message, `Cannot notify "${host}": it answered 404`);
    assertStringIncludes(hintOf(error) ?? "", "Check notify");
  });
});
