/**
 * A database's name in the two forms that it has: decoded, as CouchDB lists it and people read it (`a/b`), and encoded,
 * as it stands in a URL's path and in a key (`a%2Fb`).
 */

/**
 * A database's name as it stands in a URL's path and in an object key. CouchDB's names need only the slash and the
 * plus encoded; the slash must be, or the folder of `a` would also list those of `a/b`. Half a surrogate pair, which no
 * database has in its name, becomes U+FFFD.
 */
export function encodeDatabase(name: string): string {
  return encodeURIComponent(name.toWellFormed()).replaceAll("%24", "$");
}

/** The inverse of {@linkcode encodeDatabase}; a name that is not an encoding (`50%`) is returned as it is. */
export function decodeDatabase(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}
