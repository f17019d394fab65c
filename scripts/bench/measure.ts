/**
 * Runs commands and measures them, and writes rows. In: commands. Out: seconds, CPU time and peak memory of each; lines
 * on stdout, and the same as JSON.
 */

/** One measured command. */
export interface Measure {
  seconds: number;
  /** User and system of all its processes. */
  cpuSeconds: number;
  peakMb: number;
}

/** A line of the result. */
export interface Row {
  /** What is measured, in the words of docs/performance.md. */
  name: string;
  unit: "" | "s" | "MB" | "ms" | "MB/s";
  /** The median; null where the row is not there. */
  value: number | null;
  /** What it is a median of. */
  values: number[];
  must?: number | undefined;
  goal?: number | undefined;
  /** Whether more is better. */
  isRate?: boolean | undefined;
  /** The figures that the value was worked out from, such as the two sides of a ratio. */
  behind?: Record<string, number[]> | undefined;
  /** Why there is no value. */
  missing?: string | undefined;
}

/** The rows so far, printed as they come. */
export class Rows {
  readonly rows: Row[] = [];

  heading(text: string): void {
    print(`\n== ${text}`);
  }

  add(row: Omit<Row, "value">): void {
    const value = row.values.length === 0 ? null : median(row.values);
    this.rows.push({ ...row, value });
    const shown = value === null ? "-" : value.toFixed(value >= 100 ? 0 : 2);
    const wanted = row.must === undefined
      ? ""
      : `${row.isRate === true ? "at least" : "at most"} ${row.must}, goal ${row.goal}`;
    const verdict = value === null || row.must === undefined
      ? ""
      : (row.isRate === true ? value >= row.must : value <= row.must)
      ? "met"
      : "MISSED";
    print(`${row.name.padEnd(62)} ${shown.padStart(9)} ${row.unit.padEnd(4)} ${wanted} ${verdict}`.trimEnd());
    for (const [name, values] of Object.entries(row.behind ?? {})) {
      print(`  ${name.padEnd(60)} ${median(values).toFixed(2).padStart(9)}`);
    }
  }

  /** A row of the table that cannot be measured. */
  missing(row: Omit<Row, "value" | "values" | "missing">, reason: string): void {
    this.rows.push({ ...row, value: null, values: [], missing: reason });
    print(`${row.name.padEnd(62)} not measured: ${reason}`);
  }
}

/** One of several commands side by side took the longest; CPU time adds up. */
export function together(measures: readonly Measure[]): Measure {
  return {
    seconds: Math.max(...measures.map(({ seconds }) => seconds)),
    cpuSeconds: measures.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    peakMb: Math.max(...measures.map(({ peakMb }) => peakMb)),
  };
}

/** One after the other. */
export function inARow(measures: readonly Measure[]): Measure {
  return { ...together(measures), seconds: measures.reduce((sum, { seconds }) => sum + seconds, 0) };
}

/** Runs a command under GNU time (Debian's package `time`), which knows its CPU time and its peak memory. */
export async function run(
  command: readonly string[],
  { folder, exitCodes = [0], env = {} }: { folder: string; exitCodes?: number[]; env?: Record<string, string> },
): Promise<Measure> {
  const figures = `${folder}/time-${crypto.randomUUID()}`;
  const args = ["--quiet", "--format=%e %U %S %M", `--output=${figures}`, ...command];
  const { code, stderr } = await new Deno.Command("/usr/bin/time", { args, stdout: "null", stderr: "piped", env })
    .output();
  if (!exitCodes.includes(code)) {
    throw new Error(`${command.join(" ")} ended with ${code}: ${new TextDecoder().decode(stderr).slice(-1000)}`);
  }
  const [seconds = NaN, user = NaN, system = NaN, peakKb = NaN] = (await Deno.readTextFile(figures)).split(" ")
    .map(Number);
  await Deno.remove(figures);
  return { seconds, cpuSeconds: user + system, peakMb: peakKb * 1024 / 1e6 };
}

/** Of an even number the upper of the two in the middle. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

/** A line on stdout. */
export function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
