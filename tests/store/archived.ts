/** A store some of whose objects a lifecycle rule has moved to an archive tier. In: a store. Out: the same. */
import { StoreError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";

/** It lists such objects, and does not give them out, as S3 does. @param isArchived By their URLs. */
export function withArchived(store: Store, isArchived: (url: string) => boolean): Store {
  const read: Store["read"] = async (key, options) => {
    if (!isArchived(store.locate(key))) return await store.read(key, options);
    const facts = { code: "InvalidObjectState", key, status: 403 };
    const hint = "The object is in an archive tier: restore it there (aws s3api restore-object), then run again";
    throw new StoreError(`Cannot read "${key}" in "${store.url}": S3 answered 403 ${facts.code}`, facts, { hint });
  };
  return new Proxy(store, {
    get: (_, name: keyof Store) => {
      const member = name === "read" ? read : store[name];
      return typeof member === "function" ? member.bind(store) : member;
    },
  });
}
