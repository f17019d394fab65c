/**
 * Runs a surface of the program on thousands of hostile inputs, each made from a seed and a number: what a failure
 * prints makes the very input again. In: how an input is made, and what is done with it. Out: a passed test, or the
 * first case of each kind that ended otherwise than with a result or with an error that this program expects.
 *
 * HOSTILE_SEED: other inputs (a number). HOSTILE_TIMES: so many times as many. HOSTILE_CASE: one of them, as
 * `surface#number`.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { inspect } from "node:util";
import { describeError, EXIT, ProgramError } from "../../src/errors.ts";
import { Dice } from "./dice.ts";
import { watchCases } from "./watchdog.ts";

/** The password that configs of these tests hold: in a URL and in base64 it looks otherwise. */
export const PASSWORD = "Pa55/w+rd=?&~Zeta";

/** How long a case may take; what takes longer has lost its way. */
const MOST_MS = 10_000;
/** So much of an input is printed; the case's number makes it again. */
const SHOWN_INPUT = 1500;
/** More kinds of problems than these nobody reads at once. */
const MOST_KINDS = 8;
/** A message for people; what quotes an endless input is none. */
const LONGEST_MESSAGE = 20_000;

/** The exit codes that hostile input may end with; 1 is a defect, and nobody interrupts. */
export const EXPECTED_CODES: readonly number[] = [
  EXIT.ok,
  EXIT.usage,
  EXIT.partial,
  EXIT.couchdb,
  EXIT.store,
  EXIT.archive,
];

/** A surface of the program, and what is thrown at it. */
export interface Surface<T> {
  /** One or two words. */
  name: string;
  /** How many cases there are. */
  cases: number;
  make: (dice: Dice) => T;
  /** @param number The case's number. */
  run: (input: T, number: number) => unknown;
  /** Errors beside the program's own that its callers expect. */
  allowed?: readonly (new (...args: never[]) => Error)[];
}

/** A test of a surface. */
export function testSurface<T>(surface: Surface<T>): void {
  Deno.test(`Hostile input: ${surface.name}`, async () => {
    process.stdout.write(`hostile: ${surface.name}: ${await runCases(surface)}\n`);
  });
}

/** @returns How many there were, in words. */
async function runCases<T>(surface: Surface<T>): Promise<string> {
  const { HOSTILE_SEED = "1", HOSTILE_TIMES = "1", HOSTILE_CASE } = process.env;
  const { name } = surface;
  const [only, number] = HOSTILE_CASE?.split("#") ?? [];
  if (only !== undefined && only !== name) return "passed over";
  const cases = Math.ceil(surface.cases * Number(HOSTILE_TIMES));
  const numbers = number === undefined ? Array.from({ length: cases }, (_, index) => index) : [Number(number)];
  /** What went wrong, by its first lines: the first case of each, and how many there are. */
  const problems = new Map<string, { text: string; times: number }>();
  const slowest = { number: 0, ms: 0 };
  using watchdog = watchCases();
  for (const number of numbers) {
    const input = surface.make(new Dice(`${HOSTILE_SEED} ${name} ${number}`));
    const again = `HOSTILE_SEED=${HOSTILE_SEED} HOSTILE_CASE='${name}#${number}'`;
    watchdog.begin(again, MOST_MS);
    const begun = performance.now();
    const problem = await problemOf(surface, input, number);
    const ms = performance.now() - begun;
    watchdog.end();
    if (ms > slowest.ms) Object.assign(slowest, { number, ms });
    if (problem === undefined) continue;
    const kind = problem.split("\n", 2).join("\n").replaceAll(/\d+/g, "0").slice(0, 30);
    const shown = inspect(input, { maxStringLength: 2000, depth: 6 }).replaceAll(/(.)\1{40,}/g, "$1…").slice(
      0,
      SHOWN_INPUT,
    );
    const known = problems.get(kind) ?? { text: `${again}: ${problem.slice(0, 2000)}\ninput: ${shown}`, times: 0 };
    problems.set(kind, { ...known, times: known.times + 1 });
  }
  if (problems.size === 0) {
    return `${numbers.length} cases, the slowest #${slowest.number} with ${Math.round(slowest.ms)} ms`;
  }
  throw new Error(
    [...problems.values()].slice(0, MOST_KINDS).map(({ text, times }) => `${times} of ${numbers.length}: ${text}`).join(
      "\n\n",
    ),
  );
}

/** What is wrong with how a case ended; undefined when it ended well. */
async function problemOf<T>({ run, allowed = [] }: Surface<T>, input: T, number: number): Promise<string | undefined> {
  let error: unknown;
  try {
    await run(input, number);
    return undefined;
  } catch (thrown) {
    error = thrown;
  }
  if (!(error instanceof ProgramError) && !allowed.some((one) => error instanceof one)) {
    return error instanceof Error ? error.stack : `It threw ${String(error)}`;
  }
  if (error instanceof ProgramError && !EXPECTED_CODES.includes(error.exitCode)) {
    return `Exit code ${error.exitCode}: ${error.stack}`;
  }
  const hint = error instanceof ProgramError ? error.hint ?? "" : "";
  return problemOfText(`${describeError(error)}\n${hint}`);
}

/** What no text that people or programs read may have; undefined when it is fine. */
export function problemOfText(text: string): string | undefined {
  if (text.trim() === "") return "An error without words";
  if (text.length > LONGEST_MESSAGE) return `A message of ${text.length} characters: ${text.slice(0, 500)}…`;
  const trace =
    /\b(?:Type|Range|Reference|Syntax)Error: .*|^ {4}at .*(?:\w+:|<anonymous>).*:\d+.*|Cannot read propert.*|is not a function.*|is not iterable.*/m
      .exec(text);
  if (trace !== null) return `It speaks of its own insides: ${trace[0]}\n${text}`;
  return secretIn(text);
}

/** Says which form of the password a text holds. */
export function secretIn(text: string, password: string = PASSWORD): string | undefined {
  const forms = {
    "in plain": password,
    "as in a URL": encodeURIComponent(password),
    "as in a form": new URLSearchParams([["", password]]).toString().slice(1),
    "in base64": Buffer.from(password).toString("base64").replace(/=+$/, ""),
    "in base64 behind the login": Buffer.from(`admin:${password}`).toString("base64").replace(/=+$/, ""),
    "in hexadecimal": Buffer.from(password).toString("hex"),
    "in JSON": JSON.stringify(password).slice(1, -1),
  };
  const [found] = Object.entries(forms).filter(([, form]) => text.includes(form));
  return found === undefined ? undefined : `It shows the password ${found[0]}: ${text}`;
}
