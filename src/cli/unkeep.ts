/** `couchdb-backup unkeep <db> <path>`: takes the pin off a backup. */
import { EXIT } from "../errors.ts";
import type { Command } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "unkeep",
  usage: "<db> <path> [<config>]",
  help: [
    "Takes back what keep has said of a backup: the retention of its task decides again. Nothing is deleted.",
    "",
    "<path> is as for restore.",
  ],
  flags: [],
  operands: { least: 2, most: 2 },

  async run(call) {
    const [database = "", path = ""] = call.operands;
    return await withSession(call, async (session) => {
      const report = await session.keep({ database, path, kept: false });
      const moment = report.finished_at.replace(/\.\d+Z$/, "Z");
      call.print(
        report,
        () =>
          `The backup of "${report.database}" of ${moment} is not pinned any more: the retention of its task decides\n`,
      );
      return EXIT.ok;
    });
  },
};
