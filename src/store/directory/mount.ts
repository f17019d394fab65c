/**
 * Whether a store's folder is the one of earlier runs, or the empty mount point of a disk that is not mounted. A
 * marker lies in the folder, and a note on this machine says that it was there. A folder without the marker, if there
 * is a note, is refused. The first run has no note and works without any setup.
 */
import { createHash, randomUUID } from "node:crypto";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { describeError, StoreError } from "../../errors.ts";
import type { Log } from "../../observe.ts";
import { shellWord } from "../../shell_word.ts";
import { errorCode } from "../../system_error.ts";
import type { FileCalls } from "./calls.ts";
import { type DirectoryAction, directoryError } from "./error.ts";

/** The marker, in the bucket folder itself. It may be empty; store.list() does not show it. */
export const MARKER_NAME = ".couchdb-backup";

/** Below the state folder. */
const NOTES_FOLDER = "buckets";

const MARKER_TEXT = `${
  JSON.stringify({ about: "couchdb-backup keeps backups here. Without this file it takes the disk for not mounted." })
}\n`;

/** What a {@linkcode Mount} is about. */
export interface MountOptions {
  /** The bucket folder, absolute. */
  root: string;
  /** The store's URL. */
  url: string;
  log: Log;
  /** Where notes are kept; absent: only this process remembers. */
  stateFolder: string | undefined;
  /** What looks for the marker. */
  calls: FileCalls;
}

/** Knows of one bucket folder whether it was there before. */
export class Mount {
  readonly #options: MountOptions;
  readonly #marker: string;
  readonly #note: string | undefined;
  /** The file system that the folder was on, as a number that says nothing else; undefined where it was never there. */
  #known: Promise<{ device: string } | undefined> | undefined;
  #marked: Promise<void> | undefined;

  constructor(options: MountOptions) {
    const { root, url, stateFolder } = options;
    this.#options = options;
    this.#marker = join(root, MARKER_NAME);
    const name = createHash("sha256").update(url).digest("hex").slice(0, 16);
    this.#note = stateFolder === undefined ? undefined : join(stateFolder, NOTES_FOLDER, `${name}.json`);
  }

  /**
   * Makes sure that a folder which was there before is there now; asked again and again, as disks come and go.
   *
   * @returns Whether it is known to be there; else nothing is known of it.
   * @throws StoreError with code `not_mounted`.
   */
  async requireFor(action: DirectoryAction): Promise<boolean> {
    this.#known ??= this.#readNote();
    const known = await this.#known;
    if (known === undefined) return false;
    if (await this.#hasMarker(action)) return true;
    const { root, url } = this.#options;
    const device = await deviceOf(root);
    const lack = device === undefined ? "the folder is not there" : `"${MARKER_NAME}" is not in the folder`;
    const elsewhere = device === undefined || device === known.device ? "" : ", and it is on another file system";
    throw new StoreError(
      `Cannot ${action} "${url}": ${lack}, although earlier runs had it${elsewhere}; its disk may not be mounted`,
      { code: "not_mounted" },
      {
        hint: `Mount it; if the folder is new on purpose: mkdir -p ${shellWord(root)} && touch ${
          shellWord(this.#marker)
        }`,
      },
    );
  }

  /**
   * Leaves the marker in the folder, which is there, and the note that it was.
   *
   * @throws StoreError where it cannot be seen whether the marker is there.
   */
  async mark(): Promise<void> {
    this.#marked ??= this.#mark().catch((error) => {
      this.#marked = undefined;
      throw error;
    });
    await this.#marked;
  }

  async #mark(): Promise<void> {
    const { root, url, log } = this.#options;
    try {
      await fs.writeFile(this.#marker, MARKER_TEXT, { flag: "wx", mode: 0o600 });
    } catch (error) {
      if (!await this.#hasMarker("store")) {
        // A folder in which only what lies deeper may be written.
        log.warn("bucket folder cannot be marked: if its disk is not mounted one day, that will not be noticed", {
          store: url,
          error: describeError(error),
        });
        return;
      }
    }
    if (await this.#known !== undefined) return;
    const known = { device: await deviceOf(root) ?? "" };
    this.#known = Promise.resolve(known);
    if (this.#note === undefined) return;
    try {
      await fs.mkdir(join(this.#note, ".."), { recursive: true, mode: 0o700 });
      await fs.writeFile(this.#note, `${JSON.stringify({ url, ...known, noted_at: new Date().toISOString() })}\n`, {
        mode: 0o600,
      });
    } catch (error) {
      log.warn("bucket folder cannot be noted: if its disk is not mounted one day, that will not be noticed", {
        store: url,
        note: this.#note,
        error: describeError(error),
        hint:
          "Make it writable and free space, or set STATE_DIRECTORY or XDG_STATE_HOME to a folder that survives a restart",
      });
    }
  }

  async #hasMarker(action: DirectoryAction): Promise<boolean> {
    try {
      if (await this.#options.calls.isThere(this.#marker)) return true;
      await this.#options.calls.stat(this.#marker);
      return true;
    } catch (error) {
      if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return false;
      const { url } = this.#options;
      throw directoryError(error, { action, key: "", url, path: this.#marker });
    }
  }

  /** What a run before this one has noted; undefined where nothing is noted, or nothing that can be read. */
  async #readNote(): Promise<{ device: string } | undefined> {
    if (this.#note === undefined) return undefined;
    try {
      const { url, device } = JSON.parse(await fs.readFile(this.#note, "utf8"));
      return url === this.#options.url ? { device: String(device) } : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Writes a file where notes are kept, and takes it away. @throws the system's error. */
export async function tryStateFolder(stateFolder: string): Promise<void> {
  const folder = join(stateFolder, NOTES_FOLDER);
  await fs.mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `check-${randomUUID()}.tmp`);
  try {
    // A full disk takes the name of a file, and no byte.
    await fs.writeFile(path, "checked\n", { mode: 0o600, flush: true });
  } finally {
    await fs.rm(path, { force: true });
  }
}

/** The number of the file system that a path lies on; undefined where there is no such path. */
async function deviceOf(path: string): Promise<string | undefined> {
  try {
    return String((await fs.stat(path)).dev);
  } catch {
    return undefined;
  }
}
