/**
 * Which backups `verify --all` or `test-restore` has found damaged, and `verify --all` has not found sound again since.
 * In: what they have looked at. Out: the same, for whoever would rely on them: `expire` keeps what would stay if they were
 * not there, and no increment builds on them. One object of the store: `_store/<suffix>/damaged.json`.
 *
 * That a backup is in here never lets anything be deleted: who is in doubt relies on less.
 */
import * as z from "zod";
import { jsonBytes } from "../json/indented.ts";
import { ArchiveError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { readJson } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Repository } from "./repository.ts";
import { ifInReach } from "./run_folder.ts";

/** Where more are damaged it is not single backups that are: nobody needs a list to see that. */
const MOST_KEPT = 10_000;
/** So many, with long names of databases. */
const MOST_BYTES = 16 << 20;
/**
 * The damaged backups of a repository: the paths of their manifests below the config's prefix, and when each was found to
 * be damaged, in UTC. What is wrong the command says; of a sealed backup that may name documents.
 */
export type KnownDamage = ReadonlyMap<string, string>;

/** What was found of one backup: each byte that its manifest vouches for was read, or some of them are others. */
export type Finding = "sound" | "damaged";

const schema = z.object({ damaged: z.record(z.string(), z.iso.datetime()) });

/**
 * Reads what is known. What cannot be read counts for nothing known, and the log says so.
 *
 * @throws StoreError when the store fails.
 */
export async function readKnownDamage(
  repository: Repository,
  { log, ...options }: StoreCallOptions & { log: Log },
): Promise<KnownDamage> {
  const found = await look(repository, options);
  if (found === undefined) {
    log.warn("what was found damaged is unknown: the next verify --all finds it anew", { key: keyOf(repository) });
  }
  return found ?? new Map();
}

/**
 * The same for who deletes: what was kept because of a damaged backup must not go because the list is unreadable.
 *
 * @throws ArchiveError when there is a list and it cannot be used; StoreError when the store fails.
 */
export async function requireKnownDamage(repository: Repository, options: StoreCallOptions): Promise<KnownDamage> {
  const found = await look(repository, options);
  if (found !== undefined) return found;
  const key = keyOf(repository);
  throw new ArchiveError(
    `Cannot tell which backups were found damaged: "${repository.locate(key)}" cannot be used, so nothing is deleted`,
    { key },
    { hint: "Run couchdb-backup verify --all: it looks at all backups, and writes that object anew" },
  );
}

/** What is known; undefined where there is something, and it is no list or is not given out. */
async function look(repository: Repository, options: StoreCallOptions): Promise<KnownDamage | undefined> {
  let isUsable = true;
  const onUnusable = () => void (isUsable = false);
  const limits = { ...options, mostBytes: MOST_BYTES };
  const { found, problem } = await ifInReach(
    readJson(repository.store, keyOf(repository), { ...limits, schema, onUnusable }),
  );
  if (problem !== undefined || !isUsable) return undefined;
  return new Map(Object.entries(found?.damaged ?? {}));
}

/** The same for all databases of a run, which read it once. */
export class KnownDamageOfRun {
  #reading: Promise<KnownDamage> | undefined;

  /**
   * What is known.
   *
   * @param options.signal That of the run: what ends one database must not end it for the others.
   * @throws As {@linkcode readKnownDamage} does; whoever asks next then reads it once more.
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
 * Notes what was found. A list that cannot be used is written anew, whatever that is.
 *
 * @param findings By the path of the manifest. What is not among them stays as it was.
 * @throws StoreError when it cannot be stored.
 */
export async function noteDamage(
  repository: Repository,
  findings: ReadonlyMap<string, Finding>,
  { at, ...options }: StoreCallOptions & { at: Date },
): Promise<void> {
  const before = await look(repository, options);
  const now = new Map(before);
  for (const [path, finding] of findings) {
    if (finding === "sound") now.delete(path);
    else if (!now.has(path)) now.set(path, at.toISOString());
  }
  const isSame = before?.size === now.size && [...now.keys()].every((path) => before.has(path));
  if (isSame) return;
  const damaged = Object.fromEntries([...now].slice(-MOST_KEPT));
  await repository.store.replace(keyOf(repository), jsonBytes({ damaged }), options);
}

/** Repositories that share a prefix have findings of their own. */
function keyOf({ storeFolder, suffix }: Repository): string {
  return joinKey(storeFolder, suffix, "damaged.json");
}
