/**
 * Tells whether a text is one whole JSON value, without holding it: for documents too large to be parsed. In go its
 * bytes, cut anywhere; out comes yes or no.
 */
import { BACKSLASH, CLOSE_BRACE, CLOSE_BRACKET, COLON, COMMA, OPEN_BRACE, OPEN_BRACKET, QUOTE } from "./bytes.ts";

/** What may come next. */
const Expect = {
  Value: 0,
  ValueOrEnd: 1,
  Name: 2,
  NameOrEnd: 3,
  Colon: 4,
  CommaOrEnd: 5,
  End: 6,
} as const;
type Expect = (typeof Expect)[keyof typeof Expect];

/** What is in hand between two structural bytes. */
const Inside = { Nothing: 0, String: 1, Escape: 2, Hex: 3, Word: 4 } as const;
type Inside = (typeof Inside)[keyof typeof Inside];

/** A number, true, false or null as JSON has them; a word is never longer than a number may be. */
const WORD = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null)$/;
const MOST_WORD_BYTES = 1 << 16;
const ESCAPED = new Set([...'"\\/bfnrt'].map((char) => char.charCodeAt(0)));
const SMALL_U = 0x75;
const HEX_DIGITS = 4;

/** Checks one JSON text. */
export class JsonCheck {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  readonly #open: number[] = [];
  #expect: Expect = Expect.Value;
  #inside: Inside = Inside.Nothing;
  #isName = false;
  #hexLeft = 0;
  #word = "";
  #isBroken = false;

  /** Takes the next bytes. */
  push(bytes: Uint8Array): void {
    if (this.#isBroken) return;
    try {
      this.#decoder.decode(bytes, { stream: true });
    } catch {
      this.#isBroken = true; // No UTF-8.
    }
    for (let at = 0; at < bytes.length && !this.#isBroken; at++) this.#take(bytes[at]!);
  }

  /** Says that no bytes follow. @returns Whether they were one JSON value. */
  finish(): boolean {
    if (this.#inside === Inside.Word) this.#endWord();
    try {
      this.#decoder.decode();
    } catch {
      return false;
    }
    return !this.#isBroken && this.#inside === Inside.Nothing && this.#expect === Expect.End;
  }

  #take(byte: number): void {
    switch (this.#inside) {
      case Inside.String:
        if (byte === QUOTE) this.#endString();
        else if (byte === BACKSLASH) this.#inside = Inside.Escape;
        else if (byte < 0x20) this.#isBroken = true;
        return;
      case Inside.Escape:
        this.#hexLeft = byte === SMALL_U ? HEX_DIGITS : 0;
        if (byte !== SMALL_U && !ESCAPED.has(byte)) this.#isBroken = true;
        this.#inside = byte === SMALL_U ? Inside.Hex : Inside.String;
        return;
      case Inside.Hex:
        if (!/[0-9a-fA-F]/.test(String.fromCharCode(byte))) this.#isBroken = true;
        if (--this.#hexLeft === 0) this.#inside = Inside.String;
        return;
      case Inside.Word:
        if (/[-+.\w]/.test(String.fromCharCode(byte)) && this.#word.length < MOST_WORD_BYTES) {
          this.#word += String.fromCharCode(byte);
          return;
        }
        this.#endWord();
    }
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) this.#structure(byte);
  }

  #structure(byte: number): void {
    const expect = this.#expect;
    if (byte === QUOTE) {
      this.#isName = expect === Expect.Name || expect === Expect.NameOrEnd;
      if (!this.#isName && !this.#mayBegin) this.#isBroken = true;
      this.#inside = Inside.String;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (!this.#mayBegin) this.#isBroken = true;
      this.#open.push(byte === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET);
      this.#expect = byte === OPEN_BRACE ? Expect.NameOrEnd : Expect.ValueOrEnd;
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      const isEnd = expect === Expect.CommaOrEnd ||
        expect === (byte === CLOSE_BRACE ? Expect.NameOrEnd : Expect.ValueOrEnd);
      if (!isEnd || this.#open.pop() !== byte) this.#isBroken = true;
      this.#endValue();
    } else if (byte === COMMA) {
      if (expect !== Expect.CommaOrEnd) this.#isBroken = true;
      this.#expect = this.#open.at(-1) === CLOSE_BRACE ? Expect.Name : Expect.Value;
    } else if (byte === COLON) {
      if (expect !== Expect.Colon) this.#isBroken = true;
      this.#expect = Expect.Value;
    } else {
      if (!this.#mayBegin) this.#isBroken = true;
      this.#word = String.fromCharCode(byte);
      this.#inside = Inside.Word;
    }
  }

  get #mayBegin(): boolean {
    return this.#expect === Expect.Value || this.#expect === Expect.ValueOrEnd;
  }

  #endString(): void {
    this.#inside = Inside.Nothing;
    if (this.#isName) this.#expect = Expect.Colon;
    else this.#endValue();
  }

  #endWord(): void {
    this.#inside = Inside.Nothing;
    if (!WORD.test(this.#word)) this.#isBroken = true;
    this.#endValue();
  }

  #endValue(): void {
    this.#expect = this.#open.length === 0 ? Expect.End : Expect.CommaOrEnd;
  }
}
