/**
 * Finds documents in JSON without parsing them, so that every byte CouchDB sent can be stored and restored as it came:
 * a JSON round trip would change 9007199254740993 and 1.0. In go pieces of a byte stream, cut anywhere; out come the
 * places where rows and documents begin and end, the ids of rows, and the errors CouchDB put into them. Nothing is
 * copied but ids, member names and errors, so memory does not depend on the size of a document. value.ts passes over
 * what is inside of them, members.ts looks up a few texts in a document. Pure.
 */
import { concat } from "../concat.ts";
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "./bytes.ts";
import { forget, passRow, row, wasDeleted } from "./kernel.ts";
import { ValuePasser } from "./value.ts";

/** How documents lie in a piece of JSON. */
export interface JsonShape {
  /** The member of the outermost object that holds the array of elements; null when the array is outermost. */
  array: string | null;
  /**
   * What an element is: `row` is what `_bulk_get` answers, `{"id":…,"docs":[{"ok":…}|{"error":…}]}`; `document` is a
   * document itself; `wrapped` is an object of which one member is the document, as in `_all_docs?include_docs=true`.
   */
  element: "row" | "document" | "wrapped";
  /** The member of a wrapped element that is the document. @default "doc" */
  member?: "doc" | "ok";
  /** What is in the array are objects of which this member is the array of elements, as in `_all_docs/queries`. */
  nested?: string;
  /** There is no array: the outermost value is an element. `array` must be null. @default false */
  bare?: boolean;
  /** Further values may follow the outermost one, as in couchbackup's files: an array on each line. @default false */
  repeated?: boolean;
}

/** The shape of a chunk, and of the answer of `POST /db/_bulk_get`. */
export const BULK_GET_SHAPE: JsonShape = { array: "results", element: "row" };

/** The JSON ends early, or is not of the shape that was asked for. */
export class FramingError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} (byte ${offset})`);
    this.offset = offset;
    this.name = "FramingError";
  }
}

/** What {@linkcode DocumentScanner.next} found. */
export const Found = {
  /** All pushed bytes are read. */
  Nothing: 0,
  /** An element begins at `position`. */
  ElementStart: 1,
  /** An element ends before `position`; `id` is its id, if it had one. */
  ElementEnd: 2,
  /** A document begins at `position`. */
  DocumentStart: 3,
  /** A document ends before `position`. */
  DocumentEnd: 4,
  /** CouchDB has put an error where a document was asked for; `error` holds it. */
  Error: 5,
  /**
   * An element from `position` to `elementEnd` that is as most are: it has an id, and one document, from
   * `documentStart` on. Of an element that is found so nothing else is.
   */
  PlainElement: 6,
} as const;
/** One of them. */
export type Found = (typeof Found)[keyof typeof Found];

/** What CouchDB says where there is no document: an error row of `_bulk_get`, and its like elsewhere. */
export interface RowError {
  error: string;
  reason: string;
}

/** No id, member name or error row is longer; a "string" beyond it means that the framing is lost. */
const MAX_CAPTURE_BYTES = 1 << 20;

/** Where in the shape the scanner is; a container's contents have the next level. */
const Level = {
  Outermost: 0,
  OuterObject: 1,
  Groups: 2,
  Group: 3,
  Elements: 4,
  Element: 5,
  Docs: 6,
  DocsEntry: 7,
} as const;
type Level = (typeof Level)[keyof typeof Level];

/** What may come next within a container. */
const Expect = {
  Value: 0,
  /** A value, or the end of the array just opened. */
  ValueOrEnd: 1,
  /** A member name, or the end of the object just opened. */
  NameOrEnd: 2,
  Name: 3,
  Colon: 4,
  CommaOrEnd: 5,
  /** Nothing but white space: the outermost value is closed. */
  End: 6,
} as const;
type Expect = (typeof Expect)[keyof typeof Expect];

/** What the value being passed over is. */
const Value = {
  Ignored: 0,
  MemberName: 1,
  Id: 2,
  Document: 3,
  Error: 4,
  /** The revision that `open_revs` did not find. */
  Missing: 5,
} as const;
type Value = (typeof Value)[keyof typeof Value];

const decoder = new TextDecoder("utf-8", { fatal: true });
const SHORT_TEXT_BYTES = 64;
const codes: number[] = [];

/** The names that every row has, each with the quote that ends it: these are compared and not decoded. */
const USUAL_NAMES = ["id", "docs", "ok", "error", "results", "doc"].map((name) => ({
  name,
  bytes: new TextEncoder().encode(`${name}"`),
}));

/**
 * A pull scanner: push bytes, call `next()` until it returns `Found.Nothing`, push more, and `finish()` at the end.
 *
 * @example
 * ```ts
 * import { BULK_GET_SHAPE, DocumentScanner, Found } from "./scan.ts";
 * const bytes = new TextEncoder().encode('{"results":[{"id":"a","docs":[{"ok":{"n":1.0}}]}]}');
 * const scanner = new DocumentScanner(BULK_GET_SHAPE);
 * scanner.push(bytes);
 * let start = 0, text = "";
 * for (let found = scanner.next(); found !== Found.Nothing; found = scanner.next()) {
 *   if (found === Found.DocumentStart) start = scanner.position;
 *   if (found === Found.DocumentEnd) text = new TextDecoder().decode(bytes.subarray(start, scanner.position));
 * }
 * scanner.finish();
 * if (text !== '{"n":1.0}') throw new Error(text);
 * ```
 */
export class DocumentScanner {
  /** The error that was found last. */
  error: RowError | undefined;
  /** The id of the element that ended last. */
  get id(): string | undefined {
    if (this.#idFrom >= 0) this.#decodeId();
    return this.#id;
  }
  /**
   * Of how many bytes the id consists where it stands, between its quotes; 0 where it lies in bytes that were pushed
   * before.
   */
  get idBytes(): number {
    return this.#idFrom < 0 ? 0 : this.#idEnd - this.#idFrom;
  }
  /** Whether the document that ended last is a deleted revision: `"_deleted":true` stands at its top. */
  get isDeleted(): boolean {
    return this.#isDeleted ?? this.#passer.isDeleted;
  }
  /** Where in the bytes pushed last the place found is. */
  position = 0;
  /** Where the plain element ends that was found last. */
  elementEnd = 0;
  /** Where its document begins. */
  documentStart = 0;

  readonly #shape: JsonShape;
  readonly #findsPlain: boolean;
  #bytes: Uint8Array = new Uint8Array(0);
  /** How many bytes were pushed before these, for error messages. */
  #passed = 0;
  /** The next byte to be read. */
  #at = 0;
  #level: Level = Level.Outermost;
  #expect: Expect = Expect.Value;
  #memberName = "";
  #id: string | undefined;
  /** Where an id lies that nobody has asked for yet; -1 where it is decoded. */
  #idFrom = -1;
  #idEnd = -1;
  #sawArray = false;
  #groupSawArray = false;

  readonly #passer = new ValuePasser();
  /** Of a document that was found in a plain element: whether it is deleted. */
  #isDeleted: boolean | undefined;
  #isPassing = false;
  #value: Value = Value.Ignored;

  #captureFrom = -1;
  #captured: Uint8Array[] = [];
  #capturedBytes = 0;

  /**
   * @param options.findsPlain Whether a whole row that is as most are is found at once, as `Found.PlainElement`.
   * @default false
   */
  constructor(shape: JsonShape, { findsPlain = false }: { findsPlain?: boolean } = {}) {
    this.#shape = shape;
    this.#findsPlain = findsPlain && shape.element === "row";
  }

  /** Whether the outermost value is closed. */
  get isClosed(): boolean {
    return this.#expect === Expect.End && !this.#isPassing;
  }

  /** Whether the bytes so far hold anything but white space. */
  get hasBegun(): boolean {
    return this.#isPassing || this.#level !== Level.Outermost || this.#expect !== Expect.Value;
  }

  /** Takes the next bytes. They must not change until `next()` has returned `Found.Nothing`. */
  push(bytes: Uint8Array): void {
    this.#passed += this.#bytes.length;
    forget(bytes);
    this.#bytes = bytes;
    this.#at = 0;
    if (this.#captureFrom >= 0) this.#captureFrom = 0;
  }

  /**
   * Goes on to the next place of interest.
   *
   * @throws FramingError when the bytes cannot be JSON of the shape.
   */
  next(): Found {
    for (;;) {
      if (this.#isPassing) {
        const end = this.#passer.pass(this.#bytes, this.#at);
        if (end < 0) {
          this.#at = this.#bytes.length;
          this.#keepCaptured(this.#at);
          return this.#nothing();
        }
        this.#at = end;
        const found = this.#afterValue();
        if (found !== Found.Nothing) return found;
        continue;
      }
      if (this.#at >= this.#bytes.length) return this.#nothing();
      const byte = this.#bytes[this.#at]!;
      if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) {
        this.#at++;
        continue;
      }
      const found = this.#structure(byte);
      if (found !== Found.Nothing) return found;
    }
  }

  /**
   * Says that no bytes follow.
   *
   * @throws FramingError when the JSON is not closed or had no array of the shape: it was cut off, or is something
   * else.
   */
  finish(): void {
    if (!this.isClosed) this.#fail("JSON ends before it is closed");
    if (!this.#sawArray) this.#fail(`JSON has no array "${this.#shape.array}"`);
  }

  /** Whether `id` is `text`: compared where it stands, as long as both are plain. */
  idIs(text: string): boolean {
    const bytes = this.#bytes;
    const from = this.#idFrom;
    const length = this.#idEnd - from;
    if (from < 0 || text.length !== length) return this.id === text;
    for (let index = 0; index < length; index++) {
      const byte = bytes[from + index]!;
      if (byte === BACKSLASH || byte < 0x20 || byte > 0x7e) return this.id === text;
      if (byte !== text.charCodeAt(index)) return false;
    }
    return true;
  }

  /** Whether `id` is these bytes, which are plain: printable ASCII without quotes and backslashes. */
  idIsPlain(plain: Uint8Array, begin: number, end: number): boolean {
    const bytes = this.#bytes;
    const from = this.#idFrom;
    const length = end - begin;
    if (from < 0 || this.#idEnd - from !== length) return this.id === asciiText(plain, begin, end);
    for (let index = 0; index < length; index++) {
      const byte = bytes[from + index]!;
      if (byte === plain[begin + index]) continue;
      if (byte === BACKSLASH || byte < 0x20 || byte > 0x7e) return this.id === asciiText(plain, begin, end);
      return false;
    }
    return true;
  }

  #fail(message: string): never {
    throw new FramingError(message, this.#passed + this.#at);
  }

  /** Takes one structural byte: a bracket, comma, colon, or the first byte of a name or value. */
  #structure(byte: number): Found {
    switch (this.#expect) {
      case Expect.ValueOrEnd:
        if (byte === CLOSE_BRACKET) return this.#close();
        return this.#beginValue(byte);
      case Expect.Value:
        return this.#beginValue(byte);
      case Expect.NameOrEnd:
        if (byte === CLOSE_BRACE) return this.#close();
        return this.#beginName(byte);
      case Expect.Name:
        return this.#beginName(byte);
      case Expect.Colon:
        if (byte !== COLON) this.#fail("JSON has no colon after a member name");
        this.#at++;
        this.#expect = Expect.Value;
        return Found.Nothing;
      case Expect.CommaOrEnd: {
        const inArray = this.#level === Level.Elements || this.#level === Level.Docs || this.#level === Level.Groups;
        if (byte === (inArray ? CLOSE_BRACKET : CLOSE_BRACE)) return this.#close();
        if (byte !== COMMA) this.#fail("JSON has neither a comma nor an end after a value");
        this.#at++;
        this.#expect = inArray ? Expect.Value : Expect.Name;
        return Found.Nothing;
      }
      case Expect.End:
        if (this.#shape.repeated === true && byte === (this.#shape.bare === true ? OPEN_BRACE : OPEN_BRACKET)) {
          return this.#beginValue(byte);
        }
        return this.#fail("JSON goes on after its end");
    }
  }

  #beginName(byte: number): Found {
    if (byte !== QUOTE) this.#fail("JSON has something other than a member name");
    for (let index = 0; index < USUAL_NAMES.length; index++) {
      const { name, bytes } = USUAL_NAMES[index]!;
      if (!this.#standsAt(this.#at + 1, bytes)) continue;
      this.#memberName = name;
      this.#at += 1 + bytes.length;
      this.#expect = Expect.Colon;
      return Found.Nothing;
    }
    this.#beginPassing(Value.MemberName, byte);
    return Found.Nothing;
  }

  #standsAt(at: number, bytes: Uint8Array): boolean {
    for (let index = 0; index < bytes.length; index++) if (this.#bytes[at + index] !== bytes[index]) return false;
    return true;
  }

  #beginValue(byte: number): Found {
    switch (this.#level) {
      case Level.Outermost:
        if (this.#shape.bare === true) {
          this.#sawArray = true;
          return this.#beginElement(byte);
        }
        if (this.#shape.array === null) {
          if (byte !== OPEN_BRACKET) this.#fail("JSON is not an array");
          return this.#open(Level.Elements, Expect.ValueOrEnd);
        }
        if (byte !== OPEN_BRACE) this.#fail("JSON is not an object");
        return this.#open(Level.OuterObject, Expect.NameOrEnd);
      case Level.OuterObject:
        if (this.#memberName !== this.#shape.array) break;
        if (byte !== OPEN_BRACKET) this.#fail(`JSON member "${this.#memberName}" is not an array`);
        this.#sawArray = true;
        return this.#open(this.#shape.nested === undefined ? Level.Elements : Level.Groups, Expect.ValueOrEnd);
      case Level.Groups:
        if (byte !== OPEN_BRACE) this.#fail("JSON array holds something other than an object");
        this.#groupSawArray = false;
        return this.#open(Level.Group, Expect.NameOrEnd);
      case Level.Group:
        if (this.#memberName !== this.#shape.nested) break;
        if (byte !== OPEN_BRACKET) this.#fail(`JSON member "${this.#memberName}" is not an array`);
        this.#groupSawArray = true;
        return this.#open(Level.Elements, Expect.ValueOrEnd);
      case Level.Elements:
        return this.#beginElement(byte);
      case Level.Element:
        if (this.#shape.element === "wrapped") {
          if (this.#memberName === (this.#shape.member ?? "doc")) return this.#beginDocument(byte);
          if (this.#memberName === "error" || this.#memberName === "missing") {
            this.#beginPassing(this.#memberName === "error" ? Value.Error : Value.Missing, byte);
            return Found.Nothing;
          }
        }
        if (this.#memberName === "id" && byte === QUOTE) {
          this.#beginPassing(Value.Id, byte);
          return Found.Nothing;
        }
        if (this.#shape.element === "row" && this.#memberName === "docs") {
          if (byte !== OPEN_BRACKET) this.#fail('JSON member "docs" is not an array');
          return this.#open(Level.Docs, Expect.ValueOrEnd);
        }
        break;
      case Level.Docs:
        if (byte !== OPEN_BRACE) this.#fail('JSON array "docs" holds something other than an object');
        return this.#open(Level.DocsEntry, Expect.NameOrEnd);
      case Level.DocsEntry:
        if (this.#memberName === "ok") {
          return this.#beginDocument(byte);
        }
        if (this.#memberName === "error") {
          this.#beginPassing(Value.Error, byte);
          return Found.Nothing;
        }
        break;
    }
    this.#beginPassing(Value.Ignored, byte);
    return Found.Nothing;
  }

  #beginElement(byte: number): Found {
    if (this.#shape.element === "document") return this.#beginDocument(byte);
    if (byte !== OPEN_BRACE) {
      const { bare } = this.#shape;
      this.#fail(bare === true ? "JSON is not an object" : "JSON array holds something other than an object");
    }
    this.#id = undefined;
    this.#idFrom = -1;
    this.position = this.#at;
    if (this.#findsPlain && passRow(this.#bytes, this.#at)) return this.#takePlain();
    this.#open(Level.Element, Expect.NameOrEnd);
    return Found.ElementStart;
  }

  /** Uses the row that was just passed over. */
  #takePlain(): Found {
    this.#idFrom = row.idFrom;
    this.#idEnd = row.idEnd;
    this.#isDeleted = wasDeleted();
    this.documentStart = row.documentFrom;
    this.elementEnd = this.#at = row.end;
    this.#endElement();
    return Found.PlainElement;
  }

  #beginDocument(byte: number): Found {
    this.position = this.#at;
    this.#isDeleted = undefined;
    this.#beginPassing(Value.Document, byte);
    return Found.DocumentStart;
  }

  #open(level: Level, expect: Expect): Found {
    if (level === Level.Elements) this.#sawArray = true;
    this.#level = level;
    this.#expect = expect;
    this.#at++;
    return Found.Nothing;
  }

  /** Leaves the container in hand, whose last byte is next. */
  #close(): Found {
    this.#at++;
    const left = this.#level;
    this.#expect = Expect.CommaOrEnd;
    switch (left) {
      case Level.DocsEntry:
        this.#level = Level.Docs;
        break;
      case Level.Docs:
        this.#level = Level.Element;
        break;
      case Level.Element:
        this.#endElement();
        this.position = this.#at;
        return Found.ElementEnd;
      case Level.Group:
        if (!this.#groupSawArray) this.#fail(`JSON has no array "${this.#shape.nested}" in one of its results`);
        this.#level = Level.Groups;
        break;
      case Level.Groups:
        this.#level = Level.OuterObject;
        break;
      case Level.Elements:
        if (this.#shape.nested !== undefined) {
          this.#level = Level.Group;
          break;
        }
        if (this.#shape.array !== null) {
          this.#level = Level.OuterObject;
          break;
        }
        this.#level = Level.Outermost;
        this.#expect = Expect.End;
        break;
      default:
        this.#level = Level.Outermost;
        this.#expect = Expect.End;
    }
    return Found.Nothing;
  }

  /** Goes back to what the element that is closed is in. */
  #endElement(): void {
    this.#level = this.#shape.bare === true ? Level.Outermost : Level.Elements;
    this.#expect = this.#shape.bare === true ? Expect.End : Expect.CommaOrEnd;
  }

  /** Begins to pass over the value whose first byte is next. */
  #beginPassing(value: Value, byte: number): void {
    this.#value = value;
    if (value === Value.MemberName || value === Value.Id || value === Value.Error || value === Value.Missing) {
      this.#captureFrom = this.#at;
      if (this.#captured.length > 0) this.#captured = [];
      this.#capturedBytes = 0;
    }
    if (byte === COMMA || byte === COLON || byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      this.#fail("JSON has no value where one must be");
    }
    this.#passer.begin(byte);
    this.#isPassing = true;
    if (byte === QUOTE) this.#at++;
  }

  /** Uses the value that was just passed over. */
  #afterValue(): Found {
    this.#isPassing = false;
    this.#expect = Expect.CommaOrEnd;
    switch (this.#value) {
      case Value.MemberName:
        this.#memberName = this.#parseCaptured() as string;
        this.#expect = Expect.Colon;
        return Found.Nothing;
      case Value.Id:
        if (this.#captured.length === 0) {
          this.#idFrom = this.#captureFrom + 1;
          this.#idEnd = this.#at - 1;
          this.#captureFrom = -1;
        } else this.#id = this.#parseCaptured() as string;
        return Found.Nothing;
      case Value.Error: {
        const parsed = this.#parseCaptured() as { error?: unknown; reason?: unknown } | string | null;
        // A row of `_all_docs` has the error's name alone.
        const { error, reason } = typeof parsed === "string" ? { error: parsed, reason: "" } : parsed ?? {};
        this.error = { error: textOf(error, "unknown"), reason: textOf(reason, "") };
        return Found.Error;
      }
      case Value.Missing:
        this.error = { error: "not_found", reason: `missing: ${textOf(this.#parseCaptured(), "")}` };
        return Found.Error;
      case Value.Document:
        this.position = this.#at;
        if (this.#level !== Level.Element && this.#level !== Level.DocsEntry) this.#endElement();
        return Found.DocumentEnd;
      default:
        return Found.Nothing;
    }
  }

  /** The bytes are read, and about to go. */
  #nothing(): Found {
    if (this.#idFrom >= 0) this.#decodeId();
    return Found.Nothing;
  }

  /** Keeps what the value in hand has of these bytes, for they are about to go. */
  #keepCaptured(end: number): void {
    if (this.#captureFrom < 0) return;
    this.#capturedBytes += end - this.#captureFrom;
    if (this.#capturedBytes > MAX_CAPTURE_BYTES) this.#fail("JSON has an id, member name or error that does not end");
    this.#captured.push(this.#bytes.slice(this.#captureFrom, end));
    this.#captureFrom = end;
  }

  #decodeId(): void {
    const from = this.#idFrom;
    this.#idFrom = -1;
    this.#id = this.#plainText(from, this.#idEnd) ??
      this.#parse(this.#bytes.subarray(from - 1, this.#idEnd + 1)) as string;
  }

  /**
   * The text between two quotes; undefined where it is not short and plain: most ids are, and a decoder costs more than
   * they.
   */
  #plainText(from: number, end: number): string | undefined {
    if (end - from > SHORT_TEXT_BYTES) return undefined;
    codes.length = end - from;
    for (let at = from; at < end; at++) {
      const byte = this.#bytes[at]!;
      if (byte < 0x20 || byte > 0x7e || byte === BACKSLASH) return undefined;
      codes[at - from] = byte;
    }
    return String.fromCharCode.apply(null, codes);
  }

  #parseCaptured(): unknown {
    let bytes = this.#bytes.subarray(this.#captureFrom, this.#at);
    if (this.#captured.length > 0) {
      this.#keepCaptured(this.#at);
      bytes = concat(this.#captured);
    }
    this.#captureFrom = -1;
    this.#captured = [];
    return this.#parse(bytes);
  }

  #parse(bytes: Uint8Array): unknown {
    try {
      return JSON.parse(decoder.decode(bytes));
    } catch {
      return this.#fail("JSON has an id, member name or error that does not parse");
    }
  }
}

function asciiText(bytes: Uint8Array, begin: number, end: number): string {
  return decoder.decode(bytes.subarray(begin, end));
}

/** A JSON value as text; one that is no text as its JSON, for a member `toString` may be anything. */
function textOf(value: unknown, otherwise: string): string {
  if (value === undefined || value === null) return otherwise;
  return typeof value === "string" ? value : JSON.stringify(value);
}
