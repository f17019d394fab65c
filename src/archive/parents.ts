/**
 * An incremental backup together with its parents, as one archive. In: an archive as it lies in its folder. Out: the
 * same with the chunks of its parents below its own; missing ones are problems of the archive.
 */
import { dirname } from "node:path/posix";
import type { Archive, ArchiveChunk } from "./archive.ts";
import { type ChainOptions, followChain } from "./chain.ts";
import { explainListed } from "./damage.ts";
import { parseChunkName } from "./layout.ts";
import { readFolder } from "./read.ts";

/** Puts the parents' chunks below an archive's own: a document's latest state is then in the last chunk that has it. */
export async function addParents(archive: Archive, options: ChainOptions): Promise<void> {
  const { origin, place } = archive;
  if (origin?.kind !== "incremental" || place.object !== undefined) return;
  const { links, broken } = await followChain({ ...place, manifest: origin }, options);
  for (const { store, folder, path, manifest } of links) {
    const { chunks: present } = await readFolder(store, folder, options);
    const parent = { store, folder, path };
    const chunks: ArchiveChunk[] = [];
    for (const entry of manifest.chunks.toSorted((a, b) => parseChunkName(a.name)! - parseChunkName(b.name)!)) {
      const chunk = { name: entry.name, entry, parent };
      const problem = explainListed(present.get(entry.name), entry);
      if (problem === undefined) chunks.push(chunk);
      else archive.problems.push({ chunk: nameOfChunk(chunk), problem });
    }
    // Not unshift(...chunks): there may be more than a call takes arguments.
    archive.chunks = [...chunks, ...archive.chunks];
    archive.parents.push({ ...parent, entries: manifest.chunks });
    if (archive.documents !== undefined) archive.documents += manifest.totals.documents;
  }
  if (broken !== undefined) {
    const problem = `The backup builds on it, but it has changed: ${broken.problem}`;
    archive.problems.push({ chunk: broken.path || (archive.manifest ?? ""), problem });
  }
}

/** How a chunk is called in messages and reports: that of a parent with its folder, below the config's prefix. */
export function nameOfChunk({ name, parent }: Pick<ArchiveChunk, "name" | "parent">): string {
  return parent === undefined ? name : `${dirname(parent.path)}/${name}`;
}
