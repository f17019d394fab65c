import { assertEquals, assertRejects } from "@std/assert";
import {
  listCheckpoints,
  listManifests,
  readCheckpoint,
  readFolder,
  readManifest,
  readManifests,
  readNewestManifest,
} from "../../src/archive/read.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { ArchiveError, StoreError } from "../../src/errors.ts";
import { FOLDER, inStore } from "./folder_setup.ts";
import { encodeFormat1, manifestOf, TestRepository } from "./repository_setup.ts";

const FIRST = { day: "2026-11-25", finishedAt: "2026-11-25T10:00:00Z", run: "11111111-0000-4000-8000-000000000000" };
const SECOND = {
  day: "2026-11-25",
  finishedAt: "2026-11-25T18:04:11.500Z",
  run: "22222222-0000-4000-8000-000000000000",
};
const NAMES = ["manifest-20261125T100000Z-11111111.json", "manifest-20261125T180411Z-22222222.json"];

Deno.test("readFolder() numbers on behind the highest chunk, and passes over what is none", async () => {
  await inStore(async (store, put) => {
    const empty = {
      objects: new Map(),
      chunks: new Map(),
      nextNumbers: new Map(),
      nextNumber: 0,
      manifests: [],
      checkpoints: new Map(),
      hasManifest: false,
      hasCheckpoint: false,
    };
    assertEquals(await readFolder(store, FOLDER, {}), empty, "a folder that does not exist");
    for (const name of ["0000000.json.gz", "0000007.json.gz", "notes.txt", "99.json.gz", "0000009.json.gz/inner"]) {
      await put(name, "12345");
    }
    assertEquals(await readFolder(store, FOLDER, {}), {
      ...empty,
      objects: new Map([["0000000.json.gz", 5], ["0000007.json.gz", 5], ["99.json.gz", 5], ["notes.txt", 5]]),
      nextNumber: 8,
      nextNumbers: new Map([["", 8]]),
      chunks: new Map([["0000000.json.gz", 5], ["0000007.json.gz", 5]]),
    });
    await put("manifest.json", "{}");
    await put("checkpoint.json", "{}");
    const { hasManifest, hasCheckpoint, manifests } = await readFolder(store, FOLDER, {});
    assertEquals([hasManifest, hasCheckpoint], [true, true]);
    assertEquals(manifests, [{ name: "manifest.json", finishedAt: undefined, run: undefined }]);
  });
});

Deno.test("readFolder() tells manifests by moment, checkpoints and chunks by run", async () => {
  await using setup = await TestRepository.open();
  const { folder } = await setup.put({ ...SECOND, chunks: [0, 1], isPrefixed: true });
  await setup.put({ ...FIRST, chunks: [0, 3], isCopied: false });
  await setup.putUnfinished({ ...FIRST, run: "33333333-0000-4000-8000-000000000000", chunks: [8], isPrefixed: true });
  const { manifests, checkpoints, nextNumbers, nextNumber, chunks } = await readFolder(setup.store, folder, {});
  assertEquals(manifests, [
    { name: NAMES[0]!, finishedAt: new Date("2026-11-25T10:00:00Z"), run: "11111111" },
    { name: NAMES[1]!, finishedAt: new Date("2026-11-25T18:04:11Z"), run: "22222222" },
  ]);
  assertEquals(checkpoints, new Map([["33333333", "checkpoint-33333333.json"]]));
  assertEquals(nextNumbers, new Map([["", 4], ["22222222", 2], ["33333333", 9]]));
  assertEquals([nextNumber, chunks.size], [9, 5]);
  assertEquals(await listManifests(setup.store, folder, {}), manifests);
  assertEquals(await listCheckpoints(setup.store, folder, {}), ["checkpoint-33333333.json"]);
});

Deno.test("readManifest() reads the newest manifest of a folder, or the one that is named", async () => {
  await using setup = await TestRepository.open();
  const folder = setup.folder(FIRST.day);
  const read = async (name?: string) => (await readManifest(setup.store, folder, { name })).run.slice(0, 8);
  assertEquals((await assertRejects(() => read(), StoreError)).facts.code, "not_found");
  await setup.put({ ...FIRST, run: "44444444-0000-4000-8000-000000000000", format: 1 });
  assertEquals(await read(), "44444444", "format 1");
  // The older one is stored last: the order is that of the moments.
  await setup.put(SECOND);
  await setup.put({ ...FIRST, isCopied: false });
  assertEquals([await read(), await read(NAMES[0])], ["22222222", "11111111"]);
  assertEquals((await assertRejects(() => read("manifest-x.json"), StoreError)).facts.code, "not_found");
  await setup.write(folder, NAMES[1]!, '{"format":2,');
  assertEquals([await read(), await read(NAMES[1])], ["22222222", "22222222"], "its copy is whole");
  const copies = [
    encodeJson(manifestOf(FIRST)),
    encodeJson(manifestOf({ ...SECOND, finishedAt: "2026-11-25T18:04:13Z" })),
  ];
  for (const other of ["{", ...copies]) {
    await setup.write(folder, "manifest.json", other);
    await assertRejects(() => read(NAMES[1]), ArchiveError, NAMES[1]!);
    await assertRejects(() => read(), ArchiveError, NAMES[1]!);
  }
});

Deno.test("readManifests() takes a manifest.json beside others for what it is", async () => {
  const later = { ...FIRST, finishedAt: "2026-11-25T20:00:00Z", run: "44444444-0000-4000-8000-000000000000" };
  const cases: [what: string, bytes: Uint8Array | string | undefined, names: string[]][] = [
    ["a copy of the newest", undefined, NAMES],
    ["none, as a run ended before it wrote it", "", NAMES],
    ["a copy of an earlier one", encodeJson(manifestOf(FIRST)), NAMES],
    ["one of version 1 that ran later", encodeFormat1(manifestOf({ ...later, format: 1 })), [
      ...NAMES,
      "manifest.json",
    ]],
    [
      "one of version 1 that ran between",
      encodeFormat1(manifestOf({ ...later, finishedAt: "2026-11-25T12:00:00Z", format: 1 })),
      [
        NAMES[0]!,
        "manifest.json",
        NAMES[1]!,
      ],
    ],
    ["what a run of these two wrote in another way", JSON.stringify(manifestOf(SECOND)), NAMES],
    ["a damaged one", "{", NAMES],
  ];
  for (const [what, bytes, names] of cases) {
    await using setup = await TestRepository.open();
    const { folder } = await setup.put({ ...FIRST, isCopied: false });
    await setup.put({ ...SECOND, isCopied: bytes === undefined });
    if (bytes !== undefined && bytes !== "") await setup.write(folder, "manifest.json", bytes);
    assertEquals((await readManifests(setup.store, folder, {})).map(({ name }) => name), names, what);
    assertEquals((await readNewestManifest(setup.store, folder, {}))?.name, names.at(-1), what);
  }
});

Deno.test("readManifests() says of a damaged manifest why, and when its backup was complete", async () => {
  await using setup = await TestRepository.open();
  const { folder } = await setup.put(FIRST);
  await setup.write(folder, NAMES[1]!, "{");
  const [whole, damaged] = await readManifests(setup.store, folder, {});
  assertEquals(
    whole !== undefined && "manifest" in whole ? whole.finishedAt.toISOString() : "",
    "2026-11-25T10:00:00.000Z",
  );
  assertEquals(damaged !== undefined && "error" in damaged, true);
  assertEquals(damaged?.finishedAt?.toISOString(), "2026-11-25T18:04:11.000Z");
});

Deno.test("a backup was complete when its manifest's name says, to the millisecond where the manifest agrees", async () => {
  const cases: [part: Record<string, unknown>, moment: string][] = [
    [{}, "2026-11-25T18:04:11.500Z"],
    [{ stored_at: "2026-11-25T18:04:11.900Z", finished_at: "2026-11-25T17:00:00.000Z" }, "2026-11-25T18:04:11.900Z"],
    [{ finished_at: "2026-11-25T17:00:00.000Z" }, "2026-11-25T18:04:11.000Z"],
  ];
  for (const [part, moment] of cases) {
    await using setup = await TestRepository.open();
    const { folder, manifest } = await setup.put({ ...SECOND, isCopied: false });
    await setup.write(folder, NAMES[1]!, encodeJson({ ...manifest, ...part }));
    assertEquals((await readNewestManifest(setup.store, folder, {}))?.finishedAt?.toISOString(), moment);
  }
});

Deno.test("readCheckpoint() reads that of a run, and without a name that of format 1", async () => {
  await using setup = await TestRepository.open();
  const { folder, name } = await setup.putUnfinished(FIRST);
  await setup.putUnfinished({ ...SECOND, format: 1 });
  assertEquals((await readCheckpoint(setup.store, folder, { name })).run, FIRST.run);
  assertEquals((await readCheckpoint(setup.store, folder, {})).run, SECOND.run);
});

Deno.test("readFolder() does not number on behind a chunk whose number no backup reaches", async () => {
  await inStore(async (store, put) => {
    for (const name of ["0000004.json.gz", "999999999999.json.gz"]) await put(name, "12345");
    const { chunks, nextNumber } = await readFolder(store, FOLDER, {});
    assertEquals([chunks.size, nextNumber], [2, 5]);
  });
});
