/** `couchdb-backup status [<config>]`: how each task stands. */
import type { Proof } from "../archive/proof.ts";
import { counted, formatCount, formatInstant, formatSeconds } from "../observe/figures.ts";
import { padEnd, widthOf } from "../observe/text_width.ts";
import {
  exitCodeOfStatus,
  type FailedByHand,
  readStatus,
  type StatusReport,
  type TaskState,
  type TaskStatus,
} from "../schedule/status.ts";
import { pickTasks } from "../task/selection.ts";
import type { Command } from "./command.ts";
import { withSession } from "./session.ts";

/** More failed databases than these are counted in the text; `--json` has them all. */
const SHOWN_FAILURES = 10;

export const command: Command = {
  name: "status",
  usage: ["[<config>]"],
  help: [
    "Shows for each task what was saved last and how long ago, what is not saved and why, and when it runs next. It asks the",
    "store only and needs neither CouchDB nor its password. Below the tasks it shows when verify --all and test-restore",
    "last checked the backups, if they ever did.",
  ],
  flags: [{
    name: "task",
    value: "NAME",
    repeated: true,
    summary: "only this task of the config",
    default: "every task",
  }],
  operands: { least: 0, most: 0 },
  exits: {
    ok: "everything is saved, or under way",
    partial: "something failed, is late or was never saved, or the last check of the backups found something wrong",
    store: "the store",
  },
  examples: [
    { line: "couchdb-backup status cfg.yaml", summary: "the state of every task" },
    { line: "couchdb-backup status --task weekly --json cfg.yaml", summary: "one task, for a program" },
  ],

  async run(call) {
    return await withSession(call, async (session) => {
      const { now, signal } = session.surroundings;
      const tasks = pickTasks(session.config.tasks, call.listIfGiven("task"));
      const report = await readStatus({ repository: session.repository, now, signal }, tasks);
      call.print(report, () => describeStatus(report), { isProse: true });
      return exitCodeOfStatus(report);
    });
  },
};

const WORDS: Record<TaskState, string> = {
  saved: "saved",
  running: "running",
  due: "due",
  failed: "FAILED",
  interrupted: "INTERRUPTED",
  died: "DIED",
  late: "LATE",
  never: "NEVER SAVED",
};

/** The report for people: a line for each task, and below it what is not as it should be. */
export function describeStatus({ tasks, proofs }: StatusReport): string {
  const nameWidth = tasks.reduce((width, { task }) => Math.max(width, widthOf(task)), 0);
  const wordWidth = tasks.reduce((width, { state }) => Math.max(width, WORDS[state].length), 0);
  return tasks.map((status) => {
    const { task, state, failed, error, databases } = status;
    const lines = [`${padEnd(task, nameWidth)}  ${WORDS[state].padEnd(wordWidth)}  ${factsOf(status).join(", ")}`];
    if (error !== null) lines.push(`  ${error}`);
    if (status.last_by_hand !== undefined) lines.push(`  ${describeByHand(status.last_by_hand)}`);
    if (failed.length > 0) {
      const noun = databases === 1 ? "database is" : "databases are";
      lines.push(`  ${formatCount(failed.length)} of ${formatCount(databases ?? 0)} ${noun} not saved:`);
    }
    for (const { database, error } of failed.slice(0, SHOWN_FAILURES)) lines.push(`    ${database}: ${error}`);
    if (failed.length > SHOWN_FAILURES) lines.push(`    and ${formatCount(failed.length - SHOWN_FAILURES)} more`);
    return `${lines.join("\n")}\n`;
  }).join("") + describeProof("verify --all", proofs.verify) + describeProof("test-restore", proofs.test_restore);
}

function describeByHand({ at, failed, databases, error }: FailedByHand): string {
  const what = databases === 0
    ? "saved nothing"
    : failed === 0
    ? "did not save everything"
    : `did not save ${formatCount(failed)} of ${counted(databases, "database")}`;
  return `the run by hand of ${formatInstant(at)} ${what}: ${error}`;
}

function describeProof(command: string, proof: Proof | null): string {
  if (proof === null) return "";
  const { at, ok, backups, backups_in_all, faulty, undecided = 0, last_ok_at } = proof;
  const of = backups === backups_in_all ? "" : ` of ${formatCount(backups_in_all)}`;
  const looked = `${formatCount(backups)}${of} ${backups_in_all === 1 ? "backup" : "backups"}`;
  if (ok) return `${command}  ${looked} proved ${formatInstant(at)}\n`;
  const before = last_ok_at === null
    ? "no earlier one succeeded"
    : `the last success was at ${formatInstant(last_ok_at)}`;
  const wrong = [
    faulty === 0 ? [] : `${formatCount(faulty)} NOT as they must be`,
    undecided === 0 ? [] : `${formatCount(undecided)} could not be looked at`,
  ].flat();
  const found = wrong.length === 0 ? "left a scratch database behind" : wrong.join(", ");
  return `${command}  FAILED: ${looked} looked at ${formatInstant(at)}, ${found}, ${before}\n`;
}

function factsOf(status: TaskStatus): string[] {
  const { state, last_complete_at, age_seconds, unread_reports, elapse, next, retry_at, generations } = status;
  const facts: string[] = [];
  if (last_complete_at === null || age_seconds === null) {
    facts.push(unread_reports === undefined ? "nothing was ever saved in full" : "unknown what was saved in full");
  } else facts.push(`last complete ${formatInstant(last_complete_at)} (${formatSeconds(age_seconds)} ago)`);
  if (unread_reports !== undefined) {
    const runs = unread_reports === 1 ? "run is" : "runs are";
    const later = last_complete_at === null ? "" : "later ";
    facts.push(`${formatCount(unread_reports)} ${later}${runs} unknown, as no report can be read`);
  }
  if (state === "late" && elapse !== null) facts.push(`was due ${formatInstant(elapse)}`);
  if (generations > 1) facts.push(`took ${formatCount(generations)} runs`);
  if (retry_at !== null) facts.push(`retried at ${formatInstant(retry_at)}`);
  if (next !== null) facts.push(`next ${formatInstant(next)}`);
  return facts;
}
