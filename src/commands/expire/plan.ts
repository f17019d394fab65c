/**
 * What is to become of a database's backups: which stay, which go and in which order, and what belongs to none of them.
 * In: all that is held of the database, the rules of the tasks, and what the store says of locks. Out: a plan, or why
 * nothing of the database may be deleted. Nothing is deleted here.
 */
import { Catalog, type CatalogKey } from "../../archive/catalog.ts";
import { type DatabaseHoldings, type HeldBackup, readHoldings } from "../../archive/holdings.ts";
import type { KnownDamage } from "../../archive/known_damage.ts";
import { MANIFEST_NAME } from "../../archive/layout.ts";
import type { Repository } from "../../archive/repository.ts";
import { ArchiveError } from "../../errors.ts";
import { forEachParallel, type Slots } from "../../parallel.ts";
import { joinKey, splitKey } from "../../store/key.ts";
import type { Remover } from "../../store/remover.ts";
import { decideRetention, type RetentionDecision, type RetentionPolicy, YOUNGEST_MS } from "../../task/retention.ts";
import { findLeftovers, type LeftoverObject } from "./leftovers.ts";

/** Backups whose locks are asked for at the same time. */
const LOCKS_AT_ONCE = 16;

/** What is held of databases is listed ahead. Where that was longer ago, it is made sure that it is so still. */
const FRESH_MS = 10_000;
/** What was listed so long ago is listed and read again before anything is deleted by it. */
const STALE_MS = 600_000;

/** What a plan is made with. */
export interface PlanContext {
  repository: Repository;
  /** Says what is locked. */
  remover: Pick<Remover, "findHold">;
  /** The requests that ask for locks, and those that delete, take turns; of all databases. */
  removals: Slots;
  /** The rules of each task that has some, by its name. */
  policies: ReadonlyMap<string, RetentionPolicy>;
  damage: KnownDamage;
  /** What time it is on this machine. */
  now: () => Date;
  signal: AbortSignal;
  /** How long what was listed ahead is as good as what there is now. @default ten seconds */
  freshMs?: number | undefined;
}

/** What is to become of a database's backups, or why nothing of it may be deleted. */
export type DatabasePlan =
  & { holdings: DatabaseHoldings; backups: readonly HeldBackup[] }
  & ({
    decisions: readonly RetentionDecision<HeldBackup>[];
    leftovers: readonly LeftoverObject[];
    /** Entries of the catalog whose backup somebody has deleted by hand, or a run never finished. */
    lostEntries: readonly LeftoverObject[];
    /** When it was decided. */
    now: Date;
  } | { errors: readonly ArchiveError[] });

/** By the store's clock, which is that of the moments it is compared with. */
export function nowOf({ repository, now }: Pick<PlanContext, "repository" | "now">): Date {
  return new Date(now().getTime() + (repository.store.clockSkewMs ?? 0));
}

/**
 * Decides what is to become of a database's backups.
 *
 * @throws StoreError when the store does not tell what is locked; the reason of the signal.
 */
export async function planDatabase(context: PlanContext, holdings: DatabaseHoldings): Promise<DatabasePlan> {
  const { folders } = holdings;
  const backups = folders.flatMap((folder) => folder.backups);
  const damaged = folders.flatMap((folder) => folder.damaged);
  // Another backup may build on the damaged one, or it alone may name a chunk that is still needed.
  if (damaged.length > 0) return { holdings, backups, errors: damaged };
  const now = nowOf(context);
  try {
    requireOnce(backups);
    const decisions = await decide(context, backups, now);
    const [leftovers, lostEntries] = [findLeftovers(holdings, { now }), findLostEntries(holdings, backups, now)];
    return { holdings, backups, decisions, leftovers, lostEntries, now };
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    return { holdings, backups, errors: [error] };
  }
}

/**
 * The same by what there is now: folders are listed ahead, and what was planned before may have taken long, so that a
 * run may have stored something since.
 */
export async function planAgain(
  context: PlanContext,
  { database, ...holdings }: DatabaseHoldings,
): Promise<DatabasePlan> {
  const { repository, damage, signal } = context;
  const [again] = await Array.fromAsync(readHoldings(repository, { database, damage, signal }));
  return await planDatabase(context, again ?? { ...holdings, database, folders: [] });
}

/** Whether what a plan deletes may go by what there is now. */
export async function isOfNow(
  { repository, signal, freshMs = FRESH_MS }: PlanContext,
  plan: DatabasePlan,
): Promise<boolean> {
  if ("errors" in plan) return true;
  const { holdings: { database, entries, listedAtMs }, backups, decisions, leftovers, lostEntries, now } = plan;
  if (decisions.every(({ keep }) => keep) && leftovers.length + lostEntries.length === 0) return true;
  const ageMs = performance.now() - listedAtMs;
  if (ageMs < freshMs) return true;
  // Whether a run has gone on from what looks left over is seen in its folder alone.
  if (ageMs >= STALE_MS || leftovers.length > 0) return false;
  // A backup that was made since is in the catalog: it is entered there before its manifest is stored.
  const before = now.getTime() - YOUNGEST_MS;
  const known = new Set([
    ...backups.map(identify),
    ...entries.filter(({ finishedAt }) => finishedAt.getTime() < before).map(identifyEntry),
  ]);
  const entriesNow = await new Catalog(repository).keys(database, { signal });
  return entriesNow.every((entry) => known.has(identifyEntry(entry)));
}

/** By the rules, and by what the store says of each that they do not keep. */
async function decide(
  { remover, removals, policies, signal }: PlanContext,
  backups: readonly HeldBackup[],
  now: Date,
): Promise<RetentionDecision<HeldBackup>[]> {
  const options = { policies, now };
  const decisions = decideRetention(backups, options);
  const held = new Map<string, string>();
  await forEachParallel(
    () => decisions.filter(({ keep }) => !keep),
    async ({ point }, signal) => {
      const hold = await removals.within(() => remover.findHold(point.key, { signal }), signal);
      if (hold !== undefined) held.set(point.key, hold);
    },
    { limit: LOCKS_AT_ONCE, signal },
  );
  if (held.size === 0) return decisions;
  const known = backups.map((one) => {
    const reason = held.get(one.key);
    return reason === undefined ? one : { ...one, holds: [...one.holds, { protection: "locked" as const, reason }] };
  });
  return decideRetention(known, options);
}

/**
 * A manifest's name has its moment and its run. One that lies in two folders may be one file, as where one folder is a
 * symbolic link to the other: what goes in one would go in both. Not where they are of two tasks: these run in one run,
 * and each has a date of its own, by its time zone.
 *
 * @throws ArchiveError where one does.
 */
function requireOnce(backups: readonly HeldBackup[]): void {
  const folders = new Map<string, string>();
  for (const { key, folder, task } of backups) {
    const { name } = splitKey(key);
    if (name === MANIFEST_NAME) continue;
    const backup = JSON.stringify([name, task]);
    const other = folders.get(backup);
    if (other === undefined) folders.set(backup, folder);
    else {
      const problem = `"${other}" and "${folder}" hold one backup, "${name}": one may be a link to the other`;
      throw new ArchiveError(problem, { key, expected: "one folder", found: "two" });
    }
  }
}

/**
 * What builds on another one before that one, else in the given order: at a kill, or where one turns out to be pinned,
 * none may have lost what it needs. By their times alone it would, where a clock was set back.
 *
 * @param going The newest first.
 */
export function childrenFirst<Decision extends RetentionDecision<HeldBackup>>(going: readonly Decision[]): Decision[] {
  const byKey = new Map(going.map((decision) => [decision.point.key, decision]));
  const parentsFirst = new Set<Decision>();
  for (const decision of going.toReversed()) {
    const line: Decision[] = [];
    for (
      let one: Decision | undefined = decision;
      one !== undefined && !parentsFirst.has(one) && !line.includes(one);
    ) {
      line.push(one);
      one = one.point.parent === undefined ? undefined : byKey.get(one.point.parent);
    }
    for (const one of line.toReversed()) parentsFirst.add(one);
  }
  return [...parentsFirst].toReversed();
}

/** A `manifest.json` may have become that of another run. */
export function identify({ run, key }: HeldBackup): string {
  return `${run} ${key}`;
}

/** The same of an entry of the catalog. */
export function identifyEntry({ run, manifestKey }: CatalogKey): string {
  return `${run} ${manifestKey}`;
}

function findLostEntries(
  { entries }: DatabaseHoldings,
  backups: readonly HeldBackup[],
  now: Date,
): LeftoverObject[] {
  const there = new Set(backups.map(identify));
  const before = now.getTime() - YOUNGEST_MS;
  return entries.filter((entry) => !there.has(identifyEntry(entry)) && entry.finishedAt.getTime() < before)
    .map(({ key }) => ({ key, sizeBytes: 0 }));
}

/** The chunks of a backup that none of the others in its folder names. */
export function chunksOnlyOf({ folder, chunks }: HeldBackup, others: readonly HeldBackup[]): LeftoverObject[] {
  const needed = new Set(others.flatMap((other) => [...other.chunks.keys()]));
  return [...chunks].filter(([name]) => !needed.has(name))
    .map(([name, sizeBytes]) => ({ key: joinKey(folder, name), sizeBytes }));
}
