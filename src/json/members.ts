/**
 * Looks up text members at the top of a JSON object without parsing the rest: who a raw document is. In go bytes, cut
 * anywhere; out come the values found so far. Pure.
 */
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "./bytes.ts";

/** Names and values beyond this length are not what is looked for. */
const MOST_CAPTURED_BYTES = 1 << 20;

const decoder = new TextDecoder();

/** Finds the members `names` of one object, as far as they are text, while its bytes come in. */
export class TextMemberScanner<Name extends string> {
  /** What was found so far. */
  readonly found: Partial<Record<Name, string>> = {};
  /** All names are found, or the object has ended, or it is none: further bytes change nothing. */
  isDone = false;

  readonly #names: readonly string[];
  #missing: number;
  #depth = 0;
  #expectsName = false;
  #name: string | undefined;
  #inString = false;
  #escaped = false;
  /** The bytes between the quotes of the string in hand, when they matter. */
  #captured: number[] | undefined;

  constructor(names: readonly Name[]) {
    this.#names = names;
    this.#missing = names.length;
  }

  /** Takes the next bytes. */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.isDone; at++) {
      const byte = bytes[at]!;
      if (this.#inString) this.#readString(byte);
      else if (byte === QUOTE) this.#beginString();
      else this.#readStructure(byte);
    }
  }

  #beginString(): void {
    this.#inString = true;
    if (this.#depth === 0) this.isDone = true;
    const matters = this.#expectsName || (this.#name !== undefined && this.#names.includes(this.#name));
    this.#captured = this.#depth === 1 && matters ? [] : undefined;
  }

  #readString(byte: number): void {
    if (byte === QUOTE && !this.#escaped) return this.#endString();
    this.#escaped = byte === BACKSLASH && !this.#escaped;
    this.#captured?.push(byte);
    if (this.#captured !== undefined && this.#captured.length > MOST_CAPTURED_BYTES) this.#captured = undefined;
  }

  #endString(): void {
    this.#inString = false;
    if (this.#depth !== 1) return;
    const text = this.#captured === undefined ? undefined : parseText(this.#captured);
    if (this.#expectsName) {
      this.#name = text;
      this.#expectsName = false;
    } else if (text !== undefined) {
      const name = this.#name as Name;
      if (this.found[name] === undefined) this.#missing--;
      this.found[name] = text;
      this.isDone = this.#missing === 0;
    }
  }

  #readStructure(byte: number): void {
    switch (byte) {
      case OPEN_BRACE:
      case OPEN_BRACKET:
        this.isDone = this.#depth === 0 && byte === OPEN_BRACKET;
        this.#expectsName = this.#depth === 0;
        this.#depth++;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        this.#depth--;
        this.isDone = this.#depth === 0;
        break;
      case COMMA:
        this.#expectsName = this.#depth === 1;
        break;
      case COLON:
        break;
      default:
        // A number, true, false or null where an object must begin.
        if (this.#depth === 0 && byte > 0x20) this.isDone = true;
    }
  }
}

/**
 * Reads the members `names` of the object that `bytes` begins with, as far as they are text.
 *
 * @returns What was found before all names were, the object ended, or the bytes did. Nothing for what is not an object.
 */
export function readTextMembers<Name extends string>(
  bytes: Uint8Array,
  names: readonly Name[],
): Partial<Record<Name, string>> {
  const scanner = new TextMemberScanner(names);
  scanner.push(bytes);
  return scanner.found;
}

function parseText(bytes: number[]): string | undefined {
  try {
    return JSON.parse(`"${decoder.decode(Uint8Array.from(bytes))}"`);
  } catch {
    return undefined; // Not JSON: whoever reads the document finds out and says so.
  }
}
