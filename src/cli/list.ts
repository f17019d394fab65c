/** `couchdb-backup list [databases|backups]`: what there is in CouchDB and in the store. */
import { UsageError } from "../errors.ts";
import type { BackupList, ListedBackup } from "../commands/list.ts";
import type { Size, SizesReport } from "../commands/sizes.ts";
import { formatCount, formatSeconds, formatSize, shortenMiddle } from "../observe/figures.ts";
import { printable } from "../observe/logfmt.ts";
import type { Command } from "./command.ts";
import { shellWord } from "../shell_word.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "list",
  usage: ["[backups | databases] [<config>]"],
  help: [
    "Lists the databases of CouchDB, names encoded as in URLs and paths, or the backups in the store (the default).",
    "A backup is shown with the moment at which it was complete, in UTC. What stands under PATH is that backup and no other",
    "for restore and verify.",
  ],
  flags: [
    { name: "database", value: "NAME", summary: "only backups of this database" },
    { name: "sizes", summary: "what each database and task takes up in the store" },
    { name: "rebuild", summary: "enter complete backups that the catalog lacks, from their manifests" },
  ],
  // A name with a "." or a "/" is no subject: it is the config.
  operands: { least: 0, most: 1, isConfig: (operand) => /[./]|^-$/.test(operand) },
  operandHelp: [
    { name: "backups | databases", summary: "what to list; backups unless given", values: ["backups", "databases"] },
  ],
  exits: { ok: "also where there is none", couchdb: "CouchDB (list databases)", store: "the store" },
  examples: [
    { line: "couchdb-backup list cfg.yaml", summary: "every backup in the store" },
    { line: "couchdb-backup list --database orders cfg.yaml", summary: "those of one database" },
    { line: "couchdb-backup list databases cfg.yaml", summary: "what CouchDB has" },
  ],

  async run(call) {
    const [what = "backups"] = call.operands;
    if (what !== "backups" && what !== "databases") {
      throw new UsageError(`There is no list of "${what}"`, {
        hint: 'It lists databases or backups; a config has a "." or a "/" in its name, or is given by --config',
      });
    }
    return await withSession(call, async (session) => {
      if (what === "databases") {
        const list = await session.listDatabases();
        call.print(list, () => list.databases.map(({ encoded }) => `${encoded}\n`).join(""));
      } else if (call.isOn("sizes")) {
        const sizes = await session.sizes({ database: call.text("database") });
        call.print(sizes, () => describeSizes(sizes));
      } else {
        const list = await session.list({ database: call.text("database"), rebuild: call.isOn("rebuild") });
        call.print(list, () => describeBackups(list));
      }
      return 0;
    });
  },
};

/** A column of the table: its heading, what stands in it, and on which side its values begin. */
interface Column {
  heading: string;
  isNumber?: boolean;
  text: (backup: ListedBackup) => string;
}

/** A task's name, or the reason of a pin, may be as long as its writer likes. */
const TEXT_WIDTH = 24;

const COLUMNS: readonly Column[] = [
  {
    heading: "COMPLETE AT",
    text: ({ date, finished_at }) => finished_at?.replace(/\.\d+Z$/, "Z") ?? `${date} INCOMPLETE`,
  },
  {
    heading: "AGE",
    isNumber: true,
    text: ({ age_seconds }) => age_seconds === null ? "-" : formatSeconds(age_seconds),
  },
  { heading: "KIND", text: ({ kind }) => kind ?? "-" },
  { heading: "TASK", text: ({ task }) => task === null ? "-" : shortenMiddle(task, TEXT_WIDTH) },
  { heading: "DOCUMENTS", isNumber: true, text: ({ documents }) => documents === null ? "-" : formatCount(documents) },
  {
    heading: "SIZE",
    isNumber: true,
    text: ({ compressed_bytes }) => compressed_bytes === null ? "-" : formatSize(compressed_bytes),
  },
  {
    heading: "UNREADABLE",
    isNumber: true,
    text: ({ unreadable }) => unreadable === null ? "-" : formatCount(unreadable),
  },
  {
    heading: "PINNED",
    text: ({ kept, kept_because }) => kept ? shortenMiddle(printable(kept_because ?? "yes"), TEXT_WIDTH) : "-",
  },
  { heading: "DATABASE", text: ({ database }) => database },
  { heading: "PATH", text: ({ restore_path }) => restore_path === null ? "-" : shellWord(restore_path) },
  { heading: "FOLDER", text: ({ path, problem }) => problem === undefined ? path : `${path} (${problem})` },
];

/** The backups as a table; numbers of documents that could not be read, and pins, only where there are such. */
export function describeBackups({ backups, catalog_added }: BackupList): string {
  const added = catalog_added === undefined ? "" : `Entered into the catalog: ${formatCount(catalog_added)}\n`;
  if (backups.length === 0) return `There is no backup\n${added}`;
  const hasUnreadable = backups.some(({ unreadable }) => (unreadable ?? 0) > 0);
  const isPinned = backups.some(({ kept }) => kept);
  const columns = COLUMNS.filter(({ heading }) =>
    heading === "UNREADABLE" ? hasUnreadable : heading !== "PINNED" || isPinned
  );
  const rows = [columns.map(({ heading }) => heading), ...backups.map((one) => columns.map(({ text }) => text(one)))];
  const widths = columns.map((_, index) => rows.reduce((width, row) => Math.max(width, row[index]!.length), 0));
  const lines = rows.map((row) =>
    row.map((text, index) => columns[index]!.isNumber ? text.padStart(widths[index]!) : text.padEnd(widths[index]!))
      .join("  ").trimEnd()
  );
  return `${lines.join("\n")}\n${added}`;
}

/** Sizes as a table, the largest database first. */
export function describeSizes({ databases, tasks, total }: SizesReport): string {
  const row = (name: string, { backups, bytes }: Size, leftover?: number) => [
    name,
    formatCount(backups),
    formatSize(bytes),
    leftover === undefined ? "-" : formatSize(leftover),
  ];
  const rows = [
    ["DATABASE", "BACKUPS", "SIZE", "LEFT OVER"],
    ...databases.toSorted((a, b) => b.bytes - a.bytes).map((one) => row(one.database, one, one.leftover_bytes)),
    ["TASK", "", "", ""],
    ...tasks.map((one) => row(one.task, one)),
    ["ALL", "", "", ""],
    row("", total, total.leftover_bytes),
  ];
  const widths = [0, 1, 2, 3].map((column) => rows.reduce((width, row) => Math.max(width, row[column]!.length), 0));
  return rows.map((row) =>
    row.map((text, column) => column === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[column]!)).join("  ")
      .trimEnd()
  ).join("\n") + "\n";
}
