/**
 * The word that somebody meant: in, a word that is not known, and the known ones; out, the one that is nearly the same.
 * The door to `@std/text`, whose JavaScript has no types.
 */
import { levenshteinDistance } from "@std/text";

/**
 * The known word that differs least from `word`, in a third of its letters at most. The case of letters counts little.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  const limit = Math.ceil(word.length / 3);
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of known) {
    // The difference in length is the least that the distance can be, and costs nothing.
    if (Math.abs(candidate.length - word.length) > limit) continue;
    const distance = distanceOf(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= limit && (best === undefined || distance < best.distance)) best = { candidate, distance };
  }
  return best?.candidate;
}

/** Of two words; two neighbouring letters that have changed places are one mistake, which others count as two. */
function distanceOf(word: string, candidate: string): number {
  if (word.length === candidate.length) {
    const at = [...word].findIndex((letter, index) => letter !== candidate[index]);
    const turned = at < 0 ? word : word.slice(0, at) + (word[at + 1] ?? "") + word[at] + word.slice(at + 2);
    if (turned === candidate) return word === candidate ? 0 : 1;
  }
  return levenshteinDistance(word, candidate);
}
