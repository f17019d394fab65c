/**
 * The whole program: arguments of odd bytes, events of a Lambda, and every command on a bucket folder in which somebody
 * has changed, added or swapped objects. It ends with words and a code of its own, writes nothing beside its folder,
 * and shows no password.
 */
import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { main } from "../../src/cli/cli.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";
import { runScheduled } from "../../src/schedule/due.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { partsOf } from "../edited_manifest.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { task as fakeTask } from "../fakes/task.ts";
import { setUpFunction } from "../lambda/function_setup.ts";
import { setUpScheduled } from "../schedule/due_setup.ts";
import { EXPECTED_CODES, PASSWORD, problemOfText, secretIn, testSurface } from "./cases.ts";
import { type Dice, HOSTILE_TEXTS, type Json } from "./dice.ts";
import { filesBelow, makeOldObjects, OLD } from "./old_backups.ts";

const double = await startFakeCouchDb({ users: [{ name: "admin", password: PASSWORD }] });
await createDatabase(double, "db", idsOf(12));
await createDatabase(double, "a/b", idsOf(3));
addEventListener("unload", () => void double.stop());

/** A folder with a config, a bucket folder in it, and a place for the state. */
async function makeDesk(): Promise<{ folder: string; config: string; bucket: string } & AsyncDisposable> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup hostile-" });
  const config = join(folder, "config.yaml");
  const bucket = join(folder, "bucket");
  await Deno.writeTextFile(
    config,
    `database: {url: "${double.url}", login: admin, password: ${JSON.stringify(PASSWORD)}}
task:
  weekly: {databases: [db, "a/b"], chunk: 5, timezone: UTC, retention: {keep_last: 2}}
  scheduled: {databases: [db], cron: "*-01-01", timezone: UTC}
bucket: "${pathToFileURL(bucket).href}"
prefix: p
suffix: s
`,
  );
  return { folder, config, bucket, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

/** Runs the program in this process. @throws Error for a code or words that it must not end with. */
async function run(args: string[], folder: string): Promise<number> {
  const shell = new QuietShell({ HOME: folder, XDG_STATE_HOME: join(folder, "state") });
  const code = await main(args, shell);
  const problem = EXPECTED_CODES.includes(code)
    ? shell.printed === "" ? undefined : problemOfText(shell.printed)
    : `Exit code ${code}: ${shell.printed}`;
  if (problem !== undefined) throw new Error(problem);
  if (code !== 0 && shell.printed.trim() === "") throw new Error(`Exit code ${code} without words`);
  return code;
}

/** The objects of a bucket folder with a complete backup of each database, and an unfinished one. */
async function makeObjects(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  await using desk = await makeDesk();
  assertEquals(await run(["backup", desk.config, "--task", "weekly", "--date", "2026-11-25"], desk.folder), 0);
  assertEquals(await run(["backup", desk.config, "--task", "weekly", "--date", "2026-11-26"], desk.folder), 0);
  const objects = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const name of await filesBelow(desk.bucket)) objects.set(name, await Deno.readFile(join(desk.bucket, name)));
  const name = [...objects.keys()].find((name) => /11\/26\/s\/db\/manifest-/.test(name))!;
  const { finished_at: savedAt, ...manifest } = partsOf(objects.get(name)!);
  const listing = { position: "0", ids: 12, expected: 12, filter: null };
  const checkpoint = { ...manifest, saved_at: savedAt, listing };
  for (const one of [...objects.keys()]) if (/11\/26\/s\/db\/manifest|_catalog\/s\/db\//.test(one)) objects.delete(one);
  objects.set(join(dirname(name), `checkpoint-${manifest.run.slice(0, 8)}.json`), encode(JSON.stringify(checkpoint)));
  return objects;
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(text));
}

/** Names that a file system takes, and a backup does not have. */
const NAMES: readonly string[] = [
  ...HOSTILE_TEXTS.map((text) => text.replaceAll(/[/\0]/g, "_").slice(0, 100)).filter((text) =>
    !/^\.{0,2}$/.test(text)
  ),
  "manifest-20261325T180411Z-0b5a8fd2.json",
  "manifest-99991125T180411Z-0b5a8fd2.json",
  "checkpoint-0b5a8fd2.json",
  "999999999999.json.gz",
  "99999999999999999999.json.gz",
  "0b5a8fd2-0000000.json.gz",
  "claim-99999999999999999999999.json",
  "claim-01.json",
  "claim-1.json",
  "heartbeat-2.json",
  "outcome-99999999999999999999999.json",
  "outcome-0.json",
  "report.json",
  "stop.json",
  "plan.json",
  "last.json",
];

/** Changes some objects as somebody with the right to write the bucket could. */
function tamper(dice: Dice, objects: Map<string, Uint8Array<ArrayBuffer>>): Map<string, Uint8Array<ArrayBuffer>> {
  const tampered = new Map(objects);
  for (let times = 1 + dice.below(2); times > 0; times--) {
    const keys = [...tampered.keys()];
    const key = dice.pick(keys);
    const bytes = tampered.get(key)!;
    switch (dice.below(6)) {
      case 0:
        tampered.delete(key);
        break;
      case 1:
        tampered.set(join(dirname(key), dice.pick(NAMES)), bytes);
        break;
      case 2:
        tampered.set(key, tampered.get(dice.pick(keys))!);
        break;
      default:
        tampered.set(key, tamperBytes(dice, key, bytes));
    }
  }
  return tampered;
}

function tamperBytes(dice: Dice, key: string, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  try {
    if (key.endsWith(".gz") && dice.oneIn(2)) {
      return Uint8Array.from(gzipSync(dice.mutateJsonText(JSON.parse(gunzipSync(bytes).toString()) as Json)));
    }
    if (key.endsWith(".json")) return encode(dice.mutateJsonText(JSON.parse(new TextDecoder().decode(bytes)) as Json));
  } catch {
    // Tampered with before.
  }
  return dice.mutateBytes(bytes);
}

async function writeObjects(root: string, objects: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [name, bytes] of objects) {
    await Deno.mkdir(dirname(join(root, name)), { recursive: true });
    // Where a folder has come to lie under this name, an object cannot.
    await Deno.writeFile(join(root, name), bytes).catch(() => undefined);
  }
}

const objects = await makeObjects();
const PATHS = ["latest/db", "2026-11-25/db", "2026-11-26/db", "2026-11-27T00:00Z/db", "p/2026/11/25/s/a%2Fb"];
let targets = 0;

testSurface({
  name: "bucket",
  cases: 180,
  make: (dice) => {
    const path = dice.pick(PATHS);
    const commands: string[][] = [
      ["list", "backups"],
      ["list", "backups", "--json"],
      ["list", "backups", "--rebuild"],
      ["verify", "db", path],
      ["verify", "db", path, "--json"],
      ["verify", "db", path, "--quick"],
      ["restore", "to", path],
      ["restore", "to", path, "--salvage"],
      ["restore", "to", path, "--dry-run", "--json"],
      ["restore", "to", path, "--salvage", "--dry-run"],
      ["backup", "--task", "weekly", "--date", "2026-11-26", "--resume"],
      ["backup", "--task", "weekly", "--date", "2026-11-26"],
      ["check"],
      ["plan"],
      ["list", "--sizes"],
      ["keep", "db", path],
      ["unkeep", "db", path],
      ["expire", "--show-kept"],
    ];
    return { command: dice.pick(commands), objects: tamper(dice, objects) };
  },
  run: async ({ command: [name = "", ...rest], objects }) => {
    await using desk = await makeDesk();
    await writeObjects(desk.bucket, objects);
    const args = rest.map((arg) => arg === "to" ? `to${targets++}` : arg);
    const takesConfig = ["backup", "check", "plan", "expire"].includes(name);
    await run([name, ...(takesConfig ? [desk.config, ...args] : [...args, "--config", desk.config])], desk.folder);
    const beside = (await filesBelow(desk.folder)).filter((path) => !/^(bucket|state)\/|^config\.yaml$/.test(path));
    if (beside.length > 0) throw new Error(`It wrote beside the bucket: ${beside}`);
    for (const path of await filesBelow(desk.bucket)) {
      const text = Buffer.from(await Deno.readFile(join(desk.bucket, path))).toString("latin1");
      const problem = secretIn(text);
      if (problem !== undefined) throw new Error(`${path}: ${problem}`);
    }
  },
});

const oldObjects = await makeOldObjects();
const isOfOther = (name: string) => name.includes("a%2Fb");

testSurface({
  name: "expire",
  cases: 80,
  make: (dice) => {
    const others = new Map([...oldObjects].filter(([name]) => isOfOther(name)));
    const own = new Map([...oldObjects].filter(([name]) => !isOfOther(name)));
    return new Map([...tamper(dice, own), ...others]);
  },
  run: async (objects) => {
    await using desk = await makeDesk();
    await writeObjects(desk.bucket, objects);
    // Younger than a day nothing goes.
    for (const name of objects.keys()) await Deno.utime(join(desk.bucket, name), OLD, OLD).catch(() => undefined);
    const verify = () => run(["verify", "db", "latest", "--config", desk.config], desk.folder);
    const before = await verify();
    await run(["expire", desk.config, "--confirm"], desk.folder);
    if (before === 0 && await verify() !== 0) throw new Error("The newest backup was whole, and is no more");
    for (const [name, bytes] of objects) {
      if (!isOfOther(name)) continue;
      const now = await Deno.readFile(join(desk.bucket, name)).catch(() => undefined);
      if (now === undefined || !Buffer.from(now).equals(bytes)) throw new Error(`It took ${name} of another database`);
    }
    const beside = (await filesBelow(desk.folder)).filter((path) => !/^(bucket|state)\/|^config\.yaml$/.test(path));
    if (beside.length > 0) throw new Error(`It wrote beside the bucket: ${beside}`);
  },
});

Deno.test("What the surface expire is made of expires, unless somebody tampers with it", async () => {
  await using desk = await makeDesk();
  await writeObjects(desk.bucket, oldObjects);
  for (const name of oldObjects.keys()) await Deno.utime(join(desk.bucket, name), OLD, OLD);
  assertEquals(await run(["expire", desk.config, "--confirm"], desk.folder), 0);
  const days = new Set(
    (await filesBelow(desk.bucket)).filter((name) => /db\/manifest-/.test(name)).map((name) => name.slice(0, 12)),
  );
  assertEquals([...days], ["p/2026/06/04", "p/2026/06/05"]);
});

const WORDS: readonly string[] = [
  "backup",
  "restore",
  "verify",
  "list",
  "backups",
  "databases",
  "plan",
  "check",
  "systemd",
  "completions",
  "bash",
  "--config",
  "--json",
  "--date",
  "--date=2026-02-30",
  "--date=-1",
  "--task",
  "--task=__proto__",
  "--database",
  "--database=",
  "--database=constructor",
  "--all",
  "--resume",
  "--dry-run",
  "--quick",
  "--help",
  "--version",
  "--log-format=x",
  "--from=x",
  "--count=1e9",
  "--count=-1",
  "--",
  "-",
  "-x",
  "--=",
  "--__proto__",
  "--__proto__=x",
  "--constructor",
  "--no-json",
  "latest",
  "2026-11-25T99:99Z/db",
  "2026-13-45",
  "file:///etc/passwd",
  "file://host/x",
  "file:///%zz",
  "s3://b",
  "http://127.0.0.1:1/",
  "../../../../etc/passwd",
];

testSurface({
  name: "arguments",
  cases: 800,
  make: (dice) => {
    const words = Array.from({ length: dice.below(7) }, () => {
      if (dice.oneIn(5)) return dice.text().slice(0, 3000);
      return dice.oneIn(5) ? dice.mutateText(dice.pick(WORDS)).slice(0, 3000) : dice.pick(WORDS);
    });
    // "schedule" is a service: it has no end.
    return (dice.oneIn(2) ? [dice.pick(WORDS.slice(0, 11)), ...words] : words).filter((word) => word !== "schedule");
  },
  run: async (args) => {
    await using desk = await makeDesk();
    await run(args.map((arg) => arg === "--config" ? `--config=${desk.config}` : arg), desk.folder);
  },
});

const lambda = await setUpFunction({
  tasks: '  weekly: {cron: "Sat 18:00", databases: [a], timezone: UTC}\n  "a b": {databases: ["a/b"], chunk: 2}',
  stateMachine: true,
});
addEventListener("unload", () => void lambda[Symbol.asyncDispose]());

const EVENTS: readonly Json[] = [
  { source: "aws.events", time: "2026-11-28T18:00:05Z", detail: {} },
  { action: "plan", task: "weekly", elapse: "2026-11-28T18:00:00Z", only: "all", generation: 1 },
  { action: "backup", task: "weekly", elapse: "2026-11-28T18:00:00Z", database: "a", cursor: null, generation: 1 },
  { action: "summarise", task: "weekly", elapse: "2026-11-28T18:00:00Z", only: "failed", generation: 1 },
  { task: "a b" },
  { task: "weekly", elapse: "2026-11-28T18:00:00Z", only: "failed" },
  { action: "restore", path: "latest", match: ["a.*"], exclude: ["b"], map: ["(.*)=c$1"], parallel: 2, gone: true },
  { action: "restore", step: "plan", request: { action: "restore", path: "latest", into_existing: true } },
  {
    action: "restore",
    step: "round",
    request: { action: "restore", path: "latest", map: ["(.*)=d/$1"] },
    moment: "2126-11-28T18:00:00Z",
    stretch: { from: "a", to: "a/b" },
    cursor: '{"done":null,"chunks":0,"failed":0,"error":null}',
  },
  {
    action: "restore",
    step: "summarise",
    request: { action: "restore", path: "2026-11-28T18:00:00Z", salvage: true },
    moment: "2126-11-28T18:00:00Z",
    started: "2026-11-28T18:00:00Z",
    map: [{ failed: 0, error: null }],
  },
];

testSurface({
  name: "Lambda's events",
  cases: 500,
  make: (dice) => dice.oneIn(10) ? dice.value(3) : dice.mutateJson(dice.pick(EVENTS)),
  run: async (event) => {
    const before = lambda.lines.length;
    const answered = await lambda.invoke(event).then(() => undefined, (error: unknown) => ({ error }));
    for (const line of lambda.lines.slice(before)) {
      const problem = problemOfText(JSON.stringify(line));
      if (problem !== undefined) throw new Error(problem);
    }
    for (const key of lambda.s3.objects.keys()) {
      if (!key.startsWith("data.example.com/folder/backup/") || key.includes("/../")) {
        throw new Error(`It wrote ${key}`);
      }
    }
    if (answered !== undefined) throw answered.error;
  },
});

const YEAR = new Date().getUTCFullYear();
const YEARLY = fakeTask("yearly", { databases: ["a"], cron: "*-01-01 UTC", timezone: "UTC", chunk: 5 });
const ELAPSE = `backup/_runs/couchdb/yearly/${YEAR}0101T000000Z`;
const HOLDER = {
  run: "0b5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4",
  host: "h",
  pid: 1,
  started_at: `${YEAR}-01-01T00:00:00Z`,
};
const REPORT = {
  ok: false,
  run: HOLDER.run,
  started_at: HOLDER.started_at,
  finished_at: HOLDER.started_at,
  tasks: [{ task: "yearly", date: `${YEAR}-01-01`, databases: [], error: "x", exit_code: 10 }],
};
const ELAPSE_OBJECTS: Readonly<Record<string, Json>> = {
  "claim.json": HOLDER,
  "heartbeat.json": { beat: 3, state: "failed", retry_at: `${YEAR}-01-01T00:05:00.000Z` },
  "outcome-1.json": REPORT,
  "claim-2.json": HOLDER,
  "heartbeat-2.json": { beat: 3, state: "stopped" },
  "stop.json": { until: "2020-01-01T00:00:00.000Z", why: "x", exit_code: 10, since: "2020-01-01T00:00:00.000Z" },
  "plan.json": [{ database: "a" }],
  "warnings.json": { warnings: [], unlisted: [] },
  "../last.json": { run: HOLDER.run, finished_at: HOLDER.started_at, databases: ["a", "gone"] },
};

testSurface({
  name: "claims and reports",
  cases: 100,
  make: (dice) => {
    const entries = Object.entries(ELAPSE_OBJECTS).filter(() => !dice.oneIn(3));
    return entries.map(([name, usual]): [name: string, text: string] => {
      const named = dice.oneIn(8) ? dice.pick(NAMES) : name;
      return [named, dice.oneIn(2) ? JSON.stringify(usual) : dice.mutateJsonText(usual)];
    });
  },
  run: async (written) => {
    await using setup = await setUpScheduled("file://", { a: 3 });
    for (const [name, text] of written) {
      const key = name.startsWith("../") ? join(dirname(ELAPSE), name.slice(3)) : `${ELAPSE}/${name}`;
      await setup.store.replace(key, encode(text), {});
    }
    const machine = setup.machine("11111111-8f0e-4a4e-9d3c-6a43f0c2d3f4", {
      times: { heartbeatMs: 20, staleMs: 1, watchMs: 5, settleMs: 1 },
    });
    const report = await runScheduled(machine, [YEARLY]);
    for (const one of [report, ...machine.log.lines]) {
      const problem = problemOfText(JSON.stringify(one));
      if (problem !== undefined) throw new Error(problem);
    }
    for (
      const { exit_code: code = 0 } of [
        ...report.tasks,
        ...report.scheduled,
        ...report.tasks.flatMap((t) => t.databases),
      ]
    ) {
      if (!EXPECTED_CODES.includes(code)) throw new Error(`Exit code ${code}: ${JSON.stringify(report)}`);
    }
  },
});
