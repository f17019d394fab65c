/**
 * Opens a backup that is to be looked into without restoring it. In: a database and a path. Out: the backup with its
 * parents, unlocked, or why it cannot be read as a whole. Needs no CouchDB.
 */
import { type Archive, openArchive } from "../archive/archive.ts";
import { findArchive, type PathContext } from "../archive/find.ts";
import { addParents } from "../archive/parents.ts";
import { unlock } from "../archive/unlock.ts";
import { commandLine } from "../command_line.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { ArchiveError } from "../errors.ts";
import { joinKey } from "../store/key.ts";

/**
 * Finds a backup that can be read as a whole.
 *
 * @throws ArchiveError when there is none, or it is not whole; UsageError when it is sealed and nothing opens it.
 */
export async function openWhole(
  context: PathContext,
  { database, path }: { database: string; path: string },
): Promise<Archive> {
  const { signal } = context;
  const archive = await openArchive(await findArchive(context, path, decodeDatabase(database)), { signal });
  await addParents(archive, context);
  await unlock(archive, context);
  const [first] = archive.problems;
  if (first === undefined) return archive;
  // The path may name another database than the one that was asked for.
  const held = encodeDatabase(archive.database ?? decodeDatabase(database));
  throw new ArchiveError(
    `Cannot read "${archive.url}": "${first.chunk}" has a problem: ${first.problem}`,
    { key: joinKey(archive.place.folder, first.chunk), expected: "a complete backup", found: first.problem },
    { hint: `"${commandLine("list", ["--database", held])}" shows the backups there are` },
  );
}
