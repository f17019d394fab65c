import { assertEquals } from "@std/assert";
import { describeBackups } from "../../src/cli/list.ts";
import type { ListedBackup } from "../../src/commands/list.ts";

const BACKUP: ListedBackup = {
  database: "account/ab",
  date: "2026-10-25",
  task: "weekly",
  path: "s3://bucket/2026/10/25/account%2Fab",
  restore_path: "2026-11-25T18:04:11Z/account%2Fab",
  manifest: "manifest-20261125T180411Z-bbbbbbbb.json",
  complete: true,
  kind: "full",
  run: "bbbbbbbb",
  documents: 1_234_567,
  compressed_bytes: 310_456,
  unreadable: 0,
  finished_at: "2026-11-25T18:04:11.500Z",
  age_seconds: 6949,
  kept: false,
  kept_because: null,
};
const UNFINISHED: ListedBackup = {
  ...BACKUP,
  database: "x",
  path: "s3://bucket/2026/10/25/x",
  restore_path: null,
  complete: false,
  task: null,
  kind: null,
  documents: null,
  compressed_bytes: null,
  unreadable: null,
  finished_at: null,
  age_seconds: null,
  problem: "It has no manifest",
};

Deno.test("describeBackups() shows the moment in UTC, as restore takes it, in columns that fit", () => {
  const long = { ...BACKUP, task: "a task whose name is rather long", documents: 7, age_seconds: 90_000 };
  assertEquals(describeBackups({ backups: [BACKUP, long, UNFINISHED] }).split("\n"), [
    "COMPLETE AT              AGE  KIND  TASK                      DOCUMENTS    SIZE  DATABASE    PATH                               FOLDER",
    "2026-11-25T18:04:11Z   1h55m  full  weekly                    1,234,567  310 kB  account/ab  2026-11-25T18:04:11Z/account%2Fab  s3://bucket/2026/10/25/account%2Fab",
    "2026-11-25T18:04:11Z   1d01h  full  a task whose…rather long          7  310 kB  account/ab  2026-11-25T18:04:11Z/account%2Fab  s3://bucket/2026/10/25/account%2Fab",
    "2026-10-25 INCOMPLETE      -  -     -                                 -       -  x           -                                  s3://bucket/2026/10/25/x (It has no manifest)",
    "",
  ]);
});

Deno.test("describeBackups() has a column for unreadable documents where there are some, and says what it entered", () => {
  const text = describeBackups({ backups: [{ ...BACKUP, unreadable: 2 }], catalog_added: 1200 });
  assertEquals(text.split("\n"), [
    "COMPLETE AT             AGE  KIND  TASK    DOCUMENTS    SIZE  UNREADABLE  DATABASE    PATH                               FOLDER",
    "2026-11-25T18:04:11Z  1h55m  full  weekly  1,234,567  310 kB           2  account/ab  2026-11-25T18:04:11Z/account%2Fab  s3://bucket/2026/10/25/account%2Fab",
    "Entered into the catalog: 1,200",
    "",
  ]);
  assertEquals(describeBackups({ backups: [], catalog_added: 0 }), "There is no backup\nEntered into the catalog: 0\n");
});
