/**
 * A repository: the backups of one config in one store, below its prefix and suffix, with the folders of their runs.
 * In: a store and the two parts of its keys. Out: where things lie in it. What the keys look like is in layout.ts.
 */
import type { BackupDate } from "../dates.ts";
import { joinKey } from "../store/key.ts";
import type { Store } from "../store/store.ts";
import {
  backupFolder,
  CATALOG_FOLDER,
  catalogFolder,
  runFolder,
  RUNS_FOLDER,
  STORE_FOLDER,
  taskFolder,
} from "./layout.ts";

/** The two parts of a repository's keys that a config names; both may be empty or hold slashes. */
export interface RepositoryParts {
  /** What stands before the date: `backup/ippbx`. */
  prefix: string;
  /** What stands after the date: `couchdb`. */
  suffix: string;
}

/** Where the backups of a config lie. */
export class Repository implements RepositoryParts {
  /** Where its objects are kept. */
  readonly store: Store;
  /** What stands before the date in its keys. */
  readonly prefix: string;
  /** What stands after the date in its keys. */
  readonly suffix: string;

  /** The repository in `store` below a config's prefix and suffix; nothing is read yet. */
  constructor(store: Store, { prefix, suffix }: RepositoryParts) {
    this.store = store;
    this.prefix = prefix;
    this.suffix = suffix;
  }

  /** The key below which years lie; empty for the bucket folder itself. */
  get root(): string {
    return joinKey(this.prefix);
  }

  /** The key of the folder that holds the runs of all tasks. */
  get runsFolder(): string {
    return joinKey(this.prefix, RUNS_FOLDER, this.suffix);
  }

  /** The key of the folder that holds what was found out about the store; all suffixes share it. */
  get storeFolder(): string {
    return joinKey(this.prefix, STORE_FOLDER);
  }

  /** The key of a database's folder of one day. `database` is decoded. */
  backupFolder(backup: { date: BackupDate; database: string }): string {
    return backupFolder({ prefix: this.prefix, suffix: this.suffix, ...backup });
  }

  /** The key of the folder that holds a folder of entries for each database. */
  get catalogRoot(): string {
    return joinKey(this.prefix, CATALOG_FOLDER, this.suffix);
  }

  /** The key of the folder of a database's entries in the catalog. `database` is decoded. */
  catalogFolder(database: string): string {
    return catalogFolder({ prefix: this.prefix, suffix: this.suffix, database });
  }

  /** The key of the folder of all runs of a task. */
  taskFolder(task: string): string {
    return taskFolder({ prefix: this.prefix, suffix: this.suffix, task });
  }

  /** The key of the folder of one run of a task. */
  runFolder(run: { task: string; elapse: Date }): string {
    return runFolder({ prefix: this.prefix, suffix: this.suffix, ...run });
  }

  /** The URL of a key, for messages and reports. */
  locate(key: string): string {
    return key === "" ? this.store.url : this.store.locate(key);
  }
}
