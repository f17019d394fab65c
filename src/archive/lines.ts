/**
 * The lines of a file in which each line is a JSON text: the current one, whether it can be read, and what
 * became of those before it. In: the bytes of one line after the other. Out: the lines that must be skipped
 * and the broken ones.
 */
import { concat } from "../concat.ts";
import type { LineRules } from "./formats.ts";
import { FramingError } from "../json/scan.ts";

/** How much of a line is needed to tell what it is. */
export const LINE_BEGINNING_BYTES = 64;
/** A line that holds no documents is no longer. */
const MOST_HELD_BYTES = 1 << 20;

const decoder = new TextDecoder();

/** A line that cannot be read. */
export interface BrokenLine {
  /** From 1. */
  number: number;
  /** Where it begins, from the file's beginning. */
  offset: number;
  /** What is wrong with it. */
  problem: string;
}

/** What is wrong with a line, a sentence. */
export function describeLine({ number, offset, problem }: BrokenLine): string {
  return `Line ${number}, from byte ${offset}, cannot be read: ${problem}`;
}

/** A line of a file of lines cannot be read: what is whole of the file can be had without it. */
export class LineError extends FramingError {
  /** Which one. */
  constructor({ number, offset, problem }: BrokenLine) {
    super(`Line ${number} cannot be read: ${problem}`, offset);
    this.name = "LineError";
  }
}

/** What one reading has found out about the lines of a file, for the next one. */
export interface LineSurvey {
  /** The numbers of lines that hold nothing that counts. */
  passed: ReadonlySet<number>;
  /** Lines that should hold something, and cannot be read. */
  broken: readonly BrokenLine[];
}

/** The lines of one file, once. */
export class Lines implements LineSurvey {
  readonly rules: LineRules;
  readonly passed: Set<number>;
  readonly broken: BrokenLine[] = [];
  /** Whether the file is of lines, as the one in hand has not shown yet where `rules` leave it open. */
  isCertain: boolean;
  /** Which line is in hand, from 1. */
  number: number;
  /** Where it begins. */
  offset: number;
  /** Why it cannot be read. */
  problem: string | undefined;
  /** Whether its documents are read. */
  isRead = true;

  #length = 0;
  #tail: Uint8Array = new Uint8Array(0);
  #held: Uint8Array[] | undefined;
  /** The line in hand, or the one before, may be the last one. */
  #isLast = false;
  /** The last line whose writing was stopped, until what it was to hold has come. */
  #stopped: BrokenLine | undefined;
  /** The id of a document -> the line that holds its last state, and whether that is a deletion. */
  readonly #latest = new Map<string, { number: number; isDeleted: boolean }>();

  constructor(
    rules: LineRules,
    { passed, offset, number }: { passed: Iterable<number>; offset: number; number: number },
  ) {
    this.rules = rules;
    this.isCertain = rules.isCertain;
    this.passed = new Set(passed);
    this.offset = offset;
    this.number = number;
  }

  /** Whether nothing of the line in hand has been seen. */
  get isAtStart(): boolean {
    return this.#length === 0;
  }

  /** Takes bytes of the line in hand. */
  take(bytes: Uint8Array): void {
    if (this.#length === 0) this.#begin(bytes);
    this.#length += bytes.length;
    this.#held?.push(bytes);
    if (this.#length > MOST_HELD_BYTES) this.#held = undefined;
    const { resumeMarker } = this.rules;
    if (resumeMarker === undefined) return;
    const most = resumeMarker.length + 2; // The end of the line, too.
    this.#tail = (bytes.length >= most ? bytes : concat([this.#tail, bytes])).slice(-most);
  }

  #begin(bytes: Uint8Array): void {
    if (this.passed.has(this.number)) {
      this.isRead = false;
      return;
    }
    const { withoutDocuments, lastLine } = this.rules;
    if (withoutDocuments === undefined) return;
    const text = decoder.decode(bytes.subarray(0, LINE_BEGINNING_BYTES)).trimStart();
    if (text !== "") this.#isLast = lastLine === undefined || text.startsWith(`{${lastLine}`);
    if (!withoutDocuments.some((member) => text.startsWith(`{${member}`))) return;
    this.isRead = false;
    this.#held = [];
  }

  /** Whether the line in hand ends as one does whose writing was stopped. */
  get isStopped(): boolean {
    const { resumeMarker } = this.rules;
    return resumeMarker !== undefined && decoder.decode(this.#tail).trimEnd().endsWith(resumeMarker);
  }

  /** Says that the line in hand cannot be read. */
  break(problem: string): void {
    this.problem ??= problem;
    this.isRead = false;
  }

  /**
   * Ends the line in hand.
   *
   * @param holdsDocuments Whether documents were read from it.
   * @returns What is wrong with it; undefined where nothing is.
   */
  end({ holdsDocuments }: { holdsDocuments: boolean }): BrokenLine | undefined {
    if (this.#held !== undefined && this.problem === undefined) this.#checkHeld(concat(this.#held));
    const { number, offset, problem, isStopped } = this;
    const isBlank = this.isRead && !holdsDocuments;
    const line: BrokenLine | undefined = problem === undefined ? undefined : { number, offset, problem };
    if (holdsDocuments) this.#stopped = undefined;
    if (line !== undefined && isStopped) {
      this.passed.add(number);
      this.#stopped = line;
    }
    this.isCertain ||= !isBlank;
    this.number++;
    this.offset += this.#length;
    this.#length = 0;
    this.#held = undefined;
    this.#tail = new Uint8Array(0);
    this.problem = undefined;
    this.isRead = true;
    return isStopped ? undefined : line;
  }

  /** Notes that a line is broken, and that it is passed over. */
  leaveOut(line: BrokenLine): void {
    this.passed.add(line.number);
    this.broken.push(line);
  }

  /** Ends the file. @returns What is lacking at its end, as the line that is not what it must be. */
  finish(): BrokenLine | undefined {
    if (this.#stopped !== undefined) {
      const problem = "its writing was stopped and resumed, and what it was to hold does not follow";
      return { ...this.#stopped, problem };
    }
    const { lastLine } = this.rules;
    if (lastLine === undefined || this.#isLast) return undefined;
    const { number, offset } = this;
    return { number, offset, problem: `the file ends before it, and must end with a line of ${lastLine}` };
  }

  /**
   * Notes which document the line in hand holds, where the last line counts.
   *
   * @returns Whether the state before, if an earlier line has one, is a deletion; that line is passed over.
   */
  replace(id: string, isDeleted: boolean): { isDeleted: boolean } | undefined {
    const earlier = this.#latest.get(id);
    this.#latest.set(id, { number: this.number, isDeleted });
    if (earlier !== undefined) this.passed.add(earlier.number);
    return earlier;
  }

  #checkHeld(bytes: Uint8Array): void {
    try {
      JSON.parse(decoder.decode(bytes));
    } catch {
      this.break("JSON ends before it is closed");
    }
  }
}
