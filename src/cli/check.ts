/** `couchdb-backup check <config>`: whether a backup could run now, and what to do where it could not. */
import { EXIT } from "../errors.ts";
import type { Command } from "./command.ts";
import { printStore } from "./check_store.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "check",
  usage: "<config>",
  help: [
    "Tries all that a backup needs: CouchDB, its rights and clock, the store, Loki and the Pushgateway.",
    "",
    "Writes four small objects, always the same, below _runs and _store in the store. Exit code 1: something does not work.",
    "",
    "With --store it asks the store alone, property by property, for what backups rely on, and says what the program does",
    "where one lacks. That writes some small objects and 21 MiB, always the same, below _store/check, and removes them",
    "where the keys may delete. Exit code 11: nothing makes up for what lacks.",
  ],
  flags: [{ name: "store", summary: "ask the store what it holds, property by property" }],
  operands: { least: 0, most: 1 },

  async run(call) {
    return await withSession(call, call.operands[0], async (session) => {
      if (call.isOn("store")) return printStore(call, await session.checkStore());
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
