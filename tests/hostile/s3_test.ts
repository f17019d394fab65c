/**
 * What stands at S3's address and answers otherwise than S3: XML, headers, statuses; and the services of AWS beside it.
 */
import { readContainerCredentials } from "../../src/aws/container_credentials.ts";
import { readInstanceCredentials } from "../../src/aws/imds.ts";
import { readPassword } from "../../src/aws/secrets_manager.ts";
import { executionStatus, runningExecutions, startExecution } from "../../src/aws/step_functions.ts";
import { Secret } from "../../src/secret.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import { isCompleted, isErrorBody, parseError, parseListing, parseUploadId } from "../../src/store/s3/xml.ts";
import { readText } from "../../src/streams.ts";
import { PASSWORD, testSurface } from "./cases.ts";
import { type Dice, HOSTILE_TEXTS, type Json } from "./dice.ts";
import { type HostileAnswer, startHostileServer } from "./server.ts";

const LISTING = `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix><KeyCount>2</KeyCount>
<MaxKeys>1000</MaxKeys><Delimiter>/</Delimiter><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<NextContinuationToken>token</NextContinuationToken><Contents><Key>p/a+b</Key><LastModified>2026-11-25T18:00:00.000Z</LastModified>
<ETag>&quot;0&quot;</ETag><Size>12</Size></Contents><CommonPrefixes><Prefix>p/c%2Fd/</Prefix></CommonPrefixes></ListBucketResult>`;
const ERROR = `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce &amp; wait: ${PASSWORD}</Message><Region>eu-west-1</Region></Error>`;
const BEGUN =
  "<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>id</UploadId></InitiateMultipartUploadResult>";
const COMPLETED = "<CompleteMultipartUploadResult><ETag>&quot;x-2&quot;</ETag></CompleteMultipartUploadResult>";

const PIECES: readonly string[] = [
  "&amp;",
  "&lt;",
  "&#0;",
  "&#x110000;",
  "&#xD800;",
  "&unknown;",
  "&lol9;",
  "<![CDATA[",
  "]]>",
  "<!--",
  "-->",
  "<?php ?>",
  "<Contents>",
  "</Contents>",
  "<Key/>",
  "<Key>",
  "<__proto__>x</__proto__>",
  "<constructor><prototype/></constructor>",
  "<Size>-1</Size>",
  "<Size>1e308</Size>",
  "<LastModified>never</LastModified>",
  "<IsTruncated>TRUE</IsTruncated>",
  '<a b="',
  "p/../../x",
  "%zz",
  "%2e%2e",
  "<x>".repeat(2000),
];

/** Ten entities, each ten times the one before: a few lines that stand for gigabytes. */
function billionLaughs(): string {
  const entities = Array.from(
    { length: 10 },
    (_, level) => `<!ENTITY lol${level} "${level === 0 ? "lol" : `&lol${level - 1};`.repeat(10)}">`,
  );
  return `<?xml version="1.0"?><!DOCTYPE x [${entities.join("")}]>`;
}

function hostileXml(dice: Dice): string {
  const code = dice.pick([
    "SlowDown",
    "RequestTimeTooSkewed",
    "NoSuchKey",
    "AccessDenied",
    "NotImplemented",
    "BadDigest",
  ]);
  const usual = dice.pick([LISTING, LISTING, ERROR.replace("SlowDown", code), BEGUN, COMPLETED]);
  const bare = usual.replace(/^<\?xml.*\?>\n/, "");
  switch (dice.below(8)) {
    case 0:
      return billionLaughs() + bare.replace("p/a+b", "&lol9;").replace("Please", "&lol9;");
    case 1:
      return `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>${
        bare.replace("p/a+b", "&e;")
      }`;
    case 2:
      return dice.pick(["\uFEFF", "\0", '<?xml version="1.0" encoding="UTF-16"?>', " ".repeat(100_000)]) + usual;
    case 3:
      return usual.replace(/>([^<]+)</, () => `>${dice.text().slice(0, 5000)}<`);
    default:
      return dice.mutateText(usual, dice.oneIn(3) ? HOSTILE_TEXTS : PIECES);
  }
}

testSurface({
  name: "S3's XML",
  cases: 1500,
  make: hostileXml,
  run: (xml) => {
    const page = parseListing(xml, "p/");
    for (const entry of page?.entries ?? []) {
      if (typeof entry.name !== "string" || entry.name.includes("/")) throw new Error(`It lists ${entry.name}`);
      if (entry.kind === "object" && !(Number.isSafeInteger(entry.sizeBytes) && entry.sizeBytes >= 0)) {
        throw new Error(`It takes the size ${entry.sizeBytes}`);
      }
      if (entry.name.length > 100_000) throw new Error("It multiplies an entity");
    }
    const error = parseError(xml);
    for (const text of [error?.code, error?.message, error?.region, parseUploadId(xml)]) {
      if (text !== undefined && typeof text !== "string") throw new Error("It is no text");
      if ((text ?? "").length > 100_000) throw new Error("It multiplies an entity");
      if (text?.includes("root:")) throw new Error("It reads a file of this machine");
    }
    isCompleted(xml);
    isErrorBody(xml);
  },
});

const HEADERS: Record<string, readonly string[]> = {
  "content-length": ["0", "5", "1e9", "-1", "99999999999999999999"],
  "content-range": ["bytes 0-4/5", "bytes */5", "x", "bytes 3-1/0"],
  "content-encoding": ["gzip", "br", "identity", "x"],
  "etag": ['""', "x", '"0"', 'W/"1"'],
  "date": [
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Sat, 13 Sep 275760 00:00:00 GMT",
    "x",
    "",
  ],
  "last-modified": ["x", "Sat, 13 Sep 275760 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"],
  "x-amz-bucket-region": ["eu-west-1", "../..", "", "x".repeat(3000)],
  "x-amz-checksum-sha256": ["x", "", "0".repeat(44)],
  "x-amz-request-id": ["x"],
  "x-amz-meta-couchdb-backup-writer": ["x"],
  "location": ["http://127.0.0.1:1/", "file:///etc/passwd", "x"],
  "retry-after": ["0", "-1", "x", "0.01"],
};
const STATUSES = [200, 201, 204, 206, 301, 304, 307, 400, 403, 404, 409, 411, 412, 416, 429, 500, 501, 503];

function hostileHeaders(dice: Dice): Record<string, string> {
  return Object.fromEntries(
    Object.entries(HEADERS).flatMap(([name, values]) => dice.oneIn(4) ? [[name, dice.pick(values)]] : []),
  );
}

const server = startHostileServer();
const DONE = new TextEncoder().encode("hello");

const OPERATIONS: Record<string, (store: S3Store) => Promise<unknown>> = {
  list: async (store) => {
    let entries = 0;
    for await (const _entry of store.list("p")) if (++entries > 100_000) throw new Error("It lists for ever");
  },
  read: async (store) => await readText(await store.read("p/a")),
  stat: async (store) => await store.stat("p/a"),
  replace: async (store) => await store.replace("p/a", DONE),
  create: async (store) => await store.create(["p/a", "p/b"], new Blob([DONE]).stream()),
  "create large": async (store) => await store.create(["p/a"], new Blob([new Uint8Array(250_000)]).stream()),
};

testSurface({
  name: "S3's answers",
  cases: 1500,
  make: (dice) => ({
    operation: dice.pick(Object.keys(OPERATIONS)),
    isRegionGiven: !dice.oneIn(6),
    answers: Array.from({ length: 1 + dice.below(4) }, (): HostileAnswer => {
      const headers = hostileHeaders(dice);
      const isText = dice.oneIn(2);
      const body = isText
        ? hostileXml(dice)
        : dice.pick(["", "hello", "<html>", "{}", LISTING, ERROR, BEGUN, COMPLETED]);
      return { status: dice.oneIn(2) ? 200 : dice.pick(STATUSES), headers, body };
    }),
  }),
  run: async ({ operation, isRegionGiven, answers }) => {
    let asked = 0;
    server.answer = ({ method }) => {
      const { status, headers, body } = answers[asked++ % answers.length]!;
      return { status, headers, body: method === "HEAD" ? null : body } as HostileAnswer;
    };
    const store = new S3Store({
      bucket: "s3://bucket/folder",
      endpoint: server.url,
      region: isRegionGiven ? "us-east-1" : undefined,
      accessKeyId: "AKIA",
      secretAccessKey: new Secret(PASSWORD),
    }, { attempts: 3, backoffMs: 1, stallMs: 500, partBytes: 100_000, uploadBytesPerSecond: 1e9 });
    await OPERATIONS[operation]!(store);
    if (asked > 200) throw new Error(`It asks ${asked} times`);
  },
});

const KEYS: Json = {
  AccessKeyId: "AKIA",
  SecretAccessKey: PASSWORD,
  Token: PASSWORD,
  Expiration: "2026-11-25T18:00:00Z",
  Code: "Success",
};

/** Without the headers that make of any answer a broken one: what breaks is asked for again, for seconds. */
function withoutFrame(answer: HostileAnswer): HostileAnswer {
  const { "content-length": _length, "content-encoding": _encoding, ...headers } = answer.headers ?? {};
  return { ...answer, headers };
}

/** No 5xx and 429: these services are asked again with a patience of seconds. */
const FINAL_STATUSES = [200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 410];

testSurface({
  name: "keys of AWS",
  cases: 200,
  make: (dice): HostileAnswer => ({
    status: dice.pick(FINAL_STATUSES),
    headers: hostileHeaders(dice),
    body: dice.oneIn(5) ? dice.pick(["", "<html>", "null", "\0", "role\nother"]) : dice.mutateJsonText(KEYS),
  }),
  run: async (answer) => {
    server.answer = () => withoutFrame(answer);
    const found = [
      await outcome(readInstanceCredentials({ endpoints: [server.url] })),
      await outcome(readContainerCredentials({ url: `${server.url}/keys`, token: new Secret(PASSWORD) })),
    ];
    for (const { value, error } of found) {
      if (error !== undefined) throw error;
      if (value !== undefined) value.expiresAt?.toISOString();
    }
  },
});

async function outcome<T>(promise: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  return await promise.then((value) => ({ value }), (error: unknown) => ({ error }));
}

testSurface({
  name: "services of AWS",
  cases: 500,
  make: (dice): HostileAnswer => {
    const usual: Json[] = [
      { ARN: "arn", SecretString: JSON.stringify({ username: "admin", password: PASSWORD }), VersionStages: ["x"] },
      { status: "RUNNING", executionArn: "arn" },
      { executions: [{ executionArn: "arn", startDate: 1767463200.5 }], nextToken: "token" },
      { __type: "com.amazonaws#AccessDeniedException", Message: `not allowed ${"x".repeat(dice.below(9))}` },
    ];
    return {
      status: dice.pick(FINAL_STATUSES),
      headers: hostileHeaders(dice),
      body: dice.oneIn(8) ? dice.pick(["", "<html>", "null", "\0", '"x"']) : dice.mutateJsonText(dice.pick(usual)),
    };
  },
  run: async (answer) => {
    server.answer = () => withoutFrame(answer);
    const options = {
      endpoints: { secretsmanager: server.url, states: server.url },
      accessKeyId: "AKIA",
      secretAccessKey: new Secret(PASSWORD),
    };
    const machine = "arn:aws:states:us-east-1:123456789012:stateMachine:couchdb-backup";
    const found = [
      await outcome(readPassword("arn:aws:secretsmanager:us-east-1:123456789012:secret:couchdb", options)),
      await outcome(startExecution(machine, { name: "x", input: {} }, options)),
      await outcome(executionStatus(`${machine.replace("stateMachine", "execution")}:x`, options)),
      await outcome(runningExecutions(machine, options)),
    ];
    const status = found[2]!.value;
    if (status !== undefined && typeof status !== "string") throw new Error(`Its status is ${JSON.stringify(status)}`);
    for (const { error } of found) if (error !== undefined) throw error;
  },
});
