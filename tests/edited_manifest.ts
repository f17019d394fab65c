/** Manifests and checkpoints that somebody has edited so that they agree with themselves, checksum included. */
import { encodeWithChecksum } from "../src/archive/own_checksum.ts";

/** What a manifest or checkpoint says, without its checksum. */
// deno-lint-ignore no-explicit-any -- tests change whatever they like in it
export function partsOf(text: string | Uint8Array): any {
  const { checksum: _, ...parts } = JSON.parse(typeof text === "string" ? text : new TextDecoder().decode(text));
  return parts;
}

/** Its text, with a checksum that is right. */
export function textWithChecksum(parts: object): Uint8Array<ArrayBuffer> {
  return encodeWithChecksum(parts, { isIndented: true });
}
