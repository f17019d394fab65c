/**
 * An incremental backup together with its parents, as one archive. In: an archive as it lies in its folder. Out: the
 * same with the chunks of its parents below its own; missing ones are problems of the archive.
 */
import { dirname } from "node:path/posix";
import { type Archive, type ArchiveChunk, copyIsUsed } from "./archive.ts";
import { type ChainLink, type ChainOptions, followChain } from "./chain.ts";
import { explainListed } from "./damage.ts";
import { parseChunkName } from "./layout.ts";
import { loadAhead } from "../parallel.ts";
import { readFolder } from "./read.ts";

/** Folders of parents that are listed at the same time. */
const FOLDERS_AT_ONCE = 4;

/** Puts the parents' chunks below an archive's own: a document's latest state is then in the last chunk that has it. */
export async function addParents(archive: Archive, options: ChainOptions): Promise<void> {
  const { origin, place } = archive;
  if (origin?.kind !== "incremental" || place.object !== undefined) return;
  const { links, broken } = await followChain({ ...place, manifest: origin }, options);
  const list = async (group: readonly ChainLink[], signal: AbortSignal) => {
    const [{ store, folder }] = group as [ChainLink];
    return { group, present: (await readFolder(store, folder, { ...options, signal })).chunks };
  };
  const ahead = { limit: FOLDERS_AT_ONCE, signal: options.signal };
  for await (const { group, present } of loadAhead(byFolder(links), list, ahead)) {
    for (const link of group) addParent(archive, link, present);
  }
  if (broken !== undefined) {
    const problem = `${broken.problem} (the backup builds on it)`;
    const missing = broken.isMissing ? { is_missing: true } as const : {};
    archive.problems.push({ chunk: broken.path || (archive.manifest ?? ""), problem, ...missing });
  }
}

/** @param present The chunks in its folder: the name of each -> its size in bytes. */
function addParent(
  archive: Archive,
  { store, folder, path, manifest, damaged }: ChainLink,
  present: ReadonlyMap<string, number>,
): void {
  const parent = { store, folder, path };
  if (damaged !== undefined) archive.damagedManifests.push(copyIsUsed(path, damaged));
  const chunks: ArchiveChunk[] = [];
  for (const entry of manifest.chunks.toSorted((a, b) => parseChunkName(a.name)! - parseChunkName(b.name)!)) {
    const chunk = { name: entry.name, entry, parent };
    const problem = explainListed(nameOfChunk(chunk), present.get(entry.name), entry);
    if (problem === undefined) chunks.push(chunk);
    else archive.problems.push(problem);
  }
  // Not unshift(...chunks): there may be more than a call takes arguments.
  archive.chunks = [...chunks, ...archive.chunks];
  archive.parents.push({ ...parent, entries: manifest.chunks });
  if (archive.documents !== undefined) archive.documents += manifest.totals.documents;
}

/** Links that lie in one folder, as those of one day do, are one listing. */
function byFolder(links: readonly ChainLink[]): ChainLink[][] {
  const groups: ChainLink[][] = [];
  for (const link of links) {
    const last = groups.at(-1)?.at(-1);
    if (last?.store === link.store && last.folder === link.folder) groups.at(-1)!.push(link);
    else groups.push([link]);
  }
  return groups;
}

/** How a chunk is called in messages and reports: that of a parent with its folder, below the config's prefix. */
export function nameOfChunk({ name, parent }: Pick<ArchiveChunk, "name" | "parent">): string {
  return parent === undefined ? name : `${dirname(parent.path)}/${name}`;
}
