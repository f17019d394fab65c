/**
 * The door to the WebAssembly that looks at every byte of a backup, some four times as fast as JavaScript does. In:
 * bytes, of which a window is copied to where it can see them. Out: places in these bytes.
 *
 * There is one window for all who scan, and what it shows is known by its object: whoever fills that with other bytes
 * has to {@linkcode forget} it.
 */
import { Buffer } from "node:buffer";
import { CODE, CODE_WITHOUT_SIMD } from "./kernel_code.ts";

/** What assembly/kernel.ts exports, where each is described. Positions are those of its memory. */
interface Kernel {
  memory: WebAssembly.Memory;
  WINDOW_BYTES: { value: number };
  INPUT: { value: number };
  RESULT: { value: number };
  TEXTS: { value: number };
  SPOTS: { value: number };
  pass(from: number, end: number): number;
  resume(from: number, end: number, state: number): number;
  state(): number;
  wasDeleted(): number;
  deletedBegun(): number;
  row(from: number, end: number): number;
  feedRows(from: number, end: number): number;
}

const withSimd = Buffer.from(CODE, "base64");
/** Some processors have no SIMD: those that a virtual machine shows without SSE 4.1. */
const code = WebAssembly.validate(withSimd) ? withSimd : Buffer.from(CODE_WITHOUT_SIMD, "base64");
const kernel = new WebAssembly.Instance(new WebAssembly.Module(code)).exports as unknown as Kernel;
const INPUT = kernel.INPUT.value;
const WINDOW_BYTES = kernel.WINDOW_BYTES.value;
const { buffer } = kernel.memory;
const input = new Uint8Array(buffer, INPUT, WINDOW_BYTES);
const result = new Int32Array(buffer, kernel.RESULT.value, 1);

/** What the kernel says of a row that the window cuts off, of rows of the feed where it does so with the first. */
const CUT = -1;

/** What the window shows: of which bytes, from where on, and up to where. */
let shown: Uint8Array | undefined;
let shownFrom = 0;
let shownEnd = 0;

/** These bytes may be others than they were when the window was filled with them. */
export function forget(bytes: Uint8Array): void {
  if (shown === bytes) shown = undefined;
}

/** The state of a string whose first quote has been passed, for {@linkcode passOn}. */
export const IN_STRING = 2;

/**
 * Passes over the object or array that begins at `at`, which must be less than the length.
 *
 * @returns Its end; -1 where it is not before {@linkcode windowEnd}.
 */
export function pass(bytes: Uint8Array, at: number): number {
  show(bytes, at);
  return placeOf(kernel.pass(positionOf(at), positionOf(shownEnd)));
}

/** Goes on with a value of that {@linkcode passState}; the same. */
export function passOn(bytes: Uint8Array, at: number, state: number): number {
  show(bytes, at);
  return placeOf(kernel.resume(positionOf(at), positionOf(shownEnd), state));
}

/** Up to where was looked for the end of the value passed over last. */
export function windowEnd(): number {
  return shownEnd;
}

/** Where a value stands whose end has not come. */
export function passState(): number {
  return kernel.state();
}

/** Whether what was passed over last has `"_deleted":true` at its top. */
export function wasDeleted(): boolean {
  return kernel.wasDeleted() !== 0;
}

/** Where the window ends with what may be the beginning of that, after its quote; -1 where it does not. */
export function deletedBegun(): number {
  return placeOf(kernel.deletedBegun());
}

/** Where the parts of a row are that {@linkcode passRow} has taken. */
export const row = {
  idFrom: 0,
  idEnd: 0,
  documentFrom: 0,
  end: 0,
};

const BEFORE_ID_BYTES = '{"id":"'.length;
const BEFORE_DOCUMENT_BYTES = '","docs":[{"ok":'.length;

/**
 * Takes a row of `_bulk_get` that begins at `at`, where it is as most are, with a plain id and one document; that one was
 * the value passed over last. @returns Whether it did.
 */
export function passRow(bytes: Uint8Array, at: number): boolean {
  const end = take(kernel.row, bytes, at);
  if (end <= 0) return false;
  row.idFrom = at + BEFORE_ID_BYTES;
  row.idEnd = placeOf(result[0]!);
  row.documentFrom = row.idEnd + BEFORE_DOCUMENT_BYTES;
  row.end = placeOf(end);
  return true;
}

/** Rows of the feed that {@linkcode passFeedRows} has taken. */
export const feed: { end: number; readonly texts: Uint8Array; readonly spots: Int32Array } = {
  /** Where the last one ends. */
  end: 0,
  /** Their ids and revisions, one after the other; valid until the next ones are taken. */
  texts: new Uint8Array(buffer, kernel.TEXTS.value, WINDOW_BYTES),
  /** Where in these each id ends, and each revision: a row of the feed has 43 bytes at least. */
  spots: new Int32Array(buffer, kernel.SPOTS.value, 2 * Math.floor(WINDOW_BYTES / 43)),
};

/**
 * Takes rows of the feed, of documents with a plain id and one leaf revision, as long as one follows the other from `at`
 * on. @returns How many: none where the first one is another.
 */
export function passFeedRows(bytes: Uint8Array, at: number): number {
  const count = take(kernel.feedRows, bytes, at);
  if (count <= 0) return 0;
  feed.end = placeOf(result[0]!);
  return count;
}

/** Has the kernel take what begins at `at`; once more where the window has cut that and can begin there itself. */
function take(rows: (from: number, end: number) => number, bytes: Uint8Array, at: number): number {
  show(bytes, at);
  const taken = rows(positionOf(at), positionOf(shownEnd));
  if (taken !== CUT || shownEnd === bytes.length || shownFrom === at) return taken;
  load(bytes, at);
  return rows(positionOf(at), positionOf(shownEnd));
}

/** A place in the bytes as the kernel knows it. */
function positionOf(place: number): number {
  return place - shownFrom + INPUT;
}

/** A position of the kernel as one of the bytes; of 0, which is none, -1. */
function placeOf(position: number): number {
  return position === 0 ? -1 : position - INPUT + shownFrom;
}

/** Sees to it that the window shows the byte at `at`. */
function show(bytes: Uint8Array, at: number): void {
  if (shown !== bytes || at < shownFrom || at >= shownEnd) load(bytes, at);
}

function load(bytes: Uint8Array, from: number): void {
  shown = bytes;
  shownFrom = from;
  shownEnd = Math.min(bytes.length, from + WINDOW_BYTES);
  input.set(bytes.subarray(shownFrom, shownEnd));
}
