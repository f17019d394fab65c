/**
 * What makes files outlive a power cut: their bytes are synced, and the folders that their names stand in. In: open files,
 * and folders in which something was named. Out: they are on the disk, by as few syncs as that takes; or one warning where
 * the file system has no such thing.
 */
import { dirname, join } from "node:path";
import process from "node:process";
import { setImmediate as turn } from "node:timers/promises";
import type { Log } from "../../observe.ts";
import { allEnded } from "../../parallel.ts";
import { type FileCalls, sync } from "./calls.ts";
import { directoryError } from "./error.ts";
import { errorCode } from "../../system_error.ts";

/**
 * What `fsync` answers for a file or a folder where the file system has no such thing: SMB shares, exFAT, FUSE. What
 * was written is there all the same, if the power stays on.
 */
const NO_SYNC = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOTTY", "ENOENT"]);
/** How many folders are remembered as synced. */
const MOST_FOLDERS = 1000;

/** A folder that was not there. */
export interface MadeFolder {
  /** The folders that its name, and the names of those above it that were made with it, stand in. */
  above: readonly string[];
  /** Counts what is named. */
  number: number;
}

/** The sync of a folder that is under way, and the one that follows it where somebody has asked for it meanwhile. */
interface FolderSync {
  running: Promise<void>;
  /** The last name that the running one takes along; until it has begun, whatever is named. */
  name: number;
  next: Promise<void> | undefined;
}

/** What {@linkcode Syncs} are made for. */
export interface SyncsOptions {
  /** The bucket folder, absolute. */
  root: string;
  /** The store's URL. */
  url: string;
  /** Is told once where the file system cannot sync. */
  log: Log;
  calls: FileCalls;
  /** Waits until a file or a folder is on the disk. @default fsync of node:fs */
  sync?: ((file: number) => Promise<void>) | undefined;
}

/** The syncs of one store. `key` is the object for whose sake something is synced; errors name it. */
export class Syncs {
  readonly #options: SyncsOptions;
  #isMissed = false;
  /** When what waits for its sync begins with it. */
  #turn: Promise<void> | undefined;
  /**
   * Folders with names that may not have reached the disk yet, such as those of chunks: they do before anything else is
   * named there. With each comes a number that grows with each name.
   */
  readonly #unsynced = new Map<string, number>();
  /** Counts the names of files and folders whose syncs are waited for. */
  #lastName = 0;
  /** The last name that a sync of a folder has taken along. */
  readonly #syncedThrough = new Map<string, number>();
  /** Syncs of folders that are under way. */
  readonly #underWay = new Map<string, FolderSync>();

  constructor(options: SyncsOptions) {
    this.#options = options;
  }

  /** Waits until an open file's bytes are on the disk. @param onBegin Is called at the moment at which that begins. */
  async file(file: number, key: string, onBegin?: () => void): Promise<void> {
    await (this.#turn ??= this.#untilTurn());
    onBegin?.();
    try {
      await (this.#options.sync ?? sync)(file);
    } catch (error) {
      this.#miss(error, key);
    }
  }

  /**
   * What others are about to sync at this moment begins together: a journal then has one commit for all of them, where
   * the first one alone would begin a commit that the others have missed.
   */
  async #untilTurn(): Promise<void> {
    await turn();
    this.#turn = undefined;
  }

  /** Notes that something was named in a folder, and that this need not be on the disk yet. */
  note(folder: string): void {
    this.#unsynced.set(folder, ++this.#lastName);
  }

  /**
   * Makes the names that were noted of a folder outlive a power cut, and those of the folders above it: whoever has made
   * one may be busy with what goes there for an hour. A folder has some until they do, for others that ask.
   */
  async noted(folder: string, key: string): Promise<void> {
    if (this.#unsynced.size === 0) return;
    const { root } = this.#options;
    const paths = [folder];
    for (let path = folder; path.length > root.length;) paths.push(path = dirname(path));
    await allEnded(paths.map((path) => this.#notedIn(path, key)));
  }

  async #notedIn(folder: string, key: string): Promise<void> {
    const last = this.#unsynced.get(folder);
    if (last === undefined) return;
    await this.#folder(folder, key, last);
    if (this.#unsynced.get(folder) === last) this.#unsynced.delete(folder);
  }

  /** Makes all names in a folder, one that was just made among them, outlive a power cut. */
  async named(folder: string, key: string): Promise<void> {
    this.note(folder);
    await this.noted(folder, key);
  }

  /** Notes that a folder was made. @param uppermost The one of those above it that were made with it, or itself. */
  noteMade(folder: string, uppermost: string): MadeFolder {
    const above: string[] = [];
    for (let path = folder; path.length >= uppermost.length; path = dirname(path)) above.push(dirname(path));
    const number = ++this.#lastName;
    for (const path of above) this.#unsynced.set(path, number);
    return { above, number };
  }

  /** Makes the names of a folder that was made, and of those above it that were made with it, outlive a power cut. */
  async made({ above, number }: MadeFolder, key: string): Promise<void> {
    await allEnded(above.map((folder) => this.#folder(folder, key, number)));
  }

  /**
   * Syncs a folder: one sync for all that ask for it while another one is under way.
   *
   * @param name The number of the name that has to be on the disk; a sync that began after it does.
   */
  async #folder(folder: string, key: string, name: number): Promise<void> {
    if ((this.#syncedThrough.get(folder) ?? 0) >= name) return;
    const underWay = this.#underWay.get(folder);
    if (underWay === undefined) {
      const own: FolderSync = { running: Promise.resolve(), name: Infinity, next: undefined };
      this.#underWay.set(folder, own);
      own.running = this.#folderNow(folder, key, own);
      try {
        return await own.running;
      } finally {
        if (own.next === undefined) this.#underWay.delete(folder);
      }
    }
    if (underWay.name >= name) return await underWay.running;
    // What is under way may have begun before the name was there.
    await (underWay.next ??= (async () => {
      await underWay.running.catch(() => {});
      underWay.name = Infinity;
      underWay.running = this.#folderNow(folder, key, underWay);
      underWay.next = undefined;
      try {
        await underWay.running;
      } finally {
        if (underWay.next === undefined) this.#underWay.delete(folder);
      }
    })());
  }

  async #folderNow(folder: string, key: string, underWay: FolderSync): Promise<void> {
    // Also where it is passed over: there is nothing more to be done then.
    let name = this.#lastName;
    await this.#openedFolder(folder, key, () => underWay.name = name = this.#lastName);
    if (this.#syncedThrough.size >= MOST_FOLDERS) this.#syncedThrough.clear();
    this.#syncedThrough.set(folder, name);
  }

  async #openedFolder(folder: string, key: string, onBegin: () => void): Promise<void> {
    if (process.platform === "win32") return; // Windows opens no folders and needs none of this.
    const { calls } = this.#options;
    let opened: number;
    try {
      opened = await calls.open(folder, "r");
    } catch (error) {
      return this.#miss(error, key);
    }
    try {
      await this.file(opened, key, onBegin);
    } finally {
      await calls.letGo(opened);
    }
  }

  /** Passes over what the file system cannot do, and says so once. */
  #miss(error: unknown, key: string): void {
    const { root, url, log } = this.#options;
    const code = errorCode(error);
    if (!NO_SYNC.has(code)) throw directoryError(error, { action: "store", key, url, path: join(root, key) });
    if (this.#isMissed) return;
    this.#isMissed = true;
    log.warn("the file system cannot sync: after a power cut the last backup may be damaged", { store: url, code });
  }
}
