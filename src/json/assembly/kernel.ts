/**
 * What looks at every byte of a backup, in WebAssembly: passes over JSON sixteen bytes at a time where the processor can do that, and takes the rows that
 * nearly all rows of an answer are like without an object for any of their parts. In: a window of bytes that the program
 * has copied to INPUT. Out: positions in this memory; RESULT, SPOTS and TEXTS hold the rest. Nothing is kept between two
 * calls but what state() tells.
 *
 * This is AssemblyScript, not TypeScript: `deno task assemble` turns it into ../kernel_code.ts, and ../kernel.ts is the
 * door to it.
 *
 * @see https://www.assemblyscript.org/
 */

const QUOTE: u8 = 0x22;
const COMMA: u8 = 0x2c;
const BACKSLASH: u8 = 0x5c;
/** Brackets and braces are told apart by this bit alone: with it set, both that open are 0x7b, and both that close 0x7d. */
const BRACE_BIT: u8 = 0x20;
const OPEN: u8 = 0x7b;
const CLOSE: u8 = 0x7d;
const LINE_FEED: u8 = 0x0a;
const CARRIAGE_RETURN: u8 = 0x0d;

/** How many bytes are looked at together, where the processor has SIMD; it is compiled without that, too. */
const STEP: usize = 16;

export const WINDOW_BYTES: i32 = 65_536;
/** The bytes to be scanned; behind them some may be read, and are not used. */
export const INPUT: usize = memory.data(65_536 + 32, 16);

/** Of a row of `_bulk_get`: where its id ends. Of rows of the feed: where the last one ends. */
export const RESULT: usize = memory.data(4, 16);
/** The ids and revisions of rows of the feed, one behind the other. */
export const TEXTS: usize = memory.data(65_536, 16);
/** Where in TEXTS each id ends, and each revision: room for a window of rows, which have 43 bytes at least. */
export const SPOTS: usize = memory.data(12_288, 16);
/** What a function answers where the window ends before a row does. */
const CUT: i32 = -1;
/** How long an id and its revision may be together. */
const MOST_TEXT_BYTES: usize = 4096;

/** A row of `_bulk_get`, as CouchDB writes it where a document has one leaf revision: {"id":"…","docs":[{"ok":{…}}]} */
const ROW_HEAD = memory.data<u8>([0x7b, 0x22, 0x69, 0x64, 0x22, 0x3a, 0x22]); // {"id":"
const ROW_HEAD_BYTES: usize = 7;
const ROW_DOCS = memory.data<u8>([
  // ","docs":[{"ok":{
  0x22, 0x2c, 0x22, 0x64, 0x6f, 0x63, 0x73, 0x22, 0x3a, 0x5b, 0x7b, 0x22, 0x6f, 0x6b, 0x22, 0x3a, 0x7b,
]);
const ROW_DOCS_BYTES: usize = 17;
const ROW_TAIL = memory.data<u8>([0x7d, 0x5d, 0x7d]); // }]}
const ROW_TAIL_BYTES: usize = 3;

/** A row of the feed, of a document that has one leaf revision: {"seq":null,"id":"…","changes":[{"rev":"…"}]} */
const FEED_HEAD = memory.data<u8>([
  // {"seq":null,"id":"
  0x7b, 0x22, 0x73, 0x65, 0x71, 0x22, 0x3a, 0x6e, 0x75, 0x6c, 0x6c, 0x2c, 0x22, 0x69, 0x64, 0x22, 0x3a, 0x22,
]);
const FEED_HEAD_BYTES: usize = 18;
const FEED_CHANGES = memory.data<u8>([
  // ","changes":[{"rev":"
  0x22, 0x2c, 0x22, 0x63, 0x68, 0x61, 0x6e, 0x67, 0x65, 0x73, 0x22, 0x3a, 0x5b, 0x7b, 0x22, 0x72, 0x65, 0x76, 0x22,
  0x3a, 0x22,
]);
const FEED_CHANGES_BYTES: usize = 21;
const FEED_TAIL = memory.data<u8>([0x22, 0x7d, 0x5d, 0x7d]); // "}]}
const FEED_TAIL_BYTES: usize = 4;

/** How a deleted revision says so, behind the quote that begins the member. CouchDB writes no white space. */
const DELETED = memory.data<u8>([
  // _deleted":true
  0x5f, 0x64, 0x65, 0x6c, 0x65, 0x74, 0x65, 0x64, 0x22, 0x3a, 0x74, 0x72, 0x75, 0x65,
]);
const DELETED_BYTES: usize = 14;

/** How deep the value is open that is being passed over; 0: it is a string. */
let depth: i32 = 0;
let isInString: bool = false;
/** The last byte was a backslash that escapes the next one. */
let isEscaped: bool = false;
let isDeleted: bool = false;
/** Where the window's last bytes may be the beginning of DELETED; 0: they are not. */
let deletedFrom: usize = 0;

/** Whether the value that was passed over last is a deleted revision: `"_deleted":true` stands at its top. */
export function wasDeleted(): bool {
  return isDeleted;
}

/** Where the window ends with what may be the beginning of that member; 0 where it does not. */
export function deletedBegun(): usize {
  return deletedFrom;
}

/** Where a value stands whose end was not in the window, for resume(). */
export function state(): i32 {
  return (depth << 2) | (i32(isInString) << 1) | i32(isEscaped);
}

/** Passes over the object or array that begins at `from`. Returns its end; 0 where the window ends before it. */
export function pass(from: usize, end: usize): usize {
  depth = 0;
  isInString = false;
  isEscaped = false;
  isDeleted = false;
  return passNested(from, end);
}

/** Goes on with a value of that state(); of a string whose quote is behind it, with that of (0, in a string). */
export function resume(from: usize, end: usize, before: i32): usize {
  depth = before >> 2;
  isInString = (before & 2) != 0;
  isEscaped = (before & 1) != 0;
  isDeleted = false;
  return passNested(from, end);
}

/**
 * Takes the row of `_bulk_get` that begins at `from`. Returns its end; 0 where it is not as most are; CUT.
 */
export function row(from: usize, end: usize): i32 {
  if (from + ROW_HEAD_BYTES > end) return CUT;
  if (!standsAt(from, ROW_HEAD, ROW_HEAD_BYTES)) return 0;
  const idEnd = plainEnd(from + ROW_HEAD_BYTES, end);
  if (idEnd + ROW_DOCS_BYTES > end) return CUT;
  if (!standsAt(idEnd, ROW_DOCS, ROW_DOCS_BYTES)) return 0;
  const documentEnd = pass(idEnd + ROW_DOCS_BYTES - 1, end);
  if (documentEnd == 0 || documentEnd + ROW_TAIL_BYTES > end) return CUT;
  if (!standsAt(documentEnd, ROW_TAIL, ROW_TAIL_BYTES)) return 0;
  store<i32>(RESULT, i32(idEnd));
  return i32(documentEnd + ROW_TAIL_BYTES);
}

/**
 * Takes as many rows of the feed as there are from `from` on, one behind the other with a comma between them. Returns
 * how many there are: their texts are in TEXTS and SPOTS, and RESULT says where the last of them ends. 0 where the first
 * one is not as most are; CUT where the window ends before that does.
 */
export function feedRows(from: usize, end: usize): i32 {
  let count: i32 = 0;
  let at = from;
  let text = TEXTS;
  let spot = SPOTS;
  let isCut = false;
  for (;;) {
    const idFrom = at + FEED_HEAD_BYTES;
    isCut = idFrom > end;
    if (isCut || !standsAt(at, FEED_HEAD, FEED_HEAD_BYTES)) break;
    const idEnd = plainEnd(idFrom, end);
    const revFrom = idEnd + FEED_CHANGES_BYTES;
    isCut = revFrom > end;
    if (isCut || !standsAt(idEnd, FEED_CHANGES, FEED_CHANGES_BYTES)) break;
    const revEnd = plainEnd(revFrom, end);
    at = revEnd + FEED_TAIL_BYTES;
    isCut = at > end;
    if (isCut || !standsAt(revEnd, FEED_TAIL, FEED_TAIL_BYTES)) break;
    const idBytes = idEnd - idFrom;
    const revBytes = revEnd - revFrom;
    if (idBytes + revBytes > MOST_TEXT_BYTES) break;
    memory.copy(text, idFrom, idBytes);
    text += idBytes;
    store<i32>(spot, i32(text - TEXTS));
    memory.copy(text, revFrom, revBytes);
    text += revBytes;
    store<i32>(spot + 4, i32(text - TEXTS));
    spot += 8;
    count++;
    store<i32>(RESULT, i32(at));
    if (at >= end || load<u8>(at) != COMMA) break;
    at++;
    while (at < end && (load<u8>(at) == LINE_FEED || load<u8>(at) == CARRIAGE_RETURN)) at++;
  }
  return isCut && count == 0 ? CUT : count;
}

/** Goes on with the value in hand. */
function passNested(from: usize, end: usize): usize {
  let at = from;
  let level = depth;
  deletedFrom = 0;
  if (isInString) {
    at = passString(at, end);
    if (at == 0) return 0;
    isInString = false;
    if (level == 0) return at;
  }
  for (;;) {
    at = nextBrace(at, end);
    if (at >= end) break;
    const byte = load<u8>(at);
    at++;
    if (byte == QUOTE) {
      if (level == 1) watchDeleted(at, end);
      at = passString(at, end);
      if (at == 0) {
        isInString = true;
        break;
      }
    } else if ((byte | BRACE_BIT) == OPEN) {
      level++;
    } else {
      level--;
      if (level == 0) return at;
    }
  }
  depth = level;
  return 0;
}

/** Passes over the rest of a string and its closing quote. Returns what is behind it; 0 where the window ends before. */
function passString(from: usize, end: usize): usize {
  let at = from;
  if (isEscaped && at < end) {
    at++;
    isEscaped = false;
  }
  for (at = nextQuote(at, end); at < end; at = nextQuote(at + 2, end)) {
    if (load<u8>(at) == QUOTE) return at + 1;
    if (at + 1 == end) isEscaped = true;
  }
  return 0;
}

/** Where the next quote, bracket or brace stands; where the window has none, somewhere from its end on. */
function nextBrace(from: usize, end: usize): usize {
  let at = from;
  if (ASC_FEATURE_SIMD) {
    for (; at < end; at += STEP) {
      const bytes = v128.load(at);
      const braces = v128.or(bytes, i8x16.splat(BRACE_BIT));
      const found = i8x16.bitmask(v128.or(
        i8x16.eq(bytes, i8x16.splat(QUOTE)),
        v128.or(i8x16.eq(braces, i8x16.splat(OPEN)), i8x16.eq(braces, i8x16.splat(CLOSE))),
      ));
      if (found != 0) return at + ctz(found);
    }
  } else {
    for (; at < end; at++) {
      const byte = load<u8>(at);
      const brace = byte | BRACE_BIT;
      if (byte == QUOTE || brace == OPEN || brace == CLOSE) return at;
    }
  }
  return at;
}

/** The same of the next quote or backslash. */
function nextQuote(from: usize, end: usize): usize {
  let at = from;
  if (ASC_FEATURE_SIMD) {
    for (; at < end; at += STEP) {
      const bytes = v128.load(at);
      const found = i8x16.bitmask(
        v128.or(i8x16.eq(bytes, i8x16.splat(QUOTE)), i8x16.eq(bytes, i8x16.splat(BACKSLASH))),
      );
      if (found != 0) return at + ctz(found);
    }
  } else {
    for (; at < end; at++) {
      const byte = load<u8>(at);
      if (byte == QUOTE || byte == BACKSLASH) return at;
    }
  }
  return at;
}

/** Looks whether DELETED stands at `at`, or its beginning at the window's end. */
function watchDeleted(at: usize, end: usize): void {
  const length = min(DELETED_BYTES, end - at);
  if (!standsAt(at, DELETED, length)) return;
  if (length == DELETED_BYTES) isDeleted = true;
  else deletedFrom = at;
}

/**
 * Where text ends that stands in JSON as it is: at a quote, a backslash, or what is no printable ASCII. Where the window
 * has none of these, somewhere from its end on.
 */
function plainEnd(from: usize, end: usize): usize {
  let at = from;
  if (ASC_FEATURE_SIMD) {
    for (; at < end; at += STEP) {
      const bytes = v128.load(at);
      // As signed numbers, bytes beyond ASCII are less than a space, too.
      const found = i8x16.bitmask(v128.or(
        v128.or(i8x16.lt_s(bytes, i8x16.splat(0x20)), i8x16.eq(bytes, i8x16.splat(0x7f))),
        v128.or(i8x16.eq(bytes, i8x16.splat(QUOTE)), i8x16.eq(bytes, i8x16.splat(BACKSLASH))),
      ));
      if (found != 0) return at + ctz(found);
    }
  } else {
    for (; at < end; at++) {
      const byte = load<u8>(at);
      if (byte < 0x20 || byte > 0x7e || byte == QUOTE || byte == BACKSLASH) return at;
    }
  }
  return at;
}

function standsAt(at: usize, text: usize, length: usize): bool {
  for (let index: usize = 0; index < length; index++) {
    if (load<u8>(at + index) != load<u8>(text + index)) return false;
  }
  return true;
}
