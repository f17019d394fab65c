import { assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { isTaskSaved } from "../../src/archive/report.ts";
import { formatMetrics, mergeMetrics } from "../../src/observe/metrics.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";

const FINISHED = Date.UTC(2026, 0, 3, 18, 1, 30) / 1000;

const MIXED = runReport([
  taskReport("weekly", [
    databaseReport("media", { kind: "incremental", unchanged: true }),
    databaseReport("account/ab", { kind: "incremental", status: "resumed" }),
  ]),
  taskReport("monthly", [
    databaseReport("a"),
    databaseReport("b", { status: "failed", error: "gone", exit_code: 10, documents: 5, bytes: 10 }),
    databaseReport("c", { status: "failed", error: "full", exit_code: 11 }),
    databaseReport("d", { status: "failed", error: "defect" }),
  ]),
]);

/** The samples of a text without its comments. */
function samples(text: string, part: string): string[] {
  return text.split("\n").filter((line) => !line.startsWith("#") && line.includes(part));
}

Deno.test("formatMetrics() tells per task what the last run did", () => {
  const text = formatMetrics(MIXED, {
    tasks: { weekly: { retries: 3, nextElapse: new Date(1_800_000_000_500) } },
    lostLogLines: 4,
  });
  assertEquals(samples(text, 'task="weekly"'), [
    `couchdb_backup_last_run_timestamp_seconds{task="weekly"} ${FINISHED}`,
    `couchdb_backup_last_success_timestamp_seconds{task="weekly"} ${FINISHED}`,
    'couchdb_backup_last_run_success{task="weekly"} 1',
    'couchdb_backup_last_run_duration_seconds{task="weekly"} 90',
    'couchdb_backup_databases{task="weekly",status="complete"} 1',
    'couchdb_backup_databases{task="weekly",status="resumed"} 1',
    'couchdb_backup_databases{task="weekly",status="failed"} 0',
    'couchdb_backup_databases{task="weekly",status="gone"} 0',
    'couchdb_backup_databases_by_kind{task="weekly",kind="full"} 0',
    'couchdb_backup_databases_by_kind{task="weekly",kind="incremental"} 1',
    'couchdb_backup_databases_by_kind{task="weekly",kind="unchanged"} 1',
    'couchdb_backup_full_again_databases{task="weekly"} 0',
    'couchdb_backup_documents{task="weekly"} 200',
    'couchdb_backup_leaf_revisions{task="weekly"} 220',
    'couchdb_backup_absent_documents{task="weekly"} 2',
    'couchdb_backup_chunks{task="weekly"} 4',
    'couchdb_backup_size_bytes{task="weekly"} 200000',
    'couchdb_backup_compressed_size_bytes{task="weekly"} 50000',
    'couchdb_backup_unreadable_documents{task="weekly"} 0',
    'couchdb_backup_shrunk_databases{task="weekly"} 0',
    'couchdb_backup_chain_lost_documents{task="weekly"} 0',
    'couchdb_backup_unlisted_databases{task="weekly"} 0',
    'couchdb_backup_failures{task="weekly",cause="couchdb"} 0',
    'couchdb_backup_failures{task="weekly",cause="store"} 0',
    'couchdb_backup_failures{task="weekly",cause="archive"} 0',
    'couchdb_backup_failures{task="weekly",cause="interrupted"} 0',
    'couchdb_backup_failures{task="weekly",cause="task"} 0',
    'couchdb_backup_failures{task="weekly",cause="unexpected"} 0',
    'couchdb_backup_retries{task="weekly"} 3',
    'couchdb_backup_next_elapse_timestamp_seconds{task="weekly"} 1800000000.5',
    'couchdb_backup_log_lines_lost{task="weekly"} 4',
  ]);
});

Deno.test("formatMetrics() counts failures by cause and gives a failed task no time of success", () => {
  const text = formatMetrics(MIXED);
  const monthly = samples(text, 'task="monthly"').join("\n");
  assertNotMatch(monthly, /last_success/);
  assertNotMatch(text, /retries|next_elapse|log_lines_lost|_database_/);
  assertStringIncludes(monthly, 'couchdb_backup_last_run_success{task="monthly"} 0');
  assertStringIncludes(monthly, 'couchdb_backup_databases{task="monthly",status="failed"} 3');
  assertEquals(samples(monthly, "cause=").map((line) => line.replace(/.*cause=/, "")), [
    '"couchdb"} 1',
    '"store"} 1',
    '"archive"} 0',
    '"interrupted"} 0',
    '"task"} 0',
    '"unexpected"} 1',
  ]);
  const broken = formatMetrics(runReport([taskReport("t", [], "Cannot list databases")]));
  assertStringIncludes(broken, 'couchdb_backup_failures{task="t",cause="task"} 1');
});

Deno.test("formatMetrics() gives each family one HELP and one TYPE before all of its samples", () => {
  const text = formatMetrics(MIXED, { perDatabase: true, lostLogLines: 0 });
  const seen = new Set<string>();
  let current = "";
  for (const line of text.trimEnd().split("\n")) {
    const name = line.match(/^(?:# HELP |# TYPE )?(\w+)/)?.[1] ?? "";
    if (line.startsWith("# HELP")) {
      assertEquals(seen.has(name), false, name);
      seen.add(name);
      current = name;
    }
    assertEquals(name, current);
  }
  assertEquals(text.match(/^# TYPE /gm)?.length, seen.size);
});

Deno.test("formatMetrics() tells of single databases only when asked to", () => {
  const text = formatMetrics(MIXED, { perDatabase: true });
  assertEquals(samples(text, 'database="b"'), [
    'couchdb_backup_database_success{task="monthly",database="b"} 0',
    'couchdb_backup_database_documents{task="monthly",database="b"} 5',
    'couchdb_backup_database_compressed_size_bytes{task="monthly",database="b"} 25000',
    'couchdb_backup_database_duration_seconds{task="monthly",database="b"} 1.5',
  ]);
});

Deno.test("formatMetrics() escapes what would break out of a label", () => {
  const text = formatMetrics(runReport([taskReport('a"b\\c\nd', [])]));
  assertStringIncludes(text, 'couchdb_backup_documents{task="a\\"b\\\\c\\nd"} 0\n');
});

Deno.test("mergeMetrics() keeps other tasks and the last success of a task that failed", () => {
  const first = formatMetrics(runReport([taskReport("weekly", [databaseReport("a")]), taskReport('od"d', [])]));
  const later = runReport([
    taskReport("weekly", [databaseReport("a", { status: "failed", error: "x", exit_code: 11 })]),
  ]);
  later.finished_at = "2026-01-10T18:00:00.000Z";
  const merged = mergeMetrics(first, formatMetrics(later));
  assertEquals(samples(merged, "last_"), [
    `couchdb_backup_last_run_timestamp_seconds{task="od\\"d"} ${FINISHED}`,
    `couchdb_backup_last_run_timestamp_seconds{task="weekly"} ${Date.UTC(2026, 0, 10, 18) / 1000}`,
    `couchdb_backup_last_success_timestamp_seconds{task="weekly"} ${FINISHED}`,
    `couchdb_backup_last_success_timestamp_seconds{task="od\\"d"} ${FINISHED}`,
    'couchdb_backup_last_run_success{task="od\\"d"} 1',
    'couchdb_backup_last_run_success{task="weekly"} 0',
    'couchdb_backup_last_run_duration_seconds{task="od\\"d"} 90',
    'couchdb_backup_last_run_duration_seconds{task="weekly"} 604800',
  ]);
  assertEquals(merged.match(/^# HELP couchdb_backup_documents /gm)?.length, 1);
});

Deno.test("mergeMetrics() replaces a task whose run succeeded, and leaves out lines that are not its own", () => {
  const next = formatMetrics(runReport([taskReport("weekly", [])]));
  assertEquals(mergeMetrics("", next), next);
  const before = formatMetrics(runReport([taskReport("weekly", [databaseReport("a")])]), { perDatabase: true });
  assertEquals(mergeMetrics(before, next), next);
  assertEquals(mergeMetrics('garbage\nup{task="x"} 1\ncouchdb_backup_documents{tas', next), next);
});

Deno.test("isTaskSaved() is false for a failed database and for a failed task", () => {
  const [weekly, monthly] = MIXED.tasks;
  assertEquals([weekly, monthly, taskReport("t", [], "x")].map((task) => task !== undefined && isTaskSaved(task)), [
    true,
    false,
    false,
  ]);
});

Deno.test("formatMetrics() counts what is saved and needs a look, and takes gone databases for saved", () => {
  const unreadable = [{ id: "x", error: "internal_error", reason: "" }, { id: "y", error: "timeout", reason: "" }];
  const databases = [
    databaseReport("a", { unreadable }),
    databaseReport("b", { shrunk_from: 1000, chain_lost: { documents: 3, ids: ["a", "b", "c"] } }),
    databaseReport("c", { status: "gone" }),
  ];
  const text = formatMetrics(runReport([{ ...taskReport("t", databases), unlisted: ["d", "e"] }]), {
    perDatabase: true,
  });
  for (
    const line of [
      'couchdb_backup_last_run_success{task="t"} 0',
      'couchdb_backup_unreadable_documents{task="t"} 2',
      'couchdb_backup_shrunk_databases{task="t"} 1',
      'couchdb_backup_chain_lost_documents{task="t"} 3',
      'couchdb_backup_unlisted_databases{task="t"} 2',
      'couchdb_backup_databases{task="t",status="gone"} 1',
      'couchdb_backup_database_success{task="t",database="a"} 0',
      'couchdb_backup_database_success{task="t",database="c"} 1',
    ]
  ) assertStringIncludes(text, `${line}\n`);
  const saved = runReport([taskReport("t", databases.slice(1))]);
  assertStringIncludes(formatMetrics(saved), 'couchdb_backup_last_run_success{task="t"} 1\n');
});

Deno.test("mergeMetrics() keeps what is known of a whole task beside a run of a part of it, and the other way round", () => {
  const report = runReport([taskReport("t", [databaseReport("a")])]);
  const whole = formatMetrics(report);
  const part = formatMetrics({ ...report, ok: false, tasks: [taskReport("t", [], "CouchDB is away")] }, {
    isPart: true,
  });
  assertEquals(samples(part, "").filter((line) => line !== ""), [
    `couchdb_backup_last_partial_run_timestamp_seconds{task="t"} ${FINISHED}`,
    'couchdb_backup_last_partial_run_success{task="t"} 0',
  ]);
  const both = mergeMetrics(whole, part);
  assertEquals(samples(both, 'task="t"').toSorted(), [...samples(whole, "{"), ...samples(part, "{")].toSorted());
  assertEquals(mergeMetrics(both, whole), both);
  assertEquals(mergeMetrics(part, whole), both);
});
