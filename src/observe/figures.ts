/** Numbers as a person reads them on a terminal: counts, sizes, times and moments. Pure. */

export { counted, formatCount } from "../counts.ts";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const SECONDS = { d: 86_400, h: 3_600, m: 60, s: 1 };

/** `950 B`, `1.2 MB`, `12 GB`: two significant digits or more, in powers of 1,000. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.5 would be shown as 1000.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** `0.3s`, `12s`, `3m20s`, `1h05m`, `2d03h`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  const [large, small] = whole < 3600
    ? ["m", "s"] as const
    : whole < 86_400
    ? ["h", "m"] as const
    : ["d", "h"] as const;
  const rest = Math.floor(whole % SECONDS[large] / SECONDS[small]);
  return `${Math.floor(whole / SECONDS[large])}${large}${String(rest).padStart(2, "0")}${small}`;
}

/** An instant such as `2026-01-03T18:00:00.123Z` to the second, as a path may name it: `2026-01-03T18:00:00Z`. */
export function formatInstant(instant: string): string {
  return instant.replace(/\.\d+Z$/, "Z");
}
