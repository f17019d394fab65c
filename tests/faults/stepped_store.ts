/**
 * A store around a store, in which each operation is a step that can be met by something: the process is ended by force
 * (the operation, or its answer, and everything behind it never come), an error of the disk, a wait that lets others go
 * first.
 */
import type {
  Conditions,
  CreateOptions,
  ListOptions,
  ReplaceOptions,
  Store,
  StoreCallOptions,
  StoredObject,
  StoreEntry,
} from "../../src/store/store.ts";
import { until } from "../until.ts";

/** What is done about step `number` (from 1): before it is carried out, and behind it. */
export interface Steps {
  before?: (number: number, step: string) => Promise<void> | void;
  behind?: (number: number, step: string) => Promise<void> | void;
}

/** A promise that nothing comes of: what waits for it goes no further, as if its process had ended. */
export function never(): Promise<never> {
  return new Promise(() => {});
}

/** Which step is the last one, and whether it is carried out. */
export interface End {
  place: number;
  isBehind: boolean;
}

/** What was under way when a run was ended by force must have come to rest before anybody looks at what it left. */
const REST_LIMIT_MS = 10_000;

/** The store. */
export class SteppedStore implements Store {
  /** What was done so far. */
  readonly steps: string[] = [];
  readonly #store: Store;
  readonly #about: Steps;
  /** Operations that the store has begun and not ended. */
  #underWay = 0;

  constructor(store: Store, about: Steps) {
    this.#store = store;
    this.#about = about;
  }

  get url(): string {
    return this.#store.url;
  }

  get server(): string {
    return this.#store.server;
  }

  get clockSkewMs(): number | undefined {
    return this.#store.clockSkewMs;
  }

  get conditions(): Conditions | undefined {
    return this.#store.conditions;
  }

  set conditions(conditions: Conditions | undefined) {
    this.#store.conditions = conditions;
  }

  locate(key: string): string {
    return this.#store.locate(key);
  }

  async tryConditions(key: string, options?: StoreCallOptions): Promise<Conditions> {
    return await this.#step(`try conditions ${key}`, () => this.#store.tryConditions(key, options));
  }

  async create(
    keys: Iterable<string>,
    body: AsyncIterable<Uint8Array>,
    { after, ...options }: CreateOptions = {},
  ): Promise<StoredObject> {
    await after; // Only then is it a step, as one request of S3 comes behind the other.
    return await this.#step(`create`, () => this.#store.create(keys, body, options));
  }

  async replace(key: string, body: Uint8Array, { after, ...options }: ReplaceOptions = {}): Promise<void> {
    if (after !== undefined && !await after) return;
    return await this.#step(`replace ${key}`, () => this.#store.replace(key, body, options));
  }

  async settle(folder: string): Promise<void> {
    return await this.#step(`settle ${folder}`, async () => await this.#store.settle?.(folder));
  }

  async read(key: string, options?: StoreCallOptions): Promise<ReadableStream<Uint8Array>> {
    return await this.#step(`read ${key}`, () => this.#store.read(key, options));
  }

  async stat(key: string, options?: StoreCallOptions): Promise<{ sizeBytes: number; modified: Date } | undefined> {
    return await this.#step(`stat ${key}`, () => this.#store.stat(key, options));
  }

  async *list(folder: string, options?: ListOptions): AsyncIterable<StoreEntry> {
    yield* await this.#step(`list ${folder}`, () => Promise.resolve(this.#store.list(folder, options)));
  }

  /** Resolves when nothing changes in the store any more. */
  async atRest(): Promise<void> {
    await until(() => this.#underWay === 0, "what was under way has ended", REST_LIMIT_MS);
  }

  async #step<T>(step: string, run: () => Promise<T>): Promise<T> {
    const number = this.steps.push(step);
    await this.#about.before?.(number, step);
    this.#underWay++;
    let result: T;
    try {
      result = await run();
    } finally {
      this.#underWay--;
    }
    await this.#about.behind?.(number, step);
    return result;
  }
}

/**
 * Runs with a store whose steps end with one: nothing comes of any behind it. What was under way then is carried out.
 */
export async function runUntil<T>(
  { place, isBehind }: End,
  inner: Store,
  run: (store: Store) => Promise<T>,
): Promise<{ first: T | undefined; store: SteppedStore; isMet: boolean; met: string | undefined }> {
  const { promise: ended, resolve: end } = Promise.withResolvers<undefined>();
  const endAt = (number: number, moment: boolean) => {
    if (number !== place || moment !== isBehind) return;
    end(undefined);
    return never();
  };
  const store = new SteppedStore(inner, {
    before: (number) => number > place ? never() : endAt(number, false),
    behind: (number) => endAt(number, true),
  });
  const first = await Promise.race([run(store), ended]);
  await store.atRest();
  return { first, store, isMet: store.steps.length >= place, met: store.steps[place - 1] };
}
