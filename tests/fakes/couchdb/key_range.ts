/**
 * Which part of a sorted list of names a request asks for: `start_key`, `limit` and their companions, over ids in the
 * order of their bytes.
 */
import { Refusal } from "./answer.ts";
import { compareIds } from "./database.ts";

/** The part of a sorted list that a request asks for. */
export interface Range {
  start: string | undefined;
  end: string | undefined;
  inclusiveEnd: boolean;
  descending: boolean;
  skip: number;
  limit: number;
}

/** Reads `start_key`, `limit` and their companions. @throws Refusal when they are not JSON, or not numbers. */
export function readRange(query: URLSearchParams): Range {
  const key = (...names: string[]) => {
    const text = names.map((name) => query.get(name)).find((value) => value !== null);
    return text === undefined || text === null ? undefined : parseKey(text);
  };
  const number = (name: string, fallback: number) => {
    const text = query.get(name);
    if (text === null) return fallback;
    if (/^\d+$/.test(text)) return Number(text);
    throw new Refusal(400, "query_parse_error", `Invalid value for integer: "${text}"`);
  };
  const single = key("key");
  return {
    start: single ?? key("start_key", "startkey"),
    end: single ?? key("end_key", "endkey"),
    inclusiveEnd: query.get("inclusive_end") !== "false",
    descending: query.get("descending") === "true",
    skip: number("skip", 0),
    limit: number("limit", Infinity),
  };
}

/** The range of `sorted`, and how many entries lie before it. */
export function applyRange(sorted: readonly string[], range: Range): { found: string[]; offset: number } {
  const ordered = range.descending ? [...sorted].reverse() : sorted;
  const compare = (a: string, b: string) => range.descending ? compareIds(b, a) : compareIds(a, b);
  const isBeforeEnd = (entry: string) =>
    range.end === undefined || compare(entry, range.end) < 0 || (range.inclusiveEnd && entry === range.end);
  const first = range.start === undefined ? 0 : lowerBound(ordered, (entry) => compare(entry, range.start!) < 0);
  const end = lowerBound(ordered, isBeforeEnd);
  const from = Math.min(first + range.skip, ordered.length);
  return { found: ordered.slice(from, Math.max(from, Math.min(end, from + range.limit))), offset: from };
}

/** The number of leading entries for which `isBefore` holds; it must hold for none behind the first it fails for. */
function lowerBound(entries: readonly string[], isBefore: (entry: string) => boolean): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(entries[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function parseKey(text: string): string | undefined {
  try {
    const key: unknown = JSON.parse(text);
    return typeof key === "string" ? key : undefined;
  } catch {
    throw new Refusal(400, "bad_request", "invalid UTF-8 JSON");
  }
}
