/**
 * Brings the documents of an archive into a database: chunk by chunk, checked before its first document is written, in
 * batches bounded by number and size, several requests in flight. Design documents wait until all others are there: their
 * validation functions would refuse what was valid when it was written.
 */
import type { Archive, ArchiveChunk, ChunkProblem } from "../../archive/archive.ts";
import { CheckedChunk } from "../../archive/chunk.ts";
import { RequestBody, type Revisions } from "../../couchdb/request_body.ts";
import type { DocumentWriter } from "../../couchdb/write.ts";
import { isLarge, type LargeDocument, type RawDocument } from "../../archive/document_reader.ts";
import { ArchiveError, describeError } from "../../errors.ts";
import { joinKey } from "../../store/key.ts";
import type { Log, Progress } from "../../observe.ts";
import { forEachParallel, loadAhead } from "../../parallel.ts";

/** A request with more one-KB documents is no faster. */
const BATCH_DOCUMENTS = 500;
/** A batch is closed when it is that large; with one document of the largest held size it has three times as much. */
const BATCH_BYTES = 2 << 20;
/** Chunks that are fetched and checked while the ones before them are being written. */
const CHUNKS_AHEAD = 4;
/** Design documents are held until the end up to this size; beyond it their chunks are read again. */
const HELD_DESIGN_BYTES = 4 << 20;

/** What it works with. */
export interface DocumentRestoreContext {
  writer: DocumentWriter;
  log: Log;
  progress: Progress;
  signal: AbortSignal;
}

/** What was read from the archive to be written. */
export interface RestoredCounts {
  documents: number;
  leafRevisions: number;
  /** Decompressed. */
  bytes: number;
}

/** Documents of one request. */
interface Batch {
  body: RequestBody;
  /** Documents, not counting further revisions of the same one. */
  documents: number;
}

/** A chunk, and its contents unless they are damaged. */
interface OpenedChunk {
  chunk: ArchiveChunk;
  checked: CheckedChunk | undefined;
}

/** Restores the documents of one archive, once. */
export class DocumentRestore {
  readonly counts: RestoredCounts = { documents: 0, leafRevisions: 0, bytes: 0 };
  /** Chunks that were left out because they are damaged. */
  readonly damaged: ChunkProblem[] = [];
  /** Formats of chunks that no manifest vouches for. */
  readonly formats: Set<string> = new Set();

  readonly #archive: Archive;
  readonly #context: DocumentRestoreContext;
  readonly #options: { salvage: boolean; parallel: number };
  readonly #designs = new HeldDesigns();
  /** Bodies that are sent and can be filled again. */
  readonly #bodies: RequestBody[] = [];

  constructor(
    archive: Archive,
    context: DocumentRestoreContext,
    options: { salvage: boolean; parallel: number },
  ) {
    this.#archive = archive;
    this.#context = context;
    this.#options = options;
  }

  /**
   * Writes all documents but design documents.
   *
   * @throws ArchiveError at the first damaged chunk, unless `salvage` is set; CouchError and StoreError.
   */
  async restoreDocuments(): Promise<void> {
    await this.#writeAll((signal) => this.#batches(signal));
  }

  /** Writes the design documents that {@linkcode restoreDocuments} has come across. */
  async restoreDesigns(): Promise<void> {
    await this.#writeAll((signal) => this.#designBatches(signal));
  }

  async #writeAll(batches: (signal: AbortSignal) => AsyncIterable<Batch>): Promise<void> {
    const { writer, progress, signal } = this.#context;
    const write = async ({ body, documents }: Batch, signal: AbortSignal) => {
      await writer.write(body, { signal });
      progress.advanced({ documents, bytes: body.documentBytes });
      this.#bodies.push(body);
    };
    await forEachParallel(batches, write, { limit: this.#options.parallel, signal });
  }

  async *#batches(signal: AbortSignal): AsyncGenerator<Batch> {
    for await (const { chunk, checked } of this.#openAll(this.#archive.chunks, signal)) {
      if (checked === undefined) continue;
      try {
        const holdDesigns = (document: RawDocument | LargeDocument) => {
          if (isDesign(document)) this.#designs.add(document, chunk);
          return !isDesign(document);
        };
        yield* this.#batchesOf(checked, { isWanted: holdDesigns, signal });
        this.#count(chunk, checked);
      } catch (error) {
        this.#leaveOut(chunk, error);
      }
    }
  }

  async *#designBatches(signal: AbortSignal): AsyncGenerator<Batch> {
    const held = new BatchBuilder(this.#bodies);
    for (const document of this.#designs.documents) yield* held.add(document);
    yield* held.close();
    for await (const { chunk, checked } of this.#openAll(this.#designs.chunks, signal)) {
      if (checked === undefined) continue;
      try {
        yield* this.#batchesOf(checked, { isWanted: isDesign, signal });
      } catch (error) {
        this.#leaveOut(chunk, error);
      }
    }
  }

  /** Fetches and checks chunks ahead of their use. */
  async *#openAll(chunks: Iterable<ArchiveChunk>, signal: AbortSignal): AsyncGenerator<OpenedChunk> {
    const open = async (chunk: ArchiveChunk, signal: AbortSignal): Promise<OpenedChunk> => {
      try {
        return { chunk, checked: await openChunk(this.#archive, chunk, { signal }) };
      } catch (error) {
        this.#leaveOut(chunk, error);
        return { chunk, checked: undefined };
      }
    };
    yield* loadAhead(chunks, open, { limit: CHUNKS_AHEAD, signal });
  }

  /** The documents of a chunk that `isWanted` wants, in batches; large ones are written on the way. */
  async *#batchesOf(
    checked: CheckedChunk,
    { isWanted, signal }: { isWanted: (document: RawDocument | LargeDocument) => boolean; signal: AbortSignal },
  ): AsyncGenerator<Batch> {
    const builder = new BatchBuilder(this.#bodies);
    for await (const item of checked.read({ signal })) {
      if (!isLarge(item)) {
        for (const document of item) if (isWanted(document)) yield* builder.add(document);
      } else if (isWanted(item)) {
        await this.#writeLarge(checked, item, signal);
      }
    }
    yield* builder.close();
  }

  async #writeLarge(chunk: CheckedChunk, document: LargeDocument, signal: AbortSignal): Promise<void> {
    const { writer, progress, log } = this.#context;
    const { id, rev, ordinal, hasRevision } = document;
    log.debug("a large document is streamed", { id, rev });
    let bytes = 0;
    const counted = async function* (stream: AsyncIterable<Uint8Array>) {
      bytes = 0;
      for await (const piece of stream) {
        bytes += piece.length;
        yield piece;
      }
    };
    let isFirst = true;
    const open = () => {
      const stream = isFirst ? document.stream : chunk.largeDocument(ordinal, { signal });
      isFirst = false;
      return counted(stream);
    };
    await writer.writeStream(open, { id, rev, revisions: hasRevision ? "kept" : "new" }, { signal });
    progress.advanced({ documents: 1, bytes });
  }

  #count({ name }: ArchiveChunk, { counts, format }: CheckedChunk): void {
    if (counts === undefined) return;
    this.counts.documents += counts.documents;
    this.counts.leafRevisions += counts.leafRevisions;
    this.counts.bytes += counts.bytes;
    this.formats.add(format.name);
    const { absent, lost } = counts;
    // In a chunk of ours neither can be; the reference script stores whatever CouchDB answers.
    if (lost > 0) this.#context.log.warn("documents were not read when the backup was made", { chunk: name, lost });
    if (absent > 0) this.#context.log.info("documents were gone when the backup was made", { chunk: name, absent });
  }

  #leaveOut({ name }: ArchiveChunk, error: unknown): void {
    if (!(error instanceof ArchiveError) || !this.#options.salvage) throw error;
    const problem = describeError(error);
    this.#context.log.error("chunk is left out", { chunk: name, problem });
    this.damaged.push({ chunk: name, problem });
  }
}

/** Checks one of an archive's chunks. @throws ArchiveError when it is damaged. */
export async function openChunk(
  archive: Archive,
  { name, entry }: ArchiveChunk,
  options: { signal: AbortSignal },
): Promise<CheckedChunk> {
  const { store, folder } = archive.place;
  return await CheckedChunk.open({ store, key: joinKey(folder, name), entry }, options);
}

/** Puts documents together to requests. */
class BatchBuilder {
  readonly #free: RequestBody[];
  #batch: Batch | undefined;
  #lastId: string | undefined;

  /** @param free Bodies that can be filled again; taken from its end. */
  constructor(free: RequestBody[]) {
    this.#free = free;
  }

  /** Takes a document; yields the batch that is full with it, or that it does not belong to. */
  *add({ id, bytes, hasRevision }: RawDocument): Generator<Batch> {
    const revisions = hasRevision ? "kept" : "new";
    if (this.#batch !== undefined && this.#batch.body.revisions !== revisions) yield* this.close();
    this.#batch ??= { body: this.#emptyBody(revisions), documents: 0 };
    const { body } = this.#batch;
    body.add(bytes);
    if (id === undefined || id !== this.#lastId) this.#batch.documents++;
    this.#lastId = id;
    if (body.count >= BATCH_DOCUMENTS || body.documentBytes >= BATCH_BYTES) yield* this.close();
  }

  /** Yields what is left. */
  *close(): Generator<Batch> {
    const batch = this.#batch;
    this.#batch = undefined;
    if (batch !== undefined) yield batch;
  }

  #emptyBody(revisions: Revisions): RequestBody {
    const body = this.#free.pop();
    if (body === undefined) return new RequestBody(revisions);
    body.clear(revisions);
    return body;
  }
}

/** Design documents on their way to the end: small ones in hand, of others the chunks they are in. */
class HeldDesigns {
  readonly documents: RawDocument[] = [];
  readonly chunks = new Set<ArchiveChunk>();
  #bytes = 0;

  add(document: RawDocument | LargeDocument, chunk: ArchiveChunk): void {
    const bytes = isRaw(document) ? document.bytes.length : Infinity;
    if (!isRaw(document) || this.#bytes + bytes > HELD_DESIGN_BYTES) {
      this.chunks.add(chunk);
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

function isDesign({ id }: { id: string | undefined }): boolean {
  return id?.startsWith("_design/") === true;
}
