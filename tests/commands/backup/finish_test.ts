import { assertEquals, assertRejects } from "@std/assert";
import { Catalog } from "../../../src/archive/catalog.ts";
import type { Manifest } from "../../../src/archive/manifest.ts";
import { listManifests, readFolder, readManifests } from "../../../src/archive/read.ts";
import { Repository } from "../../../src/archive/repository.ts";
import type { Run } from "../../../src/commands/backup/context.ts";
import { finishBackup, finishCopy } from "../../../src/commands/backup/finish.ts";
import { StoreError } from "../../../src/errors.ts";
import { Secret } from "../../../src/secret.ts";
import { DirectoryStore } from "../../../src/store/directory/store.ts";
import { S3Store } from "../../../src/store/s3/store.ts";
import type { Store } from "../../../src/store/store.ts";
import { readText } from "../../../src/streams.ts";
import { chunk, FOLDER, inStore, origin } from "../../archive/folder_setup.ts";
import { partsOf } from "../../edited_manifest.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { FakeS3 } from "../../fakes/s3.ts";

const RUN = "0b5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4";

/** Finishes the backup of a task in a run, at an instant, with what the folder has by then. */
async function finish(store: Store, task: string, { at = "2026-01-03T18:05:00.200Z", knows = true } = {}) {
  const repository = new Repository(store, { prefix: "", suffix: "" });
  const { signal } = new AbortController();
  const context = { repository, now: () => new Date(at), signal, log: new RecordedLog() } as unknown as Run;
  return await finishBackup(context, {
    origin: { ...origin(RUN), task },
    date: { year: 2026, month: 1, day: 3 },
    folder: FOLDER,
    updateSeq: { start: "1-x", end: "1-x" },
    feed: { since: "0", until: "1-x" },
    unreadable: [],
    chunks: [chunk(0)],
    manifests: knows ? await listManifests(store, FOLDER, {}) : [],
  });
}

Deno.test("finishBackup() makes a restore point of each backup that two tasks of a run make within a second", async () => {
  await inStore(async (store) => {
    const made: Manifest[] = [];
    for (const task of ["weekly", "monthly", "yearly"]) made.push(await finish(store, task));
    const found = await readManifests(store, FOLDER, {});
    assertEquals(
      found.map((one) => "manifest" in one ? [one.name, one.manifest.task] : one.error),
      [
        ["manifest-20260103T180500Z-0b5a8fd2.json", "weekly"],
        ["manifest-20260103T180501Z-0b5a8fd2.json", "monthly"],
        ["manifest-20260103T180502Z-0b5a8fd2.json", "yearly"],
      ],
    );
    assertEquals(found.map((one) => "manifest" in one && one.manifest), made);
    const entries = await Array.fromAsync(
      new Catalog(new Repository(store, { prefix: "", suffix: "" })).entries("a/b", {}),
    );
    assertEquals(entries.map(({ task, manifestKey }) => [task, manifestKey.slice(FOLDER.length + 1)]), [
      ["yearly", "manifest-20260103T180502Z-0b5a8fd2.json"],
      ["monthly", "manifest-20260103T180501Z-0b5a8fd2.json"],
      ["weekly", "manifest-20260103T180500Z-0b5a8fd2.json"],
    ]);
  });
  await inStore(async (store, put) => {
    for (const task of ["weekly", "monthly"]) await finish(store, task);
    for (const second of ["00", "01"]) await put(`manifest-20260103T1805${second}Z-0b5a8fd2.json`, "");
    // The copy is that of the newest, and of no other.
    assertEquals(
      (await readManifests(store, FOLDER, {})).map((one) => "manifest" in one ? one.manifest.task : one.name),
      ["manifest-20260103T180500Z-0b5a8fd2.json", "monthly"],
    );
  });
});

Deno.test("finishBackup() takes its own manifest for stored, and never another one that lies there", async () => {
  await inStore(async (store) => {
    const first = await finish(store, "weekly");
    assertEquals(await finish(store, "weekly", { knows: false }), first);
    const error = await assertRejects(() => finish(store, "monthly", { knows: false }), StoreError);
    assertEquals(error.facts.code, "exists");
  });
});

Deno.test("finishBackup() leaves manifest.json where it is that of a later backup, or the only one of format 1", async () => {
  await inStore(async (store, put) => {
    await put("manifest.json", "of format 1");
    await finish(store, "weekly");
    assertEquals(await readText(await store.read(`${FOLDER}/manifest.json`)), "of format 1");
  });
  await inStore(async (store) => {
    const later = await finish(store, "weekly");
    await finish(store, "monthly", { at: "2026-01-03T18:04:00.000Z", knows: false });
    assertEquals(partsOf(await readText(await store.read(`${FOLDER}/manifest.json`))), later);
  });
});

Deno.test("finishCopy() makes the copy that a run has not come to, of the newest alone, and never one of what is damaged", async () => {
  const NAME = "manifest-20260103T180500Z-0b5a8fd2.json";
  const KEY = `${FOLDER}/manifest.json`;
  const cases: [what: string, copy: string | undefined, done: boolean][] = [
    ["none is there", undefined, true],
    ["it is that of an earlier one", "of an earlier one", true],
    ["it is of format 1, for all that its size tells", "of format 1", false],
  ];
  for (const [what, copy, done] of cases) {
    await inStore(async (store, put) => {
      const { signal } = new AbortController();
      const earlier = "manifest-20260103T170000Z-11111111.json";
      if (copy === "of an earlier one") await put(earlier, copy);
      const manifest = await finish(store, "weekly");
      const bytes = await readText(await store.read(`${FOLDER}/${NAME}`));
      await put("manifest.json", copy ?? "");
      const state = await readFolder(store, FOLDER, {});
      if (copy === undefined) {
        // The listing as it was before: a store has no way to delete.
        state.hasManifest = false;
        state.objects.delete("manifest.json");
        state.manifests = state.manifests.filter(({ name }) => name !== "manifest.json");
      }
      const context = { repository: new Repository(store, { prefix: "", suffix: "" }), signal };
      await finishCopy(context, { folder: FOLDER, name: NAME, manifest, state });
      assertEquals(await readText(await store.read(KEY)) === bytes, done, what);
      if (!done) return;
      await put(NAME, "{");
      await put("manifest.json", bytes);
      await finishCopy(context, { folder: FOLDER, name: NAME, manifest, state: await readFolder(store, FOLDER, {}) });
      assertEquals(await readText(await store.read(KEY)), bytes, `${what}: the copy of a damaged one`);
    });
  }
});

Deno.test("finishBackup() of a run that took longer than a day completes nothing whose chunks somebody has taken away", async () => {
  await inStore(async (store) => {
    const late = { at: "2026-01-05T18:05:00.200Z" };
    const error = await assertRejects(
      () => finish(store, "weekly", late),
      StoreError,
      `chunk "${FOLDER}/0000000.json.gz"`,
    );
    assertEquals(error.facts.code, "gone");
    assertEquals(await listManifests(store, FOLDER, {}), []);
    await store.replace(`${FOLDER}/0000000.json.gz`, new TextEncoder().encode("12345"));
    assertEquals((await finish(store, "weekly", late)).chunks.length, 1);
  });
});

Deno.test("finishBackup() asks an S3 server for one thing after the other: entry, manifest, which is the newest, copy", async () => {
  const fake = await FakeS3.start();
  try {
    const { accessKeyId, secretAccessKey, region } = fake.keys;
    const options = { endpoint: fake.url, accessKeyId, secretAccessKey: new Secret(secretAccessKey), region };
    const store = new S3Store({ bucket: "s3://test-bucket", ...options }, { backoffMs: 1 });
    store.conditions = "held";
    for (let time = 0; time < 2; time++) fake.inject("PutObject", { kind: "refuse", status: 503, code: "SlowDown" });
    await finish(store, "weekly", { knows: false });
    const entry = "PutObject _catalog/a%2Fb/8232536499799-0b5a8fd2-20260103-2-full-10-5-1-0-weekly.json";
    assertEquals(
      fake.requests.map(({ operation, rawPath }) =>
        `${operation} ${decodeURIComponent(rawPath).slice("/test-bucket/".length)}`
      ),
      [
        entry,
        entry,
        entry,
        `PutObject ${FOLDER}/manifest-20260103T180500Z-0b5a8fd2.json`,
        "ListObjectsV2 ",
        `PutObject ${FOLDER}/manifest.json`,
      ],
    );
  } finally {
    await fake.close();
  }
});

Deno.test("finishBackup() makes nothing behind what has failed, and leaves nothing half written", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup finish-" });
  try {
    let links = 0;
    const link = async (existing: string, name: string) => {
      if (++links === 1) throw Object.assign(new Error("link"), { code: "EIO" });
      await Deno.link(existing, name);
    };
    const error = await assertRejects(() => finish(new DirectoryStore(root, { link }), "weekly"), StoreError);
    assertEquals([error.facts.code, error.facts.key?.startsWith("_catalog/")], ["EIO", true]);
    const left = await Array.fromAsync(walk(root));
    assertEquals(left.filter((path) => !path.endsWith("/.couchdb-backup")), []);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

async function* walk(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* walk(`${folder}/${name}`);
    else yield `${folder}/${name}`;
  }
}
