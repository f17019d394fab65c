/** What is said where a proxy on the way to a server is to blame. In: what fetch has thrown. Out: the proxy's part in it. Pure. */

/** A proxy could not be reached, or refused to be used. */
export class ProxyError extends Error {
  override readonly name: string = "ProxyError";
  /** Whether it was reached and wants a login: to try again is of no use. */
  readonly wantsLogin: boolean;
  /** What to do. */
  readonly hint: string;

  /** What happened, completing "Cannot …: ". */
  constructor(message: string, context: { wantsLogin: boolean; hint: string; cause?: unknown }) {
    super(message, { cause: context.cause });
    this.wantsLogin = context.wantsLogin;
    this.hint = context.hint;
  }
}

/** The proxy's part in what fetch has thrown. */
export function proxyErrorIn(error: unknown): ProxyError | undefined {
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    if (current instanceof ProxyError) return current;
  }
  return undefined;
}
