/**
 * Tells a monitor over HTTP that a run has begun, and how it ended: one that expects pings, as healthchecks.io does, or
 * a webhook. In: what begins, and reports of what is over. Out: requests in the background, each with little time of
 * its own; what could not be delivered is a warning. The address is a secret: whoever knows it can report success.
 *
 * @see https://healthchecks.io/docs/http_api/
 */
import type { NotifyAddress } from "../config/config.ts";
import { authorizationFor } from "../basic_auth.ts";
import { counted } from "../counts.ts";
import { describeError, ProgramError } from "../errors.ts";
import type { Log } from "../observe.ts";
import { hasFoundLoss, isSaved, isTaskSaved, type RunReport } from "../archive/report.ts";
import type { Secret } from "../secret.ts";
import { readShort } from "../short_answer.ts";
import type { Fetch } from "../trusted_fetch.ts";
import { formatSummary } from "./summary.ts";

/** What {@linkcode Notifier} needs to know. */
export interface NotifyOptions extends NotifyAddress {
  /** What fetches; it trusts the authority that the config names. @default the platform's */
  fetch?: Fetch;
  /** For one answer. @default 4000 */
  attemptMs?: number;
  /** How long a message may still take that another one follows. @default 1000 */
  hurryMs?: number;
}

/** What has happened. `log` says how something stands, and changes nothing. */
type NotifyEvent = "start" | "success" | "fail" | "log";

/** A webhook's message. Fields may be added, never renamed. */
export interface NotifyMessage {
  event: NotifyEvent;
  /** Whether everything is saved; null before the end. */
  ok: boolean | null;
  run: string;
  started_at?: string;
  finished_at?: string;
  tasks: {
    task: string;
    date?: string;
    databases?: number;
    saved?: number;
    /** The names of what is not saved, at most {@linkcode MOST_NAMED}. */
    failed?: string[];
    error?: string;
    retry_at?: string;
  }[];
  /** The same for a person. */
  text: string;
}

const ATTEMPT_MS = 4_000;
const HURRY_MS = 1_000;
const BETWEEN_ATTEMPTS_MS = 500;
const CLOSE_MS = 1_500;
const ATTEMPTS = 2;
const MOST_NAMED = 100;
/** healthchecks.io keeps 100 kB. */
const MOST_CHARACTERS = 10_000;
const TASK = "{task}";

/** One address, whose messages arrive in their order. */
interface Channel {
  url: URL;
  /** Settles when all that was handed over is delivered or given up. */
  tail: Promise<void>;
  /** Gives up the message under way, because a newer one waits. */
  hurry: AbortController;
  /** The tasks whose start was reported and whose end was not. */
  begun: Set<string>;
  run: string;
}

/** Who hears of a message that was not delivered, and whose run it is. */
interface Teller {
  log: Log;
  run: string;
}

/** Tells a monitor of runs. Nothing here throws or rejects. */
export class Notifier {
  readonly #options: Required<NotifyOptions>;
  readonly #channels = new Map<string, Channel>();
  /** Nothing is tried any more. */
  readonly #over = new AbortController();

  constructor(options: NotifyOptions) {
    this.#options = { fetch, attemptMs: ATTEMPT_MS, hurryMs: HURRY_MS, ...options };
  }

  /** A run of these tasks begins. What has begun already is not told again. */
  start(tasks: readonly string[], teller: Teller): void {
    for (const { channel, names } of this.#channelsOf(tasks, teller)) {
      // A Lambda's process may have begun a run that another one has ended.
      if (channel.run !== teller.run) channel.begun.clear();
      const isNew = channel.begun.size === 0;
      for (const name of names) channel.begun.add(name);
      channel.run = teller.run;
      if (!isNew) continue;
      const text = `Run ${teller.run} begins: ${names.map((name) => `task ${name}`).join(", ")}`;
      const told = names.map((task) => ({ task }));
      this.#send(channel, { event: "start", ok: null, run: teller.run, tasks: told, text }, teller);
    }
  }

  /**
   * A run is over.
   *
   * @param options `isPart`: it was for databases that were named, which must neither pass for the success of a task
   * nor for its failure. `isInterrupted`: what else has begun has not ended, which is yet to be told.
   */
  end(
    report: RunReport,
    { isPart, isInterrupted = false, ...teller }: Teller & { isPart: boolean; isInterrupted?: boolean | undefined },
  ): void {
    for (const { channel, names } of this.#channelsOf(report.tasks.map(({ task }) => task), teller)) {
      const tasks = report.tasks.filter(({ task }) => names.includes(task));
      const ok = tasks.every(isTaskSaved);
      if (isInterrupted) { for (const name of names) channel.begun.delete(name); }
      else if (!isPart) channel.begun.clear();
      // Documents that earlier backups have lost must be reported, although all is saved now.
      const event = isPart ? "log" : ok && !hasFoundLoss({ tasks }) ? "success" : "fail";
      this.#send(channel, messageOf({ ...report, ok, tasks }, event), teller);
    }
  }

  /** Another machine has the run of these tasks now, and tells its end. */
  leave(tasks: readonly string[], teller: Teller): void {
    for (const { channel, names } of this.#channelsOf(tasks, teller)) {
      for (const name of names) channel.begun.delete(name);
    }
  }

  /** Reports tasks that have begun and not ended as interrupted. */
  breakOff({ log }: { log: Log }): void {
    for (const channel of this.#channels.values()) {
      if (channel.begun.size === 0) continue;
      const { run } = channel;
      const tasks = [...channel.begun].map((task) => ({ task, error: "The run was broken off" }));
      channel.begun.clear();
      const text = `Run ${run} was broken off: not everything is saved`;
      this.#send(channel, { event: "fail", ok: false, run, tasks, text }, { log, run });
    }
  }

  /** Waits until all messages are delivered or given up, at most ten seconds after the end of a run. */
  async settled(): Promise<void> {
    await Promise.all([...this.#channels.values()].map(({ tail }) => tail));
  }

  /** Reports interrupted runs, and gives up what is not delivered soon: a program that ends must not wait long. */
  async close({ log, deadlineMs = CLOSE_MS }: { log: Log; deadlineMs?: number }): Promise<void> {
    this.breakOff({ log });
    await settledWithin(this.settled(), deadlineMs, () => this.#over.abort());
  }

  /** The channels of some tasks: one for all, unless the address tells tasks apart. */
  #channelsOf(tasks: readonly string[], { log }: Teller): { channel: Channel; names: string[] }[] {
    const byUrl = new Map<string, string[]>();
    for (const task of tasks) {
      const url = urlFor(this.#options.url, task);
      byUrl.set(url, [...byUrl.get(url) ?? [], task]);
    }
    return [...byUrl].flatMap(([text, names]) => {
      let channel = this.#channels.get(text);
      if (channel === undefined) {
        const url = URL.parse(text);
        if (url === null) {
          log.warn("notify", { warning: "The address to notify is not a URL" });
          return [];
        }
        channel = { url, tail: Promise.resolve(), hurry: new AbortController(), begun: new Set(), run: "" };
        this.#channels.set(text, channel);
      }
      return [{ channel, names }];
    });
  }

  #send(channel: Channel, message: NotifyMessage, { log }: Teller): void {
    const before = channel.hurry;
    const hurry = new AbortController();
    channel.hurry = hurry;
    const { hurryMs } = this.#options;
    const { tail } = channel;
    channel.tail = (async () => {
      await settledWithin(tail, hurryMs, () => before.abort());
      const signal = AbortSignal.any([hurry.signal, this.#over.signal]);
      const problem = await this.#deliver(channel.url, message, signal);
      if (problem === undefined) return log.debug("notified", { event: message.event });
      log.warn("notify", { warning: `Cannot tell "${channel.url.host}" of the run's ${message.event}: ${problem}` });
    })();
  }

  async #deliver(url: URL, message: NotifyMessage, hurry: AbortSignal): Promise<string | undefined> {
    const { kind, attemptMs, fetch } = this.#options;
    let problem: Problem | undefined;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (attempt > 1) await new Promise((resolve) => setTimeout(resolve, BETWEEN_ATTEMPTS_MS));
      if (hurry.aborted && problem !== undefined) break;
      problem = await post(url, { kind, message, signal: hurry, attemptMs, fetch });
      if (problem === undefined || !problem.isPassing) break;
    }
    return problem?.text;
  }
}

/**
 * Whether a monitor takes a message that changes nothing there.
 *
 * @returns What was found, as a sentence. @throws ProgramError when it does not take it.
 */
export async function tryNotify(
  { url: secret, kind, fetch: ask = fetch }: NotifyOptions,
  { tasks, run, signal, attemptMs = ATTEMPT_MS }: {
    tasks: readonly string[];
    run: string;
    signal: AbortSignal;
    /** For one answer. @default 4000 */
    attemptMs?: number | undefined;
  },
): Promise<string> {
  const urls = new Set(tasks.map((task) => urlFor(secret, task)));
  let host = "";
  for (const text of urls) {
    const url = new URL(text);
    host = url.host;
    const told = tasks.filter((task) => urlFor(secret, task) === text).map((task) => ({ task }));
    const words = "A test message of couchdb-backup check: nothing has run";
    const message: NotifyMessage = { event: "log", ok: null, run, tasks: told, text: words };
    const problem = await post(url, { kind, message, signal, attemptMs, fetch: ask });
    if (problem === undefined) continue;
    const which = urls.size > 1 ? ` for task "${told[0]?.task}"` : "";
    throw new NotifyError(`Cannot notify "${host}"${which}: ${problem.text}`, {
      hint: kind === "healthchecks"
        ? `Check notify: it is a check's own address, to which "/start", "/fail" and "/log" are added; backups run without it`
        : "Check notify.url; backups run without it",
    });
  }
  return `"${host}" takes ${counted(urls.size, "message")}`;
}

/** A monitor that does not take what it is sent. */
class NotifyError extends ProgramError {
  override readonly exitCode = 3;
}

/** Why a message was not taken. */
interface Problem {
  text: string;
  /** It may be taken a moment later. */
  isPassing: boolean;
}

async function post(
  base: URL,
  { kind, message, signal, attemptMs, fetch }: {
    kind: NotifyAddress["kind"];
    message: NotifyMessage;
    signal: AbortSignal;
    attemptMs: number;
    fetch: Fetch;
  },
): Promise<Problem | undefined> {
  const url = new URL(base);
  const isPing = kind === "healthchecks";
  const headers: Record<string, string> = { "content-type": isPing ? "text/plain; charset=utf-8" : "application/json" };
  const authorization = authorizationFor(base, {});
  if (authorization !== undefined) headers.authorization = authorization;
  url.username = "";
  url.password = "";
  if (isPing && message.event !== "success") url.pathname = `${url.pathname.replace(/\/+$/, "")}/${message.event}`;
  const body = isPing ? message.text : JSON.stringify(message);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]);
  try {
    const response = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal: patience });
    await readShort(response);
    if (response.ok) return undefined;
    const { status } = response;
    // Not the answer's words: it may repeat the address, which is a secret.
    return { text: `it answered ${status}`, isPassing: status >= 500 || status === 429 || status === 408 };
  } catch (error) {
    const text = patience.aborted ? "no answer in time" : withoutAddress(describeError(error), base);
    return { text, isPassing: true };
  }
}

/** The text of an error without the parts of an address that are secret. fetch quotes the address in its errors. */
function withoutAddress(text: string, { pathname, search }: URL): string {
  let safe = text.replace(/https?:\/\/\S+/gi, "its address");
  // Whole first, then by its parts: an error may have written it in its own way.
  const secrets = [pathname + search, ...pathname.split("/"), ...search.slice(1).split(/[&=]/)];
  for (const part of secrets) if (part.length > 3) safe = safe.replaceAll(part, "…");
  return safe;
}

function urlFor(url: Secret, task: string): string {
  const name = encodeURIComponent(task);
  return url.reveal().replaceAll(TASK, name).replaceAll(encodeURI(TASK), name);
}

function messageOf(report: RunReport, event: NotifyEvent): NotifyMessage {
  const tasks = report.tasks.map(({ task, date, databases, error, retry_at }) => {
    const failed = databases.filter((one) => !isSaved(one)).map(({ database }) => database);
    return {
      task,
      date,
      databases: databases.length,
      saved: databases.length - failed.length,
      failed: failed.slice(0, MOST_NAMED),
      ...error === undefined ? {} : { error },
      ...retry_at === undefined ? {} : { retry_at },
    };
  });
  const { ok, run, started_at, finished_at } = report;
  return { event, ok, run, started_at, finished_at, tasks, text: shorten(formatSummary(report, { maxRows: 10 })) };
}

/** Its beginning is what was saved, its end what was not. */
function shorten(text: string): string {
  if (text.length <= MOST_CHARACTERS) return text;
  const half = MOST_CHARACTERS / 2;
  return `${text.slice(0, half)}\n…\n${text.slice(-half)}`;
}

/** Waits for work, and after a while calls what ends it. */
async function settledWithin(work: Promise<void>, ms: number, end: () => void): Promise<void> {
  const timer = setTimeout(end, ms);
  try {
    await work;
  } finally {
    clearTimeout(timer);
  }
}
