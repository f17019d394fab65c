/**
 * What every store promises, as one suite: a store's test file calls it with a way to make an empty store and to count
 * what is left in it.
 */
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { StoreError } from "../../src/errors.ts";
import type { ListOptions, Store, StoreEntry } from "../../src/store/store.ts";

/** One empty store, and what only its own test file can know of it. */
export interface StoreUnderTest {
  store: Store;
  /** Everything that takes up space, by what it is called there: objects, temporary files, unfinished uploads. */
  leftovers(): Promise<string[]>;
  /** A body of this size is stored in several steps, where the store knows such. */
  largeBytes: number;
  close(): Promise<void>;
}

export const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** Bytes that repeat nowhere near, so that a swapped or doubled part shows. */
export function patternBytes(sizeBytes: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes);
  let state = seed >>> 0;
  for (let index = 0; index < sizeBytes; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

/** A body in pieces of `pieceBytes`. */
export async function* pieces(bytes: Uint8Array, pieceBytes = 60_000): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    yield await Promise.resolve(bytes.subarray(start, start + pieceBytes));
  }
}

export async function readAll(store: Store, key: string): Promise<Uint8Array> {
  return new Uint8Array(
    await new Response(await store.read(key) as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer(),
  );
}

export async function listAll(store: Store, folder: string): Promise<StoreEntry[]> {
  return await Array.fromAsync(store.list(folder));
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const names = (entries: StoreEntry[]) =>
  entries.map((entry) => entry.kind === "folder" ? `${entry.name}/` : entry.name);

/** Keys that a careless encoding loses, confuses or refuses. */
const ODD_KEYS = [
  "odd/account%2Fab%2Fcd/0000000.json.gz",
  "odd/account/ab/cd",
  "odd/a%2Bb",
  "odd/a+b",
  "odd/a b",
  "odd/a%20b",
  "odd/100%",
  "odd/100%25",
  "odd/!'()*;:@&=$,?#[]~",
  'odd/<>"&amp;',
  "odd/\u00e9\u4e2d\u{1F600}",
  "odd/back\\slash",
  "odd/.hidden",
  "odd/...",
  "odd/0010",
];

/** Registers the suite as tests named `<name> …`. */
export function testStore(name: string, open: () => Promise<StoreUnderTest>): void {
  const test = (sentence: string, body: (given: StoreUnderTest) => Promise<void>) => {
    Deno.test(`${name} ${sentence}`, async () => {
      const given = await open();
      try {
        await body(given);
      } finally {
        await given.close();
      }
    });
  };

  test("create() stores a body and says its size and checksum", async ({ store, leftovers }) => {
    const body = patternBytes(200_000);
    const stored = await store.create(["backup/a%2Fb/0000000.json.gz"], pieces(body));
    assertEquals(stored, { key: "backup/a%2Fb/0000000.json.gz", sizeBytes: 200_000, sha256: sha256(body) });
    assertEquals(await readAll(store, stored.key), body);
    assertEquals((await leftovers()).length, 1);
  });

  test("create() stores an empty body", async ({ store }) => {
    const stored = await store.create(["empty"], pieces(new Uint8Array(0)));
    assertEquals(stored, { key: "empty", sizeBytes: 0, sha256: sha256(new Uint8Array(0)) });
    assertEquals(await readAll(store, "empty"), new Uint8Array(0));
    assertEquals((await store.stat("empty"))?.sizeBytes, 0);
  });

  test("create() stores a large body, in small pieces and in one", async ({ store, largeBytes, leftovers }) => {
    const body = patternBytes(largeBytes, 7);
    const small = await store.create(["large/small-pieces"], pieces(body, 33_333));
    const one = await store.create(["large/one-piece"], pieces(body, body.length));
    for (const stored of [small, one]) {
      assertEquals([stored.sizeBytes, stored.sha256], [body.length, sha256(body)]);
      assertEquals(sha256(await readAll(store, stored.key)), sha256(body));
    }
    assertEquals((await leftovers()).length, 2);
  });

  test("create() takes the first key that is free and leaves the others alone", async ({ store, largeBytes }) => {
    for (const size of [10, largeBytes]) {
      const folder = `free-${size}`;
      await store.create([`${folder}/0`], pieces(bytesOf("zero")));
      await store.create([`${folder}/1`], pieces(bytesOf("one")));
      const body = patternBytes(size);
      const stored = await store.create([`${folder}/0`, `${folder}/1`, `${folder}/2`, `${folder}/3`], pieces(body));
      assertEquals(stored, { key: `${folder}/2`, sizeBytes: size, sha256: sha256(body) });
      assertEquals(await readAll(store, `${folder}/0`), bytesOf("zero"));
      assertEquals(await readAll(store, `${folder}/1`), bytesOf("one"));
      assertEquals(names(await listAll(store, folder)), ["0", "1", "2"]);
    }
  });

  test("create() says exists when all keys are taken, and changes nothing", async ({ store, largeBytes, leftovers }) => {
    await store.create(["taken"], pieces(bytesOf("first")));
    for (const size of [0, 10, largeBytes]) {
      const error = await assertRejects(() => store.create(["taken"], pieces(patternBytes(size))), StoreError);
      assertEquals([error.facts.code, error.facts.key], ["exists", "taken"]);
    }
    assertEquals(await readAll(store, "taken"), bytesOf("first"));
    assertEquals((await leftovers()).length, 1);
  });

  test("create() gives ten writers at once ten different keys", async ({ store }) => {
    const keys = Array.from({ length: 12 }, (_, index) => `race/${String(index).padStart(2, "0")}`);
    const stored = await Promise.all(
      Array.from({ length: 10 }, (_, writer) => store.create(keys, pieces(bytesOf(`writer ${writer}`)))),
    );
    assertEquals(stored.map((object) => object.key).sort(), keys.slice(0, 10));
    for (const [writer, object] of stored.entries()) {
      assertEquals(await readAll(store, object.key), bytesOf(`writer ${writer}`));
    }
  });

  test("create() gives equal bodies of two writers different keys", async ({ store }) => {
    const stored = await Promise.all([1, 2].map(() => store.create(["same/0", "same/1"], pieces(bytesOf("same")))));
    assertEquals(stored.map((object) => object.key).sort(), ["same/0", "same/1"]);
  });

  test("create() shows nothing under the key before the body is whole", async ({ store, largeBytes }) => {
    const seen: unknown[] = [];
    const body = patternBytes(largeBytes);
    async function* watched() {
      for await (const bytes of pieces(body, 1_000_000)) {
        seen.push(await store.stat("slow"), ...await listAll(store, ""));
        yield bytes;
      }
    }
    await store.create(["slow"], watched());
    assert(seen.length > 0 && seen.every((found) => found === undefined), JSON.stringify(seen));
    assertEquals((await store.stat("slow"))?.sizeBytes, largeBytes);
  });

  test("create() leaves nothing when the body fails, and throws what it threw", async ({ store, largeBytes, leftovers }) => {
    for (const size of [0, 1000, largeBytes]) {
      const failing = async function* () {
        yield* pieces(patternBytes(size));
        throw new RangeError(`broken after ${size}`);
      };
      await assertRejects(() => store.create(["failed"], failing()), RangeError, `broken after ${size}`);
      assertEquals(await leftovers(), []);
    }
  });

  test("create() leaves nothing when it is aborted while the producer is silent", async ({ store, largeBytes, leftovers }) => {
    for (const size of [0, 1000, largeBytes]) {
      const controller = new AbortController();
      const reason = new Error(`stop at ${size}`);
      const silent = async function* () {
        yield* pieces(patternBytes(size));
        controller.abort(reason);
        yield await new Promise<Uint8Array>(() => {}); // never answers
      };
      const error = await store.create(["aborted"], silent(), { signal: controller.signal }).catch((error) => error);
      assertEquals(error, reason);
      assertEquals(await leftovers(), []);
    }
  });

  test("create() stops the producer when it cannot store", async ({ store }) => {
    const controller = new AbortController();
    const stopped = Promise.withResolvers<string>();
    async function* endless() {
      try {
        for (let count = 0;; count++) {
          if (count === 50) controller.abort(new Error("enough"));
          yield await Promise.resolve(new Uint8Array(1000));
        }
      } finally {
        stopped.resolve("stopped");
      }
    }
    await assertRejects(() => store.create(["endless"], endless(), { signal: controller.signal }), Error, "enough");
    assertEquals(await stopped.promise, "stopped");
  });

  test("every operation throws the reason of a signal that has fired", async ({ store, leftovers }) => {
    const reason = new Error("already over");
    const options = { signal: AbortSignal.abort(reason) };
    const operations: Record<string, () => Promise<unknown>> = {
      create: () => store.create(["x"], pieces(bytesOf("x")), options),
      replace: () => store.replace("x", bytesOf("x"), options),
      read: () => store.read("x", options),
      stat: () => store.stat("x", options),
      list: () => Array.fromAsync(store.list("", options)),
    };
    for (const [operation, run] of Object.entries(operations)) {
      assertEquals(await run().catch((error) => error), reason, operation);
    }
    assertEquals(await leftovers(), []);
  });

  test("replace() makes an object and puts another in its place", async ({ store, leftovers }) => {
    await store.replace("folder/manifest.json", bytesOf("one"));
    assertEquals(await readAll(store, "folder/manifest.json"), bytesOf("one"));
    await store.replace("folder/manifest.json", bytesOf("two, longer"));
    assertEquals(await readAll(store, "folder/manifest.json"), bytesOf("two, longer"));
    await store.replace("folder/manifest.json", new Uint8Array(0));
    assertEquals(await readAll(store, "folder/manifest.json"), new Uint8Array(0));
    assertEquals((await leftovers()).length, 1);
  });

  test("replace() shows a reader the old object or the new one, never a mixture", async ({ store }) => {
    const versions = [patternBytes(300_000, 1), patternBytes(300_000, 2)];
    const hashes = new Set(versions.map(sha256));
    await store.replace("manifest", versions[0]!);
    let writing = true;
    const writer = (async () => {
      for (let turn = 0; turn < 10; turn++) await store.replace("manifest", versions[turn % 2]!);
      writing = false;
    })();
    let reads = 0;
    while (writing || reads === 0) {
      const read = await readAll(store, "manifest").catch((error) => error);
      // An object that changed in the middle of a read may be refused, but never be mixed.
      if (read instanceof Error) assertInstanceOf(read, StoreError);
      else assert(hashes.has(sha256(read)), `a mixture of ${read.length} bytes`);
      reads++;
    }
    await writer;
  });

  test("create() and replace() show nothing before what they come after is done", async ({ store, largeBytes }) => {
    await store.replace("f/copy", bytesOf("old"));
    for (const size of [10, largeBytes]) {
      const { promise: after, resolve } = Promise.withResolvers<boolean>();
      const created = store.create([`f/${size}`], pieces(patternBytes(size)), { after });
      const replaced = store.replace("f/copy", bytesOf(`new ${size}`), { after });
      const before = await readAll(store, "f/copy");
      await new Promise((resolve) => setTimeout(resolve, 50));
      assertEquals(await store.stat(`f/${size}`), undefined);
      assertEquals(await readAll(store, "f/copy"), before);
      resolve(true);
      await Promise.all([created, replaced]);
      assertEquals(await readAll(store, `f/${size}`), patternBytes(size));
      assertEquals(await readAll(store, "f/copy"), bytesOf(`new ${size}`));
    }
  });

  test("create() and replace() throw what they come after has failed with, and leave nothing", async (given) => {
    const { store, leftovers } = given;
    await store.replace("f/copy", bytesOf("old"));
    const reason = new Error("what comes before has failed");
    for (const isLate of [false, true]) {
      const after = (async () => {
        if (isLate) await new Promise((resolve) => setTimeout(resolve, 50));
        throw reason;
      })();
      const works = [
        store.create(["f/new"], pieces(bytesOf("x")), { after }),
        store.replace("f/copy", bytesOf("new"), { after }),
      ];
      for (const work of await Promise.allSettled(works)) {
        assertEquals(work.status === "rejected" && work.reason, reason);
      }
    }
    assertEquals(names(await listAll(store, "f")), ["copy"]);
    assertEquals(await readAll(store, "f/copy"), bytesOf("old"));
    assertEquals((await leftovers()).length, 1);
  });

  test("create() and replace() are cancelled while they wait for what comes before", async ({ store, leftovers }) => {
    const cancel = new AbortController();
    const options = { after: new Promise<boolean>(() => {}), signal: cancel.signal };
    const works = [
      store.create(["f/new"], pieces(bytesOf("x")), options),
      store.replace("f/copy", bytesOf("new"), options),
    ];
    const reason = new Error("cancelled");
    setTimeout(() => cancel.abort(reason), 50);
    for (const work of await Promise.allSettled(works)) {
      assertEquals(work.status === "rejected" && work.reason, reason);
    }
    assertEquals(await leftovers(), []);
  });

  test("replace() leaves what is there where the new object is not wanted any more", async ({ store, leftovers }) => {
    await store.replace("f/copy", bytesOf("old"));
    await store.replace("f/copy", bytesOf("new"), { after: Promise.resolve(false) });
    assertEquals(await readAll(store, "f/copy"), bytesOf("old"));
    assertEquals((await leftovers()).length, 1);
  });

  test("read() and stat() say that there is no object", async ({ store }) => {
    await store.create(["a/b"], pieces(bytesOf("x")));
    for (const key of ["none", "a", "a/b/c", "a/none", "none/none"]) {
      const error = await assertRejects(() => store.read(key), StoreError);
      assertEquals([error.facts.code, error.facts.key], ["not_found", key]);
      assertEquals(await store.stat(key), undefined, key);
    }
  });

  test("read() can be left before the end", async ({ store, largeBytes }) => {
    await store.create(["left"], pieces(patternBytes(largeBytes)));
    const reader = (await store.read("left")).getReader();
    const first = await reader.read();
    assert((first.value?.length ?? 0) > 0);
    await reader.cancel();
  });

  test("read() is cancelled by its signal", async ({ store, largeBytes }) => {
    await store.create(["cancelled"], pieces(patternBytes(largeBytes)));
    const controller = new AbortController();
    const reader = (await store.read("cancelled", { signal: controller.signal })).getReader();
    await reader.read();
    const reason = new Error("enough read");
    controller.abort(reason);
    const error = await (async () => {
      while (!(await reader.read()).done);
    })().catch((error) => error);
    assertEquals(error, reason);
  });

  test("stat() says size and time", async ({ store }) => {
    const before = Date.now();
    await store.create(["timed"], pieces(bytesOf("12345")));
    const found = await store.stat("timed");
    assertEquals(found?.sizeBytes, 5);
    const age = (found?.modified.getTime() ?? 0) - before;
    assert(age > -5000 && age < 60_000, `modified ${age} ms after`);
  });

  test("keys keep every character, and two of them never mean one object", async ({ store }) => {
    for (const key of ODD_KEYS) await store.create([key], pieces(bytesOf(key)));
    for (const key of ODD_KEYS) {
      assertEquals(await readAll(store, key), bytesOf(key), key);
      assertEquals((await store.stat(key))?.sizeBytes, bytesOf(key).length, key);
    }
    const found = await listAll(store, "odd");
    const direct = new Set(
      ODD_KEYS.map((key) => key.split("/").slice(1)).map(([name, ...rest]) => rest.length > 0 ? `${name}/` : name!),
    );
    assertEquals(new Set(names(found)), direct);
    assertEquals(names(await listAll(store, "odd/account%2Fab%2Fcd")), ["0000000.json.gz"]);
    assertEquals(names(await listAll(store, "odd/account")), ["ab/"]);
  });

  test("a key with an empty segment, . or .. is refused before anything is touched", async ({ store, leftovers }) => {
    for (const key of ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".", "./a", "a\0b", "a\ud800"]) {
      const operations: Record<string, () => Promise<unknown>> = {
        create: () => store.create([key], pieces(bytesOf("x"))),
        replace: () => store.replace(key, bytesOf("x")),
        read: () => store.read(key),
        stat: () => store.stat(key),
        list: () => Array.fromAsync(store.list(key === "" ? ".." : key)),
      };
      for (const [operation, run] of Object.entries(operations)) {
        const error = await assertRejects(run, StoreError, undefined, `${operation} ${JSON.stringify(key)}`);
        assertEquals(error.facts.code, "bad_key");
      }
    }
    assertEquals(await leftovers(), []);
  });

  test("list() tells objects and folders, by name, without what lies deeper", async ({ store }) => {
    for (const key of ["l/b", "l/a/x", "l/a/y/z", "l/a-b", "l/a0", "l/B", "l/\uff5e", "l/\u{1F600}", "m/other", "lx"]) {
      await store.create([key], pieces(bytesOf(key)));
    }
    const found = await listAll(store, "l");
    assertEquals(names(found), ["B", "a-b", "a/", "a0", "b", "\uff5e", "\u{1F600}"]);
    assertEquals(found.flatMap((entry) => entry.kind === "object" ? [[entry.name, entry.sizeBytes]] : []), [
      ["B", 3],
      ["a-b", 5],
      ["a0", 4],
      ["b", 3],
      ["\uff5e", 5],
      ["\u{1F600}", 6],
    ]);
    assert(found.every((entry) => entry.kind === "folder" || Math.abs(Date.now() - entry.modified.getTime()) < 60_000));
    assertEquals(names(await listAll(store, "")), ["l/", "lx", "m/"]);
    assertEquals(names(await listAll(store, "l/a")), ["x", "y/"]);
    assertEquals(await listAll(store, "none"), []);
    assertEquals(await listAll(store, "l/b"), []);
  });

  test("list() tells only the names that begin as wanted", async ({ store }) => {
    for (const key of ["p/m", "p/ma-1", "p/ma-2/x", "p/Ma", "p/n/ma", "p/%2Fb", "p/é"]) {
      await store.create([key], pieces(bytesOf(key)));
    }
    const cases: [folder: string, prefix: string, names: string[]][] = [
      ["p", "ma", ["ma-1", "ma-2/"]],
      ["p", "ma-2", ["ma-2/"]],
      ["p", "%2F", ["%2Fb"]],
      ["p", "é", ["é"]],
      ["p", "x", []],
      ["", "p", ["p/"]],
      ["none", "m", []],
    ];
    for (const [folder, prefix, expected] of cases) {
      assertEquals(names(await Array.fromAsync(store.list(folder, { prefix }))), expected, prefix);
    }
  });

  test("list() begins behind a name, whatever lies before it", async ({ store }) => {
    for (const name of ["0000000.json.gz", "checkpoint-1.json", "keep", "keep-1.json", "manifest-1.json", "z/deep"]) {
      await store.create([`f/${name}`], pieces(bytesOf("1")));
    }
    const names = async (options: ListOptions) =>
      (await Array.fromAsync(store.list("f", options))).map(({ name }) => name);
    assertEquals(await names({ after: "keep" }), ["keep-1.json", "manifest-1.json", "z"]);
    assertEquals(await names({ after: "keep", prefix: "man" }), ["manifest-1.json"]);
    assertEquals(await names({ after: "zz" }), []);
  });

  test("list() yields many objects once each, in order", async ({ store }) => {
    const expected = Array.from({ length: 25 }, (_, index) => `${String(index).padStart(7, "0")}.json.gz`);
    for (const name of expected) await store.create([`many/${name}`], pieces(bytesOf("x")));
    assertEquals(names(await listAll(store, "many")), expected);
  });

  test("locate() and url say where an object is", async ({ store }) => {
    const { key } = await store.create(["here/0"], pieces(bytesOf("x")));
    assertEquals(store.locate(key), `${store.url}/here/0`);
  });
}
