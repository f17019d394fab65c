/**
 * Other programs write attachments in forms that CouchDB does not know. In goes a document of one of them, cut
 * anywhere; out come the same bytes with what CouchDB knows, in its `_attachments` and nowhere else.
 *
 * - couchbackup (2.10 and later, with --attachments) writes the type as `contentType`. CouchDB looks for
 *   `content_type`, and takes anything else for `application/octet-stream` without a word.
 * - pouchdb-dump writes the content as what Node makes of its bytes, `{"type":"Buffer","data":[104,…]}`. CouchDB
 *   refuses it.
 */
import { Buffer } from "node:buffer";
import { concat } from "../concat.ts";
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "../json/bytes.ts";
import { FramingError } from "../json/scan.ts";

/** How a program writes attachments, where that is not as CouchDB does. */
export type AttachmentForm = "contentType" | "Buffer";

const encoder = new TextEncoder();
const ATTACHMENTS = encoder.encode('_attachments"');
/** What is written after the quote that begins a member of an attachment, and what CouchDB knows instead. */
const FORMS: Record<AttachmentForm, { written: Uint8Array; known: Uint8Array }> = {
  contentType: { written: encoder.encode('contentType"'), known: encoder.encode('content_type"') },
  Buffer: { written: encoder.encode('data":{"type":"Buffer","data":['), known: encoder.encode('data":"') },
};
/** How deep the members are nested that are looked at: those of the document, and those of one attachment. */
const DOCUMENT_DEPTH = 1;
const ATTACHMENT_DEPTH = 3;
/** How many bytes become base64 at once; a multiple of three. */
const BASE64_BYTES = 3 << 10;
const ZERO = 0x30;
const NINE = 0x39;
const ENDING_QUOTE = Uint8Array.of(QUOTE);

/** Rewrites one document. */
export class AttachmentForms {
  readonly #written: Uint8Array;
  readonly #known: Uint8Array;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #expectsName = false;
  #inAttachments = false;
  /** What the string in hand is compared with, and how much of that has been met. */
  #pattern: Uint8Array | undefined;
  #matched = 0;
  /** The content of an attachment whose bytes are written as numbers. */
  #numbers: ByteNumbers | undefined;

  constructor(form: AttachmentForm) {
    this.#written = FORMS[form].written;
    this.#known = FORMS[form].known;
  }

  /**
   * The next bytes as CouchDB knows them; the last few of them may come with the next ones.
   *
   * @throws FramingError when numbers that stand for bytes are none.
   */
  push(bytes: Uint8Array): Uint8Array {
    const out: Uint8Array[] = [];
    // What was held back before these bytes is not among them.
    let held = this.#pattern === this.#written ? this.#matched : 0;
    let from = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (this.#numbers !== undefined) {
        from = at + 1;
        if (!this.#numbers.take(byte, out)) continue;
        this.#numbers = undefined;
        this.#expectsName = false;
        continue;
      }
      if (this.#pattern !== undefined) {
        const pattern = this.#pattern;
        if (byte === pattern[this.#matched]) {
          if (++this.#matched < pattern.length) continue;
          this.#pattern = undefined;
          this.#endString();
          if (pattern === ATTACHMENTS) this.#inAttachments = true;
          else {
            out.push(bytes.subarray(from, at + 1 - (pattern.length - held)), this.#known);
            from = at + 1;
            held = 0;
            if (pattern === FORMS.Buffer.written) this.#numbers = new ByteNumbers();
          }
          continue;
        }
        this.#pattern = undefined;
        const begun = pattern.subarray(0, this.#matched);
        if (held > 0) out.push(begun.subarray(0, held));
        held = 0;
        for (const passed of begun) this.#read(passed);
      }
      this.#read(byte);
      if (this.#inString && !this.#escaped && this.#pattern === undefined) at = passText(bytes, at + 1) - 1;
    }
    // What may be rewritten is held back until its end is known.
    const keep = this.#pattern === this.#written ? this.#matched - held : 0;
    out.push(bytes.subarray(from, bytes.length - keep));
    return out.length === 1 ? out[0]! : concat(out);
  }

  #read(byte: number): void {
    if (!this.#inString) {
      if (byte === QUOTE) this.#beginString();
      else this.#readStructure(byte);
    } else if (this.#escaped) this.#escaped = false;
    else if (byte === BACKSLASH) this.#escaped = true;
    else if (byte === QUOTE) this.#endString();
  }

  #beginString(): void {
    this.#inString = true;
    this.#matched = 0;
    if (!this.#expectsName) return;
    if (this.#depth === DOCUMENT_DEPTH) {
      this.#inAttachments = false;
      this.#pattern = ATTACHMENTS;
    } else if (this.#depth === ATTACHMENT_DEPTH && this.#inAttachments) this.#pattern = this.#written;
  }

  #endString(): void {
    this.#inString = false;
    this.#expectsName = false;
  }

  #readStructure(byte: number): void {
    switch (byte) {
      case OPEN_BRACE:
        this.#depth++;
        this.#expectsName = true;
        break;
      case OPEN_BRACKET:
        // What is in an array is deeper, and no attachment.
        this.#depth += ATTACHMENT_DEPTH;
        this.#expectsName = false;
        break;
      case CLOSE_BRACE:
        this.#depth--;
        break;
      case CLOSE_BRACKET:
        this.#depth -= ATTACHMENT_DEPTH;
        break;
      case COMMA:
        this.#expectsName = true;
    }
  }
}

/** Bytes that are written as numbers, `104,101]}`, on their way to base64. */
class ByteNumbers {
  readonly #bytes = new Uint8Array(BASE64_BYTES);
  #count = 0;
  /** The number in hand; -1 where none has begun. */
  #number = -1;
  #isEmpty = true;
  #isClosed = false;

  /** Takes a byte of the text; what of base64 is complete goes to `out`. @returns Whether the content has ended. */
  take(byte: number, out: Uint8Array[]): boolean {
    if (this.#isClosed) {
      if (byte !== CLOSE_BRACE) this.#fail();
      this.#flush(out);
      out.push(ENDING_QUOTE);
      return true;
    }
    if (byte >= ZERO && byte <= NINE) {
      this.#number = Math.max(this.#number, 0) * 10 + byte - ZERO;
      if (this.#number > 0xff) this.#fail();
      return false;
    }
    if (byte !== COMMA && byte !== CLOSE_BRACKET) this.#fail();
    this.#isClosed = byte === CLOSE_BRACKET;
    if (this.#number < 0 && !(this.#isClosed && this.#isEmpty)) this.#fail();
    if (this.#number >= 0) this.#bytes[this.#count++] = this.#number;
    this.#isEmpty = false;
    this.#number = -1;
    if (this.#count === BASE64_BYTES) this.#flush(out);
    return false;
  }

  #flush(out: Uint8Array[]): void {
    out.push(encoder.encode(Buffer.from(this.#bytes.buffer, 0, this.#count).toString("base64")));
    this.#count = 0;
  }

  #fail(): never {
    throw new FramingError("An attachment's content is no list of bytes", 0);
  }
}

/** Where text stops that cannot end a string. An attachment's content is megabytes of it. */
function passText(bytes: Uint8Array, from: number): number {
  const quote = bytes.indexOf(QUOTE, from);
  const end = quote < 0 ? bytes.length : quote;
  const backslash = bytes.subarray(from, end).indexOf(BACKSLASH);
  return backslash < 0 ? end : from + backslash;
}

/** A whole document in CouchDB's form; the same bytes where it has no attachments. */
export function inCouchForm(document: Uint8Array, form: AttachmentForm): Uint8Array {
  return mayHaveAttachments(document) ? new AttachmentForms(form).push(document) : document;
}

/** Few members begin with an underscore: to look for these is many times as fast as to look for the name. */
function mayHaveAttachments(document: Uint8Array): boolean {
  for (let at = document.indexOf(ATTACHMENTS[0]!); at >= 0; at = document.indexOf(ATTACHMENTS[0]!, at + 1)) {
    if (document[at + 1] === ATTACHMENTS[1] && document[at + 2] === ATTACHMENTS[2]) return true;
  }
  return false;
}
