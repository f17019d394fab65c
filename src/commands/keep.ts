/**
 * Pins a backup, so that it never expires, or takes the pin off. In: a database and a path. Out: which backup it was.
 *
 * An `expire` under way looks for a pin right before it deletes a backup's manifest. So of a backup whose manifest is
 * there some seconds after its pin, every `expire` has seen the pin, or will see it.
 */
import { wait } from "../abort.ts";
import { findArchive, type PathContext } from "../archive/find.ts";
import { isManifestName, MANIFEST_NAME, shortRun } from "../archive/layout.ts";
import type { Manifest } from "../archive/manifest.ts";
import { storePin } from "../archive/pin.ts";
import { momentOf, readManifest } from "../archive/read.ts";
import { commandLine } from "../command_line.ts";
import { decodeDatabase, encodeDatabase } from "../database_name.ts";
import { ArchiveError, isNotFound } from "../errors.ts";
import { joinKey, splitKey } from "../store/key.ts";
import type { Store, StoreCallOptions } from "../store/store.ts";

/** What `expire` has begun to delete is gone so long after a pin that came too late. */
const LOOK_AGAIN_MS = 2000;

/** Which backup, and what is said of it. */
export interface KeepRequest {
  /** Encoded (`a%2Fb`) or not. */
  database: string;
  /** As for restore. */
  path: string;
  /** Whether it is to stay. */
  kept: boolean;
  /** Why, shown by list and expire. */
  reason?: string | undefined;
}

/** What `keep --json` prints. */
export interface KeepReport {
  /** Always; what fails is an error. */
  ok: true;
  /** The decoded name. */
  database: string;
  /** The URL of the backup's folder. */
  path: string;
  /** When it was complete, in UTC. */
  finished_at: string;
  /** Whether it is pinned now. */
  kept: boolean;
}

/** What it works with. */
export interface KeepContext extends PathContext {
  /** What time it is. */
  now: () => Date;
  /** After how long it is looked whether a pinned backup is still there. @default two seconds */
  lookAgainMs?: number | undefined;
}

/**
 * Pins a complete backup or takes its pin off.
 *
 * @throws ArchiveError when there is no complete backup, or `expire` deletes it at this moment; StoreError when the pin
 * cannot be stored.
 */
export async function keep(context: KeepContext, request: KeepRequest): Promise<KeepReport> {
  const { signal, now, lookAgainMs = LOOK_AGAIN_MS } = context;
  const place = await findArchive(context, request.path, decodeDatabase(request.database));
  const { store, folder } = place;
  const name = place.manifest;
  const url = folder === "" ? store.url : store.locate(folder);
  const manifest = place.object === undefined && (name === undefined || isManifestName(name))
    ? await readManifestIfAny(store, folder, { name, signal })
    : undefined;
  if (manifest === undefined) {
    throw new ArchiveError(
      `Cannot ${request.kept ? "pin" : "unpin"} "${request.path}": there is no complete backup at "${url}"`,
      { key: url, expected: "a complete backup", found: place.object ?? name ?? "none" },
      { hint: listHint(folder) },
    );
  }
  const pin = { kept: request.kept, at: now().toISOString(), reason: request.reason ?? null };
  await storePin(store, { folder, run: shortRun(manifest.run), pin, signal });
  if (request.kept) {
    await mustStay(store, { key: joinKey(folder, name ?? MANIFEST_NAME), url, request, lookAgainMs, signal });
  }
  return {
    ok: true,
    database: manifest.database,
    path: url,
    finished_at: momentOf(name ?? MANIFEST_NAME, manifest).toISOString(),
    kept: request.kept,
  };
}

/** @throws ArchiveError when a backup that was just pinned is gone, as `expire` had begun to delete it before. */
async function mustStay(
  store: Store,
  { key, url, request, lookAgainMs, signal }: StoreCallOptions & {
    /** Its manifest's. */
    key: string;
    url: string;
    request: KeepRequest;
    lookAgainMs: number;
  },
): Promise<void> {
  const isThere = async () => await store.stat(key, { signal }) !== undefined;
  if (await isThere()) {
    await wait(lookAgainMs, signal);
    if (await isThere()) return;
  }
  throw new ArchiveError(
    `Cannot pin "${request.path}": expire has deleted the backup at "${url}" at this very moment`,
    { key: url, expected: "its manifest", found: "none" },
    { hint: listHint(splitKey(key).folder) },
  );
}

/** How to see what else there is of the database whose folder this is: it need not be the one that was asked for. */
function listHint(folder: string): string {
  const database = encodeDatabase(decodeDatabase(splitKey(folder).name));
  const command = commandLine("list", database === "" ? ["backups"] : ["--database", database]);
  return `"${command}" shows the backups there are`;
}

async function readManifestIfAny(
  store: Store,
  folder: string,
  options: StoreCallOptions & { name: string | undefined },
): Promise<Manifest | undefined> {
  try {
    return await readManifest(store, folder, options);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}
