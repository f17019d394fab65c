/** Answers of services that have little to say: AWS's beside S3, a Pushgateway, Loki. In: an answer. Out: its text. */

/** The longest is a secret, of at most 64 KiB. */
const MOST_BYTES = 1 << 20;

/** The text of an answer. @throws Error when it is longer than any of theirs, or breaks. */
export async function readShort(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytesRead = 0;
  for await (const bytes of response.body ?? []) {
    bytesRead += bytes.length;
    if (bytesRead > MOST_BYTES) throw new Error("the answer has more than 1 MiB");
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}
