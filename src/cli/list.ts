/** `couchdb-backup list [databases|backups]`: what there is in CouchDB and in the store. */
import { UsageError } from "../errors.ts";
import type { ListedBackup } from "../commands/list.ts";
import { formatCount, formatSize } from "../observe/figures.ts";
import { type Command, CONFIG_FLAG } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "list",
  usage: "[databases|backups] [--config FILE] [--database NAME]",
  help: [
    "Lists the databases of CouchDB, names encoded as in URLs and paths, or the backups in the store (the default).",
  ],
  flags: [CONFIG_FLAG, { name: "database", value: "NAME", summary: "only backups of this database" }],
  operands: { least: 0, most: 1 },

  async run(call) {
    const [what = "backups"] = call.operands;
    if (what !== "backups" && what !== "databases") {
      throw new UsageError(`There is no list of "${what}"`, { hint: "It lists databases or backups" });
    }
    return await withSession(call, call.text("config"), async (session) => {
      if (what === "databases") {
        const list = await session.listDatabases();
        call.print(list, () => list.databases.map(({ encoded }) => `${encoded}\n`).join(""));
      } else {
        const list = await session.list({ database: call.text("database") });
        call.print(list, () => list.backups.map(describe).join("") || "There is no backup\n");
      }
      return 0;
    });
  },
};

function describe({ date, database, complete, documents, compressed_bytes, path, problem }: ListedBackup): string {
  const state = complete ? "complete" : `INCOMPLETE${problem === undefined ? "" : ` (${problem})`}`;
  const count = documents === null ? "-" : formatCount(documents);
  const size = compressed_bytes === null ? "-" : formatSize(compressed_bytes);
  return `${date}  ${count.padStart(11)} documents  ${size.padStart(8)}  ${state.padEnd(10)}  ${database}  ${path}\n`;
}
