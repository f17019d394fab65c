/**
 * The database that a restore writes to, apart from its documents: whether it may be written to, its creation with the
 * properties it had, and what follows the documents: the count, the security object, the views.
 */
import { counted } from "../../counts.ts";
import type { CouchClient } from "../../couchdb/client.ts";
import type { CopyCounts } from "../../couchdb/copy_counts.ts";
import type { DatabaseInfo } from "../../couchdb/info.ts";
import { CouchError, describeError, isMissing, UsageError } from "../../errors.ts";
import type { DatabaseProperties } from "../../archive/manifest.ts";
import type { Log } from "../../observe.ts";
import { type FreshSettings, hasOnlyDocuments } from "./fresh_settings.ts";
import { buildViews } from "./views.ts";

/** How often the count of documents is read again before it is believed to be too small. */
const COUNT_ATTEMPTS = 4;

/** How servers say that a setting is none of the caller's business, or that they do not have it. */
const SETTING_REFUSALS = new Set([400, 403, 404, 405, 501]);

const FAILED_SETTING_HINT =
  'CouchDB sets it only while the nodes of its cluster are there and none is in maintenance: set it then, as the manifest has it under "properties"';

/** The `error` where a node of the cluster is not up to date and what a database holds is not known for that. */
export const LAGGING = "lagging";

/** CouchDB's default security objects: 3.x, then earlier. */
const DEFAULT_SECURITIES = [
  '{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}',
  '{"admins":{"roles":["_admin"]},"members":{"roles":["_admin"]}}',
  "{}",
];

/** A setting that a database did not get back. */
export interface LackingSetting {
  /** Which one. */
  what: "security" | "revs_limit";
  /** Whether the backup has it, and CouchDB did not take it; else CouchDB did not let it be read when that was made. */
  in_backup: boolean;
  /** What CouchDB answered. */
  reason: string;
  /** Present where CouchDB did not refuse it but failed at it: a later try may go better. */
  server_failed?: true;
  /** What to do. */
  hint?: string;
}

/** The state in which a restore finds its database. */
export type TargetState = "missing" | "empty" | "filled";

/** What the target works with. */
export interface TargetContext {
  couch: CouchClient;
  counts: CopyCounts;
  log: Log;
  signal: AbortSignal;
  /** What new databases have, where one restore after the other makes some. */
  fresh?: FreshSettings | undefined;
  /** The database holds nothing but what an earlier call has restored into it. */
  isBegun?: boolean | undefined;
}

/** What may be done to a database. */
export interface TargetOptions {
  /** Write to it although it holds documents. */
  intoExisting: boolean;
  /** CouchDB has just said that it is not there: whether that is still so is found out by creating it. */
  isMissing?: boolean | undefined;
}

/** One database, written to by one restore. */
export class RestoreTarget {
  /** How it was found. */
  state: TargetState = "missing";
  /** Whether this restore has created it. */
  created = false;
  /** Settings that it did not get back. */
  readonly lacking: LackingSetting[] = [];
  /** What CouchDB has said of it last; undefined where it was not asked. */
  info: DatabaseInfo | undefined;

  /** What CouchDB says of it after its last document. */
  #infoBehind: DatabaseInfo | undefined;
  /** Of a database that was created: its revisions limit, and whether that is known from others. */
  #revsLimit: { limit: number; isAssumed: boolean } | undefined;
  readonly #context: TargetContext;
  readonly #name: string;

  constructor(context: TargetContext, name: string) {
    this.#context = context;
    this.#name = name;
  }

  /**
   * Looks at the database, and refuses what must not be written to unasked.
   *
   * @param properties What the archive says of the database it was made of.
   * @throws UsageError when it holds documents and `intoExisting` is not set, or cannot hold those of the archive.
   */
  async examine(properties: DatabaseProperties | undefined, options: TargetOptions): Promise<void> {
    if (isReplicator(this.#name) && !options.intoExisting) {
      throw new UsageError(`Cannot restore into "${this.#name}" without --into-existing`, {
        hint: "Each document written there starts a replication job: make sure that you want this",
      });
    }
    if (properties?.revs_limit === null) this.#noteUnread("revs_limit");
    if (properties?.security === null) this.#noteUnread("security");
    if (options.isMissing !== true) await this.#look(properties, options);
  }

  async #look(properties: DatabaseProperties | undefined, options: TargetOptions): Promise<void> {
    const info = await this.#read();
    if (info !== undefined) await this.#judge(info, properties, options);
  }

  async #judge(
    first: DatabaseInfo,
    properties: DatabaseProperties | undefined,
    options: TargetOptions,
  ): Promise<void> {
    const { counts, signal } = this.#context;
    const isEnough = (info: DatabaseInfo) => holdsDocuments(this.#name, info);
    const { info, lag } = await counts.most(this.#name, { first, isEnough }, { signal });
    this.info = info;
    const { doc_count, doc_del_count, partitioned } = info;
    const seemsEmpty = await this.#isEmpty(info);
    if (seemsEmpty && lag !== undefined && !options.intoExisting) throw seemsEmptyError(this.#name, lag);
    // What may hold documents of somebody's is treated with the same care as what does.
    this.state = seemsEmpty && lag === undefined ? "empty" : "filled";
    if (partitioned && properties?.partitioned === false) {
      throw new UsageError(`Cannot restore into "${this.#name}": it is partitioned, the archive's database was not`, {
        hint: "Restore into a database of another name: it is created as it was",
      });
    }
    if (this.state === "empty") return;
    const found = `it holds ${describeContents(doc_count, doc_del_count)}`;
    const meaning = "the archive's revisions are added to the existing ones; newer ones and deletions there win, " +
      "and documents that the archive lacks stay";
    if (!options.intoExisting) {
      throw new UsageError(`Cannot restore into "${this.#name}": ${found}`, {
        hint:
          `Restore under another name, or add --into-existing: ${meaning}. It also finishes a restore that was stopped`,
      });
    }
    this.#context.log.warn("restoring into a database that holds documents", {
      documents: doc_count,
      deleted: doc_del_count,
      meaning,
    });
  }

  /**
   * Creates the database where it is missing, with the properties it had, and waits until it answers.
   *
   * @param options `onReady` is called when the database is there, before anything else is written to it.
   * @throws UsageError as {@linkcode examine} does, when it has appeared meanwhile.
   */
  async create(
    properties: DatabaseProperties | undefined,
    options: TargetOptions & { onReady?: (() => Promise<void>) | undefined },
  ): Promise<void> {
    const { couch, log, signal } = this.#context;
    if (this.state === "missing") {
      const { q = null, n = null, partitioned = false } = properties ?? {};
      this.created = await couch.createDatabase(this.#name, { q, n, partitioned }, { signal });
      if (this.created) log.info("database is created", { q, n, partitioned });
      // It is there by now: somebody else has created it, or this call has, and the answer was lost.
      else await this.#untilItIsKnown(() => this.#lookAgain(properties, options));
    }
    const ready = options.onReady ?? (async () => void (this.info = await couch.databaseInfo(this.#name, { signal })));
    if (this.created) await this.#untilItIsKnown(ready);
    else await options.onReady?.();
    const { revs_limit: limit = null } = properties ?? {};
    if (limit !== null) await this.#unlessRefused("revs_limit", () => this.#restoreRevsLimit(limit));
  }

  async #lookAgain(properties: DatabaseProperties | undefined, options: TargetOptions): Promise<void> {
    const { couch, signal } = this.#context;
    await this.#judge(await couch.databaseInfo(this.#name, { signal }), properties, options);
  }

  /** A node behind a load balancer may not know for a moment what another one has created. */
  async #untilItIsKnown<T>(ask: () => Promise<T>): Promise<T> {
    const { couch, signal } = this.#context;
    for (let attempt = 1;; attempt++) {
      try {
        return await ask();
      } catch (error) {
        if (!isMissing(error) || attempt >= couch.retry.attempts) throw error;
        await couch.waitAfterFailure(error, attempt + 1, { signal });
      }
    }
  }

  /** Before the documents: histories longer than the limit would be cut as they are written. */
  async #restoreRevsLimit(limit: number): Promise<void> {
    const { couch, log, signal, fresh } = this.#context;
    const known = this.created ? fresh?.known?.revsLimit : undefined;
    const present = known ?? await couch.revsLimit(this.#name, { signal });
    if (this.created) this.#revsLimit = { limit: present, isAssumed: known !== undefined };
    // Of several copies one may have it and another, whose node was away when it was set, not.
    const mayDiffer = this.state === "filled" && (this.info?.n ?? 1) > 1;
    if (present === limit && !mayDiffer) return;
    // An earlier call may have been unable to set it.
    const { isBegun = false } = this.#context;
    if (this.state === "filled" && present > limit && !isBegun) {
      log.info("revisions limit is left as it is", { limit: present, archive: limit });
      return;
    }
    await couch.setRevsLimit(this.#name, limit, { signal });
  }

  /**
   * Compares the number of documents with that of the archive.
   *
   * @param written How many documents were gone through, and how many of them are deleted in the archive.
   * @returns How many are missing. Where others were there before, some may have been deleted since: each is then
   * looked for among the documents and the marks of deleted ones together.
   */
  async countMissing(written: { documents: number; deleted: number }): Promise<number> {
    const { counts, couch, log, signal } = this.#context;
    const isFilled = this.state === "filled";
    const expected = isFilled ? written.documents : written.documents - written.deleted;
    const countOf = ({ doc_count, doc_del_count }: DatabaseInfo) => isFilled ? doc_count + doc_del_count : doc_count;
    const count = async () => {
      const first = await couch.databaseInfo(this.#name, { signal });
      return await counts.most(this.#name, { first, isEnough: (info) => countOf(info) >= expected }, { signal });
    };
    let found = 0;
    let lag: string | undefined;
    for (let attempt = 1; attempt <= COUNT_ATTEMPTS && lag === undefined; attempt++) {
      const most = await (this.created ? this.#untilItIsKnown(count) : count());
      const { doc_count, doc_del_count } = this.info = this.#infoBehind = most.info;
      found = countOf(most.info);
      if (found >= expected) {
        log.info("database is checked", { documents: doc_count, deleted: doc_del_count });
        return 0;
      }
      lag = most.lag;
      // A cluster may answer with the counts of a moment ago.
      const deleted = isFilled ? " and marks of deleted ones" : "";
      const reason = `it has ${counted(found, "document")}${deleted}, but ${expected} are expected`;
      const error = new CouchError(`Cannot confirm the restore of "${this.#name}": ${reason}`, {
        error: "count",
        reason,
      });
      if (attempt < COUNT_ATTEMPTS && lag === undefined) await couch.waitAfterFailure(error, attempt + 1, { signal });
    }
    const hint = lag === undefined ? undefined : "the cluster is still catching up: count them again when it has";
    log.error("documents are missing in the database", { found, expected, lag, hint });
    return expected - found;
  }

  /**
   * Gives the database its security object back, after its documents. One that somebody has given to a database in use
   * stays. What new databases have is believed of one only where nothing but documents was written to it.
   */
  async restoreSettings({ revs_limit: limit, security }: DatabaseProperties): Promise<void> {
    const info = this.created ? this.#infoBehind : undefined;
    const isUntouched = info !== undefined && hasOnlyDocuments(info);
    if (limit !== null && this.#revsLimit?.isAssumed === true && !isUntouched) {
      await this.#unlessRefused("revs_limit", () => this.#confirmRevsLimit(limit));
    }
    if (security === null) return;
    await this.#unlessRefused("security", () => this.#setSecurity(security, isUntouched));
  }

  /** The limit was not read before the documents, and something has changed the database beside them. */
  async #confirmRevsLimit(limit: number): Promise<void> {
    const { couch, log, signal } = this.#context;
    const present = await couch.revsLimit(this.#name, { signal });
    if (present === limit) return;
    await couch.setRevsLimit(this.#name, limit, { signal });
    if (present > limit) return;
    const reason = `somebody had set it to ${present} while the documents were written: histories may be cut`;
    this.lacking.push({ what: "revs_limit", in_backup: true, reason });
    const hint = "delete the database and restore it again";
    log.error("setting was changed while the documents were written", { what: "revs_limit", reason, hint });
  }

  async #setSecurity(security: string, isUntouched: boolean): Promise<void> {
    const { couch, log, signal, fresh } = this.#context;
    const known = isUntouched ? fresh?.known?.security : undefined;
    const present = known ?? await couch.security(this.#name, { signal });
    if (isUntouched && this.#revsLimit?.isAssumed === false) {
      await fresh?.learn({ revsLimit: this.#revsLimit.limit, security: present }, couch, { signal });
    }
    if (present === security) return;
    if (this.state === "filled" && !isDefaultSecurity(present)) {
      log.warn("security object is left as it is: the database had one of its own", { security });
      return;
    }
    await couch.setSecurity(this.#name, security, { signal });
    log.info("security object is restored");
  }

  #noteUnread(what: LackingSetting["what"]): void {
    const reason = "CouchDB did not let it be read when the backup was made";
    this.lacking.push({ what, in_backup: false, reason });
    this.#context.log.warn("setting is not in the backup: the database is restored without it", { what, reason });
  }

  /**
   * What may read and write documents may not always read and write settings, and a cluster that takes documents with a
   * node away takes no setting then; the documents matter more.
   */
  async #unlessRefused(what: LackingSetting["what"], restore: () => Promise<void>): Promise<void> {
    try {
      await restore();
    } catch (error) {
      if (!(error instanceof CouchError)) throw error;
      const isRefused = SETTING_REFUSALS.has(error.facts.status ?? 0);
      if (!isRefused && !hasFailedAtIt(error)) throw error;
      const reason = describeError(error);
      const failure = isRefused ? {} : { server_failed: true, hint: FAILED_SETTING_HINT } as const;
      this.lacking.push({ what, in_backup: true, reason, ...failure });
      const verb = isRefused ? "refuses it" : "fails at it";
      this.#context.log.error(`setting is not restored: CouchDB ${verb}`, { what, reason, hint: failure.hint });
    }
  }

  /** Has every view built. @returns How many are. */
  async buildViews(): Promise<number> {
    const { couch, signal } = this.#context;
    const info = this.info ?? await couch.databaseInfo(this.#name, { signal });
    return await buildViews(this.#context, { database: this.#name, info });
  }

  async #read(): Promise<DatabaseInfo | undefined> {
    const { couch, signal } = this.#context;
    try {
      return await couch.databaseInfo(this.#name, { signal });
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #isEmpty(info: DatabaseInfo): Promise<boolean> {
    if (info.doc_count + info.doc_del_count === 0) return true;
    if (holdsDocuments(this.#name, info)) return false;
    // CouchDB puts its own design document into a new _users.
    const { couch, signal } = this.#context;
    const [only] = await couch.listIds(this.#name, { limit: 1 }, { signal });
    return only === "_design/_auth";
  }
}

/** Whether a database holds documents that CouchDB has not put there by itself. */
export function holdsDocuments(
  name: string,
  { doc_count, doc_del_count }: Pick<DatabaseInfo, "doc_count" | "doc_del_count">,
): boolean {
  // Into a new _users it puts a design document of its own.
  return doc_count + doc_del_count > (name === "_users" ? 1 : 0);
}

/** @param lag Why copies of it may hold more than is counted. */
function seemsEmptyError(name: string, lag: string): CouchError {
  return new CouchError(`Cannot tell whether "${name}" is empty: ${lag}`, { error: LAGGING, database: name }, {
    hint:
      "No document is counted in it, but a copy that lags may not have them yet: wait until the cluster has caught " +
      "up, restore under another name, or add --into-existing",
  });
}

/** Whether documents in a database of that name are replication jobs; `a/_replicator` is one of them, too. */
function isReplicator(name: string): boolean {
  return name === "_replicator" || name.endsWith("/_replicator");
}

/** Whether CouchDB is there and cannot do what it was asked for. */
function hasFailedAtIt({ facts: { status = 0, error } }: CouchError): boolean {
  return status >= 500 || error === "timeout";
}

function isDefaultSecurity(security: string): boolean {
  return DEFAULT_SECURITIES.includes(security.replaceAll(/\s/g, ""));
}

/** `1,200 documents and the marks of 3 deleted ones`: what of a database would be in the way of a restore. */
export function describeContents(documents: number, deleted: number): string {
  const marks = `the marks of ${counted(deleted, "deleted one")}`;
  if (documents === 0) return marks;
  return deleted === 0 ? counted(documents, "document") : `${counted(documents, "document")} and ${marks}`;
}
