/**
 * What the chain of incremental backups before has lost, and whether anybody was told. In: a database that is being
 * saved, and what its full backup lists. Out: the loss, noted in the database's report. Nothing of it keeps a backup from
 * becoming complete.
 */
import { hasToldLosses, readLastRun } from "../../archive/last_run.ts";
import type { ChainLoss, Manifest } from "../../archive/manifest.ts";
import { CouchError, describeError, isOutOfReach } from "../../errors.ts";
import { joinKey } from "../../store/key.ts";
import { codecOf, type Task } from "../../task/task.ts";
import { ChainCheck, describeUntold } from "./chain_check.ts";
import type { Run } from "./context.ts";
import type { DocumentSource } from "./documents.ts";
import type { findPrevious } from "./increment.ts";
import type { Outcome } from "./outcome.ts";

/** The newest backup of a database by its task, or why there is none to build on. */
type OfTask = ReturnType<typeof findPrevious>;

/** Whose chain it is, and where its losses are noted. */
export interface ChainOfDatabase {
  task: Task;
  /** Decoded. */
  database: string;
  outcome: Outcome;
}

/** The losses of one database's chain. */
export class ChainLosses {
  readonly #context: Run;
  readonly #chain: ChainOfDatabase;

  constructor(context: Run, chain: ChainOfDatabase) {
    this.#context = context;
    this.#chain = chain;
  }

  /** The chain that a full backup follows on, to be compared with its listing; undefined where there is none. */
  async open(
    { ofTask, counts, origin }: Pick<DocumentSource, "counts" | "origin"> & { ofTask: OfTask },
  ): Promise<ChainCheck | undefined> {
    const { task, database } = this.#chain;
    const found = task.increments === undefined ? undefined : await ofTask;
    if (found === undefined || typeof found === "string") return undefined;
    const createdAt = origin.properties.instance_start_time;
    const isSealed = codecOf(task).recipients !== undefined;
    return await ChainCheck.open(this.#context, { ...found, database, counts, createdAt, isSealed });
  }

  /**
   * Says what the chain before has lost. This backup will be complete, whatever comes of that.
   *
   * @param listed What has been shown all of the listing; undefined: nothing has, or there is no chain.
   */
  async compare(
    saving: DocumentSource & { ofTask: OfTask },
    listed: ChainCheck | undefined,
  ): Promise<ChainLoss | undefined> {
    const { outcome } = this.#chain;
    try {
      let chain = listed;
      if (saving.leftover !== undefined) {
        chain = await this.open(saving);
        // The interrupted run did not compare what it had listed: so all is listed again.
        await chain?.lookAtAll();
      }
      const differing = await chain?.result();
      if (differing === undefined) return undefined;
      outcome.warn(differing.warning);
      outcome.lostSealed = outcome.lossFoundBy = undefined;
      return outcome.chainLost = differing.lost;
    } catch (error) {
      if (!(error instanceof CouchError)) throw error;
      const why = `The backups before could not be compared with CouchDB: ${outcome.describe(error)}`;
      this.#context.log.warn("the chain before is not compared", { error: outcome.describe(error) });
      outcome.warn(why);
      return undefined;
    }
  }

  /**
   * Says what the newest backup of the task has found, a full one, where its run ended before it said so. Of what was
   * said `last.json` tells, where a run is entered when its report is told: a loss is told twice rather than never.
   */
  async tellUntold(ofTask: OfTask): Promise<void> {
    const { task, outcome } = this.#chain;
    const found = task.increments === undefined ? undefined : await ofTask;
    if (found === undefined || typeof found === "string") return;
    const { previous, folder, name } = found;
    if (previous.chain_lost === undefined) return;
    if (await this.#hasTold(previous.run)) return;
    outcome.warn(describeUntold(previous, joinKey(folder, name)));
    outcome.chainLost = previous.chain_lost;
    outcome.lossFoundBy = previous.run;
    outcome.lostSealed = previous.sealed?.age;
    const { documents, up_to } = previous.chain_lost;
    this.#context.log.error("earlier backups lack documents; the run that found this ended before it reported it", {
      documents,
      before: up_to,
    });
  }

  /** Whether another run has made a backup, and has reported what it had found. */
  async isTold({ run, chain_lost: lost }: Manifest): Promise<boolean> {
    return lost !== undefined && run !== this.#context.run && await this.#hasTold(run);
  }

  /** Whether a run of the task has reported what it had found. */
  async #hasTold(run: string): Promise<boolean> {
    const { repository, log, signal } = this.#context;
    try {
      const last = await readLastRun(repository, this.#chain.task.name, { signal });
      return last !== undefined && hasToldLosses(last, run);
    } catch (error) {
      if (!isOutOfReach(error)) throw error;
      log.warn("what the last run has said is unknown", { error: describeError(error) });
      return false;
    }
  }
}
