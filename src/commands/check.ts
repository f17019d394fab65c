/**
 * Whether a backup could run now: everything it needs is tried the way a backup uses it, and for what does not work
 * the report says what to do. Only four small objects are written to the store, always the same ones.
 */
import { counted } from "../counts.ts";
import type { CouchClient } from "../couchdb/client.ts";
import { decodeDatabase } from "../database_name.ts";
import { describeDiscreetly, describeError, EXIT, hintOf, ProgramError } from "../errors.ts";
import { findConditions } from "../store/conditions.ts";
import { joinKey, MOST_NAME_BYTES } from "../store/key.ts";
import type { Store } from "../store/store.ts";
import type { Log } from "../observe.ts";
import type { Repository } from "../archive/repository.ts";
import { trySlashInName } from "./slash_name.ts";
import { readObjectText } from "../store/whole.ts";
import { isEmptyByMistake, selectTasks, type TaskSelection } from "../task/selection.ts";
import { formatCount } from "../observe/figures.ts";
import { isSealing, type Task } from "../task/task.ts";
import { explainEnd } from "../task/times.ts";
import { tryReading } from "./check_reading.ts";

/** Signatures of S3 are refused from 15 minutes on; the hour of a schedule is wrong before that. */
const MOST_CLOCK_DIFFERENCE_MS = 60_000;
const PROBE_NAME = "check.json";
/** As the folders of databases with a slash in their names: what decodes keys on the way has another object in hand. */
const SLASH_NAME = "check%2Fslash.json";
/** CouchDB has `_bulk_get` since then. */
const FIRST_VERSION = "2.0.0";

/** One thing that was tried. */
export interface Check {
  /** What was tried: `couchdb`, `store_write`. */
  check: string;
  /** Whether it works. */
  ok: boolean;
  /** What was found, or what went wrong. */
  detail: string;
  /** What to do about it, where something can be done. */
  hint?: string;
  /** It works, but not as well as it should. */
  warning?: true;
}

/** What `check --json` prints. */
export interface CheckReport {
  /** Whether everything works. */
  ok: boolean;
  /** What was tried, in that order; what depends on something that fails is not. */
  checks: Check[];
}

/** Something else to try, such as whether Loki takes a line. */
export interface Probe {
  /** As in {@linkcode Check}. */
  check: string;
  /**
   * Resolves to the detail, or to what was found where that is not all well; rejects with what went wrong.
   *
   * @param couch Undefined where it does not answer, or not to this login.
   */
  run: (signal: AbortSignal, couch: CouchClient | undefined) => Promise<string | Found>;
}

/** What the checks work with. */
export interface CheckContext {
  couch: CouchClient;
  log: Log;
  repository: Repository;
  /** What they select is read as a backup reads it. @default nothing is read */
  tasks?: readonly Task[] | undefined;
  now: () => Date;
  signal: AbortSignal;
  /** What else the config names. */
  probes: readonly Probe[];
  /** Whether a task has a schedule, so that several machines may try to run it. @default false */
  isScheduled?: boolean | undefined;
}

/**
 * Tries everything. What fails is in the report; what depends on it is not tried.
 *
 * @throws The reason of `context.signal`.
 */
export async function checkSetup(context: CheckContext): Promise<CheckReport> {
  const checks: Check[] = [];
  const describe = (context.tasks ?? []).some(isSealing) ? describeDiscreetly : describeError;
  const attempt = async (check: string, run: Try): Promise<boolean> => {
    const result = await tryOne(check, run, { ...context, describe });
    checks.push(result);
    const { ok, detail, hint, warning } = result;
    if (warning) context.log.warn("check passes with a warning", { check, detail, hint });
    else if (ok) context.log.info("check passes", { check, detail });
    else context.log.error("check fails", { check, detail, hint });
    return ok;
  };
  const isCouchThere = await tryCouch(context, attempt);
  await tryStore(context, attempt);
  const couch = isCouchThere ? context.couch : undefined;
  for (const { check, run } of context.probes) await attempt(check, () => run(context.signal, couch));
  return { ok: checks.every(({ ok }) => ok), checks };
}

/**
 * The exit code of a check: as for a backup that meets the first thing that fails; 3 where that is none which would
 * stop one, such as Loki.
 */
export function exitCodeOfCheck({ ok, checks }: CheckReport): number {
  if (ok) return EXIT.ok;
  const names = checks.filter(({ ok }) => !ok).map(({ check }) => check);
  // A backup would begin nothing.
  if (names.includes("compression")) return EXIT.usage;
  if (names.some((name) => name.startsWith("couchdb"))) return EXIT.couchdb;
  return names.some((name) => name.startsWith("store")) ? EXIT.store : EXIT.partial;
}

/** What was found where that is not all well. */
export type Found = Pick<Check, "detail" | "hint" | "warning">;

/** What is tried: returns what was found, throws what is wrong. */
type Try = () => string | Found | Promise<string | Found>;

type Attempt = (check: string, run: Try) => Promise<boolean>;

async function tryOne(
  check: string,
  run: Try,
  { describe, signal }: { describe: (error: unknown) => string; signal: AbortSignal },
): Promise<Check> {
  try {
    const found = await run();
    return { check, ok: true, ...(typeof found === "string" ? { detail: found } : found) };
  } catch (error) {
    signal.throwIfAborted();
    const hint = hintOf(error);
    return { check, ok: false, detail: describe(error), ...(hint === undefined ? {} : { hint }) };
  }
}

/** A check that found something else than it should. */
export class CheckFailure extends ProgramError {
  override readonly exitCode: number = EXIT.unexpected;
}

/** @returns Whether it answers, and lets the login see what there is. */
async function tryCouch(context: CheckContext, attempt: Attempt): Promise<boolean> {
  const { couch, log, repository: { store }, tasks = [], now, signal } = context;
  let clock: Date | undefined;
  const isThere = await attempt("couchdb", async () => {
    const { version, date } = await couch.greet({ signal });
    clock = date;
    return describeVersion(couch, version);
  });
  if (!isThere) return false;
  await attempt("couchdb_clock", () => compareClocks(clock, now()));
  let roles: string[] | undefined;
  await attempt("couchdb_rights", async () => {
    roles = await couch.sessionRoles({ signal });
    return describeRoles(roles);
  });
  // All that follows would say once more what such a login may not; where its roles are not known, it is news.
  if (roles?.includes("_admin") === false) return false;
  await attempt("couchdb_slash_in_name", () => trySlashInName(couch, { signal }));
  await attempt("couchdb_bulk_get", () => tryBulkGet(couch, signal));
  const selectNow = async () => selectTasks(await couch.listDatabases({ signal }), tasks, { startedAt: now() });
  if (tasks.length > 0) {
    await attempt("selection", async () => {
      const ends = tasks.flatMap((task) => explainEnd(task, now()) ?? []);
      const selections = await selectNow();
      return describeSelections(selections, [...ends, ...explainLongNames(selections, store)]);
    });
  }
  await attempt("couchdb_read", async () => await tryReading({ couch, log, signal }, await selectNow()));
  return true;
}

/** @throws CheckFailure where it is too old. */
function describeVersion(couch: CouchClient, version: string): string {
  if (version.localeCompare(FIRST_VERSION, "en", { numeric: true }) >= 0) return `CouchDB ${version} at ${couch.url}`;
  throw new CheckFailure(`CouchDB ${version} at ${couch.url} is too old`, {
    hint: `Documents are read with _bulk_get, which needs CouchDB ${FIRST_VERSION} or later`,
  });
}

/** @throws CheckFailure where CouchDB's clock and this machine's differ by much. */
function compareClocks(clock: Date | undefined, now: Date): string {
  if (clock === undefined) return "The answer has no Date header to compare with";
  // The header has whole seconds.
  const differenceMs = Math.max(0, Math.abs(now.getTime() - clock.getTime()) - 1000);
  const detail = `CouchDB's clock and this machine's differ by ${Math.round(differenceMs / 1000)} s`;
  if (differenceMs <= MOST_CLOCK_DIFFERENCE_MS) return detail;
  throw new CheckFailure(detail, {
    hint: "Set both by NTP: schedules and S3 signatures depend on this machine's clock",
  });
}

/** @throws CheckFailure where they are not those of a server admin. */
function describeRoles(roles: readonly string[]): string {
  if (roles.includes("_admin")) return "The login is a server admin";
  throw new CheckFailure(`The login has the roles ${JSON.stringify(roles)} and is not a server admin`, {
    hint:
      "Set database.login to a server admin: others can neither list databases nor read those of which they are not members",
  });
}

/** Asks for no document: an answer with no rows shows that nothing on the way takes the request for another one. */
async function tryBulkGet(couch: CouchClient, signal: AbortSignal): Promise<string> {
  const names = await couch.listDatabases({ signal });
  const [database] = names.filter((name) => !name.startsWith("_")).concat(names);
  if (database === undefined) return "There is no database to test it with";
  const body = new TextEncoder().encode('{"docs":[]}');
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of await couch.bulkGet(database, body, { revisions: true, attachments: true, signal })) {
    text += decoder.decode(bytes, { stream: true });
  }
  if (/^\s*\{\s*"results"\s*:\s*\[\s*\]\s*\}\s*$/.test(text)) {
    return `It answers for "${database}", one of ${names.length}`;
  }
  throw new CheckFailure(`_bulk_get of database "${database}" answers ${JSON.stringify(text.slice(0, 100))}`, {
    hint: "Check what stands between this machine and CouchDB: a proxy may rewrite answers",
  });
}

/** A folder of a machine has no room for every name that CouchDB takes: each slash is three characters there. */
function explainLongNames(selections: readonly TaskSelection[], { server }: Pick<Store, "server">): string[] {
  if (server !== "file:") return [];
  const names = new Set(selections.flatMap(({ databases }) => databases.map(({ encoded }) => encoded)));
  const [first, ...others] = [...names].filter((name) => name.length > MOST_NAME_BYTES);
  if (first === undefined) return [];
  const more = others.length === 0 ? "" : `, and of ${counted(others.length, "more database")}`;
  return [
    `A folder's name has ${counted(MOST_NAME_BYTES, "byte")} at the most, and that of the database "${
      decodeDatabase(first)
    }" ` +
    `would have ${first.length}${more}: that can be saved in an S3 bucket alone`,
  ];
}

/**
 * What the tasks select.
 *
 * @param others What else is wrong with them, sentences.
 * @throws CheckFailure where one would have nothing to do, and its run would fail for that.
 */
function describeSelections(selections: readonly TaskSelection[], others: readonly string[]): Found {
  const empty = selections.filter(isEmptyByMistake).map(({ task }) => `"${task.name}"`);
  const warnings = [...others, ...selections.flatMap(({ warnings }) => warnings)];
  if (empty.length > 0) {
    const tasks = empty.length === 1 ? `Task ${empty[0]} selects` : `The tasks ${empty.join(", ")} select`;
    throw new CheckFailure([`${tasks} no database: nothing would be saved`, ...warnings].join("; "), {
      hint: "Correct the patterns, or set allow_empty: true; plan shows what each selects",
    });
  }
  const selected = selections.map(({ task, databases }) => `"${task.name}" ${formatCount(databases.length)}`);
  const detail = `Databases of each task: ${selected.join(", ")}`;
  if (warnings.length === 0) return { detail };
  return {
    detail: [detail, ...warnings].join("; "),
    warning: true,
    hint: "plan shows what each task selects, why, and when it runs next",
  };
}

async function tryStore(context: CheckContext, attempt: Attempt): Promise<void> {
  const { repository, now, signal, isScheduled } = context;
  const { store, runsFolder: folder } = repository;
  const key = joinKey(folder, PROBE_NAME);
  const body = new TextEncoder().encode(`${JSON.stringify({ checked_at: now().toISOString() })}\n`);
  const isWritable = await attempt("store_write", async () => {
    await store.replace(key, body, { signal });
    return `"${store.locate(key)}" is written`;
  });
  if (!isWritable) return;
  const isRead = await attempt("store_read", async () => {
    const text = await readObjectText(store, key, { signal });
    if (text === new TextDecoder().decode(body)) return "It is read back";
    throw new CheckFailure(`"${store.locate(key)}" is read back with other content`, {
      hint: "Check whether another program writes there",
    });
  });
  const isListed = await attempt("store_list", async () => {
    for await (const { name } of store.list(folder, { signal })) if (name === PROBE_NAME) return "It is listed";
    throw new CheckFailure(`"${store.locate(key)}" is not listed`, {
      hint: "The store must list its objects: backup and restore rely on it",
    });
  });
  if (isRead && isListed) await attempt("store_slash", () => trySlash(context, body));
  await attempt("store_conditional_write", async () => {
    const conditions = await findConditions(store, repository.storeFolder, { now, signal, fresh: true });
    if (conditions === "held") return "Existing objects are not overwritten";
    const detail = "The store overwrites what exists despite If-None-Match: each run names its chunks differently";
    return isScheduled
      ? {
        detail: `${detail}, and two machines with the same schedule may both run it`,
        hint: "Run the schedule on one machine only, or use a store that supports If-None-Match",
        warning: true,
      }
      : detail;
  });
  await attempt("store_clock", () => {
    const skewMs = store.clockSkewMs;
    if (skewMs === undefined) return "The store does not tell its time";
    const detail = `The store's clock and this machine's differ by ${Math.round(Math.abs(skewMs) / 1000)} s`;
    if (Math.abs(skewMs) <= MOST_CLOCK_DIFFERENCE_MS) return detail;
    return { detail, hint: "Set both by NTP: backups are ordered by the store's clock", warning: true };
  });
}

/** Keys hold names of databases, and those slashes, as `%2F`: what decodes them on the way has them elsewhere. */
async function trySlash(
  { repository: { store, storeFolder }, signal }: CheckContext,
  body: Uint8Array,
): Promise<string> {
  const key = joinKey(storeFolder, SLASH_NAME);
  const where = store.locate(key);
  const hint = "Check what stands between this machine and the store: a proxy may decode %2F in addresses";
  await store.replace(key, body, { signal });
  let isListed = false;
  for await (const { name } of store.list(storeFolder, { signal })) isListed ||= name === SLASH_NAME;
  if (!isListed) {
    throw new CheckFailure(`A key with %2F in it, "${where}", is not listed after it was written`, { hint });
  }
  const text = await readObjectText(store, key, { signal });
  if (text === new TextDecoder().decode(body)) return "A key with %2F in it is written, listed and read back";
  throw new CheckFailure(`A key with %2F in it, "${where}", is read back with other content`, { hint });
}
