/** Counts as a person reads them, alone and before a noun. Pure. */

/** `1,234,567`. */
export function formatCount(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * `1 document`, `2 documents`, `1,234 leaf revisions`.
 *
 * @param plural What to write for others than one. @default the noun with an `s`
 */
export function counted(count: number, noun: string, plural: string = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : plural}`;
}
