/**
 * How the outcome of a command is kept and told beyond its own result. In: a run's report, or what a verification or
 * test-restore found. Out: log lines, an object in the repository for `status` and monitoring, and published figures.
 * What cannot be stored or delivered is a warning in the log.
 */
import type { Finding } from "../archive/known_damage.ts";
import type { Proof, ProofKind } from "../archive/proof.ts";
import { isSaved, isTaskSaved, type RunReport } from "../archive/report.ts";
import type { TestRestoreReport } from "../commands/test_restore/test_restore.ts";
import type { FaultyBackup, VerifyAllReport } from "../commands/verify_all.ts";
import { formatIsoDate } from "../dates.ts";
import { describeError, EXIT, exitCodeOf, hintOf } from "../errors.ts";
import type { Log } from "../observe.ts";
import { describerFor } from "../task/task.ts";
import type { SessionParts } from "./parts.ts";
import type { BackupRequest } from "./requests.ts";

/** Stores the report of a run by hand, for later questions. The backups are saved even if that fails. */
export async function keepReport(report: RunReport, { repository, log, signal }: SessionParts): Promise<void> {
  try {
    const { storeManualRun } = await import("../archive/manual_run.ts");
    await storeManualRun(repository, report, { signal });
  } catch (error) {
    signal.throwIfAborted();
    // What status says is in the store.
    const hint = "status does not know of this run; its exit code, its log and what notify sends do";
    log.warn("report of the run is not stored", { error: describeError(error), hint });
  }
}

/** The report of a run that could not begin, for example because CouchDB or the store is down. */
export async function failureReport(
  { tasks, date }: BackupRequest,
  { error, startedAt, parts: { config, run, now } }: { error: unknown; startedAt: Date; parts: SessionParts },
): Promise<RunReport> {
  const { dateInPath, pickTasks } = await import("../task/selection.ts");
  const hint = hintOf(error);
  const failed = pickTasks(config.tasks, tasks).map((task) => ({
    task: task.name,
    date: formatIsoDate(date ?? dateInPath(task, startedAt)),
    databases: [],
    error: describerFor(task)(error),
    exit_code: exitCodeOf(error),
    ...hint === undefined ? {} : { hint },
  }));
  const times = { started_at: startedAt.toISOString(), finished_at: now().toISOString() };
  return { ok: false, run, ...times, tasks: failed };
}

/** What is kept of a verification of all backups, or of a test-restore. */
type ProvingReport =
  & Pick<VerifyAllReport, "backups" | "backups_in_all" | "documents" | "faulty" | "undecided" | "seconds">
  & Partial<Pick<TestRestoreReport, "left_behind">>;

/** Stores and publishes the outcome of a verification or test-restore. The command's result does not depend on that. */
export async function keepProof(
  { kind, report }: { kind: ProofKind; report: ProvingReport },
  { config, repository, host, log, now, signal, certificates }: SessionParts,
): Promise<void> {
  const { backups, backups_in_all, documents, seconds, left_behind = [] } = report;
  // Documents that CouchDB could not read at backup time are no fault of the backup; a restore reports them.
  const isUnreadable = ({ exit_code }: FaultyBackup) => kind === "verify" && exit_code === EXIT.partial;
  const faulty = report.faulty.filter((one) => !isUnreadable(one)).length;
  const undecided = report.undecided.length;
  const ok = faulty + undecided + left_behind.length === 0;
  const outcome = { at: now().toISOString(), ok, backups, backups_in_all, faulty, undecided, documents, seconds };
  let proof: Proof = { ...outcome, last_ok_at: ok ? outcome.at : null };
  try {
    const { storeProof } = await import("../archive/proof.ts");
    proof = await storeProof(repository, kind, outcome, { signal });
  } catch (error) {
    signal.throwIfAborted();
    log.warn("outcome is not stored", { proof: kind, error: describeError(error) });
  }
  if (config.prometheus === undefined) return;
  const { publishProof } = await import("./publish.ts");
  const fetch = await certificates.fetchFor("pushgateway");
  for (const warning of await publishProof(config, { kind, proof, host, fetch })) log.warn("metrics", { warning });
}

/** Keeps which backups were found damaged, for `expire` and increments. The command's result does not depend on that. */
export async function keepFindings(
  findings: ReadonlyMap<string, Finding>,
  { repository, log, now, signal }: SessionParts,
): Promise<void> {
  if (findings.size === 0) return;
  try {
    const { noteDamage } = await import("../archive/known_damage.ts");
    await noteDamage(repository, findings, { at: now(), signal });
  } catch (error) {
    signal.throwIfAborted();
    log.warn("what was found damaged is not stored, so that expire and increments do not know of it", {
      error: describeError(error),
    });
  }
}

/** Logs the end of each task of a run, for the console and Loki. */
export function logEnd(report: RunReport, log: Log): void {
  const durationMs = Date.parse(report.finished_at) - Date.parse(report.started_at);
  for (const task of report.tasks) {
    const { databases, error, retry_at: retryAt } = task;
    const saved = databases.filter(isSaved).length;
    const facts = { task: task.task, saved, databases: databases.length, durationMs, error, retryAt };
    if (isTaskSaved(task)) log.info("task is saved", facts);
    else log.error("task is not saved", facts);
  }
}
