import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { findRestorePoint } from "../../src/archive/restore_point.ts";
import { ArchiveError, UsageError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import { Repository } from "../../src/archive/repository.ts";
import { entryOfManifest } from "../../src/archive/catalog.ts";
import { entryName } from "../../src/archive/catalog_entry.ts";
import { manifestName, shortRun } from "../../src/archive/layout.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { formatDate, parseDate } from "../../src/dates.ts";
import { RecordedLog } from "../fakes/log.ts";
import { type BackupRequest, DATABASE, manifestOf, TestRepository } from "./repository_setup.ts";

const NOW = () => new Date("2026-11-25T20:00:00Z");

async function find(setup: TestRepository, notAfter?: string, now = NOW) {
  const { repository, log, signal } = setup;
  const moment = notAfter === undefined ? undefined : new Date(notAfter);
  return await findRestorePoint(repository, DATABASE, { notAfter: moment, log, now, signal });
}

/** `2026-11-25T18:04:11.000Z` of the newest at each moment. */
async function found(setup: TestRepository, ...moments: (string | undefined)[]): Promise<string[]> {
  const points = [];
  for (const moment of moments) points.push((await find(setup, moment)).finishedAt.toISOString());
  return points;
}

Deno.test("findRestorePoint() finds each of two runs of one day by its moment, to the second that people read", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00.700Z" });
  await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T18:04:11.500Z" });
  const [early, late] = ["2026-11-25T10:00:00.700Z", "2026-11-25T18:04:11.500Z"];
  assertEquals(await found(setup, undefined, "2026-11-25T18:04:11Z", "2026-11-25T18:04:10Z", "2026-11-25T10:00:00Z"), [
    late,
    late,
    early,
    early,
  ]);
  const { name } = await find(setup, "2026-11-25T12:00:00Z");
  assertEquals(name.startsWith("manifest-20261125T100000Z-"), true);
});

Deno.test("findRestorePoint() goes by the moment, not by the date of the folder", async () => {
  for (const isCatalogued of [true, false]) {
    for (const format of [1, 2] as const) {
      await using setup = await TestRepository.open();
      await setup.put({ day: "2026-11-23", finishedAt: "2026-11-23T18:00:00Z", format, isCatalogued });
      // A task with backup_only_previous dates its backup back by a month.
      await setup.put({ day: "2026-10-25", finishedAt: "2026-11-25T18:00:00Z", format, isCatalogued });
      const what = `format ${format}, ${isCatalogued ? "" : "not "}catalogued`;
      assertEquals(await found(setup, undefined, "2026-11-24T00:00:00Z"), [
        "2026-11-25T18:00:00.000Z",
        "2026-11-23T18:00:00.000Z",
      ], what);
    }
  }
});

Deno.test("findRestorePoint() finds what the catalog does not know: made before it, beside it and behind it", async () => {
  await using setup = await TestRepository.open();
  const requests: BackupRequest[] = [
    { day: "2025-06-01", finishedAt: "2025-06-01T18:00:00Z", format: 1 },
    { day: "2026-09-01", finishedAt: "2026-09-01T18:00:00Z" },
    { day: "2026-09-08", finishedAt: "2026-09-08T18:00:00Z", format: 1 },
    { day: "2026-11-01", finishedAt: "2026-11-01T18:00:00Z" },
    { day: "2026-11-08", finishedAt: "2026-11-08T18:00:00Z", isCatalogued: false },
  ];
  for (const request of requests) await setup.put(request);
  for (const { finishedAt } of requests) {
    const next = new Date(Date.parse(finishedAt) + 86_400_000).toISOString();
    assertEquals(await found(setup, finishedAt, next), Array(2).fill(new Date(finishedAt).toISOString()));
  }
  assertEquals(await found(setup, undefined), ["2026-11-08T18:00:00.000Z"]);
});

Deno.test("findRestorePoint() passes over an entry without its manifest for what is there, and says so", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T18:00:00Z" });
  const { folder, name } = await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T18:00:00Z", isCopied: false });
  await Deno.remove(`${setup.root}/${folder}/${name}`);
  assertEquals(await found(setup, undefined, "2026-11-25T19:00:00Z"), Array(2).fill("2026-11-01T18:00:00.000Z"));
  assertEquals(setup.log.events("warn"), Array(2).fill("a newer backup is passed over: its manifest is missing"));
});

Deno.test("findRestorePoint() falls back from a damaged manifest to an earlier one of the same folder, and says so", async () => {
  for (const isCatalogued of [true, false]) {
    await using setup = await TestRepository.open();
    await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", isCatalogued, isCopied: false });
    const { folder, name } = await setup.put({
      day: "2026-11-25",
      finishedAt: "2026-11-25T18:00:00Z",
      isCatalogued,
      isCopied: false,
    });
    await setup.write(folder, name, "{");
    assertEquals(await found(setup, undefined), ["2026-11-25T10:00:00.000Z"]);
    assertEquals(setup.log.events("warn"), ["a newer backup is passed over: its manifest is damaged"]);
    assertEquals(await found(setup, "2026-11-25T12:00:00Z"), ["2026-11-25T10:00:00.000Z"]);
    assertEquals(setup.log.events("warn").length, 1, "at that moment it was not there yet");
  }
});

Deno.test("findRestorePoint() names newer backups that have not finished, in both formats", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T18:00:00Z" });
  await setup.putUnfinished({ day: "2026-11-24", finishedAt: "2026-11-24T18:00:00Z" });
  await setup.putUnfinished({ day: "2026-11-25", finishedAt: "2026-11-25T18:00:00Z", format: 1 });
  await setup.putUnfinished({ day: "2026-10-25", finishedAt: "2026-10-25T18:00:00Z" });
  assertEquals(await found(setup, undefined), ["2026-11-01T18:00:00.000Z"]);
  const told = setup.log.lines.filter(({ level }) => level === "warn");
  assertEquals(told.map(({ event, fields }) => [event, fields.date]), [
    ["a newer backup is passed over: it has not finished", "2026/11/25"],
    ["a newer backup is passed over: it has not finished", "2026/11/24"],
  ]);
});

Deno.test("findRestorePoint() says which moment it took, and what that backup leaves out", async () => {
  await using setup = await TestRepository.open();
  const { log } = setup;
  const { manifest: { run } } = await setup.put({
    day: "2026-10-25",
    finishedAt: "2026-11-25T18:00:00.250Z",
    task: "light",
    options: { attachments: false },
  });
  await find(setup, "2026-11-25T19:00:00Z");
  assertEquals(log.lines.map(({ level, event, fields }) => ({ level, event, fields })), [
    {
      level: "info",
      event: "newest backup of that moment",
      fields: { database: DATABASE, date: "2026/10/25", run, finishedAt: "2026-11-25T18:00:00.250Z" },
    },
    { level: "warn", event: "backup is without attachments: its task leaves them out", fields: { task: "light" } },
  ]);
});

Deno.test("findRestorePoint() says what the oldest is where nothing was complete at a moment", async () => {
  for (const format of [1, 2] as const) {
    await using setup = await TestRepository.open();
    await setup.put({ day: "2026-11-20", finishedAt: "2026-11-20T10:00:00Z", format });
    await setup.put({ day: "2026-10-21", finishedAt: "2026-11-21T10:00:00Z", format });
    const error = await assertRejects(() => find(setup, "2026-11-20T09:59:59Z"), ArchiveError);
    assertStringIncludes(error.message, `of database "a/b" at or before 2026-11-20T09:59:59Z in "${setup.store.url}/`);
    assertStringIncludes(error.message, "the oldest was complete at 2026-11-20T10:00:00Z");
    assertStringIncludes(error.hint!, "Give 2026-11-20T10:00:00Z or a later moment");
  }
  await using empty = await TestRepository.open();
  for (const moment of [undefined, "2026-11-20T09:59:59Z"]) {
    await assertRejects(() => find(empty, moment), ArchiveError, 'There is no complete backup of database "a/b" in "');
  }
});

/** A bucket with a backup of each day, of which the last is that of 23 November 2026. */
async function layDays(server: FakeS3, repository: Repository, days: number): Promise<void> {
  await repository.store.replace("pattern", new TextEncoder().encode("x"));
  const pattern = server.objects.get("test-bucket/folder/pattern")!;
  // Laid beside the first one, as so many uploads take their time.
  const lay = (key: string, bytes: Uint8Array) =>
    server.objects.set(`test-bucket/folder/${key}`, { ...pattern, bytes });
  for (let age = 0; age < days; age++) {
    const finishedAt = new Date(Date.parse("2026-11-23T18:00:00Z") - age * 86_400_000);
    const day = finishedAt.toISOString().slice(0, 10);
    const date = parseDate(day)!;
    const manifest = manifestOf({ day, finishedAt: finishedAt.toISOString() });
    const folder = repository.backupFolder({ date, database: DATABASE });
    const name = manifestName(finishedAt, shortRun(manifest.run));
    const entry = entryOfManifest({ database: DATABASE, date, folder, name, manifest, finishedAt });
    lay(`${folder}/${name}`, encodeJson(manifest));
    lay(`${repository.catalogFolder(DATABASE)}/${entryName(entry)}`, new Uint8Array());
  }
}

Deno.test("findRestorePoint() costs three requests of S3 in a repository of 500 days, and one for each month since", async () => {
  const server = await FakeS3.start();
  try {
    const { accessKeyId, secretAccessKey, region } = server.keys;
    const store = new S3Store({
      bucket: "s3://test-bucket/folder",
      region,
      endpoint: server.url,
      accessKeyId,
      secretAccessKey: new Secret(secretAccessKey),
    });
    const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
    await layDays(server, repository, 500);
    const ask = async (now: string, notAfter?: string) => {
      server.requests.length = 0;
      const { date } = await findRestorePoint(repository, DATABASE, {
        log: new RecordedLog(),
        now: () => new Date(now),
        notAfter: notAfter === undefined ? undefined : new Date(notAfter),
      });
      return [formatDate(date), server.requests.length];
    };
    assertEquals(await ask("2026-11-25T12:00:00Z"), ["2026/11/23", 3]);
    assertEquals(await ask("2026-12-24T12:00:00Z"), ["2026/11/23", 4]);
    assertEquals(await ask("2028-01-24T12:00:00Z"), ["2026/11/23", 5], "the years, the year, the month");
    // The next day's folder is looked into: in the first time zones it was that day already.
    assertEquals(await ask("2026-11-25T12:00:00Z", "2026-08-15T19:00:00Z"), ["2026/08/15", 4]);
    assertEquals(await ask("2026-11-25T12:00:00Z", "2026-08-15T09:00:00Z"), ["2026/08/14", 4]);
  } finally {
    await server.close();
  }
});

Deno.test("findRestorePoint() does not take a backup of the future for the latest: it says which moments to choose from", async () => {
  for (const isCatalogued of [true, false]) {
    await using setup = await TestRepository.open();
    await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T18:00:00Z", isCatalogued });
    // Within what clocks differ by it is the latest.
    await setup.put({ day: "2026-11-25", finishedAt: "2026-11-25T20:30:00Z", isCatalogued });
    assertEquals(await found(setup, undefined), ["2026-11-25T20:30:00.000Z"]);
    await setup.put({ day: "2028-01-02", finishedAt: "2028-01-02T18:00:00Z", isCatalogued });
    // What the catalog does not know is looked for until today, where it knows another one.
    const error = await assertRejects(
      () => find(setup),
      UsageError,
      "2028-01-02T18:00:00Z; now is 2026-11-25T20:00:00Z",
    );
    assertStringIncludes(
      error.hint ?? "",
      "2026-11-25T20:00:00Z for the newest until now, 2028-01-02T18:00:00Z for that",
    );
    assertEquals(await found(setup, "2026-11-25T20:00:00Z", "2028-01-02T18:00:00Z"), [
      "2026-11-25T18:00:00.000Z",
      "2028-01-02T18:00:00.000Z",
    ]);
  }
});

Deno.test("findRestorePoint() takes the latest where all are of the future, and says that a clock is wrong", async () => {
  await using setup = await TestRepository.open();
  await setup.put({ day: "2026-11-26", finishedAt: "2026-11-26T18:00:00Z" });
  await setup.put({ day: "2026-11-27", finishedAt: "2026-11-27T18:00:00Z" });
  assertEquals(await found(setup, undefined), ["2026-11-27T18:00:00.000Z"]);
  assertStringIncludes(JSON.stringify(setup.log.lines), "dated in the future");
});
