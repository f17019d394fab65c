/**
 * Everything that can go wrong between a client and CouchDB, as a list of rules that a test gives: which requests, how
 * often, and what happens to them.
 */
import type { ShortPage } from "./answer.ts";
import type { RequestRecord } from "./request_log.ts";

/** What happens to a request. Byte counts are of the answer's body. */
export type Fault =
  /** Answered like this, and not worked on. */
  | { kind: "answer"; status: number; headers?: Record<string, string>; body?: unknown }
  /** The connection closes without an answer, and the request is not worked on. */
  | { kind: "drop" }
  /** The request is worked on, and the connection closes without an answer. */
  | { kind: "lose answer" }
  /** Nothing happens for so long, for ever by default; then the request is worked on. */
  | { kind: "stall"; ms?: number }
  /** The answer stops for so long, for ever by default, after so many bytes, half of them by default. */
  | { kind: "stall midway"; afterBytes?: number; ms?: number }
  /**
   * The connection closes after so many bytes, half of them by default; of `rows`, so many behind the beginning of the
   * first of these ids' rows, and not at all where the answer has none.
   */
  | { kind: "cut off"; afterBytes?: number; rows?: readonly string[] }
  /**
   * The answer ends after so many bytes, half of them by default, as if that were all: status and framing are right.
   */
  | { kind: "truncate"; afterBytes?: number }
  /** The answer comes in pieces of so many bytes with so much time between them. */
  | { kind: "drip"; bytes: number; everyMs: number }
  /** The request is worked on, and the answer has this status instead of its own: a 202 instead of a 201. */
  | { kind: "status"; status: number }
  /** `_bulk_get` and `_bulk_docs` answer an error row for these ids, for all by default. */
  | { kind: "error rows"; ids?: readonly string[]; error?: string; reason?: string }
  /** A page of `_changes` or `_all_docs` is well formed and lacks rows, or lies about what is still to come. */
  | { kind: "short page" } & ShortPage
  /** Something is done first, such as deleting a document in the middle of a backup. */
  | { kind: "run"; run: () => void | Promise<void> };

/** Which requests meet a fault. Every field that is there must fit. */
export interface FaultRule {
  method?: string;
  database?: string;
  /** As in {@linkcode RequestRecord}. */
  endpoint?: string;
  /** One of the ids that the request speaks of. */
  id?: string;
  where?: (request: RequestRecord) => boolean;
  /** How many fitting requests pass unharmed first. @default 0 */
  skip?: number;
  /** How many meet the fault then. @default 1 */
  times?: number;
  fault: Fault;
}

/**
 * Rules and how often each has been met.
 * Deno's fetch sends a request again by itself, a POST too, where a connection that has served one before closes
 * without an answer (seen in 2.9.6). So that a dropped connection is one that the client notices, no connection serves
 * two requests while a rule waits to drop one.
 */
export class FaultPlan {
  #rules: { rule: FaultRule; fitting: number; met: number }[] = [];
  readonly #closeIdleConnections: () => void;

  constructor(closeIdleConnections: () => void) {
    this.#closeIdleConnections = closeIdleConnections;
  }

  add(rule: FaultRule): void {
    this.#rules.push({ rule, fitting: 0, met: 0 });
    if (this.willDrop) this.#closeIdleConnections();
  }

  /** Whether a rule waits to close a connection that has not answered. */
  get willDrop(): boolean {
    return this.#rules.some(({ rule: { fault, times = 1 }, met }) =>
      (fault.kind === "drop" || fault.kind === "lose answer") && met < times
    );
  }

  /** Nothing goes wrong from now on. */
  clear(): void {
    this.#rules = [];
  }

  /** The fault that `request` meets: that of the first rule that fits and is not used up. Counts it. */
  next(request: RequestRecord): Fault | undefined {
    for (const entry of this.#rules) {
      const { skip = 0, times = 1 } = entry.rule;
      if (!fits(entry.rule, request) || ++entry.fitting <= skip || entry.met >= times) continue;
      entry.met++;
      return entry.rule.fault;
    }
    return undefined;
  }
}

function fits(rule: FaultRule, request: RequestRecord): boolean {
  return (rule.method === undefined || rule.method === request.method) &&
    (rule.database === undefined || rule.database === request.database) &&
    (rule.endpoint === undefined || rule.endpoint === request.endpoint) &&
    (rule.id === undefined || request.ids.includes(rule.id)) &&
    (rule.where === undefined || rule.where(request));
}

/** How a document cannot be read. */
export type Unreadable =
  /** The answer ends in the middle. */
  | "breaks off"
  /** The answer ends within its row, behind a part of it that is too large to be kept. */
  | "breaks within"
  /** The connection closes without an answer. */
  | "drops"
  /** `_bulk_get` has an error row in its place, and for itself it is answered 500. */
  | "error row"
  /** The whole request is answered 500. */
  | "fails";

/** Documents that CouchDB cannot read, now or ever, alone or with others. Other ids of the request fare as it does. */
export function unreadable(database: string, ids: readonly string[], how: Unreadable): FaultRule {
  const [error, reason] = ["internal_server_error", "{badmatch,{error,enoent}}"];
  const faults: Record<Unreadable, Fault> = {
    // Before its first row is whole: what came whole would have been read.
    "breaks off": { kind: "cut off", afterBytes: 24 },
    "breaks within": { kind: "cut off", afterBytes: 1_150_000, rows: ids },
    "drops": { kind: "drop" },
    "error row": { kind: "error rows", ids, error: "internal_error", reason },
    "fails": { kind: "answer", status: 500, body: { error, reason } },
  };
  const reads = ({ endpoint, method }: RequestRecord) =>
    endpoint === "_bulk_get" || (endpoint === "document" && method === "GET");
  const where = (request: RequestRecord) => reads(request) && request.ids.some((id) => ids.includes(id));
  return { database, where, times: Infinity, fault: faults[how] };
}

/** An endpoint of a database, such as `_security`, that the user may not read. */
export function forbidden(database: string, endpoint: string): FaultRule {
  const body = { error: "forbidden", reason: "You are not allowed to access this db." };
  return { database, endpoint, times: Infinity, fault: { kind: "answer", status: 403, body } };
}

/** The ids of `request` that a fault wants refused, with what is said of them. */
export function refusedRowsOf(
  fault: Fault | undefined,
  request: RequestRecord,
): Map<string, { error: string; reason: string }> {
  if (fault?.kind !== "error rows") return new Map();
  const { ids = request.ids, error = "internal_fabric_error", reason = "timeout" } = fault;
  return new Map(ids.map((id) => [id, { error, reason }]));
}

/** Refuses the login behind `skip` requests that are about a database: a password that is changed midway. */
export function loginRefused({ skip }: { skip: number }): FaultRule {
  return {
    where: ({ database }) => database !== undefined,
    skip,
    times: Infinity,
    fault: { kind: "answer", status: 401 },
  };
}
