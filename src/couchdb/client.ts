/**
 * CouchDB's endpoints: one method for each that the program uses, and the only file that knows CouchDB's URLs. In:
 * names as people write them. Out: parsed answers or, for documents, raw bytes. Transient failures are retried, except
 * those of `_bulk_get` and `_bulk_docs`, which their reader and writer handle better.
 */
import { CouchError, isMissing } from "../errors.ts";
import { encodeDatabase } from "../database_name.ts";
import type { RetryPolicy } from "../retry.ts";
import {
  countIn,
  innerMembers,
  isMembers,
  type Members,
  membersOf,
  rowsIn,
  strangeAnswer,
  textIn,
  textsIn,
  textsOf,
} from "./answers.ts";
import { parseCarryingPage } from "./carried_row.ts";
import { type ChangesPage, parseChangesPage } from "./changes_page.ts";
import {
  type CallOptions,
  type ClientOptions,
  CouchConnection,
  type CouchRequest,
  type CouchTrouble,
} from "./connection.ts";
import { type DesignDocument, readDesign } from "./design_document.ts";
import { GzippedBodies } from "./gzipped_body.ts";
import { type DatabaseInfo, readInfo } from "./info.ts";

export type { CallOptions, ClientOptions } from "./connection.ts";

/** How long a single copy of a range may take to be counted. */
const COPY_TIMEOUT_MS = 10_000;

/** What a node of a cluster says of itself. */
export interface NodeState {
  /** Its name, such as `couchdb@10.0.0.1`. */
  node: string;
  /** Since it was started. */
  uptimeSeconds: number;
  /**
   * Since another node was connected to it, the last one that was: a node that hung, or was cut off by a broken network,
   * comes back without a start. Undefined where it does not tell; 3.5.0 does.
   */
  connectedSeconds: number | undefined;
  /** How much it has yet to bring to copies on other nodes. */
  replicationJobs: number;
}

/** What one copy of one range counts. */
export interface CopyInfo {
  /** Documents that are not deleted. */
  live: number;
  /** Documents that are. */
  deleted: number;
  /** How many purges it knows of. */
  purges: number;
}

/** A row in the answer of `_bulk_docs`. */
export interface WriteRow {
  /** The document's id. */
  id: string;
  /** The revision it speaks of. */
  rev?: string | undefined;
  /** True where the document was written. */
  ok?: boolean | undefined;
  /** CouchDB's error where it was not, such as `forbidden`. */
  error?: string | undefined;
  /** CouchDB's reason. */
  reason?: string | undefined;
}

/** As many databases as `_dbs_info` takes at a time. */
export const MOST_NAMES = 100;
/** More copies than a range has: CouchDB waits for each that is there. */
const MOST_COPIES = 99;
const JSON_BODY = { "content-type": "application/json" };
/**
 * Each copy gets a new revisions limit within milliseconds, and CouchDB answers when all have it: while a node is away
 * it takes a minute to say that this took too long, each time (seen on 3.5.0).
 */
const LIMIT_PATIENCE = { mostFailures: 2, answerTimeoutMs: 10_000 };
/** In an answer without a limit, how many rows lie between two positions. */
const STREAM_SEQ_INTERVAL = 5000;

/** A client for one CouchDB. */
export class CouchClient {
  readonly #http: CouchConnection;
  readonly #gzipped: GzippedBodies;

  /** A client for `options.url`; CouchDB is not asked yet. */
  constructor(options: ClientOptions) {
    this.#http = new CouchConnection(options);
    this.#gzipped = new GzippedBodies(options.log);
  }

  /** The base URL, without credentials. */
  get url(): string {
    return this.#http.url;
  }

  /** How often and how slowly a request is made again. */
  get retry(): RetryPolicy {
    return this.#http.retry;
  }

  /** How many requests were made again because of a passing failure, for the metrics. */
  get retries(): number {
    return this.#http.retries;
  }

  /** What requests have met since the last one that went well; undefined where the last one did. */
  get trouble(): CouchTrouble | undefined {
    return this.#http.trouble;
  }

  /** What a log says of an error. */
  tell(error: CouchError): string {
    return this.#http.tell(error);
  }

  /** Waits before attempt `attempt` of a request that failed, as long as the retry policy or the server says. */
  async waitAfterFailure(error: CouchError, attempt: number, options: CallOptions = {}): Promise<void> {
    await this.#http.waitAfterFailure(error, attempt, options);
  }

  /** Waits. @throws The reason of what ends it: the signal, or that the client is to stop. */
  async pause(ms: number, options: CallOptions = {}): Promise<void> {
    await this.#http.pause(ms, options);
  }

  /** `GET /`: CouchDB's version. @throws CouchError with `not_couchdb` when something else answers. */
  async serverVersion(options: CallOptions = {}): Promise<string> {
    return this.#versionIn(await this.#http.json("/", { action: "reach CouchDB", ...options }));
  }

  /** `GET /`, once and without patience: CouchDB's version, and its clock as the answer's `Date` tells it. */
  async greet(options: CallOptions = {}): Promise<{ version: string; date: Date | undefined }> {
    const { value, headers } = await this.#http.jsonOnce("/", { action: "reach CouchDB", ...options });
    return { version: this.#versionIn(value), date: dateIn(headers) };
  }

  #versionIn(answer: unknown): string {
    const { couchdb, version } = (answer ?? {}) as { couchdb?: unknown; version?: unknown };
    if (typeof version === "string") {
      if (couchdb !== undefined) return version;
      // Such as PouchDB Server, whose _bulk_get tells the winner of a document where it is asked for all its leaves.
      throw new CouchError(`Cannot use "${this.url}": it does not call itself CouchDB`, { error: "not_couchdb" }, {
        hint:
          "A server that is only like it may leave conflicts out, and nobody would notice: replicate its databases " +
          "into a CouchDB, and back that up",
      });
    }
    throw new CouchError(`Cannot use "${this.url}": it does not answer like a CouchDB`, { error: "not_couchdb" }, {
      hint: "Check database.url: it is the base URL, without a database's name",
    });
  }

  /** `GET /_session`: who the login is to CouchDB. @returns The roles; `_admin` is a server admin's. */
  async sessionRoles(options: CallOptions = {}): Promise<string[]> {
    const subject = { action: "read the session" };
    const answer = membersOf(await this.#http.json("/_session", { ...subject, ...options }), subject);
    return textsIn(innerMembers(answer, "userCtx"), "roles", subject);
  }

  /** `GET /_all_dbs`: the decoded names of all databases. */
  async listDatabases(options: CallOptions = {}): Promise<string[]> {
    const subject = { action: "list the databases" };
    return textsOf(await this.#http.json("/_all_dbs", { ...subject, ...options }), subject);
  }

  /** `GET /{db}`. */
  async databaseInfo(database: string, options: CallOptions = {}): Promise<DatabaseInfo> {
    const subject = { action: `read the properties of database "${database}"`, database };
    const answer = membersOf(
      await this.#http.json(`/${encodeDatabase(database)}`, { ...subject, ...options }),
      subject,
    );
    return readInfo(answer, database);
  }

  /**
   * What `GET /{db}` says of each of any number of databases, by `POST /_dbs_info`, a hundred at a time; by `GET /{db}`
   * where CouchDB does not know that (before 2.2).
   *
   * @param databases Decoded. Those that are missing are not in the answer; undefined is one that is there and of which
   * CouchDB says nothing now.
   */
  async manyDatabaseInfos(
    databases: readonly string[],
    options: CallOptions = {},
  ): Promise<Map<string, DatabaseInfo | undefined>> {
    const infos = new Map<string, DatabaseInfo | undefined>();
    for (let start = 0; start < databases.length; start += MOST_NAMES) {
      const keys = databases.slice(start, start + MOST_NAMES);
      for (const [name, info] of await this.#infosOrEach(keys, options)) infos.set(name, info);
    }
    const unknown = databases.filter((name) => !infos.has(name));
    if (unknown.length === 0) return infos;
    // It says "not_found" whatever it fails at, such as a range of which no copy can be reached (3.5.0).
    const listed = new Set(await this.listDatabases(options));
    for (const name of unknown) if (listed.has(name)) infos.set(name, undefined);
    return infos;
  }

  async #infosOrEach(keys: readonly string[], options: CallOptions): Promise<Map<string, DatabaseInfo>> {
    try {
      return await this.#databaseInfos(keys, options);
    } catch (error) {
      // Before 2.2 that is the name of a database, and none that there can be.
      if (!(error instanceof CouchError) || ![400, 404, 405].includes(error.facts.status ?? 0)) throw error;
      const infos = await Promise.all(keys.map((key) => this.#infoIfAny(key, options)));
      return new Map(infos.flatMap((info, index) => info === undefined ? [] : [[keys[index]!, info]]));
    }
  }

  /**
   * `POST /_dbs_info`, once: what `GET /{db}` says of each of several databases, at most a hundred. Those that are
   * missing are not in the answer, nor those of which CouchDB fails to say it.
   *
   * @param databases Decoded.
   */
  async databaseInfos(databases: readonly string[], options: CallOptions = {}): Promise<Map<string, DatabaseInfo>> {
    return await this.#databaseInfos(databases, { ...options, attempts: 1 });
  }

  async #databaseInfos(
    keys: readonly string[],
    options: CallOptions & { attempts?: number },
  ): Promise<Map<string, DatabaseInfo>> {
    const action = "read the properties of several databases";
    const body = JSON.stringify({ keys });
    const answer = await this.#http.json("/_dbs_info", {
      method: "POST",
      body,
      headers: JSON_BODY,
      action,
      ...options,
    });
    if (!Array.isArray(answer) || answer.length !== keys.length) {
      throw strangeAnswer({ action }, "does not have a row for each one");
    }
    return new Map(keys.flatMap((key, index) => {
      const row = membersOf(answer[index], { action });
      if (row["key"] !== key) throw strangeAnswer({ action }, "has rows for other databases");
      return isMembers(row["info"]) ? [[key, readInfo(row["info"], key)] as const] : [];
    }));
  }

  async #infoIfAny(database: string, options: CallOptions): Promise<DatabaseInfo | undefined> {
    try {
      return await this.databaseInfo(database, options);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /**
   * By id the revision that CouchDB shows of each document, or that of the mark where it is `deleted`; those that
   * CouchDB has never had are not in it. By `_all_docs` with the ids as keys, which tells of deleted ones, too.
   */
  async newestRevisions(
    database: string,
    ids: readonly string[],
    options: CallOptions = {},
  ): Promise<Map<string, { rev: string; deleted: boolean }>> {
    const subject = { action: `look at documents of database "${database}"`, database };
    const answer = await this.#http.json(`/${encodeDatabase(database)}/_all_docs`, {
      method: "POST",
      body: JSON.stringify({ keys: ids }),
      headers: JSON_BODY,
      ...subject,
      ...options,
    });
    const rows = rowsIn(membersOf(answer, subject), "rows", subject);
    if (rows.length !== ids.length) throw strangeAnswer(subject, "does not have a row for each id");
    return new Map(rows.flatMap((row, index) => {
      if (row["key"] !== ids[index]) throw strangeAnswer(subject, "has rows for other documents");
      const { rev, deleted } = innerMembers(row, "value");
      return typeof rev === "string" ? [[ids[index]!, { rev, deleted: deleted === true }] as const] : [];
    }));
  }

  /**
   * `POST /{db}/_revs_diff`: by id the revisions that the database lacks, among some.
   *
   * @see https://docs.couchdb.org/en/stable/api/database/misc.html#db-revs-diff
   */
  async missingRevisions(
    database: string,
    revisions: Readonly<Record<string, readonly string[]>>,
    options: CallOptions & { attempts?: number | undefined } = {},
  ): Promise<Map<string, ReadonlySet<string>>> {
    const subject = { action: `compare revisions with those of database "${database}"`, database };
    const answer = await this.#http.json(`/${encodeDatabase(database)}/_revs_diff`, {
      method: "POST",
      body: JSON.stringify(revisions),
      headers: JSON_BODY,
      ...subject,
      ...options,
    });
    return new Map(
      Object.entries(membersOf(answer, subject)).map(([id, row]) => {
        if (!Object.hasOwn(revisions, id)) throw strangeAnswer(subject, "speaks of other documents");
        return [id, new Set(textsIn(membersOf(row, subject), "missing", subject))];
      }),
    );
  }

  /**
   * `GET /{db}/_local/{id}`: the document, undefined where no copy that is there has it. A node that was away when it
   * was written never gets it, as CouchDB brings local documents to no other copy: so where most have none, each counts.
   *
   * @param id Without `_local/`.
   */
  async localDocument(database: string, id: string, options: CallOptions = {}): Promise<unknown> {
    return await this.#localDocument(database, id, options) ??
      await this.#localDocument(database, id, { ...options, copies: MOST_COPIES });
  }

  /** @param options.copies How many copies must agree, of those that are there. @default most of them */
  async #localDocument(
    database: string,
    id: string,
    { copies, ...options }: CallOptions & { copies?: number },
  ): Promise<unknown> {
    const query = copies === undefined ? "" : `?r=${copies}`;
    try {
      return await this.#http.json(`/${encodeDatabase(database)}/_local/${encodeURIComponent(id)}${query}`, {
        action: `read the local document "${id}" of database "${database}"`,
        database,
        ...options,
      });
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /**
   * `PUT /{db}/_local/{id}`, in place of what may be there.
   *
   * @param id Without `_local/`.
   * @param options `known`: the revision that is there, null for none, which saves asking for it; where another one is
   * there, that is replaced all the same.
   * @returns The revision that is there now; undefined where CouchDB does not tell.
   */
  async putLocalDocument(
    database: string,
    id: string,
    document: Record<string, unknown>,
    { known, ...options }: CallOptions & { known?: string | null | undefined } = {},
  ): Promise<string | undefined> {
    const put = async (rev: unknown) => {
      const body = typeof rev === "string" ? { ...document, _rev: rev } : document;
      return await this.#http.json(`/${encodeDatabase(database)}/_local/${encodeURIComponent(id)}`, {
        method: "PUT",
        body: JSON.stringify(body),
        headers: JSON_BODY,
        action: `write the local document "${id}" of database "${database}"`,
        database,
        ...options,
      });
    };
    const putOver = async () => {
      const present = await this.#localDocument(database, id, options);
      return await put(isMembers(present) ? present["_rev"] : undefined);
    };
    let answer: unknown;
    try {
      answer = known === undefined ? await putOver() : await put(known);
    } catch (error) {
      const isAnother = error instanceof CouchError && error.facts.status === 409;
      if (known === undefined || !isAnother) throw error;
      answer = await putOver();
    }
    const rev = isMembers(answer) ? answer["rev"] : undefined;
    return typeof rev === "string" ? rev : undefined;
  }

  /**
   * A page of `GET /{db}/_changes`: what was written after a position, each document once, at its last change.
   *
   * @param page `since` is a position, or "0" for the beginning. `limit` counts rows; 0 asks for `pending` alone. Of
   * `positionsEvery` rows one has its position.
   * @see https://docs.couchdb.org/en/stable/api/database/changes.html
   */
  async changes(
    database: string,
    page: { since: string; limit: number; positionsEvery?: number | undefined },
    options: CallOptions & { attempts?: number | undefined; isShort?: boolean | undefined } = {},
  ): Promise<ChangesPage> {
    return await this.#http.parsed(this.#changesPath(database, page), {
      action: `list the documents of database "${database}"`,
      database,
      ...options,
    }, (bytes) => ({ ...parseChangesPage(bytes, database), bytes: bytes.length }));
  }

  /**
   * The same page with documents, for a database so small that they fit into an answer that is held whole. Not retried.
   *
   * @param options.revisions Whether documents are wanted with their histories.
   * @returns Rows of which those that can are instances of CarriedRow.
   */
  async changesWithDocuments(
    database: string,
    page: { since: string; limit: number; positionsEvery?: number | undefined },
    { revisions, ...options }: CallOptions & { revisions: boolean },
  ): Promise<ChangesPage> {
    return await this.#http.parsed(`${this.#changesPath(database, page)}&include_docs=true`, {
      action: `list the documents of database "${database}"`,
      database,
      attempts: 1,
      ...options,
    }, (bytes) => parseCarryingPage(bytes, database, { revisions }));
  }

  /**
   * All of `GET /{db}/_changes` after a position in one answer, which ends at the state of its beginning. Not retried.
   *
   * @returns The pieces of `{"results":[…],"last_seq":…,"pending":…}` as they arrive.
   */
  async changesStream(
    database: string,
    from: { since: string; positionsEvery?: number | undefined },
    options: CallOptions = {},
  ): Promise<AsyncIterable<Uint8Array>> {
    const answer = await this.#http.request(this.#changesPath(database, from), {
      action: `list the documents of database "${database}"`,
      database,
      ...options,
    });
    return answer.bytes;
  }

  #changesPath(
    database: string,
    { since, limit, positionsEvery = limit }: { since: string; limit?: number; positionsEvery?: number | undefined },
  ): string {
    const query = new URLSearchParams({ style: "all_docs", since });
    if (limit !== undefined) query.set("limit", String(limit));
    // To find each row's position costs CouchDB a quarter of the whole; the last one's is always there.
    query.set("seq_interval", String(Math.max(positionsEvery ?? STREAM_SEQ_INTERVAL, 1)));
    return `/${encodeDatabase(database)}/_changes?${query}`;
  }

  /** `GET /_membership`: the cluster's nodes, and those of them that answer each other now. */
  async membership(options: CallOptions = {}): Promise<{ cluster: string[]; connected: string[] }> {
    const subject = { action: "list the cluster's nodes" };
    const answer = membersOf(
      await this.#http.json("/_membership", { ...subject, doubtsPages: true, ...options }),
      subject,
    );
    return { cluster: textsIn(answer, "cluster_nodes", subject), connected: textsIn(answer, "all_nodes", subject) };
  }

  /** `GET /_node/{node}/_system`. */
  async nodeState(
    node: string,
    options: CallOptions & { attempts?: number | undefined } = {},
  ): Promise<NodeState> {
    const subject = { action: `read the state of node "${node}"` };
    const path = `/_node/${encodeURIComponent(node.toWellFormed())}/_system`;
    const { value, headers } = await this.#http.jsonAnswer(path, { ...subject, doubtsPages: true, ...options });
    const answer = membersOf(value, subject);
    return {
      node,
      uptimeSeconds: countIn(answer, "uptime", { ...subject, otherwise: 0 }),
      connectedSeconds: secondsConnected(innerMembers(answer, "distribution_events"), dateIn(headers)),
      replicationJobs: countIn(answer, "internal_replication_jobs", { ...subject, otherwise: 0 }),
    };
  }

  /** `GET /{db}/_shards`: of each range the nodes that have a copy of it. */
  async shards(database: string, options: CallOptions = {}): Promise<Map<string, string[]>> {
    const subject = { action: `list the shards of database "${database}"`, database };
    const answer = await this.#http.json(`/${encodeDatabase(database)}/_shards`, { ...subject, ...options });
    const ranges = innerMembers(membersOf(answer, subject), "shards");
    return new Map(Object.keys(ranges).map((range) => [range, textsIn(ranges, range, subject)]));
  }

  /**
   * `GET /_node/{node}/shards/{range}/{db}.{createdAt}`: what one copy of one range counts. It is asked for once, and
   * briefly: a node that hangs answers nothing for a minute.
   */
  async copyInfo(
    node: string,
    { database, range, createdAt }: { database: string; range: string; createdAt: string },
    options: CallOptions = {},
  ): Promise<CopyInfo> {
    const subject = { action: `count a copy of database "${database}"`, database };
    const file = encodeURIComponent(`shards/${range}/${database}.${createdAt}`);
    const path = `/_node/${encodeURIComponent(node.toWellFormed())}/${file}`;
    const once = { attempts: 1, answerTimeoutMs: COPY_TIMEOUT_MS };
    const answer = membersOf(await this.#http.json(path, { ...subject, ...once, ...options }), subject);
    const count = (name: string) => countIn(answer, name, { ...subject, otherwise: 0 });
    return { live: count("doc_count"), deleted: count("doc_del_count"), purges: count("purge_seq") };
  }

  /** `GET /{db}/_security`: its text as CouchDB sends it. */
  async security(database: string, options: CallOptions = {}): Promise<string> {
    const subject = { action: `read the security object of database "${database}"`, database };
    const text =
      (await this.#http.text(`/${encodeDatabase(database)}/_security`, { ...subject, doubtsPages: true, ...options }))
        .trim();
    // Only looked into: its text is what is kept, so that no number in it is rounded.
    if (!isObjectText(text)) throw strangeAnswer(subject, "is not a JSON object");
    return text;
  }

  /** `GET /{db}/_revs_limit`. */
  async revsLimit(database: string, options: CallOptions = {}): Promise<number> {
    const subject = { action: `read the revisions limit of database "${database}"`, database };
    let known: string | undefined;
    for (;;) {
      const text = await this.#http.text(`/${encodeDatabase(database)}/_revs_limit`, {
        ...subject,
        doubtsPages: true,
        ...options,
      });
      if (!/^[1-9]\d{0,14}\s*$/.test(text)) throw strangeAnswer(subject, "is no whole number of at least 1");
      // CouchDB ends the line. Without that 50 may be the beginning of 500, and a database that is restored with too
      // low a limit loses histories. Other servers do not end it: what they say twice is what they mean.
      if (text.endsWith("\n") || text === known) return Number(text);
      known = text;
    }
  }

  /**
   * The first ids of `GET /{db}/_all_docs`: of live documents and design documents, ordered by their UTF-8 bytes. It
   * reads one copy of each range: what there is in all is listed by the changes feed.
   *
   * @see https://docs.couchdb.org/en/stable/api/database/bulk-api.html#db-all-docs
   */
  async listIds(database: string, { limit }: { limit: number }, options: CallOptions = {}): Promise<string[]> {
    const subject = { action: `list the documents of database "${database}"`, database };
    const path = `/${encodeDatabase(database)}/_all_docs?limit=${limit}`;
    const answer = membersOf(await this.#http.json(path, { ...subject, ...options }), subject);
    return textsOf(rowsIn(answer, "rows", subject).map(({ id }) => id), subject);
  }

  /**
   * `POST /{db}/_bulk_get` for whole documents: every leaf revision of each id, deleted ones too. Not retried.
   *
   * @param body The JSON `{"docs":[{"id":…},…]}`, as bytes or as a stream where it is large.
   * @returns The pieces of `{"results":[…]}` as they arrive. Errors of single documents are rows in it.
   */
  async bulkGet(
    database: string,
    body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
    options: CallOptions & { revisions: boolean; attachments: boolean },
  ): Promise<AsyncIterable<Uint8Array>> {
    const { revisions, attachments, signal } = options;
    const answer = await this.#http.request(
      `/${encodeDatabase(database)}/_bulk_get?revs=${revisions}&attachments=${attachments}`,
      {
        method: "POST",
        body,
        headers: JSON_BODY,
        action: `read documents of database "${database}"`,
        database,
        signal,
        answerTimeoutMs: this.#http.bulkTimeoutMs,
      },
    );
    return answer.bytes;
  }

  /**
   * `PUT /{db}`.
   *
   * @param properties `q` and `n` are CouchDB's own where they are null.
   * @returns Whether it was created; false: it exists.
   */
  async createDatabase(
    database: string,
    properties: { q: number | null; n: number | null; partitioned: boolean },
    options: CallOptions = {},
  ): Promise<boolean> {
    const query = new URLSearchParams();
    if (properties.q !== null) query.set("q", String(properties.q));
    if (properties.n !== null) query.set("n", String(properties.n));
    if (properties.partitioned) query.set("partitioned", "true");
    try {
      await this.#change(`/${encodeDatabase(database)}?${query}`, {
        method: "PUT",
        action: `create database "${database}"`,
        database,
        ...options,
      });
      return true;
    } catch (error) {
      if (error instanceof CouchError && error.facts.error === "file_exists") return false;
      throw error;
    }
  }

  /**
   * `DELETE /{db}`: all of it is gone, for good. One that is not there is no failure.
   *
   * @param mayDrop Whoever calls says which names may be dropped at all; another one is a defect and nothing happens.
   */
  async dropDatabase(database: string, mayDrop: (name: string) => boolean, options: CallOptions = {}): Promise<void> {
    if (!mayDrop(database)) throw new TypeError(`Database "${database}" must not be dropped`);
    try {
      await this.#change(`/${encodeDatabase(database)}`, {
        method: "DELETE",
        action: `drop database "${database}"`,
        database,
        ...options,
      });
    } catch (error) {
      // An answer that was lost, asked again.
      if (!isMissing(error)) throw error;
    }
  }

  /** `PUT /{db}/_security`. @param security The JSON text. */
  async setSecurity(database: string, security: string, options: CallOptions = {}): Promise<void> {
    await this.#change(`/${encodeDatabase(database)}/_security`, {
      method: "PUT",
      body: security,
      headers: JSON_BODY,
      action: `write the security object of database "${database}"`,
      doubtsPages: true,
      database,
      ...options,
    });
  }

  /** `PUT /{db}/_revs_limit`. */
  async setRevsLimit(database: string, limit: number, options: CallOptions = {}): Promise<void> {
    await this.#change(`/${encodeDatabase(database)}/_revs_limit`, {
      method: "PUT",
      body: String(limit),
      headers: JSON_BODY,
      action: `write the revisions limit of database "${database}"`,
      doubtsPages: true,
      database,
      ...LIMIT_PATIENCE,
      ...options,
    });
  }

  /** Changes something. @throws CouchError with `strange_answer` where CouchDB does not say that it is done. */
  async #change(path: string, request: CouchRequest): Promise<void> {
    const answer = await this.#http.json(path, request);
    if (!isMembers(answer) || answer.ok !== true) throw strangeAnswer(request, 'does not say "ok"');
  }

  /**
   * `POST /{db}/_bulk_docs`, gzipped where that pays. Not retried, but for the same without gzip where that is refused.
   *
   * @param body The JSON `{"docs":[…]}`, with `"new_edits":false` where documents keep their revisions; as bytes, or as
   * a stream where it is large.
   * @returns The rows of the answer: with `"new_edits":false` each is a failure. `copies` is `fewer` when not all nodes
   * that should hold the documents have them yet.
   * @see https://docs.couchdb.org/en/stable/api/database/bulk-api.html#db-bulk-docs
   */
  async bulkDocs(
    database: string,
    body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
    options: CallOptions = {},
  ): Promise<{ rows: WriteRow[]; copies: "all" | "fewer" }> {
    const subject = { action: `write documents to database "${database}"`, database };
    const post = async (body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>, headers?: Record<string, string>) =>
      await this.#http.jsonOnce(`/${encodeDatabase(database)}/_bulk_docs`, {
        method: "POST",
        body,
        headers: { ...JSON_BODY, ...headers },
        answerTimeoutMs: this.#http.bulkTimeoutMs,
        ...subject,
        ...options,
      });
    // A document that streams is one with attachments, which hardly get smaller.
    const { status, value } = body instanceof Uint8Array ? await this.#gzipped.send(body, post) : await post(body);
    const rows = rowsIn({ rows: value }, "rows", subject).map((row) => ({
      id: textIn(row, "id") ?? "",
      rev: textIn(row, "rev") ?? undefined,
      ok: row.ok === true || undefined,
      error: textIn(row, "error") ?? undefined,
      reason: textIn(row, "reason") ?? undefined,
    }));
    return { rows, copies: status === 202 ? "fewer" : "all" };
  }

  /** `GET /{db}/_all_docs` for design documents: the winning revision of each, with its body. */
  async designDocuments(database: string, options: CallOptions = {}): Promise<DesignDocument[]> {
    const query = new URLSearchParams({ start_key: '"_design/"', end_key: '"_design0"', include_docs: "true" });
    const subject = { action: `read the design documents of database "${database}"`, database };
    const path = `/${encodeDatabase(database)}/_all_docs?${query}`;
    const answer = membersOf(await this.#http.json(path, { ...subject, ...options }), subject);
    return rowsIn(answer, "rows", subject).flatMap(({ doc }) => isMembers(doc) ? readDesign(doc) ?? [] : []);
  }

  /**
   * `GET /{db}/_design/{name}/_view/{view}` for no rows: answers when the index is built. Not retried.
   *
   * @param view `design` is the document's id, with `_design/`. `partition` is needed for a view that is partitioned.
   */
  async buildView(
    database: string,
    view: { design: string; name: string; partition?: string | undefined },
    options: CallOptions & { timeoutMs: number },
  ): Promise<void> {
    const partition = view.partition === undefined
      ? ""
      : `/_partition/${encodeURIComponent(view.partition.toWellFormed())}`;
    const design = `_design/${encodeURIComponent(view.design.slice("_design/".length).toWellFormed())}`;
    const path = `/${encodeDatabase(database)}${partition}/${design}/_view/${
      encodeURIComponent(view.name.toWellFormed())
    }?limit=0`;
    await this.#http.jsonOnce(path, {
      action: `build view "${view.name}" of "${view.design}" in database "${database}"`,
      database,
      answerTimeoutMs: options.timeoutMs,
      signal: options.signal,
    });
  }
}

/** The server's clock, as an answer tells it. */
function dateIn(headers: Headers): Date | undefined {
  const ms = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(ms) ? undefined : new Date(ms);
}

/**
 * How long ago the last of the nodes came that are connected to one now, by its `distribution_events`: of each node when
 * it came and went, `[["2026-11-30T23:04:45Z", "nodeup"], …]`. By a clock that is ahead it is still to come; it is as far
 * from now then.
 */
function secondsConnected(events: Members, now: Date | undefined): number | undefined {
  const comings = Object.values(events).flatMap((ofNode) => {
    const [at, event] = (Array.isArray(ofNode) ? ofNode.at(-1) : undefined) ?? [];
    const ms = event === "nodedown" ? NaN : Date.parse(`${at}`);
    return Number.isNaN(ms) ? [] : [ms];
  });
  if (comings.length === 0 || now === undefined) return undefined;
  return Math.abs(now.getTime() - Math.max(...comings)) / 1000;
}

function isObjectText(text: string): boolean {
  try {
    return isMembers(JSON.parse(text));
  } catch {
    return false;
  }
}
