/**
 * The days of a repository, by listing its folders of years, months and days. In: a repository and the days of
 * interest. Out: those that are there, the newest first; and which databases have a folder on one of them.
 */
import { decodeDatabase } from "../database_name.ts";
import { type BackupDate, formatDate, parseDate } from "../dates.ts";
import { joinKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import type { Repository } from "./repository.ts";

/** The date of a backup and the folder it lies in. */
export interface DatedFolder {
  date: BackupDate;
  /** The folder of the day: `<prefix>/2026/01/03`. */
  folder: string;
}

/** Which days are looked for. */
export interface DayRange extends StoreCallOptions {
  /** Only later ones. */
  after?: BackupDate | undefined;
  /** Only this one and earlier ones. */
  upTo?: BackupDate | undefined;
}

/** Up to so many months are listed without first finding out which there are: that would take two listings. */
const FEW_MONTHS = 3;

/** The days of a repository that have backups, the newest first. */
export async function* listDays(repository: Repository, range: DayRange): AsyncGenerator<DatedFolder> {
  const { after, upTo, signal } = range;
  for await (const month of listMonths(repository, range)) {
    for (const day of await numberedFolders(repository.store, month.folder, { digits: 2, signal })) {
      const date = parseDate(`${month.name}-${day.name}`);
      if (date === undefined || (after !== undefined && compareDates(date, after) <= 0)) continue;
      if (upTo === undefined || compareDates(date, upTo) <= 0) yield { date, folder: day.folder };
    }
  }
}

/** The folder of a database's backups of one date. */
export interface DatabaseFolder {
  /** Decoded. */
  database: string;
  date: BackupDate;
  /** The key of its folder: `<prefix>/2026/01/03/<suffix>/a%2Fb`. */
  folder: string;
}

/**
 * The databases that have a folder on a day, in the store's order. One whose folder lies there in several spellings
 * comes with each of them; {@linkcode isOwnFolder} says which is that of its backups.
 */
export async function* listDatabases(
  { store, suffix }: Repository,
  { date, folder }: DatedFolder,
  options: StoreCallOptions,
): AsyncGenerator<DatabaseFolder> {
  const below = joinKey(folder, suffix);
  for await (const { kind, name } of store.list(below, options)) {
    if (kind === "folder") yield { database: decodeDatabase(name), date, folder: joinKey(below, name) };
  }
}

/**
 * Whether backups of its database are stored in that folder, and looked for: its name may be another spelling of the
 * same name (`a%2fb`), made by hand or by another program.
 */
export function isOwnFolder(repository: Repository, { date, database, folder }: DatabaseFolder): boolean {
  return folder === repository.backupFolder({ date, database });
}

/** Negative where `a` is the earlier day. */
export function compareDates(a: BackupDate, b: BackupDate): number {
  const [left, right] = [formatDate(a), formatDate(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The months that can have days of the range; `name` is `2026-01`. */
async function* listMonths(
  { store, root }: Repository,
  { after, upTo, signal }: DayRange,
): AsyncGenerator<{ name: string; folder: string }> {
  const [first, last] = [after, upTo].map((date) => date === undefined ? undefined : formatDate(date).slice(0, 7));
  if (first !== undefined && last !== undefined) {
    const months = monthsFrom(first, last, FEW_MONTHS + 1);
    if (months.length <= FEW_MONTHS) {
      for (const month of months.reverse()) yield { name: month.replace("/", "-"), folder: joinKey(root, month) };
      return;
    }
  }
  for (const year of await numberedFolders(store, root, { digits: 4, signal })) {
    if (first !== undefined && year.name < first.slice(0, 4)) return;
    if (last !== undefined && year.name > last.slice(0, 4)) continue;
    for (const month of await numberedFolders(store, year.folder, { digits: 2, signal })) {
      const name = `${year.name}/${month.name}`;
      if ((first !== undefined && name < first) || (last !== undefined && name > last)) continue;
      yield { name: name.replace("/", "-"), folder: month.folder };
    }
  }
}

/** `2026/11`, `2026/12`, `2027/01`: at most `limit` months from the first to the last. */
function monthsFrom(first: string, last: string, limit: number): string[] {
  const months: string[] = [];
  let [year = 0, month = 0] = first.split("/").map(Number);
  for (let next = first; next <= last && months.length < limit;) {
    months.push(next);
    [year, month] = month === 12 ? [year + 1, 1] : [year, month + 1];
    next = formatDate({ year, month, day: 1 }).slice(0, 7);
  }
  return months;
}

/** The folders whose names are numbers of so many digits, the highest first. */
export async function numberedFolders(
  store: Store,
  folder: string,
  { digits, signal }: StoreCallOptions & { digits: number },
): Promise<{ name: string; folder: string }[]> {
  const found: { name: string; folder: string }[] = [];
  for await (const { kind, name } of store.list(folder, { signal })) {
    if (kind === "folder" && name.length === digits && /^\d+$/.test(name)) {
      found.push({ name, folder: joinKey(folder, name) });
    }
  }
  return found.reverse();
}
