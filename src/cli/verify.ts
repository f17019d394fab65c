/** `couchdb-backup verify <db> <path>`: reads a backup again and compares it with its manifest. */
import { loadConfig } from "../config/config.ts";
import { ConfigError } from "../errors.ts";
import { counted, formatCount, formatSeconds } from "../observe/figures.ts";
import { openStore } from "../store/open.ts";
import { describeUnreadable } from "./unreadable.ts";
import { exitCodeOfVerify, verify, type VerifyReport } from "../commands/verify.ts";
import type { Call, Command } from "./command.ts";
import { withSession, withSurroundings } from "./session.ts";

/** More unreadable documents than these are counted in the text; `--json` and the log have them all. */
const SHOWN_UNREADABLE = 20;

export const command: Command = {
  name: "verify",
  usage: "<db> <path> [<config>] [--quick]",
  help: [
    "Reads a backup again and compares it with its manifest: checksums, counts, ids. Needs no CouchDB and writes nothing.",
    "",
    "<path> is as for restore. A file:// URL or a local folder needs no config.",
    "Exit codes: 0 complete, 3 as its manifest says, but CouchDB could not read some documents when it was made (they are",
    "listed), 12 something is not as it must be.",
  ],
  flags: [{ name: "quick", summary: "compare presence and size only" }],
  operands: { least: 2, most: 2 },

  async run(call) {
    const [database = "", path = ""] = call.operands;
    const request = { database, path, quick: call.isOn("quick") };
    const finish = (report: VerifyReport) => {
      call.print(report, () => describe(report));
      return exitCodeOfVerify(report);
    };
    if (await needsNoConfig(call, path)) {
      return await withSurroundings(call, {}, async (surroundings) => {
        const open = (bucket: string) => openStore({ bucket });
        const nowhere = { repository: undefined, openStore: open };
        return finish(await verify({ ...surroundings, ...nowhere }, request));
      });
    }
    return await withSession(call, async (session) => finish(await session.verify(request)));
  },
};

/** Whether the path alone leads to the backup, and there is no config to be found. */
async function needsNoConfig(call: Call, path: string): Promise<boolean> {
  if (!/^(file:|\/|\.\.?\/)/.test(path) || call.configPath !== undefined) return false;
  try {
    await loadConfig({ env: call.shell.env });
    return false;
  } catch (error) {
    // A config that is there and wrong is an error that the session reports.
    return error instanceof ConfigError && error.cause !== undefined;
  }
}

function describe(report: VerifyReport): string {
  const { path, chunks, unreadable, problems, leftovers, seconds } = report;
  const deleted = report.deleted === 0 ? "" : ` (${formatCount(report.deleted)} of them deleted)`;
  const counts = `${counted(chunks, "chunk")}, ${counted(report.documents, "document")}${deleted}, ${
    counted(report.leaf_revisions, "leaf revision")
  }`;
  const read = `${counts}, read in ${formatSeconds(seconds)}`;
  return [
    report.ok
      ? `${path} is complete and as its manifest says: ${read}`
      : problems.length > 0
      ? `${path} is NOT whole: ${counts} are`
      : `${path} is as its manifest says, but LACKS ${counted(unreadable.length, "document")}: ${read}`,
    ...describeUnreadable(unreadable, SHOWN_UNREADABLE),
    ...problems.map(({ chunk, problem }) => `  problem: ${chunk}: ${problem}`),
    ...leftovers.map(({ chunk, problem }) => `  left over: ${chunk}: ${problem}`),
    "",
  ].join("\n");
}
