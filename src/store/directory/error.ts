/** What the file system's error codes mean for a store in a folder, and what an operator does about each. Pure. */
import { errorCode } from "../../system_error.ts";
import { counted } from "../../counts.ts";
import { describeError, StoreError } from "../../errors.ts";
import { MOST_NAME_BYTES } from "../key.ts";

/** What was being done to an object, as it stands in a message. */
export type DirectoryAction = "store" | "read" | "look at" | "list" | "delete";

/** Where a call failed. */
export interface DirectoryPlace {
  action: DirectoryAction;
  key: string;
  /** The store's URL. */
  url: string;
  /** The path that the key stands for. */
  path: string;
}

const FILE_IN_THE_WAY =
  "Remove or rename the file in the way: what should be a folder above PATH is a file. Or choose another bucket";

/** By code: what it means, and what to do. `PATH` stands for the path. */
const MEANING: Record<string, [meaning: string, hint: string]> = {
  ENOSPC: ["no space is left on the device", "Free space on the file system that holds PATH, or choose another bucket"],
  EDQUOT: ["the disk quota is used up", "Raise the quota of the user that runs this program, or free space"],
  EFBIG: [
    "the file grew too large for the file system",
    "Set a smaller chunk or chunk_bytes, so that objects get smaller, or choose another file system",
  ],
  EACCES: ["permission is denied", "Give the user that runs this program rights on PATH and the folders above it"],
  EPERM: [
    "the operation is not permitted",
    "Give the user that runs this program rights on PATH and the folders above it",
  ],
  EROFS: [
    "the file system is read-only",
    "Mount the file system that holds PATH writable, or choose another bucket. To a systemd service all is read-only that " +
    "its unit does not name, or that was not there when it started: couchdb-backup systemd prints units for this config",
  ],
  ENOENT: ["there is no such folder", "Create the folder above PATH, or mount the disk that should be there"],
  ENOTDIR: ["a part of the path is not a folder", FILE_IN_THE_WAY],
  EEXIST: ["a part of the path is not a folder", FILE_IN_THE_WAY],
  EISDIR: ["a folder stands where the object belongs", "Remove or rename the folder PATH"],
  EMFILE: ["too many files are open", "Raise the limit of open files (ulimit -n, LimitNOFILE=)"],
  EIO: ["the device failed to read or write", "Check the disk and the kernel log"],
  ESTALE: ["the network file system has lost the file", "Check the connection to the file server, then run again"],
};

/** Either one part of the path is too long, as the encoded name of a database may be, or all of it. */
function explainLongName({ key }: DirectoryPlace): [meaning: string, hint: string] {
  const meaning = "the name is longer than the file system allows";
  const part = key.split("/").find((part) => bytesOf(part) > MOST_NAME_BYTES);
  if (part === undefined) return [meaning, "Shorten prefix or suffix, or use an S3 bucket"];
  const size = counted(bytesOf(part), "byte");
  return [
    meaning,
    `One of its names has ${size}, and ${MOST_NAME_BYTES} are the most; each slash of a database's name takes three. ` +
    "Use an S3 bucket for it",
  ];
}

function bytesOf(name: string): number {
  return new TextEncoder().encode(name).length;
}

/**
 * Whether an error says that there is nothing at a path. A symbolic link that leads to itself is as much as one that
 * leads nowhere: who put it there must not keep all others from what lies beside it.
 */
export function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ELOOP"].includes(errorCode(error));
}

/** Turns a failure of node:fs into the error that the program reports. */
export function directoryError(error: unknown, place: DirectoryPlace): StoreError {
  const code = errorCode(error) || "unknown";
  const subject = place.key === "" ? `"${place.url}"` : `"${place.key}" in "${place.url}"`;
  const isMissingObject = place.action !== "store" && isMissing(error);
  if (isMissingObject) {
    return new StoreError(`Cannot ${place.action} ${subject}: there is no such object`, {
      code: "not_found",
      key: place.key,
    }, { cause: error });
  }
  // The system's own words begin with the code.
  const [meaning, hint] = code === "ENAMETOOLONG"
    ? explainLongName(place)
    : MEANING[code] ?? [describeError(error).replace(`${code}: `, "")];
  return new StoreError(`Cannot ${place.action} ${subject}: ${code}, ${meaning}`, { code, key: place.key }, {
    cause: error,
    hint: hint?.replace("PATH", `"${place.path}"`),
  });
}
