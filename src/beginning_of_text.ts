/** What a message shows of a text that may be a page of a proxy's. In: the text. Out: one line. Pure. */

/**
 * The title of a page, else the beginning of the text, on one line and without control characters.
 *
 * @param mostCharacters What is longer ends with `…`. @returns Empty where the text says nothing.
 */
export function beginningOfText(text: string, mostCharacters: number): string {
  const title = /<title[^>]*>([^<]*)</i.exec(text)?.[1] ?? /<h1[^>]*>([^<]*)</i.exec(text)?.[1];
  const line = (title ?? text.replaceAll(/<[^>]*>/g, " ")).replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > mostCharacters ? `${line.slice(0, mostCharacters)}…` : line;
}
