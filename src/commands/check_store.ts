/**
 * Whether a store has the properties that backups rely on: the questions that this project's tests put to the
 * stores they know, put to the user's own. In: a repository. Out: which properties hold, which do not, and what the
 * program does then. Some small objects and some MiB of parts are written below `_store/check`, under the same names
 * each time.
 */
import type { Repository } from "../archive/repository.ts";
import { describeError, hintOf } from "../errors.ts";
import { noteLostRace } from "../store/conditions.ts";
import { joinKey } from "../store/key.ts";
import type { Log } from "../observe.ts";
import { askStore, createQuestion, raceQuestion, type StoreProperty, storeQuestions } from "../store/questions.ts";

const CHECK_FOLDER = "check";

/** What `check --store --json` prints. */
export interface StoreCheckReport {
  /** Whether backups can be kept there: each property holds, or the program does something else instead. */
  ok: boolean;
  /** The bucket folder. */
  store: string;
  /** The endpoint, `aws` or `file:`. */
  server: string;
  /** What was asked, in that order; nothing after one that everything rests on. */
  properties: StoreProperty[];
}

/** What it works with. */
export interface CheckStoreContext {
  log: Log;
  repository: Repository;
  now: () => Date;
  signal: AbortSignal;
}

/**
 * Asks the store.
 *
 * @throws The reason of `context.signal`; what the store refuses is in the report.
 */
export async function checkStoreProperties(context: CheckStoreContext): Promise<StoreCheckReport> {
  const { log, repository, now, signal } = context;
  const { store, storeFolder } = repository;
  const place = { folder: joinKey(storeFolder, CHECK_FOLDER) };
  const questions = await store.questions?.(place) ??
    [...storeQuestions(store, place), createQuestion(store, place), raceQuestion(store, place)];
  const properties: StoreProperty[] = [];
  const note = async () => {
    try {
      await noteLostRace(store, storeFolder, { now, signal });
    } catch (error) {
      signal.throwIfAborted();
      log.warn("the lost race could not be noted: ask again, for backups to know of it", {
        error: describeError(error),
        hint: hintOf(error),
      });
    }
  };
  for await (const property of askStore(questions, signal)) {
    properties.push(property);
    const { ok, held, detail, hint } = property;
    const facts = { property: property.property, detail, hint };
    if (!ok) log.error("store lacks a property that backups cannot do without", facts);
    else if (!held) log.warn("store lacks a property", { ...facts, instead: property.instead });
    else log.info("store has a property", facts);
    // Runs read this note. A question that could not be put (`ok` is false) has shown nothing.
    if (property.property === "create_race" && !held && ok) await note();
  }
  return { ok: properties.every(({ ok }) => ok), store: store.url, server: store.server, properties };
}
