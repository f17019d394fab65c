/**
 * An answer on its way to the client, and what can happen to it there: cut off, stopped, shortened, dripping.
 */
import { Buffer } from "node:buffer";
import type { ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import type { CouchAnswer } from "./answer.ts";
import type { Fault } from "./faults.ts";
import type { RequestRecord } from "./request_log.ts";

/** What is needed to send an answer. */
export interface Delivery {
  /** Counts the bytes. */
  record: RequestRecord;
  fault: Fault | undefined;
  response: ServerResponse;
  headers: Record<string, string>;
  /** Whether the body is compressed on its way, as by a proxy. */
  gzip: boolean;
  /** Waits so long, for ever by default. @throws AbortError when the client leaves or the server stops. */
  wait: (ms?: number) => Promise<void>;
}

const BYTES_A_WRITE = 64 * 1024;

/** Sends an answer as far as its fault lets it. Ends when all has left, or the client or the fault has ended it. */
export async function sendAnswer(answer: CouchAnswer, delivery: Delivery): Promise<void> {
  const { record, fault, response, gzip, wait } = delivery;
  const body = gzip ? [gzipSync(answer.pieces.join(""))] : answer.pieces;
  const sizeBytes = body.reduce((sum, piece) => sum + Buffer.byteLength(piece), 0);
  const given = fault !== undefined && "afterBytes" in fault ? fault.afterBytes : undefined;
  const from = fault?.kind === "cut off" && fault.rows !== undefined ? beginningOf(fault.rows, body) : 0;
  const breakAt = Math.min(from + (given ?? Math.floor(sizeBytes / 2)), sizeBytes);
  const breaks = from >= 0 &&
    (fault?.kind === "cut off" || fault?.kind === "stall midway" || fault?.kind === "truncate");
  const lengthBytes = fault?.kind === "truncate" ? breakAt : sizeBytes;
  response.writeHead(answer.status, {
    "content-type": "application/json",
    "cache-control": "must-revalidate",
    ...delivery.headers,
    ...(gzip ? { "content-encoding": "gzip" } : {}),
    ...(answer.streamed ? {} : { "content-length": String(lengthBytes) }),
    ...answer.headers,
  });
  response.flushHeaders();
  if (record.method === "HEAD") return end(response);
  let untilBreak = breaks ? breakAt : Infinity;
  for (let bytes of joinPieces(body, fault?.kind === "drip" ? fault.bytes : BYTES_A_WRITE)) {
    if (bytes.length > untilBreak) {
      await write(response, { bytes: bytes.subarray(0, untilBreak), record });
      if (fault?.kind === "truncate") return end(response);
      if (fault?.kind === "cut off") return void response.destroy();
      if (fault?.kind === "stall midway") await wait(fault.ms);
      bytes = bytes.subarray(untilBreak);
      untilBreak = Infinity;
    }
    await write(response, { bytes, record });
    untilBreak -= bytes.length;
    if (response.destroyed) return;
    if (fault?.kind === "drip") await wait(fault.everyMs);
  }
  if (breaks && fault?.kind === "cut off") return void response.destroy();
  await end(response);
}

/** Where the first of these ids' rows begins; -1 where there is none. */
function beginningOf(ids: readonly string[], body: readonly (string | Buffer)[]): number {
  const bytes = Buffer.concat(body.map((piece) => Buffer.from(piece as string)));
  const places = ids.map((id) => bytes.indexOf(`{"id":${JSON.stringify(id)},"docs"`)).filter((at) => at >= 0);
  return places.length === 0 ? -1 : Math.min(...places);
}

/** Hands bytes to the network. Waits until they have left, or the client has: a cut comes behind them, not before. */
async function write(
  response: ServerResponse,
  { bytes, record }: { bytes: Uint8Array; record: RequestRecord },
): Promise<void> {
  if (response.destroyed || bytes.length === 0) return;
  record.responseBytes += bytes.length;
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once("close", resolve);
  response.write(bytes, () => resolve());
  await promise;
  response.off("close", resolve);
}

async function end(response: ServerResponse): Promise<void> {
  if (response.destroyed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once("close", resolve);
  response.end(resolve);
  await promise;
}

/** Joins small pieces and cuts large ones, to writes of `size` bytes. */
function* joinPieces(pieces: readonly (string | Buffer)[], size: number): Generator<Buffer> {
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  for (const piece of pieces) {
    const bytes = typeof piece === "string" ? Buffer.from(piece) : piece;
    waiting.push(bytes);
    waitingBytes += bytes.length;
    if (waitingBytes < size) continue;
    const joined = Buffer.concat(waiting);
    let start = 0;
    for (; joined.length - start >= size; start += size) yield joined.subarray(start, start + size);
    waiting = [joined.subarray(start)];
    waitingBytes = joined.length - start;
  }
  if (waitingBytes > 0) yield Buffer.concat(waiting);
}
