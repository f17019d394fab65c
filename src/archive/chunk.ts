/**
 * Reads one chunk of an archive. Nothing of it is handed on before the whole chunk is known to be what the backup
 * wrote: a small chunk is kept in memory, compressed, between check and use; a large one is read twice.
 */
import { createHash } from "node:crypto";
import { type ArchiveFormat, CHUNK_FORMAT } from "./formats.ts";
import { DocumentReader, type DocumentReaderOptions } from "./document_reader.ts";
import { isLarge, type LargeDocument, type RawDocument, type ReadCounts } from "./documents.ts";
import { asArchiveError, checkCounts, checkDigest, digest, isDamage, SALVAGE_HINT } from "./damage.ts";
import { ArchiveError, isNotFound } from "../errors.ts";
import { decode, type DecodeOptions } from "../codec/codec.ts";
import { isSealedName } from "../codec/compression.ts";
import { counted } from "../counts.ts";
import { FramingError } from "../json/scan.ts";
import { TextMemberScanner } from "../json/members.ts";
import type { BrokenLine, LineSurvey } from "./lines.ts";
import type { ChunkEntry } from "./manifest.ts";
import { MEMORY_PACE } from "../memory_pace.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";

/** A chunk up to this size stays in memory while it is in use; several are at once. */
const HELD_CHUNK_BYTES = 4 << 20;

/** Where a chunk lies, and what is known of it. */
export interface ChunkPlace {
  store: Store;
  key: string;
  /** The chunk's line in the manifest or checkpoint; undefined when there is none. */
  entry: ChunkEntry | undefined;
  /** What opens it where it is sealed. @default nothing does */
  identities?: readonly string[] | undefined;
}

/** What reading a chunk from end to end has shown. */
export interface ChunkContents extends ReadCounts {
  /** Lines that hold nothing that counts, and broken ones; undefined where it is no file of lines. */
  survey: LineSurvey | undefined;
  /** Of the object as it is stored. */
  sha256: string;
  compressedBytes: number;
  format: ArchiveFormat;
}

/** What {@linkcode inspectChunk} is told beside the chunk. */
export interface InspectOptions extends StoreCallOptions {
  /** Is told of each row's id. */
  onRow?: ((id: string | undefined) => void) | undefined;
  /** Is told of documents and decompressed bytes as they pass. */
  onProgress?: ((step: { documents: number; bytes: number }) => void) | undefined;
}

/** What {@linkcode CheckedChunk.read} is told: which documents are wanted, and who wants to know of rows. */
export type ReadChunkOptions = StoreCallOptions & Pick<DocumentReaderOptions, "onRow" | "passOver">;

/** What {@linkcode CheckedChunk.open} is told beside the place. */
export interface OpenChunkOptions extends StoreCallOptions {
  /** Take what is whole of a file of lines that is not. @default false */
  salvage?: boolean | undefined;
}

/** What was found of a chunk before it is read. */
interface FoundChunk {
  format: ArchiveFormat;
  survey: LineSurvey | undefined;
  isOfLines: boolean;
  salvage: boolean | undefined;
  /** It was read to its end, and holds no document. */
  isBarren: boolean;
}

/** A chunk that is whole, or what is whole of it. */
export class CheckedChunk {
  /** How the chunk was recognised; a chunk of a manifest is of this program. */
  readonly format: ArchiveFormat;
  /** What the last reading has counted. */
  counts: ReadCounts | undefined;

  readonly #place: ChunkPlace;
  readonly #found: FoundChunk;
  readonly #held: readonly Uint8Array[] | undefined;

  private constructor(
    place: ChunkPlace,
    { found, held }: { found: FoundChunk; held: readonly Uint8Array[] | undefined },
  ) {
    this.#place = place;
    this.#found = found;
    this.#held = held;
    this.format = found.format;
  }

  /** Its lines that cannot be read, and are left out: with `salvage` alone there are any. */
  get brokenLines(): readonly BrokenLine[] {
    return this.#found.survey?.broken ?? [];
  }

  /**
   * Reads a chunk and compares it with its line in the manifest. Without one it is decompressed and framed to its end.
   *
   * @throws ArchiveError when it is missing, damaged or something else.
   */
  static async open(place: ChunkPlace, options: OpenChunkOptions = {}): Promise<CheckedChunk> {
    try {
      return await CheckedChunk.#open(place, options, { isOfLines: false });
    } catch (error) {
      if (!options.salvage || !(error instanceof ArchiveError)) throw error;
      // A first line that is cut off makes lines look like one JSON text.
      const salvaged = await CheckedChunk.#open(place, options, { isOfLines: true }).catch(() => undefined);
      if (salvaged === undefined || salvaged.#found.isBarren) throw error;
      return salvaged;
    }
  }

  static async #open(
    place: ChunkPlace,
    options: OpenChunkOptions,
    { isOfLines }: { isOfLines: boolean },
  ): Promise<CheckedChunk> {
    const { source, held } = holding(place, options);
    let found: FoundChunk = {
      format: CHUNK_FORMAT,
      survey: undefined,
      isOfLines,
      salvage: false,
      isBarren: false,
    };
    if (place.entry === undefined) {
      const { format, survey, documents } = await readContents(place, source, { ...options, isOfLines });
      found = { format, survey, isOfLines, salvage: options.salvage, isBarren: documents === 0 };
    } else checkDigest(place, place.entry, await digest(source));
    return new CheckedChunk(place, { found, held: held() });
  }

  /** The bytes of a large document once more, for a request that has to be made again. */
  async *largeDocument(ordinal: number, options: StoreCallOptions = {}): AsyncGenerator<Uint8Array> {
    for await (const item of this.#reader(options).read()) {
      if (!isLarge(item) || item.ordinal !== ordinal) continue;
      yield* item.stream;
      return;
    }
    const { key } = this.#place;
    throw new ArchiveError(`Cannot read "${key}" again: it has changed meanwhile`, { key });
  }

  /** Reads its documents. @throws ArchiveError when the chunk does not hold what its line in the manifest says. */
  async *read(options: ReadChunkOptions = {}): AsyncGenerator<RawDocument[] | LargeDocument> {
    const reader = this.#reader(options);
    this.counts = reader.counts;
    const { signal } = options;
    try {
      for await (const item of reader.read()) {
        if (!isLarge(item)) {
          yield item;
          continue;
        }
        const document = await this.#identified(item, { signal });
        // The reader has not asked `passOver` about a document whose id comes after megabytes of content.
        const isOpen = item.id === undefined && document.id !== undefined;
        if (!isOpen || options.passOver?.(document.id!) !== true) yield document;
      }
    } catch (error) {
      throw asArchiveError(this.#place, error);
    }
    checkCounts(this.#place, reader.counts);
  }

  /**
   * Other programs may put attachments before id and revision: a large document is then read once more to find them.
   */
  async #identified(document: LargeDocument, options: StoreCallOptions): Promise<LargeDocument> {
    if (document.rev !== undefined && document.id !== undefined) return document;
    const scanner = new TextMemberScanner(["_id", "_rev"]);
    for await (const bytes of this.largeDocument(document.ordinal, options)) {
      scanner.push(bytes);
      if (scanner.isDone) break;
    }
    const { _id, _rev } = scanner.found;
    return { ...document, id: document.id ?? _id, rev: _rev, hasRevision: _rev !== undefined };
  }

  #reader({ onRow, passOver, ...options }: ReadChunkOptions): DocumentReader {
    // Where no manifest vouches for a chunk, its format is found out, and its documents are looked at one by one.
    const format = this.#place.entry === undefined ? undefined : CHUNK_FORMAT;
    const { survey, isOfLines, salvage } = this.#found;
    const lines = { passLines: survey?.passed, isOfLines, salvage };
    const bytes = upTo(this.#place, decode(this.#bytes(options), decodeOptions(this.#place)));
    return new DocumentReader(bytes, { format, onRow, passOver, ...lines });
  }

  async *#bytes(options: StoreCallOptions): AsyncGenerator<Uint8Array> {
    if (this.#held !== undefined) yield* this.#held;
    else yield* await openObject(this.#place, options);
  }
}

/**
 * Reads a chunk from end to end, checks it against its line in the manifest where it has one, and tells what it holds.
 *
 * @throws ArchiveError when it is missing, damaged or something else.
 */
export async function inspectChunk(
  place: ChunkPlace,
  options: InspectOptions = {},
): Promise<ChunkContents> {
  const contents = await readContents(place, await openToRead(place, options), options);
  if (place.entry !== undefined) checkDigest(place, place.entry, contents);
  checkCounts(place, contents);
  return contents;
}

/**
 * Compares the object with the checksum that its line in the manifest has, and reads nothing of what is in it: that is
 * all that can be done of what is sealed, without an identity.
 *
 * @throws ArchiveError when it is missing or has changed.
 */
export async function checkStored(place: ChunkPlace, options: StoreCallOptions = {}): Promise<void> {
  if (place.entry !== undefined) checkDigest(place, place.entry, await digest(await openObject(place, options)));
}

/** The object's bytes; of one that is sealed not before its checksum is known to be right. */
async function openToRead(place: ChunkPlace, options: StoreCallOptions): Promise<AsyncIterable<Uint8Array>> {
  if (place.entry === undefined || !isSealedName(place.key)) return await openObject(place, options);
  const { source, held } = holding(place, options);
  checkDigest(place, place.entry, await digest(source));
  const bytes = held();
  return bytes === undefined ? await openObject(place, options) : each(bytes);
}

async function* each(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const bytes of pieces) yield await Promise.resolve(bytes);
}

/** The bytes of an object as they come; after the last one all of them, where they are few. */
function holding(
  place: ChunkPlace,
  options: StoreCallOptions,
): { source: AsyncIterable<Uint8Array>; held: () => readonly Uint8Array[] | undefined } {
  const kept: Uint8Array[] = [];
  let keptBytes = 0;
  const source = (async function* () {
    for await (const bytes of await openObject(place, options)) {
      keptBytes += bytes.length;
      if (keptBytes <= HELD_CHUNK_BYTES) kept.push(bytes);
      else kept.length = 0;
      yield bytes;
    }
  })();
  return { source, held: () => keptBytes <= HELD_CHUNK_BYTES ? kept : undefined };
}

function decodeOptions({ key, entry, identities }: ChunkPlace): DecodeOptions {
  return { isForeign: entry === undefined, identities, mustBeSealed: isSealedName(key) };
}

async function readContents(
  place: ChunkPlace,
  source: AsyncIterable<Uint8Array>,
  { onRow, onProgress, signal, salvage, isOfLines }:
    & InspectOptions
    & Pick<DocumentReaderOptions, "salvage" | "isOfLines">,
): Promise<ChunkContents> {
  const hash = createHash("sha256");
  let compressedBytes = 0;
  const hashed = (async function* () {
    for await (const bytes of source) {
      hash.update(bytes);
      compressedBytes += bytes.length;
      yield bytes;
    }
  })();
  const format = place.entry === undefined ? undefined : CHUNK_FORMAT;
  const bytes = upTo(place, decode(hashed, decodeOptions(place)));
  const reader = new DocumentReader(bytes, { format, onRow, salvage, isOfLines });
  try {
    let reported = { documents: 0, bytes: 0 };
    for await (const _documents of reader.read()) {
      const { documents, bytes } = reader.counts;
      // Documents of a line that turns out to be unreadable are taken back, so the count may go down.
      const more = Math.max(0, documents - reported.documents);
      onProgress?.({ documents: more, bytes: bytes - reported.bytes });
      reported = { documents: reported.documents + more, bytes };
    }
  } catch (error) {
    if (place.entry !== undefined && isDamage(error)) {
      // That the checksum differs says more than the place at which decompressing gave up.
      checkDigest(place, place.entry, await digest(await openObject(place, { signal })));
    }
    throw asArchiveError(place, error);
  }
  const { counts, survey } = reader;
  return { ...counts, survey, format: reader.format!, compressedBytes, sha256: hash.digest("hex") };
}

async function openObject(place: ChunkPlace, options: StoreCallOptions): Promise<ReadableStream<Uint8Array>> {
  try {
    return await place.store.read(place.key, options);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    const facts = { key: place.key, expected: "an object", found: "nothing" };
    throw new ArchiveError(`Cannot read chunk "${place.key}": it is missing`, facts, {
      cause: error,
      hint: SALVAGE_HINT,
    });
  }
}

/** No more bytes than the manifest says: a few can stand for a thousand times as many, and nobody waits for those. */
async function* upTo(
  { entry }: ChunkPlace,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let passed = 0;
  for await (const bytes of source) {
    passed += bytes.length;
    if (entry !== undefined && passed > entry.bytes) {
      throw new FramingError(
        `it decompresses to more than ${counted(entry.bytes, "byte")}, which is what the manifest says`,
        entry.bytes,
      );
    }
    yield bytes;
    const pause = MEMORY_PACE.after(bytes.length);
    if (pause !== undefined) await pause;
  }
}
