/** Reports of runs, invented for the tests of what is made from reports. */
import type { DatabaseReport, RunReport, TaskReport } from "../../src/archive/report.ts";

/** A database that was saved, unless `part` says otherwise. */
export function databaseReport(database: string, part: Partial<DatabaseReport> = {}): DatabaseReport {
  return {
    database,
    status: "complete",
    path: `s3://bucket/backup/2026/01/03/couchdb/${encodeURIComponent(database)}/`,
    seconds: 1.5,
    documents: 100,
    leaf_revisions: 110,
    deleted: 3,
    absent: 1,
    chunks: 2,
    bytes: 100_000,
    compressed_bytes: 25_000,
    ...part,
  };
}

/** A task over `databases`. */
export function taskReport(task: string, databases: DatabaseReport[], error?: string): TaskReport {
  return { task, date: "2026-01-03", databases, ...(error === undefined ? {} : { error }) };
}

/** A run of 90 seconds that ended on 2026-01-03 at 18:01:30 UTC. */
export function runReport(tasks: TaskReport[]): RunReport {
  const failed = (task: TaskReport) =>
    task.error !== undefined || task.databases.some((one) => one.status === "failed");
  return {
    ok: !tasks.some(failed),
    run: "20260103T180000Z-0123456789ab",
    started_at: "2026-01-03T18:00:00.000Z",
    finished_at: "2026-01-03T18:01:30.000Z",
    tasks,
  };
}
