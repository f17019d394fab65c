/**
 * The header of an age file (age-encryption.org/v1): the key of the file, wrapped for each recipient. In: recipients,
 * or identities and a header. Out: the header and the key. The package for it is loaded when it is first needed.
 */
import { CodecError } from "./error.ts";

/** The bytes are no valid age file, were changed or cut off, or no identity opens them. */
export class AgeError extends CodecError {
  override readonly name: string = "AgeError";
}

/** No identity opens the file; nothing says that it is damaged. */
export class WrongIdentityError extends AgeError {
  override readonly name: string = "WrongIdentityError";
}

/** What a file begins with. */
export const AGE_MAGIC = "age-encryption.org/v1\n";
/** The header is held in memory. With as many recipients as a config may name it is smaller than this. */
export const MOST_HEADER_BYTES: number = 256 << 10;
/**
 * Every identity is tried with every recipient of a header, half a millisecond of CPU time each. Somebody else may have
 * written the header, so the number is limited; a config may name fifty.
 */
const MOST_RECIPIENTS = 256;

const IDENTITY = /^AGE-SECRET-KEY-(?:PQ-)?1[02-9AC-HJ-NP-Z]+$/;

/**
 * The identities in a text, as `age-keygen -o FILE` writes it: one a line, between blank lines and comments.
 *
 * @throws AgeError when a line is something else; it is not quoted.
 */
export async function parseIdentities(text: string): Promise<string[]> {
  const { identityToRecipient } = await import("age-encryption");
  const found: string[] = [];
  for (const [at, line] of text.replace(/^\uFEFF/, "").split(/\r?\n/).entries()) {
    const word = line.trim();
    if (word === "" || word.startsWith("#")) continue;
    if (!IDENTITY.test(word)) throw new AgeError(explainLine(word, at + 1));
    try {
      await identityToRecipient(word);
    } catch {
      throw new AgeError(`Line ${at + 1} is no identity: it was changed or cut off`);
    }
    found.push(word);
  }
  if (found.length === 0) throw new AgeError("There is no identity in it, such as AGE-SECRET-KEY-1…");
  return found;
}

/** Describes a line that is no identity. It is never quoted, because it may be a secret. */
function explainLine(word: string, number: number): string {
  if (word.startsWith("age-encryption.org/") || word.startsWith("-----BEGIN AGE ENCRYPTED")) {
    return `It is itself encrypted, as by a passphrase: "age -d" opens it`;
  }
  const line = `Line ${number}`;
  if (word.startsWith("-----BEGIN")) {
    return `${line} begins a key of another kind, such as ssh's: only age's own are read`;
  }
  if (word.startsWith("AGE-PLUGIN-")) return `${line} is an identity of a plugin of age: only age's own are read`;
  if (word.startsWith("age1")) return `${line} is a public key, which opens nothing: the identity is AGE-SECRET-KEY-1…`;
  return `${line} is no identity of age, such as AGE-SECRET-KEY-1…`;
}

/** The public key that belongs to an identity. */
export async function recipientOf(identity: string): Promise<string> {
  const { identityToRecipient } = await import("age-encryption");
  return await identityToRecipient(identity);
}

/** A new key, wrapped for each recipient. @throws TypeError where there are none: nobody could open it. */
export async function sealHeader(recipients: readonly string[]): Promise<{ header: Uint8Array; fileKey: Uint8Array }> {
  if (recipients.length === 0) throw new TypeError("Nothing can be sealed to nobody");
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  let fileKey: Uint8Array | undefined;
  // This recipient wraps nothing: it only hands the key to the code that encrypts the payload.
  encrypter.addRecipient({
    wrapFileKey(key) {
      fileKey = Uint8Array.from(key);
      return [];
    },
  });
  const sealed = await encrypter.encrypt(new Uint8Array(0));
  return { header: sealed.slice(0, headerEnd(sealed)), fileKey: fileKey! };
}

/** The file's key. @throws AgeError when the header was changed, or none of the identities opens it. */
export async function openHeader(header: Uint8Array, identities: readonly string[]): Promise<Uint8Array> {
  const recipients = new TextDecoder("latin1").decode(header).split("\n-> ").length - 1;
  if (recipients > MOST_RECIPIENTS) {
    throw new AgeError(`Its header names ${recipients} recipients, more than ${MOST_RECIPIENTS}: it is not read`);
  }
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  try {
    return await decrypter.decryptHeader(header);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (/no identity matched/i.test(message)) {
      throw new WrongIdentityError("None of the identities opens it");
    }
    throw new AgeError(`Its header is not as it was written: ${message}`, { cause: error });
  }
}

/** Where the header ends, after its last newline; undefined if the bytes end before it does. */
export function headerEnd(bytes: Uint8Array): number | undefined {
  // Only the line with the header's MAC begins like this: base64 has no dash.
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, MOST_HEADER_BYTES));
  const at = text.indexOf("\n---");
  const end = at < 0 ? -1 : text.indexOf("\n", at + 1);
  return end < 0 ? undefined : end + 1;
}
