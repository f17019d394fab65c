/**
 * Sends requests to S3: signed, guarded against stalls (exchange.ts), and repeated while that can help. A request comes in
 * as method, key and bytes; what goes out is S3's answer, or a StoreError that names what an operator can do; an AwsError
 * where the keys to sign with cannot be had.
 */
import { createHash } from "node:crypto";
import { describeError, isNotFound, isTransient, StoreError } from "../../errors.ts";
import { SILENT_LOG } from "../../observe.ts";
import { RetryNotice } from "../../retry_notice.ts";
import { joinKey } from "../key.ts";
import { isOutOfTime, orAborted, wait } from "../../abort.ts";
import { type Credentials, isSameCredentials } from "../../aws/credentials.ts";
import { findReachable, forgetReachable } from "../../aws/reach.ts";
import { RequestSigner } from "../../aws/signer.ts";
import {
  type AddressingStyle,
  addressingStyle,
  bucketUrls,
  checkAddressing,
  DEFAULT_REGION,
  encodeKey,
  encodeQuery,
} from "./endpoint.ts";
import { cutOffError, describeSubject, isUnconfirmed, refusalError, strangeAnswer } from "./error.ts";
import { isErrorBody } from "./xml.ts";
import { proxyErrorIn } from "../../proxy_error.ts";
import { tlsFailure } from "../../tls_failure.ts";
import { exchange, type ExchangeFailure, type SignedRequest } from "./exchange.ts";
import {
  DEFAULT_SETTINGS,
  type S3Answer,
  type S3OpenAnswer,
  type S3Request,
  type S3Settings,
  type S3Target,
} from "./request.ts";
import { ServerClock, withClockError } from "./server_clock.ts";

const MAX_BACKOFF_MS = 20_000;
/** A page of a thousand keys has at most a fifth of it. */
const MOST_ANSWER_CHARACTERS = 16 << 20;
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Speaks to one bucket. */
export class S3Client {
  /** `s3://name/folder`. */
  readonly url: string;
  readonly settings: S3Settings;
  readonly #target: S3Target;
  readonly #notice: RetryNotice;
  /** Derived signing keys, by aws4fetch. */
  readonly #signingKeys = new Map<string, ArrayBuffer>();
  #region: Promise<string> | undefined;
  readonly #clock = new ServerClock();
  /** By what name it is remembered which of the bucket's URLs answers. */
  #service = "";
  /** Whether one request has used up all patience, so that others need not, until one goes well. */
  #isWornOut = false;

  constructor(target: S3Target, settings: Partial<S3Settings> = {}) {
    this.#target = target;
    this.#notice = new RetryNotice(target.log ?? SILENT_LOG, "store does not answer as it should: retrying");
    this.settings = { ...DEFAULT_SETTINGS, ...settings };
    this.url = `s3://${target.bucket}${target.folder === "" ? "" : `/${target.folder}`}`;
  }

  /** The same bucket, asked in another way. */
  with(changes: Partial<S3Target>, settings: Partial<S3Settings> = {}): S3Client {
    return new S3Client({ ...this.#target, ...changes }, { ...this.settings, ...settings });
  }

  /** How the bucket is named in requests. */
  get addressing(): AddressingStyle {
    return this.#target.addressing ?? addressingStyle(this.#target);
  }

  /** The same bucket named in the other style, without patience; undefined where it cannot be. */
  inOtherStyle(): S3Client | undefined {
    const addressing = this.addressing === "path" ? "virtual" : "path";
    try {
      checkAddressing({ ...this.#target, addressing });
    } catch {
      return undefined; // An address of numbers, or a bucket whose name is older than the rules for hosts.
    }
    return this.with({ addressing }, { attempts: 1 });
  }

  /** The URL of the bucket that is asked. @throws StoreError with code `unreachable` */
  async findUrl(signal?: AbortSignal): Promise<string> {
    return await this.#findBase(await this.#findRegion(signal), { action: "reach" }, signal);
  }

  /** How far the server's clock is ahead of this machine's, by the `Date` of its last answer. */
  get clockSkewMs(): number | undefined {
    return this.#clock.skewMs;
  }

  /** The key as S3 knows it, for the headers and queries that hold one. */
  fullKey(key: string): string {
    return joinKey(this.#target.folder, key);
  }

  /**
   * Sends a request, repeatedly where that helps, and reads the whole answer, which is small.
   *
   * @param again Awaited before each further try.
   */
  async send(request: S3Request, signal?: AbortSignal, again?: () => Promise<void>): Promise<S3Answer> {
    let tries = 0;
    return await this.retrying(async () => {
      if (tries++ > 0) await again?.();
      const answer = await this.#readWhole(request, await this.open(request, signal));
      // S3 sends the 200 to CompleteMultipartUpload before it knows how that ends, which can take minutes.
      if (isErrorBody(answer.body)) throw await this.#refusal(request, answer);
      if (request.isCut?.(answer.body) === true) throw cutOffError({ ...subjectOf(request), url: this.url });
      return answer;
    }, signal);
  }

  /**
   * The headers of an object; undefined where there is none.
   *
   * An answer to HEAD has no body by which S3 could be told from a proxy whose servers are away for a moment. Where
   * nothing else tells that it is S3's, the object is asked for, and what then answers has one.
   */
  async head(key: string, signal: AbortSignal | undefined): Promise<Headers | undefined> {
    const about = { action: "look at", right: "s3:GetObject", key } as const;
    try {
      try {
        return (await this.send({ method: "HEAD", ...about }, signal)).headers;
      } catch (error) {
        if (!isUnconfirmed(error)) throw error;
        const answer = await this.retrying(() => this.open({ method: "GET", ...about }, signal), signal);
        answer.close();
        return answer.headers;
      }
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /**
   * Sends a request once and hands the answer over as soon as its headers are there.
   *
   * @throws StoreError when the status is not a success.
   */
  async open(request: S3Request, signal?: AbortSignal): Promise<S3OpenAnswer> {
    const credentials = await this.#target.credentials();
    try {
      return await this.#openWith(credentials, request, signal);
    } catch (error) {
      if (!refusesKeys(error, request)) throw error;
      // A service that runs for months has keys that somebody has replaced since, or whose end came early.
      const others = await this.#target.credentials(credentials);
      if (isSameCredentials(others, credentials)) throw error;
      return await this.#openWith(others, request, signal);
    }
  }

  async #openWith(
    credentials: Credentials,
    request: S3Request,
    signal: AbortSignal | undefined,
  ): Promise<S3OpenAnswer> {
    const signedAheadMs = this.#clock.signAheadMs;
    const { url, method, headers } = await this.#sign(request, credentials, signal);
    const answer = await this.#exchange(
      { url, method, headers, body: request.body ?? null },
      subjectOf(request),
      signal,
    );
    if (answer.status >= 200 && answer.status < 300) return answer;
    const whole = await this.#readWhole(request, answer);
    throw await this.#refusal(request, withClockError(whole, signedAheadMs), credentials);
  }

  /** Runs `operation` until it succeeds, fails for good, or has failed too often. */
  async retrying<T>(operation: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    for (let attempt = 1;; attempt++) {
      try {
        signal?.throwIfAborted();
        const outcome = await operation();
        this.#isWornOut = false;
        return outcome;
      } catch (error) {
        await this.waitAfter(attempt, error, signal);
      }
    }
  }

  /**
   * Waits before the attempt that follows a failed one: longer each time, at random, but at least as long as the server
   * asks.
   *
   * @throws The error where a further attempt cannot help, or the time is over for which it was to be tried; else the
   * signal's reason.
   */
  async waitAfter(attempt: number, error: unknown, signal: AbortSignal | undefined): Promise<void> {
    if (!isOutOfTime(signal)) signal?.throwIfAborted();
    if (signal?.aborted) throw error;
    const isPassing = isTransient(error);
    if (!isPassing) this.#isWornOut = false;
    if (!isPassing || attempt >= this.#attemptsAfter(error)) {
      this.#isWornOut ||= isPassing;
      throw error;
    }
    try {
      await this.#wait(attempt, error, signal);
    } catch (reason) {
      // That a time limit has ended the wait tells nobody anything; what S3 has said does.
      throw isOutOfTime(signal) ? error : reason;
    }
  }

  /** How often a request is tried in all that has met an error. */
  #attemptsAfter(error: unknown): number {
    const { attempts, attemptsUnanswered } = this.settings;
    const fewer = Math.min(attempts, attemptsUnanswered);
    const { status, code } = error instanceof StoreError ? error.facts : { status: undefined, code: undefined };
    // A clock that is wrong behind S3's own time is no matter of patience.
    if (status === undefined || code === "RequestTimeTooSkewed" || this.#isWornOut) return fewer;
    return attempts;
  }

  async #wait(attempt: number, error: unknown, signal: AbortSignal | undefined): Promise<void> {
    const longestMs = Math.min(this.settings.backoffMs * 2 ** (attempt - 1), MAX_BACKOFF_MS);
    const askedMs = error instanceof StoreError ? error.facts.retryAfterMs ?? 0 : 0;
    const waitMs = askedMs + longestMs * (0.5 + Math.random() / 2);
    this.#notice.tell({ attempt: attempt + 1, waitMs, error: describeError(error) });
    await wait(waitMs, signal);
  }

  /** The request as it is sent. */
  async #sign(
    request: S3Request,
    credentials: Credentials,
    signal: AbortSignal | undefined,
  ): Promise<Omit<SignedRequest, "body">> {
    const region = await this.#findRegion(signal);
    const { body } = request;
    const signed = await new RequestSigner({
      method: request.method,
      url: await this.#urlOf(request, region, signal),
      headers: {
        ...request.headers,
        "x-amz-content-sha256": request.sha256 ??
          (body === undefined ? EMPTY_SHA256 : createHash("sha256").update(body).digest("hex")),
      },
      accessKeyId: credentials.accessKeyId,
      secretAccessKey: credentials.secretAccessKey.reveal(),
      ...(credentials.sessionToken === undefined ? {} : { sessionToken: credentials.sessionToken.reveal() }),
      service: "s3",
      region,
      cache: this.#signingKeys,
      datetime: new Date(Date.now() + this.#clock.signAheadMs).toISOString().replaceAll(/[:-]|\.\d{3}/g, ""),
    }).sign();
    // An object is wanted as it lies there, and with its length: StorageGRID and R2 gzip what they send where they may.
    // Not signed, as fronts change this header (Google's does).
    signed.headers.set("accept-encoding", "identity");
    return signed;
  }

  /** The error for an answer that refuses a request; S3 may quote in it what must not be shown. */
  async #refusal(request: S3Request, answer: S3Answer, credentials?: Credentials): Promise<StoreError> {
    const { secretAccessKey, sessionToken } = credentials ?? await this.#target.credentials();
    const subject = {
      ...subjectOf(request),
      method: request.method,
      right: request.right,
      url: this.url,
      region: await this.#findRegion(undefined),
    };
    const error = refusalError(subject, answer, [secretAccessKey.reveal(), sessionToken?.reveal() ?? ""]);
    if (error.facts.code === "RequestTimeTooSkewed") this.#clock.adopt(answer.headers.get("date"));
    return error;
  }

  /** Sends and receives; the clock is noted, and a failure told in terms of what was asked. */
  async #exchange(
    sent: SignedRequest,
    about: { action: string; key?: string | undefined },
    signal: AbortSignal | undefined,
  ): Promise<S3OpenAnswer> {
    const { href, origin } = sent.url;
    const explain = (cause: unknown, { code, text }: ExchangeFailure) => {
      this.#refuseProxyFailure(cause, about);
      this.#refuseTlsFailure(cause, href, about);
      // Another address may answer the next attempt.
      forgetReachable(this.#service);
      return new StoreError(
        `${describeSubject({ ...about, url: this.url })}: ${text}`,
        { code, key: about.key },
        { cause, hint: `Check network, DNS, proxy and firewall between this machine and ${origin}` },
      );
    };
    const answer = await exchange(sent, { ...this.settings, fetch: this.#target.fetch, signal, explain });
    this.#clock.note(answer.headers.get("date"));
    return answer;
  }

  /** Reads an answer to its end, which nothing but an object's bytes has far away. */
  async #readWhole(request: S3Request, answer: S3OpenAnswer): Promise<S3Answer> {
    const decoder = new TextDecoder();
    let body = "";
    for (let bytes = await answer.read(); bytes !== undefined; bytes = await answer.read()) {
      body += decoder.decode(bytes, { stream: true });
      if (body.length <= MOST_ANSWER_CHARACTERS) continue;
      answer.close();
      throw strangeAnswer(this, subjectOf(request).key ?? "", "what was asked, within 16 MiB", request.action);
    }
    return { status: answer.status, headers: answer.headers, body: body + decoder.decode() };
  }

  async #urlOf(request: S3Request, region: string, signal: AbortSignal | undefined): Promise<string> {
    const base = await this.#findBase(region, subjectOf(request), signal);
    const path = request.key === undefined ? "" : `/${encodeKey(this.fullKey(request.key))}`;
    const query = request.query === undefined ? "" : `?${encodeQuery(request.query)}`;
    return `${base}${path}${query}`;
  }

  /** The bucket's URL: of AWS's two the one that answers. */
  async #findBase(
    region: string,
    about: { action: string; key?: string | undefined },
    signal: AbortSignal | undefined,
  ): Promise<string> {
    const urls = this.#target.bucketUrls ?? bucketUrls({ ...this.#target, region });
    this.#service = `s3 ${region} ${
      urls.map((url) => new URL(url).host.replace(`${this.#target.bucket}.`, "")).join(" ")
    }`;
    try {
      return urls[await orAborted(findReachable(this.#service, urls, { fetch: this.#target.fetch }), signal)]!;
    } catch (cause) {
      signal?.throwIfAborted();
      this.#refuseProxyFailure(cause, about);
      this.#refuseTlsFailure(cause, urls[0]!, about);
      const hosts = urls.map((url) => new URL(url).host).join(" or ");
      throw new StoreError(`${describeSubject({ ...about, url: this.url })}: no answer from ${hosts}`, {
        code: "unreachable",
        key: about.key,
      }, {
        cause,
        hint: "Check network, DNS, proxy and firewall; in a VPC S3 needs a gateway or interface endpoint" +
          (this.#target.region === undefined ? ", and for the latter set region" : ""),
      });
    }
  }

  /** @throws StoreError where a proxy on the way is to blame. */
  #refuseProxyFailure(cause: unknown, about: { action: string; key?: string | undefined }): void {
    const proxy = proxyErrorIn(cause);
    if (proxy === undefined) return;
    const message = `${describeSubject({ ...about, url: this.url })}: ${proxy.message}`;
    const code = proxy.wantsLogin ? "proxy" : "unreachable";
    throw new StoreError(message, { code, key: about.key }, { hint: proxy.hint });
  }

  /** @throws StoreError where there is no TLS connection: trying again cannot help. */
  #refuseTlsFailure(cause: unknown, url: string, about: { action: string; key?: string | undefined }): void {
    const tls = tlsFailure(cause, { url, caFileKey: "ca_file" });
    if (tls === undefined) return;
    const message = `${describeSubject({ ...about, url: this.url })}: ${tls.reason}`;
    throw new StoreError(message, { code: "tls", key: about.key }, { hint: tls.hint });
  }

  /**
   * The bucket's region: the config's, or what S3 says of the bucket to anyone who asks. S3-compatible servers say
   * nothing and mostly take the default.
   */
  async #findRegion(signal: AbortSignal | undefined): Promise<string> {
    if (this.#target.region !== undefined) return this.#target.region;
    // Without the signal: others wait for the same answer.
    this.#region ??= this.#askRegion().catch((error) => {
      this.#region = undefined; // The next request asks again.
      throw error;
    });
    return await orAborted(this.#region, signal);
  }

  async #askRegion(): Promise<string> {
    const about = { action: "find the region of" };
    const url = new URL(await this.#findBase(DEFAULT_REGION, about, undefined));
    // Unsigned, so that no region is wrong: S3 names the bucket's in each answer, a refusal or a redirect included.
    const sent = { url, method: "HEAD", headers: new Headers(), body: null };
    const answer = await this.#exchange(sent, about, undefined);
    answer.close();
    return answer.headers.get("x-amz-bucket-region") ?? DEFAULT_REGION;
  }
}

/** What S3 says of keys that it does not take, or not any more. */
const REFUSES_KEYS = new Set(["ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"]);

/** Whether other keys may help. To HEAD, whose answer has no code, S3 says 400 where the token has expired. */
function refusesKeys(error: unknown, { method }: S3Request): boolean {
  if (!(error instanceof StoreError)) return false;
  return REFUSES_KEYS.has(error.facts.code) || (method === "HEAD" && error.facts.status === 400);
}

/** What an error about a request speaks of. */
function subjectOf(request: S3Request): { action: string; key: string | undefined } {
  return { action: request.action, key: request.key ?? request.folder };
}
