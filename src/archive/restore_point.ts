/**
 * Finds the newest backup of a database that was complete at a moment. In: a database and a moment, or no moment for
 * now. Out: one manifest of one folder. The catalog is asked first. Then the folders with later dates than its answer
 * (or all folders, if it has none) are searched for backups that it does not know: those of format 1, and those whose
 * entry is gone.
 */
import { type BackupDate, DAY_MS, formatDate, isOfFuture } from "../dates.ts";
import { ArchiveError, describeError, UsageError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { loadAhead } from "../parallel.ts";
import { splitKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { Catalog } from "./catalog.ts";
import { suggestHeld } from "./held_databases.ts";
import { compareDates, type DatedFolder, listDays } from "./days.ts";
import {
  listCheckpoints,
  type ListedManifest,
  listManifests,
  momentOf,
  type ReadManifest,
  readManifests,
  type UsableManifest,
} from "./read.ts";
import type { Repository } from "./repository.ts";

/** A complete backup. */
export interface RestorePoint extends UsableManifest {
  date: BackupDate;
  /** The key of the folder that it lies in. */
  folder: string;
  /** The name of its manifest. */
  name: string;
  finishedAt: Date;
}

/** What a restore point is looked for with. */
export interface PointSearch extends StoreCallOptions {
  /** The newest that was complete at this moment. Moments are compared by the second. @default the newest of all */
  notAfter?: Date | undefined;
  log: Log;
  /** @default the clock of this machine */
  now?: (() => Date) | undefined;
  /** The database's name comes from the repository: no other one is looked for as what was meant. @default false */
  isNameSure?: boolean | undefined;
}

/** How much earlier a day begins in the first time zone than in UTC. */
const FIRST_ZONE_MS = 14 * 3_600_000;
/**
 * The longest time from the date of a backup's folder until it is complete: the month by which `backup_only_previous`
 * dates it back, and another month for a run that took long. Needed only where the catalog does not know the backup.
 */
const LONGEST_MS = 62 * DAY_MS;
/** Folders that are looked into at once. */
const FOLDERS_AT_ONCE = 16;

/** A newer backup that cannot be used. */
interface PassedOver {
  date: BackupDate;
  finishedAt: Date | undefined;
  /** Why its manifest is damaged; undefined where there is none yet. */
  error: ArchiveError | undefined;
}

/** What one folder has. */
interface FolderOfDay {
  point: RestorePoint | undefined;
  passedOver: PassedOver[];
}

/**
 * Finds the newest complete backup of a database, or the newest at a moment. One that is damaged is passed over for an
 * earlier one, and named in the log.
 *
 * With an entry in the catalog it costs that listing, its manifest, and a listing of the days of each month since. A
 * backup that the catalog does not know is found where its folder has a later date; one with an earlier date (made by
 * `backup_only_previous` of version 1 beside version 2) is not, until the catalog is made anew.
 *
 * @param database Decoded.
 * @throws ArchiveError when there is none; UsageError when the newest of all is of the future and others are not.
 */
export async function findRestorePoint(
  repository: Repository,
  database: string,
  search: PointSearch,
): Promise<RestorePoint> {
  const { log, now = () => new Date() } = search;
  const best = await findNewest(repository, database, search);
  if (search.notAfter === undefined && isOfFuture(best.finishedAt, now())) {
    await tellFuture(repository, database, { ...search, best });
  }
  const { date, manifest: { run, task, options }, finishedAt } = best;
  log.info(search.notAfter === undefined ? "latest backup" : "newest backup of that moment", {
    database,
    date: formatDate(date),
    run,
    finishedAt: finishedAt.toISOString(),
  });
  const lacking = [options.attachments ? [] : "attachments", options.revisions ? [] : "histories of revisions"].flat();
  if (lacking.length > 0) log.warn(`backup is without ${lacking.join(" and ")}: its task leaves them out`, { task });
  return best;
}

/**
 * Refuses a newest backup that is dated in the future. The clock of the machine that made it was wrong: until that date
 * has come, it would stay the latest, and the backups of each later day would be passed over. Where all backups are
 * dated in the future, this machine's clock is wrong: that is a warning.
 */
async function tellFuture(
  repository: Repository,
  database: string,
  { best, ...search }: PointSearch & { best: RestorePoint },
): Promise<void> {
  const { log, now = () => new Date() } = search;
  const [moment, present] = [best.finishedAt, now()].map((one) => one.toISOString().replace(/\.\d+Z$/, "Z"));
  try {
    await findNewest(repository, database, { ...search, notAfter: now() });
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    log.warn("latest backup is dated in the future: check the clocks", { database, finishedAt: moment, now: present });
    return;
  }
  throw new UsageError(
    `Cannot tell which backup of "${database}" is the latest: one is dated in the future (${moment}; now is ${present})`,
    {
      hint: `Check the clocks, and give a moment instead of latest: ${present} for the newest until now, ` +
        `${moment} for that one`,
    },
  );
}

async function findNewest(repository: Repository, database: string, search: PointSearch): Promise<RestorePoint> {
  const { log, signal } = search;
  const notAfter = search.notAfter === undefined ? undefined : endOfSecond(search.notAfter);
  const known = await new Catalog(repository).latestComplete(database, { notAfter, log, signal });
  let best: RestorePoint | undefined = known === undefined ? undefined : pointOf(known);
  const passedOver: PassedOver[] = [];
  const look = (day: DatedFolder, signal: AbortSignal) => lookInto(repository, database, { day, notAfter, signal });
  const days = listDaysWorthALook(repository, { ...search, notAfter, after: best?.date, best: () => best });
  for await (const found of loadAhead(days, look, { limit: FOLDERS_AT_ONCE, signal })) {
    passedOver.push(...found.passedOver);
    if (found.point !== undefined && !(best !== undefined && best.finishedAt >= found.point.finishedAt)) {
      best = found.point;
    }
  }
  for (const one of passedOver) if (isNewer(one, best)) tell(one, log);
  if (best === undefined) throw await nothingThere(repository, database, { ...search, notAfter });
  return best;
}

/** Manifests' names tell seconds, and people read seconds. */
function endOfSecond(moment: Date): Date {
  return new Date(Math.floor(moment.getTime() / 1000) * 1000 + 999);
}

function pointOf(
  { entry, ...read }: { entry: { date: BackupDate; manifestKey: string } } & UsableManifest,
): RestorePoint {
  const { folder, name } = splitKey(entry.manifestKey);
  return { date: entry.date, folder, name, ...read, finishedAt: momentOf(name, read.manifest) };
}

/** The days whose folders may hold a newer backup than the best found so far. */
async function* listDaysWorthALook(
  repository: Repository,
  { after, best, notAfter, signal, now = () => new Date() }: Omit<PointSearch, "log"> & {
    after: BackupDate | undefined;
    best: () => RestorePoint | undefined;
  },
): AsyncGenerator<DatedFolder> {
  // Where the catalog knows nothing, a date beyond today is no reason not to look.
  const end = notAfter ?? (after === undefined ? undefined : now());
  const upTo = end === undefined ? undefined : dateOf(new Date(end.getTime() + FIRST_ZONE_MS));
  for await (const day of listDays(repository, { after, upTo, signal })) {
    const found = best();
    if (found !== undefined && startOf(day.date) + LONGEST_MS < found.finishedAt.getTime()) return;
    yield day;
  }
}

function dateOf(moment: Date): BackupDate {
  return { year: moment.getUTCFullYear(), month: moment.getUTCMonth() + 1, day: moment.getUTCDate() };
}

function startOf({ year, month, day }: BackupDate): number {
  return Date.UTC(year, month - 1, day);
}

/** The newest complete backup of one folder at a moment. */
async function lookInto(
  repository: Repository,
  database: string,
  { day: { date }, notAfter, signal }: StoreCallOptions & { day: DatedFolder; notAfter: Date | undefined },
): Promise<FolderOfDay> {
  const { store } = repository;
  const folder = repository.backupFolder({ date, database });
  const manifests = await listManifests(store, folder, { signal });
  const passedOver: PassedOver[] = [];
  if (manifests.length === 0) {
    const isBegun = (await listCheckpoints(store, folder, { signal })).length > 0;
    if (isBegun) passedOver.push({ date, finishedAt: undefined, error: undefined });
    return { point: undefined, passedOver };
  }
  const isInTime = (moment: Date | undefined) => notAfter === undefined || moment === undefined || moment <= notAfter;
  for await (const found of readNewestFirst(manifests.filter(({ finishedAt }) => isInTime(finishedAt)))) {
    if (!isInTime(found.finishedAt)) continue;
    if ("manifest" in found) {
      return { point: { date, folder, ...found }, passedOver };
    }
    passedOver.push({ date, ...found });
  }
  return { point: undefined, passedOver };

  /** One after the other, as mostly the first is the one; all at once where names do not tell the order. */
  async function* readNewestFirst(listed: readonly ListedManifest[]): AsyncGenerator<ReadManifest> {
    const isOrdered = listed.length === 1 || listed.every(({ finishedAt }) => finishedAt !== undefined);
    for (const manifests of isOrdered ? listed.map((one) => [one]).reverse() : [[...listed]]) {
      yield* (await readManifests(store, folder, { state: { manifests }, signal })).reverse();
    }
  }
}

function isNewer({ date, finishedAt }: PassedOver, best: RestorePoint | undefined): boolean {
  if (best === undefined) return true;
  return finishedAt === undefined ? compareDates(date, best.date) > 0 : finishedAt > best.finishedAt;
}

function tell({ date, error }: PassedOver, log: Log): void {
  if (error === undefined) log.warn("a newer backup is passed over: it has not finished", { date: formatDate(date) });
  else {
    log.warn("a newer backup is passed over: its manifest is damaged", {
      date: formatDate(date),
      error: describeError(error),
    });
  }
}

async function nothingThere(
  repository: Repository,
  database: string,
  { notAfter, isNameSure, signal }: PointSearch,
): Promise<ArchiveError> {
  const { root: key } = repository;
  const oldest = notAfter === undefined ? undefined : await findOldest(repository, database, { signal });
  if (notAfter === undefined || oldest === undefined) {
    return new ArchiveError(
      `There is no complete backup of database "${database}" in "${repository.locate(key)}"`,
      { key, expected: "a manifest", found: "none" },
      isNameSure ? {} : { hint: await suggestHeld(repository, database, { signal }) },
    );
  }
  const [wanted, found] = [notAfter, oldest].map((moment) => moment.toISOString().replace(/\.\d+Z$/, "Z"));
  return new ArchiveError(
    `There is no complete backup of database "${database}" at or before ${wanted} in "${repository.locate(key)}": ` +
      `the oldest was complete at ${found}`,
    { key, expected: `one at or before ${wanted}`, found: `the oldest at ${found}` },
    { hint: `Give ${found} or a later moment; "couchdb-backup list backups" shows the backups there are` },
  );
}

/** When the oldest complete backup of a database was complete; undefined where there is none. */
async function findOldest(
  repository: Repository,
  database: string,
  { signal }: StoreCallOptions,
): Promise<Date | undefined> {
  const { store } = repository;
  const days = (await Array.fromAsync(listDays(repository, { signal }))).reverse();
  const look = async ({ date }: DatedFolder, signal: AbortSignal) => {
    const found = await readManifests(store, repository.backupFolder({ date, database }), { isTolerant: true, signal });
    return { date, finishedAt: found.find((one) => "manifest" in one)?.finishedAt };
  };
  let oldest: Date | undefined;
  for await (const { date, finishedAt } of loadAhead(days, look, { limit: FOLDERS_AT_ONCE, signal })) {
    if (oldest !== undefined && startOf(date) - FIRST_ZONE_MS > oldest.getTime()) break;
    if (finishedAt !== undefined && (oldest === undefined || finishedAt < oldest)) oldest = finishedAt;
  }
  return oldest;
}
