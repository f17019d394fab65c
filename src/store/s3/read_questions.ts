/**
 * Questions about reading from an S3 server: whether an object comes as it lies there, with its length, and whether a read
 * that was interrupted can be resumed. In: requests, and the store for what is read through it. Out: questions.
 */
import { counted } from "../../counts.ts";
import { readText } from "../../streams.ts";
import { held, lacking, missing, type StoreQuestion } from "../questions.ts";
import type { Store } from "../store.ts";
import { getRequest, type QuestionRequests, refusalOf, TEXT } from "./question_requests.ts";

/** Whether an object's length is told, and its bytes come as they are. */
export function contentQuestions(requests: QuestionRequests, store: Store): StoreQuestion[] {
  return [
    {
      property: "length",
      async ask(signal) {
        await requests.put("text.json", TEXT, { signal });
        const { headers: told } = await requests.send({ method: "HEAD", key: requests.keyOf("text.json") }, signal);
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
        await requests.put("text.json", TEXT, { signal });
        const answer = await requests.client.open(getRequest(requests.keyOf("text.json")), signal);
        const encoding = answer.headers.get("content-encoding");
        const length = answer.headers.get("content-length");
        answer.close();
        const isIdentical = encoding === null && length === String(TEXT.length);
        const text = await readText(await store.read(requests.keyOf("text.json"), { signal }));
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
  ];
}

/** Whether the rest of an object can be asked for, and of that very object. */
export function resumeQuestions(requests: QuestionRequests): StoreQuestion[] {
  return [
    {
      property: "range",
      async ask(signal) {
        await requests.put("text.json", TEXT, { signal });
        const answer = await requests.client.open(
          getRequest(requests.keyOf("text.json"), { range: "bytes=10-" }),
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
        await requests.put("text.json", TEXT, { signal });
        const asked = getRequest(requests.keyOf("text.json"), { range: "bytes=10-", "if-match": `"other"` });
        const refusal = await refusalOf(async () => (await requests.client.open(asked, signal)).close());
        if (refusal?.facts.code === "PreconditionFailed") return held("A read is not resumed in another object");
        if (refusal !== undefined) throw refusal;
        return lacking(
          "If-Match is accepted but ignored",
          "an object that is replaced while it is read may come out mixed; its SHA-256 shows that",
        );
      },
    },
  ];
}
