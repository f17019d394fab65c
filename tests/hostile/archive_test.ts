/** What whoever can write the bucket can put there: manifests, checkpoints, names, chunks of any bytes. */
import { assert } from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { entryName, parseEntryName } from "../../src/archive/catalog_entry.ts";
import { parseIdentities } from "../../src/codec/age_header.ts";
import { inspectChunk } from "../../src/archive/chunk.ts";
import { type Manifest, sumChunks } from "../../src/archive/manifest.ts";
import { parseCheckpoint, parseManifest } from "../../src/archive/manifest_json.ts";
import { readTextMembers } from "../../src/json/members.ts";
import { decodeDatabase, encodeDatabase } from "../../src/database_name.ts";
import {
  backupFolder,
  catalogFolder,
  isManifestName,
  parseChunkName,
  parseManifestName,
  parseRunFolderName,
  taskFolder,
} from "../../src/archive/layout.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { joinKey } from "../../src/store/key.ts";
import { readText } from "../../src/streams.ts";
import { partsOf, textWithChecksum } from "../edited_manifest.ts";
import { testSurface } from "./cases.ts";
import { type Dice, HOSTILE_NUMBERS, type Json } from "./dice.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);

/** Every object of the archives that are kept as fixtures whose name ends so. */
async function fixtures(ending: string): Promise<{ name: string; bytes: Uint8Array }[]> {
  const found: { name: string; bytes: Uint8Array }[] = [];
  const walk = async (folder: URL) => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const url = new URL(encodeURIComponent(name) + (isDirectory ? "/" : ""), folder);
      if (isDirectory) await walk(url);
      else if (name.endsWith(ending)) found.push({ name, bytes: await Deno.readFile(url) });
    }
  };
  await walk(FIXTURES);
  assert(found.length > 0, `there are fixtures of ${ending}`);
  return found.sort((a, b) => a.name < b.name ? -1 : 1);
}

const manifests = (await fixtures(".json")).filter(({ name }) => name.startsWith("manifest"));
const chunks = (await Promise.all([".json.gz", ".json.zst", ".json.gz.age", ".json.zst.age"].map(fixtures))).flat();
/** What the sealed ones are sealed to. */
const identities = await parseIdentities(await Deno.readTextFile(new URL("sealed/one.key", FIXTURES)));

testSurface({
  name: "manifest",
  cases: 1000,
  make: (dice) => {
    const text = new TextDecoder().decode(dice.pick(manifests).bytes);
    if (dice.oneIn(10)) return dice.mutateBytes(new TextEncoder().encode(text));
    const manifest = partsOf(text) as Manifest;
    if (dice.oneIn(2)) return new TextEncoder().encode(dice.mutateJsonText(manifest as unknown as Json));
    // One that agrees with itself.
    const chunk = manifest.chunks.length === 0 ? undefined : dice.pick(manifest.chunks);
    if (chunk !== undefined) {
      Object.assign(
        chunk,
        dice.pick<object>([
          { name: dice.text() },
          { name: `../0000000.json.gz` },
          { name: manifest.chunks[0]!.name },
          { name: dice.mutateDigits(chunk.name) },
          { documents: dice.pick(HOSTILE_NUMBERS) },
          { bytes: dice.pick(HOSTILE_NUMBERS), compressed_bytes: dice.pick(HOSTILE_NUMBERS) },
          { sha256: dice.text() },
        ]),
      );
    } else Object.assign(manifest, { finished_at: dice.text() });
    return textWithChecksum({ ...manifest, totals: sumChunks(manifest.chunks) });
  },
  run: (bytes) => {
    const { chunks, totals, ...manifest } = parseManifest(bytes, "a/manifest.json");
    for (const instant of [manifest.started_at, manifest.finished_at, manifest.stored_at ?? 0]) {
      new Date(instant).toISOString();
    }
    for (const { name } of chunks) {
      if (/[/\\]|\.\./.test(name)) throw new Error(`It takes a chunk named ${name}`);
    }
    if (new Set(chunks.map(({ name }) => name)).size < chunks.length) throw new Error("It takes a chunk twice");
    for (const sum of Object.values(totals)) {
      if (!Number.isSafeInteger(sum) || sum < 0) throw new Error(`A sum is ${sum}`);
    }
  },
});

testSurface({
  name: "checkpoint",
  cases: 500,
  make: (dice) => {
    const manifest = partsOf(dice.pick(manifests).bytes) as { [name: string]: Json };
    const listing = {
      position: "9-g1AAAA",
      ids: 9,
      expected: 10,
      filter: { name: "filter-0b5a8fd2-0.bin", sha256: "0".repeat(64), salt: 1, hashes: 27 },
    };
    return dice.mutateJsonText({ ...manifest, saved_at: "2026-11-25T18:04:11.000Z", listing });
  },
  run: (text) => {
    const { chunks, listing } = parseCheckpoint(new TextEncoder().encode(text), "a/checkpoint.json");
    const names = [...chunks.map(({ name }) => name), listing?.filter?.name ?? ""];
    for (const name of names) if (/[/\\]|\.\./.test(name)) throw new Error(`It takes an object named ${name}`);
    if (new Set(names).size < names.length) throw new Error("It takes a chunk twice");
  },
});

const ENTRY = entryName({
  finishedAt: new Date("2026-11-25T18:04:11.123Z"),
  run: "0b5a8fd2",
  date: { year: 2026, month: 11, day: 25 },
  task: "every day ü",
  kind: "full",
  documents: 12,
  compressedBytes: 3456,
  chunks: 1,
  unreadable: 0,
  manifestKey: "a/manifest-20261125T180411Z-0b5a8fd2.json",
});

testSurface({
  name: "object name",
  cases: 500,
  make: (dice) => {
    const name = dice.pick([
      ENTRY,
      "0000000.json.gz",
      "0b5a8fd2-0000000.json.gz",
      "0000000.json.zst.age",
      "manifest-20261125T180411Z-0b5a8fd2.json",
      "20261125T180411Z",
    ]);
    return dice.oneIn(2) ? dice.mutateText(name) : dice.mutateDigits(name);
  },
  run: (name) => {
    parseRunFolderName(name)?.toISOString();
    if (isManifestName(name) !== (parseManifestName(name) !== undefined)) throw new Error("Is it a manifest?");
    const entry = parseEntryName(name);
    if (entry !== undefined) {
      entry.finishedAt.toISOString();
      for (const count of [entry.documents, entry.chunks, entry.compressedBytes, entry.unreadable]) {
        if (!Number.isSafeInteger(count)) throw new Error(`It takes the count ${count}`);
      }
    }
    const number = parseChunkName(name);
    if (number !== undefined && !Number.isSafeInteger(number)) throw new Error(`It takes the number ${number}`);
    parseManifestName(name)?.finishedAt.toISOString();
  },
});

testSurface({
  name: "database name",
  cases: 500,
  make: (dice) => dice.mutateText(dice.pick(["account/ab/cd", "_users", "a$()+-/"])),
  run: async (database) => {
    const encoded = encodeDatabase(database);
    if (decodeDatabase(encoded) !== database.toWellFormed()) throw new Error("It does not come back");
    const root = join(await temporary("names"), "bucket");
    const date = { year: 2026, month: 11, day: 25 };
    const folders = [
      backupFolder({ prefix: "p", suffix: "s", date, database }),
      catalogFolder({ prefix: "p", suffix: "s", database }),
      taskFolder({ prefix: "p", suffix: "s", task: database }),
    ];
    for (const folder of folders) {
      const key = joinKey(folder, "object");
      const written = await new DirectoryStore(root).replace(key, new TextEncoder().encode("x"), {})
        .then(() => undefined, (error: unknown) => ({ error }));
      const beside = (await Array.fromAsync(Deno.readDir(join(root, "..")))).filter(({ name }) => name !== "bucket");
      if (beside.length > 0) throw new Error(`It wrote beside the folder: ${JSON.stringify(beside)}`);
      if (written !== undefined) throw written.error;
      const text = await readText(await new DirectoryStore(root).read(key));
      if (text !== "x") throw new Error("It is not read back");
    }
  },
});

let root: string | undefined;
/** A folder of that name in one for the whole file. */
async function temporary(name: string): Promise<string> {
  root ??= await Deno.makeTempDir({ prefix: "couchdb-backup hostile-" });
  await Deno.mkdir(join(root, name), { recursive: true });
  return join(root, name);
}
addEventListener("unload", () => root !== undefined && Deno.removeSync(root, { recursive: true }));

/** JSON in shapes of the formats that are read, with something wrong in it. */
function hostileDocuments(dice: Dice): Uint8Array<ArrayBuffer> {
  const document = { _id: "a", _rev: "1-00", n: 1, list: [1, { _id: "x" }], text: "é\u0000😀" };
  const shapes: Json[] = [
    {
      results: [{ id: "a", docs: [{ ok: document }, { ok: { ...document, _deleted: true } }] }, { id: "b", docs: [] }],
    },
    { results: [{ seq: "1-x", id: "a", changes: [{ rev: "1-00" }], doc: document }], last_seq: "1-x", pending: 0 },
    { total_rows: 1, offset: 0, rows: [{ id: "a", key: "a", value: { rev: "1-00" }, doc: document }] },
    { new_edits: false, docs: [document, document] },
    [document, document],
  ];
  const shape = dice.pick(shapes);
  const header = '{"name":"@cloudant/couchbackup","version":"2.11.0","mode":"full","attachments":true}\n';
  const text = dice.oneIn(6) ? header + dice.mutateJsonText([document]) : dice.mutateJsonText(shape);
  const special: (() => string)[] = [
    () => `{"results":[${'{"id":"a","docs":['.repeat(20_000)}`,
    () => `{"results":[{"id":"a","docs":[{"ok":${"[".repeat(300_000)}${"]".repeat(300_000)}}]}]}`,
    () => `{"results":[{"id":"a","docs":[{"ok":{"_id":"a","_rev":"1-0","n":${"9".repeat(300_000)}}}]}]}`,
    () => `{"results":[{"id":"a","id":"b","docs":[{"ok":{"_id":"a","_id":"b","_rev":"1-0","_rev":"2-0"}}],"docs":[]}]}`,
    () => `{"results":[{"id":"${"i".repeat(1_100_000)}","docs":[]}]}`,
    () => `[${" ".repeat(300_000)}`,
    () => "[]".repeat(1000),
    () => '{"docs":[{"_id":"\\ud800","_rev":"1-0"}]}',
    () => `${header}${header}`,
    () => `${header}{"marker":"@cloudant/couchbackup:resume"}\n`.repeat(2),
  ];
  const bytes = Uint8Array.from(Buffer.from(dice.oneIn(25) ? dice.pick(special)() : text));
  if (dice.oneIn(6)) return dice.mutateBytes(bytes.length > 50_000 ? bytes.subarray(0, 500) : bytes);
  return bytes;
}

testSurface({
  name: "chunk",
  cases: 800,
  make: (dice): Uint8Array<ArrayBuffer> => {
    const { bytes } = dice.pick(chunks);
    if (dice.oneIn(3)) return dice.mutateBytes(bytes);
    const documents = hostileDocuments(dice);
    return dice.oneIn(2) ? documents : Uint8Array.from(gzipSync(documents));
  },
  run: async (bytes, number) => {
    const store = new DirectoryStore(await temporary("chunks"));
    const key = number % 2 === 0 ? "0000000.json.gz" : "0000000.json.gz.age";
    await store.replace(key, bytes, {});
    const entry = number % 3 > 0 ? undefined : {
      name: key,
      documents: 1,
      leaf_revisions: 1,
      deleted: 0,
      absent: 0,
      bytes: 100,
      compressed_bytes: bytes.length,
      sha256: "0".repeat(64),
    };
    await inspectChunk({ store, key, entry, identities: number % 5 === 0 ? undefined : identities });
  },
});

testSurface({
  name: "text members",
  cases: 500,
  make: (dice) =>
    dice.oneIn(2) ? dice.mutateBytes(new TextEncoder().encode('{"_id":"a","_rev":"1-0"}')) : hostileDocuments(dice),
  run: (bytes) => {
    const { _id, _rev } = readTextMembers(bytes, ["_id", "_rev"]);
    for (const text of [_id, _rev]) {
      if (text !== undefined && typeof text !== "string") throw new Error("It is no text");
    }
  },
});
