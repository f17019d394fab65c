import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { type Archive, openArchive } from "../../src/archive/archive.ts";
import { followChain, parentLinkOf } from "../../src/archive/chain.ts";
import { MANIFEST_NAME, manifestName, parseManifestName, shortRun } from "../../src/archive/layout.ts";
import type { ParentLink } from "../../src/archive/manifest.ts";
import { encodeJson } from "../../src/archive/manifest_json.ts";
import { addParents } from "../../src/archive/parents.ts";
import { joinKey } from "../../src/store/key.ts";
import { farAway } from "../store/far_away.ts";
import { manifestOf, TestRepository } from "./repository_setup.ts";

/** A full backup and increments that build on it, of these days, each with a chunk. @returns The last one, opened. */
async function openChain(setup: TestRepository, days: readonly string[]): Promise<Archive> {
  let parent: ParentLink | null = null;
  let newest = { folder: "", manifest: "" };
  for (const [number, day] of days.entries()) {
    const finishedAt = `2026-11-28T10:00:${String(number).padStart(2, "0")}Z`;
    const kind = parent === null ? "full" : "incremental";
    const manifest = manifestOf({ day, finishedAt, chunks: [0], isPrefixed: true, kind, parent });
    const folder = setup.folder(day);
    const name = manifestName(new Date(finishedAt), shortRun(manifest.run));
    const bytes = encodeJson(manifest);
    for (const chunk of manifest.chunks) await setup.write(folder, chunk.name, "12345");
    await setup.write(folder, name, bytes);
    await setup.write(folder, MANIFEST_NAME, bytes);
    parent = parentLinkOf(setup.repository, { key: joinKey(folder, name), run: manifest.run, bytes });
    newest = { folder, manifest: name };
  }
  return await openArchive({ store: setup.store, ...newest }, {});
}

/** Eleven days. */
const DAYS = Array.from({ length: 11 }, (_, index) => `2026-11-${String(index + 1).padStart(2, "0")}`);

Deno.test("addParents() puts the chunks of parents below its own in the order of the chain, and lists their folders side by side", async () => {
  await using setup = await TestRepository.open();
  const archive = await openChain(setup, DAYS);
  const { store, mostWaiting } = farAway(setup.store, 5);
  archive.place.store = store;
  await addParents(archive, {});
  assertEquals(archive.problems, []);
  assertEquals(
    archive.chunks.map(({ parent }) => (parent ?? archive.place).folder),
    DAYS.map((day) => setup.folder(day)),
  );
  assertEquals(
    archive.parents.map(({ folder }) => folder),
    DAYS.slice(0, -1).map((day) => setup.folder(day)).reverse(),
  );
  assertEquals([archive.documents, mostWaiting()], [110, 4]);
});

Deno.test("addParents() lists a folder once for all parents that lie in it", async () => {
  await using setup = await TestRepository.open();
  const days = ["2026-11-01", "2026-11-01", "2026-11-02", "2026-11-02", "2026-11-02", "2026-11-03"];
  const archive = await openChain(setup, days);
  setup.requests.length = 0;
  await addParents(archive, {});
  assertEquals([archive.problems, archive.parents.length], [[], 5]);
  assertEquals(
    archive.chunks.map(({ parent }) => (parent ?? archive.place).folder),
    days.map((day) => setup.folder(day)),
  );
  const listed = setup.requests.filter((request) => request.startsWith("list "));
  assertEquals(listed.sort(), ["2026-11-01", "2026-11-02"].map((day) => `list ${setup.folder(day)}`));
});

Deno.test("addParents() names a parent's chunk that is missing, and goes on with the others", async () => {
  await using setup = await TestRepository.open();
  const archive = await openChain(setup, DAYS.slice(0, 4));
  const folder = join(setup.root, setup.folder(DAYS[1]!));
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  const chunk = names.find((name) => name.endsWith(".gz"))!;
  await Deno.remove(join(folder, chunk));
  await addParents(archive, {});
  const [problem, ...others] = archive.problems;
  assertEquals([archive.chunks.length, others, problem?.problem], [3, [], "It is missing"]);
  assertEquals(problem?.chunk, `2026/11/02/couchdb/a%2Fb/${chunk}`);
});

for (const [what, damage] of [["damaged", "{"], ["lost", undefined], ["another's", "other"]] as const) {
  Deno.test(`addParents() takes the copy of a parent's manifest that is ${what}, where it is the same bytes, and says so`, async () => {
    await using setup = await TestRepository.open();
    const archive = await openChain(setup, DAYS.slice(0, 4));
    const folder = setup.folder(DAYS[1]!);
    const name = manifestName(new Date("2026-11-28T10:00:01Z"), await runIn(setup, folder));
    const path = join(setup.root, folder, name);
    if (damage === undefined) await Deno.remove(path);
    else if (damage === "other") await Deno.copyFile(join(setup.root, setup.folder(DAYS[0]!), MANIFEST_NAME), path);
    else await Deno.writeTextFile(path, damage);
    await addParents(archive, {});
    assertEquals([archive.problems, archive.chunks.length, archive.parents.length], [[], 4, 3]);
    const [told, ...others] = archive.damagedManifests;
    assertEquals([told?.chunk, others], [`2026/11/02/couchdb/a%2Fb/${name}`, []]);
    assertStringIncludes(told?.problem ?? "", "its copy manifest.json is whole and is used");
    // A backup that is made does not build on it.
    const chain = await followChain({ ...archive.place, manifest: archive.origin! }, { isTolerant: true });
    assertEquals([chain.links.length, chain.broken?.path], [1, told?.chunk]);
  });
}

/** The eight digits of the run whose manifest lies in a folder. */
async function runIn(setup: TestRepository, folder: string): Promise<string> {
  const names = (await Array.fromAsync(Deno.readDir(join(setup.root, folder)))).map(({ name }) => name);
  return parseManifestName(names.find((name) => parseManifestName(name) !== undefined)!)!.run;
}

Deno.test("addParents() takes no manifest.json for a parent that it is not", async () => {
  await using setup = await TestRepository.open();
  const archive = await openChain(setup, DAYS.slice(0, 3));
  const folder = setup.folder(DAYS[1]!);
  const run = await runIn(setup, folder);
  await Deno.remove(join(setup.root, folder, manifestName(new Date("2026-11-28T10:00:01Z"), run)));
  const other = manifestOf({ day: DAYS[1]!, finishedAt: "2026-11-28T10:00:01Z", run, isPrefixed: true, chunks: [0] });
  await setup.write(folder, MANIFEST_NAME, encodeJson({ ...other, task: "another" }));
  await addParents(archive, {});
  assertEquals([archive.damagedManifests, archive.problems.map(({ problem }) => problem)], [[], [
    "It is missing (the backup builds on it)",
  ]]);
});
