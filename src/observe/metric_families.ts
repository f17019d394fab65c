/**
 * The metrics that there are: of each its name, what it says, and how a task's part of a run's report becomes its
 * samples. Every one is a gauge that describes the last run of a task. Pure.
 */
import { isSaved, isTaskSaved, type RunReport, type TaskReport } from "../archive/report.ts";
import { EXIT } from "../errors.ts";

/** What metrics tell beside the report. */
export interface MetricsOptions {
  /** By task: what a report does not hold. */
  tasks?: Readonly<Record<string, { retries?: number; nextElapse?: Date | undefined }>>;
  /** Lines that a log sink lost during the run, as `flush()` of the log counts them. */
  lostLogLines?: number;
  /**
   * The run was for databases that were named: its figures are series of their own, and must neither pass for the
   * success of the task nor for an archive that has shrunk. @default false
   */
  isPart?: boolean;
  /** Series for each database too: as many as there are databases, so only when asked for. @default false */
  perDatabase?: boolean;
}

/** One series' labels beside `task`, and its value. */
type Sample = { labels?: Record<string, string>; value: number };

/** A metric. */
export interface Family {
  name: string;
  help: string;
  /** None where a task has nothing to say: then the series is left out. */
  samples(task: TaskReport, report: RunReport, options: MetricsOptions): Sample[];
}

/** The time of success, which outlives a run that failed. */
export const LAST_SUCCESS = "couchdb_backup_last_success_timestamp_seconds";
const STATUSES = ["complete", "resumed", "failed", "gone"] as const;
const KINDS = ["full", "incremental", "unchanged"] as const;
const CAUSES = ["couchdb", "store", "archive", "interrupted", "task", "unexpected"] as const;
const CAUSE_OF_EXIT: Record<number, (typeof CAUSES)[number]> = {
  [EXIT.couchdb]: "couchdb",
  [EXIT.store]: "store",
  [EXIT.archive]: "archive",
  [EXIT.interrupted]: "interrupted",
};

/** All metrics, in the order in which they are written. */
export const FAMILIES: readonly Family[] = [
  {
    name: "couchdb_backup_last_run_timestamp_seconds",
    help: "When the last run of the task finished, since 1970.",
    samples: (_task, report) => [{ value: Date.parse(report.finished_at) / 1000 }],
  },
  {
    name: LAST_SUCCESS,
    help: "When the last run that saved everything finished, since 1970.",
    samples: (task, report) => isTaskSaved(task) ? [{ value: Date.parse(report.finished_at) / 1000 }] : [],
  },
  {
    name: "couchdb_backup_last_run_success",
    help: "Whether the last run saved everything it was asked for (1) or not (0).",
    samples: (task) => [{ value: isTaskSaved(task) ? 1 : 0 }],
  },
  {
    name: "couchdb_backup_last_run_duration_seconds",
    help: "How long the last run took; a run of several tasks counts as a whole.",
    samples: (_task, report) => [{ value: (Date.parse(report.finished_at) - Date.parse(report.started_at)) / 1000 }],
  },
  {
    name: "couchdb_backup_databases",
    help: "Databases of the last run by how they fared.",
    samples: ({ databases }) =>
      STATUSES.map((status) => ({
        labels: { status },
        value: databases.filter((database) => database.status === status).length,
      })),
  },
  {
    name: "couchdb_backup_databases_by_kind",
    help: "Databases that the last run saved in full, saved the changes of, and found unchanged.",
    samples: ({ databases }) =>
      KINDS.map((kind) => ({ labels: { kind }, value: databases.filter((one) => kindOf(one) === kind).length })),
  },
  {
    name: "couchdb_backup_full_again_databases",
    help: "Databases of an incremental task of which the last run had to save all.",
    samples: ({ databases }) => [{
      value: databases.filter(({ full_because }) => full_because !== undefined).length,
    }],
  },
  sum("couchdb_backup_documents", "Documents stored by the last run.", "documents"),
  sum("couchdb_backup_leaf_revisions", "Leaf revisions stored by the last run.", "leaf_revisions"),
  sum("couchdb_backup_absent_documents", "Documents that were gone when the last run asked for them.", "absent"),
  sum("couchdb_backup_chunks", "Chunks stored by the last run.", "chunks"),
  sum("couchdb_backup_size_bytes", "Size of what the last run stored, before compression.", "bytes"),
  sum("couchdb_backup_compressed_size_bytes", "Size of the chunks that the last run stored.", "compressed_bytes"),
  {
    name: "couchdb_backup_unreadable_documents",
    help: "Documents that CouchDB could not read; all else of their databases is saved.",
    samples: ({ databases }) => [{
      value: databases.reduce((total, { unreadable }) => total + (unreadable?.length ?? 0), 0),
    }],
  },
  {
    name: "couchdb_backup_shrunk_databases",
    help: "Databases of the last run with less than half of the documents of the backup before.",
    samples: ({ databases }) => [{
      value: databases.filter(({ shrunk_from }) => shrunk_from !== undefined).length,
    }],
  },
  {
    name: "couchdb_backup_chain_lost_documents",
    help: "Documents that the incremental backups before have lost, as a full backup of the last run has found.",
    samples: ({ databases }) => [{
      value: databases.reduce((total, { chain_lost }) => total + (chain_lost?.documents ?? 0), 0),
    }],
  },
  {
    name: "couchdb_backup_unlisted_databases",
    help: "Databases that the run before had and that CouchDB does not list any more.",
    samples: ({ unlisted }) => [{ value: unlisted?.length ?? 0 }],
  },
  {
    name: "couchdb_backup_failures",
    help: "Failures of the last run by what failed: a database's CouchDB, store and so on, or the task as a whole.",
    samples: (task) => CAUSES.map((cause) => ({ labels: { cause }, value: countFailures(task, cause) })),
  },
  {
    name: "couchdb_backup_retries",
    help: "Requests that the last run had to repeat.",
    samples: (task, _report, { tasks }) => optional(tasks?.[task.task]?.retries),
  },
  {
    name: "couchdb_backup_next_elapse_timestamp_seconds",
    help: "When the task's schedule is to start the next run, since 1970.",
    samples: (task, _report, { tasks }) => {
      const nextElapse = tasks?.[task.task]?.nextElapse;
      return optional(nextElapse === undefined ? undefined : nextElapse.getTime() / 1000);
    },
  },
  {
    name: "couchdb_backup_log_lines_lost",
    help: "Log lines of the last run that Loki did not take.",
    samples: (_task, _report, { lostLogLines }) => optional(lostLogLines),
  },
  perDatabase(
    "couchdb_backup_database_success",
    "Whether the last run saved the database (1) or not (0).",
    (database) => isSaved(database) ? 1 : 0,
  ),
  perDatabase(
    "couchdb_backup_database_documents",
    "Documents of the database that the last run stored.",
    (database) => database.documents,
  ),
  perDatabase(
    "couchdb_backup_database_compressed_size_bytes",
    "Size of the database's chunks that the last run stored.",
    (database) => database.compressed_bytes,
  ),
  perDatabase(
    "couchdb_backup_database_duration_seconds",
    "How long the last run took for the database.",
    (database) => database.seconds,
  ),
];

/** What a run for databases that were named has to say, in place of all that. */
export const PART_FAMILIES: readonly Family[] = [
  {
    name: "couchdb_backup_last_partial_run_timestamp_seconds",
    help: "When the last run for named databases of the task finished, since 1970.",
    samples: (_task, report) => [{ value: Date.parse(report.finished_at) / 1000 }],
  },
  {
    name: "couchdb_backup_last_partial_run_success",
    help: "Whether the last run for named databases saved all of these (1) or not (0).",
    samples: (task) => [{ value: isTaskSaved(task) ? 1 : 0 }],
  },
];

function kindOf({ status, kind, unchanged }: TaskReport["databases"][number]): (typeof KINDS)[number] | undefined {
  if (status !== "complete" && status !== "resumed") return undefined;
  return unchanged === true ? "unchanged" : kind;
}

function sum(
  name: string,
  help: string,
  field: "documents" | "leaf_revisions" | "absent" | "chunks" | "bytes" | "compressed_bytes",
): Family {
  return {
    name,
    help,
    samples: ({ databases }) => [{ value: databases.reduce((total, database) => total + database[field], 0) }],
  };
}

function perDatabase(name: string, help: string, value: (database: TaskReport["databases"][number]) => number): Family {
  return {
    name,
    help,
    samples: ({ databases }, _report, options) => {
      if (options.perDatabase !== true) return [];
      return databases.map((database) => ({ labels: { database: database.database }, value: value(database) }));
    },
  };
}

function optional(value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ value }];
}

function countFailures(task: TaskReport, cause: (typeof CAUSES)[number]): number {
  if (cause === "task") return task.error === undefined ? 0 : 1;
  const failed = task.databases.filter((database) => database.status === "failed");
  return failed.filter(({ exit_code }) => (CAUSE_OF_EXIT[exit_code ?? EXIT.unexpected] ?? "unexpected") === cause)
    .length;
}
