/**
 * The index of complete backups. In: what is known of a backup that is about to be complete. Out: the newest of a
 * database, or all of them, by listing names alone. The entry is made before the manifest: what lacks its manifest is
 * no backup.
 */
import * as z from "zod";
import { decodeDatabase } from "../database_name.ts";
import { type BackupDate, formatIsoDate } from "../dates.ts";
import { ArchiveError, isNotFound, isOutOfReach, StoreError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { joinKey, splitKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import { type CatalogEntry, entryName, type NamedEntry, parseEntryName } from "./catalog_entry.ts";
import { MANIFEST_NAME, manifestName, shortRun } from "./layout.ts";
import type { Manifest } from "./manifest.ts";
import { momentOf, readManifestOrCopy, type UsableManifest } from "./read.ts";
import type { Repository } from "./repository.ts";
import { readObjectText } from "../store/whole.ts";

export type { CatalogEntry } from "./catalog_entry.ts";

/** What entries are looked for with. */
export interface CatalogSearch extends StoreCallOptions {
  /** Only what was complete at this moment. */
  notAfter?: Date | undefined;
}

/** Of an entry's body the one thing that its name may not hold. */
const bodySchema = z.object({ task: z.string() });

/** The index of a repository's complete backups. */
export class Catalog {
  readonly #repository: Repository;

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  /**
   * Enters a backup whose manifest is about to be stored. Entering it again changes nothing.
   *
   * @returns The entry's key.
   */
  async add(entry: CatalogEntry, options: StoreCallOptions): Promise<string> {
    const key = joinKey(this.#repository.catalogFolder(entry.database), entryName(entry));
    try {
      await this.#repository.store.create([key], bodyOf(entry), options);
    } catch (error) {
      // An entry of this name is the very same: its name holds all by which entries differ.
      if (!(error instanceof StoreError) || error.facts.code !== "exists") throw error;
    }
    return key;
  }

  /**
   * The newest entry of a database. Whether its manifest is there is for the caller to see; {@linkcode latestComplete}
   * does.
   *
   * @param database Decoded.
   */
  async latest(database: string, search: CatalogSearch): Promise<CatalogEntry | undefined> {
    for await (const entry of this.entries(database, search)) return entry;
    return undefined;
  }

  /**
   * The newest backup of a database whose manifest is there and whole, or a whole copy of it. An entry with neither is
   * passed over, and the log says so: nothing tells a run that has ended in between from a backup that is lost since,
   * with a folder that somebody has deleted or has not copied. So it does where a manifest is damaged, or that of
   * another run.
   *
   * @param database Decoded.
   */
  async latestComplete(
    database: string,
    { log, ...search }: CatalogSearch & { log: Log },
  ): Promise<{ entry: CatalogEntry } & UsableManifest | undefined> {
    for await (const entry of this.entries(database, search)) {
      try {
        const { folder, name } = splitKey(entry.manifestKey);
        const read = await readManifestOrCopy(this.#repository.store, folder, { ...search, name });
        if (shortRun(read.manifest.run) === entry.run) return { entry, ...read };
        // A manifest.json may have been replaced by that of another run. A manifest with a name of its own may not.
        if (name === MANIFEST_NAME) continue;
        const copied = await this.#copyOf(entry, search);
        if (copied !== undefined) return copied;
        log.warn("a newer backup is passed over: its manifest is damaged", {
          manifest: entry.manifestKey,
          error: `It is that of another run, ${read.manifest.run}`,
        });
      } catch (error) {
        const copied = isNotFound(error) ? await this.#copyOf(entry, search) : undefined;
        if (copied !== undefined) return copied;
        if (error instanceof ArchiveError) {
          log.warn("a newer backup is passed over: its manifest is damaged", {
            manifest: entry.manifestKey,
            error: error.message,
          });
        } else if (!isNotFound(error)) throw error;
        else {
          log.warn("a newer backup is passed over: its manifest is missing", {
            manifest: entry.manifestKey,
            meaning: "it is lost, or its run was ended right before it was complete",
          });
        }
      }
    }
    return undefined;
  }

  /** A backup of whose manifest `manifest.json` is all that is left, as a folder's listing finds it. */
  async #copyOf(
    entry: CatalogEntry,
    options: StoreCallOptions,
  ): Promise<{ entry: CatalogEntry } & UsableManifest | undefined> {
    const { folder, name } = splitKey(entry.manifestKey);
    try {
      const read = await readManifestOrCopy(this.#repository.store, folder, { ...options, name: MANIFEST_NAME });
      const moment = momentOf(MANIFEST_NAME, read.manifest);
      if (manifestName(moment, shortRun(read.manifest.run)) !== name) return undefined;
      return { entry: { ...entry, manifestKey: joinKey(folder, MANIFEST_NAME) }, ...read };
    } catch (error) {
      if (isNotFound(error) || error instanceof ArchiveError) return undefined;
      throw error;
    }
  }

  /**
   * The entries of a database, the newest first. Left early it costs one listing, however many there are.
   *
   * @param database Decoded.
   */
  async *entries(database: string, search: CatalogSearch): AsyncGenerator<CatalogEntry> {
    yield* this.entriesAmong(this.#namesOf(database, search), database, search);
  }

  /** The same by the names in the database's folder, where that has been listed. */
  async *entriesAmong(
    names: Iterable<string> | AsyncIterable<string>,
    database: string,
    { notAfter, ...options }: CatalogSearch,
  ): AsyncGenerator<CatalogEntry> {
    for await (const name of names) {
      const named = parseEntryName(name);
      if (named === undefined || (notAfter !== undefined && named.finishedAt.getTime() > notAfter.getTime())) continue;
      const entry = this.#entryOf(named, database);
      const key = joinKey(this.#repository.catalogFolder(database), name);
      yield named.isTaskCut ? await this.#withWholeTask(entry, key, options) : entry;
    }
  }

  /**
   * The keys of a database's entries, with what their names say of the backup that each is of.
   *
   * @param database Decoded.
   */
  async keys(database: string, options: StoreCallOptions): Promise<CatalogKey[]> {
    return this.keysAmong(await Array.fromAsync(this.#namesOf(database, options)), database);
  }

  /** The same by the names in the database's folder, where that has been listed. */
  keysAmong(names: Iterable<string>, database: string): CatalogKey[] {
    const folder = this.#repository.catalogFolder(database);
    return [...names].flatMap((name) => {
      const named = parseEntryName(name);
      if (named === undefined) return [];
      const { manifestKey, run, finishedAt } = this.#entryOf(named, database);
      return [{ key: joinKey(folder, name), manifestKey, run, finishedAt }];
    });
  }

  async *#namesOf(database: string, options: StoreCallOptions): AsyncGenerator<string> {
    const folder = this.#repository.catalogFolder(database);
    for await (const { kind, name } of this.#repository.store.list(folder, options)) if (kind === "object") yield name;
  }

  /**
   * The decoded names of the databases that have a folder in the catalog, in the store's order. A folder of another
   * spelling (`a%2fb`) has no entries that anybody looks for, and must not have its database come twice.
   */
  async *databases(options: StoreCallOptions): AsyncGenerator<string> {
    const { store, catalogRoot: all } = this.#repository;
    for await (const { kind, name } of store.list(all, options)) {
      const database = decodeDatabase(name);
      if (kind === "folder" && joinKey(all, name) === this.#repository.catalogFolder(database)) yield database;
    }
  }

  #entryOf({ format, isTaskCut: _, ...named }: NamedEntry, database: string): CatalogEntry {
    const folder = this.#repository.backupFolder({ date: named.date, database });
    const name = format === 1 ? MANIFEST_NAME : manifestName(named.finishedAt, named.run);
    return { database, ...named, manifestKey: joinKey(folder, name) };
  }

  async #withWholeTask(entry: CatalogEntry, key: string, options: StoreCallOptions): Promise<CatalogEntry> {
    // Damaged, out of reach, or gone since it was listed: the beginning of the task's name is still right.
    try {
      const text = await readObjectText(this.#repository.store, key, options);
      return { ...entry, ...bodySchema.parse(JSON.parse(text)) };
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof z.ZodError || isOutOfReach(error)) return entry;
      throw error;
    }
  }
}

/** The key of an entry, and what its name says of the backup that it is of. */
export interface CatalogKey {
  key: string;
  manifestKey: string;
  /** The eight digits that stand for its run. */
  run: string;
  finishedAt: Date;
}

/** What the catalog says of a backup, by its manifest. */
export function entryOfManifest(
  { database, date, folder, name, manifest, finishedAt }: {
    /** Decoded. */
    database: string;
    date: BackupDate;
    /** The key of the folder that the manifest lies in. */
    folder: string;
    /** The manifest's name. */
    name: string;
    manifest: Manifest;
    finishedAt: Date;
  },
): CatalogEntry {
  const { run, task, kind, totals, unreadable } = manifest;
  return {
    database,
    finishedAt,
    run: shortRun(run),
    date,
    task,
    kind,
    documents: totals.documents,
    compressedBytes: totals.compressed_bytes,
    chunks: totals.chunks,
    unreadable: unreadable.length,
    manifestKey: joinKey(folder, name),
  };
}

/** The same as in the name, for people, and what the name may lack. */
async function* bodyOf(entry: CatalogEntry): AsyncGenerator<Uint8Array> {
  const { database, finishedAt, run, date, task, kind, documents, compressedBytes, chunks, unreadable } = entry;
  yield new TextEncoder().encode(
    JSON.stringify({
      database,
      finished_at: finishedAt.toISOString(),
      run,
      date: formatIsoDate(date),
      task,
      kind,
      documents,
      compressed_bytes: compressedBytes,
      chunks,
      unreadable,
      manifest: entry.manifestKey,
    }) + "\n",
  );
}
