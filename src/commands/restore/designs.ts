/**
 * Holds design documents back until all others are written: their validation functions might refuse documents that were
 * valid when they were written. In: design documents, as the chunks are read. Out: the small ones themselves, and for
 * larger ones the chunks that they are in.
 */
import type { ArchiveChunk } from "../../archive/archive.ts";
import type { LargeDocument, RawDocument } from "../../archive/documents.ts";

/** Design documents are held until the end up to this size; beyond it their chunks are read again. */
const HELD_DESIGN_BYTES = 4 << 20;

/** Design documents on their way to the end: small ones in hand, of others the chunks they are in. */
export class HeldDesigns {
  readonly documents: RawDocument[] = [];
  /** Where the others are: chunk -> their ids. */
  readonly chunks: Map<ArchiveChunk, Set<string | undefined>> = new Map();
  #bytes = 0;

  add(document: RawDocument | LargeDocument, chunk: ArchiveChunk): void {
    const bytes = isRaw(document) ? document.bytes.length : Infinity;
    if (!isRaw(document) || this.#bytes + bytes > HELD_DESIGN_BYTES) {
      const ids = this.chunks.get(chunk) ?? new Set();
      this.chunks.set(chunk, ids.add(document.id));
      return;
    }
    // A copy: the document is a view of a piece of the chunk that would stay in memory with it.
    this.documents.push({ ...document, bytes: document.bytes.slice() });
    this.#bytes += bytes;
  }
}

function isRaw(document: RawDocument | LargeDocument): document is RawDocument {
  return "bytes" in document;
}

/** Whether it is a design document. */
export function isDesign({ id }: { id: string | undefined }): boolean {
  return id?.startsWith("_design/") === true;
}
