/**
 * Recipients of encrypted backups: age's public keys. In: what somebody wrote into the config. Out: why it is no public
 * key; the text itself is never quoted, because it may be a secret. Pure.
 */
import { bech32 } from "@scure/base";

const HINT = 'the public key that "age-keygen" prints, age1…, is what is wanted';
/** An X25519 public key. */
const KEY_BYTES = 32;

/** The key that the documentation shows. Its secret key was thrown away when it was made. */
export const EXAMPLE_RECIPIENT = "age1qe7mw7360d6lcsnzpuu6aqtat3kd6afw0s7xc9wvrx9sqq6q7gjq2w99qg";

/** Whether a text contains an age secret key. */
export function isSecretKey(text: string): boolean {
  return /AGE-(?:SECRET-KEY|PLUGIN)-/i.test(text);
}

/** Whether a text looks like an age public key, in upper or lower case, rather than like the name of a file. */
export function isPublicKey(text: string): boolean {
  return /^age1[a-z0-9]{30,}$/i.test(text.trim());
}

/** Why a text is no recipient, as a clause; undefined if it is one. The command `age` refuses the same texts. */
export function explainRecipient(text: string): string | undefined {
  const bare = text.trim();
  if (!isSecretKey(text) && bare !== text && explainRecipient(bare) === undefined) {
    return "has a blank or a line break before or after it, which is no part of a key";
  }
  if (isSecretKey(text)) {
    return 'is a secret key, which opens backups and must not be where they are made: "age-keygen -y FILE" prints its ' +
      "public key, age1…";
  }
  if (/^ssh-|^ecdsa-/.test(text)) return `is a key of ssh, to which nothing is sealed here: ${HINT}`;
  if (text.startsWith("age1pq1")) {
    return `is a post-quantum key, which the command age of many systems cannot read: ${HINT}`;
  }
  if (/^age1[a-z0-9]+1/.test(text)) {
    return `is a key of a plugin of age, such as a hardware token's, to which nothing is sealed here: ${HINT}`;
  }
  if (isPublicKey(text) && /[A-Z]/.test(text)) {
    return `is written with capital letters, which age does not take: ${HINT}`;
  }
  if (!/^age1[a-z0-9]+$/.test(text)) {
    return `is no public key; passphrases are not taken, as whoever backs up could then read: ${HINT}`;
  }
  return isWhole(text) ? undefined : "is no whole key: it has a character too many, too few or another one";
}

function isWhole(text: string): boolean {
  try {
    const { prefix, bytes } = bech32.decodeToBytes(text);
    return prefix === "age" && bytes.length === KEY_BYTES;
  } catch {
    return false;
  }
}
