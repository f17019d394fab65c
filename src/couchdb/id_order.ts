/**
 * Puts listed documents into the order of their ids, in which CouchDB keeps them: neighbours lie in the same nodes of its
 * tree, so that to read or to write them together costs it less, up to a third where ids are random. In: documents in
 * the order of the feed. Out: the same in that order. Only speed depends on it.
 */
import type { ListedDocument } from "./batch.ts";
import { PackedRow } from "./packed_row.ts";

/** Of ids so many bytes are compared at a time: with a place beside them they are a number that is exact. */
const BYTES = 4;
const PLACES = 2 ** 21;
/** Ids that are the same up to here stay as they are. */
const MOST_COMPARED_BYTES = 256;

/**
 * Sorts documents where they are. The bytes of an id are numbers to be sorted without a comparison of ours, which would
 * take ten times as long; where they are the same the next ones are looked at.
 */
export function sortById(documents: ListedDocument[]): void {
  // More are sorted in parts: it is as good.
  for (let from = 0; from < documents.length; from += PLACES) {
    sortBehind(documents, from, Math.min(from + PLACES, documents.length), 0);
  }
}

/** Sorts a part of them, whose ids are the same up to `depth`. */
function sortBehind(documents: ListedDocument[], from: number, end: number, depth: number): void {
  if (end - from < 2 || depth >= MOST_COMPARED_BYTES) return;
  const keys = new Float64Array(end - from);
  const before = documents.slice(from, end);
  for (let place = 0; place < keys.length; place++) keys[place] = wordAt(before[place]!, depth) * PLACES + place;
  keys.sort();
  let last = 0;
  let begin = from;
  for (let index = 0; index < keys.length; index++) {
    const word = Math.floor(keys[index]! / PLACES);
    const at = from + index;
    documents[at] = before[keys[index]! - word * PLACES]!;
    if (word === last) continue;
    if (last !== 0) sortBehind(documents, begin, at, depth + BYTES);
    [last, begin] = [word, at];
  }
  // After the end of an id there is nothing to be compared.
  if (last !== 0) sortBehind(documents, begin, end, depth + BYTES);
}

/** Four bytes of an id, as a number; past its end they are 0. */
function wordAt(document: ListedDocument, depth: number): number {
  let word = 0;
  if (document instanceof PackedRow) {
    const { bytes, from, middle } = document;
    const end = from + depth + BYTES;
    for (let at = from + depth; at < end; at++) word = word * 256 + (at < middle ? bytes[at]! : 0);
    return word;
  }
  const { id } = document;
  // All that is known of a character outside of ASCII is that it comes later.
  for (let at = depth; at < depth + BYTES; at++) {
    word = word * 256 + (at < id.length ? Math.min(id.charCodeAt(at), 255) : 0);
  }
  return word;
}
