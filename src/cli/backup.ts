/** `couchdb-backup backup <config>`: runs tasks, all now or those that are due. */
import { hostname } from "node:os";
import process from "node:process";
import { formatIsoDate, parseDate } from "../dates.ts";
import { EXIT, UsageError } from "../errors.ts";
import { counted } from "../counts.ts";
import { printableLines } from "../observe/logfmt.ts";
import { formatSummary } from "../observe/summary.ts";
import { exitCodeOfReport, type RunReport } from "../archive/report.ts";
import {
  type ElapseOutcome,
  exitCodeOfScheduled,
  findDue,
  runScheduled,
  type ScheduledReport,
  type ScheduledTask,
} from "../schedule/due.ts";
import { amendElapses } from "../schedule/amend.ts";
import { CLAIM_TIMES } from "../schedule/claim.ts";
import { dateInPath, isEmptyByMistake, pickTasks, selectTasks, type TaskSelection } from "../task/selection.ts";
import { commandLine } from "../command_line.ts";
import type { Task } from "../task/task.ts";
import type { Call, Command } from "./command.ts";
import type { BackupRequest } from "../session/requests.ts";
import type { ProgramSession } from "../session/session.ts";
import { hasReadLines, lookOf, withSession } from "./session.ts";

export const command: Command = {
  name: "backup",
  usage: ["[<config>]"],
  help: [
    "Backs up the databases that the config's tasks select: every task now, or with --scheduled those that are due.",
    "",
    "A task is due when the latest elapse of its schedule is not saved: a failed one is retried after a minute, then at",
    "longer intervals, until it is saved or the next elapse comes. It is claimed in the store, so that of several",
    "machines only one runs it; a run that died is resumed after five minutes without a sign of life.",
    "",
    "A backup is complete when its manifest.json exists. Nothing that exists is overwritten or deleted.",
  ],
  flags: [
    { name: "task", value: "NAME", repeated: true, summary: "only this task of the config", default: "every task" },
    {
      name: "database",
      value: "NAME",
      repeated: true,
      aliases: ["single"],
      summary: "only this database, whatever the task selects; encoded (a%2Fb) or not",
      default: "what the task selects",
    },
    { name: "all", summary: "all databases but _replicator, _users and _global_changes" },
    { name: "scheduled", aliases: ["sheduled"], summary: "run what is due; of several machines only one runs it" },
    { name: "resume", summary: "resume the interrupted run of the same date" },
    { name: "full", summary: "make full backups, even where the task is incremental" },
    {
      name: "date",
      value: "D",
      summary: "the date in the path, such as 2026-10-22",
      default: "today in the task's time zone",
    },
    { name: "dry-run", summary: "say what would be backed up, and store nothing" },
  ],
  operands: { least: 0, most: 0 },
  exits: {
    ok: "every database is saved, or there was nothing to do",
    partial: "the run has finished, but not everything is saved; the report says what is missing, and --resume resumes",
    couchdb: "nothing is saved: CouchDB",
    store: "nothing is saved: the store",
    interrupted: "interrupted; what is done so far is kept, and --resume resumes",
  },
  examples: [
    { line: "couchdb-backup backup cfg.yaml", summary: "every task, now" },
    {
      line: "couchdb-backup backup cfg.yaml --scheduled",
      summary: "what is due; for a timer, on one machine or on several",
    },
    {
      line: "couchdb-backup backup cfg.yaml --task weekly --database orders --date 2026-10-22 --resume",
      summary: "resume one database of the run of that date",
    },
  ],

  afterInterruption(call, { tasks, startedAt }) {
    if (call.isOn("dry-run")) return "Nothing was stored";
    if (call.isOn("scheduled")) {
      const words = ["--scheduled", ...call.list("task").flatMap((name) => ["--task", name])];
      return `What is done so far is kept. ${commandLine("backup", words)} resumes it, here or on another machine`;
    }
    const request = readRequest(call);
    // The names have not been looked at yet where the signal comes early; of one that is no task nothing is begun.
    const begun = tasks.filter(({ name }) => request.tasks?.includes(name) ?? true);
    if (begun.length === 0) return "Nothing was stored";
    return `What is done so far is kept. Resume with: ${resumingCommands(request, { tasks: begun, startedAt })}`;
  },

  async run(call) {
    const request = readRequest(call);
    return await withSession(call, async (session) => {
      if (call.isOn("scheduled")) return await runDue(call, session);
      if (call.isOn("dry-run")) return printDryRun(call, session, await session.select(request));
      const onReport = async (report: RunReport) => {
        if (request.resume === true) await amend(session, request, report);
        call.print(report, () => summarize(report, call), { isStyled: true });
      };
      const report = await session.backup({ ...request, onReport });
      return exitCodeOfReport(report);
    });
  },
};

/** Amends the reports of elapses that a run by hand has repaired. */
async function amend(session: ProgramSession, { databases }: BackupRequest, report: RunReport): Promise<void> {
  const { surroundings, repository, config: { tasks } } = session;
  const context = { ...surroundings, repository, host: hostname(), pid: process.pid };
  const isPart = databases !== undefined;
  const amended = await amendElapses(context, { tasks, report, isPart });
  // A retry of what had failed makes the whole run good: the summary is that of the whole.
  if (isPart) { for (const whole of amended) await session.publish(whole); }
}

/** The commands that resume a run, also on a later day: one for each date in the paths. */
function resumingCommands(
  { tasks: names, databases, date, full }: BackupRequest,
  { tasks, startedAt }: { tasks: readonly Task[]; startedAt: Date },
): string {
  const dates = Map.groupBy(tasks, (task) => formatIsoDate(date ?? dateInPath(task, startedAt)));
  const only = databases === "all" ? ["--all"] : (databases ?? []).flatMap((name) => ["--database", name]);
  return Array.from(dates, ([day, ofDay]) => {
    const isAll = names === undefined && dates.size === 1;
    const some = isAll ? [] : ofDay.flatMap(({ name }) => ["--task", name]);
    return commandLine("backup", [...some, ...only, "--date", day, "--resume", ...full === true ? ["--full"] : []]);
  }).join("; ");
}

function readRequest(call: Call): BackupRequest {
  const text = call.text("date");
  const date = text === undefined ? undefined : parseDate(text);
  if (text !== undefined && date === undefined) {
    throw new UsageError(`--date "${text}" is not a day of the calendar`, {
      hint: "Write it as 2026-10-22 or 2026/10/22",
    });
  }
  const databases = call.listIfGiven("database");
  if (call.isOn("all") && databases !== undefined) throw new UsageError("--all and --database exclude each other");
  if (call.isOn("scheduled")) {
    const other = ["date", "database", "all", "resume", "full"].find((name) => call.isGiven(name));
    if (other !== undefined) {
      throw new UsageError(`--scheduled and --${other} exclude each other`, {
        hint: "The elapse sets the date, the tasks select the databases, and a run that died is resumed anyway; " +
          "full_every in the config says when a full backup is made",
      });
    }
  }
  return {
    tasks: call.listIfGiven("task"),
    databases: call.isOn("all") ? "all" : databases,
    date,
    resume: call.isOn("resume"),
    full: call.isOn("full"),
  };
}

/** Runs what is due, or says what would be. */
async function runDue(call: Call, session: ProgramSession): Promise<number> {
  const tasks = pickTasks(session.config.tasks, call.listIfGiven("task"));
  const context = await session.context();
  for (const { name, cron } of tasks) {
    if (cron === undefined) context.log.info("task has no schedule and is never due", { task: name });
  }
  if (call.isOn("dry-run")) {
    const due = await findDue(context, tasks);
    const names = due.length === 0 ? [] : await context.couch.listDatabases({ signal: context.signal });
    const selections = due.flatMap(({ task, elapse }) => selectTasks(names, [task], { startedAt: elapse }));
    return printDryRun(call, session, selections);
  }
  const whenInterrupted = (report: ScheduledReport) => session.publish(report, { isInterrupted: true });
  const report = await runScheduled({ ...context, host: hostname(), pid: process.pid, whenInterrupted }, tasks);
  // A machine that had nothing to do must not overwrite the figures of the one that had.
  if (report.tasks.length > 0) await session.publish(report);
  call.print(report, () => {
    const lines = report.scheduled.map((one) => printableLines(describeScheduled(one)));
    const summary = report.tasks.length === 0 ? "" : summarize(report, call);
    return lines.join("") + summary || "No task is due\n";
  }, { isStyled: true });
  return exitCodeOfScheduled(report);
}

/** A claim without a sign of life for so long is taken over by whoever looks next. */
const STALE_MINUTES = CLAIM_TIMES.staleMs / 60_000;

const OUTCOMES: Record<ElapseOutcome, string> = {
  ran: "is run",
  resumed: "was resumed and has finished",
  failed: "is not saved",
  done: "was already run",
  running: "is held by another run",
  lost: "was taken over by another run",
  unclaimed: "could not be claimed and is still due",
};

function describeScheduled({ task, elapse, outcome, by, retry_at }: ScheduledTask): string {
  const again = retry_at === undefined ? "" : `, and is retried at ${retry_at}`;
  const holder = by === undefined ? "" : `: ${by.run} on ${by.host}, process ${by.pid}`;
  const wait = outcome === "running"
    ? `; if that process is gone, the next run takes over after ${STALE_MINUTES} minutes`
    : "";
  return `Task "${task}": the elapse of ${elapse} ${OUTCOMES[outcome]}${again}${holder}${wait}\n`;
}

function summarize(report: RunReport, call: Call): string {
  const { stdout, env } = call.shell;
  const { color, terminal } = lookOf(stdout, env);
  const text = formatSummary(report, { columns: terminal?.columns(), color, isEachTold: hasReadLines(call) });
  return `${terminal?.ascii === true ? text.replaceAll("…", "~") : text}\n`;
}

function printDryRun(call: Call, session: ProgramSession, selections: readonly TaskSelection[]): number {
  const { repository } = session;
  const { run, log } = session.surroundings;
  const tasks = selections.map(({ task, date, databases, warnings }) => {
    for (const warning of warnings) log.warn("selection", { task: task.name, warning });
    const pathOf = (database: string) => repository.locate(repository.backupFolder({ date, database }));
    return {
      task: task.name,
      date: formatIsoDate(date),
      databases: databases.map(({ database }) => ({ database, path: pathOf(database) })),
    };
  });
  const isEmpty = selections.some(isEmptyByMistake);
  call.print({ ok: !isEmpty, dry_run: true, run, tasks }, () =>
    tasks.map(({ task, date, databases }) =>
      [
        `Task "${task}" would back up ${counted(databases.length, "database")} under the date ${date}`,
        ...databases.map(({ database, path }) => `  ${database} -> ${path}`),
        "",
      ].join("\n")
    ).join(""));
  return isEmpty ? EXIT.partial : EXIT.ok;
}
