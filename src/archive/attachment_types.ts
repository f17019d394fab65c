/**
 * couchbackup (2.10 and later, with --attachments) writes an attachment's type as `contentType`, where CouchDB looks for
 * `content_type`, and takes anything else for `application/octet-stream` without a word. In goes a document of such a
 * file, cut anywhere; out come the same bytes with the name that CouchDB knows, in its `_attachments` and nowhere else.
 */
import { Buffer } from "node:buffer";
import { concat } from "../concat.ts";
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "../json/bytes.ts";

const encoder = new TextEncoder();
const ATTACHMENTS = encoder.encode("_attachments");
const WRITTEN = encoder.encode("contentType");
const KNOWN = encoder.encode("content_type");
/** How deep the members are nested that are looked at: those of the document, and those of one attachment. */
const DOCUMENT_DEPTH = 1;
const ATTACHMENT_DEPTH = 3;

/** Renames the member in one document. */
export class AttachmentTypes {
  #depth = 0;
  #inString = false;
  #escaped = false;
  #expectsName = false;
  #inAttachments = false;
  /** The name that is compared, and how much of it has been met; undefined where the string in hand is none. */
  #name: Uint8Array | undefined;
  #matched = 0;

  /** The next bytes with the name that CouchDB knows; the last few of them may come with those behind. */
  push(bytes: Uint8Array): Uint8Array {
    const out: Uint8Array[] = [];
    // What of a name was held back before these bytes is not among them.
    let held = this.#name === WRITTEN ? this.#matched : 0;
    let from = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (!this.#inString) {
        if (byte === QUOTE) this.#beginString();
        else this.#readStructure(byte);
        continue;
      }
      if (this.#name !== undefined) {
        if (byte === QUOTE && this.#matched === this.#name.length) {
          if (this.#name === WRITTEN) {
            // Its bytes lie before, and those that were held back are not written at all.
            out.push(bytes.subarray(from, at - (WRITTEN.length - held)), KNOWN);
            from = at;
          } else {
            this.#inAttachments = true;
          }
          held = 0;
          this.#name = undefined;
          this.#endString();
          continue;
        }
        if (byte === this.#name[this.#matched]) {
          this.#matched++;
          continue;
        }
        if (held > 0) out.push(WRITTEN.subarray(0, held));
        held = 0;
        this.#name = undefined;
      }
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) this.#endString();
      else at = this.#passText(bytes, at);
    }
    // A name that may be the one is held back until its end is known.
    const keep = this.#name === WRITTEN ? this.#matched - held : 0;
    out.push(bytes.subarray(from, bytes.length - keep));
    return out.length === 1 ? out[0]! : concat(out);
  }

  #beginString(): void {
    this.#inString = true;
    this.#matched = 0;
    this.#name = undefined;
    if (!this.#expectsName) return;
    if (this.#depth === DOCUMENT_DEPTH) {
      this.#inAttachments = false;
      this.#name = ATTACHMENTS;
    } else if (this.#depth === ATTACHMENT_DEPTH && this.#inAttachments) this.#name = WRITTEN;
  }

  #endString(): void {
    this.#inString = false;
    this.#expectsName = false;
  }

  /** Passes over what cannot end a string: the place of its last byte. An attachment's content is megabytes of it. */
  #passText(bytes: Uint8Array, at: number): number {
    const quote = bytes.indexOf(QUOTE, at);
    const end = quote < 0 ? bytes.length : quote;
    const backslash = bytes.subarray(at, end).indexOf(BACKSLASH);
    return (backslash < 0 ? end : at + backslash) - 1;
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

/** A whole document with the name that CouchDB knows; the same bytes where there is nothing to rename. */
export function withAttachmentTypes(document: Uint8Array): Uint8Array {
  const { buffer, byteOffset, byteLength } = document;
  if (!Buffer.from(buffer, byteOffset, byteLength).includes('"contentType"')) return document;
  return new AttachmentTypes().push(document);
}
