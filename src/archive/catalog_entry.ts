/**
 * The name of an entry in the catalog, which carries all that a list of backups shows, so that a listing of names is
 * enough. In: what is known of a complete backup. Out: a name that sorts before those of earlier backups, and the other
 * way round. Specified in docs/archive.md. Pure.
 */
import { MANIFEST_NAME, shortRun } from "./layout.ts";
import { splitKey } from "../store/key.ts";
import type { BackupDate } from "../dates.ts";
import type { BackupKind } from "./manifest.ts";

/** What the catalog says of a complete backup. */
export interface CatalogEntry {
  /** The decoded name. */
  database: string;
  /** When it was complete; to the millisecond. */
  finishedAt: Date;
  /** Its run's id, or the eight digits that stand for it; the latter in an entry that was read. */
  run: string;
  /** The date in its path. */
  date: BackupDate;
  task: string;
  kind: BackupKind;
  documents: number;
  compressedBytes: number;
  chunks: number;
  /** How many documents CouchDB could not read. */
  unreadable: number;
  /** The key of its manifest. */
  manifestKey: string;
}

/**
 * What stands in a name: all but the database, which is the folder's, and the manifest's key, which follows from the
 * rest.
 */
export type NamedEntry = Omit<CatalogEntry, "database" | "manifestKey"> & {
  /** 1 where the manifest is called `manifest.json`, else 2. */
  format: 1 | 2;
  /** Whether the task's name was too long and is only begun. */
  isTaskCut: boolean;
};

/** A file system takes 255 bytes; a tool that copies a bucket may add a suffix of its own. */
const MAX_NAME_BYTES = 200;
/** A moment of thirteen digits is taken from it; enough until the year 2286. */
const LAST_MS = 9_999_999_999_999;
/** After a task's name that is only begun. It is among the characters that a name's encoding never holds. */
const CUT = "=";

const ENTRY_NAME =
  /^(\d{13})-([0-9a-f]{8})-(\d{4})(\d\d)(\d\d)-([12])-(full|incremental)-(\d{1,15})-(\d{1,15})-(\d{1,15})-(\d{1,15})-([\w.%-]*)(=?)\.json$/;

/** The name of a backup's entry. */
export function entryName(entry: Omit<CatalogEntry, "database">): string {
  const { finishedAt, run, date, kind, documents, compressedBytes, chunks, unreadable } = entry;
  const digits = (value: number, width: number) => String(value).padStart(width, "0");
  const facts = [
    digits(LAST_MS - finishedAt.getTime(), 13),
    /^[0-9a-f]{8}$/.test(run) ? run : shortRun(run),
    `${digits(date.year, 4)}${digits(date.month, 2)}${digits(date.day, 2)}`,
    formatOf(entry.manifestKey),
    kind,
    documents,
    compressedBytes,
    chunks,
    unreadable,
    "",
  ].join("-");
  return `${facts}${encodeTask(entry.task, MAX_NAME_BYTES - facts.length - ".json".length)}.json`;
}

/** What an entry's name says; undefined when the name is none. */
export function parseEntryName(name: string): NamedEntry | undefined {
  const match = ENTRY_NAME.exec(name);
  if (match === null) return undefined;
  const [, inverted, run = "", year, month, day, format, kind, documents, bytes, chunks, unreadable, task = ""] = match;
  const isTaskCut = match[13] === CUT;
  try {
    return {
      finishedAt: new Date(LAST_MS - Number(inverted)),
      run,
      date: { year: Number(year), month: Number(month), day: Number(day) },
      format: format === "1" ? 1 : 2,
      kind: kind as BackupKind,
      documents: Number(documents),
      compressedBytes: Number(bytes),
      chunks: Number(chunks),
      unreadable: Number(unreadable),
      task: decodeURIComponent(task),
      isTaskCut,
    };
  } catch {
    return undefined; // The task's name is no encoding: somebody else's object.
  }
}

function formatOf(manifestKey: string): 1 | 2 {
  return splitKey(manifestKey).name === MANIFEST_NAME ? 1 : 2;
}

/** A task's name in characters that every file system takes; one that is too long is only begun. */
function encodeTask(task: string, maxBytes: number): string {
  const characters = [...task.toWellFormed()].map((character) =>
    encodeURIComponent(character).replaceAll(/[!~*'()]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
  );
  const encoded = characters.join("");
  if (encoded.length <= maxBytes) return encoded;
  let begun = "";
  for (const character of characters) {
    if (begun.length + character.length + CUT.length > maxBytes) break;
    begun += character;
  }
  return `${begun}${CUT}`;
}
