/**
 * A database that is hard to back up and restore, made through the HTTP API alone, so that the double and a real
 * CouchDB can both hold it: conflicts, deleted leaves beside winners, deleted documents, attachments, strange ids,
 * numbers that JavaScript cannot hold. The same options make the same documents and revisions everywhere.
 */
import { Buffer } from "node:buffer";
import { couchOk, type CouchServer } from "./couch_request.ts";

/** How large a hard database is. */
export interface HardDatabaseOptions {
  /** Ordinary documents, of which some have conflicts and deleted leaves. The strange ones come on top. @default 100 */
  documents?: number;
  /** The size of the largest attachment. @default 10,000 */
  attachmentBytes?: number;
  /** The size of an ordinary document's padding. @default 200 */
  paddingBytes?: number;
  /** @default false */
  partitioned?: boolean;
  /** Whether there is a validation function, which all these documents pass. @default true */
  validation?: boolean;
}

/** What was made. */
export interface HardDatabase {
  /** Live documents, design documents among them. */
  liveIds: string[];
  /** Documents of which every leaf is deleted. */
  deletedIds: string[];
  /** Of live documents. */
  leafRevisions: number;
  views: string[];
}

/** Ids that have broken backup programs, all allowed by CouchDB. */
export const STRANGE_IDS: readonly string[] = [
  "with\nnewline",
  "with\0nul",
  "\u0000",
  'with"quote',
  "with'apostrophe",
  "with\\backslash",
  "with/slash",
  "a/b/../c",
  "with+plus",
  "with plus as space",
  "with%percent",
  "with%2Fencoded%20parts",
  "with?question&ampersand=1#hash",
  "emoji 😀",
  "emoji 😀 and more",
  "\u{10FFFF}",
  "\uFFFD",
  "\uE000 private use, before the emoji in bytes and behind it in UTF-16",
  "umlaut ä composed",
  "umlaut a\u0308 decomposed",
  "\u2028 line separator",
  "\u007f delete",
  "~",
  " ",
  ".",
  "..",
  "0",
  "10",
  "9",
  "null",
  "{}",
  "prototype",
  "constructor",
  "x".repeat(4000),
];

/** Members in an order and with numbers that a round trip through JavaScript changes. */
const HARD_MEMBERS = '"10":"ten","2":"two","1":"one","big":9007199254740993,"bigger":123456789012345678901234567890,' +
  '"negative":-9007199254740995,"float":1.0,"list":[1.0,9007199254740993,2.5],"small":0.1,' +
  '"text":"quote \\" backslash \\\\ newline \\n slash / tab \\t emoji 😀 nul \\u0000",' +
  '"nested":{"3":{"_id":"not the id","_rev":"not the revision"},"2":[],"1":{}},"docs":[{"ok":{}},{"error":{}}]';

const BYTES_A_REQUEST = 1_000_000;

/** Creates the database `name`, decoded, and fills it. It must not exist. */
export async function seedHardDatabase(
  server: CouchServer,
  name: string,
  options: HardDatabaseOptions = {},
): Promise<HardDatabase> {
  const { documents = 100, attachmentBytes = 10_000, paddingBytes = 200, partitioned = false, validation = true } =
    options;
  const path = `/${encodeURIComponent(name)}`;
  await couchOk(server, `PUT ${path}${partitioned ? "?partitioned=true" : ""}`);
  const seed = new Seed(partitioned ? "part:" : "");
  for (let number = 0; number < documents; number++) {
    seed.ordinary(number, paddingBytes);
    if (seed.waitingBytes >= BYTES_A_REQUEST) await seed.write(server, path);
  }
  for (const id of STRANGE_IDS) seed.add(id, `"_rev":"1-${hash("strange")}","strange":true`);
  seed.special(attachmentBytes);
  await seed.write(server, path);
  const designs = designDocuments(validation);
  for (const [id, design] of designs) await couchOk(server, `PUT ${path}/_design/${id}`, design);
  await couchOk(server, `PUT ${path}/_local/checkpoint`, { last_seq: 5 });
  await couchOk(server, `PUT ${path}/_revs_limit`, "500");
  const security = '{"admins":{"names":["boss"],"roles":[]},"members":{"names":[],"roles":["staff"]},"10":1,"2":1.0}';
  await couchOk(server, `PUT ${path}/_security`, security);
  return {
    liveIds: [...seed.liveIds, ...designs.map(([id]) => `_design/${id}`)],
    deletedIds: seed.deletedIds,
    leafRevisions: seed.leafRevisions + designs.length,
    views: ["_design/reports/_view/by_number", "_design/reports/_view/count"],
  };
}

function designDocuments(validation: boolean): [id: string, design: unknown][] {
  const reports = {
    language: "javascript",
    views: {
      by_number: { map: "function (doc) { if (doc.number) emit(doc.number, null); }" },
      count: { map: "function (doc) { emit(null, 1); }", reduce: "_count" },
    },
  };
  const rules = {
    validate_doc_update: "function (newDoc) { if (newDoc.refuse) throw({forbidden: 'Refused by the rules'}); }",
  };
  return validation ? [["reports", reports], ["rules", rules]] : [["reports", reports]];
}

/** Collects documents as text until they are written, and what there will be then. */
class Seed {
  waitingBytes = 0;
  #waiting: string[] = [];
  readonly liveIds: string[] = [];
  readonly deletedIds: string[] = [];
  leafRevisions = 0;

  readonly prefix: string;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** A live document whose other leaves are `others`; each text is the members behind the id. */
  add(id: string, winner: string, ...others: string[]): void {
    this.liveIds.push(this.prefix + id);
    this.leafRevisions += 1 + others.length;
    // The winner comes neither first nor last, so that nothing can rely on the order.
    for (const members of [...others.slice(0, 1), winner, ...others.slice(1)]) this.#push(id, members);
  }

  addDeleted(id: string, ...leaves: string[]): void {
    this.deletedIds.push(this.prefix + id);
    for (const members of leaves) this.#push(id, members);
  }

  ordinary(number: number, paddingBytes: number): void {
    const id = `doc-${String(number).padStart(7, "0")}`;
    const body = `"number":${number},"padding":"${padding(number, paddingBytes)}"`;
    const winner = `${revisions(3, [`${id}c`, `${id}b`, `${id}a`])},${body}`;
    const loser = `${revisions(3, [`${id}d`, `${id}b`, `${id}a`])},${body},"loser":true`;
    const shorter = `${revisions(2, [`${id}e`, `${id}a`])},${body},"loser":2.0`;
    const deleted = `${revisions(5, [`${id}h`, `${id}g`, `${id}f`, `${id}e2`, `${id}a`])},"_deleted":true`;
    const deletedWithBody = `${revisions(4, [`${id}i`, `${id}c2`, `${id}b`, `${id}a`])},"_deleted":true,"why":1.0`;
    if (number % 50 === 49) this.addDeleted(id, deleted, deletedWithBody);
    else if (number % 10 === 1) this.add(id, winner, loser);
    else if (number % 10 === 4) this.add(id, winner, deleted);
    else if (number % 20 === 7) this.add(id, winner, loser, shorter, deleted, deletedWithBody);
    else this.add(id, `"_rev":"1-${hash(id)}",${body}`);
  }

  special(attachmentBytes: number): void {
    const first = (id: string) => `"_rev":"1-${hash(id)}"`;
    this.add("numbers", `${first("numbers")},${HARD_MEMBERS}`);
    this.add("empty", first("empty"));
    this.add("truncated-history", `"_rev":"17-${hash("truncated")}","a":1.0`);
    this.add("two-roots", `"_rev":"4-${hash("root 1")}","a":1.0`, `"_rev":"2-${hash("root 2")}","a":2.0`);
    const long = Array.from({ length: 400 }, (_, index) => `long ${index}`);
    this.add("long-history", `${revisions(400, long)},"a":1.0`);
    const deletedThenBack = ["back", "gone", "there"];
    this.add("deleted-and-back", `${revisions(3, deletedThenBack)},"a":1.0`);
    this.add(
      "attachments",
      `${first("attachments")},"a":1.0,${
        attachments([
          { name: "large.bin", contentType: "application/octet-stream", bytes: noise(attachmentBytes) },
          { name: "text.txt", contentType: "text/plain", bytes: new TextEncoder().encode("text ä 😀 ".repeat(50)) },
          { name: "empty", contentType: "application/x-empty", bytes: new Uint8Array() },
          { name: 'strange "name" / ä%2F', contentType: 'text/plain; charset="utf-8"', bytes: noise(33) },
          { name: "10", contentType: "image/png", bytes: noise(10) },
          { name: "2", contentType: "image/png", bytes: noise(2) },
        ])
      }`,
    );
    const small = (text: string) => {
      const bytes = new TextEncoder().encode(text);
      return attachments([{ name: "file", contentType: "application/octet-stream", bytes }]);
    };
    this.add(
      "attachments-in-conflict",
      `${revisions(2, ["att b", "att a"])},${small("of the winner")}`,
      `${revisions(2, ["att c", "att a"])},${small("of the loser")}`,
      `${revisions(3, ["att f", "att e", "att a"])},"_deleted":true,${small("of the deleted leaf")}`,
    );
    this.addDeleted("deleted", `${revisions(2, ["deleted b", "deleted a"])},"_deleted":true`);
  }

  /** Writes what waits, which is then forgotten. */
  async write(server: CouchServer, path: string): Promise<void> {
    const reply = await couchOk(server, `POST ${path}/_bulk_docs`, `{"new_edits":false,"docs":[${this.#waiting}]}`);
    if (reply.json.length !== 0) throw new Error(`Some documents were refused: ${reply.text}`);
    this.#waiting = [];
    this.waitingBytes = 0;
  }

  #push(id: string, members: string): void {
    const text = `{"_id":${JSON.stringify(this.prefix + id)},${members}}`;
    this.#waiting.push(text);
    this.waitingBytes += text.length;
  }
}

/** `_rev` and `_revisions` of a history, newest first; hashes are made of the seeds. */
function revisions(start: number, seeds: string[]): string {
  const ids = seeds.map(hash);
  return `"_rev":"${start}-${ids[0]}","_revisions":${JSON.stringify({ start, ids })}`;
}

/** A revision hash: 32 hexadecimal digits, the same for the same seed. */
function hash(seed: string): string {
  let state = 0x811c9dc5;
  for (const character of seed) state = Math.imul(state ^ character.codePointAt(0)!, 0x01000193) >>> 0;
  const words = Array.from({ length: 4 }, () => (state = scramble(state)).toString(16).padStart(8, "0"));
  return words.join("");
}

function attachments(files: { name: string; contentType: string; bytes: Uint8Array }[]): string {
  const members = files.map(({ name, contentType, bytes }) =>
    `${JSON.stringify(name)}:{"content_type":${JSON.stringify(contentType)},"revpos":1,"data":"${
      Buffer.from(bytes).toString("base64")
    }"}`
  );
  return `"_attachments":{${members.join(",")}}`;
}

/** Bytes that do not compress, the same for the same size. */
function noise(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let index = 0, state = sizeBytes + 1; index < sizeBytes; index++) bytes[index] = state = scramble(state);
  return bytes;
}

/** Text that compresses about as well as documents do. It repeats itself further apart than gzip looks back. */
function padding(number: number, sizeBytes: number): string {
  let text = "";
  const unitBytes = Math.min(sizeBytes, 64 * 1024);
  for (let state = number + 1; text.length < unitBytes;) {
    text += `${(state = scramble(state)).toString(36)} some words `;
  }
  return text.repeat(Math.ceil(sizeBytes / Math.max(1, text.length))).slice(0, sizeBytes);
}

/** The next of a sequence of 32-bit numbers without a visible pattern. */
function scramble(state: number): number {
  const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
  return (mixed ^ (mixed >>> 13)) >>> 0;
}
