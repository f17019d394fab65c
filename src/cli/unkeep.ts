/** `couchdb-backup unkeep <db> <path>`: takes the pin off a backup. */
import { EXIT } from "../errors.ts";
import { formatInstant } from "../observe/figures.ts";
import { BACKUP_PATH, type Command, SAVED_DATABASE } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "unkeep",
  usage: ["<db> <path> [<config>]"],
  help: [
    "Removes the pin that keep has set: the retention of its task decides again. Nothing is deleted.",
  ],
  flags: [],
  operands: { least: 2, most: 2 },
  operandHelp: [SAVED_DATABASE, BACKUP_PATH],
  exits: { store: "the store", archive: "there is no such backup, or it is damaged" },
  examples: [
    { line: "couchdb-backup unkeep orders latest cfg.yaml", summary: "the newest backup of a database" },
    { line: "couchdb-backup unkeep orders 2026-10-22 cfg.yaml", summary: "an older one" },
  ],

  async run(call) {
    const [database = "", path = ""] = call.operands;
    return await withSession(call, async (session) => {
      const report = await session.keep({ database, path, kept: false });
      const moment = formatInstant(report.finished_at);
      call.print(
        report,
        () =>
          `The backup of "${report.database}" of ${moment} is no longer pinned: the retention of its task decides\n`,
        { isProse: true },
      );
      return EXIT.ok;
    });
  },
};
