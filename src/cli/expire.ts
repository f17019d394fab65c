/** `couchdb-backup expire [<config>]`: deletes the backups that no rule of their task keeps, or says which it would. */
import type { ExpiredBackup, ExpireReport, KeptBy } from "../commands/expire/report.ts";
import { EXIT } from "../errors.ts";
import { counted, formatCount, formatInstant, formatSize } from "../observe/figures.ts";
import type { Command } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "expire",
  usage: ["[<config>]"],
  help: [
    "Says which complete backups the retention of their task does not keep, and what else is not needed; with --confirm it",
    "deletes that. It is the only command that deletes backups, and needs neither CouchDB nor its password.",
    "",
    "At the end it counts the backups that stay, by reason; --show-kept shows each with its reasons.",
    "",
    "Whatever the rules say, it keeps the newest intact backup of each database, what other backups need, what is pinned",
    "(keep), locked or younger than a day, and all backups of a database that has a damaged manifest.",
  ],
  flags: [
    {
      name: "task",
      value: "NAME",
      repeated: true,
      summary: "only backups of this task",
      default: "all tasks that have a retention",
    },
    { name: "database", value: "NAME", summary: "only backups of this database" },
    { name: "show-kept", summary: "also show what stays, with the reasons" },
    { name: "confirm", summary: "delete; without it nothing is deleted" },
  ],
  operands: { least: 0, most: 0 },
  exits: {
    ok: "everything is deleted, or would be",
    partial: "something could not or must not be deleted; it is named",
    store: "the store",
  },
  examples: [
    { line: "couchdb-backup expire cfg.yaml", summary: "what would be deleted, and why" },
    { line: "couchdb-backup expire --task weekly --show-kept cfg.yaml", summary: "and what stays, and why" },
    { line: "couchdb-backup expire --confirm cfg.yaml", summary: "delete it" },
  ],

  async run(call) {
    return await withSession(call, async (session) => {
      const report = await session.expire({
        tasks: call.listIfGiven("task"),
        database: call.text("database"),
        showKept: call.isOn("show-kept"),
        confirm: call.isOn("confirm"),
      });
      call.print(report, () => describeExpiry(report), { isProse: true });
      return report.ok ? EXIT.ok : EXIT.partial;
    });
  },
};

/** The report for people. */
export function describeExpiry(report: ExpireReport): string {
  const { confirmed, expired, expired_bytes, kept, kept_by, kept_backups = [], leftovers, runs, problems } = report;
  const databases = new Set(expired.map(({ database }) => database)).size;
  const sum = `${confirmed ? "Deleted" : "Would delete"} ${counted(expired.length, "backup")} of ${
    counted(databases, "database")
  } (${formatSize(expired_bytes)}), ${counted(leftovers.objects, "left-over object")} (${
    formatSize(leftovers.bytes)
  }) and ${counted(runs, "old run")}; ${counted(kept, "backup")} ${kept === 1 ? "stays" : "stay"}`;
  return [
    ...expired.map((one) => describeBackup(confirmed ? "deleted" : "expires", one)),
    ...kept_backups.map((one) => describeBackup("stays", one)),
    ...problems.map(({ database, problem }) => `problem: ${database === null ? "" : `${database}: `}${problem}`),
    sum,
    ...kept === 0 ? [] : [`Kept because: ${describeKept(kept_by)}`],
    ...confirmed ? [] : ["Nothing was deleted: run it with --confirm to delete"],
    "",
  ].join("\n");
}

/** In the words of --show-kept. Its order is the one in which people are told. */
const KEPT_BY: Record<KeptBy, string> = {
  newest: "the newest of its database",
  younger_than_a_day: "younger than a day",
  needed: "needed by another backup",
  pinned: "pinned",
  locked: "locked",
  grace: "grace",
  no_retention: "no retention for its task",
  future: "dated in the future",
  incomplete: "incomplete, but no later one is intact",
  damaged: "a manifest of its database is damaged",
  not_deleted: "could not be deleted",
  keep_last: "keep_last",
  keep_within: "keep_within",
  keep_daily: "keep_daily",
  keep_weekly: "keep_weekly",
  keep_monthly: "keep_monthly",
  keep_yearly: "keep_yearly",
};

/** `younger than a day (3), grace (2)`: one that several things keep counts for each of them. */
function describeKept(counts: ExpireReport["kept_by"]): string {
  const names = Object.keys(KEPT_BY) as KeptBy[];
  return names.flatMap((name) => counts[name] === undefined ? [] : `${KEPT_BY[name]} (${formatCount(counts[name])})`)
    .join(", ");
}

function describeBackup(
  fate: string,
  { database, task, finished_at, compressed_bytes, reasons }: ExpiredBackup,
): string {
  const moment = formatInstant(finished_at);
  return `${fate}  ${moment}  ${database}  task ${task}  ${formatSize(compressed_bytes)}  ${reasons.join("; ")}`;
}
