/** `couchdb-backup show <db> <path> --id ID`: one document of a backup, as raw bytes. */
import { EXIT, UsageError } from "../errors.ts";
import { BACKUP_PATH, type Command, IDENTITY_FLAG, SAVED_DATABASE } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "show",
  usage: ["<db> <path> --id ID [<config>]"],
  help: [
    "Writes one document of a backup to stdout, in the bytes that CouchDB sent, with its history and its attachments.",
    "",
    "It is the winning revision, or the newest mark of a deletion, unless --rev names another leaf. Needs no CouchDB and no",
    "password of it.",
  ],
  flags: [
    { name: "id", value: "ID", summary: "the document's id, not encoded" },
    { name: "rev", value: "REV", summary: "a leaf revision", default: "the winning one" },
    IDENTITY_FLAG,
  ],
  operands: { least: 2, most: 2 },
  operandHelp: [SAVED_DATABASE, BACKUP_PATH],
  exits: { store: "the store", archive: "the backup does not have the document, or is damaged or incomplete" },
  examples: [
    { line: "couchdb-backup show orders latest --id order:17 cfg.yaml", summary: "a document as it was saved last" },
    {
      line: "couchdb-backup show orders 2026-10-22 --id order:17 --json cfg.yaml",
      summary: "which leaves it had then",
    },
  ],

  async run(call) {
    const [database = "", path = ""] = call.operands;
    const id = call.text("id");
    if (id === undefined) {
      throw new UsageError("show needs --id ID, the document to show", { hint: "export writes all of them" });
    }
    return await withSession(call, async (session) => {
      const request = { database, path, id, rev: call.text("rev") };
      // With --json only what is known of the document: to be a part of that, it would have to be parsed, numbers too.
      const isQuiet = call.isOn("json");
      const shown = await session.show(
        request,
        isQuiet ? () => Promise.resolve(true) : (bytes) => call.shell.stdout.send(bytes),
      );
      if (isQuiet) call.print(shown, () => "");
      return EXIT.ok;
    });
  },
};
