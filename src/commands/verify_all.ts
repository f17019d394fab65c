/**
 * Verifies the backups of a whole repository, or a different part of them each day. In: a repository. Out: the
 * problems, by backup. Needs no CouchDB; writes nothing.
 */
import { counted } from "../counts.ts";
import { createHash } from "node:crypto";
import type { CatalogEntry } from "../archive/catalog.ts";
import { takeInventory } from "../archive/inventory.ts";
import type { Finding } from "../archive/known_damage.ts";
import { isCheckpointName, isManifestName } from "../archive/layout.ts";
import type { Repository } from "../archive/repository.ts";
import { DAY_MS } from "../dates.ts";
import { ArchiveError, describeError, EXIT, exitCodeOf, isNotFound } from "../errors.ts";
import { withinRun } from "../observe.ts";
import { eitherSignal, forEachParallel } from "../parallel.ts";
import { Shares } from "./shares.ts";
import { keyBelow, splitKey } from "../store/key.ts";
import { mustBeCount, mustNameSome } from "../request.ts";
import { remembered } from "../store/remembered.ts";
import type { Store } from "../store/store.ts";
import { compilePattern } from "../task/pattern.ts";
import { nothingFound } from "./nothing_found.ts";
import { type ProvedBackup, Undecided, type UndecidedBackup } from "./undecided.ts";
import { type SuspectBackup, Vanished } from "./vanished.ts";
import { exitCodeOfVerify, type VerifyContext, type VerifyReport, verifyUntold } from "./verify.ts";

/** Backups that are read at once; each reads several chunks ahead. */
const BACKUPS_AT_ONCE = 2;
/**
 * How many small backups count as one large one: each costs half a dozen requests to a store that is some 40 ms away.
 */
const SMALL_FOR_LARGE = 8;
/** What a backup of one chunk stores at the most to be small. */
const SMALL_BYTES = 64 << 10;

/** A part of all backups: each day another one of `of`, so that after so many days all have had their turn. */
export interface Sample {
  /** Which part, from 0. */
  part: number;
  /** Of how many. */
  of: number;
}

/** What is to be verified. */
export interface VerifyAllRequest {
  /** Patterns, of which one must match a database's name. @default all */
  match?: readonly string[] | undefined;
  /** One of so many parts, that of the day. @default all of it */
  sampleOf?: number | undefined;
  /** Compare presence and size only. @default false */
  quick?: boolean | undefined;
  /** Open and read sealed backups, too: it is an error where nothing opens one. @default where an identity is there */
  contents?: boolean | undefined;
}

/** A backup that is not as it must be. */
export interface FaultyBackup {
  /** The decoded name. */
  database: string;
  /** The URL of its manifest. */
  path: string;
  /** When it was complete, in UTC; null where its manifest cannot be read. */
  finished_at: string | null;
  /** What is wrong, a sentence each. */
  problems: string[];
  /**
   * 12 where something is not as it must be; 3 where it lacks what CouchDB could not read; after an error, the error's
   * own.
   */
  exit_code: number;
}

/** What `verify --all --json` prints. */
export interface VerifyAllReport {
  /** Whether all that was looked at is as it must be. */
  ok: boolean;
  /** Complete backups that were looked at. */
  backups: number;
  /** Complete backups that there are. */
  backups_in_all: number;
  /** Which part of all it was; null for all. */
  sample: Sample | null;
  /** Documents in what was read. */
  documents: number;
  /** The backups that are not as they must be. */
  faulty: FaultyBackup[];
  /** Those of which nothing is known, as the store failed or refused. */
  undecided: UndecidedBackup[];
  /**
   * How many backups are sealed and were not opened, as no identity opens them: of these the checksums were compared.
   */
  unopened?: number | undefined;
  /** How long it took. */
  seconds: number;
}

/**
 * 0; 12 where something is wrong with a backup; 11 where nothing is known of one, as the store failed; 3 where backups
 * only lack what CouchDB could not read.
 */
export function exitCodeOfVerifyAll({ faulty, undecided }: VerifyAllReport): number {
  if (faulty.some(({ exit_code }) => exit_code !== EXIT.partial)) return EXIT.archive;
  return undecided[0]?.exit_code ?? (faulty.length === 0 ? EXIT.ok : EXIT.partial);
}

/** What a verification of all backups works with. */
export interface VerifyAllContext extends VerifyContext {
  repository: Repository;
  /** What `expire` has half deleted is looked at again after so long. @default three seconds */
  lookAgainMs?: number | undefined;
  /** Gets what was found of each backup whose bytes were looked at, by its path below the prefix. */
  findings?: Map<string, Finding> | undefined;
}

/**
 * Verifies complete backups, two large ones at a time, or more small ones. Where the store refuses in a way that every
 * further one would meet, as where keys have expired, no further one is tried. One that `expire` deletes meanwhile is
 * not counted.
 *
 * @throws UsageError when the sample is none; ArchiveError when there is no backup at all, or none for a pattern:
 * nothing that was looked at must not look like all that is whole; StoreError when the folders cannot be listed; the
 * reason of `context.signal`. What is wrong with a backup is in the report.
 */
export async function verifyAll(context: VerifyAllContext, request: VerifyAllRequest): Promise<VerifyAllReport> {
  const { repository, now, progress } = context;
  const startedAt = now();
  const signal = eitherSignal(context);
  const sample = sampleOf(request.sampleOf, startedAt);
  const chosen = await chooseBackups(repository, { match: request.match, sample, signal });
  const { chains, large } = chosen;
  const run = new VerifyRun(context, request, { ...chosen, sample });
  progress.runStarted({ action: "verify", databases: chains.reduce((sum, { length }) => sum + length, 0) });
  const shares = new Shares(chains, {
    room: BACKUPS_AT_ONCE * SMALL_FOR_LARGE,
    shareOf: ([{ database }]) => large.has(database) ? SMALL_FOR_LARGE : 1,
  });
  try {
    await forEachParallel(
      () => chains,
      (chain, signal) => shares.within(chain, () => run.verifyChain(chain, signal)),
      { limit: shares.limit, signal },
    );
    await run.settle({ signal });
  } finally {
    progress.runFinished();
  }
  return run.end(startedAt);
}

/**
 * Backups of one database that build on each other, as far as the catalog shows, the newest first: to verify that one is
 * to read all the others, too.
 */
type Chain = [SuspectBackup, ...SuspectBackup[]];

/** The backups that are to be verified, and what their folders have told already. */
interface ChosenBackups {
  /** Those first of which the newest backup is newer. */
  chains: Chain[];
  /** How many there are, those that are not in the sample too. */
  backupsInAll: number;
  /** Databases with a large backup. An increment is read with what it builds on, so it is as large as any of them. */
  large: ReadonlySet<string>;
  /** Manifests that cannot be used. */
  faulty: FaultyBackup[];
}

/** @throws ArchiveError when there is no backup at all, or none for a pattern. */
async function chooseBackups(
  repository: Repository,
  { match, sample, signal }: Pick<VerifyAllRequest, "match"> & { sample: Sample | undefined; signal: AbortSignal },
): Promise<ChosenBackups> {
  mustNameSome(match, "match");
  const patterns = match?.map(compilePattern);
  const unmet = new Set(patterns);
  const isChosen = ({ key }: SuspectBackup) => sample === undefined || partOf(key, sample.of) === sample.part;
  const chains: Chain[] = [];
  let ofDatabase: CatalogEntry[] = [];
  const takeDatabase = () => {
    for (const chain of chainsOf(ofDatabase)) {
      const [newest, ...others] = chain.filter(isChosen);
      if (newest !== undefined) chains.push([newest, ...others]);
    }
    ofDatabase = [];
  };
  const large = new Set<string>();
  const faulty: FaultyBackup[] = [];
  let backupsInAll = 0;
  for await (const { database, folder, backups, damaged } of takeInventory(repository, { signal })) {
    const matching = patterns?.filter((pattern) => pattern.matches(database));
    if (matching?.length === 0) continue;
    if (backups.length + damaged.length > 0) matching?.forEach((pattern) => unmet.delete(pattern));
    for (const error of damaged) {
      const path = repository.locate(error.facts.key ?? folder);
      faulty.push({ database, path, finished_at: null, problems: [error.message], exit_code: EXIT.archive });
    }
    backupsInAll += backups.length;
    if (backups.some(({ chunks, compressedBytes }) => chunks > 1 || compressedBytes > SMALL_BYTES)) large.add(database);
    if (ofDatabase[0]?.database !== database) takeDatabase();
    for (const backup of backups) ofDatabase.push(backup);
  }
  takeDatabase();
  if (unmet.size > 0 || backupsInAll + faulty.length === 0) {
    throw nothingFound(repository, { patterns: Array.from(unmet, ({ source }) => source) });
  }
  // The newest first: they are missed most.
  chains.sort(([a], [b]) => b.finishedAt.getTime() - a.finishedAt.getTime());
  return { chains, backupsInAll, large, faulty };
}

/**
 * The backups of a database, those together of which the catalog says that they go on from each other. Where it is
 * mistaken nothing is missed: what a backup builds on its manifest says.
 */
function chainsOf(entries: readonly CatalogEntry[]): SuspectBackup[][] {
  const chains: SuspectBackup[][] = [];
  const lastOf = new Map<string, SuspectBackup[]>();
  const inTime = entries.toSorted((a, b) =>
    a.finishedAt.getTime() - b.finishedAt.getTime() || Number(b.kind === "full") - Number(a.kind === "full")
  );
  for (const { database, manifestKey: key, run, finishedAt, kind, task } of inTime) {
    const backup = { database, key, run, finishedAt };
    const last = kind === "full" ? undefined : lastOf.get(task);
    if (last === undefined) {
      const begun = [backup];
      chains.push(begun);
      lastOf.set(task, begun);
    } else last.unshift(backup);
  }
  return chains;
}

/** One call of {@linkcode verifyAll}: what it works with, and the report that it fills. */
class VerifyRun {
  readonly #context: VerifyAllContext;
  readonly #request: VerifyAllRequest;
  readonly #report: VerifyAllReport;
  readonly #findings: Map<string, Finding>;
  readonly #undecided: Undecided;
  readonly #vanished: Vanished;

  constructor(
    context: VerifyAllContext,
    request: VerifyAllRequest,
    { backupsInAll, faulty, sample }: Omit<ChosenBackups, "large"> & { sample: Sample | undefined },
  ) {
    this.#context = context;
    this.#request = request;
    this.#findings = context.findings ?? new Map();
    this.#undecided = new Undecided(context);
    this.#vanished = new Vanished(context);
    this.#report = {
      ok: false,
      backups: 0,
      backups_in_all: backupsInAll,
      sample: sample ?? null,
      documents: 0,
      faulty,
      undecided: this.#undecided.backups,
      seconds: 0,
    };
  }

  /**
   * Verifies backups that build on each other, the newest first: with that all the others are read, and each manifest and
   * each folder is asked for once.
   */
  async verifyChain(chain: Chain, signal: AbortSignal): Promise<void> {
    const { repository: { store } } = this.#context;
    const isKept = (key: string) => isManifestName(splitKey(key).name) || isCheckpointName(splitKey(key).name);
    const known = chain.length === 1 ? store : remembered(store, isKept);
    const proved = new Set<string>();
    for (const backup of chain) {
      signal.throwIfAborted();
      await this.#verify(backup, { store: known, proved, signal });
    }
  }

  /**
   * Verifies one backup. What it may lack because it has expired is decided by {@linkcode VerifyRun.settle}.
   *
   * @param options `proved`: the paths of the backups of which every chunk has been read, and nothing was wrong.
   */
  async #verify(
    backup: SuspectBackup,
    { store, proved, signal }: { store: Store; proved: Set<string>; signal: AbortSignal },
  ): Promise<void> {
    const { database, key, finishedAt } = backup;
    const { repository, progress } = this.#context;
    const { quick, contents } = this.#request;
    const found = { database, path: repository.locate(key), finished_at: finishedAt.toISOString() };
    if (this.#undecided.isOver) return this.#undecided.noteUntried(found);
    // Whether it is finished well is told when it is known whether it has expired.
    const one = { ...this.#context, signal, progress: { ...withinRun(progress), databaseFinished() {} } };
    const ownPath = keyBelow(repository.prefix, key);
    const { folder, name } = splitKey(key);
    const isProved = (parent = ownPath) => proved.has(parent);
    let verified: Verified;
    try {
      verified = await verifyUntold(one, { store, folder, manifest: name }, { database, quick, contents, isProved });
    } catch (failure) {
      signal.throwIfAborted();
      const error = isNotFound(failure) ? lostManifest(found.path) : failure;
      if (this.#undecided.take(found, error)) return this.#finished(database, { ok: false });
      const noteUnreadable = () => {
        this.#report.backups++;
        this.#noteFaulty({ ...found, problems: [describeError(error)], exit_code: exitCodeOf(error) });
      };
      return await this.#noteUnlessExpired(backup, { found, noteFault: noteUnreadable, signal });
    }
    this.#undecided.noteDecided();
    const { report, damage, damagedParents } = verified;
    if (damage.length === 0) this.#noteSound([ownPath, ...report.parents ?? []]);
    if (report.ok) {
      // Where ids could not be compared, as one of them has too many, those of its parents may well be.
      const isCompared = report.ids_compared || report.contents_read === false;
      if (isCompared && quick !== true) {
        for (const path of [ownPath, ...report.parents ?? []]) proved.add(path);
      }
      this.#count(verified);
      return this.#finished(database, { ok: true });
    }
    const noteFault = () => {
      this.#count(verified);
      const damaged = damage.length === 0 ? [] : [ownPath, ...damagedParents];
      for (const path of damaged) this.#findings.set(path, "damaged");
      this.#noteFaulty({ ...found, problems: problemsOf(report), exit_code: exitCodeOfVerify(report) });
    };
    // What expire deletes is missing, and nothing else.
    const mayHaveExpired = damage.length > 0 && damage.every(({ is_missing }) => is_missing === true);
    if (mayHaveExpired) await this.#noteUnlessExpired(backup, { found, noteFault, signal });
    else noteFault();
  }

  /** Decides which of the backups at which something is missing have expired meanwhile: these are not counted. */
  async settle(options: { signal: AbortSignal }): Promise<void> {
    const expired = await this.#vanished.settle(options);
    this.#report.backups_in_all -= expired;
  }

  /** The report, which the log gets in short. */
  end(startedAt: Date): VerifyAllReport {
    const { log, now } = this.#context;
    const report = this.#report;
    for (const found of [report.faulty, report.undecided]) found.sort((a, b) => a.path < b.path ? -1 : 1);
    report.ok = report.faulty.length + report.undecided.length === 0;
    report.seconds = (now().getTime() - startedAt.getTime()) / 1000;
    this.#undecided.tell();
    const facts = { backups: report.backups, documents: report.documents, faulty: report.faulty.length };
    if (report.ok) log.info("backups are verified", facts);
    else {
      const event = report.faulty.length === 0
        ? "not all backups could be looked at"
        : "not all backups are as they must be";
      log.error(event, { ...facts, undecided: report.undecided.length });
    }
    return report;
  }

  async #noteUnlessExpired(
    backup: SuspectBackup,
    { found, noteFault, signal }: { found: ProvedBackup; noteFault: () => void; signal: AbortSignal },
  ): Promise<void> {
    await this.#vanished.take(backup, {
      noteFault: (failure) => {
        if (failure === undefined || !this.#undecided.take(found, failure)) noteFault();
        else this.#finished(backup.database, { ok: false });
      },
      noteExpired: () => this.#finished(backup.database, { ok: true }),
    }, { signal });
  }

  /** Counts a backup that was read. */
  #count({ report: { documents, contents_read }, tell }: Verified): void {
    tell();
    this.#report.backups++;
    this.#report.documents += documents;
    if (contents_read === false) this.#report.unopened = (this.#report.unopened ?? 0) + 1;
  }

  #noteFaulty(faulty: FaultyBackup): void {
    this.#report.faulty.push(faulty);
    this.#finished(faulty.database, { ok: false });
  }

  #finished(database: string, { ok }: { ok: boolean }): void {
    this.#context.progress.databaseFinished({ database, ok });
  }

  /** What is found to be damaged once in a run remains so: its bytes may have come rightly the other time by chance. */
  #noteSound(paths: readonly string[]): void {
    if (this.#request.quick) return;
    for (const path of paths) if (!this.#findings.has(path)) this.#findings.set(path, "sound");
  }
}

function lostManifest(url: string): ArchiveError {
  const facts = { key: url, expected: "a manifest", found: "none" };
  return new ArchiveError(`There is no backup at "${url}" any more: its manifest is missing`, facts);
}

/** What {@linkcode verifyUntold} has found of one backup. */
type Verified = Awaited<ReturnType<typeof verifyUntold>>;

function problemsOf({ problems, unreadable }: VerifyReport): string[] {
  const lacking = unreadable.length === 0 ? [] : [`CouchDB could not read ${counted(unreadable.length, "document")}`];
  return [...problems.map(({ chunk, problem }) => `${chunk}: ${problem}`), ...lacking];
}

/** The part whose turn it is on a day. */
function sampleOf(of: number | undefined, now: Date): Sample | undefined {
  mustBeCount(of, "sampleOf");
  if (of === undefined || of === 1) return undefined;
  return { part: Math.floor(now.getTime() / DAY_MS) % of, of };
}

/** The part that a backup belongs to: by its name, so that it is the same on each machine and at each time. */
function partOf(key: string, of: number): number {
  return createHash("sha256").update(key).digest().readUInt32BE(0) % of;
}
