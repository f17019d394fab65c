/** `couchdb-backup check <config>`: whether a backup could run now, and what to do where it could not. */
import { EXIT } from "../errors.ts";
import type { Command } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "check",
  usage: "<config>",
  help: [
    "Tries all that a backup needs: CouchDB, its rights and clock, the store, Loki and the Pushgateway.",
    "",
    "Writes three small objects, always the same, below _runs and _store in the store. Exit code 1: something does not work.",
  ],
  flags: [],
  operands: { least: 0, most: 1 },

  async run(call) {
    return await withSession(call, call.operands[0], async (session) => {
      const report = await session.check();
      call.print(report, () =>
        report.checks.map(({ check, ok, detail, hint, warning }) => {
          const line = `${warning ? "warn" : ok ? "ok  " : "FAIL"}  ${check.padEnd(18)}  ${detail}\n`;
          return (ok && !warning) || hint === undefined ? line : `${line}      ${"".padEnd(18)}  ${hint}\n`;
        }).join(""));
      return report.ok ? EXIT.ok : EXIT.unexpected;
    });
  },
};
