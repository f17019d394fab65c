/** The test vectors of both formats, as this program reads them, and as the specification says that anybody may. */
import { assert, assertEquals } from "@std/assert";
import { Decrypter } from "age-encryption";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { parseIdentities } from "../src/codec/age_header.ts";
import { exitCodeOfRestore } from "../src/commands/restore/report.ts";
import { restore } from "../src/commands/restore/restore.ts";
import { exitCodeOfVerify, verify } from "../src/commands/verify.ts";
import { EXIT } from "../src/errors.ts";
import { setUpRestore } from "./commands/restore/setup.ts";
import { couchOk } from "./couch_request.ts";
import { elementsOf, membersOf } from "./fakes/couchdb/json_text.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "./leaf_revisions.ts";
import { parseVectors, type Vector, withoutHistories } from "./vectors.ts";

/** A backup, read by the words of docs/archive.md alone. */
async function readByHand(repository: string, path: string): Promise<LeafRevisions> {
  const file = path.endsWith(".json") ? path : `${path}/${await fileIn(join(repository, path))}`;
  const folder = file.slice(0, file.lastIndexOf("/"));
  const { chunks, parent = null } = JSON.parse(await Deno.readTextFile(join(repository, file)));
  const numberOf = (name: string) => Number(/(\d{7,})\.json\.(?:gz|zst)(?:\.age)?$/.exec(name)![1]);
  chunks.sort((a: { name: string }, b: { name: string }) => numberOf(b.name) - numberOf(a.name));
  const documents: LeafRevisions = new Map();
  const again = new Set<string>();
  for (const chunk of chunks) {
    const object = await Deno.readFile(join(repository, folder, chunk.name));
    assertEquals(createHash("sha256").update(object).digest("hex"), chunk.sha256);
    const isSealed = chunk.name.endsWith(".age");
    const bytes = isSealed ? await opened(repository, "two", object) : object;
    const decompress = chunk.name.replace(/\.age$/, "").endsWith(".zst") ? zstdDecompressSync : gunzipSync;
    const rows = elementsOf(new Map(membersOf(decompress(bytes).toString())).get("results")!);
    const ids: string[] = [];
    for (const row of rows.map((row) => new Map(membersOf(row)))) {
      const id = JSON.parse(row.get("id")!) as string;
      ids.push(id);
      if (again.has(id)) continue;
      const texts = elementsOf(row.get("docs")!).map((entry) => new Map(membersOf(entry)).get("ok")!);
      documents.set(id, new Map(texts.map((text) => [JSON.parse(text)._rev, text])));
    }
    if (chunk.again === true) { for (const id of ids) again.add(id); }
  }
  if (parent === null) return documents;
  // Below the same prefix: the folder of the parent has as many parts as that of the child.
  const prefix = folder.split("/").slice(0, 1 - parent.path.split("/").length).join("/");
  const parentFile = `${prefix}/${parent.path}`;
  const text = await Deno.readFile(join(repository, parentFile)).catch(() => undefined);
  if (text === undefined) return documents;
  assertEquals(createHash("sha256").update(text).digest("hex"), parent.sha256);
  return new Map([...await readByHand(repository, parentFile), ...documents]);
}

/** What is sealed, opened by the package alone. @param key Which of the two that it was sealed to. */
async function opened(repository: string, key: "one" | "two", bytes: Uint8Array): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  decrypter.addIdentity((await Deno.readTextFile(join(repository, `../${key}.key`))).split("\n")[1]!);
  return await decrypter.decrypt(bytes);
}

/** The manifest of a folder, or the checkpoint where there is none. */
async function fileIn(folder: string): Promise<string> {
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  return names.find((name) => name === "manifest.json") ?? names.find((name) => name.startsWith("checkpoint"))!;
}

/** Restores a vector into a database of a double. */
async function restoreVector(repository: string, { path, database, verify: verified }: Vector) {
  const setup = await setUpRestore();
  const identities = async () => await parseIdentities(await Deno.readTextFile(join(repository, "../one.key")));
  const context = { ...setup.context, repository: undefined, seal: { identities, isExpectedOf: () => false } };
  const place = join(repository, path);
  const report = await verify(context, { database, path: place });
  const salvage = verified === EXIT.archive;
  return { setup, report, restored: await restore(context, { database: "new", path: place, salvage }) };
}

for (const format of ["format1", "format2", "increments", "zstd", "sealed"]) {
  const folder = new URL(`fixtures/${format}/`, import.meta.url).pathname;
  const repository = join(folder, "repository");
  const vectors = parseVectors(await Deno.readTextFile(join(folder, "expected.json")));

  for (const vector of vectors) {
    Deno.test(`verify() and restore() find in ${format}/${vector.path} what must be there`, async () => {
      const { setup, report, restored } = await restoreVector(repository, vector);
      await using _setup = setup;
      const { documents, has_histories, unreadable } = vector;
      assertEquals([exitCodeOfVerify(report), exitCodeOfRestore(restored)], [vector.verify, vector.restore]);
      assertEquals(restored.unreadable.map(({ id }) => id), unreadable);
      const isDeleted = (id: string) =>
        [...documents.get(id)!.values()].every((text) => text.includes('"_deleted":true'));
      const also = [...documents.keys()].filter(isDeleted);
      assertEquals([restored.documents, restored.deleted], [documents.size, also.length]);
      const leaves = await readAllLeafRevisions(setup.server, "new", { also });
      assertEquals(compareLeafRevisions(documents, has_histories ? leaves : withoutHistories(leaves)), []);
      assertEquals((await couchOk(setup.server, "GET /new/_security")).text.trim(), vector.security);
      assertEquals((await couchOk(setup.server, "GET /new/_revs_limit")).json, vector.revs_limit);
    });

    Deno.test(`${format}/${vector.path} can be read by the specification alone`, async () => {
      assertEquals(compareLeafRevisions(vector.documents, await readByHand(repository, vector.path)), []);
    });
  }
}

Deno.test("the vectors of format 2 hold what they are for", async () => {
  const folder = new URL("fixtures/format2/repository/backup/2026/11/25/couchdb/orders/", import.meta.url).pathname;
  const manifests = await Promise.all(
    ["manifest-20261125T060000Z-33333333.json", "manifest-20261125T180000Z-44444444.json"].map(async (name) =>
      JSON.parse(await Deno.readTextFile(join(folder, name)))
    ),
  );
  for (const { chunks, totals } of manifests) {
    const states = new Map<string, number>();
    for (const { name } of chunks) {
      const { results } = JSON.parse(gunzipSync(await Deno.readFile(join(folder, name))).toString());
      for (const { id } of results) states.set(id, (states.get(id) ?? 0) + 1);
    }
    assertEquals(chunks.at(-1).again, true);
    assert([...states.values()].includes(2), "a document is in two chunks");
    assert(totals.deleted > 0, "there are tombstones");
  }
  const [first, second] = manifests;
  assertEquals([first.unreadable.length, second.options.revisions], [1, false]);
  assertEquals(second.chunks[0].name, "44444444-0000000.json.gz");
});

Deno.test("the vectors of increments hold what they are for", async () => {
  const folder = new URL("fixtures/increments/repository/backup/2026/11/", import.meta.url).pathname;
  const manifests = await Promise.all(
    [25, 26, 27, 28].map(async (day) =>
      JSON.parse(await Deno.readTextFile(join(folder, `${day}/couchdb/orders/manifest.json`)))
    ),
  );
  assertEquals(manifests.map(({ kind }) => kind), ["full", "incremental", "incremental", "incremental"]);
  assertEquals(manifests.map(({ chunks }) => chunks.length > 0), [true, true, false, true]);
  const [, second, third, fourth] = manifests;
  assertEquals([third.parent.run, fourth.parent.run], [second.run, second.run], "what is empty is nobody's parent");
});

Deno.test("the vectors of zstd hold what they are for", async () => {
  const folder = new URL("fixtures/zstd/repository/backup/2026/11/", import.meta.url).pathname;
  const manifests = await Promise.all(
    [25, 26, 27].map(async (day) =>
      JSON.parse(await Deno.readTextFile(join(folder, `${day}/couchdb/orders/manifest.json`)))
    ),
  );
  assertEquals(manifests.map(({ kind, chunks }) => [kind, chunks[0].name.slice(7)]), [
    ["full", ".json.gz"],
    ["incremental", ".json.zst"],
    ["full", ".json.zst"],
  ]);
});

Deno.test("the vectors of sealed backups hold what they are for, and what they seal can be opened by the package alone", async () => {
  const repository = new URL("fixtures/sealed/repository", import.meta.url).pathname;
  const manifests = await Promise.all(
    [25, 26].map(async (day) =>
      JSON.parse(await Deno.readTextFile(join(repository, `backup/2026/11/${day}/couchdb/orders/manifest.json`)))
    ),
  );
  assertEquals(manifests.map(({ kind, chunks }) => [kind, chunks[0].name.slice(7)]), [
    ["full", ".json.gz.age"],
    ["incremental", ".json.zst.age"],
  ]);
  for (const { recipients, sealed, properties, unreadable } of manifests) {
    assertEquals([recipients.length, "security" in properties, unreadable], [2, false, undefined]);
    const bytes = Uint8Array.fromBase64(sealed.age);
    for (const key of ["one", "two"] as const) {
      const content = JSON.parse(new TextDecoder().decode(await opened(repository, key, bytes)));
      assertEquals(content.security.includes('"ann"'), true);
      assertEquals(content.unreadable.map(({ id }: { id: string }) => id), ["unreadable"]);
    }
    const hash = createHash("sha256").update(`${sealed.salt}\0unreadable`).digest("base64url").slice(0, 22);
    assertEquals(sealed.unreadable, [{ id: hash }]);
  }
});
