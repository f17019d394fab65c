/**
 * A store in a folder of the local file system. An object is a file; it appears under its name in one step, after its
 * bytes have reached the disk, so that a power cut leaves the whole object or none.
 */
import { createHash, randomUUID } from "node:crypto";
import * as fs from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { orAborted, untilAborted } from "../../abort.ts";
import { counted } from "../../counts.ts";
import { DAY_MS } from "../../dates.ts";
import { StoreError } from "../../errors.ts";
import { SILENT_LOG } from "../../observe.ts";
import { allEnded } from "../../parallel.ts";
import { errorCode } from "../../system_error.ts";
import { FileCalls, writePart } from "./calls.ts";
import { type DirectoryAction, directoryError, isMissing } from "./error.ts";
import { MARKER_NAME, Mount } from "./mount.ts";
import { readFile } from "./read.ts";
import { type MadeFolder, Syncs } from "./syncs.ts";
import type {
  Conditions,
  CreateOptions,
  ListOptions,
  ReplaceOptions,
  Store,
  StoreCallOptions,
  StoreContext,
  StoredObject,
  StoreEntry,
} from "../store.ts";
import { checkFolder, checkKey, compareEntries, joinKey } from "../key.ts";
import { isCreated } from "../race.ts";

const TEMP_NAME = /^\.couchdb-backup-\d+-[0-9a-f-]+\.tmp$/;
/** How those begin that this process writes. Not by its number alone, which in a container is the same each time. */
const OWN_TEMP = `.couchdb-backup-${process.pid}-${randomUUID().slice(0, 8)}-`;
/** How many folders are remembered as there. */
const MOST_FOLDERS = 1000;
const TEMP_MAX_AGE_MS = DAY_MS;

/** What `link` answers where the file system has no hard links: FAT, exFAT, some network and FUSE file systems. */
const NO_HARD_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** What it is opened with, and what tests replace. */
export interface DirectoryStoreOptions extends StoreContext {
  /** As in {@linkcode StoreOptions}. */
  stateFolder?: string | undefined;
  /** Gives a file a second name, and fails with `EEXIST` where that name is taken. @default link of node:fs */
  link?: (existing: string, name: string) => Promise<void>;
  /** Waits until a file or a folder is on the disk. @default fsync of node:fs */
  sync?: (file: number) => Promise<void>;
  /** Writes a part of `bytes`, from `start`, and says how many bytes that were. @default {@linkcode writePart} */
  write?: (file: number, bytes: Uint8Array, start: number) => Promise<number>;
}

/** The modes of what is made: backups are nobody's business but their owner's, unless the bucket folder is shared. */
const PRIVATE = { file: 0o600, folder: 0o700 } as const;
/** In a bucket folder that is handed to a group (its setgid bit), the group may read. */
const SHARED = { file: 0o640, folder: 0o2750 } as const;
const SETGID = 0o2000;

/** A file whose bytes are on the disk but that has no lasting name yet. */
interface TempFile extends Omit<StoredObject, "key"> {
  path: string;
}

/** A file that is open for writing, and maybe in a folder that was made for it. */
interface OpenFile {
  file: number;
  made: MadeFolder | undefined;
}

/** Keeps objects as files below one folder. */
export class DirectoryStore implements Store {
  readonly url: string;
  readonly server = "file:";
  /** A file system's clock is this machine's. */
  readonly clockSkewMs = 0;
  conditions: Conditions | undefined;
  readonly #root: string;
  readonly #link: (existing: string, name: string) => Promise<void>;
  readonly #syncs: Syncs;
  readonly #write: NonNullable<DirectoryStoreOptions["write"]>;
  readonly #mount: Mount;
  readonly #calls: FileCalls;
  /**
   * Folders that were there, or made, when something was stored; a backup writes thousands of objects into the same
   * one.
   */
  readonly #folders = new Set<string>();
  #modes: typeof PRIVATE | typeof SHARED | undefined;

  /** @param root An absolute path. The folder itself is made when something is stored; its parent must exist. */
  constructor(root: string, options: DirectoryStoreOptions = {}) {
    this.#root = root;
    this.#calls = new FileCalls(root);
    this.#link = options.link ?? ((existing, name) => this.#calls.link(existing, name));
    this.#write = options.write ?? writePart;
    this.url = pathToFileURL(root).href;
    const place = { root, url: this.url, log: options.log ?? SILENT_LOG, calls: this.#calls };
    this.#mount = new Mount({ ...place, stateFolder: options.stateFolder });
    this.#syncs = new Syncs({ ...place, sync: options.sync });
  }

  async tryConditions(key: string, options: StoreCallOptions = {}): Promise<Conditions> {
    // The object of an earlier attempt does as well as one that is made now.
    return await isCreated(this, key, options) && await isCreated(this, key, options) ? "ignored" : "held";
  }

  locate(key: string): string {
    return pathToFileURL(join(this.#root, checkKey(key))).href;
  }

  async create(
    keys: Iterable<string>,
    body: AsyncIterable<Uint8Array>,
    options: CreateOptions = {},
  ): Promise<StoredObject> {
    const candidates = keys[Symbol.iterator]();
    let candidate = candidates.next();
    if (candidate.done === true) throw new StoreError("Cannot store an object without a key", { code: "bad_key" });
    let key = candidate.value;
    const temp = await this.#writeTemp(key, body, { ...options, isSpeaking: options.kind !== "chunk" });
    let named: StoredObject | undefined;
    try {
      await afterwards(options);
      for (; candidate.done !== true; candidate = candidates.next()) {
        key = candidate.value;
        const path = this.#path(key);
        const folder = dirname(path);
        if (folder !== dirname(temp.path)) {
          const made = await this.#makeFolder(folder, key);
          if (made !== undefined) await this.#syncs.made(made, key);
        }
        if (options.kind !== "chunk") await this.#syncs.noted(folder, key);
        if (!await this.#nameFile(temp.path, path, key)) continue;
        this.#syncs.note(folder);
        named = { key, sizeBytes: temp.sizeBytes, sha256: temp.sha256 };
        break;
      }
    } finally {
      // Before the folder is synced, which takes this along.
      await this.#remove(temp.path, key);
    }
    if (named === undefined) {
      throw new StoreError(`Cannot store "${key}" in "${this.url}": the key is taken`, { code: "exists", key });
    }
    if (options.kind !== "chunk" && options.isFollowed !== true) await this.#syncs.noted(dirname(this.#path(key)), key);
    return named;
  }

  async replace(key: string, body: Uint8Array, options: ReplaceOptions = {}): Promise<void> {
    const path = this.#path(key);
    // A copy of what was stored right before it says nothing new, and reaches the disk with it.
    const isSpeaking = options.isCopy !== true;
    const temp = await this.#writeTemp(key, once(body), { ...options, isSpeaking });
    try {
      if (await afterwards(options) === false) return await this.#remove(temp.path, key);
      if (isSpeaking) await this.#syncs.noted(dirname(path), key);
      await this.#try("store", key, this.#calls.rename(temp.path, path));
    } catch (error) {
      await this.#remove(temp.path, key);
      throw error;
    }
    await this.#syncs.named(dirname(path), key);
  }

  async settle(folder: string): Promise<void> {
    await this.#syncs.named(join(this.#root, checkFolder(folder)), folder);
  }

  async read(key: string, { signal }: StoreCallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    signal?.throwIfAborted();
    checkKey(key);
    await this.#mount.requireFor("read");
    return await readFile(this.#place("read", key), { calls: this.#calls, signal });
  }

  async stat(
    key: string,
    options: StoreCallOptions = {},
  ): Promise<{ sizeBytes: number; modified: Date } | undefined> {
    options.signal?.throwIfAborted();
    const path = this.#path(key);
    await this.#mount.requireFor("look at");
    try {
      const info = await this.#calls.stat(path);
      return info.isFile() ? { sizeBytes: info.size, modified: info.mtime } : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw directoryError(error, this.#place("look at", key));
    }
  }

  async *list(
    folder: string,
    { prefix = "", after, unfinished = false, ...options }: ListOptions = {},
  ): AsyncIterable<StoreEntry> {
    options.signal?.throwIfAborted();
    const path = join(this.#root, checkFolder(folder));
    await this.#mount.requireFor("list");
    let found;
    try {
      found = await this.#calls.readdir(path);
    } catch (error) {
      if (isMissing(error)) return;
      throw directoryError(error, this.#place("list", folder));
    }
    if (found === undefined) return;
    const named = found
      .filter(({ name }) => (unfinished || !TEMP_NAME.test(name)) && name.startsWith(prefix))
      .filter(({ name }) => folder !== "" || name !== MARKER_NAME);
    const entries: { kind: "folder" | "object"; name: string }[] = [];
    for (const entry of named) {
      // What is neither a file nor a folder itself can be a symbolic link to a folder, which has the place of one.
      const isFolder = entry.isDirectory() || (!entry.isFile() && await this.#isFolder(joinKey(folder, entry.name)));
      entries.push({ kind: isFolder ? "folder" : "object", name: entry.name });
    }
    const wanted = entries
      .filter((entry) => after === undefined || compareEntries({ kind: "object", name: after }, entry) < 0)
      .sort(compareEntries);
    for (const { kind, name } of wanted) {
      options.signal?.throwIfAborted();
      if (kind === "folder") {
        yield { kind, name };
        continue;
      }
      try {
        const info = await this.#calls.stat(join(path, name));
        if (info.isFile()) {
          const object = { kind, name, sizeBytes: info.size, modified: info.mtime };
          yield TEMP_NAME.test(name) ? { ...object, isUnfinished: true } : object;
        }
      } catch (error) {
        if (!isMissing(error)) throw directoryError(error, this.#place("list", folder));
      }
    }
  }

  async #isFolder(key: string): Promise<boolean> {
    try {
      return (await this.#calls.stat(join(this.#root, key))).isDirectory();
    } catch (error) {
      if (isMissing(error)) return false;
      throw directoryError(error, this.#place("list", key));
    }
  }

  #path(key: string): string {
    return join(this.#root, checkKey(key));
  }

  #place(action: DirectoryAction, key: string) {
    return { action, key, url: this.url, path: join(this.#root, key) };
  }

  /** Waits for a call of node:fs and makes a StoreError of its failure. */
  async #try<T>(action: DirectoryAction, key: string, call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw directoryError(error, this.#place(action, key));
    }
  }

  /** Removes a file of ours that may be gone already. */
  async #remove(path: string, key: string): Promise<void> {
    try {
      await this.#calls.unlink(path);
    } catch (error) {
      if (!isMissing(error)) throw directoryError(error, this.#place("store", key));
    }
  }

  /**
   * Writes the whole body to a hidden file beside the place of `key` and waits until it is on the disk.
   *
   * @param options.isSpeaking It may speak of what is named in its folder, which therefore reaches the disk before it.
   */
  async #writeTemp(
    key: string,
    body: AsyncIterable<Uint8Array>,
    { after, signal, isSpeaking }: Pick<CreateOptions, "after" | "signal"> & { isSpeaking: boolean },
  ): Promise<TempFile> {
    after?.catch(() => {}); // Who waits for it hears of its failure, also where this file comes to nothing before.
    signal?.throwIfAborted();
    const folder = dirname(this.#path(key));
    const path = join(folder, `${OWN_TEMP}${randomUUID()}.tmp`);
    const { file, made } = await this.#openTemp(path, folder, key);
    let isOpen = true;
    try {
      const hash = createHash("sha256");
      let sizeBytes = 0;
      for await (const bytes of untilAborted(body, signal)) {
        hash.update(bytes);
        sizeBytes += bytes.length;
        // A file system that is nearly full takes a part of what it is given.
        for (let written = 0; written < bytes.length;) {
          const bytesWritten = await this.#try("store", key, this.#write(file, bytes, written));
          if (bytesWritten === 0) throw directoryError({ code: "ENOSPC" }, this.#place("store", key));
          written += bytesWritten;
        }
      }
      // Side by side: what a disk or a journal is asked for meanwhile it does at one go.
      await allEnded([
        this.#syncs.file(file, key),
        made === undefined ? undefined : this.#syncs.made(made, key),
        isSpeaking ? this.#syncs.noted(folder, key) : undefined,
      ]);
      const { size } = await this.#try("store", key, this.#calls.statOpen(file));
      if (size !== sizeBytes) {
        throw new StoreError(
          `Cannot store "${key}" in "${this.url}": it was given ${
            counted(sizeBytes, "byte")
          }, and the file has ${size}`,
          { code: "cut_off", key },
          { hint: "Check the disk and the kernel log" },
        );
      }
      isOpen = false;
      await this.#try("store", key, this.#calls.close(file));
      signal?.throwIfAborted();
      return { path, sizeBytes, sha256: hash.digest("hex") };
    } catch (error) {
      if (isOpen) await this.#calls.letGo(file);
      await this.#remove(path, key);
      throw error;
    }
  }

  async #openTemp(path: string, folder: string, key: string): Promise<OpenFile> {
    if (this.#folders.has(folder)) {
      try {
        return { file: await this.#calls.open(path, "wx", (await this.#modesHere()).file), made: undefined };
      } catch (error) {
        // Somebody has removed the folder meanwhile, or its disk was unmounted.
        if (!isMissing(error)) throw directoryError(error, this.#place("store", key));
      }
    }
    const made = await this.#makeFolder(folder, key);
    // A folder that was not there holds nothing.
    if (made === undefined) await this.#sweep(folder, key);
    const file = await this.#try("store", key, this.#calls.open(path, "wx", (await this.#modesHere()).file));
    if (this.#folders.size >= MOST_FOLDERS) this.#folders.clear();
    this.#folders.add(folder);
    return { file, made };
  }

  /** Gives a finished file its lasting name; false when the name is taken. */
  async #nameFile(tempPath: string, path: string, key: string): Promise<boolean> {
    try {
      await this.#link(tempPath, path);
      return true;
    } catch (error) {
      if (errorCode(error) === "EEXIST") return false;
      if (!NO_HARD_LINKS.has(errorCode(error))) throw directoryError(error, this.#place("store", key));
    }
    // Without hard links an empty file claims the name and is then replaced by the finished one. For that moment a
    // reader sees an empty object; whoever is killed there leaves it, and no manifest names it.
    try {
      await this.#calls.close(await this.#calls.open(path, "wx", (await this.#modesHere()).file));
    } catch (error) {
      if (errorCode(error) === "EEXIST") return false;
      throw directoryError(error, this.#place("store", key));
    }
    try {
      await this.#calls.rename(tempPath, path);
    } catch (error) {
      await this.#remove(path, key);
      throw directoryError(error, this.#place("store", key));
    }
    return true;
  }

  /**
   * Makes a folder and those above it, down from the bucket folder. That one's parent must exist: a backup to a disk
   * that is not mounted must not fill the disk below the mount point.
   *
   * @returns Undefined where it was there.
   */
  async #makeFolder(folder: string, key: string): Promise<MadeFolder | undefined> {
    if (!await this.#mount.requireFor("store")) await this.#makeRoot(key);
    await this.#mount.mark();
    const made = await this.#try(
      "store",
      key,
      this.#calls.makeFolders(folder, (await this.#modesHere()).folder),
    );
    return made === undefined ? undefined : this.#syncs.noteMade(folder, made);
  }

  async #makeRoot(key: string): Promise<void> {
    try {
      await fs.mkdir(this.#root, { mode: PRIVATE.folder });
      await this.#syncs.named(dirname(this.#root), key);
    } catch (error) {
      if (error instanceof StoreError) throw error;
      // For the root of the file system macOS says EISDIR.
      if (errorCode(error) !== "EEXIST" && errorCode(error) !== "EISDIR") {
        throw directoryError(error, { ...this.#place("store", key), path: this.#root });
      }
    }
  }

  /** What files and folders may be to others, as the bucket folder has it; that is there by now. */
  async #modesHere(): Promise<typeof PRIVATE | typeof SHARED> {
    if (this.#modes !== undefined) return this.#modes;
    const { mode } = await fs.stat(this.#root);
    return this.#modes = (mode & SETGID) === 0 ? PRIVATE : SHARED;
  }

  /**
   * Removes what a process that was killed more than a day ago has left in a folder. Never what this one is writing,
   * however old that looks by a clock that was set meanwhile, or by that of another machine.
   */
  async #sweep(folder: string, key: string): Promise<void> {
    for (const { name } of await this.#try("store", key, this.#calls.readdir(folder)) ?? []) {
      if (!TEMP_NAME.test(name) || name.startsWith(OWN_TEMP)) continue;
      const path = join(folder, name);
      try {
        const { mtimeMs } = await fs.stat(path);
        if (Date.now() - mtimeMs > TEMP_MAX_AGE_MS) await fs.rm(path, { force: true });
      } catch (error) {
        // Its own process, or another one that sweeps, was faster.
        if (!isMissing(error)) throw directoryError(error, this.#place("store", join(dirname(key), basename(path))));
      }
    }
  }
}

/** Waits for what an object is stored after. @throws what that fails with, or the reason of `signal` */
async function afterwards<T>(
  { after, signal }: { after?: Promise<T> | undefined; signal?: AbortSignal | undefined },
): Promise<T | undefined> {
  if (after === undefined) return undefined;
  return await orAborted(after, signal);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
