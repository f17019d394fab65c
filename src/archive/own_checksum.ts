/**
 * The checksum that a manifest or checkpoint has of itself: one bit that is another leaves most of them a manifest that
 * says something else. In: what is to be stored, or the bytes of what was. Out: JSON that ends in its checksum, or
 * whether that is right. Pure.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

/** The last member: the SHA-256 of all bytes before its name's first quotation mark. */
const MEMBER = "checksum";
const NAME = `"${MEMBER}"`;

/** The JSON of an object, with its checksum as the last member and a newline at its end. */
export function encodeWithChecksum(value: object, { isIndented }: { isIndented: boolean }): Uint8Array<ArrayBuffer> {
  const text = JSON.stringify({ ...value, [MEMBER]: "" }, undefined, isIndented ? 2 : undefined);
  const at = text.lastIndexOf(NAME);
  const end = text.slice(at).replace(`""`, () => `"${sumOf(text.slice(0, at))}"`);
  return new TextEncoder().encode(`${text.slice(0, at)}${end}\n`);
}

/**
 * Whether the text is as it was written, by its own checksum.
 *
 * @param value What it was parsed to.
 * @returns Undefined where it has no checksum, as those of earlier versions.
 */
export function isAsWritten(bytes: Uint8Array, value: unknown): boolean | undefined {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, MEMBER)) return undefined;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (value as { [MEMBER]: unknown })[MEMBER] === sumOf(buffer.subarray(0, buffer.lastIndexOf(NAME)));
}

function sumOf(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
