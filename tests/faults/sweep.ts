/**
 * Tries every case of a fault, one Deno test for each fault: as many cases as there are requests or operations to meet
 * it. What came of them is a row of the table that run.ts prints at the end. `--only 'couchdb backup reset 17'` tries
 * the cases that have all these words.
 */

/** What came of one case. */
export interface Verdict {
  /**
   * `whole`: it made nothing worse, all was done at once. `said`: it was said that it is not all, and the next run has
   * finished it. `untouched`: there was nothing that could meet the fault.
   */
  result: "whole" | "said" | "untouched";
  /** Which promises it broke. */
  breaches: string[];
  /** What met the fault, for the message: the request. */
  met?: string | undefined;
}

/** A row of the table. */
export interface Row {
  subject: string;
  fault: string;
  tried: number;
  whole: number;
  said: number;
  broken: number;
}

/** One fault, at each place where it can strike. */
export interface Sweep {
  /** What is tried: `couchdb backup`. */
  subject: string;
  fault: string;
  /** How many places there are. */
  places: () => Promise<number> | number;
  /** Tries one place, from 1. `random` is the same for the same case. */
  attempt: (place: number, random: () => number) => Promise<Verdict>;
  /** How often each place is tried, where chance has a part in the fault. @default 1 */
  rounds?: number | undefined;
  /** Cases at once. @default 4 */
  parallel?: number;
}

/** A case that takes longer hangs. */
const CASE_LIMIT_MS = 30_000;

const only = onlyOf(Deno.args);

function onlyOf(args: readonly string[]): string[] {
  const at = args.indexOf("--only");
  return at === -1 ? [] : args.slice(at + 1).join(" ").split(/\s+/).filter((word) => word !== "");
}

/** Registers the tests of a sweep. */
export function sweep({ subject, fault, places, attempt, rounds = 1, parallel = 4 }: Sweep): void {
  const words = [...subject.split(" "), fault];
  const wanted = only.filter((word) => !/^\d+$/.test(word));
  const numbers = only.filter((word) => /^\d+$/.test(word)).map(Number).filter((one) => !words.includes(String(one)));
  Deno.test({
    name: `${subject}: ${fault}`,
    ignore: only.length > 0 && !wanted.every((word) => words.includes(word)),
    // A run that is ended by force leaves what it was doing.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const count = await places();
      const waiting = Array.from({ length: count * rounds }, (_, index) => index + 1)
        .filter((place) => numbers.length === 0 || numbers.includes(place));
      const row: Row = { subject, fault, tried: 0, whole: 0, said: 0, broken: 0 };
      const broken: string[] = [];
      /** Places at which there is nothing to meet this fault: not tried in further rounds. */
      const untouched = new Set<number>();
      const next = async () => {
        for (let place = waiting.shift(); place !== undefined; place = waiting.shift()) {
          const id = `${subject} ${fault} ${place}`;
          const at = (place - 1) % count + 1;
          if (untouched.has(at)) continue;
          const { result, breaches, met } = await limited(attempt(at, randomOf(id)));
          if (result === "untouched" && breaches.length === 0) {
            untouched.add(at);
            continue;
          }
          row.tried++;
          if (breaches.length > 0) {
            row.broken++;
            broken.push(`${id}${met === undefined ? "" : ` (${met})`}:`, ...breaches.map((one) => `    ${one}`));
            broken.push(`    just this one: deno task faults --only '${id}'`);
          } else if (result === "said") row.said++;
          else row.whole++;
        }
      };
      await Promise.all(Array.from({ length: parallel }, next));
      await note(row);
      if (broken.length > 0) {
        throw new Error(`${row.broken} of ${row.tried} cases break a promise\n${broken.join("\n")}`);
      }
      if (row.tried === 0 && numbers.length === 0) throw new Error("No case was tried");
    },
  });
}

async function limited(attempt: Promise<Verdict>): Promise<Verdict> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<Verdict>((resolve) => {
    const breach = `it hangs: no end within ${CASE_LIMIT_MS / 1000} s`;
    timer = setTimeout(() => resolve({ result: "said", breaches: [breach] }), CASE_LIMIT_MS);
  });
  try {
    return await Promise.race([attempt, limit]);
  } catch (error) {
    return { result: "said", breaches: [error instanceof Error ? error.stack ?? error.message : String(error)] };
  } finally {
    clearTimeout(timer);
  }
}

/** Numbers from 0 to 1 that are the same for the same text. */
function randomOf(text: string): () => number {
  let state = 0x811c9dc5;
  for (const character of text) state = Math.imul(state ^ character.codePointAt(0)!, 0x01000193) >>> 0;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    const mixed = Math.imul(state ^ (state >>> 13), 0x297a2d39) >>> 0;
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}

/** Hands a row to run.ts, which has started the tests and waits for rows in this file. */
async function note(row: Row): Promise<void> {
  const file = Deno.env.get("FAULTS_ROWS");
  if (file !== undefined) await Deno.writeTextFile(file, `${JSON.stringify(row)}\n`, { append: true });
}
