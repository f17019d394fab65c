/**
 * A small S3 server that is stricter than most: it verifies signatures, checksums, conditions and the rules of
 * multipart uploads, and misbehaves on request. tests/fakes/s3_test.ts holds it against the AWS SDK.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import {
  addressOf,
  type Answer,
  errorAnswer,
  escape,
  type Fault,
  join,
  type Operation,
  operationOf,
  receive,
  Refusal,
  send,
  xml,
} from "./s3_wire.ts";
import { checkSignature, type SigningKeys, type WireRequest } from "./sigv4.ts";

export type { Fault, Operation };

export interface FakeS3Options extends Partial<SigningKeys> {
  /** @default ["test-bucket", "data.example.com"] */
  buckets?: string[];
  /** The most entries in a page of a listing. @default 1000 */
  maxKeys?: number;
  /** The least size of a part that is not the last. @default 5 MiB */
  minPartBytes?: number;
  /** @default "127.0.0.1" */
  hostname?: "127.0.0.1" | "::1";
  /** How far the server's clock is ahead. @default 0 */
  clockAheadMs?: number;
  /**
   * Takes `If-None-Match` and overwrites all the same: in every request, or where an upload is completed; or looks and
   * then writes, so that of several writers at one moment all win.
   */
  ignoresConditions?: boolean | "uploads" | "races";
  /**
   * Says of a page that is not the last one `NextMarker`, or nothing at all, in place of a token. `marker` is Ceph
   * before 14.2.5, which knows the first version of the request alone; the others go on behind `start-after`.
   */
  nextMarkerOnly?: "start-after" | "marker" | "nothing";
  /**
   * Never says that a page is the last: it gives the first one for ever, with one token or always another, or nothing
   * behind the last key. Or it gives its keys backwards.
   */
  endlessList?: "repeats" | "repeats_with_new_tokens" | "empty" | "backwards";
  /** Gzips what it gives, without a length: where the client accepts that, or always. */
  gzipAnswers?: "accepted" | "always";
  /** Whether objects may be deleted: no step of a backup needs that right. @default false */
  allowsDelete?: boolean;
  /** Answers 501 to `If-None-Match`; or 400 with the same code, as Alibaba's OSS does. */
  refusesConditions?: boolean | 400;
  /** Answers 400 to `x-amz-checksum-…`, as Backblaze B2 did. */
  refusesChecksums?: boolean;
  /** Takes checksums, SHA-256 and MD5, and does not look at them. */
  ignoresChecksums?: boolean;
  /** Takes no checksum in the list of an upload's parts, as OpenStack's Swift does. */
  refusesPartChecksums?: boolean;
  /** Answers 411 to a body, or a request that may have one, without a length. */
  wantsLengths?: boolean;
  /** Locks what it is given, and so wants a checksum or Content-MD5 with each body, as S3 does then. */
  locksObjects?: boolean;
  /** Takes the headers with which an upload in parts asks for a lock, and locks nothing, as Ceph 16 and moto do. */
  forgetsLocksOfUploads?: boolean;
  /** Answers 429 to a write of a key that was written less than so long ago, as R2 and Google's store do. */
  writesKeyEveryMs?: number;
  /** Wants all parts of an upload but the last to have one size, as Cloudflare R2 does. */
  wantsEqualParts?: boolean;
  /** The most parts of an upload, as Scaleway has 1000. @default 10000 */
  maxParts?: number;
  /** Names buckets before this host's name, and refuses them in the path, as Alibaba's OSS does. */
  virtualHost?: string;
  /** Gives no metadata back. */
  dropsMetadata?: boolean;
  /** Gives the whole object where a range is asked for. */
  ignoresRanges?: boolean;
  /** Takes `If-Match` and gives any object. */
  ignoresIfMatch?: boolean;
  /** Says no ETag. */
  lacksEtags?: boolean;
  /** Gives the object that was replaced last but one. */
  isStale?: boolean;
  /** Decodes a path twice, as some proxies do. */
  decodesTwice?: boolean;
  /** Refuses keys that are not ASCII. */
  refusesUnicode?: boolean;
  /** The storage classes that it knows. @default all */
  storageClasses?: string[];
  /** Does not tell the time. */
  lacksDate?: boolean;
  /** Answers 403 to AbortMultipartUpload. */
  refusesAbort?: boolean;
}

export interface FakeObject {
  bytes: Uint8Array;
  etag: string;
  /** Base64; with `-N` behind it for an object of N parts. */
  checksum: string | undefined;
  /** The `x-amz-meta-`, storage class and encryption headers it was stored with. */
  headers: Record<string, string>;
  modified: Date;
}

interface FakeUpload {
  bucket: string;
  key: string;
  wantsChecksums: boolean;
  headers: Record<string, string>;
  parts: Map<number, { bytes: Uint8Array; etag: string; checksum: string | undefined }>;
}

/** A request, and what it is about. */
interface Asked {
  request: WireRequest;
  bucket: string;
  key: string;
  query: URLSearchParams;
  /** Whether there was an object of that key when the request came. */
  isTaken: boolean;
}

/** One request as it came, for assertions. */
export interface RecordedRequest {
  operation: Operation;
  rawPath: string;
  rawQuery: string;
  headers: Record<string, string>;
  status: number | undefined;
}

const KEPT_HEADERS = /^(content-encoding|x-amz-(meta-.*|storage-class|object-lock-.*|server-side-encryption.*))$/;

/** The server. Its keys are `access` and `secret` unless told otherwise. */
export class FakeS3 {
  readonly keys: SigningKeys;
  /** By bucket and key. */
  readonly objects: Map<string, FakeObject> = new Map<string, FakeObject>();
  readonly uploads: Map<string, FakeUpload> = new Map<string, FakeUpload>();
  readonly requests: RecordedRequest[] = [];
  /** When a key was written last. */
  readonly #written: Map<string, number> = new Map<string, number>();
  /** What was replaced. */
  readonly #stale: Map<string, FakeObject> = new Map<string, FakeObject>();
  /** How far the server's clock is ahead. */
  clockAheadMs = 0;
  readonly #options: FakeS3Options;
  readonly #buckets: Set<string>;
  readonly #faults: { operation: Operation; fault: Fault; times: number }[] = [];
  readonly #server: Server;
  #url = "";
  #lastId = 0;

  private constructor(options: FakeS3Options) {
    this.#options = options;
    this.clockAheadMs = options.clockAheadMs ?? 0;
    this.keys = {
      accessKeyId: options.accessKeyId ?? "access",
      secretAccessKey: options.secretAccessKey ?? "secret/+=hunter2",
      sessionToken: options.sessionToken,
      region: options.region ?? "us-east-1",
    };
    this.#buckets = new Set(options.buckets ?? ["test-bucket", "data.example.com"]);
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  /** Starts a server on a free port. */
  static async start(options: FakeS3Options = {}): Promise<FakeS3> {
    const fake = new FakeS3(options);
    const hostname = options.hostname ?? "127.0.0.1";
    await new Promise<void>((resolve) => fake.#server.listen(0, hostname, resolve));
    const { port } = fake.#server.address() as { port: number };
    fake.#url = `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    return fake;
  }

  /** `http://127.0.0.1:port` */
  get url(): string {
    return this.#url;
  }

  /** Makes the next requests for an operation go wrong. */
  inject(operation: Operation, fault: Fault, times = 1): void {
    this.#faults.push({ operation, fault, times });
  }

  /** How often an operation was asked for. */
  count(operation: Operation): number {
    return this.requests.filter((request) => request.operation === operation).length;
  }

  object(bucket: string, key: string): FakeObject | undefined {
    return this.objects.get(`${bucket}/${key}`);
  }

  /** Everything that takes up space: objects, and unfinished uploads with their parts. */
  leftovers(): string[] {
    return [
      ...this.objects.keys(),
      ...[...this.uploads.values()].map(({ bucket, key, parts }) => `upload of ${bucket}/${key}, ${parts.size} parts`),
    ];
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const request = await receive(incoming).catch(() => undefined);
    if (request === undefined) return; // The client is gone.
    const { virtualHost, decodesTwice, lacksDate } = this.#options;
    const { bucket, key, query } = addressOf(request, { virtualHost, decodesTwice });
    const operation = operationOf(request.method, key, query);
    const record: RecordedRequest = {
      operation,
      rawPath: request.rawPath,
      rawQuery: request.rawQuery,
      headers: request.headers,
      status: undefined,
    };
    this.requests.push(record);
    const fault = this.#takeFault(operation);
    if (fault?.kind === "stall") return;
    const isTaken = this.objects.has(`${bucket}/${key}`);
    if (this.#options.ignoresConditions === "races" && "if-none-match" in request.headers) {
      await new Promise((resolve) => setTimeout(resolve, 50)); // Meanwhile others look, too.
    }
    let answer: Answer;
    try {
      if (fault?.kind === "refuse") throw new Refusal(fault.status, fault.code, fault.message);
      answer = this.#execute(operation, { request, bucket, key, query, isTaken });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      answer = errorAnswer(error, request.method === "HEAD");
      if (this.#buckets.has(bucket)) answer.headers = { ...answer.headers, "x-amz-bucket-region": this.keys.region };
      if (fault?.kind === "refuse") answer.headers = { ...answer.headers, ...fault.headers };
    }
    if (fault?.kind === "lose_answer") {
      incoming.socket.destroy();
      return;
    }
    record.status = answer.status;
    if (this.#options.lacksEtags) delete answer.headers?.["etag"];
    if (lacksDate) outgoing.sendDate = false;
    const date = lacksDate ? {} : { date: this.#now().toUTCString() };
    await send(outgoing, { ...answer, headers: { ...date, ...answer.headers } }, fault);
  }

  #now(): Date {
    return new Date(Date.now() + this.clockAheadMs);
  }

  #takeFault(operation: Operation): Fault | undefined {
    const found = this.#faults.find((entry) => entry.operation === operation && entry.times > 0);
    if (found === undefined) return undefined;
    found.times--;
    return found.fault;
  }

  #execute(operation: Operation, asked: Asked): Answer {
    this.#refuseAny(asked);
    switch (operation) {
      case "HeadBucket":
        return { status: 200, headers: { "x-amz-bucket-region": this.keys.region } };
      case "ListObjectsV2":
        return this.#list(asked.bucket, asked.query);
      case "PutObject":
        return this.#put(asked);
      case "PutObjectRetention":
        return this.#retain(asked);
      case "GetObject":
        return this.#gzipped(asked.request.headers, this.#get(asked, { isHead: false }));
      case "HeadObject":
        return this.#get(asked, { isHead: true });
      case "DeleteObject":
        if (this.#options.allowsDelete !== true) {
          throw new Refusal(403, "AccessDenied", "No step of a backup needs the right to delete");
        }
        this.objects.delete(pathOf(asked));
        return { status: 204 };
      case "CreateMultipartUpload":
        return this.#beginUpload(asked);
      case "UploadPart":
        return this.#putPart(asked);
      case "CompleteMultipartUpload":
        return this.#completeUpload(asked);
      case "AbortMultipartUpload":
        if (this.#options.refusesAbort) throw new Refusal(403, "AccessDenied");
        this.#upload(asked);
        this.uploads.delete(asked.query.get("uploadId")!);
        return { status: 204 };
    }
  }

  /** @throws Refusal for what is refused whatever is asked for. */
  #refuseAny({ request, bucket, key }: Asked): void {
    const { headers } = request;
    const mayHaveBody = request.method === "PUT" || request.method === "POST";
    if (this.#options.wantsLengths && mayHaveBody && !("content-length" in headers)) {
      throw new Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
    }
    if ("transfer-encoding" in headers) {
      throw new Refusal(501, "NotImplemented", "Transfer-Encoding is not implemented");
    }
    const problem = checkSignature(request, this.keys, this.#now());
    if (problem !== undefined) {
      throw new Refusal(
        problem.status,
        problem.code,
        problem.message,
        `<AWSAccessKeyId>${headers["authorization"]}</AWSAccessKeyId>`,
      );
    }
    const checksum = Object.keys(headers).find((name) => name.startsWith("x-amz-checksum-"));
    if (this.#options.refusesChecksums && checksum !== undefined) {
      throw new Refusal(400, "InvalidArgument", `Unsupported header '${checksum}' received for this API call.`);
    }
    if (this.#options.virtualHost !== undefined && bucket === "") {
      throw new Refusal(403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access.");
    }
    if (!this.#buckets.has(bucket)) throw new Refusal(404, "NoSuchBucket", "The specified bucket does not exist");
    if (this.#options.refusesUnicode && /[^\x20-\x7e]/.test(key)) throw new Refusal(400, "InvalidObjectName");
    const storageClass = headers["x-amz-storage-class"];
    if (storageClass !== undefined && this.#options.storageClasses?.includes(storageClass) === false) {
      throw new Refusal(400, "InvalidStorageClass", "The storage class you specified is not valid");
    }
  }

  #put(asked: Asked): Answer {
    const { headers, body } = asked.request;
    const path = pathOf(asked);
    const { writesKeyEveryMs = 0, ignoresChecksums, ignoresConditions, locksObjects = false } = this.#options;
    const pauseMs = Date.now() - (this.#written.get(path) ?? 0);
    if (pauseMs < writesKeyEveryMs) throw new Refusal(429, "TooManyRequests", "Reduce your rate for this object.");
    this.#written.set(path, Date.now());
    const checksum = ignoresChecksums ? undefined : checkChecksum(headers, body);
    this.#checkFree(asked, { isIgnored: ignoresConditions === true });
    const asksForLock = headers["x-amz-object-lock-mode"] !== undefined;
    // S3's own server takes any checksum; what its documentation says is what moto holds on to.
    if (asksForLock && !headers["content-md5"] && headers["x-amz-sdk-checksum-algorithm"] !== "SHA256") {
      throw new Refusal(400, "InvalidRequest", "Content-MD5 or x-amz-sdk-checksum-algorithm header is required");
    }
    if ((asksForLock || locksObjects) && checksum === undefined && !headers["content-md5"]) {
      throw new Refusal(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required");
    }
    const etag = `"${md5(body)}"`;
    this.#keep(path, { bytes: body, etag, checksum, headers: this.#kept(headers), modified: this.#now() });
    return { status: 200, headers: { etag, ...(checksum && { "x-amz-checksum-sha256": checksum }) } };
  }

  #retain(asked: Asked): Answer {
    const { headers, body } = asked.request;
    const object = this.objects.get(pathOf(asked));
    if (object === undefined) throw new Refusal(404, "NoSuchKey");
    if (headers["content-md5"] !== md5(body, "base64")) throw new Refusal(400, "BadDigest");
    const [, mode, until] = /<Mode>(.*)<\/Mode><RetainUntilDate>(.*)<\/RetainUntilDate>/.exec(
      new TextDecoder().decode(body),
    ) ?? [];
    if (mode === undefined || until === undefined) throw new Refusal(400, "MalformedXML");
    const before = object.headers["x-amz-object-lock-retain-until-date"] ?? until;
    if (Date.parse(until) < Date.parse(before)) throw new Refusal(403, "AccessDenied", "A lock is never shortened");
    object.headers["x-amz-object-lock-mode"] = mode;
    object.headers["x-amz-object-lock-retain-until-date"] = until;
    return { status: 200 };
  }

  #get(asked: Asked, { isHead }: { isHead: boolean }): Answer {
    const { isStale, ignoresRanges, ignoresIfMatch } = this.#options;
    const headers = { ...asked.request.headers };
    if (ignoresRanges) delete headers["range"];
    if (ignoresIfMatch) delete headers["if-match"];
    return readAnswer((isStale ? this.#stale : this.objects).get(pathOf(asked)), headers, isHead);
  }

  #beginUpload({ request: { headers }, bucket, key }: Asked): Answer {
    const uploadId = `upload+/=${++this.#lastId}`;
    const { ignoresChecksums = false, forgetsLocksOfUploads = false } = this.#options;
    const kept = Object.entries(this.#kept(headers)).filter(([name]) =>
      !forgetsLocksOfUploads || !name.startsWith("x-amz-object-lock-")
    );
    const wantsChecksums = headers["x-amz-checksum-algorithm"] === "SHA256" && !ignoresChecksums;
    this.uploads.set(uploadId, { bucket, key, wantsChecksums, headers: Object.fromEntries(kept), parts: new Map() });
    return xml(
      `<InitiateMultipartUploadResult><Bucket>${bucket}</Bucket><Key>${escape(key)}</Key>` +
        `<UploadId>${uploadId}</UploadId></InitiateMultipartUploadResult>`,
    );
  }

  #putPart(asked: Asked): Answer {
    const { headers, body } = asked.request;
    const upload = this.#upload(asked);
    const number = Number(asked.query.get("partNumber"));
    const { maxParts = 10_000, ignoresChecksums } = this.#options;
    if (!(Number.isInteger(number) && number >= 1 && number <= maxParts)) throw new Refusal(400, "InvalidArgument");
    const checksum = ignoresChecksums ? undefined : checkChecksum(headers, body);
    if (upload.wantsChecksums && checksum === undefined) {
      throw new Refusal(400, "InvalidRequest", "Checksum Type mismatch occurred, expected sha256, actual null");
    }
    const etag = `"${md5(body)}"`;
    upload.parts.set(number, { bytes: body, etag, checksum });
    return { status: 200, headers: { etag, ...(checksum && { "x-amz-checksum-sha256": checksum }) } };
  }

  #completeUpload(asked: Asked): Answer {
    const { bucket, key, query, request: { body } } = asked;
    const upload = this.#upload(asked);
    const { ignoresConditions = false, minPartBytes = 5 * 1024 * 1024, wantsEqualParts } = this.#options;
    this.#checkFree(asked, { isIgnored: ignoresConditions === true || ignoresConditions === "uploads" });
    const list = new TextDecoder().decode(body);
    if (this.#options.refusesPartChecksums && list.includes("<Checksum")) throw new Refusal(400, "MalformedXML");
    const object = assemble(upload, list, { minPartBytes, wantsEqualParts });
    this.#keep(pathOf(asked), { ...object, headers: upload.headers, modified: this.#now() });
    this.uploads.delete(query.get("uploadId")!);
    return xml(
      `<CompleteMultipartUploadResult><Bucket>${bucket}</Bucket><Key>${escape(key)}</Key>` +
        `<ETag>${escape(object.etag)}</ETag></CompleteMultipartUploadResult>`,
    );
  }

  #keep(path: string, object: FakeObject): void {
    this.#stale.set(path, this.objects.get(path) ?? object);
    this.objects.set(path, object);
  }

  /** What a front makes of an answer: it gzips whole objects. */
  #gzipped(headers: Record<string, string>, answer: Answer): Answer {
    const { gzipAnswers } = this.#options;
    const isAccepted = gzipAnswers === "always" ||
      (gzipAnswers === "accepted" && headers["accept-encoding"]?.includes("gzip"));
    if (!isAccepted || answer.status !== 200 || typeof answer.body === "string" || answer.body === undefined) {
      return answer;
    }
    const encoded = { ...answer.headers, "content-encoding": "gzip" };
    return { status: answer.status, headers: encoded, body: gzipSync(answer.body), isUnmeasured: true };
  }

  #kept(headers: Record<string, string>): Record<string, string> {
    return this.#options.dropsMetadata ? {} : kept(headers);
  }

  #checkFree(asked: Asked, { isIgnored }: { isIgnored: boolean }): void {
    const condition = asked.request.headers["if-none-match"];
    if (condition === undefined || isIgnored) return;
    if (this.#options.ignoresConditions === "races" && !asked.isTaken) return;
    const { refusesConditions } = this.#options;
    if (refusesConditions) {
      const status = refusesConditions === 400 ? 400 : 501;
      throw new Refusal(
        status,
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
      );
    }
    if (condition !== "*") throw new Refusal(501, "NotImplemented", "If-None-Match takes * only");
    if (this.objects.has(pathOf(asked))) {
      throw new Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
    }
  }

  #upload({ query, bucket, key }: Asked): FakeUpload {
    const upload = this.uploads.get(query.get("uploadId") ?? "");
    if (upload === undefined || upload.bucket !== bucket || upload.key !== key) {
      throw new Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist");
    }
    return upload;
  }

  #list(bucket: string, query: URLSearchParams): Answer {
    if (query.get("list-type") !== "2") throw new Refusal(501, "NotImplemented", "Only ListObjectsV2 is");
    const prefix = query.get("prefix") ?? "";
    const delimiter = query.get("delimiter") ?? "";
    const isUrl = query.get("encoding-type") === "url";
    const shown = (text: string) =>
      isUrl ? encodeURIComponent(text).replaceAll("%20", "+").replaceAll("%2F", "/") : escape(text);
    const { nextMarkerOnly, endlessList } = this.#options;
    const token = query.get("continuation-token");
    const repeats = endlessList === "repeats" || endlessList === "repeats_with_new_tokens";
    const marker = nextMarkerOnly === "marker" ? query.get("marker") : null;
    const after = repeats
      ? undefined
      : token === null
      ? marker
      : new TextDecoder().decode(Uint8Array.fromBase64(token));
    // A folder's name is no key: what lies in that folder comes behind it.
    const startAfter = repeats || nextMarkerOnly === "marker" ? null : query.get("start-after");
    const direction = endlessList === "backwards" ? -1 : 1;
    const isBehind = (text: string, start: string | null | undefined) =>
      typeof start !== "string" || compareBytes(text, start) * direction > 0;
    const limit = Math.min(Number(query.get("max-keys") ?? 1000), this.#options.maxKeys ?? 1000);
    const keys = [...this.objects.keys()].filter((path) => path.startsWith(`${bucket}/${prefix}`))
      .map((path) => path.slice(bucket.length + 1)).sort((a, b) => compareBytes(a, b) * direction);
    const entries: string[] = [];
    let last = "";
    let isTruncated = false;
    for (const key of keys) {
      const cut = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
      const entry = cut === -1 ? key : key.slice(0, cut + delimiter.length);
      if (entry === last || !isBehind(entry, after) || !isBehind(key, startAfter)) continue;
      if (entries.length === limit) {
        isTruncated = true;
        break;
      }
      last = entry;
      const object = this.objects.get(`${bucket}/${key}`)!;
      entries.push(
        cut === -1
          ? `<Contents><Key>${shown(key)}</Key><LastModified>${object.modified.toISOString()}</LastModified>` +
            `<ETag>${escape(object.etag)}</ETag><Size>${object.bytes.length}</Size></Contents>`
          : `<CommonPrefixes><Prefix>${shown(entry)}</Prefix></CommonPrefixes>`,
      );
    }
    if (endlessList !== undefined && endlessList !== "backwards") isTruncated = true;
    const tokenText = endlessList === "repeats_with_new_tokens" ? `${last}${this.requests.length}` : last || `${after}`;
    const next = !isTruncated || nextMarkerOnly === "nothing"
      ? ""
      : nextMarkerOnly === undefined
      ? `<NextContinuationToken>${new TextEncoder().encode(tokenText).toBase64()}</NextContinuationToken>`
      : `<NextMarker>${shown(last)}</NextMarker>`;
    return xml(
      `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${bucket}</Name>` +
        `<Prefix>${shown(prefix)}</Prefix><KeyCount>${entries.length}</KeyCount><MaxKeys>${limit}</MaxKeys>` +
        (isUrl ? "<EncodingType>url</EncodingType>" : "") +
        `<IsTruncated>${isTruncated}</IsTruncated>${next}${entries.join("")}</ListBucketResult>`,
    );
  }
}

/** The body's SHA-256 where the request names it. */
function checkChecksum(headers: Record<string, string>, body: Uint8Array): string | undefined {
  const contentMd5 = headers["content-md5"];
  if (contentMd5 !== undefined && contentMd5 !== createHash("md5").update(body).digest("base64")) {
    throw new Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
  }
  const given = headers["x-amz-checksum-sha256"];
  if (given === undefined) return undefined;
  if (given !== sha256(body).toBase64()) {
    throw new Refusal(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum");
  }
  return given;
}

function assemble(
  upload: FakeUpload,
  body: string,
  { minPartBytes, wantsEqualParts = false }: { minPartBytes: number; wantsEqualParts?: boolean | undefined },
): Pick<FakeObject, "bytes" | "etag" | "checksum"> {
  const named = [...body.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([, part = ""]) => ({
    number: Number(/<PartNumber>(\d+)<\/PartNumber>/.exec(part)?.[1]),
    etag: (/<ETag>(.*?)<\/ETag>/.exec(part)?.[1] ?? "").replaceAll("&quot;", '"'),
    checksum: /<ChecksumSHA256>(.*?)<\/ChecksumSHA256>/.exec(part)?.[1],
  }));
  if (named.length === 0) throw new Refusal(400, "MalformedXML");
  if (named.some((name, index) => index > 0 && name.number <= named[index - 1]!.number)) {
    throw new Refusal(400, "InvalidPartOrder");
  }
  const parts = named.map((name, index) => {
    const part = upload.parts.get(name.number);
    const isSame = part !== undefined && name.etag.replaceAll('"', "") === part.etag.replaceAll('"', "") &&
      (!upload.wantsChecksums || name.checksum === part.checksum);
    if (!isSame) throw new Refusal(400, "InvalidPart", "One or more of the specified parts could not be found");
    if (part.bytes.length < minPartBytes && index < named.length - 1) throw new Refusal(400, "EntityTooSmall");
    return part;
  });
  const sizes = new Set(parts.slice(0, -1).map(({ bytes }) => bytes.length));
  if (wantsEqualParts && sizes.size > 1) {
    throw new Refusal(400, "InvalidPart", "All non-trailing parts must have the same length.");
  }
  const hashes = join(parts.map((part) => createHash("md5").update(part.bytes).digest()));
  const checksums = join(parts.map((part) => sha256(part.bytes)));
  return {
    bytes: join(parts.map((part) => part.bytes)),
    etag: `"${md5(hashes)}-${parts.length}"`,
    checksum: upload.wantsChecksums ? `${sha256(checksums).toBase64()}-${parts.length}` : undefined,
  };
}

function readAnswer(object: FakeObject | undefined, headers: Record<string, string>, isHead: boolean): Answer {
  if (object === undefined) throw new Refusal(404, "NoSuchKey", "The specified key does not exist.");
  const condition = headers["if-match"];
  if (condition !== undefined && condition !== object.etag) throw new Refusal(412, "PreconditionFailed");
  const common = {
    ...object.headers,
    etag: object.etag,
    "last-modified": object.modified.toUTCString(),
    "accept-ranges": "bytes",
  };
  const size = object.bytes.length;
  const range = /^bytes=(\d+)-(\d*)$/.exec(headers["range"] ?? "");
  if (range === null) return { status: 200, headers: common, body: object.bytes, length: size };
  const start = Number(range[1]);
  const end = Math.min(range[2] === "" ? size : Number(range[2]) + 1, size);
  if (start >= size) throw new Refusal(416, "InvalidRange");
  return {
    status: 206,
    headers: { ...common, "content-range": `bytes ${start}-${end - 1}/${size}` },
    body: isHead ? "" : object.bytes.subarray(start, end),
    length: end - start,
  };
}

const md5 = (bytes: Uint8Array, encoding: "hex" | "base64" = "hex") => createHash("md5").update(bytes).digest(encoding);

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());

const kept = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => KEPT_HEADERS.test(name)));

function pathOf({ bucket, key }: Asked): string {
  return `${bucket}/${key}`;
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
