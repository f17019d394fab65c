/**
 * Unlocks a sealed archive: reads what its manifest seals, and gives its chunks the identities. In: an archive, and
 * where identities come from. Out: the same archive, readable; or an error that says what is missing.
 */
import { identityNeeded } from "../codec/codec.ts";
import { isSealedName } from "../codec/compression.ts";
import { decodeDatabase } from "../database_name.ts";
import { ArchiveError, UsageError } from "../errors.ts";
import { joinKey, splitKey } from "../store/key.ts";
import type { Archive } from "./archive.ts";
import type { Manifest, Origin } from "./manifest.ts";
import { openContent } from "./sealed.ts";

/** What a config, or who calls, says of sealed backups. */
export interface Seal {
  /** The identities that open them, read when something sealed is met; none: there are none. */
  identities: () => Promise<readonly string[]>;
  /**
   * Whether a backup has to be sealed, so that one in clear is none of its task's. What a manifest says of its task is
   * not to be trusted, for it may be false: the database counts as well.
   */
  isExpectedOf: (origin: { task: string; database: string }) => boolean;
}

/** How {@linkcode unlock} goes about it. */
export interface UnlockOptions {
  /** @default nothing can be opened */
  seal?: Seal | undefined;
  /** Whether a sealed archive is of use without an identity: its checksums can be compared. @default false */
  isOptional?: boolean | undefined;
  /** Whether what is whole of it will do. @default false */
  salvage?: boolean | undefined;
}

/** Whether an archive is sealed, or some of it. */
export function isSealed({ origin, chunks, place }: Pick<Archive, "origin" | "chunks" | "place">): boolean {
  return origin?.recipients !== undefined || chunks.some(({ name }) => isSealedName(name)) ||
    (place.object !== undefined && isSealedName(place.object));
}

/**
 * Makes a sealed archive readable; one that is not sealed is left as it is.
 *
 * @throws UsageError where there is no identity, unless it is optional; ArchiveError where none of them opens it.
 */
export async function unlock(archive: Archive, { seal, isOptional, salvage }: UnlockOptions): Promise<void> {
  const { origin, url } = archive;
  // A file that no manifest names may be sealed even if its name does not say so.
  if (origin !== undefined && !isSealed(archive)) return;
  const identities = await seal?.identities() ?? [];
  archive.identities = identities;
  if (identities.length === 0) {
    if (isOptional !== true && isSealed(archive)) throw identityNeeded(`"${url}"`, origin?.recipients);
    return;
  }
  if (origin?.sealed === undefined) return;
  const name = archive.manifest ?? "";
  try {
    const content = await openOrigin(origin, { identities, key: joinKey(archive.place.folder, name) });
    archive.origin = { ...origin, properties: { ...origin.properties, security: content.security } };
    archive.unreadable = content.unreadable;
  } catch (error) {
    if (!(error instanceof ArchiveError) || salvage !== true) throw error;
    archive.problems.push({ chunk: name, problem: error.message });
  }
}

/** What a manifest seals. @throws ArchiveError where none of the identities opens it. */
async function openOrigin(
  { sealed, recipients = [] }: Pick<Origin, "sealed" | "recipients">,
  { identities, key }: { identities: readonly string[]; key: string },
) {
  return await openContent(sealed!, { identities, recipients, key });
}

/**
 * Makes sure that backups can be opened, before the first of them is.
 *
 * @throws UsageError where there is no identity for one; ArchiveError where none opens it.
 */
export async function requireUnlockable(
  manifests: readonly { manifest: Manifest; key: string }[],
  seal: Seal | undefined,
): Promise<void> {
  const tried = new Set<string>();
  for (const { manifest, key } of manifests) {
    const { recipients } = manifest;
    if (recipients === undefined || tried.has(recipients.join())) continue;
    tried.add(recipients.join());
    const identities = await seal?.identities() ?? [];
    if (identities.length === 0) throw identityNeeded(`"${key}"`, recipients);
    await openOrigin(manifest, { identities, key });
  }
}

/**
 * Refuses a backup in clear where its task seals: somebody may have put it there, and a task that has been sealing for
 * a while has no other use for it.
 *
 * @throws UsageError
 */
export function refusePlain(
  { origin, folder, url }: {
    origin: Pick<Origin, "recipients" | "task" | "database"> | undefined;
    folder: string;
    url: string;
  },
  { seal, allowPlain = false }: { seal: Seal | undefined; allowPlain?: boolean | undefined },
): void {
  if (origin === undefined || origin.recipients !== undefined || allowPlain) return;
  // A manifest can lie about its database, too. The folder cannot: the backup was found by its name.
  const names = [origin.database, decodeDatabase(splitKey(folder).name)];
  if (!names.some((database) => seal?.isExpectedOf({ task: origin.task, database }) === true)) return;
  const subject = `"${url}" is not encrypted`;
  throw new UsageError(`${subject}, but its task or that of its database seals its backups (encrypt_to)`, {
    hint:
      "If it was made before the task sealed its backups, add --allow-plain; otherwise somebody else has put it there",
  });
}
