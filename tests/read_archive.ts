/**
 * What an archive holds, read by code that shares nothing with the program: every chunk is checked against the manifest
 * (size, sums, SHA-256), and every leaf revision is kept as the text that stands in it.
 */
import { assertEquals } from "@std/assert";
import { Decrypter } from "age-encryption";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import type { Manifest } from "../src/archive/manifest.ts";
import { elementsOf, membersOf } from "./fakes/couchdb/json_text.ts";
import type { LeafRevisions } from "./leaf_revisions.ts";

/** A complete backup. */
export interface ArchivedBackup {
  manifest: Manifest;
  leafRevisions: LeafRevisions;
  /**
   * All files of the folder, by name, but for checkpoints and filters: whether there are some depends on how long a run
   * took.
   */
  files: string[];
}

/** A chunk's text, by its first byte. */
export function decompressed(chunk: Uint8Array): Buffer {
  return chunk[0] === 0x28 ? zstdDecompressSync(chunk) : gunzipSync(chunk);
}

/** What an identity opens. The payload, too, is decrypted by the package, which the program does not leave it to. */
async function unsealed(bytes: Uint8Array, identity: string): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  return await decrypter.decrypt(bytes);
}

/** A manifest with what it seals of itself in its place. */
async function openManifest(manifest: Manifest, identity: string): Promise<Manifest> {
  const content = await unsealed(Buffer.from(manifest.sealed!.age, "base64"), identity);
  const { security, unreadable } = JSON.parse(new TextDecoder().decode(content));
  return { ...manifest, properties: { ...manifest.properties, security }, unreadable };
}

/** The rows of a chunk, with the number of their leaf revisions, as leaf revisions. No id may come twice. */
export function leafRevisionsOf(chunk: string): LeafRevisions {
  const all: LeafRevisions = new Map();
  const outer = membersOf(chunk);
  assertEquals(outer.map(([name]) => name), ["results"]);
  for (const row of elementsOf(outer[0]![1])) {
    const members = new Map(membersOf(row));
    const id = JSON.parse(members.get("id")!) as string;
    const revisions = new Map<string, string>();
    for (const entry of elementsOf(members.get("docs")!)) {
      const [[kind, text], ...others] = membersOf(entry) as [[string, string], ...unknown[]];
      assertEquals([kind, others], ["ok", []], `row of ${JSON.stringify(id)}`);
      const document = new Map(membersOf(text));
      assertEquals(JSON.parse(document.get("_id")!), id);
      const revision = JSON.parse(document.get("_rev")!) as string;
      assertEquals(revisions.has(revision), false, `${JSON.stringify(id)} ${revision} comes twice`);
      revisions.set(revision, text);
    }
    assertEquals(all.has(id), false, `${JSON.stringify(id)} comes twice`);
    all.set(id, revisions);
  }
  return all;
}

function isDeleted(document: string): boolean {
  return new Map(membersOf(document)).get("_deleted") === "true";
}

/** How many leaf revisions there are. */
export function countRevisions(leafRevisions: LeafRevisions): number {
  return [...leafRevisions.values()].reduce((sum, revisions) => sum + revisions.size, 0);
}

/** The names of the files directly in a folder; none when there is no such folder. */
export async function filesOf(folder: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** The manifest in a folder, undefined when there is none. */
export async function manifestOf(folder: string): Promise<Manifest | undefined> {
  const names = await filesOf(folder);
  // Complete from the dated one on: a run may be killed before it has copied that to manifest.json.
  const dated = names.filter((name) => /^manifest-\d/.test(name)).sort().at(-1);
  const name = names.includes("manifest.json") ? "manifest.json" : dated;
  return name === undefined ? undefined : JSON.parse(await Deno.readTextFile(`${folder}/${name}`));
}

/**
 * Reads the backup that a manifest in `folder` describes, and checks all that it says of the chunks.
 *
 * @param name The manifest's; `manifest.json` or the newest where it is not given.
 * @param identity What opens the backup, which must then be sealed.
 */
export async function readBackup(folder: string, name?: string, identity?: string): Promise<ArchivedBackup> {
  const stored = name === undefined
    ? await manifestOf(folder)
    : JSON.parse(await Deno.readTextFile(`${folder}/${name}`)) as Manifest;
  if (stored === undefined) throw new Error(`There is no complete backup in ${folder}`);
  const manifest = identity === undefined ? stored : await openManifest(stored, identity);
  const leafRevisions: LeafRevisions = new Map();
  const sums = { documents: 0, leaf_revisions: 0, deleted: 0, absent: 0, chunks: 0, bytes: 0, compressed_bytes: 0 };
  for (const chunk of manifest.chunks) {
    const compressed = await Deno.readFile(`${folder}/${chunk.name}`);
    const bytes = decompressed(identity === undefined ? compressed : await unsealed(compressed, identity));
    const found = leafRevisionsOf(bytes.toString());
    const deleted = [...found.values()].filter((revisions) => [...revisions.values()].every(isDeleted)).length;
    assertEquals(chunk, {
      name: chunk.name,
      documents: found.size,
      leaf_revisions: countRevisions(found),
      deleted,
      absent: chunk.absent,
      bytes: bytes.length,
      compressed_bytes: compressed.length,
      sha256: createHash("sha256").update(compressed).digest("hex"),
      ...(chunk.again ? { again: true } : {}),
    });
    for (const [id, revisions] of found) {
      assertEquals(leafRevisions.has(id) && !chunk.again, false, `${JSON.stringify(id)} is in two chunks`);
      leafRevisions.set(id, revisions);
    }
    sums.deleted += deleted;
    sums.documents += found.size;
    sums.leaf_revisions += countRevisions(found);
    sums.absent += chunk.absent;
    sums.chunks++;
    sums.bytes += bytes.length;
    sums.compressed_bytes += compressed.length;
  }
  assertEquals(manifest.totals, sums);
  const files = (await filesOf(folder)).filter((name) => !/^(checkpoint|filter)-/.test(name));
  return { manifest, leafRevisions, files };
}
