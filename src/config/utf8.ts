/** Whether a text is what was written: bytes of another encoding are read as other characters. Pure. */

/** What stands in place of bytes that are no UTF-8. */
export const REPLACEMENT = "\uFFFD";

/**
 * Whether a text that was read as UTF-8 is none. Its names and passwords would be others than those that were written.
 *
 * @returns What it seems to be; undefined where it is UTF-8.
 */
export function notUtf8(text: string): "UTF-16" | "another encoding" | undefined {
  if (text.slice(0, 4).includes("\0")) return "UTF-16";
  return text.includes(REPLACEMENT) ? "another encoding" : undefined;
}
