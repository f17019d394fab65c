/** A store whose answers take their time, as those of S3 do. In: a store. Out: the same, and how much waited for it. */
import type { Store } from "../../src/store/store.ts";

/** A store that is far away. */
export interface FarStore {
  store: Store;
  /** Of how many calls an answer was on its way at the same time, at the most. */
  mostWaiting: () => number;
  /** The same of calls of `read`. */
  mostReading: () => number;
}

/** A store that is `ms` away. */
export function farAway(store: Store, ms: number): FarStore {
  let [waiting, most, reading, mostReading] = [0, 0, 0, 0];
  const travel = async () => {
    most = Math.max(most, ++waiting);
    await new Promise((resolve) => setTimeout(resolve, ms));
    waiting--;
  };
  const far: Partial<Store> = {
    async create(...call) {
      await travel();
      return await store.create(...call);
    },
    async replace(...call) {
      await travel();
      await store.replace(...call);
    },
    async *list(...call) {
      await travel();
      yield* store.list(...call);
    },
    async read(...call) {
      mostReading = Math.max(mostReading, ++reading);
      await travel();
      reading--;
      return await store.read(...call);
    },
  };
  const proxy = new Proxy(store, {
    get(_, name: keyof Store) {
      const member = far[name] ?? store[name];
      return typeof member === "function" ? member.bind(store) : member;
    },
  });
  return { store: proxy, mostWaiting: () => most, mostReading: () => mostReading };
}
