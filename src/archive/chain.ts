/**
 * The parents of an incremental backup. In: a backup's manifest, and where it lies. Out: the manifests of its
 * parents, the newest first, down to the full one; or which of them is missing or differs from what its child says.
 */
import { createHash } from "node:crypto";
import { haveSameRecipients } from "../codec/compression.ts";
import { ArchiveError, isNotFound, isOutOfReach } from "../errors.ts";
import { joinKey, keyBelow } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";
import { readObjectBytes } from "../store/whole.ts";
import { isManifestName, MANIFEST_NAME } from "./layout.ts";
import type { ChunkEntry, Manifest, ParentLink } from "./manifest.ts";
import { parseManifest } from "./manifest_json.ts";
import { readFolder } from "./read.ts";
import type { Repository } from "./repository.ts";

/** A manifest and where it lies. */
export interface ChainLink {
  store: Store;
  /** The key of its folder. */
  folder: string;
  /** Its name in that folder. */
  name: string;
  /** As its child names it, below the config's prefix. */
  path: string;
  manifest: Manifest;
  /** What is wrong with it, a sentence, where its whole copy is used in its place. */
  damaged?: string | undefined;
}

/** Why a chain ends before its full backup. */
export interface BrokenLink {
  /** The parent's path, as its child names it. */
  path: string;
  /** What is wrong with it, a sentence. */
  problem: string;
  /** Whether it is not there, and that is all. @default false */
  isMissing?: boolean;
}

/** The parents of a backup. */
export interface Chain {
  /** The newest first; the last one is full, unless the chain is broken. */
  links: ChainLink[];
  /** The first parent that is not as it must be. */
  broken: BrokenLink | undefined;
}

/** What a chain is followed with. */
export interface ChainOptions extends StoreCallOptions {
  /** Opens the folder of a machine in which a copied backup's parents lie. @default its own store alone is looked at */
  openStore?: ((bucket: string) => Promise<Store>) | undefined;
  /**
   * Whether a parent that is there and out of reach counts as broken, and so does one of which a copy alone is whole:
   * for a backup, which does without. Who wants to restore hears what the store says. @default false
   */
  isTolerant?: boolean | undefined;
}

/** What is said of a parent that is not there. */
const MISSING = "It is missing";
/** No chain is longer: a task's own limit is far below it. */
const MOST_LINKS = 2000;
/** Date, any number of folders of the suffix, the database, the manifest. */
const PATH = /^\d{4}\/\d\d\/\d\d\/(?!(?:.*\/)?\.{1,2}\/)(?:[^/]+\/)+[^/]+$/;

/** The parents of the backup whose manifest this is. */
export async function followChain(
  start: { store: Store; folder: string; manifest: Pick<Manifest, "kind" | "parent" | "database" | "recipients"> },
  options: ChainOptions,
): Promise<Chain> {
  const links: ChainLink[] = [];
  let { store, folder } = start;
  let child = start.manifest;
  while (child.kind === "incremental") {
    const { parent } = child;
    const path = parent?.path ?? "";
    if (parent === null) {
      return { links, broken: { path, problem: "An incremental backup has no parent in its manifest" } };
    }
    if (links.length >= MOST_LINKS) return { links, broken: { path, problem: "The chain does not end" } };
    const place = await placeOf(parent, { store, folder }, options);
    if (place === undefined) return { links, broken: { path, problem: "Its path is not that of a manifest" } };
    const { database } = start.manifest;
    const expected = { ...options, database, recipients: child.recipients };
    const read = await readLink(parent, place, expected);
    const copied = typeof read === "string" ? await readCopy(parent, place, expected) : read;
    if (copied === undefined) return { links, broken: { path, problem: String(read), isMissing: read === MISSING } };
    links.push({ ...place, path, manifest: copied, ...typeof read === "string" ? { damaged: read } : {} });
    ({ store, folder } = place);
    child = copied;
  }
  return { links, broken: undefined };
}

/**
 * Where a parent lies: below the same prefix as its child, wherever the whole was copied to. The folders of both have
 * as many parts: a date, the suffix, the database.
 */
async function placeOf(
  { path }: ParentLink,
  { store, folder }: { store: Store; folder: string },
  { openStore }: ChainOptions,
): Promise<Pick<ChainLink, "store" | "folder" | "name"> | undefined> {
  const parts = path.split("/");
  const name = parts.pop()!;
  if (!PATH.test(path) || !isManifestName(name)) return undefined;
  const own = folder === "" ? [] : folder.split("/");
  const above = parts.length - own.length;
  if (above <= 0) return { store, folder: joinKey(...own.slice(0, -above), ...parts), name };
  if (openStore === undefined) return undefined;
  // The store is the folder of a copied backup itself: its parents lie beside that folder.
  const [scheme = "", rest = ""] = store.url.split("://");
  const steps = rest.split("/");
  if (steps.length <= above) return undefined;
  const root = await openStore(`${scheme}://${steps.slice(0, -above).join("/")}`);
  return { store: root, folder: joinKey(...parts), name };
}

/** What a parent must be: `recipients` are its child's. */
type ExpectedLink = ChainOptions & Pick<Manifest, "database" | "recipients">;

/**
 * The `manifest.json` beside a parent that is lost or damaged, where it is that manifest byte for byte, as its child's
 * SHA-256 says; else undefined.
 */
async function readCopy(
  link: ParentLink,
  place: Pick<ChainLink, "store" | "folder" | "name">,
  expected: ExpectedLink,
): Promise<Manifest | undefined> {
  if (expected.isTolerant === true || place.name === MANIFEST_NAME) return undefined;
  const read = await readLink(link, { ...place, name: MANIFEST_NAME }, { ...expected, isTolerant: true });
  return typeof read === "string" ? undefined : read;
}

/** The manifest of a parent, or what is wrong with it, a sentence. */
async function readLink(
  { sha256, run }: ParentLink,
  { store, folder, name }: Pick<ChainLink, "store" | "folder" | "name">,
  { database, recipients, isTolerant = false, signal }: ExpectedLink,
): Promise<Manifest | string> {
  const key = joinKey(folder, name);
  let bytes: Uint8Array;
  try {
    bytes = await readObjectBytes(store, key, { signal });
  } catch (error) {
    if (isNotFound(error)) return MISSING;
    if (isTolerant && isOutOfReach(error)) return error.message;
    throw error;
  }
  try {
    const found = createHash("sha256").update(bytes).digest("hex");
    const manifest = parseManifest(bytes, key);
    if (found !== sha256) return `It is not the manifest that the later backup builds on: its SHA-256 is ${found}`;
    if (manifest.database !== database) return `It is of another database, "${manifest.database}"`;
    if (manifest.run !== run) return `It is of another run, ${manifest.run}`;
    return explainOther({ recipients }, manifest) ?? manifest;
  } catch (error) {
    if (error instanceof ArchiveError) return error.message;
    throw error;
  }
}

/**
 * Why a parent is not sealed as its child is; undefined where it is. No backup builds on such a parent, but whoever
 * writes the bucket can name another parent in a manifest, and sealed chunks above would vouch for what is in clear
 * below.
 */
function explainOther(
  { recipients: wanted }: Pick<Manifest, "recipients">,
  { recipients }: Pick<Manifest, "recipients">,
): string | undefined {
  if (haveSameRecipients(recipients, wanted)) return undefined;
  if (recipients === undefined) return "It is not encrypted, but the backup that builds on it is sealed";
  return `It is sealed to ${wanted === undefined ? "somebody" : "others"}, and the backup that builds on it is ${
    wanted === undefined ? "not encrypted" : "not"
  }`;
}

/** Which chunk of a backup is not there, or has another size than its manifest says; undefined where all are. */
export async function findGoneChunk(
  { store, folder, manifest: { chunks: wanted } }: Pick<ChainLink, "store" | "folder" | "manifest">,
  options: StoreCallOptions,
): Promise<string | undefined> {
  if (wanted.length === 0) return undefined;
  // One request, as a listing is; but in a folder on a disk it looks at one file, and not at all that lie beside it.
  if (wanted.length === 1) {
    const [{ name, compressed_bytes }] = wanted as [ChunkEntry];
    const found = await store.stat(joinKey(folder, name), options);
    return found?.sizeBytes === compressed_bytes ? undefined : name;
  }
  const { chunks } = await readFolder(store, folder, options);
  return wanted.find(({ name, compressed_bytes }) => chunks.get(name) !== compressed_bytes)?.name;
}

/** How a later backup names one as its parent. */
export function parentLinkOf(
  { prefix }: Pick<Repository, "prefix">,
  { key, run, bytes }: { key: string; run: string; bytes: Uint8Array },
): ParentLink {
  return { path: keyBelow(prefix, key), run, sha256: createHash("sha256").update(bytes).digest("hex") };
}
