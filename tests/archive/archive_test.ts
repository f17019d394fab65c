import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { type Archive, type ArchiveKind, openArchive } from "../../src/archive/archive.ts";
import { chunkName, portChunkName } from "../../src/archive/layout.ts";
import { type ChunkEntry, sumChunks } from "../../src/archive/manifest.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { addParents } from "../../src/archive/parents.ts";
import { ArchiveError, StoreError } from "../../src/errors.ts";
import { fileURLToPath } from "node:url";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { Store } from "../../src/store/store.ts";
import { TestRepository } from "./repository_setup.ts";

const DAY = "2026-11-25";
const RUN_A = "aaaaaaaa-0000-4000-8000-000000000000";
const RUN_B = "bbbbbbbb-0000-4000-8000-000000000000";
const RUN_C = "cccccccc-0000-4000-8000-000000000000";
const FIRST = { day: DAY, finishedAt: "2026-11-25T10:00:00Z", run: RUN_A, chunks: [0, 1] };
const SECOND = { day: DAY, finishedAt: "2026-11-25T18:00:00.250Z", run: RUN_B, chunks: [0], isPrefixed: true };
const UNFINISHED = { day: DAY, finishedAt: "2026-11-25T19:00:00Z", run: RUN_C, chunks: [0, 1], isPrefixed: true };
const [FIRST_NAME, SECOND_NAME] = [
  "manifest-20261125T100000Z-aaaaaaaa.json",
  "manifest-20261125T180000Z-bbbbbbbb.json",
];

/** A folder with two complete backups and one under way. */
async function setUp() {
  const setup = await TestRepository.open();
  const { folder } = await setup.put({ ...FIRST, isCopied: false });
  await setup.put({ ...SECOND, unreadable: [{ id: "bad", error: "internal_error", reason: "eof" }] });
  await setup.putUnfinished(UNFINISHED);
  const open = (part: { manifest?: string; object?: string } = {}) =>
    openArchive({ store: setup.store, folder, ...part }, {});
  return { setup, folder, open, [Symbol.asyncDispose]: () => setup[Symbol.asyncDispose]() };
}

const brief = ({ kind, manifest, chunks, problems, leftovers }: Archive) => ({
  kind,
  manifest,
  chunks: chunks.map(({ name }) => name),
  problems: problems.map(({ chunk }) => chunk),
  leftovers: leftovers.map(({ chunk }) => chunk),
});
const WHOLE: { kind: ArchiveKind; problems: string[]; leftovers: string[] } = {
  kind: "complete",
  problems: [],
  leftovers: [],
};

Deno.test("openArchive() takes the newest of several backups in a folder, and the others are neither problem nor leftover", async () => {
  await using given = await setUp();
  const archive = await given.open();
  assertEquals(brief(archive), { ...WHOLE, manifest: SECOND_NAME, chunks: ["bbbbbbbb-0000000.json.gz"] });
  assertEquals(archive.finishedAt?.toISOString(), "2026-11-25T18:00:00.250Z");
  assertEquals(archive.unreadable.map(({ id }) => id), ["bad"]);
  assertEquals([archive.origin?.run, archive.documents], [RUN_B, 10]);
});

Deno.test("openArchive() takes the backup whose manifest or checkpoint is named", async () => {
  await using given = await setUp();
  const archive = await given.open({ manifest: FIRST_NAME });
  assertEquals(brief(archive), { ...WHOLE, manifest: FIRST_NAME, chunks: ["0000000.json.gz", "0000001.json.gz"] });
  assertEquals([archive.finishedAt?.toISOString(), archive.unreadable], ["2026-11-25T10:00:00.000Z", []]);
  const unfinished = await given.open({ manifest: "checkpoint-cccccccc.json" });
  assertEquals(brief(unfinished), {
    kind: "unfinished",
    manifest: "checkpoint-cccccccc.json",
    chunks: ["cccccccc-0000000.json.gz", "cccccccc-0000001.json.gz"],
    problems: ["manifest.json"],
    leftovers: [],
  });
  const error = await assertRejects(
    () => given.open({ manifest: "manifest-20260101T000000Z-aaaaaaaa.json" }),
    StoreError,
  );
  assertEquals(error.facts.code, "not_found");
});

Deno.test("openArchive() names a backup of another database in a day's folder, which was renamed or swapped", async () => {
  await using setup = await TestRepository.open();
  const { folder } = await setup.put({ ...FIRST, database: "other/db" });
  const renamed = folder.replace("other%2Fdb", "a%2Fb");
  const plain = folder.replace("other%2Fdb", "other/db");
  for await (const { kind, name } of setup.store.list(folder)) {
    if (kind !== "object") continue;
    const bytes = await new Response(await setup.store.read(`${folder}/${name}`)).bytes();
    for (const to of [renamed, plain, "copy"]) await setup.store.replace(`${to}/${name}`, bytes);
  }
  const open = (folder: string) => openArchive({ store: setup.store, folder }, {});
  const { problems } = await open(renamed);
  assertEquals(problems.map(({ problem }) => problem), [
    'It is of a backup of "other/db" and lies in a folder of "a/b": a folder was renamed, or two were swapped',
  ]);
  // As restore --all and test-restore open it.
  const local = new DirectoryStore(fileURLToPath(setup.store.locate(renamed)));
  const named = await openArchive({ store: local, folder: "" }, {});
  assertEquals(named.problems.length, 1);
  // A copy has any name, and the first version left slashes as they are.
  for (const fine of [folder, plain, "copy"]) assertEquals((await open(fine)).problems, []);
});

Deno.test("openArchive() finds the backup that a chunk is of", async () => {
  await using given = await setUp();
  const cases: [object: string, kind: ArchiveKind, manifest: string | undefined][] = [
    ["0000001.json.gz", "complete", FIRST_NAME],
    ["bbbbbbbb-0000000.json.gz", "complete", SECOND_NAME],
    ["cccccccc-0000001.json.gz", "unfinished", "checkpoint-cccccccc.json"],
    ["0000009.json.gz", "foreign", undefined],
  ];
  await given.setup.write(given.folder, "0000009.json.gz", "12345");
  for (const [object, kind, manifest] of cases) {
    const archive = await given.open({ object });
    assertEquals(brief(archive), { kind, manifest, chunks: [object], problems: [], leftovers: [] }, object);
  }
});

Deno.test("openArchive() calls leftover what no manifest and no checkpoint of the folder names", async () => {
  await using given = await setUp();
  const { setup, folder } = given;
  for (const name of ["0000002.json.gz", "dddddddd-0000000.json.gz", "notes.txt", "filter-cccccccc-0.bin"]) {
    await setup.write(folder, name, "x");
  }
  const { leftovers } = await given.open();
  assertEquals(leftovers, [
    { chunk: "0000002.json.gz", problem: "It is a leftover of another run: no manifest names it" },
    { chunk: "dddddddd-0000000.json.gz", problem: "It is a leftover of another run: no manifest names it" },
    { chunk: "notes.txt", problem: "It does not belong to a backup" },
  ]);
});

Deno.test("openArchive() names a damaged manifest, and does not take the chunks of other backups for its own", async () => {
  await using given = await setUp();
  const { setup, folder } = given;
  await setup.write(folder, SECOND_NAME, "{");
  await setup.write(folder, "manifest.json", "{");
  assertEquals(brief(await given.open()), {
    kind: "unlisted",
    manifest: undefined,
    chunks: ["bbbbbbbb-0000000.json.gz"],
    problems: [SECOND_NAME],
    leftovers: [],
  });
  // The earlier one is as whole as before; that the other is damaged is said.
  assertEquals(brief(await given.open({ manifest: FIRST_NAME })), {
    ...WHOLE,
    manifest: FIRST_NAME,
    chunks: ["0000000.json.gz", "0000001.json.gz"],
    leftovers: [SECOND_NAME, "bbbbbbbb-0000000.json.gz"],
  });
});

Deno.test("openArchive() takes what is in the checkpoint of its run for a backup whose manifest is damaged", async () => {
  await using given = await setUp();
  const { setup, folder } = given;
  await setup.putUnfinished({ ...SECOND, finishedAt: "2026-11-25T17:59:00Z" });
  await setup.write(folder, SECOND_NAME, "{");
  await setup.write(folder, "manifest.json", "{");
  assertEquals(brief(await given.open()), {
    kind: "unfinished",
    manifest: "checkpoint-bbbbbbbb.json",
    chunks: ["bbbbbbbb-0000000.json.gz"],
    problems: [SECOND_NAME, "manifest.json"],
    leftovers: [],
  });
});

Deno.test("openArchive() takes the whole copy of a manifest that is damaged, and says so", async () => {
  await using given = await setUp();
  const { setup, folder } = given;
  await setup.write(folder, SECOND_NAME, "{");
  for (const options of [{}, { manifest: SECOND_NAME }]) {
    const archive = await given.open(options);
    assertEquals(brief(archive), { ...WHOLE, manifest: SECOND_NAME, chunks: ["bbbbbbbb-0000000.json.gz"] });
    assertEquals(archive.damagedManifests[0]?.chunk, SECOND_NAME);
    assertStringIncludes(
      archive.damagedManifests[0]?.problem ?? "",
      "it is not whole JSON; its copy manifest.json is whole",
    );
  }
  assertEquals((await given.open({ manifest: FIRST_NAME })).damagedManifests, []);
});

Deno.test("openArchive() takes the checkpoint that was stored last where nothing is complete", async () => {
  await using setup = await TestRepository.open();
  const { folder } = await setup.putUnfinished(UNFINISHED);
  await setup.putUnfinished({ ...FIRST, format: 1 });
  assertEquals(brief(await openArchive({ store: setup.store, folder }, {})), {
    kind: "unfinished",
    manifest: "checkpoint-cccccccc.json",
    chunks: ["cccccccc-0000000.json.gz", "cccccccc-0000001.json.gz"],
    problems: ["manifest.json"],
    leftovers: [],
  });
});

Deno.test("openArchive() lists the chunks of each run where nothing says which there are, and names gaps", async () => {
  await using setup = await TestRepository.open();
  const folder = setup.folder(DAY);
  for (const name of ["0000000.json.gz", "0000003.json.gz", "aaaaaaaa-0000000.json.gz", "aaaaaaaa-0000002.json.gz"]) {
    await setup.write(folder, name, "x");
  }
  const { kind, chunks, problems } = await openArchive({ store: setup.store, folder }, {});
  assertEquals([kind, chunks.map(({ name }) => name), problems], [
    "unlisted",
    ["0000000.json.gz", "0000003.json.gz", "aaaaaaaa-0000000.json.gz", "aaaaaaaa-0000002.json.gz"],
    [
      { chunk: "0000001.json.gz", problem: "It and the 1 after it are missing", is_missing: true },
      { chunk: "aaaaaaaa-0000001.json.gz", problem: "It is missing", is_missing: true },
    ],
  ]);
});

Deno.test("openArchive() of format 1 is as before", async () => {
  await using setup = await TestRepository.open();
  const { folder } = await setup.put({ ...FIRST, format: 1 });
  const open = () => openArchive({ store: setup.store, folder }, {});
  assertEquals(brief(await open()), {
    ...WHOLE,
    manifest: "manifest.json",
    chunks: ["0000000.json.gz", "0000001.json.gz"],
  });
  await setup.write(folder, "manifest.json", "{");
  assertEquals(brief(await open()), {
    kind: "unlisted",
    manifest: undefined,
    chunks: ["0000000.json.gz", "0000001.json.gz"],
    problems: ["manifest.json"],
    leftovers: [],
  });
  await assertRejects(
    () => openArchive({ store: setup.store, folder: "nowhere" }, {}),
    ArchiveError,
    "There is no backup",
  );
});

Deno.test("openArchive() takes another checkpoint where the newest is expired while it looks", async () => {
  await using setup = await TestRepository.open();
  const first = await setup.putUnfinished(FIRST);
  const { folder, name } = await setup.putUnfinished(UNFINISHED);
  const { kind, manifest } = await openArchive({ store: setup.expiring(name), folder }, {});
  assertEquals([kind, manifest], ["unfinished", first.name]);
});

/** A store in whose folder lie a great many chunks, which are listed and not really there. */
function withMany(store: Store, folder: string, nameOf: (number: number) => string): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      if (name !== "list") return member.bind(target);
      return async function* (key: string, ...options: unknown[]) {
        yield* member.call(target, key, ...options);
        if (key !== folder) return;
        for (let number = 0; number < MANY; number++) {
          yield { kind: "object", name: nameOf(number), sizeBytes: 5, modified: new Date(0) };
        }
      };
    },
  });
}

/** More than a call takes arguments. */
const MANY = 150_000;

Deno.test("openArchive() opens what has a great many chunks and no list of them, ours and the Rust port's", async () => {
  for (const nameOf of [chunkName, portChunkName]) {
    await using setup = await TestRepository.open();
    const folder = setup.folder(DAY);
    const { kind, chunks } = await openArchive({ store: withMany(setup.store, folder, (n) => nameOf(n)), folder }, {});
    assertEquals([kind, chunks.length, chunks.at(-1)?.name], ["unlisted", MANY, nameOf(MANY - 1)]);
  }
});

Deno.test("addParents() puts a great many chunks below those of an increment", async () => {
  await using setup = await TestRepository.open();
  const { folder, name, manifest } = await setup.put({ ...FIRST, day: "2026-11-24", chunks: [] });
  const chunks = Array.from({ length: MANY }, (_, number): ChunkEntry => ({
    name: chunkName(number),
    documents: 1,
    leaf_revisions: 1,
    deleted: 0,
    absent: 0,
    bytes: 5,
    compressed_bytes: 5,
    sha256: "0".repeat(64),
  }));
  const bytes = encodeJson({ ...manifest, chunks, totals: sumChunks(chunks) });
  await setup.write(folder, name, bytes);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const parent = { run: RUN_A, path: `2026/11/24/couchdb/a%2Fb/${name}`, sha256 };
  const increment = await setup.put({ ...SECOND, kind: "incremental", parent });
  const store = withMany(setup.store, folder, (number) => chunkName(number));
  const archive = await openArchive({ store, folder: increment.folder }, {});
  await addParents(archive, {});
  assertEquals(archive.problems, []);
  assertEquals([archive.chunks.length, archive.chunks.at(-1)?.parent], [MANY + 1, undefined]);
});
