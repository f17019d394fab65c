/**
 * Which backups `verify --all` or `test-restore` has found damaged, and `verify --all` has not found sound again since.
 * In: what they have looked at. Out: the same, for whoever would rely on them: `expire` keeps what would stay if they were
 * not there, and no increment builds on them. One object of the store: `_store/<suffix>/damaged.json`.
 *
 * That a backup is in here never lets anything be deleted: who is in doubt relies on less.
 */
import * as z from "zod";
import { jsonBytes } from "../json/indented.ts";
import { ArchiveError, describeError, StoreError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { readJson } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import type { StoreCallOptions } from "../store/store.ts";
import type { Repository } from "./repository.ts";
import { ifInReach } from "./run_folder.ts";

/** More than these are no single damaged backups any more: the list is cut, and says so (`is_partial`). */
const MOST_KEPT = 10_000;
/** The size of that many, with long names of databases. */
const MOST_BYTES = 16 << 20;

/**
 * The damaged backups of a repository: the paths of their manifests below the config's prefix, and when each was found to
 * be damaged, in UTC. What is wrong the command says; of a sealed backup that may name documents.
 */
export type KnownDamage = ReadonlyMap<string, string>;

/** What was found of one backup: each byte that its manifest vouches for was read, or some of them are others. */
export type Finding = "sound" | "damaged";

const schema = z.object({ damaged: z.record(z.string(), z.iso.datetime()), is_partial: z.boolean().optional() });

/** The codes of a store that refuses to give out this object: no backup is to fail for that. */
const REFUSALS = new Set(["AccessDenied", "EACCES", "EPERM"]);

/**
 * Reads what is known. What cannot be read, or may not be, counts for nothing known, and the log says so.
 *
 * @throws StoreError when the store fails.
 */
export async function readKnownDamage(
  repository: Repository,
  { log, ...options }: StoreCallOptions & { log: Log },
): Promise<KnownDamage> {
  const key = keyOf(repository);
  try {
    const { damage, isUsable } = await look(repository, options);
    if (!isUsable) log.warn("what was found damaged is unknown: the next verify --all finds it anew", { key });
    return damage;
  } catch (error) {
    if (!(error instanceof StoreError) || !REFUSALS.has(error.facts.code)) throw error;
    log.warn("what was found damaged is unknown: it may not be read", { key, error: describeError(error) });
    return new Map();
  }
}

/**
 * The same for a command that deletes: what is kept because of a damaged backup must not go because the list cannot be
 * read.
 *
 * @throws ArchiveError when there is a list and it cannot be used or lacks some; StoreError when the store fails.
 */
export async function requireKnownDamage(repository: Repository, options: StoreCallOptions): Promise<KnownDamage> {
  const { damage, isPartial, isUsable } = await look(repository, options);
  if (!isPartial) return damage;
  const key = keyOf(repository);
  const why = isUsable ? "does not name all of them" : "cannot be used";
  throw new ArchiveError(
    `Cannot tell which backups were found damaged: "${repository.locate(key)}" ${why}, so nothing is deleted`,
    { key },
    { hint: "Run couchdb-backup verify --all: where it has looked at all backups, it writes that object anew" },
  );
}

/** What the object says. */
interface Known {
  damage: KnownDamage;
  /** Whether others may be damaged that it does not name. */
  isPartial: boolean;
  /** False where there is an object that is no list, or is not given out. */
  isUsable: boolean;
}

async function look(repository: Repository, options: StoreCallOptions): Promise<Known> {
  let isUsable = true;
  const onUnusable = () => void (isUsable = false);
  const limits = { ...options, mostBytes: MOST_BYTES };
  const { found, problem } = await ifInReach(
    readJson(repository.store, keyOf(repository), { ...limits, schema, onUnusable }),
  );
  if (problem !== undefined) isUsable = false;
  const damage = new Map(Object.entries(found?.damaged ?? {}));
  return { damage, isPartial: !isUsable || found?.is_partial === true, isUsable };
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
 * Notes what was found.
 *
 * @param findings By the path of the manifest. What is not among them stays as it was.
 * @param options `isOfAll`: whether each backup was looked at. A list that could not be used, or lacks some, is whole
 * again then, and not before: else what it had named would count as sound.
 * @throws StoreError when it cannot be stored.
 */
export async function noteDamage(
  repository: Repository,
  findings: ReadonlyMap<string, Finding>,
  { at, isOfAll, ...options }: StoreCallOptions & { at: Date; isOfAll: boolean },
): Promise<void> {
  const { damage: before, isPartial: wasPartial, isUsable } = await look(repository, options);
  const now = new Map(before);
  for (const [path, finding] of findings) {
    if (finding === "sound") now.delete(path);
    else if (!now.has(path)) now.set(path, at.toISOString());
  }
  const isPartial = now.size > MOST_KEPT || (wasPartial && !isOfAll);
  const isSame = before.size === now.size && [...now.keys()].every((path) => before.has(path));
  if (isSame && isUsable && isPartial === wasPartial) return;
  const damaged = Object.fromEntries([...now].slice(-MOST_KEPT));
  const body = jsonBytes({ damaged, ...isPartial ? { is_partial: true } : {} });
  await repository.store.replace(keyOf(repository), body, options);
}

/** Repositories that share a prefix have findings of their own. */
function keyOf({ storeFolder, suffix }: Repository): string {
  return joinKey(storeFolder, suffix, "damaged.json");
}
