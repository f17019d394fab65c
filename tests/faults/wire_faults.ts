/**
 * What can go wrong on the way between the program and one of its servers: kinds of faults, each a name for tables and
 * command lines, a sentence for docs/faults.md, and what is done with a request or its answer.
 */

import { elementsOf, membersOf } from "../fakes/couchdb/json_text.ts";

/** An answer on its way back. */
export interface WireAnswer {
  status: number;
  headers: Record<string, string>;
  body: Uint8Array;
}

/** One kind of fault. */
export interface WireFault {
  /** In tables and on the command line: no spaces. */
  name: string;
  /** What happens, for the docs. */
  about: string;
  /** Every request from the n-th on meets it, not the n-th alone. */
  forGood?: boolean;
  /** How often it is tried at each request, where chance decides which byte it meets. @default 1 */
  rounds?: number;
  /** Before the request is passed on: the connection is reset, or nothing is ever said. The server never sees it. */
  instead?: "reset" | "silence" | ((server: string) => WireAnswer);
  /** Behind the server's answer: it is lost, or comes in half before the connection is reset or falls silent. */
  behind?: "lose" | "cut" | "half and silence";
  /**
   * The answer, changed. Undefined where this answer has nothing that could be changed so: then nothing was tried.
   *
   * @param random From 0 to 1, the same for the same case.
   * @param request Method and path.
   */
  change?: (answer: WireAnswer, random: () => number, request: string) => WireAnswer | undefined;
}

const encoder = new TextEncoder();

/** The S3 and the CouchDB way of saying no. */
function refusal(status: number, s3Code: string, couchError: string, headers: Record<string, string> = {}) {
  return (server: string): WireAnswer =>
    server === "s3"
      ? {
        status,
        headers: { "content-type": "application/xml", ...headers },
        body: encoder.encode(`<?xml version="1.0"?><Error><Code>${s3Code}</Code><Message>Refused</Message></Error>`),
      }
      : {
        status,
        headers: { "content-type": "application/json", ...headers },
        body: encoder.encode(JSON.stringify({ error: couchError, reason: "Refused" })),
      };
}

function page(status: number) {
  return (): WireAnswer => ({
    status,
    headers: { "content-type": "text/html" },
    body: encoder.encode("<html><body><h1>Please log in</h1></body></html>"),
  });
}

/** The first half of a body, with the framing of a whole one. */
function firstHalf(answer: WireAnswer): WireAnswer | undefined {
  if (answer.body.length < 2) return undefined;
  return { ...answer, body: answer.body.subarray(0, answer.body.length >> 1) };
}

/** The depth at which documents lie in an answer of `_bulk_get`. */
const DOCUMENT_DEPTH = 6;

/** The positions of JSON's own characters, outside of strings and of what lies as deep as documents do. */
function structureOf(body: Uint8Array): number[] {
  const positions: number[] = [];
  let isInString = false;
  let depth = 0;
  for (let at = 0; at < body.length; at++) {
    const character = String.fromCharCode(body[at]!);
    const before = depth;
    let isStructure = true;
    if (isInString && character === "\\") at++;
    if (character === '"') isInString = !isInString;
    else if (isInString) isStructure = false;
    else if (/[{[]/.test(character)) depth++;
    else if (/[}\]]/.test(character)) depth--;
    else isStructure = /[:,]/.test(character);
    if (isStructure && Math.min(before, depth) < DOCUMENT_DEPTH) positions.push(at);
  }
  return positions;
}

function withByte(answer: WireAnswer, at: number, byte: number): WireAnswer {
  const body = answer.body.slice();
  body[at] = byte;
  return { ...answer, body };
}

/**
 * A byte of JSON's structure becomes a control character, which no JSON has there. A byte within a string or a number
 * may leave well-formed JSON that says something else, which nobody can find; and documents are not parsed.
 */
function breakStructure(answer: WireAnswer, random: () => number): WireAnswer | undefined {
  const positions = structureOf(answer.body);
  if (positions.length === 0) return undefined;
  return withByte(answer, positions[Math.floor(random() * positions.length)]!, 1);
}

/** One bit of one byte, wherever it is. */
function flipBit(answer: WireAnswer, random: () => number): WireAnswer | undefined {
  if (answer.body.length === 0) return undefined;
  const at = Math.floor(random() * answer.body.length);
  return withByte(answer, at, answer.body[at]! ^ (1 << Math.floor(random() * 8)));
}

/** A name of the answer's outermost object becomes another one: well-formed, and without what was asked for. */
function renameMember(answer: WireAnswer, random: () => number, request: string): WireAnswer | undefined {
  // The names of a security object are its content, and any are allowed.
  if (request.endsWith("/_security")) return undefined;
  const text = new TextDecoder().decode(answer.body);
  if (!/^\s*\{/.test(text)) return undefined;
  const names = [...text.matchAll(/"([a-z_]{3,})":/g)].filter(({ index }) => depthAt(text, index) === 1);
  if (names.length === 0) return undefined;
  const chosen = names[Math.floor(random() * names.length)]!;
  const at = encoder.encode(text.slice(0, chosen.index + 2)).length;
  return withByte(answer, at, "~".charCodeAt(0));
}

function depthAt(text: string, end: number): number {
  let depth = 0;
  let isInString = false;
  for (let at = 0; at < end; at++) {
    const character = text[at]!;
    if (isInString && character === "\\") at++;
    else if (character === '"') isInString = !isInString;
    else if (!isInString && /[{[]/.test(character)) depth++;
    else if (!isInString && /[}\]]/.test(character)) depth--;
  }
  return depth;
}

/** In an answer of `_bulk_get` every other row is an error, as a node gives that is losing others. */
function errorRows(answer: WireAnswer, random: () => number, request: string): WireAnswer | undefined {
  if (!request.includes("/_bulk_get")) return undefined;
  const isOdd = random() < 0.5;
  const results = elementsOf(new Map(membersOf(new TextDecoder().decode(answer.body))).get("results")!);
  const rows = results.map((row, index) => {
    if ((index % 2 === 1) !== isOdd) return row;
    const id = new Map(membersOf(row)).get("id")!;
    const error = random() < 0.5 ? "not_found" : "internal_error";
    return `{"id":${id},"docs":[{"error":{"id":${id},"rev":"undefined","error":"${error}","reason":"{nodedown,n}"}}]}`;
  });
  return { ...answer, body: encoder.encode(`{"results":[${rows.join(",")}]}\n`) };
}

/** What happens to one request. */
const ONCE: readonly WireFault[] = [
  { name: "reset", about: "the connection is reset, and the server never sees the request", instead: "reset" },
  { name: "lost-answer", about: "the request is carried out, and its answer is lost", behind: "lose" },
  { name: "cut", about: "half of the answer comes, then the connection is reset", behind: "cut" },
  { name: "truncate", about: "half of the answer comes, with a length that says it is all", change: firstHalf },
  { name: "silence", about: "no answer until the time-out", instead: "silence" },
  { name: "half-silence", about: "half of the answer, then nothing until the time-out", behind: "half and silence" },
  { name: "429", about: "429, too many requests", instead: refusal(429, "SlowDown", "too_many_requests") },
  { name: "500", about: "500, an internal error", instead: refusal(500, "InternalError", "internal_server_error") },
  {
    name: "503",
    about: "503 with Retry-After; S3's SlowDown",
    instead: refusal(503, "SlowDown", "service_unavailable", { "retry-after": "0" }),
  },
  { name: "502-page", about: "502 with a proxy's HTML page", instead: page(502) },
  { name: "403-page", about: "403 with a firewall's HTML page", instead: page(403) },
  { name: "404-page", about: "404 with a proxy's HTML page, as while its servers are away", instead: page(404) },
  { name: "200-page", about: "200 with an HTML page, as a login portal answers", instead: page(200) },
];

/** What happens to every request from one on. */
const FOR_GOOD: readonly WireFault[] = [
  { name: "gone", about: "every connection is reset from then on", instead: "reset", forGood: true },
  {
    name: "broken",
    about: "every request is answered 500 from then on",
    instead: refusal(500, "InternalError", "internal_server_error"),
    forGood: true,
  },
];

/** Between the program and CouchDB. */
export const COUCHDB_FAULTS: readonly WireFault[] = [
  ...ONCE,
  { name: "corrupt", about: "a byte of the JSON's structure is another one", change: breakStructure, rounds: 4 },
  { name: "rename", about: "a name of the outermost object is another one", change: renameMember, rounds: 4 },
  { name: "error-rows", about: "every other row of `_bulk_get` is an error", change: errorRows, rounds: 4 },
  ...FOR_GOOD,
  {
    name: "locked-out",
    about: "the credentials do not hold any more: 401 from then on",
    instead: refusal(401, "", "unauthorized"),
    forGood: true,
  },
];

/** Between the program and an S3 store. */
export const S3_FAULTS: readonly WireFault[] = [
  ...ONCE,
  { name: "corrupt", about: "one bit of the answer is another one", change: flipBit, rounds: 8 },
  {
    name: "200-error",
    about: "200 with S3's error in it",
    instead: (server) => ({ ...refusal(200, "InternalError", "")(server) }),
  },
  ...FOR_GOOD,
  {
    name: "expired",
    about: "the temporary keys have expired: 400 ExpiredToken from then on",
    instead: refusal(400, "ExpiredToken", ""),
    forGood: true,
  },
];
