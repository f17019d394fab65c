import { assertEquals } from "@std/assert";
import { findPlaces, formatPath, type KeyPath } from "../../src/config/places.ts";
import { parseYaml } from "../../src/config/yaml.ts";

/** Every path of a parsed value, the containers' own included. */
function pathsOf(value: unknown, above: KeyPath = []): KeyPath[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, below]) => {
    const path = [...above, Array.isArray(value) ? Number(key) : key];
    return [path, ...pathsOf(below, path)];
  });
}

/** What stands at the place of each path's key, from there on, shortened. */
function textAt(text: string, path: KeyPath, what: "key" | "value"): string {
  const { line, column } = findPlaces(text)(path, what);
  return (text.split("\n")[line - 1] ?? "").slice(column - 1);
}

const CASES: { what: string; text: string; at: [KeyPath, "key" | "value", number, number][] }[] = [
  {
    what: "block mappings",
    text: "database:\n  url: http://a\n  login: b\ntask:\n  weekly:\n    delay: 1\n  other: {}\nbucket: x\n",
    at: [
      [["database"], "key", 1, 1],
      [["database", "url"], "key", 2, 3],
      [["database", "url"], "value", 2, 8],
      [["task", "weekly", "delay"], "value", 6, 12],
      [["task", "other"], "key", 7, 3],
      [["bucket"], "value", 8, 9],
    ],
  },
  {
    what: "sequences in the column of their key and deeper",
    text: "a:\n- x\n- y\nb:\n  - z\n  -\n    - deep\n    - k: 1\n      l: 2\nc: 3\n",
    at: [
      [["a", 0], "value", 2, 3],
      [["a", 1], "value", 3, 3],
      [["b", 0], "value", 5, 5],
      [["b", 1, 0], "value", 7, 7],
      [["b", 1, 1, "k"], "key", 8, 7],
      [["b", 1, 1, "l"], "value", 9, 10],
      [["c"], "key", 10, 1],
    ],
  },
  {
    what: "values on the line below their key or dash, and what follows them",
    text:
      "a:\n  b:\n    1\n  c:\n    # none\n    &x\n    2\n  d:\n    {e: 3, f:\n      4}\n  g:\n  -\n    5\n  - 6\nh: 7\n",
    at: [
      [["a", "b"], "key", 2, 3],
      [["a", "b"], "value", 3, 5],
      [["a", "c"], "key", 4, 3],
      [["a", "d", "e"], "value", 9, 9],
      [["a", "d", "f"], "value", 10, 7],
      [["a", "g", 0], "value", 13, 5],
      [["a", "g", 1], "value", 14, 5],
      [["h"], "key", 15, 1],
    ],
  },
  {
    what: "comments, blank lines, document marks and CRLF",
    text: "# c: 1\r\n---\r\n\r\na: 1 # b: 2\r\n  # c: 3\r\nb: # nothing\r\n  c: x#y\r\n",
    at: [[["a"], "key", 4, 1], [["b"], "value", 6, 1], [["b", "c"], "value", 7, 6]],
  },
  {
    what: "quoted keys and values over several lines",
    text: "\"a b\": \"x\n  key: no\n  y\"\n'it''s': 'z\n\n  k: no'\nc: 1\n",
    at: [[["a b"], "value", 1, 8], [["it's"], "key", 4, 1], [["c"], "key", 7, 1]],
  },
  {
    what: "block and plain scalars over several lines",
    text: "a: |\n  b: no\n\n  - no\nc: x\n  y\n  - z\nd: >-\n  e: no\nf:\n- |\n  g: no\n- h\n",
    at: [[["c"], "key", 5, 1], [["d"], "value", 8, 4], [["f", 0], "value", 11, 3], [["f", 1], "value", 13, 3]],
  },
  {
    what: "flow collections over several lines",
    text: "a: {b: 1, \"c\": [x, 'y, z',\n  {d: http://e:1/}], f: , g}\nh: [1,\n # no\n 2]\ni: []\n",
    at: [
      [["a", "b"], "value", 1, 8],
      [["a", "c", 1], "value", 1, 20],
      [["a", "c", 2, "d"], "value", 2, 7],
      [["a", "f"], "key", 2, 22],
      [["a", "g"], "key", 2, 27],
      [["h", 1], "value", 5, 2],
      [["i"], "key", 6, 1],
    ],
  },
  {
    what: "anchors, tags and what stands below an alias",
    text: "a: &x !!map\n  b: &y 1\nc: *x\nd: !!str 2\ne: [!!str &z 3]\n",
    at: [[["a", "b"], "value", 2, 9], [["c"], "value", 3, 4], [["c", "b"], "value", 3, 1], [["d"], "value", 4, 10], [
      ["e", 0],
      "value",
      5,
      14,
    ]],
  },
  {
    what: "a key that is not there, whose nearest ancestor is named",
    text: "x: 0\na:\n  b: 1\n",
    at: [[["a", "z"], "value", 2, 1], [["a", "b", "c", 3], "value", 3, 3], [["q"], "key", 1, 1], [[], "key", 1, 1]],
  },
];

for (const { what, text, at } of CASES) {
  Deno.test(`findPlaces() finds ${what}`, () => {
    for (const [path, kind, line, column] of at) {
      assertEquals(findPlaces(text)(path, kind), { line, column }, `${formatPath(path)} (${kind})`);
    }
  });

  Deno.test(`findPlaces() finds each key and item of a parsed text at its own name or text: ${what}`, () => {
    const parsed = parseYaml(text);
    const viaAlias = (path: KeyPath) => path.length > 1 && text.includes(`${path[0]}: *`);
    for (const path of pathsOf(parsed).filter((path) => !viaAlias(path))) {
      const last = path.at(-1);
      if (typeof last !== "string") continue;
      const found = textAt(text, path, "key").replaceAll("''", "'");
      assertEquals(found.replace(/^["']/, "").slice(0, last.length), last, formatPath(path));
    }
  });
}

Deno.test("findPlaces() ends on any text, even one that is no YAML", () => {
  const pieces = ["a", ":", " ", "\n", "- ", "{", "}", "[", "]", ",", '"', "'", "#", "|", "&x ", "? ", "\t", "\r\n"];
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor(seed / 65536) % below;
  };
  for (let round = 0; round < 3000; round++) {
    const text = Array.from({ length: random(30) }, () => pieces[random(pieces.length)]).join("");
    const { line, column } = findPlaces(text)(["a", 0, "a"]);
    assertEquals(line >= 1 && column >= 1, true);
  }
});

Deno.test("formatPath() joins keys by dots and shows indexes in brackets", () => {
  assertEquals(formatPath(["task", "weekly", "databases", 0]), "task.weekly.databases[0]");
  assertEquals(formatPath([]), "");
});
