/**
 * Extracts documents from a stream of decompressed JSON, each as its raw bytes. Small ones come in lists, whole; one too
 * large for memory comes as a stream of its own, before anything after it is read.
 */
import { counted } from "../counts.ts";
import { concat } from "../concat.ts";
import { CodecError } from "../codec/error.ts";
import {
  type DocumentCounts,
  type DocumentIdentity,
  type LargeDocument,
  noDocuments,
  type RawDocument,
  type ReadCounts,
} from "./documents.ts";
import { AttachmentForms, inCouchForm } from "./attachment_forms.ts";
import { type ArchiveFormat, CHUNK_FORMAT, FORMAT_SAMPLE_BYTES, FormatError, recogniseFormat } from "./formats.ts";
import { type BrokenLine, LINE_BEGINNING_BYTES, LineError, Lines, type LineSurvey } from "./lines.ts";
import { seemsToBe } from "./seems.ts";
import { readTextMembers, TextMemberScanner } from "../json/members.ts";
import { DocumentScanner, Found, FramingError } from "../json/scan.ts";

/** Documents up to this size are held whole. */
const HELD_DOCUMENT_BYTES = 4 << 20;

/** Of rows that hold an error no more are kept by name. */
const MOST_KEPT_ERRORS = 10_000;

/** What a reader is told beside the bytes. */
export interface DocumentReaderOptions {
  /** Undefined: it is recognised by how the bytes begin. */
  format?: ArchiveFormat | undefined;
  /** Is told of the end of each row, with its id where it has one. */
  onRow?: ((id: string | undefined) => void) | undefined;
  /**
   * Whether documents with this id are not wanted; asked once for each row that has any, and where a row or document has
   * its id after what it holds, for each document when it is read.
   */
  passOver?: ((id: string) => boolean) | undefined;
  /**
   * The lines of a file of lines that do not count, as a reading before this one has found out. Without them documents
   * of a line are yielded before it is known whether all of it can be read.
   */
  passLines?: ReadonlySet<number> | undefined;
  /** Goes on after a line that cannot be read, and remembers it. @default false */
  salvage?: boolean | undefined;
  /** A file that may be one of lines is one. @default false */
  isOfLines?: boolean | undefined;
  /** @default 4 MB */
  heldDocumentBytes?: number | undefined;
}

/** Leaf revisions of one document that follow each other. */
interface Group {
  id: string;
  /** All of them so far are deleted. */
  isDeleted: boolean;
}

const NEWLINE = 0x0a;
const NOTHING = new Uint8Array(0);

/** Reads the documents of one source, once. */
export class DocumentReader {
  readonly counts: ReadCounts = {
    ...noDocuments(),
    passedOver: noDocuments(),
    absent: 0,
    lost: 0,
    unreadable: [],
    bytes: 0,
  };
  /** What the bytes were recognised as, once reading has begun. */
  format: ArchiveFormat | undefined;

  readonly #source: AsyncIterator<Uint8Array>;
  readonly #options: DocumentReaderOptions;
  readonly #heldDocumentBytes: number;
  #scanner = new DocumentScanner(CHUNK_FORMAT.shape);
  /** What the scanner has in hand: a piece of the source, in a file of lines no more than one line of it. */
  #piece: Uint8Array = NOTHING;
  /** What is after it of the same piece of the source. */
  #rest: Uint8Array = NOTHING;
  /** Pieces taken to recognise the format, still to be read. */
  readonly #ahead: Uint8Array[] = [];

  /** Undefined where a JSON text may go on over many lines. */
  #lines: Lines | undefined;
  /** The line in hand ends with what the scanner has in hand. */
  #isLineEnd = false;
  /** Why the source ends before its end. */
  #cutOff: CodecError | undefined;
  /** The source has ended. */
  #isEnd = false;
  /** What is wrong with the line in hand. */
  #lineError: unknown;
  /** The counts before the line in hand. */
  #before: DocumentCounts & Pick<ReadCounts, "absent" | "lost" | "passedOver"> = {
    ...noDocuments(),
    absent: 0,
    lost: 0,
    passedOver: noDocuments(),
  };
  #outsideBefore: { rows: number; bareRows: number; group: Group | undefined } = {
    rows: 0,
    bareRows: 0,
    group: undefined,
  };

  /** Where the document in hand begins in the piece; -1 between documents. */
  #from = -1;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #ordinal = -1;
  #rows = 0;
  /** Rows that hold neither a document nor an error. */
  #bareRows = 0;
  /** The element in hand holds a document, or says why it does not. */
  #hasFound = false;
  #revisionsInRow = 0;
  #liveInRow = 0;
  /** In formats without rows, the document that the last leaf revision is of. */
  #group: Group | undefined;
  /** The id of the last document of the line in hand. */
  #lineId: string | undefined;
  /** The row or document in hand is not wanted. */
  #passesOver = false;
  /** Whether it is wanted is decided when its id is known. */
  #isUndecided = false;
  /** Documents that ended with their line, and not as they must. */
  #brokenDocuments = 0;
  /** Looks for the id of a large document that has it far behind. */
  #lateId: TextMemberScanner<"_id"> | undefined;
  #largeId: string | undefined;
  /** Whether the large document that ended last is the mark of a deletion. */
  #isLargeDeleted = false;
  #forms: AttachmentForms | undefined;

  constructor(source: AsyncIterable<Uint8Array>, options: DocumentReaderOptions = {}) {
    this.#source = source[Symbol.asyncIterator]();
    this.#options = options;
    this.#heldDocumentBytes = options.heldDocumentBytes ?? HELD_DOCUMENT_BYTES;
  }

  /** What has been found out about lines; undefined where the source is none of lines. */
  get survey(): LineSurvey | undefined {
    return this.#lines;
  }

  /**
   * Yields all documents in order. The stream of a large one ends when the next item is asked for.
   *
   * @throws FramingError when the bytes are cut off or not of the format; FormatError when they hold no documents in a
   * format that is read; whatever the source throws.
   */
  async *read(): AsyncGenerator<RawDocument[] | LargeDocument> {
    try {
      await this.#recognise();
      while (await this.#nextPiece()) {
        for (;;) {
          const documents = this.#scanPieces();
          if (documents.length > 0) yield documents;
          if (this.#keptBytes <= this.#heldDocumentBytes) break;
          const identity = this.#identifyLarge(concat(this.#kept));
          this.#decide(identity.id);
          if (!this.#passesOver) {
            const stream = this.#streamInHand();
            const isDeleted = async () => {
              while (await this.#nextOfLarge() !== undefined);
              return this.#isLargeDeleted;
            };
            yield { ...identity, ordinal: this.#ordinal, stream, isDeleted };
            // Waits for a piece that is just being taken. What is left of the document is passed over below.
            await stream.return(undefined);
          }
          while (await this.#nextOfLarge() !== undefined);
        }
      }
      this.#finish();
    } finally {
      await this.#source.return?.();
    }
  }

  async #recognise(): Promise<void> {
    this.format = this.#options.format;
    if (this.format === undefined) {
      let sampleBytes = 0;
      while (sampleBytes < FORMAT_SAMPLE_BYTES) {
        const piece = await this.#take();
        if (piece === undefined) break;
        this.#ahead.push(piece);
        sampleBytes += piece.length;
      }
      const sample = concat(this.#ahead).subarray(0, FORMAT_SAMPLE_BYTES);
      this.format = recogniseFormat(sample);
      if (this.format === undefined) throw unknownFormat(sample);
    }
    const { shape, lines, skipBytes } = this.format;
    this.#scanner = new DocumentScanner(shape);
    let number = 1;
    for (let skip = skipBytes; skip > 0;) {
      const [first] = this.#ahead;
      if (first === undefined) throw new FramingError("It ends within its first line", this.counts.bytes);
      const passed = Math.min(skip, first.length);
      for (const byte of first.subarray(0, passed)) if (byte === NEWLINE) number++;
      skip -= passed;
      this.counts.bytes += passed;
      if (passed < first.length) this.#ahead[0] = first.subarray(passed);
      else this.#ahead.shift();
    }
    if (lines === undefined) {
      if (this.#cutOff !== undefined) throw this.#cutOff;
      return;
    }
    const { passLines = [], isOfLines = false } = this.#options;
    const isCertain = lines.isCertain || isOfLines;
    this.#lines = new Lines({ ...lines, isCertain }, { passed: passLines, offset: skipBytes, number });
  }

  #finish(): void {
    if (this.#lines === undefined) {
      this.#scanner.finish();
    } else {
      const lacking = this.#options.passLines === undefined ? this.#lines.finish() : undefined;
      if (lacking !== undefined) this.#leaveOut(lacking);
      const { number, offset } = this.#lines;
      if (this.#cutOff !== undefined) this.#leaveOut({ number, offset, problem: this.#cutOff.message });
    }
    this.#requireDocuments();
  }

  /** A listing without the documents has the same rows as one with them: it must not be taken for an empty database. */
  #requireDocuments(): void {
    if (this.#options.format !== undefined || this.#bareRows === 0) return;
    const rows = this.#rows === 1 ? "its row" : `its ${counted(this.#rows, "row")}`;
    const found = this.#bareRows === this.#rows
      ? `no document is in ${rows}`
      : `${this.#bareRows} of ${rows} hold none`;
    const { name, shape } = this.format!;
    if (shape.element !== "wrapped" || shape.member !== undefined) throw new FormatError(`It is ${name}, but ${found}`);
    throw new FormatError(
      `It is ${name}, but ${found}: it was asked for without "include_docs=true"`,
      'Ask CouchDB again with "include_docs=true" (and "attachments=true" where documents have attachments), or make a ' +
        "backup with this program",
    );
  }

  /** Gives the scanner the next bytes. @returns False when there are none. */
  async #nextPiece(): Promise<boolean> {
    while (!this.#nextOfPiece()) {
      if (this.#isEnd) {
        if (this.#lines !== undefined && !this.#lines.isAtStart) this.#endLine();
        return false;
      }
      const piece = this.#ahead.shift() ?? await this.#take();
      this.#isEnd = piece === undefined;
      if (piece === undefined) continue;
      this.counts.bytes += piece.length;
      this.#rest = this.#rest.length === 0 ? piece : concat([this.#rest, piece]);
    }
    return true;
  }

  /** The next piece of the source. One whose compression is broken ends there, where what is whole of it is wanted. */
  async #take(): Promise<Uint8Array | undefined> {
    if (this.#cutOff !== undefined) return undefined;
    const mayEnd = this.#options.salvage === true && (this.format === undefined || this.#lines !== undefined);
    try {
      const { done, value } = await this.#source.next();
      return done ? undefined : value;
    } catch (error) {
      if (!mayEnd || !(error instanceof CodecError)) throw error;
      this.#cutOff = error;
      return undefined;
    }
  }

  /** The same with what is there of a piece of the source. In a file of lines the scanner gets them one by one. */
  #nextOfPiece(): boolean {
    for (;;) {
      if (this.#isLineEnd) this.#endLine();
      if (this.#rest.length === 0) return false;
      if (this.#lines === undefined) {
        this.#give(this.#rest);
        this.#rest = NOTHING;
        return true;
      }
      const newline = this.#rest.indexOf(NEWLINE);
      const end = newline < 0 ? this.#rest.length : newline + 1;
      // How a line begins tells what it is.
      if (newline < 0 && end < LINE_BEGINNING_BYTES && this.#lines.isAtStart && !this.#isEnd) return false;
      const part = this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
      this.#isLineEnd = newline >= 0;
      if (this.#lines.isAtStart) this.#noteBefore();
      this.#lines.take(part);
      if (!this.#lines.isRead) continue;
      this.#give(part);
      return true;
    }
  }

  #give(bytes: Uint8Array): void {
    this.#piece = bytes;
    this.#scanner.push(bytes);
    if (this.#from >= 0) this.#from = 0;
  }

  /** Ends the line in hand: it counts, or nothing of it does. */
  #endLine(): void {
    const lines = this.#lines!;
    this.#isLineEnd = false;
    const hasBegun = lines.isRead && this.#scanner.hasBegun;
    if (hasBegun && !lines.isCertain && !this.#scanner.isClosed && !lines.isStopped) {
      this.#lines = undefined;
      return;
    }
    if (hasBegun) {
      try {
        this.#scanner.finish();
      } catch (error) {
        this.#breakLine(error);
      }
    }
    const holdsDocuments = hasBegun && lines.isRead;
    if (!holdsDocuments) this.#forgetLine();
    else if (lines.rules.isHistory) this.#replaceEarlier(lines);
    const { isCertain } = lines;
    const broken = lines.end({ holdsDocuments });
    // With a first line alone nothing shows that this is a file of lines.
    const isOfFile = !isCertain || this.#lineError instanceof FormatError;
    if (broken !== undefined && isOfFile && !this.#options.salvage) throw this.#lineError;
    if (broken !== undefined) this.#leaveOut(broken);
    this.#lineError = undefined;
    this.#scanner = new DocumentScanner(this.format!.shape);
  }

  /** Of a document that an earlier line has, too, that one does not count. */
  #replaceEarlier(lines: Lines): void {
    if (this.#options.passLines !== undefined || this.#lineId === undefined) return;
    const isDeleted = this.counts.deleted > this.#before.deleted;
    const earlier = lines.replace(this.#lineId, isDeleted);
    if (earlier === undefined) return;
    this.counts.documents--;
    this.counts.leafRevisions--;
    if (earlier.isDeleted) this.counts.deleted--;
  }

  /** Notes that the line in hand cannot be read. @throws The error where this is not about a line. */
  #breakLine(error: unknown): void {
    const isAboutBytes = error instanceof FramingError || error instanceof FormatError;
    const lines = this.#lines;
    if (lines === undefined || !isAboutBytes) throw error;
    // A line may be broken on purpose: its end tells whether its writing was stopped and resumed.
    const mayBeStopped = this.#options.salvage === true || lines.rules.resumeMarker !== undefined;
    if (!mayBeStopped && (!lines.isCertain || error instanceof FormatError)) throw error;
    this.#lineError ??= error;
    // The position counts from the line's beginning, which helps nobody.
    lines.break(error.message.replace(/ \(byte \d+\)$/, ""));
    this.#forgetLine();
  }

  /** @throws LineError unless what is whole is wanted of a file that is not. */
  #leaveOut(line: BrokenLine): void {
    if (this.#options.salvage) return void this.#lines?.leaveOut(line);
    throw new LineError(line);
  }

  #noteBefore(): void {
    const { documents, leafRevisions, deleted, absent, lost, passedOver } = this.counts;
    this.#before = { documents, leafRevisions, deleted, absent, lost, passedOver: { ...passedOver } };
    this.#outsideBefore = { rows: this.#rows, bareRows: this.#bareRows, group: this.#group };
    this.#lineId = undefined;
  }

  #forgetLine(): void {
    Object.assign(this.counts, this.#before, { passedOver: { ...this.#before.passedOver } });
    this.counts.unreadable.length = Math.min(this.counts.unreadable.length, this.#before.lost);
    this.#rows = this.#outsideBefore.rows;
    this.#bareRows = this.#outsideBefore.bareRows;
    this.#group = this.#outsideBefore.group;
    if (this.#from >= 0) this.#brokenDocuments++;
    this.#from = -1;
    this.#kept = [];
    this.#keptBytes = 0;
    this.#lateId = undefined;
    this.#revisionsInRow = 0;
    this.#liveInRow = 0;
    this.#hasFound = false;
  }

  /** The documents that end in what is there of the source; what is left of the last one is kept. */
  #scanPieces(): RawDocument[] {
    const documents: RawDocument[] = [];
    for (;;) {
      const before = documents.length;
      try {
        this.#scanPiece(documents);
      } catch (error) {
        documents.length = before;
        this.#breakLine(error);
      }
      if (this.#keptBytes > this.#heldDocumentBytes || !this.#nextOfPiece()) return documents;
    }
  }

  #scanPiece(documents: RawDocument[]): void {
    const scanner = this.#scanner;
    for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
      switch (found) {
        case Found.DocumentStart:
          if (this.#revisionsInRow === 0) this.#beginDeciding(scanner.id);
          this.#from = scanner.position;
          this.#hasFound = true;
          this.#ordinal++;
          break;
        case Found.DocumentEnd: {
          const document = this.#takeDocument();
          if (document !== undefined) documents.push(document);
          break;
        }
        case Found.Error:
          this.#noteError();
          break;
        case Found.ElementEnd:
          this.#endElement();
      }
    }
    if (this.#from >= 0 && !this.#passesOver) {
      this.#kept.push(this.#piece.subarray(this.#from));
      this.#keptBytes += this.#piece.length - this.#from;
    }
  }

  #noteError(): void {
    const { id = "", error = { error: "unknown", reason: "" } } = this.#scanner;
    this.#hasFound = true;
    if (error.error === "not_found") return void this.counts.absent++;
    this.counts.lost++;
    if (this.counts.unreadable.length < MOST_KEPT_ERRORS) this.counts.unreadable.push({ id, ...error });
  }

  /** Asks whether what begins here is wanted, as far as its id is known. */
  #beginDeciding(id: string | undefined): void {
    this.#passesOver = false;
    this.#isUndecided = this.#options.passOver !== undefined;
    this.#decide(id);
  }

  /** Asks whether what is in hand is wanted, where that is open and its id is known. */
  #decide(id: string | undefined): void {
    if (!this.#isUndecided || id === undefined) return;
    this.#isUndecided = false;
    this.#passesOver = this.#options.passOver!(id);
  }

  /** The document that ends here; undefined for one that is not wanted, and for a null in its place. */
  #takeDocument(): RawDocument | undefined {
    if (this.#passesOver) {
      this.#from = -1;
      this.#countRevision(this.#scanner.id);
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
    const identity = this.#identify(bytes);
    this.#decide(identity.id);
    this.#countRevision(identity.id);
    if (this.#passesOver) return undefined;
    const { attachments } = this.format!;
    return { ...identity, bytes: attachments === undefined ? bytes : inCouchForm(bytes, attachments) };
  }

  /** Whether several documents of the same id that follow each other are leaf revisions of one. */
  get #isGrouped(): boolean {
    const { element, member } = this.format!.shape;
    return element === "document" || member === "ok";
  }

  #countRevision(id: string | undefined): void {
    this.counts.leafRevisions++;
    this.#lineId = id;
    if (!this.#isGrouped) {
      this.#revisionsInRow++;
      if (!this.#scanner.isDeleted) this.#liveInRow++;
      return;
    }
    const isNew = this.#countGrouped(this.counts, id);
    if (this.#passesOver) {
      this.counts.passedOver.leafRevisions++;
      this.#countGrouped(this.counts.passedOver, id);
    }
    const isDeleted = this.#scanner.isDeleted && (isNew || this.#group!.isDeleted);
    this.#group = id === undefined ? undefined : { id, isDeleted };
    if (!isNew) return;
    this.#rows++;
    this.#options.onRow?.(id);
  }

  /** Counts the document of a leaf revision, if it is another one than before. @returns Whether it is. */
  #countGrouped(counts: DocumentCounts, id: string | undefined): boolean {
    const { isDeleted } = this.#scanner;
    if (id !== undefined && id === this.#group?.id) {
      if (this.#group.isDeleted && !isDeleted) counts.deleted--;
      return false;
    }
    counts.documents++;
    if (isDeleted) counts.deleted++;
    return true;
  }

  #endElement(): void {
    if (!this.#hasFound) this.#bareRows++;
    this.#hasFound = false;
    if (!this.#isGrouped) this.#endRow();
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
    const position = this.counts.bytes;
    const broken = this.#brokenDocuments;
    for (let piece = await this.#nextOfLarge(); piece !== undefined; piece = await this.#nextOfLarge()) yield piece;
    if (this.#brokenDocuments > broken) throw new FramingError("A document that was whole ends early", position);
  }

  /** The next piece of the document in hand, undefined past its end. */
  async #nextOfLarge(): Promise<Uint8Array | undefined> {
    const kept = this.#kept.shift();
    if (kept !== undefined) return this.#ofLarge(kept);
    this.#keptBytes = 0;
    if (this.#from < 0) return undefined;
    try {
      if (!await this.#nextPiece() && this.#lines === undefined) this.#scanner.finish();
      // The line has ended within the document, which is then forgotten.
      if (this.#from < 0) return undefined;
      if (this.#scanner.next() !== Found.DocumentEnd) return this.#ofLarge(this.#piece);
      this.#from = -1;
      this.#isLargeDeleted = this.#scanner.isDeleted;
      const bytes = this.#ofLarge(this.#piece.subarray(0, this.#scanner.position));
      if (this.#lateId !== undefined && this.#lateId.found._id === undefined) throw this.#withoutId();
      const id = this.#lateId?.found._id ?? this.#largeId;
      this.#decide(id);
      this.#countRevision(id);
      this.#lateId = undefined;
      return bytes;
    } catch (error) {
      this.#breakLine(error);
      return undefined;
    }
  }

  #ofLarge(bytes: Uint8Array): Uint8Array {
    this.#lateId?.push(bytes);
    return this.#forms === undefined ? bytes : this.#forms.push(bytes);
  }

  #identify(bytes: Uint8Array): DocumentIdentity {
    // The documents of our own chunks all have a revision, and their rows an id.
    if (this.#options.format === CHUNK_FORMAT && this.#scanner.id !== undefined) {
      return { id: this.#scanner.id, hasRevision: true };
    }
    const { _id, _rev } = readTextMembers(bytes, ["_id", "_rev"]);
    const hasRevision = _rev !== undefined;
    if (_id !== undefined) return { id: _id, hasRevision };
    // A value that is no document may still stand in a row that has an id.
    const id = this.#rowId();
    if (id === undefined) throw this.#withoutId();
    return { id, lacksId: true, hasRevision };
  }

  /** CouchDB would make an id up for it, and another one each time. */
  #withoutId(): FormatError {
    const line = this.#lines?.isCertain ? ` in line ${this.#lines.number}` : "";
    return new FormatError(`It seems to be ${this.format?.name}, but number ${this.#ordinal + 1}${line} has no "_id"`);
  }

  #rowId(): string | undefined {
    return this.format?.shape.element === "document" ? undefined : this.#scanner.id;
  }

  #identifyLarge(beginning: Uint8Array): DocumentIdentity & { rev: string | undefined } {
    const { _id, _rev } = readTextMembers(beginning, ["_id", "_rev"]);
    this.#lateId = _id === undefined && this.#options.format === undefined ? new TextMemberScanner(["_id"]) : undefined;
    const { attachments } = this.format!;
    this.#forms = attachments === undefined ? undefined : new AttachmentForms(attachments);
    this.#largeId = _id ?? this.#rowId();
    return { id: this.#largeId, rev: _rev, hasRevision: _rev !== undefined };
  }
}

function unknownFormat(sample: Uint8Array): FormatError {
  if (sample.length === 0) return new FormatError("It is empty");
  const what = seemsToBe(sample);
  return new FormatError(what === undefined ? "It holds no documents in a known format" : `It seems to be ${what}`);
}
