/**
 * Restores an archive's documents: chunk by chunk, each checked before its first document is written, in batches, with
 * several requests in flight. Of a document in several chunks its latest state is written; design documents come last.
 * In: an archive and a writer. Out: what was written to the database.
 */
import type { Archive, ArchiveChunk, ChunkProblem } from "../../archive/archive.ts";
import type { CheckedChunk, ReadChunkOptions } from "../../archive/chunk.ts";
import { leavesOf } from "../../couchdb/lacking.ts";
import type { RequestBody } from "../../couchdb/request_body.ts";
import type { UnreadableDocument } from "../../couchdb/couchdb.ts";
import { addRefusals, type DocumentWriter, type Refusals } from "../../couchdb/write.ts";
import { explainUnusable } from "../../archive/damage.ts";
import { isLarge, type LargeDocument, noDocuments, type RawDocument } from "../../archive/documents.ts";
import { type BrokenLine, describeLine } from "../../archive/lines.ts";
import { LaterStates } from "../../archive/later_states.ts";
import { nameOfChunk } from "../../archive/parents.ts";
import type { Log, Progress } from "../../observe.ts";
import { forEachParallel, loadAhead, Slots } from "../../parallel.ts";
import { type Batch, BATCH_BYTES, BatchBuilder } from "./batch.ts";
import type { Delta } from "./delta.ts";
import {
  type ChunkOnItsWay,
  firstBeginning,
  PositionKeeper,
  type RestoreBeginning,
  type RestorePosition,
} from "./position.ts";
import { HeldDesigns, isDesign } from "./designs.ts";
import { WITHOUT_ID } from "./preview.ts";
import type { Written } from "./report.ts";
import { openChunk } from "./source.ts";

/** Chunks that are fetched and checked while the ones before them are being written. */
const CHUNKS_AHEAD = 4;
/**
 * Batches that are made while those before them are with CouchDB. It writes what several requests bring together, and
 * answers them at once: with none made before, all but the first of the next ones had to wait.
 */
const BATCHES_AHEAD = 2;

/** What it works with. */
export interface DocumentRestoreContext {
  writer: DocumentWriter;
  log: Log;
  progress: Progress;
  signal: AbortSignal;
}

/** How documents are restored. */
export interface DocumentRestoreOptions {
  /** Leave out chunks that are damaged. */
  salvage: boolean;
  /** Requests in flight. */
  parallel: number;
  /** Only documents with these ids. @default all */
  isWanted?: ((id: string) => boolean) | undefined;
  /** Tells what a database that holds documents has already. @default everything is sent */
  delta?: Delta | undefined;
  /** Chunks that are written already are read but not sent, unless they were left out. @default the first chunk */
  beginning?: RestoreBeginning | undefined;
  /** Receives how far it has come. */
  onPosition?: ((position: RestorePosition) => void) | undefined;
}

/** A batch, and the chunk that it is of; none for design documents, which come at the end. */
interface BatchOfChunk extends Batch {
  chunk?: ChunkOnItsWay | undefined;
}

/** A chunk, and its contents unless they are damaged. */
interface OpenedChunk {
  chunk: ArchiveChunk;
  checked: CheckedChunk | undefined;
}

type AnyDocument = RawDocument | LargeDocument;

/** Restores the documents of one archive, once. */
export class DocumentRestore {
  readonly #archive: Archive;
  readonly #context: DocumentRestoreContext;
  readonly #options: DocumentRestoreOptions;
  readonly #later: LaterStates;
  readonly #beginning: RestoreBeginning;
  readonly #position: PositionKeeper;
  /** Of requests to CouchDB. */
  readonly #slots: Slots;
  /** How large the batches are that are made and not yet written. */
  #bytesInHand = 0;
  /** Why a batch was not written, which ends all. */
  #failure: { error: unknown } | undefined;
  readonly #designs = new HeldDesigns();
  /** Bodies that are sent and can be filled again. */
  readonly #bodies: RequestBody[] = [];
  /** What was read from the archive to be written. */
  readonly #counts = noDocuments();
  /** Formats of chunks that no manifest vouches for. */
  readonly #formats = new Set<string>();
  /** Chunks that were left out because they are damaged. */
  readonly #damaged: ChunkProblem[] = [];
  /** What rows say of documents that are not there. */
  readonly #unreadable: UnreadableDocument[] = [];

  constructor(
    archive: Archive,
    context: DocumentRestoreContext,
    options: DocumentRestoreOptions,
  ) {
    this.#archive = archive;
    this.#later = new LaterStates(archive.chunks);
    this.#context = context;
    this.#options = options;
    this.#slots = new Slots(options.parallel);
    this.#beginning = this.#knownBeginning(options.beginning);
    this.#position = new PositionKeeper(options.onPosition ?? (() => {}), this.#beginning);
  }

  /** Chunks are counted, so those of an archive that has lost one, or has one again, are others. */
  #knownBeginning(given: RestoreBeginning = firstBeginning()): RestoreBeginning {
    const chunksInAll = this.#later.chunks.length;
    const isOfOthers = given.chunksInAll !== 0 && given.chunksInAll !== chunksInAll;
    return { ...isOfOthers ? firstBeginning() : given, chunksInAll };
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

  /** What has come of it, when all is written. The log gets what an operator may want to know of it. */
  finish(): Written {
    const { writer: { failed, failedRevisions: revisions, failedDocuments }, log } = this.#context;
    for (const format of this.#formats) log.info("archive is read", { format });
    // All of the archive was read in this call, but only its end may have been sent: earlier refusals count as well.
    const refused = addRefusals(this.#beginning.refused, { revisions, documents: failedDocuments, first: null });
    const documents = Math.max(0, this.#counts.documents - refused.documents);
    this.#tellUntold();
    const failedRevisions = refused.revisions;
    return {
      documents,
      leafRevisions: this.#counts.leafRevisions - failedRevisions,
      deleted: Math.min(documents, this.#counts.deleted),
      failed,
      failedRevisions,
      unreadable: this.#unreadable,
      damaged: this.#damaged,
      hasDesigns: this.#designs.documents.length + this.#designs.chunks.size > 0,
    };
  }

  async #writeAll(batches: (signal: AbortSignal) => AsyncIterable<BatchOfChunk>): Promise<void> {
    const { signal } = this.#context;
    const noteFailure = (error: unknown) => {
      this.#failure ??= { error };
      throw error;
    };
    const write = async (batch: BatchOfChunk, signal: AbortSignal) => {
      const { documentBytes } = batch.body;
      this.#bytesInHand += documentBytes;
      try {
        await this.#inTurn(() => this.#write(batch, signal).catch(noteFailure), signal);
      } finally {
        this.#bytesInHand -= documentBytes;
      }
    };
    await forEachParallel(batches, write, { limit: () => this.#mostInHand(), signal });
  }

  /** Large documents make batches of up to three times the size: fewer of them are made, and memory stays as it is. */
  #mostInHand(): number {
    const most = this.#options.parallel + BATCHES_AHEAD;
    return this.#bytesInHand < most * BATCH_BYTES ? most : 1;
  }

  /**
   * Writes when there is a slot for it. A request that has failed gives its slot on before the signal fires, so the
   * failure is looked at here: if the login is refused, each further request is one more failed login, and CouchDB locks
   * a login out at an address after some.
   */
  async #inTurn(write: () => Promise<void>, signal: AbortSignal): Promise<void> {
    await this.#slots.within(async () => {
      if (this.#failure !== undefined) throw this.#failure.error;
      await write();
    }, signal);
  }

  async #write({ body, documents, chunk }: BatchOfChunk, signal: AbortSignal): Promise<void> {
    const { writer, progress } = this.#context;
    const { delta } = this.#options;
    const lacking = delta === undefined ? body : await delta.lackingOf(body, { signal });
    if (lacking.count > 0) noteRefused(chunk, await writer.write(lacking, { signal }));
    await delta?.noteNewer(leavesOf(body), { signal });
    progress.advanced({ documents, bytes: body.documentBytes });
    this.#bodies.push(body);
    this.#position.written(chunk, { isSent: lacking.count > 0, documents });
  }

  async *#batches(signal: AbortSignal): AsyncGenerator<BatchOfChunk> {
    const again = new Set(this.#beginning.leftOut);
    let number = 0;
    for await (const { chunk, checked } of this.#openAll(this.#later.chunks, signal)) {
      const onItsWay = this.#position.begin();
      // A chunk that is written already is read all the same: for its design documents, and for the ids that it hides
      // in lower chunks.
      const isSent = number >= this.#beginning.chunks || again.has(number);
      number++;
      if (checked !== undefined) {
        const holdDesigns = (document: AnyDocument) => {
          if (isDesign(document)) this.#designs.add(document, chunk);
          return isSent && !isDesign(document);
        };
        try {
          // Only now, when all that was above it has been read, is it known what to pass over.
          const options = { ...this.#readOptions(chunk), signal, onItsWay };
          for await (const batch of this.#batchesOf(checked, holdDesigns, options)) {
            onItsWay.batches++;
            yield { ...batch, chunk: onItsWay };
          }
          this.#count(chunk, checked);
          onItsWay.isLeftOut = checked.brokenLines.length > 0;
        } catch (error) {
          this.#leaveOut(chunk, error);
          onItsWay.isLeftOut = true;
        }
      } else onItsWay.isLeftOut = true;
      this.#position.end(onItsWay);
    }
  }

  #readOptions(chunk: ArchiveChunk): Pick<ReadChunkOptions, "onRow" | "passOver"> {
    const { isWanted } = this.#options;
    const { onRow, passOver } = this.#later.readOptions(chunk);
    if (isWanted === undefined) return { onRow, passOver };
    return { onRow, passOver: (id) => passOver?.(id) === true || !isWanted(id) };
  }

  async *#designBatches(signal: AbortSignal): AsyncGenerator<BatchOfChunk> {
    const held = new BatchBuilder(this.#bodies);
    for (const document of this.#designs.documents) yield* held.add(document);
    yield* held.close();
    for await (const { chunk, checked } of this.#openAll(this.#designs.chunks.keys(), signal)) {
      if (checked === undefined) continue;
      const ids = this.#designs.chunks.get(chunk);
      try {
        const isAwaited = (document: AnyDocument) => isDesign(document) && ids?.has(document.id) === true;
        yield* this.#batchesOf(checked, isAwaited, { signal });
      } catch (error) {
        this.#leaveOut(chunk, error);
      }
    }
  }

  /** Fetches and checks chunks ahead of their use. */
  async *#openAll(chunks: Iterable<ArchiveChunk>, signal: AbortSignal): AsyncGenerator<OpenedChunk> {
    const open = async (chunk: ArchiveChunk, signal: AbortSignal): Promise<OpenedChunk> => {
      try {
        const { salvage } = this.#options;
        return { chunk, checked: await openChunk(this.#archive, chunk, { signal, salvage }) };
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
    isWanted: (document: AnyDocument) => boolean,
    { onItsWay, ...options }: ReadChunkOptions & { signal: AbortSignal; onItsWay?: ChunkOnItsWay },
  ): AsyncGenerator<Batch> {
    const builder = new BatchBuilder(this.#bodies);
    for await (const item of checked.read(options)) {
      if (!isLarge(item)) {
        for (const document of item) {
          if (document.lacksId) this.#refuse(document);
          else if (isWanted(document)) { for (const batch of builder.add(document)) yield batch; }
        }
      } else if (isWanted(item)) {
        const { signal } = options;
        await this.#inTurn(() => this.#writeLarge(checked, item, { signal, onItsWay }), signal);
      }
    }
    yield* builder.close();
  }

  async #writeLarge(
    chunk: CheckedChunk,
    document: LargeDocument,
    { signal, onItsWay }: { signal: AbortSignal; onItsWay: ChunkOnItsWay | undefined },
  ): Promise<void> {
    const { writer, progress, log } = this.#context;
    const { id, rev, ordinal, hasRevision } = document;
    // A document without a revision becomes a new edit: there is nothing to compare it with.
    const delta = hasRevision ? this.#options.delta : undefined;
    const leaf = { id: id ?? "", rev: rev ?? "" };
    let bytes = 0;
    const counted = async function* (stream: AsyncIterable<Uint8Array>) {
      bytes = 0;
      for await (const piece of stream) {
        bytes += piece.length;
        yield piece;
      }
    };
    const isSent = delta === undefined || await delta.lacks(leaf, { signal });
    if (isSent) {
      log.debug("a large document is streamed", { id, rev });
      let isFirst = true;
      const open = () => {
        const stream = isFirst ? document.stream : chunk.largeDocument(ordinal, { signal });
        isFirst = false;
        return counted(stream);
      };
      const revisions = hasRevision ? "kept" : "new";
      noteRefused(onItsWay, await writer.writeStream(open, { id, rev, revisions }, { signal }));
    } else for await (const _piece of counted(document.stream));
    await delta?.noteNewer([leaf], { signal });
    this.#position.written(undefined, { isSent, documents: 1 });
    progress.advanced({ documents: 1, bytes });
  }

  #count(chunk: ArchiveChunk, checked: CheckedChunk): void {
    const { counts, format } = checked;
    if (counts === undefined) return;
    const name = nameOfChunk(chunk);
    const { passedOver, absent, lost, unreadable } = counts;
    this.#unreadable.push(...unreadable);
    for (const line of checked.brokenLines) this.#noteBroken(name, line);
    this.#counts.documents += counts.documents - passedOver.documents;
    this.#counts.leafRevisions += counts.leafRevisions - passedOver.leafRevisions;
    this.#counts.deleted += counts.deleted - passedOver.deleted;
    this.#context.progress.advanced({ documents: passedOver.documents, bytes: 0 });
    this.#formats.add(format.name);
    // In a chunk of ours neither can be; the reference script stores whatever CouchDB answers.
    if (lost > 0) this.#context.log.error("documents were not read when the backup was made", { chunk: name, lost });
    for (const { id, error, reason } of unreadable) {
      this.#context.log.warn("document is not in the backup: CouchDB could not read it", { id, error, reason });
    }
    if (absent > 0) this.#context.log.info("documents were gone when the backup was made", { chunk: name, absent });
  }

  /** A row has an id, and what is in it has none: CouchDB would make one up. */
  #refuse({ id = "" }: RawDocument): void {
    this.#context.writer.refuse({ id, error: "bad_request", reason: WITHOUT_ID });
  }

  #noteBroken(chunk: string, line: BrokenLine): void {
    this.#context.log.error("line is left out", { chunk, line: line.number, problem: line.problem });
    this.#damaged.push({ chunk, problem: describeLine(line) });
  }

  /** Names nothing, as no call keeps the numbers of so many chunks. */
  #tellUntold(): void {
    const chunks = this.#position.untold;
    if (chunks === 0) return;
    const problem = "It was damaged in an earlier call, and is not now: it is not restored";
    this.#context.log.error("chunks are left out", { chunks, problem });
    for (let count = 0; count < chunks; count++) this.#damaged.push({ chunk: "unknown", problem });
  }

  #leaveOut(chunk: ArchiveChunk, error: unknown): void {
    const problem = this.#options.salvage ? explainUnusable(error) : undefined;
    if (problem === undefined) throw error;
    const name = nameOfChunk(chunk);
    this.#context.log.error("chunk is left out", { chunk: name, problem });
    this.#damaged.push({ chunk: name, problem });
  }
}

/** Design documents are of no chunk: each call sends them again. */
function noteRefused(chunk: ChunkOnItsWay | undefined, refused: Refusals): void {
  if (chunk !== undefined) chunk.refused = addRefusals(chunk.refused, refused);
}
