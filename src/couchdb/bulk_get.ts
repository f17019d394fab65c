/**
 * One `_bulk_get` request. In: a batch. Out: its good rows, written into a chunk; and, to be asked for again, ids whose
 * rows were errors or lacked what the feed has listed, and those without an answer when the connection breaks. Nothing
 * is requested where the feed has brought the documents along.
 */
import { counted } from "../counts.ts";
import { CouchError } from "../errors.ts";
import { concat } from "../concat.ts";
import { BULK_GET_SHAPE, DocumentScanner, Found, FramingError } from "../json/scan.ts";
import { LONGEST_REST_OF_CHUNK_MS, MEMORY_PACE } from "../memory_pace.ts";
import { Expected, type IdBatch, type ListedDocument } from "./batch.ts";
import type { CallOptions, CouchClient } from "./client.ts";
import { type ChunkText, RowInHand } from "./row.ts";
import { Suspects } from "./suspects.ts";

/**
 * Beyond so many documents the request is written while it is sent: in one piece it would be in memory three times,
 * here, in fetch and on its way. Some proxies want to know its length before (411); they get its halves.
 */
const DOCUMENTS_IN_ONE_PIECE = 20_000;

const encoder = new TextEncoder();

/** What is read of a document. */
export interface ReadOptions {
  revisions: boolean;
  attachments: boolean;
  /** Whether rows go out even where they lack a listed revision: nobody will ask again. @default false */
  isFinal?: boolean | undefined;
  /** Receives the numbers of documents and bytes as they pass. */
  onRows?: ((step: { documents: number; bytes: number }) => void) | undefined;
}

/** What a chunk has room for. */
export interface ChunkRoom {
  /** Of its text. One document may have more. */
  bytes: number;
  /** How many documents it has room for, where that is known. */
  documents?: number | undefined;
  /** Whether a row that went out in part and is too much for it is an {@linkcode Overflow}. */
  isFirm: boolean;
}

/** A row that went out in part has become larger than what is left of its chunk. */
export class Overflow extends Error {}

/** One request and what came of it. */
export class BulkGet {
  /** Documents whose rows were not good. */
  readonly suspects: Suspects;
  /** A row went out in part and its rest never came. */
  passedInPart = false;
  /** Of that row its document, which is then not in `rest()`; undefined where its row does not tell. */
  broken: ListedDocument | undefined;
  /** It was ended before a row for which the chunk has no room: that one and what follows are in `rest()`. */
  isCut = false;

  readonly #client: CouchClient;
  readonly #database: string;
  readonly #batch: IdBatch;
  readonly #options: ReadOptions;
  readonly #expected: Expected;
  #answered = 0;

  /** @param suspects Where documents go whose rows are not good. */
  constructor(
    client: CouchClient,
    database: string,
    batch: IdBatch,
    options: ReadOptions,
    suspects: Suspects = new Suspects(),
  ) {
    this.suspects = suspects;
    this.#client = client;
    this.#database = database;
    this.#batch = batch;
    this.#options = options;
    this.#expected = new Expected(batch);
  }

  /**
   * Asks CouchDB, and yields the blocks that the chunk's text has full.
   *
   * @param room What the text may have at most. A first row has any size.
   * @throws CouchError, also for an answer that breaks.
   * @throws Overflow when a row that went out in part is too much for the chunk, and the room is firm.
   */
  async *forward(output: ChunkText, call: CallOptions, room?: ChunkRoom): AsyncGenerator<Uint8Array> {
    const { revisions, attachments, isFinal = false, onRows } = this.#options;
    const scanner = new DocumentScanner(BULK_GET_SHAPE, { findsPlain: true });
    const row = new RowInHand(output, { revisions, isFinal });
    const longestRestMs = this.#batch.count <= DOCUMENTS_IN_ONE_PIECE ? LONGEST_REST_OF_CHUNK_MS : undefined;
    const listed = () => scanner.id === undefined ? undefined : this.#expected.peek(scanner.id);
    try {
      const answer = this.#carriedAnswer() ??
        await this.#client.bulkGet(this.#database, this.#body(), { ...call, revisions, attachments });
      for await (const bytes of answer) {
        const { documents, bytes: sizeBytes } = output.counts;
        this.#takeRows(bytes, { scanner, row, output, room });
        if (this.isCut) {
          row.drop();
          row.passWhole();
        } else row.keepRest(listed);
        // Rows that are errors are asked for again, and count then.
        onRows?.({ documents: output.counts.documents - documents, bytes: output.counts.bytes - sizeBytes });
        yield* output.blocks();
        if (this.isCut) return;
        const pause = MEMORY_PACE.after(bytes.length, longestRestMs);
        if (pause !== undefined) await pause;
      }
      scanner.finish();
      if (this.#answered !== this.#batch.count) {
        throw this.#brokenAnswer(`it has ${this.#answered} of ${counted(this.#batch.count, "document")}`);
      }
    } catch (error) {
      // What has been answered is not asked for again: it must go out.
      row.passWhole();
      this.passedInPart = row.passedInPart;
      if (row.passedInPart && !(error instanceof Overflow)) this.broken ??= this.#expected.take(scanner);
      throw error instanceof FramingError ? this.#brokenAnswer(error.message) : error;
    }
  }

  /** Settles the rows that end in the next bytes of the answer, up to one for which the chunk has no room. */
  #takeRows(
    bytes: Uint8Array,
    { scanner, row, output, room }: {
      scanner: DocumentScanner;
      row: RowInHand;
      output: ChunkText;
      room: ChunkRoom | undefined;
    },
  ): void {
    scanner.push(bytes);
    row.arrive(bytes);
    for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
      if (found === Found.PlainElement) {
        row.begin(scanner.position);
        row.beginRevision(scanner.documentStart);
        row.addRevision(scanner.isDeleted);
        const end = scanner.elementEnd;
        if (room !== undefined && this.#isTooMuch(output, row, { room, end })) return;
        this.#settle(scanner, row, end);
      } else if (found === Found.ElementStart) row.begin(scanner.position);
      else if (found === Found.DocumentStart) row.beginRevision(scanner.position);
      else if (found === Found.DocumentEnd) row.addRevision(scanner.isDeleted);
      else if (found === Found.Error) row.error = scanner.error;
      else if (found === Found.ElementEnd) {
        if (room !== undefined && this.#isTooMuch(output, row, { room, end: scanner.position })) return;
        this.#settle(scanner, row, scanner.position);
      }
    }
    if (room !== undefined && row.isArriving) this.#isTooMuch(output, row, { room, end: bytes.length });
  }

  /**
   * Whether a row has to wait for the next chunk, which `isCut` then says; what it lacks, or whether it is an error, is
   * seen there.
   *
   * @throws Overflow As {@linkcode BulkGet.forward} does.
   */
  #isTooMuch(output: ChunkText, row: RowInHand, { room, end }: { room: ChunkRoom; end: number }): boolean {
    if (row.passedInPart) {
      const isAlone = output.counts.documents === 0;
      if (room.isFirm && !isAlone && row.sizeWith(end) > room.bytes) throw new Overflow();
      return false;
    }
    this.isCut = output.counts.documents > 0 &&
      (output.counts.documents === room.documents || row.sizeWith(end) > room.bytes);
    return this.isCut;
  }

  /** What has yet to be answered. */
  rest(): IdBatch {
    return this.#answered === 0 && this.broken === undefined ? this.#batch : this.#expected.rest();
  }

  #settle(scanner: DocumentScanner, row: RowInHand, end: number): void {
    const { idBytes } = scanner;
    const document = this.#expected.take(scanner);
    if (document === undefined) {
      const { id } = scanner;
      throw id === undefined
        ? this.#brokenAnswer("a row has no id")
        : this.#brokenAnswer(`it has document "${id}" twice or unasked`, "it has a document twice or unasked");
    }
    this.#answered++;
    if (row.error === undefined && row.revisions > 0) {
      const isOut = row.passedInPart || this.#options.isFinal === true;
      const missing = this.#finish(row, document, { end, idBytes });
      if (missing !== undefined && missing.length > 0) this.suspects.add({ document, missing, isOut });
      return;
    }
    if (row.passedInPart) {
      // Its beginning is out already.
      this.broken = document;
      if (row.error === undefined) throw this.#brokenAnswer("a large row has no document");
      const { error, reason } = row.error;
      const told = `a leaf revision of a large document cannot be read: ${error}`;
      throw this.#brokenAnswer(`${told}, "${reason}"`, told);
    }
    this.suspects.add({ document, error: row.error });
    row.drop();
  }

  /** What a row lacks. One that is framed well and no JSON is asked for again, alone: undefined. */
  #finish(
    row: RowInHand,
    document: ListedDocument,
    { end, idBytes }: { end: number; idBytes: Parameters<RowInHand["finish"]>[2] },
  ): readonly string[] | undefined {
    try {
      return row.finish(end, document, idBytes);
    } catch (error) {
      if (!(error instanceof FramingError)) throw error;
      if (row.passedInPart) {
        this.broken = document;
        throw error;
      }
      this.suspects.add({ document, error: { error: "bad_row", reason: error.message } });
      row.drop();
      return undefined;
    }
  }

  #brokenAnswer(reason: string, discreetReason: string = reason): CouchError {
    const say = (reason: string) =>
      `Cannot read documents of database "${this.#database}": CouchDB's answer is broken (${reason})`;
    return new CouchError(
      say(reason),
      { error: "cut_off", reason, database: this.#database },
      { discreet: say(discreetReason) },
    );
  }

  /** What CouchDB would answer, where all of it is in hand. */
  #carriedAnswer(): Uint8Array[] | undefined {
    const rows = this.#batch.carried;
    if (rows === undefined) return undefined;
    const pieces = rows.flatMap((row, index) => index === 0 ? [row.takeAnswer()] : [COMMA, row.takeAnswer()]);
    return [concat([ANSWER_OPENING, ...pieces, CLOSING])];
  }

  /** `{"docs":[{"id":…},…]}` */
  #body(): Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> {
    if (this.#batch.count > DOCUMENTS_IN_ONE_PIECE) return ReadableStream.from(this.#streamBody());
    const { encodedBytes } = this.#batch;
    if (encodedBytes === undefined) return concat([...this.#writeBody()]);
    // What is packed is large: its pieces and all of it together would be twice as much.
    const bytes = new Uint8Array(OPENING.length + encodedBytes - 1 + CLOSING.length);
    let at = 0;
    for (const piece of this.#writeBody()) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  async *#streamBody(): AsyncGenerator<Uint8Array> {
    for (const piece of this.#writeBody()) {
      yield piece;
      const pause = MEMORY_PACE.after(piece.length);
      if (pause !== undefined) await pause;
    }
  }

  *#writeBody(): Generator<Uint8Array> {
    yield OPENING;
    let isFirst = true;
    for (const ids of this.#batch.encodedIds()) {
      if (ids.length === 0) continue;
      // The first one has no comma before it.
      yield isFirst ? ids.subarray(1) : ids;
      isFirst = false;
    }
    yield CLOSING;
  }
}

const OPENING = encoder.encode('{"docs":[');
const ANSWER_OPENING = encoder.encode('{"results":[');
const COMMA = encoder.encode(",");
const CLOSING = encoder.encode("]}");
