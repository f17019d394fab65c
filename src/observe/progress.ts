/**
 * The progress of a run, for a person who waits. In: what begins, advances and ends. Out: now and then a line in the
 * log. The bars of a terminal, in progress_bars.ts, count by the same tallies.
 */
import { printable } from "./logfmt.ts";
import type { Log, Progress } from "../observe.ts";

/** What {@linkcode openProgressLines} needs to know. */
export interface ProgressLinesOptions {
  log: Log;
  /** @default 30000 */
  intervalMs?: number;
  /** Milliseconds that never go back. @default performance.now */
  now?: () => number;
}

/** A database in hand, or the run as a whole. */
interface Tally {
  startedMs: number;
  documents: number;
  bytes: number;
}

interface DatabaseTally extends Tally {
  database: string;
  /** Undefined where nobody knows. */
  expected: number | undefined;
}

/** A run under way. */
export interface RunTally extends Tally {
  action: "backup" | "restore" | "verify";
  databases: number;
  finished: number;
  failed: number;
  /** Of the databases that are in hand the one that has been so for the longest time. */
  inHand: DatabaseTally | undefined;
}

/** Before that a rest that is computed from the speed so far means nothing. */
const ETA_AFTER_MS = 2_000;

/** Counts what the pipeline tells, and calls `show` at intervals while a run is under way. */
export class Counter implements Progress {
  readonly options: { intervalMs: number; now: () => number; show: (run: RunTally) => void; end: () => void };
  #run: RunTally | undefined;
  /** By their names, in the order in which they were begun. */
  readonly #inHand: Map<string, DatabaseTally> = new Map();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: Counter["options"]) {
    this.options = options;
  }

  runStarted({ action, databases }: { action: RunTally["action"]; databases: number }): void {
    this.runFinished();
    const { now, show, intervalMs } = this.options;
    const run = { action, databases, finished: 0, failed: 0, inHand: undefined, ...newTally(now()) };
    this.#run = run;
    this.#inHand.clear();
    this.#timer = setInterval(() => show(run), intervalMs);
  }

  databaseStarted({ database, documents }: { database: string; documents: number | undefined }): void {
    if (this.#run === undefined) return;
    const tally = { database: printable(database), expected: documents, ...newTally(this.options.now()) };
    this.#inHand.set(database, tally);
    this.#run.inHand ??= tally;
  }

  advanced({ database, documents, bytes }: { database?: string | undefined; documents: number; bytes: number }): void {
    const inHand = database === undefined ? this.#run?.inHand : this.#inHand.get(database);
    for (const tally of [this.#run, inHand]) {
      if (tally === undefined) continue;
      tally.documents += documents;
      tally.bytes += bytes;
    }
  }

  databaseFinished({ database, ok }: { database: string; ok: boolean }): void {
    if (this.#run === undefined) return;
    this.#inHand.delete(database);
    this.#run.inHand = this.#inHand.values().next().value;
    this.#run.finished++;
    if (!ok) this.#run.failed++;
  }

  runFinished(): void {
    clearInterval(this.#timer);
    this.#run = undefined;
    this.options.end();
  }
}

/** Writes an info line at intervals: for a run whose output goes to a file, a pipe or the journal. */
export function openProgressLines({ log, intervalMs = 30_000, now = monotonicMs }: ProgressLinesOptions): Progress {
  const show = (run: RunTally) => {
    const { inHand } = run;
    const rest = restMs(inHand === undefined ? undefined : fractionOf(inHand), inHand?.startedMs, now());
    log.info("Progress", {
      action: run.action,
      databases: run.databases,
      finished: run.finished,
      failed: run.failed === 0 ? undefined : run.failed,
      database: inHand?.database,
      documents: inHand?.documents,
      expectedDocuments: inHand?.expected,
      bytes: inHand?.bytes,
      bytesPerSecond: inHand === undefined ? undefined : Math.round(rateOf(inHand, now())),
      restSeconds: rest === undefined ? undefined : Math.round(rest / 1000),
    });
  };
  return new Counter({ intervalMs, now, show, end() {} });
}

/** How long the rest takes at the speed so far; undefined where that cannot be said yet. */
export function restMs(fraction: number | undefined, startedMs: number | undefined, nowMs: number): number | undefined {
  if (fraction === undefined || startedMs === undefined) return undefined;
  const elapsedMs = nowMs - startedMs;
  if (fraction <= 0 || elapsedMs < ETA_AFTER_MS) return undefined;
  return Math.max(0, elapsedMs * (1 - fraction) / fraction);
}

/** From 0 to 1. Documents that were created since they were counted do not take it beyond. */
export function fractionOf({ documents, expected }: DatabaseTally): number | undefined {
  if (expected === undefined) return undefined;
  return expected === 0 ? 1 : Math.min(1, documents / expected);
}

/** Bytes per second. */
export function rateOf({ bytes, startedMs }: Tally, nowMs: number): number {
  return bytes / Math.max(0.001, (nowMs - startedMs) / 1000);
}

function newTally(startedMs: number): Tally {
  return { startedMs, documents: 0, bytes: 0 };
}

/** Milliseconds that never go back. */
export function monotonicMs(): number {
  return performance.now();
}
