import { assert, assertEquals } from "@std/assert";
import { main } from "../../src/cli/cli.ts";
import { describeBackups, describeSizes } from "../../src/cli/list.ts";
import type { ListedBackup } from "../../src/commands/list.ts";
import { printableLines } from "../../src/observe/logfmt.ts";
import { widthOf } from "../../src/observe/text_width.ts";
import { TestRepository } from "../archive/repository_setup.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";

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
  found_damaged_at: null,
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

const KAZOO = { ...BACKUP, database: `account/ab/cd/${"0123456789abcdef".repeat(2).slice(4)}-202610`, documents: 7 };

Deno.test("describeBackups() shows the moment in UTC, as restore takes it, all columns where it is piped, and sums", () => {
  const long = { ...BACKUP, task: "a task whose name is rather long", documents: 7, age_seconds: 90_000 };
  assertEquals(describeBackups({ backups: [BACKUP, long, UNFINISHED] }).split("\n"), [
    "COMPLETE AT              AGE  KIND  TASK                      DOCUMENTS    SIZE  DATABASE    PATH                               FOLDER",
    "2026-11-25T18:04:11Z   1h55m  full  weekly                    1,234,567  310 kB  account/ab  2026-11-25T18:04:11Z/account%2Fab  s3://bucket/2026/10/25/account%2Fab",
    "2026-11-25T18:04:11Z   1d01h  full  a task whose…rather long          7  310 kB  account/ab  2026-11-25T18:04:11Z/account%2Fab  s3://bucket/2026/10/25/account%2Fab",
    "2026-10-25 INCOMPLETE      -  -     -                                 -       -  x           -                                  s3://bucket/2026/10/25/x (It has no manifest)",
    "2 backups of 1 database, 621 kB; 1 incomplete",
    "",
  ]);
});

Deno.test("describeBackups() has a column for unreadable documents where there are some, and says what it entered", () => {
  const text = describeBackups({ backups: [{ ...BACKUP, unreadable: 2 }], catalog_added: 1200 });
  assertEquals(text.split("\n"), [
    "COMPLETE AT             AGE  KIND  TASK    DOCUMENTS    SIZE  UNREADABLE  DATABASE    PATH                               FOLDER",
    "2026-11-25T18:04:11Z  1h55m  full  weekly  1,234,567  310 kB           2  account/ab  2026-11-25T18:04:11Z/account%2Fab  s3://bucket/2026/10/25/account%2Fab",
    "1 backup of 1 database, 310 kB",
    "Added to the catalog: 1,200",
    "",
  ]);
  assertEquals(describeBackups({ backups: [], catalog_added: 0 }), "There are no backups\nAdded to the catalog: 0\n");
});

Deno.test("describeBackups() fits 80 columns: what can be told from the rest goes first, the name of a database last", () => {
  assertEquals(describeBackups({ backups: [BACKUP, UNFINISHED] }, { columns: 80 }).split("\n"), [
    "COMPLETE AT              AGE  KIND  TASK    DOCUMENTS    SIZE  DATABASE",
    "2026-11-25T18:04:11Z   1h55m  full  weekly  1,234,567  310 kB  account/ab",
    "2026-10-25 INCOMPLETE      -  -     -               -       -  x",
    "  It has no manifest",
    "1 backup of 1 database, 310 kB; 1 incomplete",
    "No room in 80 columns for PATH, FOLDER",
    "A backup is restored by its moment: couchdb-backup restore account/ab 2026-11-25T18:04:11Z/account%2Fab",
    "",
  ]);
  assertEquals(describeBackups({ backups: [KAZOO] }, { columns: 80 }).split("\n").slice(0, 4), [
    "COMPLETE AT             SIZE  DATABASE",
    `2026-11-25T18:04:11Z  310 kB  ${KAZOO.database}`,
    "1 backup of 1 database, 310 kB",
    "No room in 80 columns for AGE, KIND, TASK, DOCUMENTS, PATH, FOLDER",
  ]);
});

Deno.test("describeBackups() keeps its columns below each other whatever tasks are called, and no name moves the cursor", () => {
  const strange = { ...BACKUP, task: "週次バックアップ", database: "x\u001b[31m\ny" };
  for (const columns of [80, 100, 120, undefined]) {
    const lines = describeBackups({ backups: [BACKUP, strange, KAZOO] }, { columns }).split("\n").slice(0, 4);
    assertEquals(lines.some((line) => line.includes("\u001b") || line.startsWith("y")), false);
    if (columns !== undefined) { for (const line of lines) assert(widthOf(line) <= columns, `${columns}: ${line}`); }
    const at = lines.map((line) => widthOf(line.slice(0, line.search(/DATABASE|account\/ab|x\\u001b/))));
    assertEquals(new Set(at).size, 1, lines.join("\n"));
  }
});

Deno.test("list takes patterns, days and moments, and refuses what it cannot read", async () => {
  await using setup = await TestRepository.open();
  for (const [day, database] of [["2026-11-01", "a/b"], ["2026-11-02", "a/b"], ["2026-11-02", "large"]] as const) {
    await setup.put({ day, finishedAt: `${day}T10:00:00Z`, chunks: [0], database });
  }
  const folder = await Deno.makeTempDir();
  try {
    const config = `${folder}/cfg.yaml`;
    const { prefix, suffix } = setup.repository;
    const place = `bucket: "${setup.root}"\nprefix: "${prefix}"\nsuffix: "${suffix}"\n`;
    await Deno.writeTextFile(config, `database: {url: "http://h"}\ntask: {t: {databases: [x]}}\n${place}`);
    const list = async (...words: string[]) => {
      const shell = new QuietShell({ XDG_STATE_HOME: folder });
      const code = await main(["list", "--config", config, "--json", ...words], shell);
      const { backups, error } = JSON.parse(shell.out);
      return error?.message ?? [code, ...backups.map((one: ListedBackup) => `${one.date} ${one.database}`)];
    };
    const first = "2026-11-01 a/b";
    const second = ["2026-11-02 a/b", "2026-11-02 large"];
    assertEquals(await list(), [0, ...second, first]);
    assertEquals(await list("--match", "a%2F.*"), [0, second[0], first]);
    assertEquals(await list("--match", "x", "--match", "lar.*"), [0, second[1]]);
    assertEquals(await list("--since", "2026-11-02"), [0, ...second]);
    assertEquals(await list("--until", "2026/11/01"), [0, first]);
    assertEquals(await list("--since", "2026-11-01T10:00Z", "--until", "2026-11-01T10:00:00Z"), [0, first]);
    assertEquals(await list("--since", "2026-11-01T10:00:01+00:00", "--until", "2026-11-02T09:59Z"), [0]);
    assertEquals(await list("--since", "yesterday"), '--since "yesterday" is neither a date nor a moment');
    assertEquals(await list("--until", "2026-13-01"), '--until "2026-13-01" is neither a date nor a moment');
    assertEquals(
      await list("--since", "2026-11-02", "--until", "2026-11-01"),
      "--since must not be later than --until",
    );
    assertEquals(await list("--sizes", "--since", "2026-11-01"), "--since does not go with --sizes");
    assertEquals(await list("databases", "--sizes"), '--sizes does not go with "list databases"');
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("no name of a folder and no error moves a terminal's cursor, whichever command prints it", async () => {
  await using setup = await TestRepository.open();
  const name = "x\u001b]0;gone\u0007\u009b2Jy";
  await setup.put({ day: "2026-11-01", finishedAt: "2026-11-01T10:00:00Z", database: name, task: "t\u001b[2J" });
  const folder = await Deno.makeTempDir();
  try {
    const config = `${folder}/cfg.yaml`;
    const { prefix, suffix } = setup.repository;
    const place = `bucket: "${setup.root}"\nprefix: "${prefix}"\nsuffix: "${suffix}"\n`;
    const task = '"t\\e[2J": {databases: [x], retention: {keep_last: 1}}';
    await Deno.writeTextFile(config, `database: {url: "http://h"}\ntask: {${task}}\n${place}`);
    const calls = [
      ["list"],
      ["list", "--sizes"],
      ["status"],
      ["expire", "--show-kept"],
      ["verify", "--all"],
      ["verify", name, "latest"],
      ["find", name, "--id", "x"],
      ["keep", name, "latest"],
      ["report"],
      ["plan", "--offline"],
      ["show", name, "latest", "--id", "\u001b[2J"],
      ["restore", name, "none", "--dry-run"],
    ];
    for (const words of calls) {
      const shell = new QuietShell({ XDG_STATE_HOME: folder });
      await main([...words, "--config", config], shell);
      assertEquals(shell.printed, printableLines(shell.printed), words[0]);
      assert(shell.printed !== "", words[0]);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("describeBackups() does not say that there is no backup where flags have kept some out", () => {
  assertEquals(describeBackups({ backups: [] }), "There are no backups\n");
  assertEquals(
    describeBackups({ backups: [] }, { columns: 80, filters: ["match", "until"] }),
    "No backup matches --match and --until; there may be others\n",
  );
});

Deno.test("describeSizes() keeps a row in its line, whatever the folder or task is called", () => {
  const size = { backups: 1, bytes: 1, leftover_bytes: 0 };
  const text = describeSizes({
    databases: [{ ...size, database: "x\ny\x1b[2J" }],
    tasks: [{ ...size, task: "t\x1b[31m" }],
    total: size,
  });
  assertEquals(text.split("\n").length, 7);
  assertEquals(text.includes("\x1b"), false);
});
