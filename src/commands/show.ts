/**
 * Shows one document of a backup, in the bytes that CouchDB sent. In: a backup's path and an id, maybe a revision. Out:
 * the document's bytes, and which leaf revisions the backup has of it. Needs no CouchDB.
 */
import type { Archive } from "../archive/archive.ts";
import type { PathContext } from "../archive/find.ts";
import { type Leaf, leafOf, revisionOf, walkDocuments, type WalkOptions, winnerOf } from "../archive/walk.ts";
import { decodeDatabase } from "../database_name.ts";
import { ArchiveError } from "../errors.ts";
import { openWhole } from "./open_whole.ts";
import { sendDocument, type Sink } from "./sink.ts";

/** Which document of which backup. */
export interface ShowRequest {
  /** Encoded (`a%2Fb`) or not. */
  database: string;
  /** As for restore. */
  path: string;
  /** The document's id. */
  id: string;
  /** A leaf revision. @default the winning one, or the newest mark of a deletion where all are deleted */
  rev?: string | undefined;
}

/** What was shown. */
export interface ShownDocument {
  /** The decoded name of the database that the backup is of. */
  database: string;
  /** The URL of the backup. */
  path: string;
  /** Its id. */
  id: string;
  /** Its revision. */
  rev: string;
  /** Whether it is the mark of a deletion. */
  deleted: boolean;
  /** All leaf revisions that the backup has of it. */
  leaves: Leaf[];
}

/** Sends the bytes of one document, and a newline. @throws ArchiveError when the backup does not have it. */
export async function showDocument(context: PathContext, request: ShowRequest, sink: Sink): Promise<ShownDocument> {
  const { signal } = context;
  const archive = await openWhole(context, request);
  const isWanted = (id: string) => id === request.id;
  const leaves = await leavesOf(archive, { isWanted, signal });
  const { rev, deleted } = pickLeaf(archive, request, leaves);
  for await (const document of walkDocuments(archive, { isWanted, signal })) {
    if (revisionOf(document) !== rev) continue;
    await sendDocument(document, sink);
    break;
  }
  const database = archive.database ?? decodeDatabase(request.database);
  return { database, path: archive.url, id: request.id, rev, deleted, leaves };
}

async function leavesOf(archive: Archive, options: WalkOptions): Promise<Leaf[]> {
  const leaves: Leaf[] = [];
  for await (const document of walkDocuments(archive, options)) {
    leaves.push(await leafOf(document));
  }
  return leaves;
}

function pickLeaf({ url }: Archive, { id, rev }: ShowRequest, leaves: readonly Leaf[]): Leaf {
  const found = rev === undefined ? winnerOf(leaves) : leaves.find((leaf) => leaf.rev === rev);
  if (found !== undefined) return found;
  const others = leaves.length === 0 ? "no document of that id" : `only ${leaves.map(({ rev }) => rev).join(", ")}`;
  throw new ArchiveError(
    `There is no ${rev === undefined ? "" : `revision ${rev} of `}document "${id}" in "${url}": it has ${others}`,
    { key: url, expected: id, found: others },
    { hint: "Write the id without encoding; find shows which backups have a document" },
  );
}
