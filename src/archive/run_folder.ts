/**
 * What the runs of an elapse keep in its folder beside their claims: plans, the outcome of each database and of each
 * run (generation), what need not be tried for a while, and in the end the report. In: the folder's address. Out: what
 * an earlier run or call has stored, checked.
 */
import * as z from "zod";
import { ArchiveError, isOutOfReach, StoreError } from "../errors.ts";
import { lazily } from "./lazily.ts";
import type { Repository } from "./repository.ts";
import { jsonBytes } from "../json/indented.ts";
import { type JsonOptions, readJson } from "../store/json.ts";
import { joinKey } from "../store/key.ts";
import { encodeDatabase } from "../database_name.ts";
import type { DatabaseReport, RunReport } from "./report.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { MOST_LARGE_BYTES, readObjectText, type WholeOptions } from "../store/whole.ts";

/** Which databases of the task a plan is for: all, or those alone that the run's report calls failed. */
export type PlanScope = "all" | "failed";

/** Says that the elapse is over. */
export const REPORT_NAME = "report.json";
const OUTCOMES_FOLDER = "databases";
const STOP_NAME = "stop.json";
const WARNINGS_NAME = "warnings.json";
const GENERATION_OUTCOME = /^outcome-([1-9]\d{0,8})\.json$/;

/** What holds how all generations up to this one came out together; the claim stores it, with its last heartbeat. */
export function generationOutcomeName(generation: number): string {
  return `outcome-${generation}.json`;
}

/** Made when something is read: a run that is no schedule's reads nothing here. */
const schemas = lazily(() => {
  // Only the fields of a database's report that are added up are checked. All others are kept as they are.
  const outcome = z.looseObject({
    database: z.string(),
    status: z.enum(["complete", "resumed", "failed", "gone"]),
    documents: z.int(),
    leaf_revisions: z.int(),
    absent: z.int(),
    chunks: z.int(),
    bytes: z.int(),
    compressed_bytes: z.int(),
    path: z.string(),
    seconds: z.number(),
  });
  const report = z.looseObject({
    ok: z.boolean(),
    run: z.string(),
    started_at: z.string(),
    finished_at: z.string(),
    tasks: z.array(z.looseObject({ task: z.string(), date: z.string(), databases: z.array(outcome) })),
  });
  const stop = z.object({
    until: z.iso.datetime(),
    why: z.string(),
    exit_code: z.int(),
    since: z.iso.datetime(),
  });
  const warnings = z.object({ warnings: z.array(z.string()), unlisted: z.array(z.string()) });
  const plan = z.array(z.object({ database: z.string() }));
  return { outcome, report, stop, warnings, plan };
});

/**
 * What every try would meet, so that nobody tries before `until`: a wrong password, a bucket that refuses, no CouchDB.
 */
export interface Stop {
  /** Nobody tries before it; one that has passed says that things went well again, or may. In UTC. */
  until: string;
  /** The error that was met. */
  why: string;
  /** The exit code that belongs to it. */
  exit_code: number;
  /** When it was met first, in UTC. */
  since: string;
}

/** What was noticed of a task's databases while it was planned. */
export interface PlanWarnings {
  /** A sentence each. */
  warnings: string[];
  /** Databases that the last run had and that are not listed any more. */
  unlisted: string[];
}

/**
 * A report that is stored under a key; undefined where there is none, or nothing that can be relied on.
 *
 * @throws StoreError when the store fails, and with code `too_large` where the task has too many databases for one.
 */
export async function readRunReport(
  store: Store,
  key: string,
  options: StoreCallOptions & JsonOptions,
): Promise<RunReport | undefined> {
  const limits = { ...options, mostBytes: MOST_LARGE_BYTES };
  try {
    return await readJson(store, key, { ...limits, schema: schemas().report }) as RunReport | undefined;
  } catch (error) {
    if (error instanceof StoreError && error.facts.code === "too_large") throw tooManyDatabases(store, key, error);
    throw error;
  }
}

function tooManyDatabases(store: Store, key: string, { facts }: StoreError): StoreError {
  const mebibytes = MOST_LARGE_BYTES >> 20;
  return new StoreError(
    `Cannot read the report "${store.locate(key)}": it has more than ${mebibytes} MiB, as one of some 250,000 ` +
      "databases has, or one of fewer that have failed",
    facts,
    {
      hint: "Let several tasks share the databases, by patterns: each has reports of its own. The backups are not " +
        "concerned. Where the task has fewer databases, check who can write to the bucket",
    },
  );
}

/** What was read of a run; or why it cannot be, where the store is well and others need not wait for that. */
export interface ReadOutcome<T> {
  found?: T | undefined;
  problem?: StoreError | undefined;
}

/**
 * Reads what a run has left, by which nothing must stop: it may be larger than is read, in an archive tier, or on a bad
 * block.
 *
 * @throws What `reading` throws, where the store itself fails.
 */
export async function ifInReach<T>(reading: Promise<T | undefined>): Promise<ReadOutcome<T>> {
  try {
    return { found: await reading };
  } catch (problem) {
    if (!isOutOfReach(problem)) throw problem;
    return { problem };
  }
}

/** The folder of one run. */
export class RunFolder {
  readonly #store: Store;
  readonly #folder: string;

  constructor(repository: Repository, run: { task: string; elapse: Date }) {
    this.#store = repository.store;
    this.#folder = repository.runFolder(run);
  }

  /** Its key. */
  get key(): string {
    return this.#folder;
  }

  /** Stores what there is to do, as a JSON array of `{"database": name}`, and returns its key. */
  async storePlan(
    { scope, generation }: PlanName,
    databases: readonly string[],
    options: StoreCallOptions,
  ): Promise<string> {
    return await this.#put(planName({ scope, generation }), databases.map((database) => ({ database })), options);
  }

  /** Stores the same in batches, as a JSON array of `{"databases": [name, …]}`, and returns its key. */
  async storeBatches(
    { scope, generation }: PlanName,
    batches: readonly (readonly string[])[],
    options: StoreCallOptions,
  ): Promise<string> {
    const name = planName({ scope, generation }).replace(/^plan/, "plan-batches");
    return await this.#put(name, batches.map((databases) => ({ databases })), options);
  }

  /**
   * The databases that are planned, and since when.
   *
   * @throws StoreError with code `not_found` when there is no plan; ArchiveError when it is damaged.
   */
  async readPlan(plan: PlanName, options: StoreCallOptions): Promise<{ databases: string[]; plannedAt: Date }> {
    const key = joinKey(this.#folder, planName(plan));
    const text = await readObjectText(this.#store, key, { ...options, mostBytes: MOST_LARGE_BYTES });
    const databases = parsePlan(text, key);
    const { modified } = await this.#store.stat(key, options) ?? { modified: new Date() };
    return { databases, plannedAt: modified };
  }

  /** Stores how a database came out. */
  async storeOutcome(outcome: DatabaseReport, options: StoreCallOptions): Promise<void> {
    await this.#put(outcomeName(outcome.database), outcome, options);
  }

  /** How a database came out; undefined when nobody has stored it. */
  async readOutcome(database: string, options: StoreCallOptions): Promise<DatabaseReport | undefined> {
    return await this.#get(outcomeName(database), schemas().outcome, options) as DatabaseReport | undefined;
  }

  /** When it was stored how a database came out, by the store's clock; undefined when nobody has stored it. */
  async outcomeStoredAt(database: string, options: StoreCallOptions): Promise<Date | undefined> {
    return (await this.#store.stat(joinKey(this.#folder, outcomeName(database)), options))?.modified;
  }

  /** How the newest generation that has come to an end came out, and which one that is; undefined when none has. */
  async readNewestGeneration(
    options: StoreCallOptions & JsonOptions,
  ): Promise<{ generation: number; report: RunReport } | undefined> {
    const generations: number[] = [];
    for await (const { name } of this.#store.list(this.#folder, options)) {
      const [, digits] = GENERATION_OUTCOME.exec(name) ?? [];
      if (digits !== undefined) generations.push(Number(digits));
    }
    for (const generation of generations.sort((a, b) => b - a)) {
      const report = await this.#report(generationOutcomeName(generation), options);
      if (report !== undefined) return { generation, report };
    }
    return undefined;
  }

  /** Says until when nobody needs to try. */
  async storeStop(stop: Stop, options: StoreCallOptions): Promise<void> {
    await this.#put(STOP_NAME, stop, options);
  }

  /** Until when nobody needs to try; undefined where nothing was ever met that every try would meet. */
  async readStop(options: StoreCallOptions): Promise<Stop | undefined> {
    return await this.#get(STOP_NAME, schemas().stop, options);
  }

  /** Keeps what was noticed while planning, for the report. */
  async storeWarnings(warnings: PlanWarnings, options: StoreCallOptions): Promise<void> {
    await this.#put(WARNINGS_NAME, warnings, options);
  }

  /** What was noticed while planning; undefined where that was nothing. */
  async readWarnings(options: StoreCallOptions): Promise<PlanWarnings | undefined> {
    return await this.#get(WARNINGS_NAME, schemas().warnings, { ...options, mostBytes: MOST_LARGE_BYTES });
  }

  /** Stores the run's report, and returns its key. */
  async storeReport(report: RunReport, options: StoreCallOptions): Promise<string> {
    return await this.#put(REPORT_NAME, report, options);
  }

  /** The run's report; undefined when the run is not over. */
  async readReport(options: StoreCallOptions & JsonOptions): Promise<RunReport | undefined> {
    return await this.#report(REPORT_NAME, options);
  }

  async #put(name: string, value: unknown, options: StoreCallOptions): Promise<string> {
    const key = joinKey(this.#folder, name);
    await this.#store.replace(key, jsonBytes(value), options);
    return key;
  }

  async #report(name: string, options: StoreCallOptions & JsonOptions): Promise<RunReport | undefined> {
    return await readRunReport(this.#store, joinKey(this.#folder, name), options);
  }

  async #get<T>(name: string, schema: z.ZodType<T>, options: WholeOptions): Promise<T | undefined> {
    return await readJson(this.#store, joinKey(this.#folder, name), { ...options, schema });
  }
}

/** Which plan: what a person asks for has one of its own, and so has every generation but the first. */
interface PlanName {
  scope: PlanScope;
  generation: number;
}

function planName({ scope, generation }: PlanName): string {
  if (scope === "failed") return "plan-failed.json";
  return generation <= 1 ? "plan.json" : `plan-${generation}.json`;
}

function parsePlan(text: string, key: string): string[] {
  try {
    return schemas().plan.parse(JSON.parse(text)).map(({ database }) => database);
  } catch (cause) {
    throw new ArchiveError(`Cannot use the plan "${key}": it is no list of databases`, {
      key,
      expected: 'a JSON array of {"database": name}',
      found: "something else",
    }, { cause, hint: "Check who can write to the bucket; the next elapse of the task makes a plan of its own" });
  }
}

function outcomeName(database: string): string {
  return `${OUTCOMES_FOLDER}/${encodeDatabase(database)}.json`;
}
