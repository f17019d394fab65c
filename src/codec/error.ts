/** The bytes are not what they say they are: they end early, fail their checksum, or make no sense to the decompressor. */
export class CodecError extends Error {
  override readonly name: string = "CodecError";
}
