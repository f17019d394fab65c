/** `couchdb-backup list [databases|backups]`: what there is in CouchDB and in the store. */
import { EXIT, UsageError } from "../errors.ts";
import type { Repository } from "../archive/repository.ts";
import type { BackupList, ListedBackup } from "../commands/list.ts";
import type { Size, SizesReport } from "../commands/sizes.ts";
import { commandLine } from "../command_line.ts";
import { counted, formatCount, formatInstant, formatSeconds, formatSize } from "../observe/figures.ts";
import { printable } from "../observe/logfmt.ts";
import { nearest } from "../nearest.ts";
import { shortenMiddle } from "../observe/text_width.ts";
import { shellWord } from "../shell_word.ts";
import type { Command } from "./command.ts";
import { readMoment } from "./flag_values.ts";
import { withSession } from "./session.ts";
import { type Column, fitTable } from "./table.ts";

const SUBJECTS = ["backups", "databases"];

/** What was meant by a word that is none of the subjects: one of them, a database, or the config. */
function hintForSubject(word: string): string {
  const near = nearest(word, SUBJECTS);
  if (near !== undefined) return `Did you mean "${near}"?`;
  return `"${commandLine("list", ["--database", word])}" lists the backups of that database; a config needs a "." or ` +
    'a "/" in its name, or --config before it';
}

export const command: Command = {
  name: "list",
  usage: ["[backups | databases] [<config>]"],
  help: [
    "Lists the databases of CouchDB, names encoded as in URLs and paths, or the backups in the store (the default).",
    "A backup is shown with the moment at which it was complete, in UTC. restore and verify take the value under PATH",
    "for exactly that backup.",
  ],
  flags: [
    { name: "database", value: "NAME", summary: "only backups of this database", default: "all" },
    {
      name: "match",
      value: "PATTERN",
      repeated: true,
      summary: "only databases, or backups of databases, whose whole name matches",
      default: "all",
    },
    {
      name: "since",
      value: "WHEN",
      summary:
        "only backups that were complete then or later: a date (2026-10-22, in UTC) or a moment (2026-10-22T18:05Z)",
    },
    { name: "until", value: "WHEN", summary: "only backups that were complete then, on that day or before" },
    { name: "sizes", summary: "show how much space each database and task takes in the store" },
    {
      name: "locks",
      summary: "show until when each backup is locked in the store (Object Lock); one request per backup",
    },
    { name: "rebuild", summary: "add complete backups that are missing in the catalog, from their manifests" },
  ],
  // A name with a "." or a "/" is no subject: it is the config.
  operands: { least: 0, most: 1, isConfig: (operand) => /[./]|^-$/.test(operand) },
  operandHelp: [
    { name: "backups | databases", summary: "what to list; backups by default", values: SUBJECTS },
  ],
  exits: { ok: "also if there are none", couchdb: "CouchDB (list databases)", store: "the store" },
  examples: [
    { line: "couchdb-backup list cfg.yaml", summary: "every backup in the store" },
    {
      line: "couchdb-backup list --match 'or.*' --since 2026-10-01 cfg.yaml",
      summary: "those of some databases, since a day",
    },
    { line: "couchdb-backup list databases cfg.yaml", summary: "what CouchDB has" },
  ],

  async run(call) {
    const [what = "backups"] = call.operands;
    if (what !== "backups" && what !== "databases") {
      throw new UsageError(`"list" cannot list "${what}"`, {
        hint: hintForSubject(what),
      });
    }
    const filter = { match: call.listIfGiven("match") };
    const request = {
      ...filter,
      database: call.text("database"),
      since: readMoment(call, "since", "T00:00Z"),
      until: readMoment(call, "until", "T23:59:59.999Z"),
      rebuild: call.isOn("rebuild"),
      locks: call.isOn("locks"),
    };
    if (request.since !== undefined && request.until !== undefined && request.since > request.until) {
      throw new UsageError("--since must not be later than --until");
    }
    const own = what === "databases" ? ["match"] : call.isOn("sizes") ? ["database", "sizes"] : undefined;
    const stray = FILTERS.find((name) => own?.includes(name) === false && call.isGiven(name));
    if (stray !== undefined) {
      throw new UsageError(`--${stray} does not go with ${what === "databases" ? '"list databases"' : "--sizes"}`);
    }
    return await withSession(call, async (session) => {
      if (what === "databases") {
        const list = await session.listDatabases(filter);
        call.print(list, () => list.databases.map(({ encoded }) => `${encoded}\n`).join(""));
      } else if (call.isOn("sizes")) {
        const sizes = await session.sizes({ database: request.database });
        call.print(sizes, () => describeSizes(sizes));
      } else {
        const list = await session.list(request);
        const { stdout } = call.shell;
        const filters = CHOOSING.filter((name) => call.isGiven(name));
        const columns = stdout.isTerminal ? stdout.columns() : undefined;
        call.print(list, () => describeBackups(list, { columns, filters, repository: session.repository }));
      }
      return EXIT.ok;
    });
  },
};

/** Flags that say something of backups, or of names. */
const FILTERS = ["database", "match", "since", "until", "sizes", "locks", "rebuild"] as const;

/** Flags that keep backups out of the list. */
const CHOOSING = ["match", "since", "until"] as const;

/** A task's name, or the reason of a pin, may be as long as its writer likes. */
const TEXT_WIDTH = 24;

const COLUMNS: readonly Column<ListedBackup>[] = [
  {
    heading: "COMPLETE AT",
    text: ({ date, finished_at }) => finished_at === null ? `${date} INCOMPLETE` : formatInstant(finished_at),
  },
  {
    heading: "AGE",
    isNumber: true,
    rank: 6,
    text: ({ age_seconds }) => age_seconds === null ? "-" : formatSeconds(age_seconds),
  },
  { heading: "KIND", rank: 7, text: ({ kind }) => kind ?? "-" },
  { heading: "TASK", rank: 8, text: ({ task }) => task === null ? "-" : shortenMiddle(printable(task), TEXT_WIDTH) },
  {
    heading: "DOCUMENTS",
    isNumber: true,
    rank: 5,
    text: ({ documents }) => documents === null ? "-" : formatCount(documents),
  },
  {
    heading: "SIZE",
    isNumber: true,
    text: ({ compressed_bytes }) => compressed_bytes === null ? "-" : formatSize(compressed_bytes),
  },
  {
    heading: "UNREADABLE",
    isNumber: true,
    rank: 3,
    text: ({ unreadable }) => unreadable === null ? "-" : formatCount(unreadable),
  },
  {
    heading: "PINNED",
    rank: 4,
    text: ({ kept, kept_because }) => kept ? shortenMiddle(printable(kept_because ?? "yes"), TEXT_WIDTH) : "-",
  },
  {
    heading: "LOCKED",
    rank: 4,
    text: ({ hold }) => hold?.replace(/^locked until (.*)\.\d+Z$/, "until $1Z") ?? "-",
  },
  { heading: "FOUND DAMAGED", rank: 2, text: ({ found_damaged_at }) => found_damaged_at?.slice(0, 10) ?? "-" },
  { heading: "DATABASE", canBeCut: true, text: ({ database }) => printable(database) },
  { heading: "PATH", rank: 9, text: ({ restore_path }) => restore_path === null ? "-" : shellWord(restore_path) },
  { heading: "FOLDER", rank: 10, text: ({ path, problem }) => problem === undefined ? path : `${path} (${problem})` },
];

/**
 * The backups as a table and their sums; numbers of documents that could not be read, pins, and what was found
 * damaged only where there are such, locks where they were asked for.
 *
 * @param options `columns`: those of the terminal. `filters`: flags that have kept some out, maybe all of them: whoever
 * reads that there is none must not be frightened. `repository`: where there are none, if that is to be told.
 */
export function describeBackups(
  { backups, catalog_added }: BackupList,
  { columns, filters = [], repository }: {
    columns?: number | undefined;
    filters?: readonly string[];
    repository?: Repository;
  } = {},
): string {
  const added = catalog_added === undefined ? [] : [`Added to the catalog: ${formatCount(catalog_added)}`];
  if (backups.length === 0) {
    const asked = filters.map((name) => `--${name}`).join(" and ");
    const nothing = asked !== ""
      ? [`No backup matches ${asked}; there may be others`]
      : ["There are no backups", ...repository === undefined ? [] : [describeSearched(repository)]];
    return [...nothing, ...added, ""].join("\n");
  }
  const hasUnreadable = backups.some(({ unreadable }) => (unreadable ?? 0) > 0);
  const isPinned = backups.some(({ kept }) => kept);
  // Locks were asked for, so it is shown that there are none.
  const hasLocks = backups.some(({ hold }) => hold !== undefined);
  const isDamaged = backups.some(wasFoundDamaged);
  const isShown = new Map([
    ["UNREADABLE", hasUnreadable],
    ["PINNED", isPinned],
    ["LOCKED", hasLocks],
    ["FOUND DAMAGED", isDamaged],
  ]);
  const shown = COLUMNS.filter(({ heading }) => isShown.get(heading) ?? true);
  const { head, rows, leftOut } = fitTable(shown, backups, columns);
  // What stands in a column where there is room for it.
  const problemsOf = ({ problem, unreadable, found_damaged_at: at }: ListedBackup) => [
    ...problem === undefined || !leftOut.includes("FOLDER") ? [] : [`  ${problem}`],
    ...(unreadable ?? 0) === 0 || !leftOut.includes("UNREADABLE")
      ? []
      : [`  CouchDB could not read ${counted(unreadable!, "document")}`],
    ...at === null || !leftOut.includes("FOUND DAMAGED") ? [] : [`  It was found damaged at ${formatInstant(at)}`],
  ];
  return [
    head,
    ...rows.flatMap((row, index) => [row, ...problemsOf(backups[index]!)]),
    describeSums(backups),
    ...leftOut.length === 0 ? [] : [`No room in ${columns} columns for ${leftOut.join(", ")}`],
    ...leftOut.includes("PATH") ? describeRestore(backups) : [],
    ...added,
    "",
  ].join("\n");
}

/** Where backups would lie: of a wrong prefix nothing else tells. */
function describeSearched({ store, prefix, suffix }: Repository): string {
  const place = [prefix, "YYYY/MM/DD", suffix, "<database>"].filter((part) => part !== "").join("/");
  return `  Looked for in "${store.url}" as ${place}: correct bucket, prefix or suffix if there should be some`;
}

/** `3 backups of 2 databases, 45 MB; 1 incomplete; 1 found damaged`. */
function describeSums(backups: readonly ListedBackup[]): string {
  const complete = backups.filter((one) => one.complete);
  const databases = new Set(complete.map(({ database }) => database)).size;
  const bytes = complete.reduce((sum, { compressed_bytes }) => sum + (compressed_bytes ?? 0), 0);
  const numbers = [
    [backups.length - complete.length, "incomplete"],
    [backups.filter(wasFoundDamaged).length, "found damaged"],
  ] as const;
  const rest = numbers.flatMap(([number, what]) => number === 0 ? [] : `; ${formatCount(number)} ${what}`);
  return [counted(complete.length, "backup"), ` of ${counted(databases, "database")}, ${formatSize(bytes)}`, ...rest]
    .join("");
}

function wasFoundDamaged({ found_damaged_at }: ListedBackup): boolean {
  return found_damaged_at !== null;
}

/** What PATH would have said, of the newest. */
function describeRestore(backups: readonly ListedBackup[]): string[] {
  const one = backups.find(({ restore_path }) => restore_path !== null);
  if (one === undefined) return [];
  const { database, restore_path } = one;
  return [`A backup is restored by its moment: ${commandLine("restore", [database, restore_path!])}`];
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
    ...databases.toSorted((a, b) => b.bytes - a.bytes).map((one) =>
      row(printable(one.database), one, one.leftover_bytes)
    ),
    ["TASK", "", "", ""],
    ...tasks.map((one) => row(printable(one.task), one)),
    ["ALL", "", "", ""],
    row("", total, total.leftover_bytes),
  ];
  const columns = ["DATABASE", "BACKUPS", "SIZE", "LEFT OVER"].map((heading, column) => ({
    heading,
    isNumber: column > 0,
    text: (row: readonly string[]) => row[column]!,
  }));
  const { head, rows: lines } = fitTable(columns, rows);
  return [head, ...lines, ""].join("\n");
}
