/**
 * Deletes the backups that no rule of their task keeps, and leftovers: the only command that deletes backups. In: a
 * repository, the tasks with their retention, and a remover. Out: a report of what was deleted, or without `confirm`
 * would be.
 *
 * For each database, several at a time, all of its folders are listed, each manifest is read, and the rules decide. Of
 * what stays no more is looked at. Of a database those that no other one needs are deleted first, one after the other,
 * each unless somebody has pinned it since: of each the manifest, then its entry in the catalog, then the chunks that no
 * manifest names any more. In this order a kill at any moment leaves backups that are either whole or gone, and objects
 * that the next run recognises as leftovers.
 */
import { nothingHeldOf } from "../../archive/held_databases.ts";
import { type DatabaseHoldings, type HeldBackup, readHoldings, readHolds } from "../../archive/holdings.ts";
import { requireKnownDamage } from "../../archive/known_damage.ts";
import { MANIFEST_NAME, manifestName, shortRun } from "../../archive/layout.ts";
import { momentOf, readManifest } from "../../archive/read.ts";
import type { Repository } from "../../archive/repository.ts";
import { TimeZone } from "../../calendar/time_zone.ts";
import { decodeDatabase } from "../../database_name.ts";
import { ArchiveError, describeError, hintOf, isNotFound, UsageError } from "../../errors.ts";
import type { Log } from "../../observe.ts";
import { forEachParallel, Slots } from "../../parallel.ts";
import { joinKey, keyBelow, splitKey } from "../../store/key.ts";
import type { Remover } from "../../store/remover.ts";
import {
  decideRetention,
  type RetentionDecision,
  type RetentionHold,
  type RetentionPolicy,
} from "../../task/retention.ts";
import { pickTasks } from "../../task/selection.ts";
import type { Task } from "../../task/task.ts";
import { dateZone } from "../../task/times.ts";
import type { LeftoverObject } from "./leftovers.ts";
import { findOldRuns } from "./old_runs.ts";
import {
  childrenFirst,
  chunksOnlyOf,
  identify,
  identifyEntry,
  isOfNow,
  nowOf,
  planAgain,
  type PlanContext,
  planDatabase,
} from "./plan.ts";
import type { ExpiredBackup, ExpireProblem, ExpireReport, KeptBy } from "./report.ts";

/**
 * Databases whose backups are deleted at the same time. Those of one go one after the other, with some six requests
 * behind each other for each; nothing of one database builds on another.
 */
const DATABASES_AT_ONCE = 16;
/** Requests that ask for locks or delete at the same time, of all databases. */
const REMOVALS_AT_ONCE = 16;

/** What it works with. */
export interface ExpireContext {
  repository: Repository;
  /** Deletes in the repository's store. Without `confirm` it is only asked for locks. */
  remover: Remover;
  /** The tasks of the config. */
  tasks: readonly Task[];
  log: Log;
  /** What time it is on this machine; the store's clock counts where it tells one. */
  now: () => Date;
  /** Ends it between two objects. */
  signal: AbortSignal;
  /** How long what was listed ahead is as good as what there is now. @default ten seconds */
  freshMs?: number | undefined;
}

/** What is to go. */
export interface ExpireRequest {
  /** Only backups of these tasks. @default every task that has a retention */
  tasks?: readonly string[] | undefined;
  /** Only backups of this database; encoded or not. */
  database?: string | undefined;
  /** Delete; else it is only said what would go. @default false */
  confirm?: boolean | undefined;
  /** Put what stays into the report, too. @default false */
  showKept?: boolean | undefined;
}

/**
 * Deletes what no rule keeps.
 *
 * @throws UsageError when no task has a retention, or one that is named has none or is none, or there is nothing of a
 * database that is named; StoreError when the store cannot be read; the reason of `context.signal`. What cannot be
 * deleted is in the report.
 */
export async function expire(context: ExpireContext, request: ExpireRequest): Promise<ExpireReport> {
  const startedAt = context.now();
  const report: ExpireReport = {
    ok: false,
    confirmed: request.confirm === true,
    expired: [],
    expired_bytes: 0,
    kept: 0,
    kept_by: {},
    ...request.showKept === true ? { kept_backups: [] } : {},
    leftovers: { objects: 0, bytes: 0 },
    runs: 0,
    problems: [],
    seconds: 0,
  };
  const tasks = tasksWithRetention(pickTasks(context.tasks, request.tasks), {
    isNamed: request.tasks !== undefined,
  });
  const policies = new Map(tasks.map((task) => [task.name, policyOf(task)]));
  const database = request.database === undefined ? undefined : decodeDatabase(request.database);
  const { repository, signal } = context;
  const damage = await requireKnownDamage(repository, { signal });
  const work = { ...context, damage, policies, removals: new Slots(REMOVALS_AT_ONCE) };
  let isEmpty = true;
  await forEachParallel(
    (signal) => readHoldings(repository, { database, damage, signal }),
    async (holdings, signal) => {
      if (holdings.folders.length > 0) isEmpty = false;
      await new Expiry({ ...work, signal }, report).expireDatabase(holdings);
    },
    { limit: DATABASES_AT_ONCE, signal },
  );
  for (const found of [report.expired, report.kept_backups, report.problems]) found?.sort(byDatabase);
  // Entries of the catalog alone are left-overs of a database of which there is no backup any more.
  const isGone = isEmpty && report.leftovers.objects === 0;
  if (database !== undefined && isGone) throw await nothingHeldOf(repository, database, { signal });
  if (database === undefined) {
    const runs = new Expiry(work, report);
    for (const { name } of tasks) await runs.expireRuns(name);
  }
  report.ok = report.problems.length === 0;
  report.seconds = (context.now().getTime() - startedAt.getTime()) / 1000;
  const { expired, expired_bytes: bytes, kept, leftovers, problems, confirmed } = report;
  context.log.info(confirmed ? "expired" : "would expire", {
    backups: expired.length,
    bytes,
    kept,
    leftovers: leftovers.objects,
    problems: problems.length,
  });
  return report;
}

/** A database's own stay in the order in which they are. */
function byDatabase({ database: a }: Named, { database: b }: Named): number {
  return a === b ? 0 : (a ?? "") < (b ?? "") ? -1 : 1;
}

/** A line of the report. No problem that is about no database has come up yet when these are put in order. */
type Named = Pick<ExpiredBackup, "database"> | Pick<ExpireProblem, "database">;

function tasksWithRetention(tasks: readonly Task[], { isNamed }: { isNamed: boolean }): Task[] {
  const bare = isNamed ? tasks.find(({ retention }) => retention === undefined) : undefined;
  const found = tasks.filter(({ retention }) => retention !== undefined);
  if (found.length > 0 && bare === undefined) return found;
  throw new UsageError(
    bare === undefined ? "No task has a retention, so nothing expires" : `The task "${bare.name}" has no retention`,
    { hint: "Set in the config which backups stay, such as retention: {keep_last: 8, keep_monthly: 12}" },
  );
}

function policyOf(task: Task): RetentionPolicy {
  return { ...task.retention!, zone: TimeZone.named(dateZone(task)) };
}

/** Somebody has pinned a backup that was to go. */
class HeldSince extends Error {
  readonly holds: readonly RetentionHold[];

  constructor(holds: readonly RetentionHold[]) {
    super("It is pinned");
    this.holds = holds;
  }
}

/** The expiry of one database, or of the old runs: what it works with, and the report that it fills. */
class Expiry {
  readonly #context: ExpireContext & PlanContext;
  readonly #report: ExpireReport;

  constructor(context: ExpireContext & PlanContext, report: ExpireReport) {
    this.#context = context;
    this.#report = report;
  }

  async expireDatabase(holdings: DatabaseHoldings): Promise<void> {
    let plan = await planDatabase(this.#context, holdings);
    if (this.#report.confirmed && !await isOfNow(this.#context, plan)) plan = await planAgain(this.#context, holdings);
    const { database } = holdings;
    if ("errors" in plan) return this.#keepAll(database, plan.backups, plan.errors);
    if (!await this.#removeExpired(plan.holdings, plan.decisions, plan.now)) return;
    await this.#countRemoved(database, [...plan.leftovers, ...plan.lostEntries]);
  }

  #keepAll(database: string, backups: readonly HeldBackup[], errors: readonly ArchiveError[]): void {
    for (const error of errors) {
      this.#complain(database, `${describeError(error)}; nothing of this database is deleted`);
    }
    this.#keep(backups.map(() => ["damaged"]));
  }

  /**
   * Deletes what the rules have not kept of a database's backups. False where something of it may not be deleted.
   *
   * @param now When they decided.
   */
  async #removeExpired(
    holdings: DatabaseHoldings,
    decisions: readonly RetentionDecision<HeldBackup>[],
    now: Date,
  ): Promise<boolean> {
    const { database } = holdings;
    const { policies, signal } = this.#context;
    const going = childrenFirst(decisions.filter(({ keep }) => !keep));
    const { confirmed } = this.#report;
    const byFolder = Map.groupBy(decisions.map(({ point }) => point), ({ folder }) => folder);
    const gone = new Set<HeldBackup>();
    for (const [index, decision] of going.entries()) {
      signal.throwIfAborted();
      const { point } = decision;
      const { isGone, holds } = confirmed ? await this.#removeManifest(database, point) : { isGone: true, holds: [] };
      if (holds.length > 0) {
        // What it builds on stays, too: the rules decide once more of those that are left. As of the same moment, so
        // that nothing goes that stayed before: nobody has looked since whether a run has built on it.
        const left = decisions.map(({ point }) => point).filter((one) => !gone.has(one))
          .map((one) => one === point ? { ...one, holds: [...one.holds, ...holds] } : one);
        return await this.#removeExpired(holdings, decideRetention(left, { policies, now }), now);
      }
      if (!isGone) {
        // What it builds on is still needed: those after it are left alone, too.
        this.#keep(going.slice(index).map(() => ["not_deleted"]));
        this.#noteKept(database, decisions);
        return false;
      }
      gone.add(point);
      const chunks = chunksOnlyOf(point, byFolder.get(point.folder)!.filter((other) => !gone.has(other)));
      const left = confirmed
        ? await this.#removeRemains(holdings, point, chunks.map(({ key }) => key))
        : new Set<string>();
      const expired = this.#describe(database, decision);
      this.#report.expired.push(expired);
      const { task, path, finished_at: completeAt, reasons } = expired;
      const why = reasons.join("; ");
      this.#context.log.info(confirmed ? "backup is deleted" : "backup would be deleted", {
        database,
        task,
        path,
        completeAt,
        why,
      });
      this.#report.expired_bytes += bytesOf(chunks.filter(({ key }) => !left.has(key)));
    }
    this.#noteKept(database, decisions);
    return true;
  }

  /** Puts those that stay into the report. */
  #noteKept(database: string, decisions: readonly RetentionDecision<HeldBackup>[]): void {
    const kept = decisions.filter(({ keep }) => keep);
    this.#keep(kept.map(({ protections }) => protections));
    for (const decision of kept) this.#report.kept_backups?.push(this.#describe(database, decision));
  }

  async expireRuns(task: string): Promise<void> {
    const { repository, signal } = this.#context;
    for await (const { folder, keys } of findOldRuns(repository, task, { now: nowOf(this.#context), signal })) {
      if (this.#report.confirmed && (await this.#removeAll(null, keys)).size > 0) continue;
      this.#context.log.debug("folder of an old run", { folder, objects: keys.length });
      this.#report.runs++;
    }
  }

  /**
   * Makes a backup none, unless somebody has pinned it since it was looked at, which may be a while ago. `isGone` is
   * false where its manifest, or the copy that would stand for it, may not be deleted.
   */
  async #removeManifest(
    database: string,
    backup: HeldBackup,
  ): Promise<{ isGone: boolean; holds: readonly RetentionHold[] }> {
    const { key, folder } = backup;
    let copies: string[];
    try {
      copies = await this.#isCopied(backup) ? [joinKey(folder, MANIFEST_NAME)] : [];
    } catch (error) {
      this.#context.signal.throwIfAborted();
      // It may be all that is left of another one: whose copy it is shows when the store gives it out again.
      this.#complainOf(database, [error]);
      return { isGone: false, holds: [] };
    }
    try {
      const left = await this.#removeAll(database, [key], () => this.#mustBeFree(backup));
      if (left.size > 0) return { isGone: false, holds: [] };
    } catch (error) {
      if (error instanceof HeldSince) return { isGone: false, holds: error.holds };
      throw error;
    }
    return { isGone: (await this.#removeAll(database, copies)).size === 0, holds: [] };
  }

  /** Whether `manifest.json` beside a backup's manifest is its copy. One that is damaged is nobody's. */
  async #isCopied({ key, folder }: HeldBackup): Promise<boolean> {
    const { repository: { store }, signal } = this.#context;
    const { name } = splitKey(key);
    if (name === MANIFEST_NAME) return false;
    try {
      const manifest = await readManifest(store, folder, { name: MANIFEST_NAME, signal });
      return manifestName(momentOf(MANIFEST_NAME, manifest), shortRun(manifest.run)) === name;
    } catch (error) {
      if (isNotFound(error) || error instanceof ArchiveError) return false;
      throw error;
    }
  }

  /** @throws HeldSince where somebody has pinned a backup. */
  async #mustBeFree({ folder, run }: HeldBackup): Promise<void> {
    const { repository, signal } = this.#context;
    try {
      const holds = await readHolds(repository, { folder, run, signal });
      if (holds.length > 0) throw new HeldSince(holds);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /**
   * Deletes what is left of a backup, in the order that makes a kill harmless (see above). @returns What may not be
   * deleted: a later run finds it as a leftover.
   */
  async #removeRemains(
    { database, entries: known }: DatabaseHoldings,
    backup: HeldBackup,
    chunks: readonly string[],
  ): Promise<ReadonlySet<string>> {
    const { repository, damage } = this.#context;
    const mark = damage.markOf(keyBelow(repository.prefix, backup.key));
    const ofBackup = known.filter((entry) => identifyEntry(entry) === identify(backup));
    const entries = [...mark === undefined ? [] : [mark], ...ofBackup].map(({ key }) => key);
    await this.#removeAll(database, entries);
    return await this.#removeAll(database, [...chunks, ...backup.seen.map((name) => joinKey(backup.folder, name))]);
  }

  /** Deletes objects that no backup needs, and counts those that are gone, or would go. */
  async #countRemoved(database: string, leftovers: readonly LeftoverObject[]): Promise<void> {
    const left = this.#report.confirmed
      ? await this.#removeAll(database, leftovers.map(({ key }) => key))
      : new Set<string>();
    const gone = leftovers.filter(({ key }) => !left.has(key));
    this.#report.leftovers.objects += gone.length;
    this.#report.leftovers.bytes += bytesOf(gone);
  }

  /**
   * @param look Awaited right before each try to delete something: a store that is busy may take it minutes later.
   * @returns Those that may not be deleted; the others are.
   * @throws HeldSince Where `look` does.
   */
  async #removeAll(
    database: string | null,
    keys: readonly string[],
    look?: () => Promise<void>,
  ): Promise<ReadonlySet<string>> {
    const { remover, removals, signal } = this.#context;
    const left = new Set<string>();
    const failed: unknown[] = [];
    const remove = async (key: string, signal: AbortSignal) => {
      try {
        await removals.within(async () => {
          await look?.();
          await remover.remove(key, { signal, again: look });
        }, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof HeldSince) throw error;
        left.add(key);
        failed.push(error);
      }
    };
    await forEachParallel(() => keys, remove, { limit: REMOVALS_AT_ONCE, signal });
    if (failed.length > 0) this.#complainOf(database, failed);
    return left;
  }

  #complainOf(database: string | null, failed: readonly unknown[]): void {
    const [first] = failed;
    const others = failed.length === 1 ? "" : `, and ${failed.length - 1} more`;
    const hint = hintOf(first);
    this.#complain(database, `${describeError(first)}${others}${hint === undefined ? "" : ` (${hint})`}`);
  }

  /** Counts backups that stay, each by all that keeps it. */
  #keep(backups: readonly Iterable<KeptBy>[]): void {
    const { kept_by: counts } = this.#report;
    this.#report.kept += backups.length;
    for (const protections of backups) for (const one of protections) counts[one] = (counts[one] ?? 0) + 1;
  }

  #complain(database: string | null, problem: string): void {
    this.#report.problems.push({ database, problem });
    this.#context.log.error("not deleted", { database: database ?? undefined, problem });
  }

  #describe(database: string, { point, reasons }: RetentionDecision<HeldBackup>): ExpiredBackup {
    return {
      database,
      task: point.task,
      path: this.#context.repository.locate(point.folder),
      finished_at: point.finishedAt.toISOString(),
      documents: point.documents,
      compressed_bytes: point.compressedBytes,
      reasons,
    };
  }
}

function bytesOf(objects: readonly LeftoverObject[]): number {
  return objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
