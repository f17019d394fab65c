/** `couchdb-backup restore <db> <path>`: brings a backup back. */
import { counted, formatCount, formatSeconds } from "../observe/figures.ts";
import { describeRevision, describeUnreadable } from "./unreadable.ts";
import { exitCodeOfRestore, type RestoreReport } from "../commands/restore/report.ts";
import { commandLine } from "../command_line.ts";
import type { Command } from "./command.ts";
import { withSession } from "./session.ts";

/** More failed revisions than these are counted in the text; `--json` and the log have them all. */
const SHOWN_FAILURES = 20;

export const command: Command = {
  name: "restore",
  usage: "<db> <path> [<config>] [--into-existing] [--salvage] [--dry-run] [--no-views]",
  help: [
    "Restores a backup into database <db>: every leaf revision, with its history and attachments.",
    "",
    "<path> is latest, a moment (2026-11-25T18:05Z: the newest that was complete then), a date (2026-10-22), an s3:// or",
    "file:// URL, a local folder or chunk file, or a key below the bucket folder. The backup is that of the path's last",
    "folder, or else of the database of the same name; latest/orders or 2026-11-25T18:05Z/orders names another one.",
    "Exit codes: 0 all restored, 3 CouchDB refused some documents or could not read them when the backup was made (they",
    "are listed), 10 CouchDB, 11 store, 12 the archive is damaged or incomplete.",
  ],
  flags: [
    { name: "into-existing", summary: "write into a database that holds documents: both sets of revisions are kept" },
    { name: "salvage", summary: "restore what is whole of a damaged or incomplete archive" },
    { name: "dry-run", summary: "say what would be restored, and write nothing" },
    { name: "no-views", summary: "do not have the views built afterwards" },
  ],
  operands: { least: 2, most: 2 },

  afterInterruption(call, { startedAt }) {
    if (call.isOn("dry-run")) return "Nothing was written";
    const [database = "", path = ""] = call.operands;
    // Meanwhile another backup may be complete, and be the latest.
    const moment = startedAt.toISOString().replace(/\.\d+Z$/, "Z");
    const words = [database, path.replace(/^latest(?=$|\/)/, moment), "--into-existing"];
    if (call.isOn("salvage")) words.push("--salvage");
    if (call.isOn("no-views")) words.push("--no-views");
    return `What is written so far stays. Go on with: ${commandLine("restore", words)}`;
  },

  async run(call) {
    const [database = "", path = ""] = call.operands;
    return await withSession(call, async (session) => {
      const report = await session.restore({
        database,
        path,
        intoExisting: call.isOn("into-existing"),
        salvage: call.isOn("salvage"),
        dryRun: call.isOn("dry-run"),
        noViews: call.isOn("no-views"),
      });
      call.print(report, () => describe(report));
      return exitCodeOfRestore(report);
    });
  },
};

function describe(report: RestoreReport): string {
  const { database, path, failed, failed_revisions, unreadable, lacking, damaged, missing, seconds } = report;
  const deleted = report.deleted === 0 ? "" : ` (${formatCount(report.deleted)} of them deleted)`;
  const counts = `${counted(report.documents, "document")}${deleted}, ${
    counted(report.leaf_revisions, "leaf revision")
  }`;
  const lines = report.dry_run
    ? [`Would restore "${database}" from ${path}: ${counts}`]
    : [`Restored "${database}" from ${path}: ${counts} in ${formatSeconds(seconds)}`];
  if (!report.verified) lines.push("The archive has no manifest: nothing says whether it is whole");
  for (const { chunk, problem } of damaged) lines.push(`  left out: ${chunk}: ${problem}`);
  lines.push(...describeUnreadable(unreadable, SHOWN_FAILURES));
  for (const { what, reason } of lacking) lines.push(`  without ${what}: ${reason}`);
  for (const { id, rev, error, reason } of failed.slice(0, SHOWN_FAILURES)) {
    lines.push(`  refused: ${describeRevision(id, rev)}: ${error}, ${reason}`);
  }
  if (failed_revisions > SHOWN_FAILURES) lines.push(`  refused: ${counted(failed_revisions, "revision")} in all`);
  if (missing > 0) lines.push(`  missing: CouchDB took ${counted(missing, "document")} that it does not count`);
  return `${lines.join("\n")}\n`;
}
