import { assertEquals, assertLess } from "@std/assert";
import { type CatalogEntry, entryName, parseEntryName } from "../../src/archive/catalog_entry.ts";
import { CATALOG_ENTRY as ENTRY } from "./repository_setup.ts";

Deno.test("entryName() carries all that a list shows, and parseEntryName() reads it back", () => {
  const beginning = "8204370148876-0b5a8fd2-20261025-2-full-500-61231-3-1-";
  const cases: [what: string, part: Partial<CatalogEntry>, name: string, isTaskCut?: boolean][] = [
    ["as usual", {}, `${beginning}weekly.json`],
    ["the eight digits in place of the run", { run: "0b5a8fd2" }, `${beginning}weekly.json`],
    ["no task", { task: "" }, `${beginning}.json`],
    ["dashes in the task", { task: "a-b-1" }, `${beginning}a-b-1.json`],
    ["what is special in URLs and file systems", { task: "ä/*'?.~" }, `${beginning}%C3%A4%2F%2A%27%3F.%7E.json`],
    ["half a surrogate pair", { task: "\ud800" }, `${beginning}%EF%BF%BD.json`],
    ["the longest task that is whole", { task: "t".repeat(142) }, `${beginning}${"t".repeat(142)}.json`],
    ["a longer one", { task: "t".repeat(143) }, `${beginning}${"t".repeat(141)}=.json`, true],
    [
      "a long one of large characters",
      { task: "😀".repeat(20) },
      `${beginning}${"%F0%9F%98%80".repeat(11)}=.json`,
      true,
    ],
    [
      "format 1",
      { manifestKey: "2026/10/25/x/manifest.json" },
      `${beginning.replace("-2-full", "-1-full")}weekly.json`,
    ],
    ["incremental, nothing in it", {
      kind: "incremental",
      documents: 0,
      compressedBytes: 0,
      chunks: 0,
      unreadable: 0,
    }, "8204370148876-0b5a8fd2-20261025-2-incremental-0-0-0-0-weekly.json"],
  ];
  for (const [what, part, name, isTaskCut = false] of cases) {
    const { database: _, manifestKey, ...expected } = { ...ENTRY, ...part };
    assertEquals(entryName({ ...ENTRY, ...part }), name, what);
    assertLess(name.length, 201, what);
    const { task, ...read } = parseEntryName(name)!;
    const format = manifestKey.endsWith("/manifest.json") ? 1 : 2;
    assertEquals({ ...read, task: expected.task }, { ...expected, run: "0b5a8fd2", format, isTaskCut }, what);
    const wellFormed = expected.task.toWellFormed();
    assertEquals(isTaskCut ? wellFormed.slice(0, task.length) : wellFormed, task, what);
  }
});

Deno.test("entryName() puts a later backup before an earlier one", () => {
  const moments = [
    "1970-01-01T00:00:00Z",
    "2001-09-09T01:46:40Z",
    "2026-11-25T18:04:11.122Z",
    "2026-11-25T18:04:11.123Z",
  ];
  const names = moments.map((moment) => entryName({ ...ENTRY, finishedAt: new Date(moment) }));
  assertEquals(names.toSorted(), names.toReversed());
});

Deno.test("parseEntryName() reads only the names of entries", () => {
  const names = [
    "",
    "8204370148876-0b5a8fd2.json",
    "8204370148876-0b5a8fd2-20261025-2-full-500-61231-3-1-weekly",
    "8204370148876-0b5a8fd2-20261025-3-full-500-61231-3-1-weekly.json",
    "8204370148876-0b5a8fd2-20261025-2-half-500-61231-3-1-weekly.json",
    "8204370148876-0b5a8fd2-20261025-2-full-500-61231-3-1-%C3.json",
    "8204370148876-0b5a8fd2-20261025-2-full-500-61231-3-1-a b.json",
    "x8204370148876-0b5a8fd2-20261025-2-full-500-61231-3-1-weekly.json",
  ];
  for (const name of names) assertEquals(parseEntryName(name), undefined, name);
});
