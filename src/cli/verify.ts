/** `couchdb-backup verify <db> <path>`: reads a backup again and compares it with its manifest. */
import { commandLine } from "../command_line.ts";
import { loadConfig } from "../config/config.ts";
import { ConfigError, UsageError } from "../errors.ts";
import { counted, formatCount, formatSeconds } from "../observe/figures.ts";
import { openStore } from "../store/open.ts";
import { describeUndecided, verdict } from "./undecided.ts";
import { describeUnreadable } from "./unreadable.ts";
import { exitCodeOfVerify, verify, type VerifyReport } from "../commands/verify.ts";
import { exitCodeOfVerifyAll, type VerifyAllReport } from "../commands/verify_all.ts";
import { BACKUP_PATH, type Call, type Command, IDENTITY_FLAG, SAVED_DATABASE } from "./command.ts";
import { withSession, withSurroundings } from "./session.ts";
import { errorCode } from "../system_error.ts";

/** More unreadable documents than these are counted in the text; `--json` and the log have them all. */
const SHOWN_UNREADABLE = 20;

export const command: Command = {
  name: "verify",
  usage: ["<db> <path> [<config>]", "--all [<config>]"],
  help: [
    "Reads a backup again and compares it with its manifest: checksums, counts, ids. Needs no CouchDB and changes no backup.",
    "A <path> that is a file:// URL or a local folder needs no config.",
    "",
    "For a sealed backup it compares the checksums; with an identity it opens and reads the contents too.",
    "--all reads every backup in the store; with --sample 1/7 another seventh of them each day, all within a week. The",
    "result is kept in the store for status and monitoring, except with --match and --quick.",
  ],
  flags: [
    { name: "quick", summary: "check presence and sizes only" },
    { name: "contents", summary: "open and read sealed backups too; an error without an identity" },
    { name: "all", summary: "every backup in the store" },
    { name: "sample", value: "1/N", summary: "with --all: only today's part of all backups", default: "all" },
    { name: "match", value: "PATTERN", repeated: true, summary: "with --all: only databases whose whole name matches" },
    IDENTITY_FLAG,
  ],
  operands: { least: 0, most: 2, isConfig: (_operand, _index, flags) => flags.all === true },
  operandHelp: [SAVED_DATABASE, BACKUP_PATH],
  exits: {
    ok: "complete, and as the manifest says",
    partial: "intact, but CouchDB could not read some documents when it was made; they are listed",
    store: "the store failed; with --all: for some backups, and nothing is wrong with the others",
    archive: "the backup is damaged or incomplete, or there is none",
  },
  examples: [
    { line: "couchdb-backup verify orders latest cfg.yaml", summary: "the newest backup of a database" },
    { line: "couchdb-backup verify --all --sample 1/7 cfg.yaml", summary: "another seventh of all backups each day" },
    {
      line: "couchdb-backup verify orders /backups/2026/10/22/orders --quick",
      summary: "a folder, without a config: presence and sizes only",
    },
  ],

  async run(call) {
    if (call.isOn("quick") && call.isOn("contents")) {
      throw new UsageError("--quick and --contents exclude each other: --quick reads no contents");
    }
    if (call.isOn("all")) return await runAll(call);
    const stray = (["sample", "match"] as const).find((name) => call.isGiven(name));
    if (stray !== undefined) throw new UsageError(`--${stray} goes with --all`);
    if (call.operands.length < 2) {
      throw new UsageError(`"verify" is missing an argument: a database and which backup of it, or --all`, {
        hint: "Usage: couchdb-backup verify <db> <path>, such as verify account/ab latest",
      });
    }
    const [database = "", path = ""] = call.operands;
    const request = { database, path, quick: call.isOn("quick"), contents: call.isOn("contents") };
    const finish = (report: VerifyReport) => {
      call.print(report, () => describe(report), { isProse: true });
      return exitCodeOfVerify(report);
    };
    if (await needsNoConfig(call, path)) {
      return await withSurroundings(call, {}, async (surroundings) => {
        const open = (bucket: string) => openStore({ bucket });
        const { identityReader } = await import("../session/identities.ts");
        const identities = identityReader({ files: call.list("identity"), aws: {}, ...surroundings });
        const nowhere = { repository: undefined, openStore: open, seal: { identities, isExpectedOf: () => false } };
        return finish(await verify({ ...surroundings, ...nowhere }, request));
      });
    }
    return await withSession(call, async (session) => finish(await session.verify(request)));
  },
};

async function runAll(call: Call): Promise<number> {
  const [extra] = call.operands;
  if (extra !== undefined) {
    throw new UsageError(`--all takes neither a database nor a path, but "${extra}" is given`, {
      hint: `${commandLine("verify", ["--all", "--match", extra])} verifies the backups of that database`,
    });
  }
  const request = {
    match: call.listIfGiven("match"),
    sampleOf: readSample(call.text("sample")),
    quick: call.isOn("quick"),
    contents: call.isOn("contents"),
  };
  return await withSession(call, async (session) => {
    const report = await session.verifyAll(request);
    call.print(report, () => describeAll(report), { isProse: true });
    return exitCodeOfVerifyAll(report);
  });
}

function readSample(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, of] = /^1\/([1-9]\d{0,3})$/.exec(text) ?? [];
  if (of !== undefined) return Number(of);
  throw new UsageError(`--sample "${text}" is not a part such as 1/7`, {
    hint: "1/7 is another seventh each day, so that a week reads all",
  });
}

/** The report for people: what is wrong first. */
export function describeAll(report: VerifyAllReport): string {
  const { backups, backups_in_all, documents, faulty, undecided, sample, seconds, unopened = 0 } = report;
  const part = sample === null
    ? ""
    : `, part ${sample.part + 1} of ${sample.of} of the ${formatCount(backups_in_all)} that there are`;
  const lines = faulty.flatMap(({ database, path, problems }) => [
    `NOT WHOLE: ${database}: ${path}`,
    ...problems.slice(0, SHOWN_UNREADABLE).map((problem) => `  ${problem}`),
  ]);
  lines.push(...describeUndecided(undecided));
  const outcome = verdict(report, {
    fine: "all of them complete and as their manifests say",
    wrong: "NOT as they must be",
  });
  const read = `${counted(documents, "document")}, read in ${formatSeconds(seconds)}`;
  const sealed = unopened === 0 ? "" : `; ${formatCount(unopened)} of them sealed, and not opened`;
  lines.push(`Verified ${counted(backups, "backup")}${part}, ${outcome}: ${read}${sealed}`);
  return `${lines.join("\n")}\n`;
}

/** Whether the path alone leads to the backup, and there is no config to be found. */
async function needsNoConfig(call: Call, path: string): Promise<boolean> {
  if (!/^(file:|\/|\.\.?\/)/.test(path) || call.configPath !== undefined) return false;
  try {
    await loadConfig({ env: call.shell.env });
    return false;
  } catch (error) {
    // A config that is there and wrong, or cannot be read, is an error that the session reports.
    const cause = error instanceof ConfigError ? error.cause : undefined;
    return errorCode(cause) === "ENOENT";
  }
}

function describe(report: VerifyReport): string {
  const { path, chunks, unreadable, problems, leftovers, seconds } = report;
  const deleted = report.deleted === 0 ? "" : ` (${formatCount(report.deleted)} of them deleted)`;
  const counts = `${counted(chunks, "chunk")}, ${counted(report.documents, "document")}${deleted}, ${
    counted(report.leaf_revisions, "leaf revision")
  }`;
  const read = `${counts}, read in ${formatSeconds(seconds)}`;
  const unopened = report.contents_read === false ? "; it is sealed, and was not opened" : "";
  return [
    report.ok
      ? `${path} is complete and as its manifest says: ${read}${unopened}`
      : problems.length > 0
      ? `${path} is NOT whole: ${counts} are`
      : `${path} is as its manifest says, but LACKS ${counted(unreadable.length, "document")}: ${read}`,
    ...describeUnreadable(unreadable, SHOWN_UNREADABLE),
    ...problems.map(({ chunk, problem }) => `  problem: ${chunk}: ${problem}`),
    ...leftovers.map(({ chunk, problem }) => `  left over: ${chunk}: ${problem}`),
    "",
  ].join("\n");
}
