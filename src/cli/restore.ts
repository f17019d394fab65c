/** `couchdb-backup restore <db> <path>`: brings a backup back. */
import { counted, formatCount, formatInstant, formatSeconds } from "../observe/figures.ts";
import { printable } from "../observe/logfmt.ts";
import { describeRevision, describeUnreadable } from "./unreadable.ts";
import { exitCodeOfRestore, type RestoreReport } from "../commands/restore/report.ts";
import { commandLine } from "../command_line.ts";
import type { Config } from "../config/config.ts";
import { parseAddress } from "../config/values.ts";
import { parseDate, parseInstant } from "../dates.ts";
import { UsageError } from "../errors.ts";
import { BACKUP_PATH, type Command, IDENTITY_FLAG } from "./command.ts";
import { readFleetRequest, restoreAll } from "./restore_all.ts";
import { loadCallConfig, withConfig } from "./session.ts";

/** More failed revisions than these are counted in the text; `--json` and the log have them all. */
const SHOWN_FAILURES = 20;

export const command: Command = {
  name: "restore",
  usage: ["<db> <path> [<config>]", "--all <path> [<config>]"],
  help: [
    "Restores a backup into database <db>: every leaf revision, with its history and attachments. A database that holds",
    "documents is refused unless --into-existing or --id is given. Running it again writes only what is missing.",
    "",
    "--all restores every database (CouchDB's own only if --match names them) as of <path>, which is latest or a",
    "moment: it checks every target before it writes to the first, and the same command resumes after an",
    "interruption. Databases that were gone in the last run before that moment are left out and named.",
    "A sealed backup needs the identity that opens it: --identity, or identity_file in the config.",
  ],
  flags: [
    {
      name: "into-existing",
      summary: "write into a database that has documents: all revisions, old and new, are kept",
    },
    { name: "salvage", summary: "restore what is intact of a damaged or incomplete archive" },
    { name: "dry-run", summary: "say what would be restored, and write nothing" },
    { name: "no-views", summary: "do not build the views afterwards" },
    { name: "id", value: "ID", repeated: true, summary: "only this document, added to what the database holds" },
    {
      name: "as-new-revision",
      summary: "with --id: write the backup's winner as a new revision, so that it wins",
    },
    { name: "designs", summary: "only the design documents" },
    { name: "url", value: "URL", summary: "restore into the CouchDB at this address", default: "the config's" },
    { name: "all", summary: "restore all databases of a moment" },
    { name: "match", value: "PATTERN", repeated: true, summary: "with --all: only databases whose whole name matches" },
    { name: "exclude", value: "PATTERN", repeated: true, summary: "with --all: leave these out" },
    {
      name: "map",
      value: "FROM=TO",
      repeated: true,
      summary: "with --all: restore under another name, such as 'account%2F(.*)=copy%2F$1'",
    },
    {
      name: "parallel",
      value: "N",
      summary: "with --all: databases at the same time, 1 to 32",
      default: "4, small ones 16",
    },
    { name: "gone", summary: "with --all: also databases that were gone in the last run" },
    IDENTITY_FLAG,
    { name: "allow-plain", summary: "accept an unencrypted backup of a task that seals its backups (encrypt_to)" },
  ],
  operands: { least: 1, most: 2, isConfig: (_, index, flags) => flags.all === true && index === 1 },

  operandHelp: [
    { name: "<db>", summary: "the database to restore into; it is created when it is not there" },
    BACKUP_PATH,
  ],
  exits: {
    ok: "all is restored",
    partial: "CouchDB refused some documents, or could not read them when the backup was made; they are listed",
    couchdb: "CouchDB",
    store: "the store",
    archive: "the archive is damaged or incomplete; --salvage restores what is intact",
    interrupted: "interrupted; what is written so far stays, and the message says how to resume",
  },
  examples: [
    { line: "couchdb-backup restore orders latest cfg.yaml", summary: 'bring back "orders", which is gone' },
    {
      line: "couchdb-backup restore orders_check 2026-10-22/orders cfg.yaml",
      summary: "or beside it, as it was on that day",
    },
    {
      line: "couchdb-backup restore orders latest --id order:17 --as-new-revision cfg.yaml",
      summary: "a single document, so that the backup's content wins",
    },
    {
      line: "couchdb-backup restore --all latest --map '(.*)=copy_of_$1' --parallel 8 cfg.yaml",
      summary: "every database, under other names",
    },
  ],

  afterInterruption(call, { startedAt }) {
    if (call.isOn("dry-run")) return "Nothing was written";
    const [first = "", second = ""] = call.operands;
    const [database, path] = call.isOn("all") ? [undefined, first] : [first, second];
    // Another backup may be complete, and be the latest, when the command is run again.
    const moment = formatInstant(startedAt.toISOString());
    const words = [...database === undefined ? ["--all"] : [database], path.replace(/^latest(?=$|\/)/, moment)];
    if (database !== undefined || call.isOn("into-existing")) words.push("--into-existing");
    for (const name of ["salvage", "no-views", "as-new-revision", "designs", "gone", "allow-plain"]) {
      if (call.isOn(name)) words.push(`--${name}`);
    }
    for (const name of ["id", "match", "exclude", "map", "identity"]) {
      for (const value of call.list(name)) words.push(`--${name}`, value);
    }
    for (const name of ["url", "parallel"]) {
      const value = call.text(name);
      if (value !== undefined) words.push(`--${name}`, value);
    }
    return `What is written so far stays. Resume with: ${commandLine("restore", words)}`;
  },

  async run(call) {
    const config = withUrl(await loadCallConfig(call), call.text("url"));
    if (call.isOn("all")) {
      const [path = "", extra] = call.operands;
      if (extra !== undefined) {
        throw new UsageError(`--all takes only a moment, but "${extra}" is given too`, {
          hint: `${commandLine("restore", ["--all", ...momentFirst(path, extra)])} restores that database`,
        });
      }
      const request = readFleetRequest(call, path);
      return await withConfig(call, config, (session) => restoreAll(session, call, request));
    }
    const stray = ALL_ONLY.find((name) => call.isGiven(name));
    if (stray !== undefined) throw new UsageError(`--${stray} goes with --all`);
    const [database = "", path] = call.operands;
    if (path === undefined) throw missingOperand(database);
    const ids = call.listIfGiven("id");
    if (call.isOn("as-new-revision") && ids === undefined) {
      throw new UsageError("--as-new-revision goes with --id", {
        hint: commandLine("restore", [database, path, "--id", "ID", "--as-new-revision"]),
      });
    }
    return await withConfig(call, config, async (session) => {
      const report = await session.restore({
        database,
        path,
        intoExisting: call.isOn("into-existing"),
        salvage: call.isOn("salvage"),
        dryRun: call.isOn("dry-run"),
        noViews: call.isOn("no-views"),
        ids,
        asNewRevision: call.isOn("as-new-revision"),
        designs: call.isOn("designs"),
        allowPlain: call.isOn("allow-plain"),
      });
      call.print(report, () => describe(report), { isProse: true });
      return exitCodeOfRestore(report);
    });
  },
};

/** Flags that mean nothing for one database. */
const ALL_ONLY = ["match", "exclude", "map", "parallel", "gone"] as const;

/** What is missing beside the only operand: the backup of a database, or the database of a moment. */
function missingOperand(operand: string): UsageError {
  const [, moment = "", name] = /^([^/]+)(?:\/(.+))?$/.exec(operand) ?? [];
  if (!isMoment(moment)) {
    return new UsageError(`"restore" is missing an argument: which backup of "${operand}"`, {
      hint: `${commandLine("restore", [operand, "latest"])}, which takes the newest`,
    });
  }
  const hint = name === undefined
    ? `${commandLine("restore", ["--all", moment])} restores all of them; the name of one stands before "${moment}"`
    : commandLine("restore", [name, moment]);
  return new UsageError(`"restore" is missing an argument: which database "${operand}" is restored into`, { hint });
}

function isMoment(text: string): boolean {
  return text === "latest" || parseDate(text) !== undefined || parseInstant(text) !== undefined;
}

/** The words after --all for a database and a moment, whichever of them was given first. */
function momentFirst(first: string, second: string): string[] {
  const [moment, database] = isMoment(first) ? [first, second] : [second, first];
  return [moment, "--match", database];
}

/** The config with another CouchDB; its login counts where the address has none. @throws UsageError when it is none. */
function withUrl(config: Config, url: string | undefined): Config {
  if (url === undefined) return config;
  const found = parseAddress(url);
  if ("must" in found) throw new UsageError(`--url ${found.must}`);
  const { login, password } = found;
  const elsewhere = { passwordFile: undefined, passwordSecret: undefined, passwordUnset: undefined };
  const own = login === undefined ? {} : { login, password, ...elsewhere };
  return { ...config, database: { ...config.database, url: found.url, ...own } };
}

function describe(report: RestoreReport): string {
  const { database, path, failed, failed_revisions, unreadable, lacking, damaged, missing, seconds } = report;
  const deleted = report.deleted === 0 ? "" : ` (${formatCount(report.deleted)} of them deleted)`;
  const counts = `${counted(report.documents, "document")}${deleted}, ${
    counted(report.leaf_revisions, "leaf revision")
  }`;
  // A folder may hold several backups of a day.
  const from = report.finished_at === null ? path : `${path} as of ${formatInstant(report.finished_at)}`;
  const lines = report.dry_run
    ? [`Would restore "${database}" from ${from}: ${counts}`]
    : [`Restored "${database}" from ${from}: ${counts} in ${formatSeconds(seconds)}`];
  for (const { id, from, onto, rev } of report.written_as_new ?? []) {
    lines.push(
      `  ${JSON.stringify(id)} is ${rev} now, with the content of ${from}${onto === null ? "" : `, onto ${onto}`}`,
    );
  }
  for (const { id, reason } of report.refused ?? []) lines.push(`  NOT written: ${JSON.stringify(id)}: ${reason}`);
  for (const id of report.not_found ?? []) lines.push(`  not in the backup: ${JSON.stringify(id)}`);
  const { present = 0, newer } = report;
  if (present > 0) lines.push(`  ${counted(present, "leaf revision")} ${present === 1 ? "was" : "were"} there already`);
  if (newer !== undefined && newer.count > 0) {
    const shown = newer.ids.slice(0, SHOWN_FAILURES).map((id) => JSON.stringify(id)).join(", ");
    const more = newer.count > SHOWN_FAILURES ? " …" : "";
    const keep = newer.count === 1 ? "1 document keeps" : `${counted(newer.count, "document")} keep`;
    lines.push(`  ${keep} a newer revision (--as-new-revision makes the backup's content the winner): ${shown}${more}`);
  }
  for (const warning of report.warnings ?? []) lines.push(`  NOT the newest state: ${printable(warning)}`);
  if (!report.verified) lines.push("The archive has no manifest, so nobody can say whether it is complete");
  for (const { chunk, problem } of damaged) lines.push(`  left out: ${chunk}: ${problem}`);
  lines.push(...describeUnreadable(unreadable, SHOWN_FAILURES));
  for (const { what, reason, hint } of lacking) {
    lines.push(`  without ${what}: ${reason}`, ...hint === undefined ? [] : [`    ${hint}`]);
  }
  for (const { id, rev, error, reason } of failed.slice(0, SHOWN_FAILURES)) {
    lines.push(`  refused: ${describeRevision(id, rev)}: ${error}, ${reason}`);
  }
  if (failed_revisions > SHOWN_FAILURES) lines.push(`  refused: ${counted(failed_revisions, "revision")} in all`);
  if (missing > 0) lines.push(`  missing: CouchDB took ${counted(missing, "document")} that it does not count`);
  return `${lines.join("\n")}\n`;
}
