/**
 * Which copy of a range a coordinator reads for a listing. CouchDB asks all of them, and takes the one that answers
 * first: on three idle nodes its own in two of three readings, for each range by itself (3.5.0).
 */
import type { ClusterNode } from "./cluster_node.ts";
import { type CopyChoice, liveCopies } from "./shards.ts";

/** The coordinator's own copies, any as on real nodes, or those of one node for every coordinator. */
export type Reading = "own" | "any" | ClusterNode;

const OWN_SHARE = 2 / 3;

/** How one listing chooses. Where a wanted copy is not there it takes the first that is. */
export function chooseCopies(coordinator: ClusterNode, { reading, random }: {
  reading: Reading;
  random: () => number;
}): CopyChoice {
  return (range) => {
    const copies = liveCopies(range);
    if (copies.length === 1) return copies[0]!;
    if (reading === "any" && random() >= OWN_SHARE) return copies[Math.floor(random() * copies.length)]!;
    const wanted = typeof reading === "string" ? coordinator : reading;
    return copies.find(({ node }) => node === wanted) ?? copies[0]!;
  };
}

/** Any copy of each range, as `GET /{db}` takes them, or those of one node. */
export function drawCopies(
  { counting, random }: { counting: ClusterNode | undefined; random: () => number },
): CopyChoice {
  return (range) => {
    const copies = liveCopies(range);
    const wanted = counting === undefined ? undefined : copies.find(({ node }) => node === counting);
    if (wanted !== undefined) return wanted;
    return copies.length === 1 ? copies[0]! : copies[Math.floor(random() * copies.length)]!;
  };
}
