/**
 * Guesses what an unsupported file is: another compression, an archive of files, an answer in another form. In: the
 * first bytes. Out: words for a message.
 */
import { beginningOfObject, skipSpace } from "../json/beginning.ts";

/** What files begin with, as Latin-1 text. */
const BEGINNINGS: readonly (readonly [beginning: string, what: string])[] = [
  ["BZh", "compressed by bzip2: decompress it first"],
  ["\xfd7zXZ\0", "compressed by xz: decompress it first"],
  ["\x04\x22\x4d\x18", "compressed by lz4: decompress it first"],
  ["LZIP", "compressed by lzip: decompress it first"],
  ["\x1f\x9d", "compressed by compress: decompress it first"],
  ["PK\x03\x04", "a zip archive: unpack it first"],
  ["PK\x05\x06", "an empty zip archive"],
  ["7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"],
  ["Rar!", "a rar archive: unpack it first"],
  ["age-encryption.org/", "encrypted by age: decrypt it first"],
  ["-----BEGIN AGE ENCRYPTED FILE-----", "encrypted by age as text (armoured): decrypt it first"],
  ["-----BEGIN PGP MESSAGE-----", "encrypted by PGP: decrypt it first"],
  ["Salted__", "encrypted by openssl: decrypt it first"],
  ["SQLite format 3\0", "a database of SQLite"],
  ["\xff\xfe", "text in UTF-16: convert it to UTF-8 first"],
  ["\xfe\xff", "text in UTF-16: convert it to UTF-8 first"],
];
/** Where a tar archive says so. */
const TAR_MARK_AT = 257;
/** CouchDB's own files have a header in blocks of 4 KB, in Erlang's term format. */
const COUCH_HEADER = "db_header";

/** What the beginning of a file that no format fits seems to be, to be put after "It seems to be". */
export function seemsToBe(sample: Uint8Array): string | undefined {
  const bytes = new TextDecoder("latin1").decode(sample);
  const known = BEGINNINGS.find(([beginning]) => bytes.startsWith(beginning))?.[1];
  if (known !== undefined) return known;
  if (bytes.slice(TAR_MARK_AT, TAR_MARK_AT + 5) === "ustar") return "a tar archive: unpack it first";
  if (bytes.includes(COUCH_HEADER)) {
    return "a database file of CouchDB itself: put it into CouchDB's data folder, and back that up";
  }
  const text = new TextDecoder().decode(sample);
  return seemsText(text.slice(skipSpace(text, 0)));
}

function seemsText(text: string): string | undefined {
  if (/^--[^\s-][^\r\n]*\r?\n(?:content-|\r?\n)/i.test(text)) {
    return 'CouchDB\'s answer as multipart: ask again with "Accept: application/json"';
  }
  if (/^content-type:\s*(?:multipart|application)\//i.test(text) || /^HTTP\/[\d.]+ \d/.test(text)) {
    return "an HTTP answer with its headers: save the body alone";
  }
  if (/^(?:data|event|id|retry):/.test(text)) return 'a feed as eventsource: ask again with "feed=normal"';
  if (/^<(?:!doctype|html|\?xml)/i.test(text)) return "a page of HTML or XML, not CouchDB's answer";
  if (text.startsWith("{")) return seemsObject(text);
  return undefined;
}

function seemsObject(text: string): string {
  const { members, end } = beginningOfObject(text, 0);
  const names = members.map(({ name }) => name);
  if (names[0] === "error") {
    return `CouchDB's error, and no answer with documents: ${text.slice(0, Math.min(end ?? 200, 200))}`;
  }
  const most = 5;
  const listed = names.slice(0, most).map((name) => JSON.stringify(name)).join(", ");
  return `a JSON object with ${listed === "" ? "no members" : `the members ${listed}`}` +
    (names.length > most ? " and more" : "");
}
