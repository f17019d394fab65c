/**
 * The tests for a store that speaks S3: besides those for every store, each part of the protocol that the program
 * uses, one at a time and with its own requests, so that the result names exactly what a server lacks. In: a client
 * and a folder. Out: questions.
 */
import { counted } from "../../counts.ts";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { StoreError } from "../../errors.ts";
import { readText } from "../../streams.ts";
import { joinKey } from "../key.ts";
import {
  held,
  lacking,
  listQuestion,
  missing,
  OVERWRITES,
  type QuestionPlace,
  raceQuestion,
  type StoreQuestion,
  storeQuestions,
} from "../questions.ts";
import type { Store } from "../store.ts";
import type { S3Answer, S3Client, S3Request, S3Settings } from "./client.ts";
import { listFolder } from "./list.ts";
import { partSize } from "./parts.ts";
import { completeBody, parseListing, parseUploadId, type S3Part } from "./xml.ts";

/** What the questions work with. */
export interface S3Questions {
  store: Store;
  client: S3Client;
  /** What every object is stored with. */
  headers: Record<string, string>;
  /** What chunks are stored with beside. */
  chunkHeaders: Record<string, string>;
  /** Metadata that tells an object's writer. */
  writerHeader: string;
}

const MIB = 1024 * 1024;
/** Below S3's least size of a part, which the last one may have. */
const TAIL = new TextEncoder().encode("the last part\n");
const TEXT = new TextEncoder().encode('{"about":"what this store holds"}\n'.repeat(1000));
/** Nobody's SHA-256 or MD5, in base64. */
const WRONG_SHA256 = createHash("sha256").update("other").digest("base64");
const WRONG_MD5 = createHash("md5").update("other").digest("base64");
/** Fronts and filters look at bytes that do not compress otherwise; these are like a chunk's. */
const CHUNK = new Uint8Array(gzipSync(TEXT));

/** The questions, those first that others rest on. */
export function s3Questions(
  { store, client, headers, chunkHeaders, writerHeader }: S3Questions,
  place: QuestionPlace,
): StoreQuestion[] {
  const keyOf = (...names: string[]) => joinKey(place.folder, ...names);
  /** Keys that this asking made, to be removed where that is allowed. */
  const send = async (request: Pick<S3Request, "method" | "key"> & Partial<S3Request>, signal: AbortSignal) =>
    await client.send({ action: "ask about", right: "s3:PutObject", ...request }, signal);
  const put = async (
    name: string,
    body: Uint8Array<ArrayBuffer>,
    { more = {}, signal }: { more?: Record<string, string>; signal: AbortSignal },
  ) =>
    await send({ method: "PUT", key: keyOf(name), headers: { ...headers, ...md5Header(body), ...more }, body }, signal);
  const base = new Map(storeQuestions(store, place).map((question) => [question.property, question]));
  const upload = async (name: string, parts: readonly Uint8Array<ArrayBuffer>[], options: {
    more?: Record<string, string>;
    signal: AbortSignal;
  }): Promise<S3Answer> => {
    const { more = {}, signal } = options;
    const id = await begin(name, signal);
    try {
      const taken: S3Part[] = [];
      for (const [index, body] of parts.entries()) {
        const answer = await sendPart(name, { id, number: index + 1, body, signal });
        taken.push({ number: index + 1, etag: answer.headers.get("etag") ?? "", sha256: undefined });
      }
      return await send({
        method: "POST",
        key: keyOf(name),
        query: { uploadId: id },
        headers: more,
        body: new TextEncoder().encode(completeBody(taken)),
      }, signal);
    } catch (error) {
      await abort(name, id, signal).catch(() => undefined);
      throw error;
    }
  };
  const begin = async (name: string, signal: AbortSignal): Promise<string> => {
    const answer = await send({ method: "POST", key: keyOf(name), query: { uploads: "" }, headers }, signal);
    const id = parseUploadId(answer.body);
    if (id === undefined) {
      throw new StoreError("Cannot begin an upload: the answer has no id", { code: "strange_answer" });
    }
    return id;
  };
  const sendPart = async (
    name: string,
    { id, number, body, signal }: { id: string; number: number; body: Uint8Array<ArrayBuffer>; signal: AbortSignal },
  ) =>
    await send({
      method: "PUT",
      key: keyOf(name),
      query: { partNumber: String(number), uploadId: id },
      headers: md5Header(body),
      body,
    }, signal);
  const abort = async (name: string, id: string, signal: AbortSignal) =>
    await send({
      method: "DELETE",
      action: "abort the upload of",
      right: "s3:AbortMultipartUpload",
      key: keyOf(name),
      query: { uploadId: id },
    }, signal);
  /** Whether a condition is held, taken and ignored, or refused. */
  const condition = async (run: () => Promise<unknown>, what: string) => {
    const refusal = await refusalOf(run);
    if (refusal === undefined) return lacking(`${what} overwrites what exists, despite If-None-Match`, OVERWRITES);
    if (refusal.facts.code === "PreconditionFailed") return held(`${what} is refused if the key exists`);
    if (isHeaderRefused(refusal)) {
      return lacking(`${what} with If-None-Match is answered ${answerOf(refusal)}`, OVERWRITES);
    }
    throw refusal;
  };
  /** Whether a checksum is verified, taken and ignored, or refused. */
  const checksum = async (
    { name, right, wrong, instead }: { name: string; right: string; wrong: string; instead: string },
    signal: AbortSignal,
  ) => {
    const refusal = await refusalOf(() => put("checksum.json", TEXT, { more: { [name]: right }, signal }));
    if (refusal !== undefined) {
      if (!isHeaderRefused(refusal)) throw refusal;
      return lacking(`${name} is answered ${answerOf(refusal)}`, instead);
    }
    const mismatch = await refusalOf(() => put("checksum.json", TEXT, { more: { [name]: wrong }, signal }));
    if (mismatch === undefined) {
      return lacking(
        `${name} is accepted but not verified`,
        "the signature covers the body's SHA-256; verify compares the objects with the manifest",
      );
    }
    return held(`A body that does not match ${name} is answered ${answerOf(mismatch)}`);
  };

  return [
    {
      property: "reach",
      isVital: true,
      async ask(signal) {
        const style = client.addressing;
        const look = async (asked: S3Client) =>
          await asked.send({
            method: "GET",
            action: "list",
            right: "s3:ListBucket",
            folder: place.folder,
            query: { "list-type": "2", "max-keys": "1", prefix: `${client.fullKey(place.folder)}/` },
          }, signal);
        const refusal = await refusalOf(() => look(client));
        if (refusal === undefined) return held(`${await client.findUrl(signal)} answers with ${style} addressing`);
        const other = client.inOtherStyle();
        if (other === undefined || await refusalOf(() => look(other)) !== undefined) throw refusal;
        return missing(
          `${refusal.message}; with ${other.addressing} addressing it answers`,
          `Set addressing_style: ${other.addressing}`,
          `addressing_style: ${other.addressing}`,
        );
      },
    },
    base.get("write_read")!,
    base.get("read_after_write")!,
    listQuestion(
      store,
      keyOf("list"),
      (signal) => listFolder(client.with({}, { pageSize: 2 }), keyOf("list"), { signal }),
    ),
    {
      property: "conditions_put",
      async ask(signal) {
        await put("object.json", TEXT, { signal });
        return await condition(() => put("object.json", TEXT, { more: CREATE_ONLY, signal }), "A PUT");
      },
    },
    {
      property: "conditions_upload",
      async ask(signal) {
        await put("object.json", TEXT, { signal });
        return await condition(
          () => upload("object.json", [TAIL], { more: CREATE_ONLY, signal }),
          "An upload in parts",
        );
      },
    },
    raceQuestion(store, place),
    {
      property: "checksum_sha256",
      ask: async (signal) =>
        await checksum({
          name: "x-amz-checksum-sha256",
          right: createHash("sha256").update(TEXT).digest("base64"),
          wrong: WRONG_SHA256,
          instead: "Content-MD5 is sent instead; verify compares SHA-256 in any case",
        }, signal),
    },
    {
      property: "content_md5",
      ask: async (signal) =>
        await checksum({
          name: "content-md5",
          right: createHash("md5").update(TEXT).digest("base64"),
          wrong: WRONG_MD5,
          instead: "x-amz-checksum-sha256 is sent if the store accepts it",
        }, signal),
    },
    {
      property: "etag",
      async ask(signal) {
        const stored = (await put("etag.json", TEXT, { signal })).headers.get("etag");
        const hint = "This is not an S3 server, or something in between removes headers";
        if (stored === null) return missing("The answer to a PUT has no ETag", hint);
        const seen = (await send({ method: "HEAD", key: keyOf("etag.json") }, signal)).headers.get("etag");
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
        await put("etag.json", TEXT, { more: { [writerHeader]: "a-writer" }, signal });
        const seen = (await send({ method: "HEAD", key: keyOf("etag.json") }, signal)).headers.get(writerHeader);
        if (seen === "a-writer") return held("Metadata (x-amz-meta-…) is returned");
        return lacking(
          `x-amz-meta-… comes back as ${seen ?? "nothing"}`,
          "if the answer to a PUT is lost, the object is taken for another writer's and stored again under the next name",
        );
      },
    },
    {
      property: "length",
      async ask(signal) {
        await put("text.json", TEXT, { signal });
        const { headers: told } = await send({ method: "HEAD", key: keyOf("text.json") }, signal);
        const length = told.get("content-length");
        const modified = told.get("last-modified") ?? "";
        if (length === String(TEXT.length) && !Number.isNaN(Date.parse(modified))) {
          return held("HEAD has an object's length and time");
        }
        return missing(
          `HEAD says the length ${length ?? "of nothing"} for ${counted(TEXT.length, "byte")}, and the time ${
            JSON.stringify(modified)
          }`,
          "Look for a proxy that changes answers",
        );
      },
    },
    {
      property: "identity",
      async ask(signal) {
        await put("text.json", TEXT, { signal });
        const answer = await client.open(getRequest(keyOf("text.json")), signal);
        const encoding = answer.headers.get("content-encoding");
        const length = answer.headers.get("content-length");
        answer.close();
        const isIdentical = encoding === null && length === String(TEXT.length);
        const text = await readText(await store.read(keyOf("text.json"), { signal }));
        const detail = `GET answers with ${encoding === null ? "no encoding" : `Content-Encoding ${encoding}`} and ${
          length === null ? "no length" : `the length ${length}`
        }`;
        if (text !== new TextDecoder().decode(TEXT)) {
          return missing(`${detail}, and other bytes`, "Look for a front end or proxy that changes bodies");
        }
        return isIdentical
          ? held(detail)
          : lacking(detail, "the body is decompressed, and its length compared with that of HEAD");
      },
    },
    {
      property: "range",
      async ask(signal) {
        await put("text.json", TEXT, { signal });
        const answer = await client.open(
          { ...getRequest(keyOf("text.json")), headers: { range: "bytes=10-" } },
          signal,
        );
        const range = answer.headers.get("content-range");
        answer.close();
        if (answer.status === 206 && range === `bytes 10-${TEXT.length - 1}/${TEXT.length}`) {
          return held("An interrupted read can be resumed");
        }
        return lacking(
          `A range is answered ${answer.status}, Content-Range ${range ?? "none"}`,
          "an interrupted read fails, and the command has to be run again",
        );
      },
    },
    {
      property: "if_match",
      async ask(signal) {
        await put("text.json", TEXT, { signal });
        const asked = { ...getRequest(keyOf("text.json")), headers: { range: "bytes=10-", "if-match": `"other"` } };
        const refusal = await refusalOf(async () => (await client.open(asked, signal)).close());
        if (refusal?.facts.code === "PreconditionFailed") return held("A read is not resumed in another object");
        if (refusal !== undefined) throw refusal;
        return lacking(
          "If-Match is accepted but ignored",
          "an object that is replaced while it is read may come out mixed; its SHA-256 shows that",
        );
      },
    },
    base.get("keys")!,
    base.get("keys_unicode")!,
    {
      property: "list_pages",
      async ask(signal) {
        const page = await listPage(client, keyOf("list"), signal);
        if (!page.isTruncated) {
          return held(`All ${page.entries.length} entries come in one page, although two per page were asked for`);
        }
        if (page.continuationToken !== undefined) return held("A page has a token for the next one");
        return lacking(
          `A page says that there is more, but has no token${page.nextMarker === undefined ? "" : ", only NextMarker"}`,
          "the listing continues behind the last key",
        );
      },
    },
    {
      property: "parts",
      async ask(signal) {
        const { partBytes } = client.settings;
        // The same bytes twice: a part may be large, and lies in memory once.
        const part = new Uint8Array(partBytes);
        part.set(CHUNK);
        const parts = [part, part, TAIL];
        await upload("parts.bin", parts, { signal });
        const [stored, found] = [createHash("sha256"), createHash("sha256")];
        for (const bytes of parts) stored.update(bytes);
        for await (const bytes of await store.read(keyOf("parts.bin"), { signal })) found.update(bytes);
        if (found.digest("hex") === stored.digest("hex")) {
          return held(`An upload of two parts of ${sizeOf(partBytes)} and a small one is read back`);
        }
        return missing("A multipart upload is read back with other content", "Use another store");
      },
    },
    {
      property: "parts_unequal",
      async ask(signal) {
        const { partBytes, equalParts } = client.settings;
        const least = Math.min(partBytes, 5 * MIB);
        const larger = new Uint8Array(least + MIB);
        const parts = [larger.subarray(0, least), larger, TAIL];
        const refusal = await refusalOf(() => upload("parts-unequal.bin", parts, { signal }));
        if (refusal === undefined) return held("The parts of an upload may have different sizes");
        if (refusal.facts.status === undefined || refusal.facts.status >= 500) throw refusal;
        const detail = `Parts of different sizes are answered ${answerOf(refusal)}`;
        return equalParts ? lacking(detail, `all parts have ${sizeOf(partBytes)}, as part_size says`) : lacking(
          detail,
          `objects of up to ${
            sizeOf(equalUpTo(client.settings))
          } have equal parts; larger ones fail without the option`,
          "part_size: 64",
        );
      },
    },
    {
      property: "parts_count",
      async ask(signal) {
        const { maxParts } = client.settings;
        const id = await begin("parts-count.bin", signal);
        try {
          const refused = new Map<number, string>();
          for (const number of [10_000, 5_000, 1_000, 100]) {
            const refusal = await refusalOf(() => sendPart("parts-count.bin", { id, number, body: TAIL, signal }));
            if (refusal === undefined) {
              if (refused.size === 0) return held("An upload may have 10000 parts");
              const detail = `Part ${[...refused.keys()].at(-1)} is answered ${
                [...refused.values()].at(-1)
              }, part ${number} is taken`;
              return maxParts <= number
                ? lacking(detail, `an upload has ${maxParts} parts at most, as max_parts says`)
                : lacking(
                  detail,
                  "larger objects fail without the option; with it parts grow sooner",
                  `max_parts: ${number}`,
                );
            }
            if (refusal.facts.status === undefined || refusal.facts.status >= 500) throw refusal;
            refused.set(number, answerOf(refusal));
          }
          return missing("Not even part 100 of an upload is accepted", "Use another store");
        } finally {
          await abort("parts-count.bin", id, signal).catch(() => undefined);
        }
      },
    },
    {
      property: "abort",
      async ask(signal) {
        const id = await begin("aborted.bin", signal);
        const refusal = await refusalOf(() => abort("aborted.bin", id, signal));
        if (refusal === undefined) return held("An aborted upload leaves nothing");
        return lacking(
          `Aborting an upload is answered ${answerOf(refusal)}`,
          "incomplete uploads stay and take up space: set a lifecycle rule (AbortIncompleteMultipartUpload)",
        );
      },
    },
    {
      property: "clock",
      async ask(signal) {
        await send({ method: "HEAD", key: keyOf("object.json") }, signal);
        const { clockSkewMs } = client;
        if (clockSkewMs === undefined) {
          return lacking("Answers have no Date", "backups are ordered by this machine's clock");
        }
        const seconds = Math.round(Math.abs(clockSkewMs) / 1000);
        const detail = `The store's clock and this machine's differ by ${seconds} s`;
        return seconds <= MOST_CLOCK_DIFFERENCE_S
          ? held(detail)
          : lacking(detail, "requests are signed and backups ordered by the store's clock: set both clocks by NTP");
      },
    },
    ...(Object.keys(chunkHeaders).length === 0 ? [] : [{
      property: "storage_class",
      async ask(signal: AbortSignal) {
        await put("chunk.bin", CHUNK, { more: chunkHeaders, signal });
        return held(`Chunks can be stored as ${Object.values(chunkHeaders).join(", ")}`);
      },
    }]),
    {
      property: "no_delete",
      async ask(signal) {
        const keys = await keysBelow(client, place.folder, signal);
        for (const key of keys) {
          const refusal = await refusalOf(() =>
            send({ method: "DELETE", action: "remove", right: "s3:DeleteObject", key }, signal)
          );
          if (refusal === undefined) continue;
          if (refusal.facts.status !== 403) throw refusal;
          return held(
            `The keys may not delete, as recommended: ${counted(keys.length, "small object")} stay in "${
              store.locate(place.folder)
            }", always the same ones`,
          );
        }
        return lacking(
          `The keys may delete; the ${counted(keys.length, "object")} of this check are removed again`,
          "a backup needs no right to delete: without it nobody who has the keys can remove backups",
        );
      },
    },
  ];
}

const CREATE_ONLY = { "if-none-match": "*" };
const MOST_CLOCK_DIFFERENCE_S = 60;

const getRequest = (key: string): S3Request => ({ method: "GET", action: "read", right: "s3:GetObject", key });

/** `5 MiB`. */
const sizeOf = (bytes: number) => `${Math.round(bytes / MIB * 10) / 10} MiB`;

/** The largest object whose parts have one size where they grow. */
function equalUpTo({ partBytes: smallestBytes, maxParts }: S3Settings): number {
  let number = 1;
  while (number < maxParts && partSize(number + 1, { smallestBytes, maxParts }) === smallestBytes) number++;
  return number * smallestBytes;
}

/** What a request is refused with; undefined where it succeeds. */
async function refusalOf(run: () => Promise<unknown>): Promise<StoreError | undefined> {
  try {
    await run();
    return undefined;
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
}

/** A bucket that locks its objects takes none without a checksum; this one is known everywhere. */
function md5Header(body: Uint8Array): Record<string, string> {
  return { "content-md5": createHash("md5").update(body).digest("base64") };
}

/** `501 NotImplemented`. */
function answerOf({ facts, message }: StoreError): string {
  return facts.status === undefined ? message : `${facts.status} ${facts.code}`;
}

/** Whether an answer may be one to a header that the server does not know. */
function isHeaderRefused({ facts }: StoreError): boolean {
  return facts.status === 400 || facts.status === 501;
}

/** The first page of a folder, of two entries. */
async function listPage(client: S3Client, folder: string, signal: AbortSignal) {
  const prefix = `${client.fullKey(folder)}/`;
  const answer = await client.send({
    method: "GET",
    action: "list",
    right: "s3:ListBucket",
    folder,
    query: { "list-type": "2", delimiter: "/", "encoding-type": "url", "max-keys": "2", prefix },
  }, signal);
  const page = parseListing(answer.body, prefix);
  if (page === undefined) throw new StoreError("The listing is not whole", { code: "strange_answer", key: folder });
  return page;
}

/** The keys of all objects below a folder. */
async function keysBelow(client: S3Client, folder: string, signal: AbortSignal): Promise<string[]> {
  const keys: string[] = [];
  for await (const entry of listFolder(client, folder, { signal })) {
    const key = joinKey(folder, entry.name);
    if (entry.kind === "folder") keys.push(...await keysBelow(client, key, signal));
    else keys.push(key);
  }
  return keys;
}
