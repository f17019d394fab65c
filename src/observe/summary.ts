/**
 * The end of a run for a person: a table of what was saved, then every failure with its cause. Long tables are cut down
 * to their largest rows; failures never are. Pure: takes a report and a width, returns text.
 */
import { styled } from "./style.ts";
import { type DatabaseReport, isSaved, type RunReport, type TaskReport } from "../archive/report.ts";
import type { UnreadableDocument } from "../couchdb/couchdb.ts";
import type { Totals } from "../archive/manifest.ts";
import { counted, formatCount, formatSeconds, formatSize } from "./figures.ts";
import { printable } from "./logfmt.ts";
import { padEnd, shortenMiddle, widthOf, wrap } from "./text_width.ts";

/** How a summary looks. */
export interface SummaryOptions {
  /** The terminal's width; undefined where it is piped, and then nothing is cut. */
  columns?: number | undefined;
  /** @default false */
  color?: boolean;
  /** Each database was told when it was over: only sums are shown. @default false */
  isEachTold?: boolean;
  /** A task's table has at most so many databases. @default 30 */
  maxRows?: number;
}

interface Row extends Totals {
  name: string;
  status: string;
  seconds: number;
}

interface Column {
  title: string;
  cell(row: Row): string;
}

const NARROWEST_NAME = 16;

/** From the most important; on a narrow terminal the last go first. */
const COLUMNS: readonly Column[] = [
  { title: "DOCUMENTS", cell: (row) => formatCount(row.documents) },
  { title: "TIME", cell: (row) => formatSeconds(row.seconds) },
  { title: "STORED", cell: (row) => formatSize(row.compressed_bytes) },
  { title: "SIZE", cell: (row) => formatSize(row.bytes) },
  {
    title: "RATIO",
    cell: (row) => row.compressed_bytes === 0 ? "-" : `${(row.bytes / row.compressed_bytes).toFixed(1)}x`,
  },
  { title: "STATUS", cell: (row) => row.status },
];
/** The order in which the columns stand, from left to right. */
const ORDER = ["STATUS", "DOCUMENTS", "SIZE", "STORED", "RATIO", "TIME"];

/** The closing summary of a run, without a newline at its end. */
export function formatSummary(report: RunReport, options: SummaryOptions = {}): string {
  const lines = report.tasks.flatMap((task) => [
    ...formatTask(task, options),
    ...options.isEachTold === true ? [] : [""],
  ]);
  const databases = report.tasks.flatMap((task) => task.databases);
  const saved = databases.filter(isSaved).length;
  const failed = databases.filter(({ status }) => status === "failed").length;
  const partly = databases.filter((one) => one.status !== "failed" && !isSaved(one)).length;
  const rest = [
    ...partly === 0 ? [] : [`${formatCount(partly)} in part`],
    ...failed === 0 ? [] : [`${formatCount(failed)} failed`],
  ];
  const seconds = (Date.parse(report.finished_at) - Date.parse(report.started_at)) / 1000;
  lines.push(...fit(
    `Saved ${formatCount(saved)} of ${counted(databases.length, "database")}${
      rest.length === 0 ? "" : ` (${rest.join(", ")})`
    } in ${formatSeconds(seconds)}, run ${report.run}`,
    options.columns,
    ["", "  "],
  ));
  const notes = [formatFulls(report, options), formatWarnings(report, options), formatFailures(report, options)];
  return [...lines, ...notes.flat()].join("\n");
}

function formatTask(
  task: TaskReport,
  { columns, color = false, maxRows = 30, isEachTold = false }: SummaryOptions,
): string[] {
  const title = `Task ${printable(task.task)}, ${task.date}`;
  const lines = [color ? styled("bold", title) : title];
  const saved = task.databases.filter((database) => database.status !== "failed");
  if (isEachTold && saved.length > 0) {
    const { documents, bytes, compressed_bytes } = sumRows("", saved);
    const sizes = `${formatSize(bytes)}, stored as ${formatSize(compressed_bytes)}`;
    const some = saved.length === task.databases.length ? "" : `${formatCount(saved.length)} of `;
    const databases = `${some}${counted(task.databases.length, "database")}`;
    return fit(`${lines[0]}: ${databases}, ${counted(documents, "document")}, ${sizes}`, columns, ["", "  "]);
  }
  if (saved.length === 0) return [...lines, "  nothing saved"];
  const shown = chooseRows(saved, maxRows);
  const rows = shown.map(toRow);
  if (shown.length < saved.length) {
    const others = saved.filter((database) => !shown.includes(database));
    rows.push(sumRows(`${formatCount(others.length)} smaller`, others));
  }
  rows.push(sumRows("Total", saved));
  return [...lines, ...formatTable(rows, columns)];
}

/** The largest databases, in the order in which they were saved. */
function chooseRows(databases: readonly DatabaseReport[], maxRows: number): DatabaseReport[] {
  if (databases.length <= maxRows) return [...databases];
  const largest = new Set(
    databases.toSorted((a, b) => b.compressed_bytes - a.compressed_bytes).slice(0, maxRows),
  );
  return databases.filter((database) => largest.has(database));
}

function toRow(database: DatabaseReport): Row {
  const { database: name, status, kind, unchanged } = database;
  const isSaved = status === "complete" || status === "resumed";
  const how = unchanged === true ? "unchanged" : kind === "incremental" && isSaved ? "incremental" : status;
  return { ...database, name: printable(name), status: how };
}

function sumRows(name: string, databases: readonly DatabaseReport[]): Row {
  const row: Row = {
    name,
    status: "",
    documents: 0,
    leaf_revisions: 0,
    deleted: 0,
    absent: 0,
    chunks: 0,
    bytes: 0,
    compressed_bytes: 0,
    seconds: 0,
  };
  for (const database of databases) {
    row.documents += database.documents;
    row.bytes += database.bytes;
    row.compressed_bytes += database.compressed_bytes;
    row.seconds += database.seconds;
  }
  return row;
}

function formatTable(rows: readonly Row[], columns: number | undefined): string[] {
  const columnWidth = ({ title, cell }: Column) => Math.max(title.length, ...rows.map((row) => cell(row).length));
  const longestName = Math.max("DATABASE".length, ...rows.map((row) => widthOf(row.name)));
  const chosen: { column: Column; width: number }[] = [];
  let nameWidth = columns === undefined ? longestName : columns - 2;
  for (const column of COLUMNS) {
    const width = columnWidth(column);
    if (columns !== undefined) {
      if (nameWidth - width - 2 < Math.min(longestName, NARROWEST_NAME)) break;
      nameWidth -= width + 2;
    }
    chosen.push({ column, width });
  }
  nameWidth = Math.max(1, Math.min(nameWidth, longestName));
  chosen.sort((a, b) => ORDER.indexOf(a.column.title) - ORDER.indexOf(b.column.title));
  const line = (name: string, text: (column: Column) => string) => {
    // Numbers stand under each other by their ends, words by their beginnings.
    const cells = chosen.map(({ column, width }) =>
      column.title === "STATUS" ? text(column).padEnd(width) : text(column).padStart(width)
    );
    return ["  " + padEnd(shortenMiddle(name, nameWidth), nameWidth), ...cells].join("  ").trimEnd();
  };
  return [
    line("DATABASE", (column) => column.title),
    ...rows.map((row) => line(row.name, (column) => column.cell(row))),
  ];
}

/** How many databases that were saved in full again are named for each reason; the report names all. */
const NAMED_FULLS = 3;

/** Of incremental tasks what had to be saved in full, and why. */
function formatFulls({ tasks }: RunReport, { columns }: SummaryOptions): string[] {
  const byReason = new Map<string, string[]>();
  for (const { database, full_because: reason } of tasks.flatMap(({ databases }) => databases)) {
    if (reason !== undefined) byReason.set(reason, [...byReason.get(reason) ?? [], printable(database)]);
  }
  return [...byReason].flatMap(([reason, databases]) => {
    const named = databases.slice(0, NAMED_FULLS).join(", ");
    const more = databases.length > NAMED_FULLS ? ` and ${formatCount(databases.length - NAMED_FULLS)} more` : "";
    return fit(`Full backup of ${named}${more}: ${printable(reason)}`, columns, ["", "  "]);
  });
}

/** Of a database so many documents that could not be read are named; the report names all. */
const NAMED_DOCUMENTS = 5;

/** What is saved and yet needs a look: what was not readable, what has shrunk, what is not there any more. */
function formatWarnings(report: RunReport, { color = false, columns }: SummaryOptions): string[] {
  const lines: string[] = [];
  for (const task of report.tasks) {
    for (const warning of task.warnings ?? []) lines.push(`task ${printable(task.task)}: ${printable(warning)}`);
    for (const { database, unreadable = [], warnings = [] } of task.databases) {
      for (const line of describeUnreadable(unreadable)) lines.push(`${printable(database)}: ${printable(line)}`);
      for (const warning of warnings) lines.push(`${printable(database)}: ${printable(warning)}`);
    }
    const { retry_at, given_up } = task;
    if (retry_at !== undefined) lines.push(`task ${printable(task.task)}: what failed is retried at ${retry_at}`);
    if (given_up !== undefined) {
      lines.push(`task ${printable(task.task)}: it is not tried again, as the elapse of ${given_up} has come`);
    }
  }
  if (lines.length === 0) return [];
  const title = "Needs a look:";
  return ["", color ? styled(["bold", "yellow"], title) : title, ...lines.flatMap((line) => fit(line, columns))];
}

/** Documents that are missing, and such as are there without one of their leaf revisions. */
function* describeUnreadable(unreadable: readonly UnreadableDocument[]): Generator<string> {
  const { whole = [], inPart = [] } = Object.groupBy(
    unreadable,
    ({ error }) => error === "missing_revision" ? "inPart" : "whole",
  );
  if (whole.length > 0) yield `${describeLacking(whole, "document")}: ${namesOf(whole)}`;
  if (inPart.length > 0) yield `${describeLacking(inPart, "leaf revision")}, of ${namesOf(inPart)}`;
}

function describeLacking(unreadable: readonly UnreadableDocument[], what: string): string {
  const which = unreadable.length === 1 ? "which is" : "which are";
  return `CouchDB could not read ${counted(unreadable.length, what)}, ${which} not in the backup`;
}

function namesOf(unreadable: readonly UnreadableDocument[]): string {
  const ids = [...new Set(unreadable.map(({ id }) => id))];
  const names = ids.slice(0, NAMED_DOCUMENTS).map((id) => JSON.stringify(id)).join(", ");
  return ids.length > NAMED_DOCUMENTS ? `${names} and more` : names;
}

function formatFailures(report: RunReport, { color = false, columns }: SummaryOptions): string[] {
  // One cause can fail a thousand databases: it is said once, and what to do about it.
  const failures = new Map<string, { names: string[]; hint: string | undefined }>();
  const add = (name: string, error: string, hint: string | undefined) => {
    const known = failures.get(error);
    if (known === undefined) failures.set(error, { names: [name], hint });
    else known.names.push(name);
  };
  let count = 0;
  for (const task of report.tasks) {
    const failed = task.databases.filter(({ status }) => status === "failed");
    if (task.error !== undefined) add(`task ${task.task}`, task.error, task.hint);
    for (const { database, error, hint } of failed) add(database, error ?? "unknown cause", hint);
    count += failed.length + (task.error === undefined ? 0 : 1);
  }
  if (count === 0) return [];
  const title = `Failed: ${formatCount(count)}`;
  const lines = ["", color ? styled(["bold", "red"], title) : title];
  const hints = new Set<string>();
  for (const [error, { names, hint }] of failures) {
    for (const line of fit(`${names.map(printable).join(", ")}: ${printable(error)}`, columns)) lines.push(line);
    if (hint === undefined || hints.has(hint)) continue;
    hints.add(hint);
    lines.push(`    ${printable(hint)}`);
  }
  return lines;
}

/** A line of the summary as lines that fit; where it is piped it stays one. */
function fit(line: string, columns: number | undefined, indents: [string, string] = ["  ", "    "]): string[] {
  return columns === undefined ? [indents[0] + line] : wrap(line, columns - 1, indents);
}
