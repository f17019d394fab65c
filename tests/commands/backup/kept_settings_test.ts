/**
 * When a backup of an unchanged database takes `_security` and the revisions limit over from the one before, and what
 * makes it read them again.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { parseManifest } from "../../../src/archive/manifest_json.ts";
import type { Manifest } from "../../../src/archive/manifest.ts";
import { openContent } from "../../../src/archive/sealed.ts";
import { keptSettings, type KeptSettingsQuestion, MOST_DAYS } from "../../../src/commands/backup/kept_settings.ts";
import { InterruptedError } from "../../../src/errors.ts";
import { couchOk } from "../../couch_request.ts";
import { partsOf, textWithChecksum } from "../../edited_manifest.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { forbidden, loginRefused, unreadable } from "../../fakes/couchdb/faults.ts";
import type { FakeCouchDb } from "../../fakes/couchdb.ts";
import { filesOf } from "../../read_archive.ts";
import { Increments } from "./increment_setup.ts";

const SETTINGS = ["_security", "_revs_limit"];
const OTHERS = '{"admins":{"names":["eve"],"roles":[]},"members":{"names":[],"roles":[]}}';

/** The newest manifest of `db` of a day of January 2026. */
async function manifestOf({ backups }: Increments, day: number): Promise<Manifest> {
  const folder = backups.folder.replace("/03/", `/${String(day).padStart(2, "0")}/`);
  const name = (await filesOf(folder)).filter((one) => one.startsWith("manifest-")).sort().at(-1);
  return parseManifest(await Deno.readFile(`${folder}/${name}`), name!);
}

/** What each database was asked for since the request of a number, in order. */
function askedSince({ requests }: FakeCouchDb, number: number, database = "db"): string[] {
  return requests.slice(number).filter((one) => one.database === database).map(({ endpoint }) => endpoint);
}

function put(place: Increments, setting: string, value: unknown): Promise<unknown> {
  return couchOk(place.fake, `PUT /db/${setting}`, value);
}

Deno.test("backup() makes one request for an unchanged database of one copy, and one for the properties of many", async () => {
  await using place = await Increments.start();
  const names = Array.from({ length: 9 }, (_, n) => `small${n}`);
  for (const name of names) {
    await couchOk(place.fake, `PUT /${name}`);
    fill(place.fake.databases.get(name)!, 10);
  }
  const request = { task: { parallel: 4 }, context: { freshMs: 60_000 } };
  for (const day of [3, 4, 5]) {
    const since = place.fake.requests.length;
    const reports = await place.runAll(names, { ...request, day });
    assertEquals(
      reports.map(({ error, unchanged }) => error ?? unchanged),
      names.map(() => day === 3 ? undefined : true),
    );
    const settings = day === 3 ? ["_revs_limit", "_security"] : [];
    for (const name of names) {
      const asked = askedSince(place.fake, since, name).filter((endpoint) => endpoint !== "_bulk_get").sort();
      assertEquals(asked, ["_changes", ...settings].sort(), `${name}, day ${day}`);
    }
    const others = place.fake.requests.slice(since).filter(({ database }) => database === undefined);
    const together = others.filter(({ endpoint }) => endpoint === "_dbs_info");
    assertEquals(together.reduce((sum, { ids }) => sum + ids.length, 0), names.length);
    assert(together.length <= 3, `${together.length} requests`);
  }
});

Deno.test("backup() of an unchanged database takes over what it has not read, and keeps when that was", async () => {
  await using place = await Increments.start();
  fill(place.database, 20);
  await put(place, "_security", JSON.parse(OTHERS));
  await put(place, "_revs_limit", 77);
  await place.expectRun({ kind: "full" });
  const { properties: first } = await manifestOf(place, 3);
  assertEquals([JSON.parse(first.security!), first.revs_limit], [JSON.parse(OTHERS), 77]);
  for (const day of [4, 5]) {
    await place.expectRun({ kind: "unchanged" }, { day });
    const { properties } = await manifestOf(place, day);
    assertEquals(properties, first);
  }
});

Deno.test("backup() with --resume asks for no settings of a database that is unchanged, or complete already", async () => {
  await using place = await Increments.start();
  fill(place.database, 20);
  await place.expectRun({ kind: "full" });
  for (const expected of [["database", "_changes"], ["database"]]) {
    const since = place.fake.requests.length;
    await place.expectRun({ kind: "unchanged" }, { day: 4, resume: true });
    assertEquals(askedSince(place.fake, since), expected);
  }
});

Deno.test("backup() that is resumed reads the settings that it has taken over before it knew what it goes on with", async () => {
  await using place = await Increments.start();
  fill(place.database, 300);
  await place.expectRun({ kind: "full" });
  const stop = new AbortController();
  let asked = 0;
  place.fake.onRequest(({ endpoint }) => {
    if (endpoint === "_bulk_get" && ++asked === 3) stop.abort(new InterruptedError("stopped"));
  });
  const task = { chunk: 20, parallel: 1 };
  await assertRejects(() => place.run({ day: 4, full: true, task, context: { stop: stop.signal } }), InterruptedError);
  place.database.security = OTHERS;
  const since = place.fake.requests.length;
  const report = await place.run({ day: 4, task, resume: true });
  assertEquals([report.error, report.status, report.kind], [undefined, "resumed", "full"]);
  for (const setting of SETTINGS) assert(askedSince(place.fake, since).includes(setting), setting);
  assertEquals((await manifestOf(place, 4)).properties.security, OTHERS);
});

/** What happens before the next backup; it reads the settings, and has what is there. */
const DOUBTS: {
  what: string;
  happens(place: Increments): unknown;
  /** @default unchanged */
  kind?: "full" | "incremental";
  options?: Parameters<Increments["run"]>[0];
  start?: Parameters<typeof Increments.start>[0];
}[] = [
  { what: "whose _security was changed", happens: (place) => put(place, "_security", JSON.parse(OTHERS)) },
  { what: "whose revisions limit was changed", kind: "full", happens: (place) => put(place, "_revs_limit", 55) },
  {
    what: "whose _security was changed and changed back",
    async happens(place) {
      const before = JSON.parse(place.database.security);
      await put(place, "_security", JSON.parse(OTHERS));
      await put(place, "_security", before);
    },
  },
  {
    what: "that has changed",
    kind: "incremental",
    happens(place) {
      edit(place.database, { _id: "another" });
      place.database.security = OTHERS;
    },
  },
  {
    what: "that was deleted and made anew",
    kind: "full",
    async happens({ fake }) {
      await couchOk(fake, "DELETE /db");
      await couchOk(fake, "PUT /db");
      fake.databases.get("db")!.properties.createdAt += 7;
      fill(fake.databases.get("db")!, 30);
    },
  },
  {
    what: "that was set back and written to as much as before",
    kind: "full",
    async happens(place) {
      const setBack = place.database.snapshot();
      edit(place.database, { _id: "later" });
      await place.expectRun({ kind: "incremental" }, { day: 4 });
      setBack();
      edit(place.database, { _id: "other" });
      place.database.security = OTHERS;
    },
  },
  {
    what: "whose parent lacks a chunk",
    kind: "full",
    async happens(place) {
      await Deno.remove(`${place.backups.folder}/0000000.json.gz`);
      place.database.security = OTHERS;
    },
  },
  {
    what: "whose parent goes while it runs",
    kind: "full",
    happens(place) {
      place.database.security = OTHERS;
      place.fake.onRequest(async ({ endpoint }) => {
        if (endpoint !== "_changes") return;
        for (const name of await filesOf(place.backups.folder).catch(() => [])) {
          await Deno.remove(`${place.backups.folder}/${name}`);
        }
      });
    },
  },
  { what: "of an older version of this program", happens: (place) => rewrite(place, "settings_read", "settings_were") },
  {
    what: "of which nobody knows when it was created",
    start: { version: "3.2.3" },
    happens: (place) => place.database.security = OTHERS,
  },
  {
    what: "whose settings were read long ago",
    happens: (place) => place.database.security = OTHERS,
    options: { context: { now: () => new Date(Date.now() + MOST_DAYS * 86_400_000) } },
  },
  {
    what: "that lies behind another address",
    happens: (place) => rewrite(place, '"url": "http://', '"url": "http://other.'),
  },
];

/** Changes the newest manifest of the first day. */
async function rewrite({ backups }: Increments, from: string, to: string): Promise<void> {
  for (const name of (await filesOf(backups.folder)).filter((one) => one.startsWith("manifest"))) {
    const text = await Deno.readTextFile(`${backups.folder}/${name}`);
    assert(text.includes(from), text);
    await Deno.writeFile(`${backups.folder}/${name}`, textWithChecksum(partsOf(text.replace(from, to))));
  }
}

for (const { what, happens, kind, options, start } of DOUBTS) {
  Deno.test(`backup() reads _security and the revisions limit of a database ${what}`, async () => {
    await using place = await Increments.start(start);
    fill(place.database, 30);
    await place.expectRun({ kind: "full" });
    await happens(place);
    const since = place.fake.requests.length;
    const report = await place.run({ day: 6, ...options });
    assertEquals([report.error, report.unchanged ?? report.kind], [undefined, kind ?? true]);
    for (const setting of SETTINGS) assert(askedSince(place.fake, since).includes(setting), setting);
    const { properties } = await manifestOf(place, 6);
    const database = place.fake.databases.get("db")!;
    assertEquals([properties.security, properties.revs_limit], [database.security, database.revsLimit]);
  });
}

for (const full of [false, true]) {
  Deno.test(`backup() does not miss a _security that is changed while its properties are read (--full: ${full})`, async () => {
    await using place = await Increments.start();
    fill(place.database, 20);
    // Who asks for both at once gets the settings of before with the position of behind the change.
    place.fake.faults.add({
      endpoint: "database",
      database: "db",
      fault: {
        kind: "run",
        async run() {
          for (let tries = 0; tries < 20; tries++) {
            if (SETTINGS.every((setting) => place.fake.requestsTo(setting, "db").length > 0)) break;
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
          await put(place, "_security", JSON.parse(OTHERS));
        },
      },
    });
    await place.expectRun({ kind: "full" }, { full });
    await place.expectRun({ kind: "unchanged" }, { day: 4 });
    assertEquals((await manifestOf(place, 4)).properties.security, place.database.security);
  });
}

Deno.test("backup() goes on to read and to name settings that it may not read, and takes over those it could", async () => {
  await using place = await Increments.start();
  fill(place.database, 20);
  place.fake.faults.add(forbidden("db", "_security"));
  for (const day of [3, 4]) {
    const report = await place.run({ day });
    assertEquals([report.error, report.warnings?.length], [undefined, 1], `day ${day}`);
    const { properties: { security, settings_read: read } } = await manifestOf(place, day);
    assertEquals([security, read], [null, undefined]);
  }
  place.fake.faults.clear();
  assertEquals((await place.run({ day: 5 })).warnings, undefined);
  place.fake.faults.add(forbidden("db", "_security"));
  // That it may not be read any more changes nothing of what it is.
  assertEquals((await place.run({ day: 6 })).warnings, undefined);
  assertEquals((await manifestOf(place, 6)).properties.security, place.database.security);
  // Every change of a setting moves the position, also one to the same value.
  await put(place, "_revs_limit", 1000);
  const told = await place.run({ day: 7 });
  assertEquals([told.unchanged, told.warnings?.length], [true, 1]);
  assertEquals((await manifestOf(place, 7)).properties.security, null);
});

Deno.test("backup() that has taken settings over names those that it may not read where it saves all after all", async () => {
  await using place = await Increments.start();
  fill(place.database, 20);
  await place.expectRun({ kind: "full" });
  place.fake.faults.add(forbidden("db", "_security"));
  const { context } = await place.losing();
  const { warnings } = await place.expectRun({ kind: "full", because: /relies on is gone/ }, { day: 4, context });
  assertEquals([warnings?.length, warnings?.[0]?.includes("_security")], [1, true]);
});

Deno.test("backup() of an unchanged database whose feed may not be read any more fails", async () => {
  await using place = await Increments.start();
  fill(place.database, 20);
  await place.expectRun({ kind: "full" });
  place.fake.faults.add(forbidden("db", "_changes"));
  const report = await place.run({ day: 4 });
  assertEquals(report.status, "failed");
  assert(report.error?.includes("403"), report.error);
});

Deno.test("backup() takes over what is sealed as it is, and seals anew what has to be read", async () => {
  const identity = await generateIdentity();
  const recipient = await identityToRecipient(identity);
  const task = { codec: { compression: "gzip" as const, recipients: [recipient] } };
  await using place = await Increments.start();
  const [bad = ""] = fill(place.database, 20);
  await put(place, "_security", JSON.parse(OTHERS));
  await place.expectRun({ kind: "full" }, { task });
  const securityOf = async (day: number) => {
    const { sealed, recipients = [] } = await manifestOf(place, day);
    return (await openContent(sealed!, { identities: [identity], recipients, key: "a manifest" })).security;
  };
  const first = await manifestOf(place, 3);
  let since = place.fake.requests.length;
  await place.expectRun({ kind: "unchanged" }, { task, day: 4 });
  assertEquals(askedSince(place.fake, since), ["database", "_changes"]);
  assertEquals((await manifestOf(place, 4)).sealed, first.sealed);
  assertEquals(await securityOf(4), place.database.security);
  await put(place, "_security", {});
  await place.expectRun({ kind: "unchanged" }, { task, day: 5 });
  assertEquals(await securityOf(5), place.database.security);
  // One that could not be read is sealed beside it, with a salt of its own.
  place.fake.faults.add(unreadable("db", [bad], "error row"));
  await place.expectRun({ kind: "full" }, { task, day: 6, full: true });
  since = place.fake.requests.length;
  await place.expectRun({ kind: "unchanged" }, { task, day: 7 });
  for (const setting of SETTINGS) assert(askedSince(place.fake, since).includes(setting), setting);
  assertEquals(await securityOf(7), place.database.security);
  place.identities = [identity];
  await place.expectRun({ kind: "full", because: /is sealed, and this one is not/ }, { day: 8 });
  assertEquals((await manifestOf(place, 8)).properties.security, place.database.security);
});

Deno.test("backup() of unchanged databases stops asking when CouchDB refuses the login midway", async () => {
  await using place = await Increments.start();
  const names = Array.from({ length: 30 }, (_, n) => `small${n}`);
  for (const name of names) {
    await couchOk(place.fake, `PUT /${name}`);
    fill(place.fake.databases.get(name)!, 10);
  }
  const request = { task: { parallel: 4 }, context: { freshMs: 60_000 } };
  await place.runAll(names, request);
  place.fake.faults.add(loginRefused({ skip: 8 }));
  const since = place.fake.requests.length;
  const reports = await place.runAll(names, { ...request, day: 4 });
  assertEquals(reports.filter(({ status }) => status === "complete").length, 8);
  // CouchDB locks a login out after five failed logins.
  const refused = place.fake.requests.slice(since).filter(({ status }) => status === 401);
  assert(refused.length <= 4, `${refused.length} refused requests`);
});

const MANIFEST: Pick<Manifest, "properties" | "couchdb" | "recipients" | "sealed" | "chain_lost"> = {
  couchdb: { url: "http://127.0.0.1:5984", version: "3.5.0" },
  properties: {
    doc_count: 1,
    doc_del_count: 0,
    q: 2,
    n: 1,
    partitioned: false,
    revs_limit: 1000,
    security: "{}",
    instance_start_time: "1795891177",
    purge_seq: "0-a",
    settings_read: { at: "2026-01-03T18:00:00.000Z", update_seq: "5-b" },
  },
};
const QUESTION: KeptSettingsQuestion = {
  info: {
    doc_count: 1,
    doc_del_count: 0,
    q: 2,
    n: 1,
    partitioned: false,
    external_bytes: 1,
    update_seq: "5-b",
    instance_start_time: "1795891177",
    purge_seq: "0-a",
  },
  url: "http://127.0.0.1:5984",
  now: new Date("2026-01-04T18:00:00Z"),
};

Deno.test("keptSettings() takes nothing over where anything may be another than it was", () => {
  const look = (
    was: Partial<Manifest["properties"]>,
    is: Partial<KeptSettingsQuestion["info"]> = {},
    now: Partial<KeptSettingsQuestion> = {},
  ) =>
    keptSettings(
      { ...MANIFEST, properties: { ...MANIFEST.properties, ...was } } as Manifest,
      { ...QUESTION, info: { ...QUESTION.info, ...is }, ...now },
    );
  const { settings_read } = MANIFEST.properties;
  assertEquals(look({}), { security: "{}", revs_limit: 1000, settings_read });
  const table: [string, ReturnType<typeof look>][] = [
    ["nothing noted", look({ settings_read: undefined })],
    ["another position", look({}, { update_seq: "5-c" })],
    ["no position", look({ settings_read: { ...settings_read!, update_seq: "" } }, { update_seq: "" })],
    ["several copies", look({ n: 3 }, { n: 3 })],
    ["several copies then", look({ n: 3 })],
    ["several copies now", look({}, { n: 3 })],
    ["copies unknown, as in 1.x and PouchDB", look({ n: null }, { n: null })],
    ["created at another time", look({}, { instance_start_time: "1795891178" })],
    ["nobody knows when", look({ instance_start_time: null }, { instance_start_time: null })],
    ["nobody knew when", look({ instance_start_time: null })],
    ["purged", look({}, { purge_seq: "1-a" })],
    ["purges unknown", look({ purge_seq: null }, { purge_seq: null })],
    ["_security not known", look({ security: null })],
    ["revisions limit not known", look({ revs_limit: null })],
    ["another CouchDB", look({}, {}, { url: "http://127.0.0.1:5985" })],
    ["sealed now", look({}, {}, { recipients: ["age1x"] })],
    ["long ago", look({}, {}, { now: new Date("2026-02-02T18:00:00Z") })],
    ["a clock that was set back", look({}, {}, { now: new Date("2026-01-03T17:59:59Z") })],
  ];
  for (const [what, kept] of table) assertEquals(kept, undefined, what);
  assert(look({}, {}, { now: new Date("2026-02-02T17:59:59Z") }) !== undefined, "just before");
});
