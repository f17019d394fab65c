/**
 * The tests for a store that speaks S3: besides those for every store, each part of the protocol that the program uses, one
 * at a time and with its own requests, so that the result names exactly what a server lacks. In: a client and a folder.
 * Out: questions. What is asked about writing, reading and uploads is in files of their own.
 */
import { counted } from "../../counts.ts";
import { StoreError } from "../../errors.ts";
import { joinKey } from "../key.ts";
import {
  held,
  lacking,
  listQuestion,
  missing,
  type QuestionPlace,
  raceQuestion,
  type StoreQuestion,
  storeQuestions,
} from "../questions.ts";
import type { Store } from "../store.ts";
import type { S3Client } from "./client.ts";
import { listFolder } from "./list.ts";
import { CHUNK, QuestionRequests, refusalOf } from "./question_requests.ts";
import { contentQuestions, resumeQuestions } from "./read_questions.ts";
import { uploadQuestions } from "./upload_questions.ts";
import { checksumQuestions, conditionQuestions, metadataQuestions } from "./write_questions.ts";
import { parseListing } from "./xml.ts";

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

const MOST_CLOCK_DIFFERENCE_S = 60;

/** The questions, those first that others rest on. */
export function s3Questions(
  { store, client, headers, chunkHeaders, writerHeader }: S3Questions,
  place: QuestionPlace,
): StoreQuestion[] {
  const { folder } = place;
  const requests = new QuestionRequests(client, { folder, headers });
  const base = new Map(storeQuestions(store, place).map((question) => [question.property, question]));
  const listed = requests.keyOf("list");
  return [
    reachQuestion(client, folder),
    base.get("write_read")!,
    base.get("read_after_write")!,
    listQuestion(store, listed, (signal) => listFolder(client.with({}, { pageSize: 2 }), listed, { signal })),
    ...conditionQuestions(requests),
    raceQuestion(store, place),
    ...checksumQuestions(requests),
    ...metadataQuestions(requests, writerHeader),
    ...contentQuestions(requests, store),
    ...resumeQuestions(requests),
    base.get("keys")!,
    base.get("keys_unicode")!,
    pagesQuestion(client, listed),
    ...uploadQuestions(requests, store),
    clockQuestion(requests),
    ...(Object.keys(chunkHeaders).length === 0 ? [] : [storageClassQuestion(requests, chunkHeaders)]),
    deleteQuestion(requests, { store, folder }),
  ];
}

function reachQuestion(client: S3Client, folder: string): StoreQuestion {
  return {
    property: "reach",
    isVital: true,
    async ask(signal) {
      const style = client.addressing;
      const look = async (asked: S3Client) =>
        await asked.send({
          method: "GET",
          action: "list",
          right: "s3:ListBucket",
          folder,
          query: { "list-type": "2", "max-keys": "1", prefix: `${client.fullKey(folder)}/` },
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
  };
}

function pagesQuestion(client: S3Client, folder: string): StoreQuestion {
  return {
    property: "list_pages",
    async ask(signal) {
      const page = await listPage(client, folder, signal);
      if (!page.isTruncated) {
        return held(`All ${page.entries.length} entries come in one page, although two per page were asked for`);
      }
      if (page.continuationToken !== undefined) return held("A page has a token for the next one");
      return lacking(
        `A page says that there is more, but has no token${page.nextMarker === undefined ? "" : ", only NextMarker"}`,
        "the listing continues after the last key",
      );
    },
  };
}

function clockQuestion(requests: QuestionRequests): StoreQuestion {
  return {
    property: "clock",
    async ask(signal) {
      await requests.send({ method: "HEAD", key: requests.keyOf("object.json") }, signal);
      const { clockSkewMs } = requests.client;
      if (clockSkewMs === undefined) {
        return lacking("Answers have no Date", "backups are ordered by this machine's clock");
      }
      const seconds = Math.round(Math.abs(clockSkewMs) / 1000);
      const detail = `The store's clock and this machine's differ by ${seconds} s`;
      return seconds <= MOST_CLOCK_DIFFERENCE_S
        ? held(detail)
        : lacking(detail, "requests are signed and backups ordered by the store's clock: set both clocks by NTP");
    },
  };
}

function storageClassQuestion(requests: QuestionRequests, chunkHeaders: Record<string, string>): StoreQuestion {
  return {
    property: "storage_class",
    async ask(signal) {
      await requests.put("chunk.bin", CHUNK, { more: chunkHeaders, signal });
      return held(`Chunks can be stored as ${Object.values(chunkHeaders).join(", ")}`);
    },
  };
}

/** Also removes what all questions have left, where that is allowed. */
function deleteQuestion(
  requests: QuestionRequests,
  { store, folder }: { store: Store; folder: string },
): StoreQuestion {
  return {
    property: "no_delete",
    async ask(signal) {
      const keys = await keysBelow(requests.client, folder, signal);
      for (const key of keys) {
        const refusal = await refusalOf(() =>
          requests.send({ method: "DELETE", action: "remove", right: "s3:DeleteObject", key }, signal)
        );
        if (refusal === undefined) continue;
        if (refusal.facts.status !== 403) throw refusal;
        return held(
          `The keys may not delete, as recommended: ${counted(keys.length, "small object")} stay in "${
            store.locate(folder)
          }", always the same ones`,
        );
      }
      return lacking(
        `The keys may delete; the ${counted(keys.length, "object")} of this check are removed again`,
        "a backup needs no right to delete: without it nobody who has the keys can remove backups",
      );
    },
  };
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
