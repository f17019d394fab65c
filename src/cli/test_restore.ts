/** `couchdb-backup test-restore [<config>]`: restores backups into scratch databases, and compares what came back. */
import type { FaultyBackup } from "../commands/verify_all.ts";
import { exitCodeOfTestRestore, type TestRestoreReport } from "../commands/test_restore/test_restore.ts";
import { UsageError } from "../errors.ts";
import { counted, formatCount, formatInstant, formatSeconds } from "../observe/figures.ts";
import { type Command, IDENTITY_FLAG } from "./command.ts";
import { withSession } from "./session.ts";
import { describeUndecided, verdict } from "./undecided.ts";

export const command: Command = {
  name: "test-restore",
  usage: ["[<config>]"],
  help: [
    "Proves backups by restoring them: the newest backup of each database is restored into a scratch database, every leaf",
    "revision there is compared with the backup byte for byte, and the scratch database is dropped.",
    "",
    "It needs a server admin, who may create and delete databases, and room for two of the databases. The scratch databases",
    "are named couchdb_backup_test_<run>_<number>; those that a killed run has left are dropped by the next one, after an",
    "hour. It drops no other database. The result is kept for status and monitoring, except with --match.",
  ],
  flags: [
    { name: "match", value: "PATTERN", repeated: true, summary: "only databases whose whole name matches" },
    {
      name: "sample",
      value: "N",
      summary: "only so many databases, others each day until all have had their turn",
      default: "all",
    },
    IDENTITY_FLAG,
  ],
  operands: { least: 0, most: 0 },
  exits: {
    ok: "all came back as they were saved",
    partial: "some came back changed or not at all, or a scratch database is left behind",
    couchdb: "CouchDB failed: before all, or for some backups, and nothing is wrong with the others",
    store: "the store failed, the same",
    archive: "a backup is damaged",
  },
  examples: [
    { line: "couchdb-backup test-restore cfg.yaml", summary: "every database" },
    { line: "couchdb-backup test-restore --sample 20 cfg.yaml", summary: "another twenty of them each day" },
  ],

  afterInterruption() {
    return "The scratch databases are dropped";
  },

  async run(call) {
    const request = { match: call.listIfGiven("match"), sample: readSample(call.text("sample")) };
    return await withSession(call, async (session) => {
      const report = await session.testRestore(request);
      call.print(report, () => describeTestRestore(report), { isProse: true });
      return exitCodeOfTestRestore(report);
    });
  },
};

function readSample(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new UsageError(`--sample "${text}" is not a number of databases`, {
    hint: "--sample 20 restores another twenty of them each day",
  });
}

/** The report for people: what is wrong first. */
export function describeTestRestore(report: TestRestoreReport): string {
  const { backups, backups_in_all, documents, leaf_revisions, faulty, undecided, dropped, kept, left_behind, seconds } =
    report;
  const lines = [...faulty.flatMap(describeFaulty), ...describeUndecided(undecided)];
  for (const { database, error } of left_behind) lines.push(`LEFT BEHIND: ${database}: ${error}`);
  for (const database of dropped) lines.push(`dropped: ${database}, which a run that was killed had left`);
  for (const { database, until } of kept) {
    lines.push(
      `stays: ${database}, of another run that may be alive; from ${formatInstant(until)} on the next one drops it`,
    );
  }
  const of = backups === backups_in_all ? "" : ` of ${formatCount(backups_in_all)}`;
  const outcome = verdict(report, {
    fine: "all of them came back as they were saved",
    wrong: "did NOT come back as they were saved",
  });
  const compared = `${counted(documents, "document")}, ${counted(leaf_revisions, "leaf revision")}`;
  lines.push(
    `Restored ${formatCount(backups)}${of} ${backups_in_all === 1 ? "backup" : "backups"} for a test, ${outcome}: ` +
      `${compared} compared in ${formatSeconds(seconds)}`,
  );
  return `${lines.join("\n")}\n`;
}

function describeFaulty({ database, path, problems }: FaultyBackup): string[] {
  return [`NOT AS SAVED: ${database}: ${path}`, ...problems.map((problem) => `  ${problem}`)];
}
