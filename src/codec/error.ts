/** The bytes are damaged: they end early, fail their checksum, or make no sense to the decompressor. */
export class CodecError extends Error {
  override readonly name: string = "CodecError";
}
