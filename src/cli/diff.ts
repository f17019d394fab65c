/** `couchdb-backup diff <db> <path> <path | live>`: what changed between two backups, or since one. */
import type { DiffReport } from "../commands/diff.ts";
import { EXIT } from "../errors.ts";
import { formatCount, formatInstant } from "../observe/figures.ts";
import { BACKUP_PATH, type Command, IDENTITY_FLAG, SAVED_DATABASE } from "./command.ts";
import { withSession } from "./session.ts";

export const command: Command = {
  name: "diff",
  usage: ["<db> <path> <path | live> [<config>]"],
  help: [
    'Says which documents were added, changed and deleted between two backups of a database, or with "live" between a backup',
    "and the database as it is in CouchDB now. Documents are compared by all of their leaf revisions.",
  ],
  flags: [IDENTITY_FLAG],
  operands: { least: 3, most: 3 },
  operandHelp: [
    SAVED_DATABASE,
    BACKUP_PATH,
    { name: "live", summary: "the database as it is in CouchDB now" },
  ],
  exits: {
    ok: "whether there are differences or not",
    couchdb: "CouchDB (live)",
    store: "the store",
    archive: "a backup is damaged or incomplete",
  },
  examples: [
    { line: "couchdb-backup diff orders 2026-10-22 latest cfg.yaml", summary: "between two backups" },
    { line: "couchdb-backup diff orders latest live cfg.yaml", summary: "what has changed since" },
  ],

  async run(call) {
    const [database = "", path = "", to = ""] = call.operands;
    return await withSession(call, async (session) => {
      const report = await session.diff({ database, from: path, to });
      call.print(report, () => describeDiff(report), { isProse: true });
      return EXIT.ok;
    });
  },
};

/** A line a document, as diff(1) marks them, and the sums. */
export function describeDiff(report: DiffReport): string {
  const { from, from_finished_at, to, to_finished_at, added, changed, deleted } = report;
  const when = (moment: string | null) => moment === null ? "" : ` as of ${formatInstant(moment)}`;
  const lines = [["+", added], ["~", changed], ["-", deleted]] as const;
  return [
    ...lines.flatMap(([mark, { count, ids }]) => [
      ...ids.map((id) => `${mark} ${JSON.stringify(id).slice(1, -1)}`),
      ...count > ids.length ? [`${mark} … ${formatCount(count - ids.length)} more`] : [],
    ]),
    `${formatCount(added.count)} added, ${formatCount(changed.count)} changed, ${
      formatCount(deleted.count)
    } deleted from ${from}${when(from_finished_at)} to ${to}${when(to_finished_at)}`,
    "",
  ].join("\n");
}
