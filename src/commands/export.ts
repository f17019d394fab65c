/**
 * Writes the documents of a backup, one a line, in the bytes that CouchDB sent. In: a backup's path, and which documents.
 * Out: lines, and how many. Needs no CouchDB.
 */
import type { PathContext } from "../archive/find.ts";
import { walkBlocks, type WalkedDocument } from "../archive/walk.ts";
import { decodeDatabase } from "../database_name.ts";
import { UsageError } from "../errors.ts";
import { openWhole } from "./open_whole.ts";
import { NEWLINE, onOneLine, sendDocument, type Sink } from "./sink.ts";

/** Small documents are sent together, as many as have room. */
const BLOCK_BYTES = 1 << 16;

/** What is to be exported. */
export interface ExportRequest {
  /** Encoded (`a%2Fb`) or not. */
  database: string;
  /** As for restore. */
  path: string;
  /** A regular expression that a part of the id matches. @default every document */
  matchId?: string | undefined;
  /** Of each document the winning revision alone, without histories of deletions. @default every leaf revision */
  winners?: boolean | undefined;
}

/** Sends documents, one a line, in the bytes that CouchDB sent. @returns How many. */
export async function exportDocuments(
  context: PathContext,
  request: ExportRequest,
  sink: Sink,
): Promise<{ database: string; path: string; revisions: number }> {
  const isWanted = readMatch(request.matchId);
  const archive = await openWhole(context, request);
  const lines = new LineSink(sink);
  const options = { isWanted, winnersOnly: request.winners, signal: context.signal };
  for await (const block of walkBlocks(archive, options)) {
    if (!await lines.add(block)) break;
  }
  await lines.flush();
  return { database: archive.database ?? decodeDatabase(request.database), path: archive.url, revisions: lines.taken };
}

/**
 * Sends documents, one a line, in blocks: a call for each small document would be most of the work, and of the memory.
 */
class LineSink {
  /** Documents that somebody has taken. */
  taken = 0;
  readonly #sink: Sink;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #used = 0;
  #waiting = 0;
  #isGone = false;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  /** @returns Whether anybody still reads. */
  async add(documents: readonly WalkedDocument[]): Promise<boolean> {
    for (const document of documents) {
      const bytes = "bytes" in document ? onOneLine(document.bytes) : undefined;
      if (bytes === undefined || bytes.length >= BLOCK_BYTES) {
        if (!await this.flush()) return false;
        if (await sendDocument(document, this.#sink)) this.taken++;
        else this.#isGone = true;
        if (this.#isGone) return false;
        continue;
      }
      if (this.#used + bytes.length + 1 > BLOCK_BYTES && !await this.flush()) return false;
      this.#block.set(bytes, this.#used);
      this.#used += bytes.length;
      this.#block[this.#used++] = NEWLINE[0]!;
      this.#waiting++;
    }
    return true;
  }

  /** Sends what waits. @returns Whether anybody still reads. */
  async flush(): Promise<boolean> {
    if (this.#used === 0 || this.#isGone) return !this.#isGone;
    this.#isGone = !await this.#sink(this.#block.subarray(0, this.#used));
    if (!this.#isGone) this.taken += this.#waiting;
    [this.#used, this.#waiting] = [0, 0];
    return !this.#isGone;
  }
}

function readMatch(source: string | undefined): ((id: string) => boolean) | undefined {
  if (source === undefined) return undefined;
  try {
    const pattern = new RegExp(source, "u");
    return (id) => pattern.test(id);
  } catch (error) {
    throw new UsageError(`--match-id "${source}" is not a regular expression: ${(error as Error).message}`);
  }
}
