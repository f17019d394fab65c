/** `couchdb-backup keep <db> <path>`: pins a backup, so that it never expires. */
import { EXIT } from "../errors.ts";
import { formatInstant } from "../observe/figures.ts";
import { BACKUP_PATH, type Command, SAVED_DATABASE } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "keep",
  usage: ["<db> <path> [<config>]"],
  help: [
    "Pins a complete backup: it never expires, whatever the retention says, nor do the backups that it needs.",
    "",
    "The pin is a small object beside the manifest; unkeep removes it.",
  ],
  flags: [
    { name: "reason", value: "TEXT", summary: "why, shown by list" },
  ],
  operands: { least: 2, most: 2 },
  operandHelp: [SAVED_DATABASE, BACKUP_PATH],
  exits: { store: "the store", archive: "there is no such backup, it is damaged, or expire is deleting it" },
  examples: [
    { line: "couchdb-backup keep orders latest cfg.yaml", summary: "the newest backup of a database" },
    {
      line: "couchdb-backup keep orders 2026-10-22 --reason 'before the migration' cfg.yaml",
      summary: "an older one, and why",
    },
  ],

  async run(call) {
    const [database = "", path = ""] = call.operands;
    return await withSession(call, async (session) => {
      const report = await session.keep({ database, path, reason: call.text("reason"), kept: true });
      const moment = formatInstant(report.finished_at);
      call.print(
        report,
        () => `The backup of "${report.database}" of ${moment} is pinned: it stays until unkeep removes the pin\n`,
        { isProse: true },
      );
      return EXIT.ok;
    });
  },
};
