/**
 * Lists a folder page by page, and never takes a part of it for the whole: after a page without a token the listing
 * continues after its last key, and pages that lead nowhere are an error. In: a client and a folder. Out: entries in
 * S3's order, each once.
 */
import { StoreError } from "../../errors.ts";
import { checkFolder, compareEntries } from "../key.ts";
import type { ListBelowOptions, ListOptions, ObjectBelow, StoreEntry } from "../store.ts";
import type { S3Client } from "./client.ts";
import { describeSubject, strangeAnswer } from "./error.ts";
import { isCutListing, parseListing } from "./xml.ts";

/** Pages in a row that may bring nothing and announce more; a server may pass over what was deleted. */
const MOST_EMPTY_PAGES = 3;

/**
 * What lies directly in `folder`, or what of it begins with a prefix.
 *
 * @throws StoreError with code `endless` when the server repeats itself, goes backwards, or announces more and gives
 * nothing; with `strange_answer` when what answers is no whole listing of that folder.
 */
export async function* listFolder(
  client: S3Client,
  folder: string,
  options: ListOptions = {},
): AsyncGenerator<StoreEntry, void, undefined> {
  for await (const page of listPages(client, folder, options)) yield* page;
}

/** All objects below `folder`, page by page. @throws StoreError as {@linkcode listFolder} does. */
export async function* listBelow(
  client: S3Client,
  folder: string,
  options: ListBelowOptions = {},
): AsyncGenerator<ObjectBelow[], void, undefined> {
  for await (const page of listPages(client, folder, { ...options, isDeep: true })) {
    // Not the markers of empty folders. The listing has gone by them, too: pages of them alone lead somewhere.
    yield page.filter((entry) => entry.kind === "object").filter(({ name }) => !name.endsWith("/"));
  }
}

/** @param options `isDeep`: all objects below the folder, and no folders. */
async function* listPages(
  client: S3Client,
  folder: string,
  { prefix: namePrefix = "", after, isDeep = false, pageSize, signal }: ListOptions & ListBelowOptions & {
    isDeep?: boolean;
  },
): AsyncGenerator<StoreEntry[], void, undefined> {
  const path = client.fullKey(checkFolder(folder));
  const prefix = path === "" ? "" : `${path}/`;
  let goOn = after === undefined ? {} : behind(`${prefix}${after}`);
  let last: StoreEntry | undefined;
  let emptyPages = 0;
  for (;;) {
    const answer = await client.send({
      method: "GET",
      action: "list",
      right: "s3:ListBucket",
      folder,
      query: {
        "list-type": "2",
        ...isDeep ? {} : { delimiter: "/" },
        "encoding-type": "url",
        "max-keys": String(pageSize ?? client.settings.pageSize),
        prefix: `${prefix}${namePrefix}`,
        ...goOn,
      },
      isCut: isCutListing,
    }, signal);
    const page = parseListing(answer.body, prefix, { isDeep });
    if (page === undefined || page.entries.some(({ name }) => !name.startsWith(namePrefix))) {
      throw strangeAnswer(client, folder, `what "${prefix}" holds, to its end`, "list");
    }
    const entries = page.entries.sort(compareEntries);
    // After a folder's name some servers go on with what lies in that folder.
    if (goOn["start-after"] !== undefined && last !== undefined && entries[0] !== undefined) {
      if (entries[0].kind === "folder" && compareEntries(entries[0], last) === 0) entries.shift();
    }
    const wanted: StoreEntry[] = [];
    for (const entry of entries) {
      if (last !== undefined && compareEntries(last, entry) >= 0) {
        throw endless(client, folder, `"${entry.name}" comes after "${last.name}"`);
      }
      last = entry;
      // A server may pass over where it is to begin.
      if (after === undefined || compareEntries({ kind: "object", name: after }, entry) < 0) wanted.push(entry);
    }
    yield wanted;
    if (!page.isTruncated) return;
    emptyPages = entries.length === 0 ? emptyPages + 1 : 0;
    if (emptyPages > MOST_EMPTY_PAGES) throw endless(client, folder, `${emptyPages} pages in a row were empty`);
    goOn = page.continuationToken === undefined
      ? behind(page.nextMarker ?? keyOf(last, prefix))
      : { "continuation-token": page.continuationToken };
    if (Object.keys(goOn).length === 0) throw endless(client, folder, "it does not say where to continue");
  }
}

/**
 * How to go on where no token is given. Ceph before 14.2.5 takes the second version of the request for the first, which
 * calls this `marker`.
 */
function behind(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { "start-after": key, marker: key };
}

function keyOf(entry: StoreEntry | undefined, prefix: string): string | undefined {
  return entry && `${prefix}${entry.name}${entry.kind === "folder" ? "/" : ""}`;
}

function endless(client: S3Client, folder: string, found: string): StoreError {
  return new StoreError(
    `${
      describeSubject({ action: "list", key: folder, url: client.url })
    }: the server announces more entries, but ${found}`,
    { code: "endless", key: folder },
    { hint: "Its listings cannot be relied on: update the server, or use another store" },
  );
}
