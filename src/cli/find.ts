/** `couchdb-backup find <db> --id ID`: the revisions of a document over all backups. */
import type { DocumentState, FoundDocument } from "../commands/find.ts";
import { EXIT, UsageError } from "../errors.ts";
import { formatInstant } from "../observe/figures.ts";
import { type Command, IDENTITY_FLAG, SAVED_DATABASE } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "find",
  usage: ["<db> --id ID [<config>]"],
  help: [
    "Shows which revisions a document had in all backups of its database: since when, until when, and whether it was deleted.",
    "",
    "Needs neither CouchDB nor its password.",
  ],
  flags: [{ name: "id", value: "ID", summary: "the document's id, not encoded" }, IDENTITY_FLAG],
  operands: { least: 1, most: 1 },
  operandHelp: [SAVED_DATABASE],
  exits: { store: "the store", archive: "a backup is damaged or incomplete, or there is none" },
  examples: [
    { line: "couchdb-backup find orders --id order:17 cfg.yaml", summary: "when it was last changed" },
    { line: "couchdb-backup find orders --id order:17 --json cfg.yaml", summary: "the same for a program" },
  ],

  async run(call) {
    const [database = ""] = call.operands;
    const id = call.text("id");
    if (id === undefined) throw new UsageError("find needs --id ID, the document to look for");
    return await withSession(call, async (session) => {
      const found = await session.find({ database, id });
      call.print(found, () => describeFound(found), { isProse: true });
      return found.problems.length === 0 ? EXIT.ok : EXIT.archive;
    });
  },
};

/** The states as a table, the latest first. */
export function describeFound({ database, id, states, problems }: FoundDocument): string {
  const describe = ({ rev, deleted, leaves, since, until, backups }: DocumentState) => {
    const others = leaves.length > 1 ? `, ${leaves.length - 1} more ${leaves.length === 2 ? "leaf" : "leaves"}` : "";
    const what = rev === null ? "not there" : `${rev}${deleted ? " (deleted)" : ""}${others}`;
    return `${formatInstant(since)} .. ${formatInstant(until)}  ${String(backups).padStart(4)} ${
      backups === 1 ? "backup " : "backups"
    }  ${what}`;
  };
  const isKnown = states.some(({ rev }) => rev !== null);
  // One that cannot be read may have it.
  const unread = problems.length === 0 ? "" : "that can be read ";
  return [
    ...isKnown ? states.map(describe) : [`No backup of "${database}" ${unread}has the document "${id}"`],
    ...problems.map(({ finished_at, problem }) =>
      `problem: ${finished_at === null ? "" : `${formatInstant(finished_at)}: `}${problem}`
    ),
    "",
  ].join("\n");
}
