/** Chance from a seed, and what it makes of good input: hostile values, texts, bytes and JSON. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { seededRandom } from "../fakes/couchdb/random.ts";

/** JSON as it is parsed. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Texts that have broken programs. */
export const HOSTILE_TEXTS: readonly string[] = [
  "",
  " ",
  "\0",
  "a\0b",
  "\uFEFF",
  "\uFEFFa",
  "\t",
  "\r\n",
  "\n",
  "..",
  ".",
  "../../../../tmp/hostile-escape",
  "/tmp/hostile-escape",
  "a/../../b",
  "a/b",
  "\\..\\..",
  "..%2f..%2f",
  "%",
  "%zz",
  "%ff",
  "%00",
  "a".repeat(70_000),
  "\uD800",
  "\uDFFF\uD800",
  "\u202E",
  "😀",
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "valueOf",
  "null",
  "true",
  "NaN",
  "-1",
  "1e308",
  "9007199254740993",
  "0x10",
  "$(id)",
  "`id`",
  "${HOME}",
  "${",
  "$${",
  "'\"<>&;|",
  "\u001b[31m",
  "%s%n",
  "2026-13-45T99:99:99Z",
  "-271821-04-20T00:00:00Z",
  "+275760-09-13T00:00:00.001Z",
  "{}",
  "[]",
  '{"a":1',
  "<a/>",
];

/** Numbers that have. */
export const HOSTILE_NUMBERS: readonly number[] = [
  -1,
  -0,
  0,
  0.5,
  1,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 53 + 2,
  -(2 ** 53),
  1e21,
  1e308,
  -1e308,
  5e-324,
  8.64e15,
  8.64e15 + 1,
];

/** Chance, the same for the same seed. */
export class Dice {
  readonly #next: () => number;

  constructor(seed: string) {
    this.#next = seededRandom(createHash("sha256").update(seed).digest().readUInt32LE(0));
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    return Math.floor(this.#next() * end);
  }

  /** Whether something happens that happens once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  /** A value of any type, that nobody expects where it stands. */
  value(depth = 2): Json {
    const nested = depth > 0 && this.oneIn(4);
    if (nested && this.oneIn(2)) return Array.from({ length: this.below(4) }, () => this.value(depth - 1));
    if (nested) {
      return Object.fromEntries(Array.from({ length: this.below(4) }, () => [this.text(), this.value(depth - 1)]));
    }
    switch (this.below(5)) {
      case 0:
        return null;
      case 1:
        return this.oneIn(2);
      case 2:
        return this.pick(HOSTILE_NUMBERS);
      case 3:
        return this.oneIn(2) ? {} : [];
      default:
        return this.text();
    }
  }

  text(): string {
    if (this.oneIn(3)) return this.unicode(this.below(20));
    return this.pick(HOSTILE_TEXTS);
  }

  /** Any UTF-16 units, halves of pairs among them. */
  unicode(length: number): string {
    return String.fromCharCode(
      ...Array.from({ length }, () => this.oneIn(2) ? 32 + this.below(95) : this.below(0x10000)),
    );
  }

  /** The text with some of it gone, doubled, or replaced. */
  mutateText(text: string, alphabet: readonly string[] = HOSTILE_TEXTS): string {
    let mutated = text;
    for (let times = 1 + this.below(3); times > 0; times--) {
      const from = this.below(mutated.length + 1);
      const to = Math.min(mutated.length, from + this.below(12));
      const part = mutated.slice(from, to);
      const put = [() => "", () => part + part, () => this.pick(alphabet), () => this.unicode(1)][this.below(4)]!();
      mutated = mutated.slice(0, from) + put + mutated.slice(to);
    }
    return mutated;
  }

  /** The text with some of its digits changed, or with more of them. */
  mutateDigits(text: string): string {
    const chance = 1 + this.below(20);
    return text.replace(/\d/g, (digit) => {
      if (!this.oneIn(chance)) return digit;
      return this.oneIn(10) ? String(this.below(10)).repeat(this.below(30)) : String(this.below(10));
    });
  }

  /** The bytes with some of them changed, gone, doubled, or cut off. */
  mutateBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    let mutated = Uint8Array.from(bytes);
    for (let times = 1 + this.below(3); times > 0; times--) {
      const from = this.below(mutated.length + 1);
      const to = Math.min(mutated.length, from + this.below(40));
      const put = [
        () => new Uint8Array(0),
        () => Uint8Array.from([...mutated.subarray(from, to), ...mutated.subarray(from, to)]),
        () => this.bytes(1 + this.below(8)),
        () => Uint8Array.from(Buffer.from(this.text().slice(0, 200))),
      ][this.below(4)]!();
      mutated = this.oneIn(5)
        ? mutated.slice(0, from)
        : Uint8Array.from([...mutated.subarray(0, from), ...put, ...mutated.subarray(to)]);
    }
    return mutated;
  }

  /** The JSON with a member changed in type or size, gone, renamed, or one too many. */
  mutateJson<T extends Json>(value: T): Json {
    let mutated: Json = structuredClone(value);
    for (let times = 1 + this.below(2); times > 0; times--) {
      const places: { holder: Json[] | { [name: string]: Json }; key: string | number }[] = [];
      collectPlaces(mutated, places);
      const place = places.length === 0 || this.oneIn(40) ? undefined : this.pick(places);
      if (place === undefined) {
        mutated = this.value();
        continue;
      }
      const holder = place.holder as Record<string | number, Json>;
      switch (this.below(Array.isArray(place.holder) ? 4 : 5)) {
        case 0:
          delete holder[place.key];
          if (Array.isArray(place.holder)) place.holder.splice(Number(place.key), 1);
          break;
        case 1:
          if (Array.isArray(place.holder)) place.holder.push(structuredClone(holder[place.key]!));
          else set(holder, this.text(), this.value());
          break;
        case 4:
          set(holder, this.pick(["__proto__", "constructor", "toString", ""]), holder[place.key]!);
          break;
        default:
          holder[place.key] = this.value();
      }
    }
    return mutated;
  }

  /** The same as a text, in which members can stand twice and numbers be beyond those of JavaScript. */
  mutateJsonText(value: Json): string {
    const text = JSON.stringify(this.mutateJson(value)) ?? "";
    if (this.oneIn(3)) return text;
    if (this.oneIn(6)) {
      return text.replace(/\d+/, () => this.pick(["1e999", "-1e999", "9".repeat(400), "01", "1.", "-"]));
    }
    if (this.oneIn(6)) {
      return text.replace("{", () => `{${JSON.stringify(this.text())}:${JSON.stringify(this.value())},`);
    }
    if (this.oneIn(10)) return `${"[".repeat(100_000)}${text}`;
    return this.oneIn(2) ? this.mutateText(text) : text;
  }
}

/** Also where the name is `__proto__`, as JSON.parse does. */
function set(holder: Record<string | number, Json>, name: string, value: Json): void {
  Object.defineProperty(holder, name, { value, enumerable: true, writable: true, configurable: true });
}

function collectPlaces(
  value: Json,
  places: { holder: Json[] | { [name: string]: Json }; key: string | number }[],
): void {
  if (typeof value !== "object" || value === null) return;
  for (const [key, below] of Object.entries(value)) {
    places.push({ holder: value, key });
    collectPlaces(below, places);
  }
}
