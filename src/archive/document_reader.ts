/**
 * Takes documents out of decompressed JSON as it streams by, each as the raw bytes it consists of. Small ones come in
 * lists, whole; one too large to be held comes as a stream of its own, before anything behind it is read.
 */
import { counted } from "../counts.ts";
import { concat } from "../concat.ts";
import { type ArchiveFormat, CHUNK_FORMAT, FORMAT_SAMPLE_BYTES, recogniseFormat } from "./formats.ts";
import { readTextMembers } from "../json/members.ts";
import { DocumentScanner, Found, FramingError } from "../json/scan.ts";

/** Documents up to this size are held whole. */
const HELD_DOCUMENT_BYTES = 4 << 20;

/** A document and what has to be known of it to write it. */
export interface DocumentIdentity {
  /** Undefined when it has none: CouchDB then makes one up. */
  id: string | undefined;
  /** Whether it has a revision to keep; else it can only be written as a new edit. */
  hasRevision: boolean;
}

/** A document that is held whole. */
export interface RawDocument extends DocumentIdentity {
  bytes: Uint8Array;
}

/** A document that streams by. */
export interface LargeDocument extends DocumentIdentity {
  /** As far as its first megabytes tell. */
  rev: string | undefined;
  /** Which of the source's documents it is, from 0: by it, reading once more finds it again. */
  ordinal: number;
  /** All its bytes, once. */
  stream: AsyncIterable<Uint8Array>;
}

/** How much there is of documents. */
export interface DocumentCounts {
  /** Rows that hold a document; in formats without rows, documents. */
  documents: number;
  leafRevisions: number;
  /** Documents of which every leaf revision is deleted. */
  deleted: number;
}

/** What has been read; complete when the reader has ended. */
export interface ReadCounts extends DocumentCounts {
  /** What of it was passed over, and not yielded. */
  passedOver: DocumentCounts;
  /** Rows without a document because it was gone when it was asked for. */
  absent: number;
  /** Rows that hold another error than that instead of a document: it is lost. */
  lost: number;
  /** Decompressed. */
  bytes: number;
}

/** What a reader is told beside the bytes. */
export interface DocumentReaderOptions {
  /** Undefined: it is recognised by how the bytes begin. */
  format?: ArchiveFormat | undefined;
  /** Is told of the end of each row, with its id where it has one. */
  onRow?: ((id: string | undefined) => void) | undefined;
  /** Whether the documents of the row with this id are not wanted; asked once for each row that has any. */
  passOver?: ((id: string) => boolean) | undefined;
  /** @default 4 MB */
  heldDocumentBytes?: number | undefined;
}

/** Whether an item of {@linkcode DocumentReader.read} is a document that streams by. */
export function isLarge(item: RawDocument[] | LargeDocument): item is LargeDocument {
  return !Array.isArray(item);
}

/** Counts of nothing. */
export function noDocuments(): DocumentCounts {
  return { documents: 0, leafRevisions: 0, deleted: 0 };
}

/** Reads the documents of one source, once. */
export class DocumentReader {
  readonly counts: ReadCounts = { ...noDocuments(), passedOver: noDocuments(), absent: 0, lost: 0, bytes: 0 };
  /** What the bytes were recognised as, once reading has begun. */
  format: ArchiveFormat | undefined;

  readonly #source: AsyncIterator<Uint8Array>;
  readonly #options: DocumentReaderOptions;
  readonly #heldDocumentBytes: number;
  #scanner = new DocumentScanner(CHUNK_FORMAT.shape);
  #piece: Uint8Array = new Uint8Array(0);
  /** Pieces taken to recognise the format, still to be read. */
  readonly #ahead: Uint8Array[] = [];

  /** Where the document in hand begins in the piece; -1 between documents. */
  #from = -1;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #ordinal = -1;
  #rows = 0;
  #revisionsInRow = 0;
  #liveInRow = 0;
  /** The row in hand is not wanted. */
  #passesOver = false;

  constructor(source: AsyncIterable<Uint8Array>, options: DocumentReaderOptions = {}) {
    this.#source = source[Symbol.asyncIterator]();
    this.#options = options;
    this.#heldDocumentBytes = options.heldDocumentBytes ?? HELD_DOCUMENT_BYTES;
  }

  /**
   * Yields all documents in order. The stream of a large one ends when the next item is asked for.
   *
   * @throws FramingError when the bytes are cut off or not of the format; whatever the source throws.
   */
  async *read(): AsyncGenerator<RawDocument[] | LargeDocument> {
    try {
      await this.#recognise();
      while (await this.#nextPiece()) {
        for (;;) {
          const documents = this.#scanPiece();
          if (documents.length > 0) yield documents;
          if (this.#keptBytes <= this.#heldDocumentBytes) break;
          const identity = this.#identifyLarge(concat(this.#kept));
          const stream = this.#streamInHand();
          yield { ...identity, ordinal: this.#ordinal, stream };
          // Waits for a piece that is just being taken from the stream; what nobody took is passed over.
          await stream.return(undefined);
          while (await this.#nextOfLarge() !== undefined);
        }
      }
      this.#scanner.finish();
      this.#requireDocuments();
    } finally {
      await this.#source.return?.();
    }
  }

  async #recognise(): Promise<void> {
    this.format = this.#options.format;
    if (this.format === undefined) {
      let sampleBytes = 0;
      while (sampleBytes < FORMAT_SAMPLE_BYTES) {
        const { done, value } = await this.#source.next();
        if (done) break;
        this.#ahead.push(value);
        sampleBytes += value.length;
      }
      this.format = recogniseFormat(concat(this.#ahead).subarray(0, FORMAT_SAMPLE_BYTES));
      if (this.format === undefined) throw new FramingError("It holds no documents in a known format", 0);
    }
    this.#scanner = new DocumentScanner(this.format.shape);
    for (let skip = this.format.skipBytes; skip > 0;) {
      const [first] = this.#ahead;
      if (first === undefined) throw new FramingError("It ends behind its first line", this.format.skipBytes);
      const passed = Math.min(skip, first.length);
      skip -= passed;
      this.counts.bytes += passed;
      if (passed < first.length) this.#ahead[0] = first.subarray(passed);
      else this.#ahead.shift();
    }
  }

  /** A listing without the documents has the same rows as one with them: it must not be taken for an empty database. */
  #requireDocuments(): void {
    const { documents, absent, lost, bytes } = this.counts;
    if (this.#options.format !== undefined || this.#rows === 0 || documents + absent + lost > 0) return;
    const rows = this.#rows === 1 ? "its row" : `its ${counted(this.#rows, "row")}`;
    throw new FramingError(
      `It is ${this.format?.name}, but no document is in ${rows}: it was asked for without "include_docs=true"`,
      bytes,
    );
  }

  async #nextPiece(): Promise<boolean> {
    const piece = this.#ahead.shift() ?? (await this.#source.next()).value as Uint8Array | undefined;
    if (piece === undefined) return false;
    this.#piece = piece;
    this.counts.bytes += piece.length;
    this.#scanner.push(piece);
    if (this.#from >= 0) this.#from = 0;
    return true;
  }

  /** The documents that end in the piece in hand, up to its end; what is left of it is kept. */
  #scanPiece(): RawDocument[] {
    const scanner = this.#scanner;
    const documents: RawDocument[] = [];
    for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
      switch (found) {
        case Found.DocumentStart:
          if (this.#revisionsInRow === 0) this.#passesOver = this.#isPassedOver(scanner.id);
          this.#from = scanner.position;
          this.#ordinal++;
          break;
        case Found.DocumentEnd: {
          const bytes = this.#takeDocument();
          if (bytes !== undefined) documents.push({ ...this.#identify(bytes), bytes });
          break;
        }
        case Found.Error:
          if (scanner.error?.error === "not_found") this.counts.absent++;
          else this.counts.lost++;
          break;
        case Found.ElementEnd:
          this.#endRow();
      }
    }
    if (this.#from >= 0 && !this.#passesOver) {
      this.#kept.push(this.#piece.subarray(this.#from));
      this.#keptBytes += this.#piece.length - this.#from;
    }
    return documents;
  }

  #isPassedOver(id: string | undefined): boolean {
    const { passOver } = this.#options;
    if (passOver === undefined) return false;
    if (id === undefined) throw new FramingError("A row has its id behind its documents", this.counts.bytes);
    return passOver(id);
  }

  /** The bytes of the document that ends here; undefined for one that is not wanted, and for a null in its place. */
  #takeDocument(): Uint8Array | undefined {
    if (this.#passesOver) {
      this.#from = -1;
      this.#countRevision();
      return undefined;
    }
    const end = this.#piece.subarray(this.#from, this.#scanner.position);
    const bytes = this.#kept.length === 0 ? end : concat([...this.#kept, end]);
    this.#from = -1;
    this.#kept = [];
    this.#keptBytes = 0;
    // `_all_docs` has null where a document is gone.
    if (this.format?.shape.element === "wrapped" && bytes[0] === 0x6e) {
      this.counts.absent++;
      return undefined;
    }
    this.#countRevision();
    return bytes;
  }

  #countRevision(): void {
    this.counts.leafRevisions++;
    this.#revisionsInRow++;
    if (!this.#scanner.isDeleted) this.#liveInRow++;
    if (this.format?.shape.element === "document") this.#endRow();
  }

  #endRow(): void {
    this.#rows++;
    if (this.#revisionsInRow > 0) {
      const deleted = this.#liveInRow === 0 ? 1 : 0;
      this.counts.documents++;
      this.counts.deleted += deleted;
      if (this.#passesOver) {
        const { passedOver } = this.counts;
        passedOver.documents++;
        passedOver.leafRevisions += this.#revisionsInRow;
        passedOver.deleted += deleted;
      }
    }
    this.#revisionsInRow = 0;
    this.#liveInRow = 0;
    this.#passesOver = false;
    this.#options.onRow?.(this.#scanner.id);
  }

  /** Yields the document in hand from its beginning, piece by piece as they come. */
  async *#streamInHand(): AsyncGenerator<Uint8Array, void> {
    for (let piece = await this.#nextOfLarge(); piece !== undefined; piece = await this.#nextOfLarge()) yield piece;
  }

  /** The next piece of the document in hand, undefined behind its end. */
  async #nextOfLarge(): Promise<Uint8Array | undefined> {
    const kept = this.#kept.shift();
    if (kept !== undefined) return kept;
    this.#keptBytes = 0;
    if (this.#from < 0) return undefined;
    if (!await this.#nextPiece()) this.#scanner.finish();
    if (this.#scanner.next() !== Found.DocumentEnd) return this.#piece;
    this.#from = -1;
    this.#countRevision();
    return this.#piece.subarray(0, this.#scanner.position);
  }

  #identify(bytes: Uint8Array): DocumentIdentity {
    // The documents of our own chunks all have a revision, and their rows an id.
    if (this.#options.format === CHUNK_FORMAT && this.#scanner.id !== undefined) {
      return { id: this.#scanner.id, hasRevision: true };
    }
    const { _id, _rev } = readTextMembers(bytes, ["_id", "_rev"]);
    // What is no document at all may still stand in a row with an id.
    return { id: _id ?? this.#rowId(), hasRevision: _rev !== undefined };
  }

  #rowId(): string | undefined {
    return this.format?.shape.element === "document" ? undefined : this.#scanner.id;
  }

  #identifyLarge(beginning: Uint8Array): DocumentIdentity & { rev: string | undefined } {
    const { _id, _rev } = readTextMembers(beginning, ["_id", "_rev"]);
    return { id: this.#scanner.id ?? _id, rev: _rev, hasRevision: _rev !== undefined };
  }
}
