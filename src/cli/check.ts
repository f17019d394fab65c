/** `couchdb-backup check <config>`: whether a backup could run now, and if not, what to do. */
import { type CheckReport, exitCodeOfCheck } from "../commands/check.ts";
import type { Command } from "./command.ts";
import { printStore } from "./check_store.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "check",
  usage: ["[<config>]"],
  help: [
    "Tries everything that a backup needs, the way a backup uses it: CouchDB, its rights and clock, a document with an",
    "attachment, what each task selects, the store, a line to Loki, a push of figures, the disk's free space, the modes of",
    "files with passwords.",
    "",
    "Writes four small objects, always the same, below _runs and _store in the store. A warning does not stop a backup.",
    "",
    "With --store it tests only the store, one property that backups rely on after the other, and says what the program does",
    "if one is missing. That writes some small objects and 21 MiB, always the same, below _store/check, and removes them",
    "if the keys may delete.",
  ],
  flags: [{ name: "store", summary: "test the store for each property that backups rely on" }],
  operands: { least: 0, most: 0 },
  exits: {
    ok: "all works",
    usage: "usage or config, or this runtime cannot compress as a task says: nothing would be started",
    partial: "a task selects no database, or something other than CouchDB and the store does not work",
    couchdb: "CouchDB",
    store: "the store; with --store: it lacks a property that backups cannot do without",
  },
  examples: [
    { line: "couchdb-backup check cfg.yaml", summary: "before the first run, and after each change" },
    { line: "couchdb-backup check --store cfg.yaml", summary: "which properties your store has" },
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
