/**
 * Whoever holds the bucket of sealed backups, the log, Loki or the metrics can read nothing: they are searched for each
 * id, value, attachment and name of a hard database, in each form in which it could stand there. The same search finds
 * them where backups are not sealed.
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { main } from "../src/cli/cli.ts";
import { couchOk } from "./couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "./fakes/couchdb.ts";
import { unreadable } from "./fakes/couchdb/faults.ts";
import { FakeLoki } from "./fakes/loki.ts";
import { FakeMonitor } from "./fakes/monitor.ts";
import { QuietShell } from "./fakes/quiet_shell.ts";
import { seedHardDatabase } from "./hard_database.ts";
import { DEFAULT_RETRY } from "../src/retry.ts";

// What cannot be read is asked for again and again, and nobody here wants to wait for that.
Object.assign(DEFAULT_RETRY, { attempts: 2, firstWaitMs: 1, longestWaitMs: 2 });

/** Ids that are words of the program's own, or too short to mean anything where they are found. */
const OWN_WORDS = ["attachments", "deleted", "empty", "numbers", "prototype", "constructor"];
const LEAST_CHARACTERS = 7;

const SECRETS = {
  ids: ["patient-hansen-4711", "patient/möller#1984", 'quoted "patient" / ä%2F'],
  value: "diagnosis-of-the-patient",
  attachment: "the text of a letter about the patient, which is attached to the document",
  attachmentName: "letter-to-hansen.txt",
  type: "application/x-letters-of-hansen",
  people: ["doctor.strange", "role-of-the-nurses"],
  reason: "badmatch of the-content-of-a-document",
};

/** All that must not be found. */
async function fillHard(fake: FakeCouchDb): Promise<string[]> {
  const { liveIds, deletedIds } = await seedHardDatabase(fake, "hard", { documents: 60 });
  for (const id of SECRETS.ids) {
    await couchOk(fake, `PUT /hard/${encodeURIComponent(id)}`, {
      [SECRETS.value]: SECRETS.value,
      _attachments: {
        [SECRETS.attachmentName]: {
          content_type: SECRETS.type,
          data: Buffer.from(SECRETS.attachment).toString("base64"),
        },
      },
    });
  }
  const [name, role] = SECRETS.people;
  await couchOk(fake, "PUT /hard/_security", { admins: { names: [name] }, members: { roles: [role] } });
  const revisions: string[] = [];
  const { json } = await couchOk(fake, "GET /hard/_changes?style=all_docs");
  for (const { changes } of json.results) for (const { rev } of changes) revisions.push(rev.split("-")[1]);
  const { ids, people, ...rest } = SECRETS;
  return [...liveIds, ...deletedIds, ...revisions, ...ids, ...people, ...Object.values(rest)]
    .filter((text) => text.length >= LEAST_CHARACTERS && !OWN_WORDS.includes(text));
}

/** Each form in which a text could stand somewhere. */
function formsOf(text: string): string[] {
  const bytes = Buffer.from(text.toWellFormed());
  const forms = [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text.toWellFormed()), encodeURI(text)];
  for (const before of [0, 1, 2]) {
    // The characters that belong to these bytes alone, whatever stands before and behind them.
    const bits = (before + bytes.length) * 8;
    const whole = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    const part = whole.slice(Math.ceil(before * 8 / 6), Math.floor(bits / 6));
    forms.push(part, part.replaceAll("+", "-").replaceAll("/", "_"));
  }
  return [...new Set(forms.map((form) => Buffer.from(form).toString("latin1")))];
}

/** Where any of the needles are. */
function search(places: ReadonlyMap<string, Uint8Array>, needles: readonly string[]): string[] {
  const found: string[] = [];
  for (const [place, bytes] of places) {
    const text = Buffer.from(bytes).toString("latin1");
    for (const needle of needles) {
      const form = formsOf(needle).find((form) => text.includes(form));
      if (form !== undefined) found.push(`${place}: ${JSON.stringify(needle.slice(0, 60))} as ${form.slice(0, 60)}`);
    }
  }
  return found;
}

/** Every object of a bucket, and its key. */
async function readBucket(folder: string, at = ""): Promise<Map<string, Uint8Array>> {
  const all = new Map<string, Uint8Array>();
  for await (const { name, isDirectory } of Deno.readDir(join(folder, at))) {
    const key = at === "" ? name : `${at}/${name}`;
    all.set(`the key ${key}`, new TextEncoder().encode(key));
    if (isDirectory) { for (const [inner, bytes] of await readBucket(folder, key)) all.set(inner, bytes); }
    else all.set(key, await Deno.readFile(join(folder, key)));
  }
  return all;
}

/** A history of backups as a server makes them, and all that can be seen of it. */
async function history(
  more: string,
  identity: string,
): Promise<{ places: Map<string, Uint8Array>; needles: string[] }> {
  const fake = await startFakeCouchDb();
  const loki = new FakeLoki();
  const monitor = new FakeMonitor();
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-sealed-" });
  const places = new Map<string, Uint8Array>();
  try {
    const needles = await fillHard(fake);
    const config = join(folder, "config.yaml");
    await Deno.writeTextFile(
      config,
      `database: {url: "${fake.url}", login: ${fake.login}, password: ${fake.password}}
task:
  yearly: {cron: "*-01-01 UTC", databases: [hard], chunk: 10, incremental: true, tombstones: true}
  zstd: {databases: [hard], compression: zstd, tombstones: true}
bucket: file://${folder}/bucket
loki: ${loki.url}
notify: {url: "${monitor.url("/hook")}", kind: webhook}
prometheus: {textfile: "${folder}/metrics.prom", per_database: true}
${more}
`,
    );
    const key = join(folder, "key.txt");
    await Deno.writeTextFile(key, `${identity}\n`, { mode: 0o600 });
    const seen = (name: string, text: string) => places.set(name, new TextEncoder().encode(text));
    const run = async (...args: string[]) => {
      const shell = new QuietShell({ XDG_STATE_HOME: `${folder}/state` });
      const code = await main([...args, "--config", config, "--verbose", "--log-format", "json"], shell);
      seen(`the log of ${args.join(" ")}`, shell.err);
      return { code, out: shell.out };
    };
    const runs = async (expected: number, ...args: string[]) => {
      const { code, out } = await run(...args);
      assertEquals(code, expected, out + new TextDecoder().decode(places.get(`the log of ${args.join(" ")}`)));
      seen(`what ${args.join(" ")} prints`, out);
    };
    const [first = "", second = ""] = SECRETS.ids;
    const rule = unreadable("hard", [first], "error row");
    const { fault } = rule;
    if (fault?.kind === "error rows") fake.faults.add({ ...rule, fault: { ...fault, reason: SECRETS.reason } });
    await runs(3, "backup", "--scheduled");
    await runs(3, "backup", "--task", "zstd", "--json");
    await couchOk(fake, `PUT /hard/another-${second.length}-document`, { [SECRETS.value]: 1 });
    await runs(3, "backup", "--task", "yearly", "--json");
    await runs(3, "status", "--json");
    await runs(0, "list", "--json");
    await runs(0, "plan");
    await runs(0, "report", "--output", join(folder, "report.html"));
    await runs(3, "verify", "hard", "latest", "--json");
    // What is not there, and why, is told to who has the identity, and to nobody else.
    await run("verify", "hard", "latest", "--json", "--identity", key);
    await run("restore", "copy", "latest/hard", "--identity", key);
    await run("test-restore", "--identity", key);
    fake.faults.clear();
    fake.faults.add({
      database: "hard",
      endpoint: "_bulk_get",
      times: Infinity,
      fault: { kind: "answer", status: 500, body: { error: "internal_server_error", reason: SECRETS.reason } },
    });
    await run("backup", "--task", "zstd", "--json");
    for (const [name, bytes] of await readBucket(join(folder, "bucket"))) places.set(name, bytes);
    seen("Loki", loki.lines.map(({ line, labels }) => `${JSON.stringify(labels)} ${line}`).join("\n"));
    seen("the metrics", await Deno.readTextFile(join(folder, "metrics.prom")));
    seen("the monitor", monitor.told.map(({ path, body }) => `${path} ${body}`).join("\n"));
    seen("the page of the report", await Deno.readTextFile(join(folder, "report.html")));
    return { places, needles };
  } finally {
    await fake.stop();
    await loki.close();
    await monitor[Symbol.asyncDispose]();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("Nothing of a hard database is found in a bucket of sealed backups, in log, Loki, metrics and reports", async () => {
  const identity = await generateIdentity();
  const recipient = await identityToRecipient(identity);
  const { places, needles } = await history(`encrypt_to: [${recipient}]`, identity);
  assertGreater(needles.length, 150);
  for (const name of ["Loki", "the metrics", "the monitor"]) assertGreater(places.get(name)?.length ?? 0, 100, name);
  assertGreater([...places.keys()].filter((name) => name.endsWith(".gz.age")).length, 5);
  assertEquals([...places.keys()].filter((name) => name.endsWith(".gz") || name.endsWith(".zst")), []);
  assertEquals(search(places, needles), []);
});

Deno.test("The same search finds them all where backups are not sealed", async () => {
  const { places, needles } = await history("", await generateIdentity());
  for (const [name, bytes] of places) if (/^\d.*\.json\.gz$/.test(name)) places.set(name, gunzipSync(bytes));
  const found = search(places, needles);
  const missed = needles.filter((needle) => !found.some((one) => one.includes(JSON.stringify(needle.slice(0, 60)))));
  assertEquals(missed, []);
  const where = found.map((one) => one.slice(0, one.indexOf(": ")));
  for (const place of ["Loki", "the log of verify hard latest --json", "what backup --task zstd --json prints"]) {
    assert(where.includes(place), `${place} of ${[...new Set(where)].join(", ")}`);
  }
});
