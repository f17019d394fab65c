/** `couchdb-backup check <config>`: whether a backup could run now, and what to do where it could not. */
import { type CheckReport, exitCodeOfCheck } from "../commands/check.ts";
import type { Command } from "./command.ts";
import { printStore } from "./check_store.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "check",
  usage: ["[<config>]"],
  help: [
    "Tries all that a backup needs, in the way in which it will be used: CouchDB, its rights and clock, a document with an",
    "attachment, the store, a line to Loki, a push of figures, the disk's free space, the modes of files with passwords.",
    "",
    "Writes four small objects, always the same, below _runs and _store in the store. A warning stops no backup.",
    "",
    "With --store it asks the store alone, property by property, for what backups rely on, and says what the program does",
    "where one lacks. That writes some small objects and 21 MiB, always the same, below _store/check, and removes them",
    "where the keys may delete.",
  ],
  flags: [{ name: "store", summary: "ask the store what it holds, property by property" }],
  operands: { least: 0, most: 0 },
  exits: {
    ok: "all works",
    partial: "something beside CouchDB and the store does not work",
    couchdb: "CouchDB",
    store: "the store; with --store: nothing makes up for what lacks",
  },
  examples: [
    { line: "couchdb-backup check cfg.yaml", summary: "before the first run, and after each change" },
    { line: "couchdb-backup check --store cfg.yaml", summary: "what your store holds of what backups rely on" },
  ],

  async run(call) {
    return await withSession(call, async (session) => {
      if (call.isOn("store")) return printStore(call, await session.checkStore());
      const report = await session.check();
      call.print(report, () => describeCheck(report), { isProse: true });
      return exitCodeOfCheck(report);
    });
  },
};

/** A line for each thing that was tried, and one below it that says what to do where it does not work. */
function describeCheck({ checks }: CheckReport): string {
  const width = Math.max(...checks.map(({ check }) => check.length));
  return checks.map(({ check, ok, detail, hint, warning }) => {
    const line = `${warning ? "warn" : ok ? "ok  " : "FAIL"}  ${check.padEnd(width)}  ${detail}\n`;
    return (ok && !warning) || hint === undefined ? line : `${line}${" ".repeat(width + 8)}${hint}\n`;
  }).join("");
}
