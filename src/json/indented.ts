/** The JSON of what is stored and no document: manifests, plans, reports. In: a value. Out: its bytes. */

const encoder = new TextEncoder();

/** The JSON of a value, indented for the human who opens the object, with a newline at its end. */
export function jsonBytes(value: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(`${JSON.stringify(value, undefined, 2)}\n`);
}
