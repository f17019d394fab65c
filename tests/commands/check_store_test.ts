import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Repository } from "../../src/archive/repository.ts";
import { checkStoreProperties, type StoreCheckReport } from "../../src/commands/check_store.ts";
import { StoreError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { CONDITIONS_RACE_NAMES, findConditions } from "../../src/store/conditions.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { S3Settings } from "../../src/store/s3/request.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { Store, StoreContext, StoreOptions } from "../../src/store/store.ts";
import { RecordedLog } from "../fakes/log.ts";
import { FakeS3, type FakeS3Options } from "../fakes/s3.ts";
import { patternBytes, pieces, readAll } from "../store/store_contract.ts";
import { until } from "../until.ts";

const PART_BYTES = 100_000;
const QUICK = { attempts: 3, backoffMs: 1, partBytes: PART_BYTES };
const LARGE_BYTES = 350_000;

async function ask(
  store: Store,
  log = new RecordedLog(),
  signal = new AbortController().signal,
): Promise<StoreCheckReport> {
  const repository = new Repository(store, { prefix: "backup", suffix: "couchdb" });
  return await checkStoreProperties({ log, repository, now: () => new Date(), signal });
}

interface Desk {
  fake: FakeS3;
  open: (options?: Partial<StoreOptions>, settings?: Partial<S3Settings>, context?: StoreContext) => S3Store;
}

async function withFake(server: FakeS3Options, body: (desk: Desk) => Promise<void>): Promise<void> {
  const fake = await FakeS3.start({ minPartBytes: PART_BYTES, ...server });
  const open = (options: Partial<StoreOptions> = {}, settings: Partial<S3Settings> = QUICK, context?: StoreContext) =>
    new S3Store(
      {
        bucket: "s3://test-bucket/f",
        endpoint: fake.url,
        region: fake.keys.region,
        accessKeyId: fake.keys.accessKeyId,
        secretAccessKey: new Secret(fake.keys.secretAccessKey),
        ...options,
      },
      settings,
      context,
    );
  try {
    await body({ fake, open });
  } finally {
    await fake.close();
  }
}

const PROPERTIES = [
  "reach",
  "write_read",
  "read_after_write",
  "list",
  "conditions_put",
  "conditions_upload",
  "create_race",
  "checksum_sha256",
  "content_md5",
  "etag",
  "metadata",
  "length",
  "identity",
  "range",
  "if_match",
  "keys",
  "keys_unicode",
  "list_pages",
  "parts",
  "parts_unequal",
  "parts_count",
  "abort",
  "clock",
  "no_delete",
];

const lacking = ({ properties }: StoreCheckReport) => properties.filter(({ held }) => !held);

Deno.test("check --store finds everything in a strict store, and leaves the same objects each time", async () => {
  await withFake({}, async ({ fake, open }) => {
    const report = await ask(open());
    assertEquals(lacking(report), []);
    assertEquals(report.properties.map(({ property }) => property), PROPERTIES);
    assertEquals([report.ok, report.store, report.server], [true, "s3://test-bucket/f", fake.url]);
    const left = fake.leftovers();
    assert(left.every((path) => path.startsWith("test-bucket/f/backup/_store/check/")), left.join("\n"));
    const isRace = (path: string) => path.includes("/check/races/");
    for (let time = 0; time < 11; time++) assertEquals((await ask(open())).ok, true);
    assertEquals(fake.leftovers().filter((path) => !isRace(path)), left.filter((path) => !isRace(path)));
    assertEquals(fake.leftovers().filter(isRace).length, 50);
  });
});

Deno.test("check --store removes its objects where the keys may delete, and says that they need not", async () => {
  await withFake({ allowsDelete: true }, async ({ fake, open }) => {
    await open().replace("backup/2026/11/28/a/manifest.json", patternBytes(10));
    const report = await ask(open());
    assertEquals(lacking(report).map(({ property, ok }) => [property, ok]), [["no_delete", true]]);
    assertEquals(fake.leftovers(), ["test-bucket/f/backup/2026/11/28/a/manifest.json"]);
  });
});

/** One property that lacks: what of the table says so, and whether backups can be kept there all the same. */
const LACKING: [name: string, server: FakeS3Options, properties: string[], ok: boolean][] = [
  ["overwrites", { ignoresConditions: true }, ["conditions_put", "conditions_upload", "create_race"], true],
  ["overwrites where an upload is completed", { ignoresConditions: "uploads" }, ["conditions_upload"], true],
  ["looks and then writes", { ignoresConditions: "races" }, ["create_race"], true],
  [
    "answers 501 to conditions",
    { refusesConditions: true },
    ["conditions_put", "conditions_upload", "create_race"],
    true,
  ],
  ["refuses checksums", { refusesChecksums: true }, ["checksum_sha256"], true],
  ["does not look at checksums", { ignoresChecksums: true }, ["checksum_sha256", "content_md5"], true],
  ["gives no metadata", { dropsMetadata: true }, ["metadata"], true],
  ["gzips what may be gzipped", { gzipAnswers: "accepted" }, [], true],
  ["gzips always", { gzipAnswers: "always" }, ["identity"], true],
  ["knows no ranges", { ignoresRanges: true }, ["range"], true],
  ["knows no If-Match", { ignoresIfMatch: true }, ["if_match"], true],
  ["refuses other scripts", { refusesUnicode: true }, ["keys_unicode"], true],
  ["gives no tokens", { nextMarkerOnly: "start-after" }, ["list_pages"], true],
  ["knows the first listing alone", { nextMarkerOnly: "marker" }, ["list_pages"], true],
  ["says nothing of the next page", { nextMarkerOnly: "nothing" }, ["list_pages"], true],
  ["wants equal parts", { wantsEqualParts: true }, ["parts_unequal"], true],
  ["takes a thousand parts", { maxParts: 1000 }, ["parts_count"], true],
  ["lets no upload be given up", { refusesAbort: true }, ["abort"], true],
  ["does not tell the time", { lacksDate: true }, ["clock"], true],
  ["has a clock that is five minutes ahead", { clockAheadMs: 300_000 }, ["clock"], true],
  ["locks what it is given", { locksObjects: true }, [], true],
  ["wants lengths", { wantsLengths: true }, [], true],
  ["gives what was before", { isStale: true }, ["read_after_write", "metadata"], false],
  ["decodes keys twice", { decodesTwice: true }, ["keys", "keys_unicode"], false],
  ["lists backwards", { endlessList: "backwards" }, ["list"], false],
  ["repeats its listing", { endlessList: "repeats" }, ["list"], false],
];

for (const [name, server, properties, ok] of LACKING) {
  Deno.test(`check --store on a store that ${name}: ${properties.join(", ") || "all held"}`, async () => {
    await withFake(server, async ({ open }) => {
      const report = await ask(open());
      const found = lacking(report);
      assertEquals(found.map(({ property }) => property), properties, JSON.stringify(found, undefined, 2));
      assertEquals(report.ok, ok);
      for (const { instead, hint } of found) assert((instead ?? hint) !== undefined);
      if (!ok) return;
      // What the table promises: it works all the same.
      const store = open();
      await findConditions(store, "backup/_store");
      for (const size of [0, 1000, LARGE_BYTES]) {
        const body = patternBytes(size, 3);
        const { key } = await store.create([`d/${size}`], pieces(body));
        assertEquals(await readAll(store, key), body);
        const error = await assertRejects(() => store.create([key], pieces(patternBytes(size, 4))), StoreError);
        assertEquals(error.facts.code, "exists");
        assertEquals(await readAll(store, key), body);
      }
    });
  });
}

Deno.test("check --store and findConditions() are patient with a store that takes one write of a key in a while", async () => {
  await withFake({ writesKeyEveryMs: 100 }, async ({ open }) => {
    const patient = { ...QUICK, attempts: 6, backoffMs: 40 };
    const report = await ask(open({}, patient));
    assertEquals(lacking(report), []);
    assertEquals(await findConditions(open({}, patient), "backup/_store"), "held");
  });
  // Seven of eight writers find no patience at all.
  await withFake({ writesKeyEveryMs: 60_000 }, async ({ fake, open }) => {
    assertEquals(await open().countWinners("race"), 1);
    assertEquals(fake.count("PutObject"), 1 + 7 * QUICK.attempts);
  });
});

Deno.test("check --store ends where nothing can be written, with what to do", async () => {
  await withFake({}, async ({ fake, open }) => {
    const wrong = await ask(open({ secretAccessKey: new Secret("wrong") }));
    assertEquals(wrong.properties.map(({ property, ok }) => [property, ok]), [["reach", false]]);
    assertStringIncludes(wrong.properties[0]!.hint!, "secret does not belong to the token");
    fake.inject("PutObject", { kind: "refuse", status: 403, code: "AccessDenied" });
    const denied = await ask(open());
    assertEquals(denied.properties.map(({ property, ok }) => [property, ok]), [["reach", true], ["write_read", false]]);
    assertStringIncludes(denied.properties[1]!.hint!, "Allow s3:PutObject");
  });
});

Deno.test("check --store on a store without ETags: nothing can be written", async () => {
  await withFake({ lacksEtags: true }, async ({ open }) => {
    const { ok, properties } = await ask(open());
    assertEquals([ok, properties.at(-1)?.property, properties.at(-1)?.ok], [false, "write_read", false]);
    assertStringIncludes(properties.at(-1)!.detail, "the answer does not say the object's ETag");
  });
});

Deno.test("check --store asks for the configured storage class", async () => {
  await withFake({ storageClasses: ["STANDARD_IA"] }, async ({ open }) => {
    const taken = await ask(open({ storageClass: "STANDARD_IA" }));
    assertEquals(taken.properties.find(({ property }) => property === "storage_class")?.held, true);
    const refused = await ask(open({ storageClass: "GLACIER_IR" }));
    assertEquals(refused.ok, false);
    assertEquals(lacking(refused).map(({ property }) => property), ["storage_class"]);
    assertStringIncludes(lacking(refused)[0]!.hint!, "Correct storage_class");
  });
});

Deno.test("check --store names the option for parts, and says that it is set", async () => {
  await withFake({ wantsEqualParts: true, maxParts: 1000 }, async ({ open }) => {
    const options = async (store: S3Store) =>
      lacking(await ask(store)).map(({ property, option }) => [property, option]);
    assertEquals(await options(open()), [["parts_unequal", "part_size: 64"], ["parts_count", "max_parts: 1000"]]);
    assertEquals(await options(open({ partBytes: PART_BYTES, maxParts: 1000 })), [
      ["parts_unequal", undefined],
      ["parts_count", undefined],
    ]);
  });
});

Deno.test("check --store leaves no upload behind whichever request of one it is stopped at", async () => {
  let uploads = 0;
  for (let nth = 1, isOver = false; !isOver; nth++) {
    for (const isAnswered of [false, true]) {
      await withFake({}, async ({ fake, open }) => {
        const controller = new AbortController();
        let requests = 0;
        const counting = async (url: string, init?: RequestInit) => {
          const isMeant = /\?(uploads|.*uploadId)=/.test(url) && ++requests === nth;
          if (isMeant && !isAnswered) controller.abort(new Error("stop"));
          const answer = await fetch(url, init);
          if (isMeant && isAnswered) controller.abort(new Error("stop"));
          return answer;
        };
        await ask(open({}, QUICK, { fetch: counting as StoreContext["fetch"] }), undefined, controller.signal)
          .catch(() => undefined);
        isOver = !controller.signal.aborted;
        uploads += fake.count("CreateMultipartUpload");
        // A question is left alone with its clean-up where another one has ended all.
        await until(() => fake.uploads.size === 0, `the end of all uploads, request ${nth}`);
      });
    }
  }
  assert(uploads > 20, `${uploads}`);
});

Deno.test("a race that a store lost counts for backups from then on", async () => {
  await withFake({ ignoresConditions: "races" }, async ({ open }) => {
    const other = open();
    // Whoever came first found nothing, as the objects of races were there.
    for (const name of CONDITIONS_RACE_NAMES) await other.replace(`backup/_store/${name}`, patternBytes(1));
    assertEquals(await findConditions(other, "backup/_store"), "held");
    await ask(open());
    assertEquals(await findConditions(open(), "backup/_store"), "ignored");
    assertEquals(await findConditions(open(), "backup/_store", { fresh: true }), "ignored");
  });
});

Deno.test("a race that could not be run, as the store failed in the middle, is not taken for lost", async () => {
  await withFake({}, async ({ open }) => {
    const failing = async (url: string, init?: RequestInit) =>
      /races/.test(url) ? new Response("busy", { status: 503 }) : await fetch(url, init);
    const report = await ask(open({}, QUICK, { fetch: failing as StoreContext["fetch"] }));
    assertEquals(lacking(report).map(({ property, ok }) => [property, ok]), [["create_race", false]]);
    assertEquals(await findConditions(open(), "backup/_store"), "held");
  });
});

Deno.test("check --store reports what it has found where a lost race cannot be noted", async () => {
  await withFake({ ignoresConditions: "races" }, async ({ open }) => {
    const refusing = async (url: string, init?: RequestInit) =>
      /conditions\.json/.test(url) ? new Response("no", { status: 403 }) : await fetch(url, init);
    const log = new RecordedLog();
    const report = await ask(open({}, QUICK, { fetch: refusing as StoreContext["fetch"] }), log);
    assertEquals(lacking(report).map(({ property, ok }) => [property, ok]), [["create_race", true]]);
    assertEquals(report.properties.map(({ property }) => property), PROPERTIES);
    assertStringIncludes(JSON.stringify(log), "the lost race could not be noted");
  });
});

Deno.test("check --store asks a folder, too", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-check-store-" });
  try {
    for (let time = 0; time < 2; time++) {
      const report = await ask(new DirectoryStore(root));
      assertEquals([report.ok, report.server, lacking(report)], [true, "file:", []]);
      assertEquals(report.properties.map(({ property }) => property), [
        "write_read",
        "read_after_write",
        "list",
        "keys",
        "keys_unicode",
        "create_only",
        "create_race",
      ]);
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
