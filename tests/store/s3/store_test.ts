import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { gzipSync } from "node:zlib";
import { AwsError, describeError, isNotFound, StoreError } from "../../../src/errors.ts";
import { Secret } from "../../../src/secret.ts";
import { openStore } from "../../../src/store/open.ts";
import { S3Store } from "../../../src/store/s3/store.ts";
import type { S3Settings } from "../../../src/store/s3/request.ts";
import type { StoreOptions } from "../../../src/store/store.ts";
import { withTurnsForTime } from "../../fake_timers.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { FakeS3, type FakeS3Options, type Operation } from "../../fakes/s3.ts";
import { bytesOf, listAll, patternBytes, pieces, readAll, type StoreUnderTest, testStore } from "../store_contract.ts";

/** Small parts and short waits, so that a test takes no time. */
const QUICK: Partial<S3Settings> = {
  attempts: 4,
  backoffMs: 1,
  stallMs: 200,
  uploadBytesPerSecond: 1_000_000,
  partBytes: 100_000,
};
const LARGE_BYTES = 350_000;

function optionsFor(fake: FakeS3, bucket: string): StoreOptions {
  const { accessKeyId, secretAccessKey, sessionToken, region } = fake.keys;
  return {
    bucket,
    region,
    endpoint: fake.url,
    accessKeyId,
    secretAccessKey: new Secret(secretAccessKey),
    sessionToken: sessionToken === undefined ? undefined : new Secret(sessionToken),
  };
}

async function openS3(options: FakeS3Options = {}, bucket = "s3://test-bucket/some folder/x"): Promise<StoreUnderTest> {
  const fake = await FakeS3.start({ minPartBytes: 100_000, maxKeys: 3, ...options });
  return {
    store: new S3Store(optionsFor(fake, bucket), QUICK),
    leftovers: () => Promise.resolve(fake.leftovers()),
    largeBytes: LARGE_BYTES,
    close: () => fake.close(),
  };
}

testStore("S3Store", () => openS3());
testStore(
  "S3Store on a dotted bucket over IPv6 with a session token",
  () => openS3({ hostname: "::1", sessionToken: "session/+=token", region: "eu-west-1" }, "s3://data.example.com"),
);

testStore(
  "S3Store on a server without checksums and tokens, behind a front that gzips,",
  () => openS3({ refusesChecksums: true, nextMarkerOnly: "start-after", gzipAnswers: "always" }),
);

/** Runs `body` with a server and a store on it. */
function testFake(
  sentence: string,
  body: (given: { fake: FakeS3; store: S3Store; options: StoreOptions }) => Promise<void>,
  server: FakeS3Options = {},
): void {
  Deno.test(sentence, () =>
    withTurnsForTime(async () => {
      const fake = await FakeS3.start({ minPartBytes: 100_000, ...server });
      try {
        const options = optionsFor(fake, "s3://test-bucket/f");
        await body({ fake, options, store: new S3Store(options, QUICK) });
      } finally {
        await fake.close();
      }
    }));
}

const largeBody = () => pieces(patternBytes(LARGE_BYTES));
const counts = (fake: FakeS3, ...operations: Operation[]) => operations.map((operation) => fake.count(operation));

testFake("S3Store says at the first repetition that it asks again", async ({ fake, options }) => {
  const log = new RecordedLog();
  for (let time = 0; time < 2; time++) fake.inject("PutObject", { kind: "refuse", status: 503, code: "SlowDown" });
  await new S3Store(options, QUICK, { log }).create(["a"], pieces(bytesOf("x")));
  assertEquals(log.events("warn"), ["store does not answer as it should: retrying"]);
});

testFake("S3Store encodes a key once: account%2Fab is sent as account%252Fab", async ({ fake, store }) => {
  await store.create(["account%2Fab/!'()*~ +"], pieces(bytesOf("x")));
  assertEquals(fake.requests.map((request) => request.rawPath), [
    "/test-bucket/f/account%252Fab/%21%27%28%29%2A~%20%2B",
  ]);
  assertEquals([...fake.objects.keys()], ["test-bucket/f/account%2Fab/!'()*~ +"]);
});

testFake("S3Store sends every body as one piece with its checksum", async ({ fake, store }) => {
  await store.create(["small"], pieces(bytesOf("x")));
  await store.create(["large"], largeBody());
  await store.replace("replaced", bytesOf("y"));
  const bodies = fake.requests.filter(({ operation }) => operation === "PutObject" || operation === "UploadPart");
  assertEquals(bodies.length, 6);
  for (const { headers } of bodies) {
    assertEquals(headers["transfer-encoding"], undefined);
    assertEquals(
      Uint8Array.fromBase64(headers["x-amz-checksum-sha256"] ?? "").toHex(),
      headers["x-amz-content-sha256"],
    );
  }
});

testFake("S3Store create() sends what fits into a part in one request, and no byte more", async ({ fake, store }) => {
  for (const size of [0, 1, 99_999, 100_000]) await store.create([`one/${size}`], pieces(patternBytes(size)));
  assertEquals(counts(fake, "PutObject", "CreateMultipartUpload"), [4, 0]);
  for (const size of [100_001, 200_000, 200_001]) await store.create([`many/${size}`], pieces(patternBytes(size)));
  assertEquals(counts(fake, "PutObject", "CreateMultipartUpload", "UploadPart"), [4, 3, 2 + 2 + 3]);
});

testFake("S3Store create() sends equal parts to a store that wants them, where part_size is set", async (given) => {
  const { fake, options } = given;
  // Parts grow after each two of twenty.
  const body = () => pieces(patternBytes(550_000));
  const settings = { ...QUICK, maxParts: 20 };
  const error = await assertRejects(() => new S3Store(options, settings).create(["grown"], body()), StoreError);
  assertEquals(error.facts.code, "InvalidPart");
  const store = new S3Store({ ...options, partBytes: 100_000, maxParts: 20 }, { ...QUICK, partBytes: 100_000 });
  await store.create(["equal"], body());
  assertEquals(await readAll(store, "equal"), patternBytes(550_000));
  assertEquals(fake.leftovers(), ["test-bucket/f/equal"]);
}, { wantsEqualParts: true });

testFake("S3Store create() makes do with the parts that a store takes, where max_parts is set", async (given) => {
  const { fake, options } = given;
  const body = () => pieces(patternBytes(1_500_000), 100_000);
  const error = await assertRejects(() => new S3Store(options, QUICK).create(["many"], body()), StoreError);
  assertEquals([error.facts.code, error.facts.status], ["InvalidArgument", 400]);
  const store = new S3Store({ ...options, maxParts: 10 }, QUICK);
  await store.create(["few"], body());
  assertEquals(await readAll(store, "few"), patternBytes(1_500_000));
  assertEquals(fake.leftovers(), ["test-bucket/f/few"]);
}, { maxParts: 10 });

testFake(
  "S3Store create() aborts what is larger than equal parts can hold, with the option to raise",
  async (given) => {
    const { fake, options } = given;
    const store = new S3Store({ ...options, partBytes: 100_000, maxParts: 3 }, QUICK);
    const error = await assertRejects(() => store.create(["large"], largeBody()), StoreError);
    assertEquals([error.facts.code, error.exitCode], ["too_large", 11]);
    assertEquals(fake.leftovers(), []);
  },
  { maxParts: 3 },
);

testFake("S3Store gives every body and every request that may have one a length", async ({ fake, store }) => {
  for (const size of [0, 1, LARGE_BYTES]) await store.create([`${size}`], pieces(patternBytes(size)));
  await store.replace("empty", new Uint8Array(0));
  const mayHaveBody = new Set(["PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"]);
  const asked = fake.requests.filter(({ operation }) => mayHaveBody.has(operation));
  assertEquals(asked.length, 3 + 1 + 4 + 1);
  for (const { headers, operation } of asked) assert(headers["content-length"] !== undefined, operation);
}, { wantsLengths: true });

testFake("S3Store encrypts everything as the config says", async ({ fake, options }) => {
  const store = new S3Store({ ...options, kmsKeyId: "arn:aws:kms:x" }, QUICK);
  await store.create(["small"], pieces(bytesOf("x")));
  await store.create(["large"], largeBody());
  await store.replace("replaced", bytesOf("y"));
  for (const object of fake.objects.values()) {
    assertEquals(object.headers["x-amz-server-side-encryption"], "aws:kms");
    assertEquals(object.headers["x-amz-server-side-encryption-aws-kms-key-id"], "arn:aws:kms:x");
  }
  await new S3Store({ ...options, sse: "AES256" }, QUICK).create(["aes"], pieces(bytesOf("x")));
  assertEquals(fake.object("test-bucket", "f/aes")?.headers["x-amz-server-side-encryption"], "AES256");
});

testFake("S3Store gives chunks the storage class, and nothing else", async ({ fake, options }) => {
  const store = new S3Store({ ...options, storageClass: "DEEP_ARCHIVE" }, QUICK);
  await store.create(["chunk/small"], pieces(bytesOf("x")), { kind: "chunk" });
  await store.create(["chunk/large"], largeBody(), { kind: "chunk" });
  await store.create(["claim/small"], pieces(bytesOf("x")));
  await store.create(["claim/large"], largeBody());
  await store.replace("claim/replaced", bytesOf("y"));
  await store.tryConditions("claim/tried");
  assertEquals(
    [...fake.objects].map(([path, { headers }]) => [path.split("/")[2], headers["x-amz-storage-class"]]),
    [...Array(2).fill(["chunk", "DEEP_ARCHIVE"]), ...Array(4).fill(["claim", undefined])],
  );
});

testFake("names the right to lock where a lock is refused", async ({ fake, options }) => {
  const store = new S3Store({ ...options, objectLock: { mode: "COMPLIANCE", days: 30 } }, QUICK);
  for (const [operation, bytes] of [["PutObject", 1], ["CreateMultipartUpload", LARGE_BYTES]] as const) {
    fake.inject(operation, { kind: "refuse", status: 403, code: "AccessDenied" });
    const create = () => store.create([`chunk${bytes}`], pieces(patternBytes(bytes)), { kind: "chunk" });
    const error = await assertRejects(create, StoreError);
    assertStringIncludes(error.hint!, "Allow s3:PutObject and s3:PutObjectRetention on s3://");
  }
});

testFake(
  "locks what is stored in parts where the server forgets that its upload asked for it",
  async ({ fake, options }) => {
    const store = new S3Store({ ...options, objectLock: { mode: "GOVERNANCE", days: 30 } }, QUICK);
    await store.create(["large"], pieces(patternBytes(LARGE_BYTES)), { kind: "chunk" });
    assertMatch((await store.stat("large"))?.hold ?? "", /^locked until /);
    fake.inject("PutObjectRetention", { kind: "refuse", status: 403, code: "AccessDenied" });
    const create = () => store.create(["other"], pieces(patternBytes(LARGE_BYTES)), { kind: "chunk" });
    const error = await assertRejects(create, StoreError);
    assertStringIncludes(error.message, 'Cannot lock "other" in "s3://test-bucket/f"');
    assertStringIncludes(error.hint!, "Allow s3:PutObjectRetention on s3://");
  },
  { forgetsLocksOfUploads: true },
);

testFake("says to turn on Object Lock where a server has nothing but the code to say", async ({ fake, options }) => {
  const store = new S3Store({ ...options, objectLock: { mode: "GOVERNANCE", days: 30 } }, QUICK);
  fake.inject("PutObject", { kind: "refuse", status: 400, code: "InvalidRequest", message: "" }, 9);
  const error = await assertRejects(() => store.create(["x"], pieces(bytesOf("x")), { kind: "chunk" }), StoreError);
  assertStringIncludes(error.hint!, "Turn on Object Lock for the bucket");
});

testFake("locks chunks and manifests, and nothing that is replaced later", async ({ fake, options }) => {
  const store = new S3Store({ ...options, objectLock: { mode: "COMPLIANCE", days: 30 } }, QUICK);
  const before = Date.now();
  await store.create(["chunk"], pieces(bytesOf("x")), { kind: "chunk" });
  await store.create(["large"], pieces(patternBytes(LARGE_BYTES)), { kind: "chunk" });
  await store.create(["manifest"], pieces(bytesOf("x")), { kind: "manifest" });
  await store.create(["claim"], pieces(bytesOf("x")));
  await store.replace("manifest.json", bytesOf("x"));
  const locks = [...fake.objects].map(([path, { headers }]) =>
    [
      path.split("/").at(-1)!,
      headers["x-amz-object-lock-mode"],
      headers["x-amz-object-lock-retain-until-date"],
    ] as const
  );
  assertEquals(
    new Map(locks.map(([name, mode]) => [name, mode])),
    new Map([
      ["chunk", "COMPLIANCE"],
      ["large", "COMPLIANCE"],
      ["manifest", "COMPLIANCE"],
      ["claim", undefined],
      ["manifest.json", undefined],
    ]),
  );
  for (const [, mode, until] of locks) {
    if (mode === undefined) continue;
    // S3 tells its clock in whole seconds.
    const days = (Date.parse(until!) - before) / 86_400_000;
    assert(days > 29.9999 && days < 30.001, `${days}`);
  }
});

testFake("S3Store knows after its first request how far the server's clock is", async ({ fake, store }) => {
  assertEquals([store.clockSkewMs, store.server], [undefined, fake.url]);
  await store.stat("none");
  assertEquals(store.clockSkewMs, 0);
});

testFake("S3Store knows that the server's clock is five minutes ahead", async ({ store }) => {
  await store.stat("none");
  const error = Math.abs((store.clockSkewMs ?? 0) - 300_000);
  assert(error <= 1500, `${store.clockSkewMs} ms`);
}, { clockAheadMs: 300_000 });

for (
  const fault of [
    { kind: "refuse", status: 500, code: "InternalError" },
    { kind: "refuse", status: 503, code: "SlowDown", headers: { "retry-after": "0" } },
    { kind: "refuse", status: 409, code: "ConditionalRequestConflict" },
    { kind: "refuse", status: 400, code: "ThrottlingException" },
    { kind: "refuse", status: 400, code: "RequestTimeout" },
    { kind: "refuse", status: 200, code: "InternalError" },
    { kind: "lose_answer" },
    { kind: "stall" },
    { kind: "cut_body", afterBytes: 1 },
    { kind: "stall_body", afterBytes: 1 },
  ] as const
) {
  const name = "status" in fault ? `${fault.status} ${fault.code}` : fault.kind;
  testFake(`S3Store gets over ${name}`, async ({ fake, store }) => {
    const operations: Operation[] = ["CompleteMultipartUpload"];
    if (name !== "200 InternalError") {
      operations.push("PutObject", "CreateMultipartUpload", "UploadPart", "ListObjectsV2", "GetObject");
    }
    // An answer to HEAD has no body to say RequestTimeout in.
    if (!name.startsWith("200") && !name.startsWith("400")) operations.push("HeadObject");
    for (const operation of operations) fake.inject(operation, fault);
    const body = patternBytes(LARGE_BYTES);
    assertEquals((await store.create(["small", "other"], pieces(bytesOf("x")))).key, "small");
    assertEquals((await store.create(["large", "other"], pieces(body))).key, "large");
    await store.replace("replaced", bytesOf("y"));
    assertEquals((await store.stat("large"))?.sizeBytes, LARGE_BYTES);
    assertEquals((await listAll(store, "")).map((entry) => entry.name), ["large", "replaced", "small"]);
    assertEquals(await readAll(store, "large"), body);
    // A beginning whose answer was lost leaves an upload that nobody knows the id of.
    const uploads = fault.kind === "lose_answer" || fault.kind.endsWith("_body") ? 1 : 0;
    assertEquals(fake.uploads.size, uploads);
  });
}

/** What a proxy answers while the servers behind it are away. */
const PAGE_404 = {
  kind: "alter",
  status: 404,
  headers: { "x-amz-request-id": "", "content-type": "text/html" },
  body: "<html><body><h1>404 Not Found</h1></body></html>",
} as const;

testFake("S3Store believes no proxy's 404 to HEAD that an object is missing", async ({ fake, store }) => {
  await store.replace("a", bytesOf("abc"));
  fake.inject("HeadObject", PAGE_404);
  assertEquals((await store.stat("a"))?.sizeBytes, 3, "S3 is back");
  fake.inject("HeadObject", PAGE_404);
  fake.inject("GetObject", PAGE_404);
  await assertRejects(() => store.stat("a"), StoreError, "something that is not S3 answered 404");
  fake.inject("HeadObject", PAGE_404);
  assertEquals(await store.stat("b"), undefined, "S3 itself says so of a server that has no ids of requests");
});

testFake(
  "S3Store replaces nothing that only a proxy calls missing, where conditions are ignored",
  async ({ fake, store }) => {
    await store.replace("a", bytesOf("abc"));
    store.conditions = "ignored";
    fake.inject("HeadObject", PAGE_404);
    await assertRejects(() => store.create(["a"], pieces(bytesOf("x"))), StoreError, "the key is taken");
    assertEquals(await readAll(store, "a"), bytesOf("abc"));
  },
);

testFake("S3Store gives up after its attempts, with the last cause and no upload left", async ({ fake, store }) => {
  for (const operation of ["PutObject", "UploadPart", "HeadObject", "ListObjectsV2"] as const) {
    fake.inject(operation, { kind: "refuse", status: 503, code: "SlowDown", message: "Reduce your request rate" }, 99);
  }
  const error = await assertRejects(() => store.create(["a"], pieces(bytesOf("x"))), StoreError);
  assertEquals(error.facts, { code: "SlowDown", key: "a", status: 503, retryAfterMs: undefined });
  assertEquals(
    error.message,
    'Cannot store "a" in "s3://test-bucket/f": S3 answered 503 SlowDown: Reduce your request rate',
  );
  assertEquals(fake.count("PutObject"), 4);
  await assertRejects(() => listAll(store, ""), StoreError, "SlowDown");
  await assertRejects(() => store.stat("a"), StoreError, "503");
  assertEquals(fake.leftovers(), []);
});

testFake("S3Store create() aborts the upload when a part or its end is refused", async ({ fake, store }) => {
  // Who may store small objects learns that it is the upload that is refused.
  const steps = {
    CreateMultipartUpload: "begin the",
    UploadPart: "upload a part of",
    CompleteMultipartUpload: "complete",
  };
  for (const [operation, step] of Object.entries(steps) as [Operation, string][]) {
    fake.inject(operation, { kind: "refuse", status: 403, code: "AccessDenied" });
    await assertRejects(() => store.create(["a"], largeBody()), StoreError, `Cannot ${step}`);
    assertEquals(fake.leftovers(), []);
  }
  assertEquals(counts(fake, "UploadPart", "AbortMultipartUpload"), [1 + 4, 2]);
});

testFake("S3Store create() stops a producer that is silent when a part is refused", async ({ fake, store }) => {
  fake.inject("UploadPart", { kind: "refuse", status: 403, code: "AccessDenied" });
  const silent = async function* () {
    yield patternBytes(150_000);
    yield await new Promise<Uint8Array>(() => {});
  };
  await assertRejects(() => store.create(["a"], silent()), StoreError, "AccessDenied");
  assertEquals(fake.leftovers(), []);
});

testFake("S3Store create() leaves nothing wherever it is aborted", async ({ fake, options }) => {
  for (const operation of ["HeadObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] as const) {
    const controller = new AbortController();
    const store = new S3Store(options, { ...QUICK, stallMs: 5_000 });
    const before = fake.count(operation);
    if (operation !== "CreateMultipartUpload") fake.inject(operation, { kind: "stall" });
    const watch = setInterval(() => {
      if (fake.count(operation) > before) controller.abort(new Error(`stop in ${operation}`));
    }, 1);
    try {
      const creating = store.create([operation], largeBody(), { signal: controller.signal });
      await assertRejects(() => creating, Error, `stop in ${operation}`);
    } finally {
      clearInterval(watch);
    }
    assertEquals(fake.leftovers(), []);
  }
});

testFake("S3Store create() takes a 412 after its own lost answer for a success", async ({ fake, store }) => {
  fake.inject("PutObject", { kind: "lose_answer" }, 2); // Deno repeats a request on a connection that it finds closed.
  const stored = await store.create(["claim", "claim-2"], pieces(bytesOf("the same")));
  assertEquals(stored.key, "claim");
  assertEquals((await store.create(["claim", "claim-2"], pieces(bytesOf("the same")))).key, "claim-2");
  assertEquals(fake.objects.size, 2);
});

testFake("S3Store create() takes NoSuchUpload after its own lost answer for a success", async ({ fake, store }) => {
  fake.inject("CompleteMultipartUpload", { kind: "lose_answer" }, 2);
  const body = patternBytes(LARGE_BYTES);
  const stored = await store.create(["large"], pieces(body));
  assertEquals([stored.key, stored.sizeBytes], ["large", LARGE_BYTES]);
  assertEquals(await readAll(store, "large"), body);
  assertEquals(fake.leftovers().length, 1);
});

testFake(
  "S3Store create() says exists when a large body's key is taken meanwhile, and leaves that object",
  async ({ fake, store }) => {
    const racing = async function* () {
      yield patternBytes(150_000);
      await store.replace("raced", bytesOf("theirs"));
      yield patternBytes(150_000);
    };
    const error = await assertRejects(() => store.create(["raced", "raced-2"], racing()), StoreError);
    assertEquals([error.facts.code, error.facts.key], ["exists", "raced"]);
    assertEquals(await readAll(store, "raced"), bytesOf("theirs"));
    assertEquals(fake.leftovers(), ["test-bucket/f/raced"]);
  },
);

/** A body whose key is taken while it is sent, and what happens then. */
function racedBody(store: S3Store, key: string, then: () => void = () => {}) {
  return (async function* () {
    yield patternBytes(150_000);
    await store.replace(key, bytesOf("theirs"));
    then();
    yield patternBytes(150_000);
  })();
}

testFake(
  "S3Store create() leaves no upload where it cannot look whose the object is",
  async ({ fake, store, options }) => {
    for (const [key, status, times] of [["a", 403, 1], ["b", 500, QUICK.attempts!]] as const) {
      const refuse = () => fake.inject("HeadObject", { kind: "refuse", status, code: `Status${status}` }, times);
      const error = await assertRejects(() => store.create([key], racedBody(store, key, refuse)), StoreError);
      assertEquals([error.facts.code, fake.uploads.size], ["exists", 0]);
      assertStringIncludes(describeError(error), "Cannot look at");
    }
    const controller = new AbortController();
    const patient = new S3Store(options, { ...QUICK, stallMs: 5_000 });
    const stall = () => fake.inject("HeadObject", { kind: "stall" });
    const watch = setInterval(() => {
      if (fake.count("CompleteMultipartUpload") > 2) controller.abort(new Error("stop"));
    }, 1);
    try {
      const { signal } = controller;
      await assertRejects(
        () => patient.create(["other"], racedBody(patient, "other", stall), { signal }),
        Error,
        "stop",
      );
    } finally {
      clearInterval(watch);
    }
    assertEquals(fake.uploads.size, 0);
  },
);

testFake(
  "S3Store create() says what is wrong with an upload that is gone, and not that it could not look",
  async ({ fake, store }) => {
    fake.inject("CompleteMultipartUpload", { kind: "refuse", status: 404, code: "NoSuchUpload" });
    const body = (async function* () {
      yield patternBytes(150_000);
      fake.inject("HeadObject", { kind: "refuse", status: 403, code: "AccessDenied" }, 99);
      yield patternBytes(150_000);
    })();
    const error = await assertRejects(() => store.create(["a"], body), StoreError);
    assertEquals([error.facts.code, fake.uploads.size], ["NoSuchUpload", 0]);
  },
);

testFake("S3Store read() goes on behind the last byte after a cut and after a stall", async ({ fake, store }) => {
  const body = patternBytes(LARGE_BYTES);
  await store.create(["object"], pieces(body));
  fake.inject("GetObject", { kind: "cut_body", afterBytes: 120_000 });
  fake.inject("GetObject", { kind: "refuse", status: 503, code: "SlowDown" });
  fake.inject("GetObject", { kind: "stall_body", afterBytes: 100_000 });
  assertEquals(await readAll(store, "object"), body);
  const ranges = fake.requests.filter((request) => request.operation === "GetObject").map(({ headers }) =>
    headers["range"]
  );
  assertEquals(ranges, [undefined, "bytes=120000-", "bytes=120000-", "bytes=220000-"]);
});

testFake("S3Store read() says cut_off when it gets no further", async ({ fake, store }) => {
  await store.create(["object"], pieces(patternBytes(LARGE_BYTES)));
  fake.inject("GetObject", { kind: "cut_body", afterBytes: 50_000 });
  fake.inject("GetObject", { kind: "cut_body", afterBytes: 0 }, 99);
  const error = await assertRejects(() => readAll(store, "object"), StoreError);
  assertEquals([error.facts.code, error.facts.key], ["cut_off", "object"]);
  assertEquals(fake.count("GetObject"), 1 + 4 - 1);
});

testFake(
  "S3Store read() says changed when another object takes the place of the one it reads",
  async ({ fake, store }) => {
    await store.replace("object", patternBytes(LARGE_BYTES, 1));
    fake.inject("GetObject", { kind: "cut_body", afterBytes: 50_000 });
    const reader = (await store.read("object")).getReader();
    await reader.read();
    await store.replace("object", patternBytes(LARGE_BYTES, 2));
    const error = await assertRejects(async () => {
      while (!(await reader.read()).done);
    }, StoreError);
    assertEquals(error.facts.code, "changed");
  },
);

for (const gzipAnswers of ["accepted", "always"] as const) {
  testFake(
    `S3Store read() gives the object's own bytes where a front gzips: ${gzipAnswers}`,
    async ({ fake, store }) => {
      for (const body of [new Uint8Array(0), bytesOf("{}"), patternBytes(LARGE_BYTES), gzipSync(patternBytes(1000))]) {
        await store.replace("object", body);
        assertEquals(await readAll(store, "object"), new Uint8Array(body));
      }
      assertEquals(fake.count("HeadObject"), gzipAnswers === "accepted" ? 0 : 4);
      for (const { headers } of fake.requests) {
        assertEquals(headers["accept-encoding"], "identity");
        assert(!headers["authorization"]?.includes("accept-encoding"), "a front may change it");
      }
    },
    { gzipAnswers },
  );
}

testFake("S3Store read() goes on where what a front gzips breaks off", async ({ fake, store }) => {
  const body = patternBytes(LARGE_BYTES);
  await store.replace("object", body);
  fake.inject("GetObject", { kind: "cut_body", afterBytes: 50_000 }, 2);
  assertEquals(await readAll(store, "object"), body);
  fake.inject("GetObject", { kind: "cut_body", afterBytes: 50_000 });
  fake.inject("GetObject", { kind: "cut_body", afterBytes: 0 }, 99);
  assertEquals((await assertRejects(() => readAll(store, "object"), StoreError)).facts.code, "cut_off");
}, { gzipAnswers: "always" });

testFake("S3Store read() says that more comes than the object has", async ({ fake, store }) => {
  const body = patternBytes(LARGE_BYTES);
  await store.replace("object", body);
  fake.inject("HeadObject", { kind: "alter", headers: { "content-length": "1000" } });
  const error = await assertRejects(() => readAll(store, "object"), StoreError);
  assertEquals(error.facts.code, "strange_answer");
}, { gzipAnswers: "always" });

testFake("S3Store read() takes no other server's 404 for a missing object", async ({ fake, store }) => {
  await store.replace("keep-0badcafe.json", bytesOf('{"kept":true}'));
  fake.inject("GetObject", { kind: "alter", status: 404 });
  const error = await assertRejects(() => readAll(store, "keep-0badcafe.json"), StoreError);
  assertEquals([error.facts.code, isNotFound(error)], ["strange_answer", false]);
  assertEquals(await readAll(store, "keep-0badcafe.json"), bytesOf('{"kept":true}'));
});

testFake(
  "S3Store read() leaves an object that was stored with a Content-Encoding as it lies there",
  async ({ fake, store }) => {
    const stored = new Uint8Array(gzipSync(bytesOf("hello hello hello")));
    await store.replace("object", stored);
    fake.object("test-bucket", "f/object")!.headers["content-encoding"] = "gzip";
    assertEquals(await readAll(store, "object"), stored);
  },
);

testFake("S3Store takes no success of another kind for the one that it needs", async ({ fake, store }) => {
  await store.replace("object", bytesOf("12345"));
  const without = (...names: string[]) => Object.fromEntries(names.map((name) => [name, ""]));
  const cases: [
    Operation,
    Partial<Record<"status", number>> & { headers?: Record<string, string> },
    () => Promise<unknown>,
  ][] = [
    ["GetObject", { status: 206 }, () => readAll(store, "object")],
    ["GetObject", { status: 204 }, () => readAll(store, "object")],
    ["HeadObject", { headers: without("content-length") }, () => store.stat("object")],
    ["HeadObject", { headers: without("last-modified") }, () => store.stat("object")],
    ["PutObject", { headers: without("etag") }, () => store.replace("new", bytesOf("x"))],
    ["PutObject", { headers: without("etag") }, () => store.create(["created"], pieces(bytesOf("x")))],
    ["UploadPart", { headers: without("etag") }, () => store.create(["large"], largeBody())],
  ];
  for (const [operation, change, run] of cases) {
    fake.inject(operation, { kind: "alter", ...change });
    const error = await assertRejects(run, StoreError, undefined, `${operation} ${JSON.stringify(change)}`);
    assertEquals(error.facts.code, "strange_answer");
  }
});

testFake("S3Store finds the region out, and asks once", async ({ fake, options }) => {
  const store = new S3Store({ ...options, region: undefined }, QUICK);
  await Promise.all([1, 2, 3].map((number) => store.create([`${number}`], pieces(bytesOf("x")))));
  assertEquals(counts(fake, "HeadBucket", "PutObject"), [1, 3]);
}, { region: "eu-central-1" });

testFake("S3Store names the right region where the config's is wrong", async ({ options }) => {
  const store = new S3Store({ ...options, region: "us-west-2" }, QUICK);
  const error = await assertRejects(() => store.create(["a"], pieces(bytesOf("x"))), StoreError);
  assertEquals(error.facts.code, "AuthorizationHeaderMalformed");
  assertStringIncludes(error.message, 'the bucket is in region "eu-central-1", the request was for "us-west-2"');
  assertEquals(error.hint, "Set region: eu-central-1; without it AWS_REGION counts, else the bucket's own");
  // An answer to HEAD has the region in its headers only.
  assertEquals((await assertRejects(() => store.stat("a"), StoreError)).hint, error.hint);
}, { region: "eu-central-1" });

testFake("S3Store names the region that a redirect leads to", async ({ fake, store }) => {
  const headers = { "x-amz-bucket-region": "ap-south-1" };
  fake.inject("ListObjectsV2", { kind: "refuse", status: 301, code: "PermanentRedirect", headers });
  const error = await assertRejects(() => listAll(store, ""), StoreError);
  assertEquals([error.facts.code, error.hint], [
    "PermanentRedirect",
    "Set region: ap-south-1; without it AWS_REGION counts, else the bucket's own",
  ]);
});

testFake("S3Store goes by the server's clock where this machine's is wrong", async ({ store, fake }) => {
  await store.create(["a"], pieces(bytesOf("x")));
  assertEquals(fake.count("PutObject"), 2);
  await store.create(["b"], pieces(bytesOf("x")));
  assertEquals(fake.count("PutObject"), 3);
}, { clockAheadMs: 60 * 60 * 1000 });

testFake(
  "S3Store refuses with what to fix: missing bucket, wrong token, secret and session token",
  async ({ fake, options }) => {
    const cases: [Partial<StoreOptions>, code: string, hint: RegExp][] = [
      [{ bucket: "s3://no-such-bucket/f" }, "NoSuchBucket", /Create s3:\/\/no-such-bucket,/],
      [{ accessKeyId: "other" }, "InvalidAccessKeyId", /correct it/],
      [
        { secretAccessKey: new Secret("wrong-hunter2") },
        "SignatureDoesNotMatch",
        /secret does not belong to the token/,
      ],
      [{ sessionToken: new Secret("token-hunter2") }, "InvalidToken", /session_token/],
    ];
    for (const [changed, code, hint] of cases) {
      const store = new S3Store({ ...options, ...changed }, QUICK);
      const before = fake.requests.length;
      const error = await assertRejects(() => store.create(["a"], pieces(bytesOf("x"))), StoreError);
      assertEquals(error.facts.code, code);
      assertEquals(error.exitCode, 11);
      assert(hint.test(error.hint ?? ""), error.hint);
      assertEquals(fake.requests.length, before + 1, "is not tried again");
      const shown = `${describeError(error)} ${error.hint} ${Deno.inspect(error)} ${JSON.stringify(error)}`;
      assert(!/hunter2|Signature=|AWS4-HMAC/.test(shown), shown);
    }
  },
);

testFake("S3Store shows no secret where the connection fails", async ({ fake, options }) => {
  await fake.close();
  const store = new S3Store({ ...options, sessionToken: new Secret("token-hunter2") }, { ...QUICK, attempts: 2 });
  const error = await assertRejects(() => store.stat("a"), StoreError);
  assertEquals(error.facts.code, "unreachable");
  assertStringIncludes(error.hint ?? "", options.endpoint!);
  const shown = `${describeError(error)} ${Deno.inspect(error)}`;
  assert(!/hunter2|Signature=|AWS4-HMAC/.test(shown), shown);
});

testFake("S3Store says that what answers is no S3 server", async ({ options }) => {
  const other = Deno.serve({ port: 0, onListen() {} }, () => new Response("<html><body>Welcome</body></html>"));
  try {
    const store = new S3Store({ ...options, endpoint: `http://127.0.0.1:${other.addr.port}` }, QUICK);
    for (const run of [() => listAll(store, ""), () => store.create(["a"], largeBody())]) {
      const error = await assertRejects(run, StoreError);
      assertStringIncludes(
        `${error.message} ${error.hint}`,
        error.facts.code === "exists" ? "taken" : "not an S3 server",
      );
    }
  } finally {
    await other.shutdown();
  }
});

Deno.test("openStore() opens a bucket and asks for what is missing", async () => {
  const keys = { accessKeyId: "t", secretAccessKey: new Secret("s") };
  assertEquals(
    (await openStore({ bucket: "s3://data.example.com/folder/", ...keys })).url,
    "s3://data.example.com/folder",
  );
  assertEquals((await openStore({ bucket: "s3://name", ...keys })).url, "s3://name");
  const cases: [StoreOptions, code: string][] = [
    [{ bucket: "s3://name" }, "no_credentials"],
    [{ bucket: "s3://name", accessKeyId: "t" }, "no_credentials"],
    [{ bucket: "s3://", ...keys }, "bad_bucket"],
    [{ bucket: "s3://a b/c", ...keys }, "bad_bucket"],
    [{ bucket: "s3://name", endpoint: "minio:9000", ...keys }, "bad_endpoint"],
    [{ bucket: "s3://name", endpoint: "http://user:hunter2@minio:9000", ...keys }, "bad_endpoint"],
  ];
  for (const [options, code] of cases) {
    const kind = code === "no_credentials" ? AwsError : StoreError;
    const error = await assertRejects<AwsError | StoreError>(() => openStore(options), kind);
    assertEquals(error.facts.code, code, options.bucket);
    assert(error.hint !== undefined && !error.message.includes("hunter2"), error.message);
  }
});

testFake(
  "S3Store read() of an answer that falls silent ends, whatever was collected meanwhile",
  async ({ fake, store }) => {
    await store.create(["object"], pieces(patternBytes(1000)));
    fake.inject("GetObject", { kind: "stall_body", afterBytes: 10 });
    fake.inject("GetObject", { kind: "stall_body", afterBytes: 0 }, 99);
    // Memory that is asked for and let go makes the runtime collect what nobody holds.
    const litter = setInterval(() => new Uint8Array(16 << 20), 20);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hang = new Promise<never>((_, reject) => timer = setTimeout(() => reject(new Error("It hangs")), 10_000));
    try {
      const error = await assertRejects(() => Promise.race([readAll(store, "object"), hang]), StoreError);
      assertEquals(error.facts.code, "timeout");
    } finally {
      clearInterval(litter);
      clearTimeout(timer);
    }
  },
);
