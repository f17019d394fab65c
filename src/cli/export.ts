/** `couchdb-backup export <db> <path>`: the documents of a backup, one a line. */
import { EXIT } from "../errors.ts";
import { BACKUP_PATH, type Command, IDENTITY_FLAG, SAVED_DATABASE } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "export",
  usage: ["<db> <path> [<config>]"],
  help: [
    "Writes the documents of a backup to stdout, one a line (NDJSON), in the bytes that CouchDB sent: no number is rounded.",
    "It writes every leaf revision, deleted ones too, with histories and attachments; with --winners what CouchDB shows.",
    "",
    "Needs neither CouchDB nor its password. restore reads such a file.",
  ],
  flags: [
    { name: "match-id", value: "REGEX", summary: "only documents whose id contains a match", default: "all" },
    { name: "winners", summary: "only the winning revision of each document, and no deleted ones" },
    IDENTITY_FLAG,
  ],
  operands: { least: 2, most: 2 },
  operandHelp: [SAVED_DATABASE, BACKUP_PATH],
  exits: { ok: "all of them are written", store: "the store", archive: "the backup is damaged or incomplete" },
  examples: [
    { line: "couchdb-backup export orders latest cfg.yaml > orders.ndjson", summary: "everything; restore reads it" },
    {
      line: "couchdb-backup export orders latest --winners --match-id '^order:1' cfg.yaml > some.ndjson",
      summary: "some documents as CouchDB would show them",
    },
  ],

  async run(call) {
    const [database = "", path = ""] = call.operands;
    return await withSession(call, async (session) => {
      const request = { database, path, matchId: call.text("match-id"), winners: call.isOn("winners") };
      await session.export(request, (bytes) => call.shell.stdout.send(bytes));
      return EXIT.ok;
    });
  },
};
