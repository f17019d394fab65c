/**
 * A pattern taken apart without being run: its alternatives, the atoms these consist of, its counts. In: a valid
 * pattern. Out: its parts, which need not be valid by themselves.
 */

/** Compiles a part of a pattern; undefined where it is not valid by itself: `\k<a>` without its group. */
export function compile(source: string): RegExp | undefined {
  try {
    return new RegExp(source, "u");
  } catch {
    return undefined;
  }
}

const ESCAPE_CLASS_OR_CHARACTER =
  /\\(?:u\{[^}]*\}|u[0-9a-f]{4}|x[0-9a-f]{2}|k<[^>]*>|p\{[^}]*\}|c[a-z]|[^])|\[(?:\\[^]|[^\]\\])*\]|[^]/iuy;
const QUANTIFIER = /(?:[*+?]|\{\d+(?:,\d*)?\})\??/y;
const COUNT = /\{\d+(?:,\d*)?\}\??$/;

/** The offset after the atom at `at`, with and without its quantifier. */
function readAtom(source: string, at: number): { end: number; bare: number } {
  let bare = at + 1;
  if (source[at] === "(") {
    while (bare < source.length && source[bare] !== ")") bare = readAtom(source, bare).end;
    bare += 1;
  } else {
    ESCAPE_CLASS_OR_CHARACTER.lastIndex = at;
    bare = at + (ESCAPE_CLASS_OR_CHARACTER.exec(source)?.[0].length ?? 1);
  }
  QUANTIFIER.lastIndex = bare;
  return { end: bare + (QUANTIFIER.exec(source)?.[0].length ?? 0), bare };
}

/**
 * The atoms of each alternative, quantifiers with them; anchors at the ends and brackets around it all are left out.
 */
export function branchesOf(source: string): string[][] {
  const branches: string[][] = [[]];
  for (let at = 0; at < source.length;) {
    const { end } = readAtom(source, at);
    const atom = source.slice(at, end);
    if (atom === "|") branches.push([]);
    else branches.at(-1)!.push(atom);
    at = end;
  }
  const bare = branches.map((atoms) =>
    atoms.filter((atom, index) => !(atom === "^" && index === 0) && !(atom === "$" && index === atoms.length - 1))
  );
  const [only, second] = bare;
  const inner = second === undefined && only?.length === 1
    ? /^\((?:\?:|\?<\w+>|(?!\?))(.*)\)$/s.exec(only[0]!)?.[1]
    : undefined;
  return inner === undefined ? bare : branchesOf(inner);
}

/** The counts in a pattern, `{16}` and `{2,3}`, those inside of groups too. */
export function quantifiersOf(source: string): { at: number; text: string }[] {
  const found: { at: number; text: string }[] = [];
  for (let at = 0; at < source.length;) {
    const { end, bare } = readAtom(source, at);
    const text = COUNT.exec(source.slice(bare, end))?.[0];
    if (text !== undefined) found.push({ at: bare, text });
    if (source[at] === "(") {
      const inner = source.slice(at + 1, bare - 1);
      found.push(...quantifiersOf(inner).map((count) => ({ ...count, at: count.at + at + 1 })));
    }
    at = end;
  }
  return found;
}
