/**
 * What a run that is done in several calls keeps in its folder: the plan, how each database came out, and in the end the
 * report. In: the folder's address. Out: what an earlier call has stored, checked.
 */
import { z } from "zod";
import { isNotFound } from "../errors.ts";
import type { Repository } from "./repository.ts";
import { joinKey } from "../store/key.ts";
import { encodeDatabase } from "../database_name.ts";
import { readText } from "../streams.ts";
import type { DatabaseReport, RunReport } from "./report.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";

/** Which databases of the task a plan is for: all, or those alone that the run's report calls failed. */
export type PlanScope = "all" | "failed";

const REPORT_NAME = "report.json";
const PLAN_NAMES: Record<PlanScope, string> = { all: "plan.json", failed: "plan-failed.json" };
const OUTCOMES_FOLDER = "databases";

// Of a database's report the fields that are added up; all others are this program's own, too, and kept as they are.
const outcomeSchema = z.looseObject({
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
const reportSchema = z.looseObject({
  ok: z.boolean(),
  run: z.string(),
  started_at: z.string(),
  finished_at: z.string(),
  tasks: z.array(z.looseObject({ task: z.string(), date: z.string(), databases: z.array(outcomeSchema) })),
});
const planSchema = z.array(z.object({ database: z.string() }));

/** The folder of one run. */
export class RunFolder {
  readonly #store: Store;
  readonly #folder: string;

  constructor(repository: Repository, run: { task: string; elapse: Date }) {
    this.#store = repository.store;
    this.#folder = repository.runFolder(run);
  }

  /** Stores what there is to do, as a JSON array of `{"database": name}`, and returns its key. */
  async storePlan(scope: PlanScope, databases: readonly string[], options: StoreCallOptions): Promise<string> {
    return await this.#put(PLAN_NAMES[scope], databases.map((database) => ({ database })), options);
  }

  /**
   * The databases that are planned, and since when.
   *
   * @throws StoreError with code `not_found` when there is no plan.
   */
  async readPlan(scope: PlanScope, options: StoreCallOptions): Promise<{ databases: string[]; plannedAt: Date }> {
    const key = joinKey(this.#folder, PLAN_NAMES[scope]);
    const text = await readText(await this.#store.read(key, options));
    const plan = planSchema.parse(JSON.parse(text));
    const { modified } = await this.#store.stat(key, options) ?? { modified: new Date() };
    return { databases: plan.map(({ database }) => database), plannedAt: modified };
  }

  /** Stores how a database came out. */
  async storeOutcome(outcome: DatabaseReport, options: StoreCallOptions): Promise<void> {
    await this.#put(outcomeName(outcome.database), outcome, options);
  }

  /** How a database came out; undefined when nobody has stored it. */
  async readOutcome(database: string, options: StoreCallOptions): Promise<DatabaseReport | undefined> {
    return await this.#get(outcomeName(database), outcomeSchema, options) as DatabaseReport | undefined;
  }

  /** Stores the run's report, and returns its key. */
  async storeReport(report: RunReport, options: StoreCallOptions): Promise<string> {
    return await this.#put(REPORT_NAME, report, options);
  }

  /** The run's report; undefined when the run is not over. */
  async readReport(options: StoreCallOptions): Promise<RunReport | undefined> {
    return await this.#get(REPORT_NAME, reportSchema, options) as RunReport | undefined;
  }

  async #put(name: string, value: unknown, options: StoreCallOptions): Promise<string> {
    const key = joinKey(this.#folder, name);
    await this.#store.replace(key, new TextEncoder().encode(JSON.stringify(value, undefined, 2) + "\n"), options);
    return key;
  }

  /** Undefined also for an object that is not what it should be: what it says cannot be relied on. */
  async #get(name: string, schema: z.ZodType, options: StoreCallOptions): Promise<unknown> {
    let text: string;
    try {
      text = await readText(await this.#store.read(joinKey(this.#folder, name), options));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
    try {
      return schema.safeParse(JSON.parse(text)).data;
    } catch {
      return undefined;
    }
  }
}

function outcomeName(database: string): string {
  return `${OUTCOMES_FOLDER}/${encodeDatabase(database)}.json`;
}
