import { assertEquals, assertRejects } from "@std/assert";
import { StoreError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { CONDITIONS_MAX_AGE_MS, findConditions } from "../../src/store/conditions.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { Conditions } from "../../src/store/store.ts";
import { RecordedLog } from "../fakes/log.ts";
import { FakeS3, type FakeS3Options } from "../fakes/s3.ts";
import { withArchived } from "./archived.ts";
import { bytesOf, patternBytes, pieces, readAll } from "./store_contract.ts";

const QUICK = { attempts: 3, backoffMs: 1, partBytes: 100_000 };
const FOLDER = "backup/_store";
const LARGE_BYTES = 250_000;

async function withFake(
  options: FakeS3Options,
  body: (given: { fake: FakeS3; open: () => S3Store; log: RecordedLog }) => Promise<void>,
): Promise<void> {
  const fake = await FakeS3.start({ minPartBytes: 100_000, ...options });
  const log = new RecordedLog();
  const open = () =>
    new S3Store(
      {
        bucket: "s3://test-bucket/f",
        endpoint: fake.url,
        region: fake.keys.region,
        accessKeyId: fake.keys.accessKeyId,
        secretAccessKey: new Secret(fake.keys.secretAccessKey),
      },
      QUICK,
      { log },
    );
  try {
    await body({ fake, open, log });
  } finally {
    await fake.close();
  }
}

const SERVERS: [name: string, options: FakeS3Options, found: Conditions, warnings: string[]][] = [
  ["holds them", {}, "held", []],
  ["holds them and knows no checksums", { refusesChecksums: true }, "held", [
    "store refuses SHA-256 checksums (x-amz-checksum-sha256): Content-MD5 is sent instead",
  ]],
  ["overwrites", { ignoresConditions: true }, "ignored", []],
  ["overwrites where an upload is completed", { ignoresConditions: "uploads" }, "ignored", []],
  ["looks and then writes", { ignoresConditions: "races" }, "ignored", []],
  ["answers 501", { refusesConditions: true }, "ignored", [
    "store refuses conditions (If-None-Match): each key is checked before it is written",
  ]],
  ["answers 400 NotImplemented", { refusesConditions: 400 }, "ignored", [
    "store refuses conditions (If-None-Match): each key is checked before it is written",
  ]],
];

const IGNORED_WARNING =
  "store overwrites what exists: each run names its chunks differently, and only one machine may run a schedule";

for (const [name, options, found, warnings] of SERVERS) {
  Deno.test(`findConditions() on a server that ${name}: ${found}`, async () => {
    await withFake(options, async ({ fake, open, log }) => {
      const store = open();
      assertEquals(store.conditions, undefined);
      assertEquals(await findConditions(store, FOLDER, { log }), found);
      assertEquals(store.conditions, found);
      assertEquals(log.events("warn"), found === "held" ? warnings : [...warnings, IGNORED_WARNING]);
      const hasRaced = found === "held" || options.ignoresConditions === "races";
      assertEquals(fake.leftovers().map((path) => path.slice("test-bucket/f/".length)).sort(), [
        "backup/_store/conditions-probe.json",
        ...(hasRaced ? ["backup/_store/conditions-race.json"] : []),
        "backup/_store/conditions.json",
      ]);
    });
  });

  Deno.test(`findConditions() finds the same with the object of an earlier attempt on a server that ${name}`, async () => {
    await withFake(options, async ({ fake, open }) => {
      await findConditions(open(), FOLDER);
      fake.objects.delete(`test-bucket/f/${FOLDER}/conditions.json`);
      assertEquals(await findConditions(open(), FOLDER), found);
    });
  });
}

Deno.test("findConditions() is not deceived by an answer that is lost", async () => {
  for (const [name, options, found] of SERVERS) {
    for (const operation of ["PutObject", "CompleteMultipartUpload"] as const) {
      await withFake(options, async ({ fake, open }) => {
        fake.inject(operation, { kind: "lose_answer" });
        assertEquals(await findConditions(open(), FOLDER), found, `${name}, ${operation}`);
      });
    }
  }
});

Deno.test("findConditions() asks again only when what it found is old, of another place, or no such thing", async () => {
  await withFake({}, async ({ fake, open }) => {
    const now = new Date();
    const tries = async (at: Date) => {
      const before = fake.count("PutObject");
      await findConditions(open(), FOLDER, { now: () => at });
      return fake.count("PutObject") - before;
    };
    assertEquals(await tries(now) > 0, true);
    assertEquals(await tries(now), 0);
    assertEquals(await tries(new Date(now.getTime() + CONDITIONS_MAX_AGE_MS - 1)), 0);
    assertEquals(await tries(new Date(now.getTime() + CONDITIONS_MAX_AGE_MS)) > 0, true);
    // Found by a clock that was ahead.
    assertEquals(await tries(now) > 0, true);
    const store = open();
    const found = JSON.parse(new TextDecoder().decode(await readAll(store, `${FOLDER}/conditions.json`)));
    for (
      const other of [
        { ...found, version: 2 },
        { ...found, server: "http://192.0.2.1:9000" },
        { ...found, url: "s3://another/f" },
        { ...found, conditions: "perhaps" },
        undefined,
      ]
    ) {
      const text = other === undefined ? "{" : JSON.stringify(other);
      await store.replace(`${FOLDER}/conditions.json`, bytesOf(text));
      assertEquals(await tries(now) > 0, true, text);
    }
  });
});

Deno.test("findConditions() asks no store that knows, until a week has passed or it is told to", async () => {
  await withFake({}, async ({ fake, open }) => {
    const store = open();
    await findConditions(store, FOLDER);
    const { length } = fake.requests;
    await findConditions(store, FOLDER);
    assertEquals(fake.requests.length, length);
    await findConditions(store, FOLDER, { fresh: true });
    const afterFresh = fake.requests.length;
    assertEquals(afterFresh > length, true);
    const inAWeek = new Date(Date.now() + CONDITIONS_MAX_AGE_MS + 60_000);
    await findConditions(store, FOLDER, { now: () => inAWeek });
    assertEquals(fake.requests.length > afterFresh, true);
  });
});

Deno.test("findConditions() keeps to a race that was lost, when what it found is old, and when it is told to try", async () => {
  await withFake({ ignoresConditions: "races" }, async ({ open }) => {
    assertEquals(await findConditions(open(), FOLDER), "ignored");
    const inAWeek = new Date(Date.now() + CONDITIONS_MAX_AGE_MS + 60_000);
    assertEquals(await findConditions(open(), FOLDER, { now: () => inAWeek }), "ignored");
    assertEquals(await findConditions(open(), FOLDER, { fresh: true }), "ignored");
  });
});

Deno.test("findConditions() runs its race once", async () => {
  await withFake({}, async ({ fake, open }) => {
    const racers = async () => {
      const before = fake.requests.length;
      await findConditions(open(), FOLDER, { fresh: true });
      return fake.requests.slice(before).filter(({ operation, rawPath }) =>
        operation === "PutObject" && rawPath.endsWith("/conditions-race.json")
      ).length;
    };
    assertEquals(await racers(), 8);
    assertEquals(await racers(), 0);
    fake.objects.delete(`test-bucket/f/${FOLDER}/conditions.json`);
    await findConditions(open(), FOLDER);
    assertEquals(fake.object("test-bucket", `f/${FOLDER}/conditions-race-2.json`) !== undefined, true);
  });
});

Deno.test("findConditions() of several runs at their first moment finds a lost race in each", async () => {
  await withFake({ ignoresConditions: "races" }, async ({ open }) => {
    const found = await Promise.all([1, 2, 3].map(() => findConditions(open(), FOLDER)));
    assertEquals(found, ["ignored", "ignored", "ignored"]);
    assertEquals(await findConditions(open(), FOLDER), "ignored");
  });
});

Deno.test("findConditions() fails where nothing can be written, with the right that lacks", async () => {
  await withFake({}, async ({ fake, open }) => {
    fake.inject("PutObject", { kind: "refuse", status: 403, code: "AccessDenied" });
    const error = await assertRejects(() => findConditions(open(), FOLDER), StoreError);
    assertEquals(error.facts.code, "AccessDenied");
  });
});

Deno.test("findConditions() takes a folder to hold conditions, with hard links and without", async () => {
  for (const link of [undefined, () => Promise.reject(Object.assign(new Error(), { code: "EPERM" }))]) {
    const root = await Deno.makeTempDir({ prefix: "couchdb-backup-conditions-" });
    try {
      const store = new DirectoryStore(root, link === undefined ? {} : { link });
      assertEquals(await findConditions(store, FOLDER), "held");
      assertEquals(await findConditions(new DirectoryStore(root), FOLDER), "held");
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  }
});

for (const [name, options] of SERVERS.filter(([, , found]) => found === "ignored")) {
  Deno.test(`create() looks before it writes on a server that ${name}`, async () => {
    await withFake(options, async ({ open }) => {
      const store = open();
      await findConditions(store, FOLDER);
      for (const size of [3, LARGE_BYTES]) {
        const keys = [`d/${size}/0`, `d/${size}/1`];
        assertEquals((await store.create(keys, pieces(patternBytes(size, 1)))).key, keys[0]);
        assertEquals((await store.create(keys, pieces(patternBytes(size, 2)))).key, keys[1]);
        const error = await assertRejects(() => store.create(keys, pieces(patternBytes(size, 3))), StoreError);
        assertEquals(error.facts.code, "exists");
        assertEquals(await readAll(store, keys[0]!), patternBytes(size, 1));
        assertEquals(await readAll(store, keys[1]!), patternBytes(size, 2));
      }
    });
  });

  Deno.test(`create() of two runs at once keeps both whole under names of their own on a server that ${name}`, async () => {
    await withFake(options, async ({ open }) => {
      const stores = [open(), open()];
      for (const store of stores) await findConditions(store, FOLDER);
      await Promise.all(
        stores.flatMap((store, run) =>
          Array.from({ length: 6 }, (_, number) =>
            store.create(
              [`d/${run}-${number}`],
              pieces(patternBytes(number % 2 === 0 ? 100 : LARGE_BYTES, run * 10 + number)),
            ))
        ),
      );
      for (const run of [0, 1]) {
        for (let number = 0; number < 6; number++) {
          const expected = patternBytes(number % 2 === 0 ? 100 : LARGE_BYTES, run * 10 + number);
          assertEquals(await readAll(stores[0]!, `d/${run}-${number}`), expected);
        }
      }
    });
  });
}

Deno.test("create() does not write without a condition where the store is known to hold them", async () => {
  await withFake({}, async ({ fake, open, log }) => {
    const store = open();
    await findConditions(store, FOLDER);
    fake.inject("PutObject", { kind: "refuse", status: 501, code: "NotImplemented" }, 10);
    const error = await assertRejects(() => store.create(["d/0"], pieces(bytesOf("x"))), StoreError);
    assertEquals(error.facts.code, "NotImplemented");
    const unconditional = fake.requests.filter(({ rawPath, headers }) =>
      rawPath.endsWith("/d/0") && headers["if-none-match"] === undefined
    );
    assertEquals(unconditional, []);
    assertEquals(log.events("warn"), []);
  });
});

Deno.test("create() falls back to looking, and says so once, where conditions are refused and nobody has asked before", async () => {
  for (const refusesConditions of [true, 400] as const) {
    await withFake({ refusesConditions }, async ({ open, log }) => {
      const store = open();
      for (const size of [3, LARGE_BYTES]) {
        await store.create([`${size}/0`], pieces(patternBytes(size)));
        assertEquals((await store.create([`${size}/0`, `${size}/1`], pieces(patternBytes(size)))).key, `${size}/1`);
      }
      assertEquals(log.events("warn"), [
        "store refuses conditions (If-None-Match): each key is checked before it is written",
      ]);
    });
  }
});

Deno.test("create() names the checksums of parts to a server that keeps them alone: others refuse the list", async () => {
  await withFake({ ignoresChecksums: true, refusesPartChecksums: true }, async ({ open }) => {
    const store = open();
    await store.create(["large"], pieces(patternBytes(LARGE_BYTES)));
    assertEquals(await readAll(store, "large"), patternBytes(LARGE_BYTES));
  });
});

Deno.test("create() and replace() send Content-MD5, and say so once, where checksums are refused", async () => {
  await withFake({ refusesChecksums: true }, async ({ fake, open, log }) => {
    const store = open();
    await store.replace("replaced", bytesOf("x"));
    await store.create(["small"], pieces(bytesOf("x")));
    await store.create(["large"], pieces(patternBytes(LARGE_BYTES)));
    assertEquals(await readAll(store, "large"), patternBytes(LARGE_BYTES));
    const bodies = fake.requests.filter(({ operation, status }) =>
      (operation === "PutObject" || operation === "UploadPart") && status === 200
    );
    assertEquals(
      bodies.map(({ headers }) => [headers["content-md5"] !== undefined, headers["x-amz-checksum-sha256"]]),
      bodies.map(() => [true, undefined]),
    );
    assertEquals(fake.requests.filter(({ status }) => status === 400).length, 1);
    assertEquals(log.events("warn"), [
      "store refuses SHA-256 checksums (x-amz-checksum-sha256): Content-MD5 is sent instead",
    ]);
  });
});

Deno.test("create() finds out by itself what a server refuses, both at once", async () => {
  for (const size of [3, LARGE_BYTES]) {
    await withFake({ refusesChecksums: true, refusesConditions: true }, async ({ open, log }) => {
      const store = open();
      await store.create(["d"], pieces(patternBytes(size)));
      assertEquals(await readAll(store, "d"), patternBytes(size));
      const error = await assertRejects(() => store.create(["d"], pieces(bytesOf("x"))), StoreError);
      assertEquals(error.facts.code, "exists");
      assertEquals(log.events("warn").length, 2);
    });
  }
});

Deno.test("findConditions() tries anew where what was found lies in an archive tier, and notes it", () =>
  withFake({}, async ({ open }) => {
    const first = open();
    await findConditions(first, FOLDER, { now: () => new Date("2026-01-03T00:00:00Z") });
    const archived = withArchived(open(), () => true);
    const later = () => new Date("2026-03-03T00:00:00Z");
    assertEquals(await findConditions(archived, FOLDER, { now: later }), "held");
    const noted = JSON.parse(new TextDecoder().decode(await readAll(first, `${FOLDER}/conditions.json`)));
    assertEquals(noted.tried_at, later().toISOString());
  }));
