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

/**
 * A store that is `ms` away.
 *
 * @param together No answer to such a call comes before so many of them are waited for, however long a busy machine takes
 * to make them; or ten seconds have passed, where they never are.
 */
export function farAway(
  store: Store,
  ms: number,
  together: { count: number; holds: (call: "create" | "replace" | "list" | "read", key: string) => boolean } = {
    count: 0,
    holds: () => false,
  },
): FarStore {
  let [waiting, most, reading, mostReading, held] = [0, 0, 0, 0, 0];
  const all = Promise.withResolvers<void>();
  const travel = async (call: Parameters<typeof together.holds>[0], key: string) => {
    most = Math.max(most, ++waiting);
    if (together.holds(call, key)) {
      if (++held >= together.count) all.resolve();
      const giveUp = setTimeout(all.resolve, 10_000);
      await all.promise;
      clearTimeout(giveUp);
      held--;
    }
    await new Promise((resolve) => setTimeout(resolve, ms));
    waiting--;
  };
  const far: Partial<Store> = {
    async create(...call) {
      // Names that are made one by one are not asked for here.
      await travel("create", Array.isArray(call[0]) ? call[0][0] : "");
      return await store.create(...call);
    },
    async replace(...call) {
      await travel("replace", call[0]);
      await store.replace(...call);
    },
    async *list(...call) {
      await travel("list", call[0]);
      yield* store.list(...call);
    },
    async read(...call) {
      mostReading = Math.max(mostReading, ++reading);
      await travel("read", call[0]);
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
