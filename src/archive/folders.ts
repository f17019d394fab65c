/**
 * The folders of a repository's databases with what lies in them, and what the catalog has of each, by as few listings as
 * the store allows. In: a repository, or one database of it. Out: database after database, each with all its folders.
 *
 * Keys come in order. So where a store lists all that lies below a day page by page, the pages of all days, and those of
 * the catalog, are gone through side by side, and one of each is held at a time: requests grow with the number of objects
 * alone, a thousandth of it, and memory with the number of days.
 */
import { decodeDatabase } from "../database_name.ts";
import { StoreError } from "../errors.ts";
import { loadAhead, Slots } from "../parallel.ts";
import { compareEntries, joinKey } from "../store/key.ts";
import type { ObjectBelow, Store, StoreCallOptions } from "../store/store.ts";
import { type DatabaseFolder, type DatedFolder, listDays } from "./days.ts";
import type { Repository } from "./repository.ts";

/** Listings that are under way at once. */
const LISTINGS_AT_ONCE = 16;

/** Objects of the pages of all days that are held at once, if there are no more days than make the pages small. */
const OBJECTS_AT_ONCE = 20_000;
const SMALLEST_PAGE = 100;
const LARGEST_PAGE = 1000;

/** An object as its folder's listing shows it. */
export type ListedObject = Omit<ObjectBelow, "kind" | "name">;

/** The folder of a database's backups of one date, and what lies directly in it. */
export interface ListedFolder extends DatabaseFolder {
  /** The objects by name, with those that are unfinished. */
  objects: ReadonlyMap<string, ListedObject>;
}

/** The folders that carry one name, of one database. */
export interface DatabaseFolders {
  /** Decoded. */
  database: string;
  /** The latest date first. One that was expected and is not there has no objects. */
  folders: ListedFolder[];
  /** The names of its entries in the catalog; none where the folder is another spelling of the database's. */
  entries: string[];
  /** When the first of the listings was asked for, by `performance.now()`. */
  listedAtMs: number;
}

/** What of folders is listed. */
interface FolderSearch extends StoreCallOptions {
  /** Only objects with a name after this one: whatever many lie before it cost one request a folder at the most. */
  after?: string | undefined;
}

/**
 * The folders of each database, in the store's order of their names: another spelling (`a%2fb`) comes by itself.
 *
 * @param search `database`: those of this one alone, decoded, by a listing of each: a day may hold thousands of others.
 */
export async function* listByDatabase(
  repository: Repository,
  { database, ...search }: FolderSearch & { database?: string | undefined },
): AsyncGenerator<DatabaseFolders> {
  if (database === undefined) yield* listAll(repository, search);
  else yield await listOne(repository, database, search);
}

/** A database's entries in the catalog. */
export interface DatabaseEntries {
  /** Decoded. */
  database: string;
  /** Their names, those of the newest backups first. */
  entries: string[];
}

/** What the catalog has of each database, in the store's order of their names. Another spelling is passed over. */
export async function* listEntries(
  repository: Repository,
  { signal }: StoreCallOptions,
): AsyncGenerator<DatabaseEntries> {
  const { store, catalogRoot } = repository;
  for await (const { name, objects } of foldersBelow(store, catalogRoot, { pageSize: LARGEST_PAGE, signal })) {
    const database = decodeDatabase(name);
    if (joinKey(catalogRoot, name) !== repository.catalogFolder(database)) continue;
    yield { database, entries: [...objects.keys()] };
  }
}

async function listOne(
  repository: Repository,
  database: string,
  search: FolderSearch,
): Promise<DatabaseFolders> {
  const listedAtMs = performance.now();
  const { store } = repository;
  const look = async ({ date }: DatedFolder, signal: AbortSignal): Promise<ListedFolder> => {
    const folder = repository.backupFolder({ date, database });
    return { database, date, folder, objects: await listObjects(store, folder, { ...search, signal }) };
  };
  const limits = { limit: LISTINGS_AT_ONCE, signal: search.signal };
  const folders = await Array.fromAsync(loadAhead(listDays(repository, { signal: search.signal }), look, limits));
  const entries = await listObjects(store, repository.catalogFolder(database), { signal: search.signal });
  return { database, folders, entries: [...entries.keys()], listedAtMs };
}

async function* listAll(repository: Repository, search: FolderSearch): AsyncGenerator<DatabaseFolders> {
  const { store, suffix, catalogRoot } = repository;
  const cancel = new AbortController();
  const signal = search.signal === undefined ? cancel.signal : AbortSignal.any([cancel.signal, search.signal]);
  const slots = new Slots(LISTINGS_AT_ONCE);
  const days = await Array.fromAsync(listDays(repository, { signal }));
  const pageSize = Math.min(LARGEST_PAGE, Math.max(SMALLEST_PAGE, Math.ceil(OBJECTS_AT_ONCE / (days.length + 1))));
  const rows = days.map((day) => ({
    ...day,
    below: joinKey(day.folder, suffix),
    row: new Row(foldersBelow(store, joinKey(day.folder, suffix), { ...search, pageSize, signal }), { slots, signal }),
  }));
  const catalog = new Row(foldersBelow(store, catalogRoot, { pageSize, signal }), { slots, signal });
  let before: string | undefined;
  try {
    for (;;) {
      const heads = await Promise.all([catalog, ...rows.map(({ row }) => row)].map((row) => row.head));
      const name = heads.reduce((first: string | undefined, head) => earlierOf(first, head?.name), undefined);
      if (name === undefined) return;
      // Out of order a database would come in parts, and expire would judge each as if it were all.
      if (before !== undefined && earlierOf(before, name) === name) throw outOfOrder(repository, { name, before });
      before = name;
      const database = decodeDatabase(name);
      const found: DatabaseFolders = { database, folders: [], entries: [], listedAtMs: Infinity };
      const take = (head: FolderBelow | undefined, row: Row) => {
        if (head?.name !== name) return undefined;
        found.listedAtMs = Math.min(found.listedAtMs, head.listedAtMs);
        row.advance();
        return head.objects;
      };
      const [ofCatalog, ...ofDays] = heads;
      const entries = take(ofCatalog, catalog);
      if (entries !== undefined && joinKey(catalogRoot, name) === repository.catalogFolder(database)) {
        found.entries = [...entries.keys()];
      }
      for (const [index, { date, below, row }] of rows.entries()) {
        const objects = take(ofDays[index], row);
        if (objects !== undefined) found.folders.push({ database, date, folder: joinKey(below, name), objects });
      }
      if (found.folders.length > 0) yield found;
    }
  } finally {
    cancel.abort(new DOMException("What was listed ahead is not wanted any more", "AbortError"));
    await Promise.allSettled([catalog, ...rows.map(({ row }) => row)].map((row) => row.head));
  }
}

function earlierOf(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareEntries({ kind: "folder", name: a }, { kind: "folder", name: b }) <= 0 ? a : b;
}

function outOfOrder({ storeFolder }: Repository, { name, before }: { name: string; before: string }): StoreError {
  return new StoreError(
    `Cannot list the backups: the store lists the folder "${name}" after "${before}", though it comes before it`,
    { code: "strange_answer", key: storeFolder },
  );
}

/** The folders of one listing, of which the first that was not taken is there, or on its way. */
class Row {
  head: Promise<FolderBelow | undefined>;
  readonly #folders: AsyncGenerator<FolderBelow>;
  readonly #slots: Slots;
  readonly #signal: AbortSignal;

  constructor(folders: AsyncGenerator<FolderBelow>, { slots, signal }: { slots: Slots; signal: AbortSignal }) {
    this.#folders = folders;
    this.#slots = slots;
    this.#signal = signal;
    this.head = this.#next();
  }

  advance(): void {
    this.head = this.#next();
  }

  #next(): Promise<FolderBelow | undefined> {
    const next = this.#slots.within(async () => {
      const { value, done } = await this.#folders.next();
      return done === true ? undefined : value;
    }, this.#signal);
    next.catch(() => {}); // Thrown when it is waited for.
    return next;
  }
}

/** A folder directly below another one, and what lies directly in it. */
interface FolderBelow {
  name: string;
  objects: Map<string, ListedObject>;
  listedAtMs: number;
}

interface BelowSearch extends FolderSearch {
  pageSize: number;
}

async function* foldersBelow(store: Store, folder: string, search: BelowSearch): AsyncGenerator<FolderBelow> {
  if (store.listBelow === undefined) {
    for await (const { kind, name } of store.list(folder, { signal: search.signal })) {
      const listedAtMs = performance.now();
      if (kind === "folder") {
        yield { name, objects: await listObjects(store, joinKey(folder, name), search), listedAtMs };
      }
    }
    return;
  }
  let open: FolderBelow | undefined;
  for await (const { page, listedAtMs } of pagesBelow(store, folder, search)) {
    for (const { kind: _, name: path, ...object } of page) {
      const [name = "", objectName, ...deeper] = path.split("/");
      // It lies beside the folders, or in none that a key can name: `2026/01/03//x`.
      if (objectName === undefined || name === "") continue;
      if (open?.name !== name) {
        if (open !== undefined) yield open;
        open = { name, objects: new Map(), listedAtMs };
      }
      if (deeper.length === 0 && isAfter(objectName, search)) open.objects.set(objectName, object);
    }
  }
  if (open !== undefined) yield open;
}

/** Where a page ends before what is wanted of a folder, the next one begins with that. */
async function* pagesBelow(
  store: Store,
  folder: string,
  { after: wanted, pageSize, signal }: BelowSearch,
): AsyncGenerator<{ page: ObjectBelow[]; listedAtMs: number }> {
  let after: string | undefined;
  for (;;) {
    let skipTo: string | undefined;
    let listedAtMs = performance.now();
    for await (const page of store.listBelow!(folder, { after, pageSize, signal })) {
      yield { page, listedAtMs };
      const last = page.at(-1)?.name;
      const beginning = last?.includes("/") && wanted !== undefined ? `${last.split("/")[0]}/${wanted}` : undefined;
      // By the whole name: what lies in a folder that is called as what is wanted, `a/keep/x`, is behind the beginning.
      if (last !== undefined && beginning !== undefined && isAfter(beginning, { after: last })) {
        skipTo = beginning;
        break;
      }
      listedAtMs = performance.now();
    }
    if (skipTo === undefined) return;
    after = skipTo;
  }
}

function isAfter(name: string, { after }: FolderSearch): boolean {
  return after === undefined ||
    compareEntries({ kind: "object", name: after }, { kind: "object", name }) < 0;
}

async function listObjects(
  store: Store,
  folder: string,
  { after, signal }: FolderSearch,
): Promise<Map<string, ListedObject>> {
  const objects = new Map<string, ListedObject>();
  for await (const entry of store.list(folder, { after, unfinished: true, signal })) {
    if (entry.kind !== "object") continue;
    const { kind: _, name, ...object } = entry;
    objects.set(name, object);
  }
  return objects;
}
