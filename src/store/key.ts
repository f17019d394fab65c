/**
 * Which keys a store accepts, how they are put together and taken apart, and the order it lists names in; the same in
 * every store, so that an archive can be moved from one to the other. Pure.
 */
import { Buffer } from "node:buffer";
import { StoreError } from "../errors.ts";

/** How many bytes a part of a key may have in a folder: the file systems of Linux and macOS take no longer name. */
export const MOST_NAME_BYTES = 255;

/**
 * Returns `key` when every store can keep it.
 *
 * A URL parser takes `.` and `..` out of a path even where they are percent-encoded, and a file system walks up with
 * them; an empty segment is lost in a file system and kept by S3.
 *
 * @throws StoreError with code `bad_key`.
 */
export function checkKey(key: string): string {
  const bad = key.split("/").find((segment) => segment === "" || segment === "." || segment === "..");
  if (bad !== undefined) {
    throw new StoreError(
      `Cannot use "${key}" as a key: it has the segment "${bad}", and must have neither empty ones nor "." nor ".."`,
      { code: "bad_key", key },
      { hint: "Correct prefix, suffix or path" },
    );
  }
  if (key.includes("\0") || !key.isWellFormed()) {
    throw new StoreError(
      `Cannot use ${JSON.stringify(key)} as a key: it holds a NUL or half a surrogate pair, and must be Unicode text`,
      { code: "bad_key", key },
      { hint: "Correct prefix, suffix or path" },
    );
  }
  return key;
}

/** Like {@linkcode checkKey} for a folder, where the empty text stands for the bucket folder itself. */
export function checkFolder(folder: string): string {
  return folder === "" ? folder : checkKey(folder);
}

/**
 * Orders entries as S3 lists them: by the UTF-8 bytes of the name, a folder's name taken with its trailing slash.
 * JavaScript's `<` compares UTF-16 units, which puts U+1F600 before U+FF5E.
 */
export function compareEntries(
  a: { kind: "object" | "folder"; name: string },
  b: { kind: "object" | "folder"; name: string },
): number {
  const [left, right] = [a, b].map(({ kind, name }) => Buffer.from(kind === "folder" ? `${name}/` : name, "utf8"));
  return Buffer.compare(left!, right!);
}

/** Joins parts of a key, dropping empty ones and doubled slashes. */
export function joinKey(...parts: string[]): string {
  return parts.flatMap((part) => part.split("/")).filter((part) => part !== "").join("/");
}

/** What a key has below a folder that it lies in; the folder need not be written as keys are. */
export function keyBelow(folder: string, key: string): string {
  const root = joinKey(folder);
  return root === "" ? key : key.slice(root.length + 1);
}

/** The folder and the name in it that a key is made of: of `a/b/c` they are `a/b` and `c`, of `c` the empty text and `c`. */
export function splitKey(key: string): { folder: string; name: string } {
  const cut = key.lastIndexOf("/");
  return { folder: key.slice(0, Math.max(cut, 0)), name: key.slice(cut + 1) };
}
