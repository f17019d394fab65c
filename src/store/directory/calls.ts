/**
 * The file system calls of a store in a folder. In: paths. Out: what node:fs answers, or its error. On a
 * fast local file system they are made synchronously: to hand a call over to another thread, and to be woken by
 * it, takes ten times as long as most calls. Elsewhere (a network file system, FUSE, an unknown one), and as soon as
 * calls were slow, they are made asynchronously, so that the program never blocks on a server. A sync always is.
 */
import * as fs from "node:fs";
import { dirname } from "node:path";
import { errorCode } from "../../system_error.ts";

/** What `statfs` calls local file systems of Linux; those of other systems have small numbers. */
const LOCAL_TYPES: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // Btrfs
  0x01021994, // tmpfs
  0xf2f52010, // F2FS
  0x2fc12fc1, // ZFS
  0xca451a4e, // bcachefs
  0x794c7630, // overlayfs, whose layers are local ones
]);

/** A call that took longer was slow. */
const SLOW_MS = 50;
/** Small content that took longer was not in memory: a disk may bring several at a time, one thread does not. */
const SLOW_READ_MS = 5;
/** After so many slow calls the others are made in threads, off the event loop; the same for reads alone. */
const MOST_SLOW = 10;
/** What is read at once has no more bytes. */
const MOST_BYTES_AT_ONCE = 64 << 10;

/** What tests replace. */
export interface FileCallOptions {
  /** The number that stands for the type of the file system that a path lies on. @default statfs of node:fs */
  typeOf?: ((path: string) => Promise<number>) | undefined;
  /** Milliseconds. @default the runtime's clock */
  now?: (() => number) | undefined;
}

/** Calls for what lies below one folder. Each throws the system's error. */
export class FileCalls {
  readonly #root: string;
  readonly #typeOf: (path: string) => Promise<number>;
  readonly #now: () => number;
  #isLocal: Promise<boolean> | undefined;
  #slow = 0;
  #slowReads = 0;

  /** @param root The folder, an absolute path; it need not be there yet. */
  constructor(root: string, options: FileCallOptions = {}) {
    this.#root = root;
    this.#typeOf = options.typeOf ?? (async (path) => Number((await fs.promises.statfs(path)).type));
    this.#now = options.now ?? (() => performance.now());
  }

  /** Whether calls are made at once, as far as is known by now. */
  async areMadeAtOnce(): Promise<boolean> {
    if (this.#slow >= MOST_SLOW) return false;
    return await (this.#isLocal ??= this.#lookWhetherLocal());
  }

  async #lookWhetherLocal(): Promise<boolean> {
    try {
      const type = await this.#typeOf(this.#root);
      return LOCAL_TYPES.has(type >>> 0);
    } catch {
      // No such folder yet, or this program may not ask: the next call asks again.
      this.#isLocal = undefined;
      return false;
    }
  }

  async #make<T>(atOnce: () => T, beside: () => Promise<T>): Promise<T> {
    if (!await this.areMadeAtOnce()) return await beside();
    const startedMs = this.#now();
    try {
      return atOnce();
    } finally {
      if (this.#now() - startedMs > SLOW_MS) this.#slow++;
    }
  }

  /** @returns The file's descriptor, which the caller closes. */
  async open(path: string, flags: string | number, mode?: number): Promise<number> {
    return await this.#make(
      () => fs.openSync(path, flags, mode),
      () => called<number>((done) => fs.open(path, flags, mode, done)),
    );
  }

  async close(file: number): Promise<void> {
    await this.#make(() => fs.closeSync(file), () => called<void>((done) => fs.close(file, done)));
  }

  /**
   * Closes a file of which nothing is lost where that fails: one that was only read, or that something else has failed
   * with, which is what has to be told. Never rejects.
   */
  async letGo(file: number): Promise<void> {
    await this.close(file).catch(() => {});
  }

  async stat(path: string): Promise<fs.Stats> {
    return await this.#make(() => fs.statSync(path), () => fs.promises.stat(path));
  }

  /** Reads what comes next into `buffer`. @returns How many bytes; 0 at the end. */
  async read(file: number, buffer: Uint8Array): Promise<number> {
    const isSmall = buffer.length <= MOST_BYTES_AT_ONCE && this.#slowReads < MOST_SLOW;
    if (!isSmall || !await this.areMadeAtOnce()) {
      return await called<number>((done) => fs.read(file, buffer, 0, buffer.length, null, done));
    }
    const startedMs = this.#now();
    const bytesRead = fs.readSync(file, buffer);
    if (this.#now() - startedMs > SLOW_READ_MS) this.#slowReads++;
    return bytesRead;
  }

  /** Of an open file. */
  async statOpen(file: number): Promise<fs.Stats> {
    return await this.#make(() => fs.fstatSync(file), () => called<fs.Stats>((done) => fs.fstat(file, done)));
  }

  /** @returns Undefined where there is no such folder. */
  async readdir(path: string): Promise<fs.Dirent[] | undefined> {
    const options = { withFileTypes: true } as const;
    try {
      return await this.#make(
        () => isMissingAtOnce(path) ? undefined : fs.readdirSync(path, options),
        () => fs.promises.readdir(path, options),
      );
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Whether something is surely there, by the cheapest call: false, it is not, or that cannot be seen. */
  async isThere(path: string): Promise<boolean> {
    return await this.#make(
      () => fs.existsSync(path),
      // Deno's access() wants to know who we are, which the program may not ask, and throws that where nobody catches it.
      () => fs.promises.stat(path).then(() => true, () => false),
    );
  }

  /** @returns The uppermost folder that was made; undefined where all were there. */
  async makeFolders(path: string, mode: number): Promise<string | undefined> {
    const options = { recursive: true, mode } as const;
    return await this.#make(() => makeFoldersAtOnce(path, mode), () => fs.promises.mkdir(path, options));
  }

  async link(existing: string, name: string): Promise<void> {
    await this.#make(() => fs.linkSync(existing, name), () => fs.promises.link(existing, name));
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#make(() => fs.renameSync(from, to), () => fs.promises.rename(from, to));
  }

  async unlink(path: string): Promise<void> {
    await this.#make(() => fs.unlinkSync(path), () => fs.promises.unlink(path));
  }
}

/**
 * Whether there is surely nothing: most databases of a new day have no folder yet, and an exception costs several calls.
 * What is there and cannot be seen is not missing.
 */
function isMissingAtOnce(path: string): boolean {
  // The first one is the cheaper by far, and false of what cannot be seen, too.
  return !fs.existsSync(path) && fs.statSync(path, { throwIfNoEntry: false }) === undefined;
}

/** As `mkdir` with `recursive`, but cheaper where the last folder alone is new: that looks for those above it first. */
function makeFoldersAtOnce(path: string, mode: number): string | undefined {
  if (!fs.existsSync(path) && fs.existsSync(dirname(path))) {
    try {
      fs.mkdirSync(path, { mode });
      return path;
    } catch {
      // Somebody else has made it, or removed the one above: below all of that is looked at.
    }
  }
  return fs.mkdirSync(path, { recursive: true, mode });
}

/** Writes a part of `bytes`, from `start`. @returns How many bytes that were. */
export async function writePart(file: number, bytes: Uint8Array, start: number): Promise<number> {
  return await called<number>((done) => fs.write(file, bytes, start, bytes.length - start, null, done));
}

/** Waits until a file or a folder is on the disk. */
export async function sync(file: number): Promise<void> {
  await called<void>((done) => fs.fsync(file, done));
}

/** A call of node:fs that tells its end by a function. */
function called<T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    call((error, value) => error === null || error === undefined ? resolve(value as T) : reject(error));
  });
}
