/**
 * Questions about writing to an S3 server: whether conditions and checksums are held, ignored or refused, and what the
 * store says of what it has taken. In: requests. Out: questions.
 */
import { createHash } from "node:crypto";
import type { StoreError } from "../../errors.ts";
import { held, lacking, missing, OVERWRITES, type StoreFinding, type StoreQuestion } from "../questions.ts";
import { answerOf, type QuestionRequests, refusalOf, TAIL, TEXT } from "./question_requests.ts";

const CREATE_ONLY = { "if-none-match": "*" };
/** Nobody's SHA-256 or MD5, in base64. */
const WRONG_SHA256 = createHash("sha256").update("other").digest("base64");
const WRONG_MD5 = createHash("md5").update("other").digest("base64");

/** Whether an object that exists is kept, by each of the two ways to make one. */
export function conditionQuestions(requests: QuestionRequests): StoreQuestion[] {
  return [
    {
      property: "conditions_put",
      async ask(signal) {
        await requests.put("object.json", TEXT, { signal });
        return await askCondition(() => requests.put("object.json", TEXT, { more: CREATE_ONLY, signal }), "A PUT");
      },
    },
    {
      property: "conditions_upload",
      async ask(signal) {
        await requests.put("object.json", TEXT, { signal });
        return await askCondition(
          () => requests.upload("object.json", [TAIL], { more: CREATE_ONLY, signal }),
          "An upload in parts",
        );
      },
    },
  ];
}

/** Whether a condition is held, taken and ignored, or refused. */
async function askCondition(run: () => Promise<unknown>, what: string): Promise<StoreFinding> {
  const refusal = await refusalOf(run);
  if (refusal === undefined) return lacking(`${what} overwrites what exists, despite If-None-Match`, OVERWRITES);
  if (refusal.facts.code === "PreconditionFailed") return held(`${what} is refused if the key exists`);
  if (isHeaderRefused(refusal)) {
    return lacking(`${what} with If-None-Match is answered ${answerOf(refusal)}`, OVERWRITES);
  }
  throw refusal;
}

/** Whether the server looks at the checksums that come with a body. */
export function checksumQuestions(requests: QuestionRequests): StoreQuestion[] {
  return [
    {
      property: "checksum_sha256",
      ask: async (signal) =>
        await askChecksum(requests, {
          name: "x-amz-checksum-sha256",
          right: createHash("sha256").update(TEXT).digest("base64"),
          wrong: WRONG_SHA256,
          instead: "Content-MD5 is sent instead; verify compares SHA-256 in any case",
        }, signal),
    },
    {
      property: "content_md5",
      ask: async (signal) =>
        await askChecksum(requests, {
          name: "content-md5",
          right: createHash("md5").update(TEXT).digest("base64"),
          wrong: WRONG_MD5,
          instead: "x-amz-checksum-sha256 is sent if the store accepts it",
        }, signal),
    },
  ];
}

/** Whether a checksum is verified, taken and ignored, or refused. */
async function askChecksum(
  requests: QuestionRequests,
  { name, right, wrong, instead }: { name: string; right: string; wrong: string; instead: string },
  signal: AbortSignal,
): Promise<StoreFinding> {
  const put = (value: string) => requests.put("checksum.json", TEXT, { more: { [name]: value }, signal });
  const refusal = await refusalOf(() => put(right));
  if (refusal !== undefined) {
    if (!isHeaderRefused(refusal)) throw refusal;
    return lacking(`${name} is answered ${answerOf(refusal)}`, instead);
  }
  const mismatch = await refusalOf(() => put(wrong));
  if (mismatch !== undefined) return held(`A body that does not match ${name} is answered ${answerOf(mismatch)}`);
  return lacking(
    `${name} is accepted but not verified`,
    "the signature covers the body's SHA-256; verify compares the objects with the manifest",
  );
}

/** Whether what was stored is told again: its ETag, and metadata of one's own. */
export function metadataQuestions(requests: QuestionRequests, writerHeader: string): StoreQuestion[] {
  return [
    {
      property: "etag",
      async ask(signal) {
        const stored = (await requests.put("etag.json", TEXT, { signal })).headers.get("etag");
        const hint = "This is not an S3 server, or something in between removes headers";
        if (stored === null) return missing("The answer to a PUT has no ETag", hint);
        const seen = (await requests.send({ method: "HEAD", key: requests.keyOf("etag.json") }, signal)).headers.get(
          "etag",
        );
        if (seen === stored) return held(`HEAD has the ETag that PUT was answered: ${stored}`);
        return lacking(
          `PUT says ${stored}, and HEAD ${seen ?? "nothing"}`,
          "ETags are used within one download only; objects are identified by the SHA-256 in the manifest",
        );
      },
    },
    {
      property: "metadata",
      async ask(signal) {
        await requests.put("etag.json", TEXT, { more: { [writerHeader]: "a-writer" }, signal });
        const seen = (await requests.send({ method: "HEAD", key: requests.keyOf("etag.json") }, signal)).headers.get(
          writerHeader,
        );
        if (seen === "a-writer") return held("Metadata (x-amz-meta-…) is returned");
        return lacking(
          `x-amz-meta-… comes back as ${seen ?? "nothing"}`,
          "if the answer to a PUT is lost, the object is taken for another writer's and stored again under the next name",
        );
      },
    },
  ];
}

/** Whether an answer may be one to a header that the server does not know. */
function isHeaderRefused({ facts }: StoreError): boolean {
  return facts.status === 400 || facts.status === 501;
}
