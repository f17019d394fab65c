/**
 * Holds what a run has left and said against the promises of docs/design.md. In: an outcome, and the folder of a
 * repository, which is read by code that shares nothing with the program. Out: breaches, a sentence each.
 */
import { Buffer } from "node:buffer";
import type { CouchServer } from "../couch_request.ts";
import { couchOk } from "../couch_request.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { filesOf, readBackup } from "../read_archive.ts";
import { COUCH_PASSWORD, type Outcome, S3_SECRET, S3_TOKEN } from "./program.ts";

/** All that must be saved of a database. */
export interface Truth {
  leafRevisions: LeafRevisions;
  security: string;
  revsLimit: number;
}

/** Reads all of a database, straight from its server. */
export async function readTruth(server: CouchServer, database: string): Promise<Truth> {
  const path = `/${encodeURIComponent(database)}`;
  return {
    leafRevisions: await readAllLeafRevisions(server, database, { by: "_bulk_get" }),
    security: (await couchOk(server, `GET ${path}/_security`)).text.trim(),
    revsLimit: (await couchOk(server, `GET ${path}/_revs_limit`)).json,
  };
}

const SECRETS = [COUCH_PASSWORD, S3_SECRET, S3_TOKEN].flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  Buffer.from(`admin:${secret}`).toString("base64"),
]);
/** What a program says that does not know what happened to it. */
const BEWILDERED = /TypeError|ReferenceError|is not a function|is not iterable|of undefined|of null|\[object Object\]/;
/** The exit codes that say: not all of it, and why. */
const SAID = new Set([3, 10, 11, 12]);

/** What is wrong with how a run has ended and what it has said. */
export function judgeOutcome({ exit, errors, said, crash }: Outcome): string[] {
  const breaches: string[] = [];
  if (crash !== undefined) breaches.push(`it ends with an error that is none of its own: ${crash}`);
  if (exit !== 0 && !SAID.has(exit)) breaches.push(`it exits with ${exit}: ${errors.join("; ")}`);
  if (exit !== 0 && errors.every((error) => error.trim() === "")) breaches.push(`it exits with ${exit} and no cause`);
  const told = [...errors, said].join("\n");
  const leaked = SECRETS.find((secret) => told.includes(secret));
  if (leaked !== undefined) {
    breaches.push(`a secret is told: ${told.split("\n").find((line) => line.includes(leaked))}`);
  }
  const bewildered = told.split("\n").find((line) => BEWILDERED.test(line));
  if (bewildered !== undefined) breaches.push(`it does not know what happened: ${bewildered.slice(0, 400)}`);
  return breaches;
}

/** How the backups of one database in a folder stand to the truth. */
export interface FolderVerdict {
  /** The names of the dated manifests, each of an exact backup. */
  complete: string[];
  breaches: string[];
}

/**
 * Reads every backup in a folder that calls itself complete, and compares each with the truth. With an identity all of
 * them are sealed, and nothing in the folder may be in clear that names people's data.
 */
export async function judgeFolder(folder: string, truth: Truth, identity?: string): Promise<FolderVerdict> {
  const names = (await filesOf(folder)).filter((name) => /^manifest/.test(name));
  const verdict: FolderVerdict = { complete: [], breaches: [] };
  for (const name of names) {
    try {
      const { leafRevisions, manifest } = await readBackup(folder, name, identity);
      const differences = compareLeafRevisions(truth.leafRevisions, leafRevisions, 3);
      if (manifest.properties.security !== truth.security) {
        differences.push(`_security is ${manifest.properties.security} in place of ${truth.security}`);
      }
      if (manifest.properties.revs_limit !== truth.revsLimit) {
        differences.push(`_revs_limit is ${manifest.properties.revs_limit} in place of ${truth.revsLimit}`);
      }
      if (manifest.unreadable.length > 0) {
        differences.push(`it names ${manifest.unreadable.length} unreadable documents`);
      }
      for (const difference of differences) verdict.breaches.push(`${name} calls complete what is not: ${difference}`);
    } catch (error) {
      verdict.breaches.push(`${name} calls complete what cannot be read: ${error}`);
    }
    if (name !== "manifest.json") verdict.complete.push(name);
  }
  if (identity !== undefined) verdict.breaches.push(...await findClear(folder, truth));
  return verdict;
}

/** A shorter id, or one that is a name of the program's own, may stand somewhere by itself. */
const LEAST_CHARACTERS = 8;
const OWN_WORDS = new Set(["attachments", "prototype", "constructor"]);

/** What of a database stands in a folder for everybody to read. */
async function findClear(folder: string, { leafRevisions, security }: Truth): Promise<string[]> {
  const ids = [...leafRevisions.keys()].filter((id) => id.length >= LEAST_CHARACTERS && !OWN_WORDS.has(id));
  const needles = [...ids, security].flatMap((text) => [text, JSON.stringify(text).slice(1, -1)]);
  const found: string[] = [];
  for (const name of await filesOf(folder)) {
    const bytes = Buffer.from(await Deno.readFile(`${folder}/${name}`));
    const isChunk = /\d\.json\./.test(name);
    if (isChunk && bytes.length > 0 && !SEALED_BEGINNING.startsWith(bytes.subarray(0, 22).toString("latin1"))) {
      found.push(`${name} is a chunk in clear`);
    }
    const text = bytes.toString();
    const needle = needles.find((needle) => text.includes(needle));
    if (needle !== undefined) found.push(`${name} has ${JSON.stringify(needle)} in clear`);
  }
  return found;
}

const SEALED_BEGINNING = "age-encryption.org/v1\n";

/** The copy for people must be that of the newest; of two that were complete within one second it may be either. */
export async function judgeCopy(folder: string): Promise<string[]> {
  const dated = (await filesOf(folder)).filter((name) => /^manifest-/.test(name)).sort();
  const newest = dated.filter((name) => name.slice(0, -14) === dated.at(-1)?.slice(0, -14));
  if (newest.length === 0) return ["there is no manifest"];
  const read = (name: string) => Deno.readTextFile(`${folder}/${name}`);
  const copy = await read("manifest.json").catch(() => undefined);
  if (copy === undefined) return ["manifest.json is not there beside the dated manifest"];
  const texts = await Promise.all(newest.map(read));
  return texts.includes(copy) ? [] : [`manifest.json is no copy of ${newest.join(" or ")}`];
}

/** Every file below a folder with its bytes. */
export async function filesBelow(folder: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const walk = async (below: string) => {
    for await (const { name, isDirectory } of Deno.readDir(`${folder}${below}`)) {
      if (isDirectory) await walk(`${below}/${name}`);
      else files.set(`${below}/${name}`, await Deno.readFile(`${folder}${below}/${name}`));
    }
  };
  await walk("");
  return files;
}

/** What was complete before must be there as it was. */
export async function judgeEarlier(folder: string, before: ReadonlyMap<string, Uint8Array>): Promise<string[]> {
  const breaches: string[] = [];
  for (const [path, bytes] of before) {
    // What says how things stand may change; what makes an earlier backup must not.
    if (!/\/(\d{7}|[0-9a-f]{8}-\d{7,})\.json\.gz(\.age)?$|\/manifest-[^/]*\.json$/.test(path)) continue;
    const now = await Deno.readFile(folder + path).catch(() => undefined);
    if (now === undefined) breaches.push(`${path} of an earlier complete backup is gone`);
    else if (Buffer.compare(now, bytes) !== 0) breaches.push(`${path} of an earlier complete backup has changed`);
  }
  return breaches;
}
