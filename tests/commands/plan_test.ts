import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { parseConfig } from "../../src/config/config.ts";
import { CouchClient } from "../../src/couchdb/client.ts";
import { type Plan, plan } from "../../src/commands/plan.ts";
import { CouchError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { couchOk } from "../couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { Repository } from "../../src/archive/repository.ts";
import { openStore } from "../../src/store/open.ts";
import { Backups } from "./backup/feed_setup.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import { RecordedLog } from "../fakes/log.ts";
import { task } from "../fakes/task.ts";
import type { Task } from "../../src/task/task.ts";

const FROM = new Date("2026-01-01T00:00:00Z");
const ACCOUNTS = [
  "account/00/11/22334455667788990011223344aa",
  "account/ab/cd/ef00112233445566778899aabbcc",
];

const SAMPLE = `database: {url: "http://[2345::6]:5984", login: backup, password: secret}
task:
  weekly:
    cron: "Sat *-*-1..7 18:00:00"
    timezone: Europe/Moscow
    databases:
    - "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}"
    - "system_config"
    - "media"
    delay: 600
  mouthly:
    cron: "Sat *-*-1..7 18:00:00"
    timezone: Europe/Moscow
    databases:
    - "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}-[0-9]{6}"
    delay: 600
    chunk: 1000
    backup_only_previus: true
bucket: "s3://data.example.com/folder"
`;

async function startWith(databases: readonly string[]): Promise<{ server: FakeCouchDb; couch: CouchClient }> {
  const server = await startFakeCouchDb();
  for (const database of databases) await couchOk(server, `PUT /${encodeURIComponent(database)}`);
  const { url, login, password } = server;
  const retry = { attempts: 2, firstWaitMs: 1, longestWaitMs: 1 };
  const couch = new CouchClient({ url, login, password: new Secret(password), log: new RecordedLog(), retry });
  return { server, couch };
}

Deno.test("plan() explains why the sample's pattern matches no account of 28 hexadecimal digits, and what would", async () => {
  const months = ACCOUNTS.flatMap((account) => [`${account}-202512`, `${account}-202601`]);
  const { server, couch } = await startWith([...ACCOUNTS, ...months, "media", "system_config", "other"]);
  await using _ = server;
  const { tasks } = parseConfig(SAMPLE, { file: "cfg.yaml", env: {} });
  const planned = await plan(tasks, { from: FROM, count: 2, couch });
  const [weekly, mouthly] = planned.tasks;
  assertEquals(weekly?.normalized, "Sat *-*-01..07 18:00:00");
  assertEquals(weekly?.next, ["2026-01-03T15:00:00.000Z", "2026-02-07T15:00:00.000Z"]);
  assertEquals(weekly?.databases, [
    { database: "media", encoded: "media", pattern: "media" },
    { database: "system_config", encoded: "system_config", pattern: "system_config" },
  ]);
  assertEquals(weekly?.unmatched, ["account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}"]);
  assertEquals(weekly?.warnings.length, 1);
  const [warning = ""] = weekly?.warnings ?? [];
  assertStringIncludes(warning, "it matches only the first 36 of the 48 characters of");
  assertStringIncludes(
    warning,
    'with {28} in place of {16}, it would match 2: "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{28}"',
  );
  assertEquals([mouthly?.date, mouthly?.databases], ["2025-12-03", []]);
  assertStringIncludes(mouthly?.warnings[0] ?? "", "with {28} in place of {16}, it would match 4");
  assertEquals(
    planned.unselected?.toSorted(),
    [...ACCOUNTS, ...months, "other", "_replicator", "_users"].toSorted(),
  );
});

Deno.test("plan() selects the previous month's databases as of the next run, not as of today", async () => {
  const { server, couch } = await startWith(["cdr-202512", "cdr-202601"]);
  await using _ = server;
  const monthly = task("m", { databases: ["cdr-.*"], cron: "*-*-01 02:00 UTC", backupOnlyPrevious: true, chunk: 1 });
  const [planned] = (await plan([monthly], { from: new Date("2026-01-20T00:00:00Z"), count: 1, couch })).tasks;
  assertEquals([planned?.date, planned?.databases.map(({ database }) => database)], ["2026-01-01", ["cdr-202601"]]);
  assertEquals(planned?.excluded, [
    { database: "cdr-202512", encoded: "cdr-202512", pattern: "cdr-.*", reason: 'its name does not end in "-202601"' },
  ]);
});

Deno.test("plan() warns when the waits alone are longer than the time between two elapses", async () => {
  const { server, couch } = await startWith(["a", "b", "c"]);
  await using _ = server;
  const warningsOf = async (delaySeconds: number) => {
    const hourly = task("t", { databases: ["[abc]"], cron: "Sat,Sun 10:00 UTC", delaySeconds, chunk: 1 });
    return (await plan([hourly], { from: FROM, count: 1, couch })).tasks[0]?.warnings;
  };
  assertEquals(await warningsOf(43_200), []);
  assertEquals(await warningsOf(43_201), [
    'the waits between 3 databases take 1d00h ("delay: 43201"), and only 1d00h lie between two elapses',
  ]);
});

Deno.test("plan() warns of a database that is too large to be fetched in one request, unless chunk is set", async () => {
  const { server, couch } = await startWith(["a", "b", "c"]);
  await using _ = server;
  const sized = (database: string, external: number) =>
    server.faults.add({
      endpoint: "database",
      database,
      times: 9,
      fault: { kind: "answer", status: 200, body: { db_name: database, doc_count: 1, sizes: { external } } },
    });
  sized("a", 500_000_000);
  sized("b", 700_000_000);
  const forbidden = { kind: "answer", status: 403, body: { error: "forbidden", reason: "no" } } as const;
  // Each is asked by itself then.
  server.faults.add({ endpoint: "_dbs_info", times: 9, fault: forbidden });
  server.faults.add({ endpoint: "database", database: "c", times: 9, fault: forbidden });
  const warningsOf = async (chunk?: number) => {
    const tasks = [task("t", { databases: ["[abc]"], chunk })];
    return (await plan(tasks, { from: FROM, count: 1, couch })).tasks[0]?.warnings;
  };
  const [unknown, large] = await warningsOf() ?? [];
  assertStringIncludes(unknown ?? "", 'the size of database "c" is not known: ');
  assertEquals(
    large,
    'database "b" holds 700 MB, and without "chunk" it is fetched in one request, which starts over ' +
      'if it breaks; set "chunk: 1000"',
  );
  assertEquals(await warningsOf(1000), []);
});

Deno.test("plan() asks for the sizes of a hundred databases at once, and passes over one that is gone", async () => {
  const names = Array.from({ length: 120 }, (_, index) => `d${index}`);
  const { server, couch } = await startWith(names);
  await using _ = server;
  const listed = { kind: "answer", status: 200, body: [...names, "gone"] } as const;
  server.faults.add({ endpoint: "_all_dbs", fault: listed });
  const { tasks: [planned] } = await plan([task("t", { databases: [".*"] })], { from: FROM, count: 1, couch });
  assertEquals([planned?.databases.length, planned?.warnings], [121, []]);
  const gets = server.requestsTo("database").filter(({ method }) => method === "GET");
  assertEquals(gets.length, 1, "what lacks is told by the database itself");
  assertEquals(server.requestsTo("_dbs_info").length < 10, true);
});

for (const incremental of [false, true]) {
  const kind = incremental ? "an incremental" : "a";
  Deno.test(`plan() of ${kind} task names a few databases that CouchDB refuses, and counts the others`, async () => {
    await withRefusals(403, incremental, async (planned) => {
      const [{ warnings = [] } = {}] = (await planned()).tasks;
      const of = incremental ? "what has changed in" : "the size of";
      const told = warnings.filter((warning) => warning.startsWith(of));
      assertEquals([told.length, warnings.at(-1)], [5, `nor is ${of} 15 other databases`]);
    });
  });

  Deno.test(`plan() of ${kind} task ends soon where CouchDB answers for no database any more`, async () => {
    await withRefusals(503, incremental, async (planned) => void await assertRejects(planned, CouchError, "503"));
  });
}

async function withRefusals(
  status: number,
  incremental: boolean,
  body: (planned: () => Promise<Plan>) => Promise<void>,
): Promise<void> {
  const names = Array.from({ length: 20 }, (_, index) => `d${index}`);
  const { server, couch } = await startWith(names);
  await using _ = server;
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-plan-" });
  try {
    const fault = { kind: "answer", status, body: { error: "busy", reason: "no" } } as const;
    for (const endpoint of ["_dbs_info", "database"]) server.faults.add({ endpoint, times: 999, fault });
    const store = await openStore({ bucket: `file://${folder}` });
    const repository = new Repository(store, { prefix: "", suffix: "" });
    const tasks = [
      task("t", {
        databases: [".*\\d"],
        increments: incremental ? { most: 14 } : undefined,
        chunk: incremental ? 1 : undefined,
      }),
    ];
    await body(() => plan(tasks, { from: FROM, count: 1, couch, repository }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("plan() warns of databases that two tasks select, and says what the backups of one lack", async () => {
  const { server, couch } = await startWith(["a", "b", "c"]);
  await using _ = server;
  const tasks = [
    task("all", { databases: ["[abc]"] }),
    task("light", { databases: ["a", "b"], attachments: false, revisions: false }),
    task("one", { databases: ["c"] }),
  ];
  const { tasks: plans } = await plan(tasks, { from: FROM, count: 1, couch });
  const overlaps = plans.map(({ warnings }) => warnings.filter((warning) => warning.includes("selected by task")));
  assertEquals(overlaps, [[], [
    '2 databases, "a" among them, are selected by task "all" too: each backs up on its own, and "latest" is the newest ' +
    'backup of either; those of "light" are without attachments and histories',
  ], [
    'database "c" is selected by task "all" too: each backs up on its own, and "latest" is the newest backup of either',
  ]]);
});

Deno.test("plan() without CouchDB plans the times, and says of a schedule that it is over", async () => {
  const tasks = [task("once", { cron: "2025-01-01 UTC" }), task("by hand", { timezone: "Asia/Tokyo" })];
  const planned = await plan(tasks, { from: FROM, count: 2 });
  assertEquals(planned.unselected, undefined);
  assertEquals(planned.tasks.map(({ next, warnings, cron }) => [cron, next, warnings]), [
    ["2025-01-01 UTC", [], [
      'schedule "2025-01-01 UTC" never comes again after 2026-01-01T00:00:00.000Z: once its last time is saved, nothing starts the task by itself',
    ]],
    [null, [], []],
  ]);
});

Deno.test("plan() knows when an incremental task saves all again: full_every, a lock's end, max_increments", async () => {
  await using backups = new Backups();
  const { server, couch } = await startWith(["a"]);
  await using _ = server;
  fill(server.databases.get("a")!, 200);
  const all = [{ database: "a", pattern: "a" }];
  const save = async (policy: NonNullable<Task["increments"]>) => {
    const [saved] = await backups.runAll(server, all, {
      task: { name: "weekly", databases: ["a"], increments: policy },
    });
    return saved!.kind;
  };
  const repository = new Repository(await openStore({ bucket: `file://${backups.root}` }), {
    prefix: "",
    suffix: "couchdb",
  });
  const planned = async (increments: NonNullable<Task["increments"]>, days = 0) => {
    const weekly = task("weekly", { databases: ["a"], increments });
    const from = new Date(Date.now() + days * 86_400_000);
    const { changes } = (await plan([weekly], { from, count: 1, couch, repository })).tasks[0]!;
    return Object.entries(changes!).find(([kind, count]) => kind !== "documents" && count === 1)![0];
  };
  const most = 2;
  assertEquals(await save({ most }), "full");
  assertEquals([await planned({ most }), await planned({ most, fullEveryDays: 7 }, 6)], ["unchanged", "unchanged"]);
  assertEquals(await planned({ most, fullEveryDays: 7 }, 8), "full");
  assertEquals(await planned({ most, lockDays: 30 }), "full", "it was stored without a lock");
  for (const round of [1, 2]) {
    edit(server.databases.get("a")!, { _id: "d0000001", round });
    assertEquals(await planned({ most }), "changed");
    assertEquals(await save({ most }), "incremental");
  }
  assertEquals(await planned({ most }), "unchanged");
  edit(server.databases.get("a")!, { _id: "d0000001", round: 3 });
  assertEquals([await planned({ most }), await save({ most })], ["full", "full"]);
});

Deno.test("plan() has no more databases saved again for their changes than the run has", async () => {
  await using backups = new Backups();
  const { server, couch } = await startWith(["a", "b", "c"]);
  await using _ = server;
  const all = ["a", "b", "c"].map((database) => ({ database, pattern: ".*" }));
  const weekly = { name: "weekly", databases: ["[abc]"], increments: { most: 14 } };
  for (const { database } of all) fill(server.databases.get(database)!, 20);
  await backups.runAll(server, all, { task: weekly });
  for (const { database } of all) fill(server.databases.get(database)!, 15, { prefix: "more" });
  const repository = new Repository(await openStore({ bucket: `file://${backups.root}` }), {
    prefix: "",
    suffix: "couchdb",
  });
  const { tasks: [planned] } = await plan([task("weekly", weekly)], { from: FROM, count: 1, couch, repository });
  assertEquals(planned?.changes, { full: 1, changed: 2, unchanged: 0, documents: 35 + 15 + 15 });
  const saved = await backups.runAll(server, all, { task: weekly });
  assertEquals(saved.map(({ kind }) => kind).toSorted(), ["full", "incremental", "incremental"]);
});

Deno.test("plan() says how many databases of an incremental task have changed, and what a run would read", async () => {
  await using backups = new Backups();
  const { server, couch } = await startWith(["a", "b", "c", "d", "e"]);
  await using _ = server;
  for (const name of ["a", "b", "c", "d"]) fill(server.databases.get(name)!, 200);
  const incremental = { name: "weekly", databases: ["[a-e]"], increments: { most: 14 } };
  const all = ["a", "b", "c", "d"].map((database) => ({ database, pattern: "[a-e]" }));
  await backups.runAll(server, all, { task: incremental });
  fill(server.databases.get("e")!, 30);
  edit(server.databases.get("b")!, { _id: "d0000199", changed: true }, { _id: "d0000001", _deleted: true });
  edit(
    server.databases.get("c")!,
    ...fill(server.databases.get("c")!, 150, { prefix: "more" }).map((_id) => ({ _id })),
  );
  const repository = new Repository(await openStore({ bucket: `file://${backups.root}` }), {
    prefix: "",
    suffix: "couchdb",
  });
  const since = server.requests.length;
  const { tasks: [weekly] } = await plan([task("weekly", incremental)], { from: FROM, count: 1, couch, repository });
  assertEquals(weekly?.changes, { full: 2, changed: 1, unchanged: 2, documents: 30 + 350 + 2 });
  const asked = server.requests.slice(since).map(({ endpoint }) => endpoint);
  assertEquals(asked.filter((endpoint) => endpoint === "_bulk_get"), []);
  assertEquals(asked.filter((endpoint) => endpoint === "_changes").length, 4);
  const { tasks: [full] } = await plan([task("weekly", { databases: ["a"] })], {
    from: FROM,
    count: 1,
    couch,
    repository,
  });
  assertEquals(full?.changes, undefined);
});
