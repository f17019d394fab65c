/**
 * Positions in the feed, `N-opaque`: the opaque part says for each range which copy was read, and how far. N is the
 * sum of those sequences, and means nothing.
 */
import { Buffer } from "node:buffer";
import { Refusal } from "./answer.ts";

/** How far one copy of a range has been read. */
export interface RangePosition {
  /** `00000000-7fffffff` */
  range: string;
  node: string;
  /** The name of the copy's file. */
  copy: string;
  sequence: number;
}

const PREFIX = "g1AAAA";

/** `N-opaque`. */
export function formatPosition(position: readonly RangePosition[]): string {
  let sum = 0;
  const parts = position.map(({ range, node, copy, sequence }) => {
    sum += sequence;
    return [range, node, copy, sequence];
  });
  return `${sum}-${PREFIX}${Buffer.from(JSON.stringify(parts)).toString("base64url")}`;
}

/** Reads a position: the N and quotes may be there or not, `0` is the beginning. @throws Refusal when it is none. */
export function parsePosition(text: string): RangePosition[] {
  if (text === "0") return [];
  const opaque = /^"?(?:[0-9]+-)?(.*?)"?$/s.exec(text)?.[1] ?? "";
  if (opaque.startsWith(PREFIX)) {
    try {
      const parts: unknown = JSON.parse(Buffer.from(opaque.slice(PREFIX.length), "base64url").toString());
      return (parts as [string, string, string, number][]).map(([range, node, copy, sequence]) => ({
        range,
        node,
        copy,
        sequence,
      }));
    } catch {
      // Refused below, as is all that does not look like a position.
    }
  }
  throw new Refusal(400, "bad_request", "Malformed sequence supplied in 'since' parameter.");
}
