import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { sha256 } from "../../src/archive/checkpoint.ts";
import { checkpointName, filterName, manifestName, shortRun } from "../../src/archive/layout.ts";
import { findLeftover, readFilter } from "../../src/archive/leftover.ts";
import type { ChunkEntry } from "../../src/archive/manifest.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { readFolder } from "../../src/archive/read.ts";
import type { Store } from "../../src/store/store.ts";
import { RecordedLog } from "../fakes/log.ts";
import { checkpoint, checkpointOfFormat1, chunk, FOLDER, inStore, manifest, OPTIONS, origin } from "./folder_setup.ts";

async function leftover(
  store: Store,
  { log = new RecordedLog(), runs, createdAt = null }: {
    log?: RecordedLog;
    runs?: string[];
    createdAt?: string | null;
  } = {},
) {
  const state = await readFolder(store, FOLDER, {});
  return await findLeftover(store, FOLDER, {
    state,
    wanted: { ...origin("new"), properties: { ...origin("new").properties, instance_start_time: createdAt } },
    log,
    runs: runs && new Set(runs),
  });
}

const CHUNK = { "0000000.json.gz": "12345" };

/** The files of a complete backup, as its run left them. */
function complete(run: string, finishedAt = "2026-01-03T18:05:00.000Z", task = "weekly"): Record<string, string> {
  const text = JSON.stringify({ ...manifest(run, finishedAt), task });
  return { [manifestName(new Date(finishedAt), shortRun(run))]: text, ...CHUNK };
}

/** The checkpoint of a run, as a file. */
function unfinished(
  run: string,
  chunks: ChunkEntry[],
  part: Parameters<typeof checkpoint>[2] = {},
): Record<string, string> {
  return { [checkpointName(shortRun(run))]: checkpoint(run, chunks, part) };
}

const LATER = { saved_at: "2026-01-03T18:07:00.000Z" };
const OTHER_OPTIONS = { options: { ...OPTIONS, revisions: false } };
const FORMAT_1 = { "checkpoint.json": checkpointOfFormat1("old", [chunk(0)]), ...CHUNK };

/** `found` is `complete`, `nothing`, or the run that can be resumed. */
type Case = [what: string, files: Record<string, string>, found: string, warnings?: string[]];

const CASES: Case[] = [
  ["an empty folder", {}, "nothing"],
  ["chunks alone", CHUNK, "nothing"],
  ["a manifest", complete("one"), "complete"],
  ["a manifest of format 1", {
    "manifest.json": JSON.stringify({ ...manifest("one"), format: 1 }),
    ...CHUNK,
  }, "complete"],
  ["another task's manifest", complete("one", undefined, "monthly"), "nothing"],
  ["a manifest and another task's later one of the same run", {
    ...complete("one"),
    ...complete("one", "2026-01-03T18:05:01.000Z", "monthly"),
  }, "complete"],
  ["a manifest and the checkpoint of its run", { ...complete("one"), ...unfinished("one", []) }, "complete"],
  ["a manifest and the checkpoint of a later run", { ...complete("one"), ...unfinished("two", [chunk(0)]) }, "two"],
  ["a manifest and the checkpoint of a run that it has outlived", {
    ...complete("one", "2026-01-03T18:06:00.001Z"),
    ...unfinished("two", [chunk(0)]),
  }, "complete"],
  ["a checkpoint", { ...unfinished("one", [chunk(0)]), ...CHUNK }, "one"],
  ["a checkpoint without a chunk yet", unfinished("one", []), "one"],
  ["several checkpoints", {
    ...unfinished("one", []),
    ...unfinished("two", [], LATER),
    ...unfinished("three", []),
  }, "two"],
  ["several checkpoints, the last one with other options", {
    ...unfinished("one", []),
    ...unfinished("two", [], { ...LATER, ...OTHER_OPTIONS }),
  }, "one"],
  [
    "several checkpoints, one of them damaged",
    {
      ...unfinished("one", []),
      [checkpointName(shortRun("two"))]: checkpoint("two", [], LATER).slice(0, 50),
    },
    "one",
    ["checkpoint is not used: it is damaged"],
  ],
  [
    "a checkpoint of which a chunk is gone",
    {
      ...unfinished("one", [chunk(0), chunk(1)]),
      ...CHUNK,
    },
    "nothing",
    ["checkpoint is not used: chunks of it are gone"],
  ],
  [
    "a checkpoint of which a chunk has another size",
    {
      ...unfinished("one", [chunk(0)]),
      "0000000.json.gz": "123456",
    },
    "nothing",
    ["checkpoint is not used: chunks of it are gone"],
  ],
  [
    "a checkpoint that was cut off",
    {
      [checkpointName(shortRun("one"))]: checkpoint("one", []).slice(0, 50),
    },
    "nothing",
    ["checkpoint is not used: it is damaged"],
  ],
  [
    "a checkpoint of a later format",
    unfinished("one", [], { format: 99 }),
    "nothing",
    ["checkpoint is not used: it is damaged"],
  ],
  [
    "a checkpoint without histories",
    unfinished("one", [], OTHER_OPTIONS),
    "nothing",
    ["checkpoint is not used: it was made with other options"],
  ],
  [
    "a checkpoint without attachments",
    unfinished("one", [], { options: { ...OPTIONS, attachments: false } }),
    "nothing",
    ["checkpoint is not used: it was made with other options"],
  ],
  [
    "a checkpoint with all tombstones",
    unfinished("one", [], { options: { ...OPTIONS, tombstones: true } }),
    "nothing",
    ["checkpoint is not used: it was made with other options"],
  ],
  ["a checkpoint with other sizes of chunks", {
    ...unfinished("one", [chunk(0)], { options: { ...OPTIONS, chunk: null } }),
    ...CHUNK,
  }, "one"],
  [
    "the checkpoint of format 1",
    FORMAT_1,
    "nothing",
    ["checkpoint is not used: it is of format 1, which does not say where its listing stands"],
  ],
  [
    "the manifest of another database, whose folder was put there",
    { "manifest.json": JSON.stringify({ ...manifest("one"), database: "other" }), ...CHUNK },
    "nothing",
    ["manifest is not used: it is of another database"],
  ],
  [
    "the checkpoint of another database, whose folder was put there",
    { ...unfinished("one", [chunk(0)], { database: "other" }), ...CHUNK },
    "nothing",
    ["checkpoint is not used: it is of another database"],
  ],
  [
    "a manifest that was cut off",
    { "manifest.json": new TextDecoder().decode(encodeJson(manifest("one")).subarray(0, 100)) },
    "nothing",
    ["manifest is not used: it is damaged"],
  ],
];

for (const [what, files, expected, warnings = []] of CASES) {
  Deno.test(`findLeftover() of ${what}: ${expected}`, async () => {
    await inStore(async (store, put) => {
      for (const [name, text] of Object.entries(files)) await put(name, text);
      const log = new RecordedLog();
      const found = await leftover(store, { log });
      assertEquals(found.kind === "unfinished" ? found.checkpoint.run : found.kind, expected);
      assertEquals(log.events("warn"), warnings);
    });
  });
}

Deno.test("findLeftover() gives the chunks of an unfinished backup, and where its listing stands", async () => {
  await inStore(async (store, put) => {
    const files = { ...unfinished("one", [chunk(0), chunk(3)]), ...CHUNK, "0000003.json.gz": "12345" };
    for (const [name, text] of Object.entries(files)) await put(name, text);
    // Behind the checkpoint's position: nothing names it.
    await put("0000004.json.gz", "12345");
    const found = await leftover(store);
    if (found.kind !== "unfinished") throw new Error(found.kind);
    assertEquals(found.checkpoint.chunks.map(({ name }) => name), ["0000000.json.gz", "0000003.json.gz"]);
    const { filter, ...rest } = found.listing;
    assertEquals([rest, filter?.name], [
      { position: "7-x", ids: 20, expected: 100 },
      filterName(shortRun("one"), 0),
    ]);
  });
});

Deno.test("findLeftover() counts what the runs in question left, whatever others have left behind them", async () => {
  const cases: [what: string, files: Record<string, string>, runs: string[], found: string][] = [
    ["another's manifest", complete("one"), ["two"], "nothing"],
    [
      "its manifest and a later one",
      {
        ...complete("one"),
        ...complete("two", "2026-01-03T18:30:00.000Z"),
      },
      ["one"],
      "complete",
    ],
    ["another's checkpoint", unfinished("one", []), ["two"], "nothing"],
    [
      "its checkpoint and a later one",
      { ...unfinished("one", []), ...unfinished("two", [], LATER) },
      ["zero", "one"],
      "one",
    ],
    [
      "its checkpoint and another's later manifest",
      {
        ...unfinished("one", []),
        ...complete("two", "2026-01-03T18:30:00.000Z"),
      },
      ["one"],
      "one",
    ],
  ];
  for (const [what, files, runs, expected] of cases) {
    await inStore(async (store, put) => {
      for (const [name, text] of Object.entries(files)) await put(name, text);
      const found = await leftover(store, { runs });
      assertEquals(found.kind === "unfinished" ? found.checkpoint.run : found.kind, expected, what);
    });
  }
});

Deno.test("readFilter() gives the filter that a checkpoint names, and nothing where it is lost", async () => {
  const name = filterName(shortRun("one"), 1);
  const bytes = new TextEncoder().encode("a filter");
  const filter = { name, sha256: sha256(bytes), salt: 1, hashes: 10 };
  const cases: [what: string, stored: Uint8Array | undefined, found: Uint8Array | undefined, warnings: string[]][] = [
    ["whole", bytes, bytes, []],
    ["damaged", bytes.slice(1), undefined, [
      "filter of listed ids is damaged: every document is taken for one that may be stored already",
    ]],
    ["missing", undefined, undefined, [
      "filter of listed ids is gone: every document is taken for one that may be stored already",
    ]],
  ];
  for (const [what, stored, found, warnings] of cases) {
    await inStore(async (store, put) => {
      if (stored !== undefined) await put(name, stored);
      const log = new RecordedLog();
      assertEquals(await readFilter(store, FOLDER, { filter, log }), found, what);
      assertEquals(log.events("warn"), warnings, what);
      assertEquals(await readFilter(store, FOLDER, { filter: null, log }), undefined);
    });
  }
});

Deno.test("findLeftover() passes over what is of a database that was deleted and made anew since", async () => {
  const createdAt = (instance_start_time: string) => ({
    properties: { ...origin("one").properties, instance_start_time },
  });
  const complete = JSON.stringify({ ...manifest("one"), ...createdAt("1764093600") });
  const unfinished = checkpoint("two", [chunk(0)], createdAt("1764093600"));
  await inStore(async (store, put) => {
    await put("0000000.json.gz", "12345");
    await put("manifest.json", complete);
    assertEquals((await leftover(store, { createdAt: "1764093600" })).kind, "complete");
    assertEquals((await leftover(store, { createdAt: "1764099999" })).kind, "nothing");
    await put(checkpointName(shortRun("two")), unfinished);
    assertEquals((await leftover(store, { createdAt: "1764093600" })).kind, "unfinished");
    const log = new RecordedLog();
    assertEquals((await leftover(store, { createdAt: "1764099999", log })).kind, "nothing");
    assertEquals(log.events("warn"), ["checkpoint is not used: the database was deleted and created again since"]);
  });
});

Deno.test("findLeftover() takes another checkpoint where the newest is expired while it looks", async () => {
  await inStore(async (store, put) => {
    const files = { ...unfinished("one", []), ...unfinished("two", [], LATER) };
    for (const [name, text] of Object.entries(files)) await put(name, text);
    const state = await readFolder(store, FOLDER, {});
    await Deno.remove(fileURLToPath(store.locate(`${FOLDER}/${checkpointName(shortRun("two"))}`)));
    const found = await findLeftover(store, FOLDER, { state, wanted: origin("new"), log: new RecordedLog() });
    assertEquals(found.kind === "unfinished" && found.checkpoint.run, "one");
  });
});
