/**
 * Questions about uploads in parts to an S3 server: whether they are read back, which sizes and how many parts it takes,
 * and whether one that is given up leaves nothing. In: requests, and the store for what is read through it. Out: questions.
 */
import { createHash } from "node:crypto";
import type { StoreError } from "../../errors.ts";
import { held, lacking, missing, type StoreQuestion } from "../questions.ts";
import type { Store } from "../store.ts";
import type { S3Settings } from "./request.ts";
import { partSize } from "./parts.ts";
import { answerOf, CHUNK, type QuestionRequests, refusalOf, TAIL } from "./question_requests.ts";

const MIB = 1024 * 1024;
/** Of all parts of an upload but the last, on AWS. */
const LEAST_PART_BYTES = 5 * MIB;

/** What uploads in parts rest on. */
export function uploadQuestions(requests: QuestionRequests, store: Store): StoreQuestion[] {
  return [partsQuestion(requests, store), unequalQuestion(requests), countQuestion(requests), abortQuestion(requests)];
}

function partsQuestion(requests: QuestionRequests, store: Store): StoreQuestion {
  return {
    property: "parts",
    async ask(signal) {
      const { partBytes } = requests.client.settings;
      // The same bytes twice: a part may be large, and lies in memory once.
      const part = new Uint8Array(partBytes);
      part.set(CHUNK);
      const parts = [part, part, TAIL];
      await requests.upload("parts.bin", parts, { signal });
      const [stored, found] = [createHash("sha256"), createHash("sha256")];
      for (const bytes of parts) stored.update(bytes);
      for await (const bytes of await store.read(requests.keyOf("parts.bin"), { signal })) found.update(bytes);
      if (found.digest("hex") === stored.digest("hex")) {
        return held(`An upload of two parts of ${sizeOf(partBytes)} and a small one is read back`);
      }
      return missing("A multipart upload is read back with other content", "Use another store");
    },
  };
}

function unequalQuestion(requests: QuestionRequests): StoreQuestion {
  return {
    property: "parts_unequal",
    async ask(signal) {
      const { partBytes, equalParts } = requests.client.settings;
      const least = Math.min(partBytes, LEAST_PART_BYTES);
      const larger = new Uint8Array(least + MIB);
      const parts = [larger.subarray(0, least), larger, TAIL];
      const refusal = await refusalOf(() => requests.upload("parts-unequal.bin", parts, { signal }));
      if (refusal === undefined) return held("The parts of an upload may have different sizes");
      if (isFailure(refusal)) throw refusal;
      const detail = `Parts of different sizes are answered ${answerOf(refusal)}`;
      if (equalParts) return lacking(detail, `all parts have ${sizeOf(partBytes)}, as part_size says`);
      const equal = sizeOf(equalUpTo(requests.client.settings));
      return lacking(
        detail,
        `objects of up to ${equal} have equal parts; larger ones fail without the option`,
        "part_size: 64",
      );
    },
  };
}

function countQuestion(requests: QuestionRequests): StoreQuestion {
  return {
    property: "parts_count",
    async ask(signal) {
      const { maxParts } = requests.client.settings;
      const id = await requests.begin("parts-count.bin", signal);
      try {
        let refused: { number: number; answer: string } | undefined;
        for (const number of [10_000, 5_000, 1_000, 100]) {
          const refusal = await refusalOf(() =>
            requests.sendPart("parts-count.bin", { id, number, body: TAIL, signal })
          );
          if (refusal === undefined) {
            if (refused === undefined) return held("An upload may have 10000 parts");
            const detail = `Part ${refused.number} is answered ${refused.answer}, part ${number} is taken`;
            return maxParts <= number
              ? lacking(detail, `an upload has ${maxParts} parts at most, as max_parts says`)
              : lacking(
                detail,
                "larger objects fail without the option; with it parts grow sooner",
                `max_parts: ${number}`,
              );
          }
          if (isFailure(refusal)) throw refusal;
          refused = { number, answer: answerOf(refusal) };
        }
        return missing("Not even part 100 of an upload is accepted", "Use another store");
      } finally {
        await requests.giveUp("parts-count.bin", id);
      }
    },
  };
}

function abortQuestion(requests: QuestionRequests): StoreQuestion {
  return {
    property: "abort",
    async ask(signal) {
      const id = await requests.begin("aborted.bin", signal);
      const refusal = await refusalOf(async () => {
        try {
          await requests.abort("aborted.bin", id, signal);
        } finally {
          if (signal.aborted) await requests.giveUp("aborted.bin", id);
        }
      });
      if (refusal === undefined) return held("An aborted upload leaves nothing");
      return lacking(
        `Aborting an upload is answered ${answerOf(refusal)}`,
        "incomplete uploads stay and take up space: set a lifecycle rule (AbortIncompleteMultipartUpload)",
      );
    },
  };
}

/** Whether an answer says nothing of what was asked: none came, or the server failed. */
function isFailure({ facts: { status } }: StoreError): boolean {
  return status === undefined || status >= 500;
}

/** `5 MiB`. */
function sizeOf(bytes: number): string {
  return `${Math.round(bytes / MIB * 10) / 10} MiB`;
}

/** The largest object whose parts have one size where they grow. */
function equalUpTo({ partBytes: smallestBytes, maxParts }: S3Settings): number {
  let number = 1;
  while (number < maxParts && partSize(number + 1, { smallestBytes, maxParts }) === smallestBytes) number++;
  return number * smallestBytes;
}
