/**
 * What is to be said of one database's backup. In: what the backup notes on its way. Out: its report, which names no
 * document where the backup is sealed: who has an identity finds the names in it, sealed.
 */
import { type ChainLoss, type ChunkEntry, lockedDocument, type Manifest, sumChunks } from "../../archive/manifest.ts";
import type { DatabaseReport } from "../../archive/report.ts";
import { sealContent } from "../../archive/sealed.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { describeDiscreetly, describeError, exitCodeOf, hintOf } from "../../errors.ts";
import { codecOf, type Task } from "../../task/task.ts";
import { describeKept } from "./chain_check.ts";
import type { Run } from "./context.ts";

/** Whose outcome it is. */
export interface OutcomeOptions {
  task: Task;
  /** The decoded name. */
  database: string;
  /** The folder's key. */
  folder: string;
  startedAt: Date;
}

/** What has been stored so far. */
interface Stored {
  readonly chunks: readonly ChunkEntry[];
  readonly unreadable: readonly UnreadableDocument[];
}

/** How one database's backup comes out. */
export class Outcome {
  /** Why it failed. */
  error: unknown;
  status: DatabaseReport["status"] = "complete";
  /** The backup, once it is complete. */
  manifest: Manifest | undefined;
  /** Nothing had to be read. */
  isUnchanged = false;
  /** Why all was saved, where changes would do as a rule. */
  fullBecause: string | undefined;
  /** How many documents the backup before has, where this one has far fewer. */
  shrunkFrom: number | undefined;
  /** What the chain of backups before has lost, by a full one. */
  chainLost: ChainLoss | undefined;
  /** The run that has found it; undefined: this one. */
  lossFoundBy: string | undefined;
  /** An age file that names it, where it was found by an earlier run. */
  lostSealed: string | undefined;
  /** What has been stored so far; it may grow. */
  stored: Stored = { chunks: [], unreadable: [] };

  readonly #context: Run;
  readonly #options: OutcomeOptions;
  /** To whom it is sealed; undefined: to nobody. */
  readonly #recipients: readonly string[] | undefined;
  readonly #warnings: string[] = [];

  constructor(context: Run, options: OutcomeOptions) {
    this.#context = context;
    this.#options = options;
    this.#recipients = codecOf(options.task).recipients;
  }

  /** Adds a sentence to the report that an operator must read. */
  warn(sentence: string): void {
    this.#warnings.push(sentence);
  }

  /** An error as it may be shown: of what is sealed it names no document. */
  describe(error: unknown): string {
    return this.#recipients === undefined ? describeError(error) : describeDiscreetly(error);
  }

  /** An earlier call of the same run has made the backup, or another run, which may have told what it has lost. */
  noteComplete(manifest: Manifest, { isLossTold }: { isLossTold: boolean }): void {
    this.stored = manifest;
    this.manifest = manifest;
    if (manifest.chain_lost !== undefined && !isLossTold) {
      this.chainLost = manifest.chain_lost;
      this.lossFoundBy = manifest.run;
      this.warn(describeKept(manifest.chain_lost));
    }
    this.isUnchanged = manifest.kind === "incremental" && manifest.chunks.length === 0;
  }

  /** The report as it may be stored and shown. */
  async report(): Promise<DatabaseReport> {
    return await this.#sealed(this.#report());
  }

  /** The same of a backup that could not be made because of `error`. */
  async failed(error: unknown): Promise<DatabaseReport> {
    return await this.#sealed(this.#failed(error, this.describe(error)));
  }

  /** The report of a database that would only meet the same failure as an earlier one, whose name is in `cause`. */
  async notTried(cause: unknown): Promise<DatabaseReport> {
    const message = `Not tried, as it would fail like the one before: ${this.describe(cause)}`;
    return await this.#sealed(this.#failed(cause, message));
  }

  #failed(error: unknown, message: string): DatabaseReport {
    this.error = error;
    this.status = "failed";
    const hint = hintOf(error);
    this.#context.log.error("database is not backed up", { error: message, hint });
    const report = { ...this.#report(), error: message, exit_code: exitCodeOf(error) };
    return hint === undefined ? report : { ...report, hint };
  }

  async #sealed(report: DatabaseReport): Promise<DatabaseReport> {
    const { unreadable, chain_lost: lost } = report;
    if (this.#recipients === undefined || (unreadable === undefined && lost === undefined)) return report;
    if (unreadable === undefined && this.lostSealed !== undefined) {
      return { ...report, chain_lost: { ...lost!, ids: [] }, sealed: this.lostSealed };
    }
    // The names in a backup that was complete already are known to its manifest alone, sealed.
    const part = this.manifest?.sealed ??
      await sealContent({ security: null, unreadable: unreadable ?? [], lost: lost?.ids }, this.#recipients);
    return {
      ...report,
      ...unreadable === undefined ? {} : { unreadable: part.unreadable.map(lockedDocument) },
      ...lost === undefined ? {} : { chain_lost: { ...lost, ids: [] } },
      sealed: part.age,
    };
  }

  #report(): DatabaseReport {
    const { database, folder, startedAt } = this.#options;
    const { chunks, unreadable } = this.stored;
    const report: DatabaseReport = {
      database,
      status: this.status,
      ...sumChunks(chunks),
      path: this.#context.repository.locate(folder),
      seconds: (this.#context.now().getTime() - startedAt.getTime()) / 1000,
    };
    if (this.manifest !== undefined) {
      report.kind = this.manifest.kind;
      if (this.isUnchanged) report.unchanged = true;
      if (this.fullBecause !== undefined) report.full_because = this.fullBecause;
      report.backed_up_at = this.manifest.finished_at;
    }
    if (unreadable.length > 0) report.unreadable = [...unreadable];
    if (this.#warnings.length > 0) report.warnings = this.#warnings;
    if (this.shrunkFrom !== undefined) report.shrunk_from = this.shrunkFrom;
    if (this.chainLost !== undefined) {
      const { up_to: _, ...lost } = this.chainLost;
      const isOfAnother = this.lossFoundBy !== undefined && this.lossFoundBy !== this.#context.run;
      report.chain_lost = isOfAnother ? { ...lost, found_by: this.lossFoundBy } : lost;
    }
    return report;
  }
}
