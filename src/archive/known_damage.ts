/**
 * Which backups `verify --all` or `test-restore` has found damaged, and `verify --all` has not found sound again since.
 * In: what they have looked at. Out: the same, for whoever would rely on them: `expire` keeps what would stay if they were
 * not there, no increment builds on them, and `list` shows them.
 *
 * Each has a mark, an object of its own below `_store/<suffix>/damaged`, so that of two who look at the same time neither
 * takes away what the other one has found. Once its backup is sound again a mark is replaced by an empty object, which
 * needs no right to delete. So the listing alone tells all, and a mark that is cut off or another version's counts, too:
 * that a backup has one never lets anything be deleted, and who is in doubt relies on less.
 */
import { createHash } from "node:crypto";
import { describeError, StoreError } from "../errors.ts";
import { jsonBytes } from "../json/indented.ts";
import type { Log } from "../observe.ts";
import { forEachParallel } from "../parallel.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Repository } from "./repository.ts";

/** Marks that are written at once. */
const MARKS_AT_ONCE = 16;

/** What was found of one backup: each byte that its manifest vouches for was read, or some of them are others. */
export type Finding = "sound" | "damaged";

/** What a store says that does not let this list alone be read: no backup is to fail for that. */
const REFUSALS = new Set(["AccessDenied", "EACCES", "EPERM"]);

/** The mark of a backup that is known to be damaged. */
export interface DamageMark {
  /** The key of its object. */
  key: string;
  /** When the backup was found to be damaged first, by the store's clock. */
  foundAt: Date;
}

/** The damaged backups of a repository. What is wrong the command says; of a sealed backup that may name documents. */
export class KnownDamage {
  readonly #byName: ReadonlyMap<string, DamageMark>;

  /** Those whose marks are known. @param byName By the names of their objects. @default nothing is known */
  constructor(byName: ReadonlyMap<string, DamageMark> = new Map()) {
    this.#byName = byName;
  }

  /** The mark of a backup, by the path of its manifest below the config's prefix; undefined where it has none. */
  markOf(path: string): DamageMark | undefined {
    return this.#byName.get(nameOf(path));
  }
}

/**
 * What is known, with a request of S3 for each thousand marks.
 *
 * @throws StoreError when it cannot be listed: who deletes must not take that for nothing known.
 */
export async function requireKnownDamage(repository: Repository, options: StoreCallOptions): Promise<KnownDamage> {
  const folder = folderOf(repository);
  const marks = new Map<string, DamageMark>();
  for await (const entry of repository.store.list(folder, options)) {
    if (entry.kind !== "object" || entry.sizeBytes === 0) continue;
    marks.set(entry.name, { key: joinKey(folder, entry.name), foundAt: entry.modified });
  }
  return new KnownDamage(marks);
}

/**
 * The same for who goes on without it: what may not be listed counts for nothing known, and the log says so.
 *
 * @throws StoreError when the store fails.
 */
export async function readKnownDamage(
  repository: Repository,
  { log, signal }: StoreCallOptions & { log: Log },
): Promise<KnownDamage> {
  try {
    return await requireKnownDamage(repository, { signal });
  } catch (error) {
    if (!(error instanceof StoreError) || !REFUSALS.has(error.facts.code)) throw error;
    const facts = { folder: repository.locate(folderOf(repository)), error: describeError(error) };
    log.warn("what was found damaged is unknown: it may not be listed", facts);
    return new KnownDamage();
  }
}

/** The same for all databases of a run, which read it once. */
export class KnownDamageOfRun {
  #reading: Promise<KnownDamage> | undefined;

  /**
   * What is known. What may not be read counts for nothing known, and the log says so.
   *
   * @param options.signal That of the run: what ends one database must not end it for the others.
   * @throws StoreError when the store fails; whoever asks next then reads it once more.
   */
  async read(repository: Repository, options: StoreCallOptions & { log: Log }): Promise<KnownDamage> {
    const reading = this.#reading ??= readKnownDamage(repository, options);
    try {
      return await reading;
    } catch (error) {
      if (this.#reading === reading) this.#reading = undefined;
      throw error;
    }
  }
}

/**
 * Notes what was found.
 *
 * @param findings By the path of the manifest. What is not among them stays as it was.
 * @throws StoreError when it cannot be stored.
 */
export async function noteDamage(
  repository: Repository,
  findings: ReadonlyMap<string, Finding>,
  { at, signal }: StoreCallOptions & { at: Date },
): Promise<void> {
  const known = await requireKnownDamage(repository, { signal });
  const isNew = ([path, finding]: [string, Finding]) => (finding === "damaged") !== (known.markOf(path) !== undefined);
  await forEachParallel(
    () => [...findings].filter(isNew),
    async ([path, finding], signal) => {
      const body = finding === "damaged" ? jsonBytes({ damaged: path, at: at.toISOString() }) : new Uint8Array();
      await repository.store.replace(joinKey(folderOf(repository), nameOf(path)), body, { signal });
    },
    { limit: MARKS_AT_ONCE, signal },
  );
}

/** Repositories that share a prefix have findings of their own. */
function folderOf({ storeFolder, suffix }: Repository): string {
  return joinKey(storeFolder, suffix, "damaged");
}

/** A path may be longer than a name in a folder. */
function nameOf(path: string): string {
  return `${createHash("sha256").update(path).digest("hex")}.json`;
}
