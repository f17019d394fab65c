/**
 * Verifies the backups of a whole repository, or a different part of them each day. In: a repository. Out: the
 * problems, by backup. Needs no CouchDB; writes nothing.
 */
import { counted } from "../counts.ts";
import { createHash } from "node:crypto";
import { takeInventory } from "../archive/inventory.ts";
import type { Finding } from "../archive/known_damage.ts";
import type { Repository } from "../archive/repository.ts";
import { DAY_MS } from "../dates.ts";
import { describeError, EXIT, exitCodeOf, UsageError } from "../errors.ts";
import { withinRun } from "../observe.ts";
import { eitherSignal, forEachParallel } from "../parallel.ts";
import { Shares } from "./shares.ts";
import { keyBelow } from "../store/key.ts";
import { compilePattern, mustNameSome } from "../task/pattern.ts";
import { nothingFound } from "./nothing_found.ts";
import { Undecided, type UndecidedBackup } from "./undecided.ts";
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
   * How many backups are sealed and were not opened, as there was no identity: of these the checksums were compared.
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

/**
 * Verifies complete backups, two large ones at a time, or more small ones. Where the store refuses in a way that every
 * further one would meet, as where keys have expired, no further one is tried. One that `expire` deletes meanwhile is
 * not counted.
 *
 * @param context.lookAgainMs What `expire` has half deleted is looked at again after so long. @default three seconds
 * @param context.findings Gets what was found of each backup whose bytes were looked at, by its path below the prefix.
 * @throws UsageError when the sample is none; ArchiveError when there is no backup at all, or none for a pattern:
 * nothing that was looked at must not look like all that is whole; StoreError when the folders cannot be listed; the
 * reason of `context.signal`. What is wrong with a backup is in the report.
 */
export async function verifyAll(
  context: VerifyContext & {
    repository: Repository;
    lookAgainMs?: number | undefined;
    findings?: Map<string, Finding> | undefined;
  },
  request: VerifyAllRequest,
): Promise<VerifyAllReport> {
  const { repository, now, progress, log, findings = new Map<string, Finding>() } = context;
  const startedAt = now();
  const signal = eitherSignal(context);
  const sample = sampleOf(request.sampleOf, startedAt);
  const undecided = new Undecided({ log });
  const vanished = new Vanished(context);
  mustNameSome(request.match, "match");
  const patterns = request.match?.map(compilePattern);
  const unmet = new Set(patterns);
  const report: VerifyAllReport = {
    ok: false,
    backups: 0,
    backups_in_all: 0,
    sample: sample ?? null,
    documents: 0,
    faulty: [],
    undecided: undecided.backups,
    seconds: 0,
  };
  const wanted: SuspectBackup[] = [];
  /** An increment is read with what it builds on: it is as large as any backup of its database. */
  const large = new Set<string>();
  for await (const { database, folder, backups, damaged } of takeInventory(repository, { signal })) {
    const matching = patterns?.filter((pattern) => pattern.matches(database));
    if (matching?.length === 0) continue;
    if (backups.length + damaged.length > 0) matching?.forEach((pattern) => unmet.delete(pattern));
    for (const error of damaged) {
      const path = repository.locate(error.facts.key ?? folder);
      report.faulty.push({ database, path, finished_at: null, problems: [error.message], exit_code: EXIT.archive });
    }
    report.backups_in_all += backups.length;
    if (backups.some(({ chunks, compressedBytes }) => chunks > 1 || compressedBytes > SMALL_BYTES)) large.add(database);
    for (const { manifestKey, run, finishedAt } of backups) {
      if (sample === undefined || partOf(manifestKey, sample.of) === sample.part) {
        wanted.push({ database, key: manifestKey, run, finishedAt });
      }
    }
  }
  if (unmet.size > 0 || report.backups_in_all + report.faulty.length === 0) {
    throw nothingFound(repository, { patterns: Array.from(unmet, ({ source }) => source) });
  }
  progress.runStarted({ action: "verify", databases: wanted.length });
  const shares = new Shares(wanted, {
    room: BACKUPS_AT_ONCE * SMALL_FOR_LARGE,
    shareOf: ({ database }) => large.has(database) ? SMALL_FOR_LARGE : 1,
  });
  try {
    await forEachParallel(
      () => wanted,
      (backup, signal) => shares.within(backup, () => verifyOne(backup, signal)),
      { limit: shares.limit, signal },
    );
    const expired = await vanished.settle({ signal });
    report.backups_in_all -= expired;
  } finally {
    progress.runFinished();
  }
  for (const found of [report.faulty, report.undecided]) found.sort((a, b) => a.path < b.path ? -1 : 1);
  report.ok = report.faulty.length + report.undecided.length === 0;
  report.seconds = (now().getTime() - startedAt.getTime()) / 1000;
  const facts = { backups: report.backups, documents: report.documents, faulty: report.faulty.length };
  undecided.tell();
  if (report.ok) log.info("backups are verified", facts);
  else if (report.faulty.length === 0) {
    log.error("not all backups could be looked at", { ...facts, undecided: report.undecided.length });
  } else log.error("not all backups are as they must be", { ...facts, undecided: report.undecided.length });
  return report;

  /** What is found to be damaged once in a run remains so: its bytes may have come rightly the other time by chance. */
  function noteSound(key: string, parents: readonly string[] = []): void {
    if (request.quick) return;
    for (const path of [keyBelow(repository.prefix, key), ...parents]) {
      if (!findings.has(path)) findings.set(path, "sound");
    }
  }

  function noteDamaged(key: string, { problems }: VerifyReport, parents: Iterable<string>): void {
    if (problems.length === 0) return;
    for (const path of [keyBelow(repository.prefix, key), ...parents]) findings.set(path, "damaged");
  }

  async function verifyOne(backup: SuspectBackup, signal: AbortSignal): Promise<void> {
    const { database, key, finishedAt } = backup;
    const path = repository.locate(key);
    // Whether it is finished well is told when it is known whether it has expired.
    const one = { ...context, signal, progress: { ...withinRun(progress), databaseFinished() {} } };
    const found = { database, path, finished_at: finishedAt.toISOString() };
    if (undecided.isOver) return undecided.noteUntried(found);
    let noteFault: () => void;
    try {
      const { report: verified, damagedParents, tell } = await verifyUntold(one, {
        database,
        path,
        quick: request.quick,
        contents: request.contents,
      });
      undecided.noteDecided();
      const note = () => {
        tell();
        report.backups++;
        report.documents += verified.documents;
        if (verified.contents_read === false) report.unopened = (report.unopened ?? 0) + 1;
      };
      if (verified.problems.length === 0) noteSound(key, verified.parents);
      if (verified.ok) {
        note();
        return progress.databaseFinished({ database, ok: true });
      }
      noteFault = () => {
        note();
        noteDamaged(key, verified, damagedParents);
        report.faulty.push({ ...found, problems: problemsOf(verified), exit_code: exitCodeOfVerify(verified) });
        progress.databaseFinished({ database, ok: false });
      };
      // What expire deletes is missing, and nothing else.
      if (!verified.problems.every(({ problem }) => /\bmissing\b/.test(problem))) return noteFault();
    } catch (error) {
      signal.throwIfAborted();
      if (undecided.take(found, error)) return progress.databaseFinished({ database, ok: false });
      noteFault = () => {
        report.backups++;
        // A backup that cannot be read is the very thing that is looked for; the others are looked at all the same.
        report.faulty.push({ ...found, problems: [describeError(error)], exit_code: exitCodeOf(error) });
        progress.databaseFinished({ database, ok: false });
      };
    }
    const noteUnlessUndecided = (failure?: unknown) => {
      if (failure === undefined || !undecided.take(found, failure)) noteFault();
      else progress.databaseFinished({ database, ok: false });
    };
    const noteExpired = () => progress.databaseFinished({ database, ok: true });
    await vanished.take(backup, { noteFault: noteUnlessUndecided, noteExpired }, { signal });
  }
}

function problemsOf({ problems, unreadable }: VerifyReport): string[] {
  const lacking = unreadable.length === 0 ? [] : [`CouchDB could not read ${counted(unreadable.length, "document")}`];
  return [...problems.map(({ chunk, problem }) => `${chunk}: ${problem}`), ...lacking];
}

/** The part whose turn it is on a day. */
function sampleOf(of: number | undefined, now: Date): Sample | undefined {
  if (of === undefined || of === 1) return undefined;
  if (!Number.isInteger(of) || of < 1) {
    throw new UsageError(`A sample must be 1 of a whole number of parts, not of ${of}`);
  }
  return { part: Math.floor(now.getTime() / DAY_MS) % of, of };
}

/** The part that a backup belongs to: by its name, so that it is the same on each machine and at each time. */
function partOf(key: string, of: number): number {
  return createHash("sha256").update(key).digest().readUInt32BE(0) % of;
}
