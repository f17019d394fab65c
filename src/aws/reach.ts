/**
 * Which of a service's addresses answers: AWS's services have a dual-stack name and an older one, and a firewall, an
 * interface endpoint or a machine without IPv4 lets one of them through alone. In: their URLs, the preferred one first.
 * Out: the first that answers anything at all, remembered for as long as the process lives.
 */
import { wait } from "../abort.ts";
import type { Fetch } from "../trusted_fetch.ts";

/** The start that each address has before the next one; a name that does not resolve gives it up at once. */
const HEAD_START_MS = 1_500;
const LIMIT_MS = 10_000;

const answered = new Map<string, number>();
const asking = new Map<string, Promise<number>>();

/** What {@linkcode findReachable} takes. */
export interface ReachOptions {
  /** @default 1500 */
  headStartMs?: number | undefined;
  /** Makes the requests. @default the platform's */
  fetch?: Fetch | undefined;
  /** How long the whole question may take. @default 10000 */
  limitMs?: number | undefined;
}

/**
 * The index of the URL that answers. A lone URL is not asked.
 *
 * @param service By what name the answer is remembered: addresses that share a server share it.
 * @throws What the first URL failed with, where none answers.
 */
export async function findReachable(
  service: string,
  urls: readonly string[],
  options: ReachOptions = {},
): Promise<number> {
  if (urls.length < 2) return 0;
  const known = answered.get(service);
  if (known !== undefined) return known;
  // Whoever asks meanwhile waits for the same answer.
  let question = asking.get(service);
  if (question === undefined) {
    question = ask(urls, options).then((index) => {
      answered.set(service, index);
      return index;
    }).finally(() => asking.delete(service));
    asking.set(service, question);
  }
  return await question;
}

/** Forgets what answered, because it does not any more. */
export function forgetReachable(service: string): void {
  answered.delete(service);
}

async function ask(
  urls: readonly string[],
  { headStartMs = HEAD_START_MS, limitMs = LIMIT_MS, fetch = globalThis.fetch }: ReachOptions,
): Promise<number> {
  const others = new AbortController();
  const signal = AbortSignal.any([others.signal, AbortSignal.timeout(limitMs)]);
  let before: Promise<unknown> = Promise.resolve();
  const attempts = urls.map((url, index) => {
    const turn = index === 0 ? Promise.resolve() : Promise.race([before, wait(headStartMs * index, signal)]);
    const attempt = turn.then(async () => {
      signal.throwIfAborted();
      // Unsigned: a refusal is an answer.
      const response = await fetch(url, { method: "HEAD", redirect: "manual", signal });
      await response.body?.cancel();
      return index;
    });
    before = attempt.then(() => new Promise(() => {}), () => undefined); // Resolves where it failed.
    return attempt;
  });
  try {
    return await Promise.any(attempts);
  } catch (error) {
    throw (error as AggregateError).errors[0];
  } finally {
    others.abort();
  }
}
