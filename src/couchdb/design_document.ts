/** Design documents. In: one as CouchDB answers it. Out: what the program looks at: which views there are to be built. */
import { isMembers, type Members } from "./answers.ts";

/** A design document, as far as the program looks into it. */
export interface DesignDocument {
  /** With `_design/`. */
  _id: string;
  /** The language of its functions; absent: `javascript`. */
  language?: string | undefined;
  /** Whether its views are those of single partitions, in a partitioned database. */
  options?: { partitioned?: boolean | undefined } | undefined;
  /** Its views by their names. */
  views?: Record<string, { map?: unknown } | null> | undefined;
}

/**
 * Reads a design document; undefined where it has no id. What CouchDB takes for one can have anything in its members.
 */
export function readDesign({ _id, language, options, views }: Members): DesignDocument | undefined {
  if (typeof _id !== "string") return undefined;
  return {
    _id,
    language: typeof language === "string" ? language : undefined,
    options: isMembers(options) && typeof options.partitioned === "boolean"
      ? { partitioned: options.partitioned }
      : undefined,
    views: !isMembers(views)
      ? undefined
      : Object.fromEntries(Object.entries(views).map(([name, view]) => [name, isMembers(view) ? view : null])),
  };
}
