/**
 * The properties that a store must or should have, tested on the store itself, for users of stores that this project
 * has never tried. In: a store and a folder of it. Out: a finding for each property, with what the program does if it
 * is missing. The objects always have the same names, so that they do not pile up.
 */
import { describeError, hintOf, StoreError } from "../errors.ts";
import { countWinners, isCreated, RACERS } from "./race.ts";
import { readText } from "../streams.ts";
import { compareEntries, joinKey } from "./key.ts";
import type { Store, StoreEntry } from "./store.ts";

/** What was found of one property. */
export interface StoreFinding {
  /** Whether the store has it. */
  held: boolean;
  /** Whether backups can be kept there all the same. */
  ok: boolean;
  /** What was seen. */
  detail: string;
  /** What the program does where it lacks. */
  instead?: string;
  /** The key of the config that helps, with its value. */
  option?: string;
  /** What to do about it. */
  hint?: string;
}

/** A property, and what was found of it. */
export interface StoreProperty extends StoreFinding {
  /** `conditions_put`, `list_order`. */
  property: string;
}

/** One question to a store. */
export interface StoreQuestion {
  /** What it asks for: `conditions_put`. */
  property: string;
  /** Nothing else can be asked where it fails. @default false */
  isVital?: boolean;
  /** Asks. @throws StoreError: then the property lacks, and nothing makes up for it. */
  ask(signal: AbortSignal): Promise<StoreFinding>;
}

/** What every question is asked with. */
export interface QuestionPlace {
  /** The key of the folder that the objects of the questions lie in. */
  folder: string;
}

/** Asks, one question after the other, and says each finding as soon as it is there. */
export async function* askStore(
  questions: readonly StoreQuestion[],
  signal: AbortSignal,
): AsyncGenerator<StoreProperty, void, undefined> {
  for (const { property, isVital = false, ask } of questions) {
    signal.throwIfAborted();
    let finding: StoreFinding;
    try {
      finding = await ask(signal);
    } catch (error) {
      signal.throwIfAborted();
      const hint = hintOf(error);
      finding = { held: false, ok: false, detail: describeError(error), ...(hint === undefined ? {} : { hint }) };
    }
    yield { property, ...finding };
    if (isVital && !finding.ok) return;
  }
}

/** The property is there. */
export function held(detail: string): StoreFinding {
  return { held: true, ok: true, detail };
}

/** The property lacks, and the program does something else `instead`. */
export function lacking(detail: string, instead: string, option?: string): StoreFinding {
  return { held: false, ok: true, detail, instead, ...(option === undefined ? {} : { option }) };
}

/** The property lacks, and nothing makes up for it. */
export function missing(detail: string, hint: string, option?: string): StoreFinding {
  return { held: false, ok: false, detail, hint, ...(option === undefined ? {} : { option }) };
}

const BODY = '{"about":"what this store holds"}\n';
/** How often an object is replaced and read. */
const TURNS = 3;
/** Races of one asking: enough to meet a server that looks before it writes, mostly. */
const RACES = 5;
/** Places for races; the key of a race has to be free. */
const RACE_PLACES = 50;
/** What names of databases are made of, once encoded. */
const DATABASE_NAMES = ["account%2Fab%2Fcd", "account%252Fab", "a%2Bb", "a+b", "a$(b)_c-d", "0010"];
/** What prefixes, suffixes and names of tasks may hold beside. */
const OTHER_NAMES = ["a b", "a%20b", `"q"&<'>`, "é中", "\uff5e", "\u{1F600}"];
/** In the order of their UTF-8 bytes. */
const LISTED = ["B", "a-b", "a/x", "a/y", "a0", "b"];
const LISTED_ENTRIES = ["B", "a-b", "a/", "a0", "b"];

const bytesOf = (text: string) => new TextEncoder().encode(text);
const namesOf = (entries: readonly StoreEntry[]) =>
  entries.map(({ kind, name }) => kind === "folder" ? `${name}/` : name);

/** What every store is asked. */
export function storeQuestions(store: Store, { folder }: QuestionPlace): StoreQuestion[] {
  const keyOf = (...names: string[]) => joinKey(folder, ...names);
  const textOf = async (key: string, signal: AbortSignal) => await readText(await store.read(key, { signal }));
  return [
    {
      property: "write_read",
      isVital: true,
      async ask(signal) {
        const key = keyOf("object.json");
        await store.replace(key, bytesOf(BODY), { signal });
        return await textOf(key, signal) === BODY ? held(`"${store.locate(key)}" is written and read back`) : missing(
          `"${store.locate(key)}" is read back with other content`,
          "Check whether another program writes there",
        );
      },
    },
    {
      property: "read_after_write",
      async ask(signal) {
        const key = keyOf("replaced.json");
        for (let turn = 0; turn < TURNS; turn++) {
          await store.replace(key, bytesOf(`${turn}\n`), { signal });
          const found = await textOf(key, signal);
          const size = (await store.stat(key, { signal }))?.sizeBytes;
          if (found === `${turn}\n` && size === 2) continue;
          return missing(
            `A replaced object is still read in its old state: ${JSON.stringify(found.slice(0, 20))}`,
            "Use a consistent store, or turn off caches in front of it: checkpoints and runs rely on it",
          );
        }
        return held("A replaced object is read in its new state at once");
      },
    },
    listQuestion(store, keyOf("list")),
    {
      property: "keys",
      async ask(signal) {
        const lost = await lostNames(store, { names: DATABASE_NAMES, folder: keyOf("keys"), signal });
        if (lost.length === 0) return held("Database names in keys are kept, also %2F and +");
        return missing(
          `Keys are confused: ${lost.map((name) => JSON.stringify(name)).join(", ")}`,
          "Look for a proxy that decodes %2F or + in paths; database names have them",
        );
      },
    },
    {
      property: "keys_unicode",
      async ask(signal) {
        const lost = await lostNames(store, { names: OTHER_NAMES, folder: keyOf("other-keys"), signal });
        if (lost.length === 0) return held("Spaces, quotes and letters of all scripts are kept");
        return lacking(
          `Keys are confused or refused: ${lost.map((name) => JSON.stringify(name)).join(", ")}`,
          "database names have none of these: keep prefix, suffix and task names to a-z, 0-9, - and _",
          "prefix, suffix",
        );
      },
    },
  ];
}

/** Whether a listing is whole, in order, and tells folders. `listed` may list in smaller pages than `store`. */
export function listQuestion(
  store: Store,
  folder: string,
  listed: (signal: AbortSignal) => AsyncIterable<StoreEntry> = (signal) => store.list(folder, { signal }),
): StoreQuestion {
  return {
    property: "list",
    isVital: true,
    async ask(signal) {
      for (const name of LISTED) await store.replace(joinKey(folder, name), bytesOf("x"), { signal });
      const found = await Array.fromAsync(listed(signal));
      const isOrdered = found.every((entry, index) => index === 0 || compareEntries(found[index - 1]!, entry) < 0);
      const names = namesOf(found);
      if (isOrdered && names.join("\n") === LISTED_ENTRIES.join("\n")) {
        return held(`${names.length} entries, each once, in byte order, folders told from objects`);
      }
      return missing(
        `Of ${LISTED_ENTRIES.map((name) => JSON.stringify(name)).join(" ")} it lists ${
          names.map((name) => JSON.stringify(name)).join(" ")
        }`,
        "Backup, restore and verify rely on listings: use another store",
      );
    },
  };
}

/** Whether create() leaves what is there; for a store that has no finer question. */
export function createQuestion(store: Store, { folder }: QuestionPlace): StoreQuestion {
  return {
    property: "create_only",
    async ask(signal) {
      const key = joinKey(folder, "object.json");
      if (!await isCreated(store, key, { signal })) return held("Existing objects are not overwritten");
      return lacking("Existing objects are overwritten", OVERWRITES);
    },
  };
}

/** What the program does on a store that overwrites. */
export const OVERWRITES: string =
  "each key is checked before it is written, and each run names its chunks differently; " +
  "run the schedule on one machine only";

/**
 * Whether only one of several writers of one key wins. A server that checks and then writes, without a lock, passes
 * every other question. A race with several winners is proof; one with a single winner is not, so several are run.
 */
export function raceQuestion(store: Store, { folder }: QuestionPlace): StoreQuestion {
  const races = joinKey(folder, "races");
  return {
    property: "create_race",
    async ask(signal) {
      const taken = new Set<string>();
      for await (const { name } of store.list(races, { signal })) taken.add(name);
      const free = Array.from({ length: RACE_PLACES }, (_, place) => `${place}`.padStart(2, "0"))
        .filter((name) => !taken.has(name)).slice(0, RACES);
      if (free.length === 0) {
        return held(
          `Not asked: the ${RACE_PLACES} places in "${races}" are taken by earlier races, none of them lost`,
        );
      }
      for (const name of free) {
        const winners = await countWinners(store, joinKey(races, name), { signal });
        if (winners < 2) continue;
        return lacking(
          `Of ${RACERS} simultaneous writers of one key ${winners} were told that they had created it`,
          OVERWRITES,
        );
      }
      return held(
        `${free.length} times ${RACERS} simultaneous writers of one key: one created it (no proof that this always holds)`,
      );
    },
  };
}

/** The names under which something else is read than was written, or that the folder does not list. */
async function lostNames(
  store: Store,
  { names, folder, signal }: { names: readonly string[]; folder: string; signal: AbortSignal },
): Promise<string[]> {
  const lost = new Set<string>();
  const ifKept = async (name: string, step: () => Promise<boolean>) => {
    try {
      if (!await step()) lost.add(name);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StoreError)) throw error;
      lost.add(name);
    }
  };
  for (const name of names) {
    await ifKept(name, async () => {
      await store.replace(joinKey(folder, name), bytesOf(name), { signal });
      return true;
    });
  }
  const listed = new Set<string>();
  for await (const entry of store.list(folder, { signal })) listed.add(entry.name);
  for (const name of names) {
    await ifKept(
      name,
      async () => listed.has(name) && await readText(await store.read(joinKey(folder, name), { signal })) === name,
    );
  }
  return [...lost];
}
