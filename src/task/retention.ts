/**
 * Which complete backups of a database may go, and why each other one stays. In: the backups, a policy for each task,
 * the moment. Out: a decision for each backup, with its reasons. Pure: nothing is read, nothing is deleted.
 *
 * The rules work as in restic: each goes through the backups from the newest to the oldest and keeps the newest one of
 * each day (week, …) that has any, up to its count; a backup that any rule keeps stays. Days, weeks, months and years
 * are those of the task's time zone; weeks begin on Monday.
 */
import { DAY_MS } from "../dates.ts";
import { ArchiveError } from "../errors.ts";
import type { TimeZone } from "../calendar/time_zone.ts";
import { wallSeconds, type WallTime } from "../calendar/wall_time.ts";

/** A span of time as people write it: `1y6m14d12h`. Months and years are those of the calendar. */
export interface Span {
  /** Years of the calendar. */
  years: number;
  /** Months of the calendar: a month before 31 March is the last of February. */
  months: number;
  /** Days; a week is seven of them. */
  days: number;
  /** Hours. */
  hours: number;
}

/** What a task says of its old backups. A rule that is absent keeps nothing; at least one is there. */
export interface RetentionRules {
  /** How many of the newest. */
  keepLast?: number | undefined;
  /** All that are at most so much older than the newest. */
  keepWithin?: Span | undefined;
  /** The newest of each of so many days that have a backup. */
  keepDaily?: number | undefined;
  /** The same of weeks, as ISO 8601 counts them. */
  keepWeekly?: number | undefined;
  /** The same of months. */
  keepMonthly?: number | undefined;
  /** The same of years. */
  keepYearly?: number | undefined;
  /** How long a backup stays after the one that took its place: a run under way may build on it. */
  grace: Span;
}

/** The rules, and the zone of their days. */
export interface RetentionPolicy extends RetentionRules {
  /** Where a day begins. */
  zone: TimeZone;
}

/** A pin, or a lock of the store. */
export interface RetentionHold {
  protection: "pinned" | "locked";
  /** With the particulars, such as until when; for people. */
  reason: string;
}

/** What is to be known of a complete backup. */
export interface RetentionPoint {
  /** The key of its manifest, unique. */
  key: string;
  task: string;
  /** When it was complete, by the store's clock. */
  finishedAt: Date;
  /** The key of the manifest that it cannot be restored without; undefined where it needs none. */
  parent?: string | undefined;
  /**
   * Whether it can be restored as far as names and sizes tell: its chunks are there, and so are the backups that it
   * builds on. One that cannot counts for no rule.
   */
  isWhole: boolean;
  /**
   * Whether its bytes, or those of what it builds on, were found damaged. It still counts for each rule; but what would
   * stay without it stays as well. @default false
   */
  isDamaged?: boolean | undefined;
  /** What somebody has set to keep it whatever the rules say; mostly nothing. */
  holds: readonly RetentionHold[];
}

/** What can keep a backup: its state, what somebody has set, or a rule of its task. */
export type Protection =
  | "newest"
  | "younger_than_a_day"
  | "needed"
  | "pinned"
  | "locked"
  | "grace"
  | "no_retention"
  | "future"
  | "incomplete"
  | "keep_last"
  | "keep_within"
  | "keep_daily"
  | "keep_weekly"
  | "keep_monthly"
  | "keep_yearly";

/** What becomes of a backup. */
export interface RetentionDecision<Point extends RetentionPoint = RetentionPoint> {
  point: Point;
  /** Whether it stays. */
  keep: boolean;
  /** Why it stays, or the one sentence why not; for people. */
  reasons: string[];
  /** What of it keeps it, without the particulars; empty where nothing does. */
  protections: Set<Protection>;
}

/** How long everything stays: what is so young may belong to a run that is still under way. */
export const YOUNGEST_MS: number = 24 * 3_600_000;

const RULES = [
  { name: "keep_daily", count: (policy: RetentionPolicy) => policy.keepDaily, period: dayOf },
  { name: "keep_weekly", count: (policy: RetentionPolicy) => policy.keepWeekly, period: weekOf },
  { name: "keep_monthly", count: (policy: RetentionPolicy) => policy.keepMonthly, period: monthOf },
  { name: "keep_yearly", count: (policy: RetentionPolicy) => policy.keepYearly, period: yearOf },
] as const;

/**
 * Decides for all complete backups of one database, the newest first.
 *
 * @param options `policies`: by task; the backups of a task without one stay. `now`: by the store's clock.
 * @throws ArchiveError where two have one key: a backup that counts twice takes the place of another, or goes by its double.
 */
export function decideRetention<Point extends RetentionPoint>(
  points: readonly Point[],
  options: { policies: ReadonlyMap<string, RetentionPolicy>; now: Date },
): RetentionDecision<Point>[] {
  const keys = new Set<string>();
  for (const { key } of points) {
    if (keys.has(key)) throw new ArchiveError(`Two backups have one key, so nothing may be deleted: ${key}`, { key });
    keys.add(key);
  }
  const decisions = decide(points, { ...options, isSound: ({ isWhole }) => isWhole });
  if (!points.some(({ isDamaged }) => isDamaged)) return decisions;
  const withoutDamaged = decide(points, { ...options, isSound: ({ isWhole, isDamaged }) => isWhole && !isDamaged });
  for (const [index, decision] of decisions.entries()) keepAlso(decision, withoutDamaged[index]!);
  return decisions;
}

/** Keeps what stays where damaged backups count for nothing, too. */
function keepAlso(decision: RetentionDecision, { keep, reasons, protections }: RetentionDecision): void {
  if (decision.keep && decision.point.isDamaged) decision.reasons.push("it was found damaged");
  if (decision.keep || !keep) return;
  decision.keep = true;
  decision.reasons = reasons.map((reason) => `${reason}, as others were found damaged`);
  decision.protections = protections;
}

/** @param isSound Which backups count. */
function decide<Point extends RetentionPoint>(
  points: readonly Point[],
  { policies, now, isSound }: {
    policies: ReadonlyMap<string, RetentionPolicy>;
    now: Date;
    isSound: (point: Point) => boolean;
  },
): RetentionDecision<Point>[] {
  const decisions = points
    .toSorted((a, b) => b.finishedAt.getTime() - a.finishedAt.getTime() || (a.key < b.key ? 1 : -1))
    .map((point): RetentionDecision<Point> => ({ point, keep: false, reasons: [], protections: new Set() }));
  // A clock that was wrong must neither make a backup the newest nor push another out of a rule.
  const isOfFuture = ({ point }: RetentionDecision) => point.finishedAt.getTime() > now.getTime();
  const countable = decisions.filter((decision) => isSound(decision.point) && !isOfFuture(decision));
  const newest = countable[0] ?? decisions.find(({ point }) => isSound(point));
  if (newest !== undefined) protect(newest, "newest", "the newest of its database");
  for (const decision of decisions) {
    const { point } = decision;
    if (isOfFuture(decision)) protect(decision, "future", "it is of the future: look at the clocks");
    for (const { protection, reason } of point.holds) protect(decision, protection, reason);
    if (!policies.has(point.task)) {
      protect(decision, "no_retention", `no retention is set for the task "${point.task}"`);
    }
    if (now.getTime() - point.finishedAt.getTime() < YOUNGEST_MS) {
      protect(decision, "younger_than_a_day", "younger than a day");
    }
    if (!isSound(point) && (newest === undefined || newest.point.finishedAt < point.finishedAt)) {
      protect(decision, "incomplete", "it lacks something, and no later backup of its database is whole");
    }
  }
  for (const [task, policy] of policies) applyPolicy(countable.filter(({ point }) => point.task === task), policy, now);
  for (const decision of decisions) decision.keep = decision.protections.size > 0;
  keepParents(decisions);
  for (const { keep, point, reasons } of decisions) {
    if (!keep) reasons.push(point.isWhole ? "no rule keeps it" : "it lacks something, so that it counts for no rule");
  }
  return decisions;
}

function protect({ reasons, protections }: RetentionDecision, protection: Protection, reason: string): void {
  reasons.push(reason);
  protections.add(protection);
}

/** Notes which backups of one task, the newest first, its policy keeps. */
function applyPolicy(decisions: readonly RetentionDecision[], policy: RetentionPolicy, now: Date): void {
  const { keepLast = 0, keepWithin, zone, grace } = policy;
  const [newest] = decisions;
  if (newest === undefined) return;
  const wallAt = (instant: Date) => zone.wallAt(Math.floor(instant.getTime() / 1000));
  const wallOf = ({ point }: RetentionDecision) => wallAt(point.finishedAt);
  for (const decision of decisions.slice(0, keepLast)) protect(decision, "keep_last", "keep_last");
  const since = keepWithin === undefined ? Infinity : wallSecondsBefore(wallOf(newest), keepWithin);
  for (const decision of decisions) {
    if (wallSeconds(wallOf(decision)) >= since) protect(decision, "keep_within", "keep_within");
  }
  for (const { name, count, period } of RULES) {
    let left = count(policy) ?? 0;
    let last: string | undefined;
    for (const [index, decision] of decisions.entries()) {
      if (left === 0) break;
      const one = period(wallOf(decision));
      // Where there are fewer periods than asked for, the oldest backup stays for the missing ones.
      const isOldest = index === decisions.length - 1;
      if (one === last && !isOldest) continue;
      protect(decision, name, one === last ? `${name}: the oldest` : `${name}: ${one}`);
      last = one;
      left--;
    }
  }
  const graceSince = wallSecondsBefore(wallAt(now), grace);
  for (const [index, decision] of decisions.entries()) {
    const successor = decisions[index - 1];
    if (successor !== undefined && wallSeconds(wallOf(successor)) > graceSince) {
      protect(decision, "grace", "grace: a run under way may build on it");
    }
  }
}

/** What stays takes along what it cannot be restored without, and that what it needs. */
function keepParents(decisions: readonly RetentionDecision[]): void {
  const byKey = new Map(decisions.map((decision) => [decision.point.key, decision]));
  for (const { keep, point } of decisions) {
    if (!keep) continue;
    for (let child = point; child.parent !== undefined;) {
      const parent = byKey.get(child.parent);
      const reason = `the backup of ${child.finishedAt.toISOString()} needs it`;
      // A parent that has this reason already has been followed to its end; a cycle of parents ends here as well.
      if (parent === undefined || parent.reasons.includes(reason)) break;
      parent.keep = true;
      protect(parent, "needed", reason);
      child = parent.point;
    }
  }
}

function wallSecondsBefore(wall: WallTime, { years, months, days, hours }: Span): number {
  const monthsInAll = wall.year * 12 + (wall.month - 1) - years * 12 - months;
  const [year, month] = [Math.floor(monthsInAll / 12), monthsInAll % 12 + 1];
  const lastDay = new Date(Date.UTC(year, month, 0)).getUTCDate();
  const shifted = { ...wall, year, month, day: Math.min(wall.day, lastDay) };
  return wallSeconds(shifted) - days * 86_400 - hours * 3600;
}

function yearOf({ year }: WallTime): string {
  return String(year);
}

function monthOf(wall: WallTime): string {
  return `${yearOf(wall)}-${String(wall.month).padStart(2, "0")}`;
}

function dayOf(wall: WallTime): string {
  return `${monthOf(wall)}-${String(wall.day).padStart(2, "0")}`;
}

/** The week of ISO 8601, which belongs to the year that its Thursday lies in: `2026-W53`. */
function weekOf({ year, month, day }: WallTime): string {
  const date = new Date(Date.UTC(year, month - 1, day));
  date.setUTCDate(date.getUTCDate() + 3 - (date.getUTCDay() + 6) % 7);
  const thursday = date.getUTCFullYear();
  const week = Math.floor((date.getTime() - Date.UTC(thursday, 0, 1)) / (7 * DAY_MS)) + 1;
  return `${thursday}-W${String(week).padStart(2, "0")}`;
}
