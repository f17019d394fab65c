/** What a restore has in hand beside the requests that are with CouchDB, and how many these are. */
import { randomBytes } from "node:crypto";
import { assertEquals, assertRejects } from "@std/assert";
import { Repository } from "../../../src/archive/repository.ts";
import { restore } from "../../../src/commands/restore/restore.ts";
import { CouchClient } from "../../../src/couchdb/client.ts";
import { CouchError } from "../../../src/errors.ts";
import { Secret } from "../../../src/secret.ts";
import type { Store } from "../../../src/store/store.ts";
import { couchOk } from "../../couch_request.ts";
import { makeArchive } from "../../make_archive.ts";
import { until } from "../../until.ts";
import { type RestoreSetup, setUpRestore } from "./setup.ts";

/** Requests in flight, by default. */
const PARALLEL = 4;
/** Chunks that are read ahead of the one whose documents become batches. */
const AHEAD = 3;
const CHUNKS = 20;
const OF_A_CHUNK = 10;

/** What is in a backup. */
interface Contents {
  /** The number of a document that is too large to be held. @default none is */
  largeAt?: number | undefined;
  /** Of the text in the last document of each chunk. @default it has none */
  textBytes?: number | undefined;
}

/** A backup in chunks each of which is one request, but for the document that is too large for one. */
async function makeBackup(
  { server, couch, store }: RestoreSetup,
  { largeAt, textBytes = 0 }: Contents,
): Promise<string> {
  await couchOk(server, "PUT /old?q=1");
  const numbers = [...Array(CHUNKS * OF_A_CHUNK).keys()];
  const docs = numbers.map((number) => ({
    _id: `doc-${String(number).padStart(3, "0")}`,
    ...number === largeAt
      ? { _attachments: { f: { content_type: "a/b", data: randomBytes(4_500_000).toString("base64") } } }
      : {},
    ...textBytes > 0 && (number + 1) % OF_A_CHUNK === 0 ? { text: "x".repeat(textBytes) } : {},
  }));
  await couchOk(server, "POST /old/_bulk_docs", { docs });
  return (await makeArchive({ couch, store, database: "old", chunk: OF_A_CHUNK })).folder;
}

/** The same store; which chunks are read from it is noted. */
function noteReads(store: Store, read: Set<string>): Store {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      return (...given: unknown[]) => {
        if (name !== "list" && /\/\d+\.json\.gz$/.test(String(given[0]))) read.add(String(given[0]));
        return Reflect.apply(member, target, given) as unknown;
      };
    },
  });
}

/** Restores a backup whose first requests CouchDB answers when `look` has seen what there is meanwhile. */
async function restoreHeld(
  contents: Contents,
  look: (seen: { read: ReadonlySet<string>; posts: () => number }) => Promise<void>,
): Promise<void> {
  await using setup = await setUpRestore();
  const { server, store, context } = setup;
  const path = await makeBackup(setup, contents);
  const read = new Set<string>();
  const repository = new Repository(noteReads(store, read), { prefix: "", suffix: "" });
  const { promise: looked, resolve: goOn } = Promise.withResolvers<void>();
  const held = { kind: "run", run: () => looked } as const;
  server.faults.add({ endpoint: "_bulk_docs", database: "new", times: Infinity, fault: held });
  const posts = () => server.requestsTo("_bulk_docs", "new").length;
  const restoring = restore({ ...context, repository }, { database: "new", path });
  try {
    await until(() => posts() === PARALLEL, "four requests are with CouchDB");
    await look({ read, posts });
  } finally {
    goOn();
    const { ok, documents } = await restoring;
    assertEquals([ok, documents, read.size], [true, CHUNKS * OF_A_CHUNK, CHUNKS]);
  }
}

Deno.test("restore() makes the next two batches while CouchDB has those before them, and asks nothing of it", async () => {
  await restoreHeld({}, async ({ read, posts }) => {
    await until(() => read.size >= PARALLEL + 2 + AHEAD, "the next batches are made");
    // Time for what must not come.
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertEquals([posts(), read.size], [PARALLEL, PARALLEL + 2 + AHEAD]);
  });
});

Deno.test("restore() makes none of the next batches while large documents are with CouchDB", async () => {
  await restoreHeld({ textBytes: 3_200_000 }, async ({ read, posts }) => {
    await until(() => read.size >= PARALLEL + AHEAD, "the chunks behind are read");
    // Time for what must not come.
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertEquals([posts(), read.size], [PARALLEL, PARALLEL + AHEAD]);
  });
});

Deno.test("restore() counts a document that streams as a request, and sends it when there is a place for one", async () => {
  // Of the chunk behind the four that are held.
  await restoreHeld({ largeAt: PARALLEL * OF_A_CHUNK }, async ({ read, posts }) => {
    await until(() => read.size >= PARALLEL + 1 + AHEAD, "the document's turn has come");
    // Sent all the same it would be there by then, and what is behind it read.
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertEquals([posts(), read.size], [PARALLEL, PARALLEL + 1 + AHEAD]);
  });
});

for (const endpoint of ["_bulk_docs", "_revs_diff"]) {
  Deno.test(`restore() sends no other ${endpoint} in the place of one whose login is refused: CouchDB counts these`, async () => {
    await using setup = await setUpRestore();
    const { server, store, context, log } = setup;
    const path = await makeBackup(setup, {});
    await couchOk(server, "PUT /new?q=1");
    if (endpoint === "_revs_diff") await couchOk(server, "POST /new/_bulk_docs", { docs: [{ _id: "other" }] });
    const read = new Set<string>();
    const refuse = Promise.withResolvers<void>();
    let sent = 0;
    const couch = new CouchClient({
      url: server.url,
      login: server.login,
      password: new Secret(server.password),
      log,
      async fetch(url, init) {
        if (!String(url).endsWith(`/new/${endpoint}`)) return await fetch(url, init);
        init!.signal!.throwIfAborted();
        // The others are answered later, if at all.
        if (++sent > 1) return await new Promise((_, reject) => init!.signal!.addEventListener("abort", reject));
        await refuse.promise;
        return Response.json({ error: "unauthorized", reason: "Name or password is incorrect." }, { status: 401 });
      },
    });
    const repository = new Repository(noteReads(store, read), { prefix: "", suffix: "" });
    const request = { database: "new", path, intoExisting: true };
    const refused = assertRejects(() => restore({ ...context, couch, repository }, request), CouchError, "401");
    await until(() => sent === PARALLEL && read.size === PARALLEL + 2 + AHEAD, "the next batches are made");
    refuse.resolve();
    await refused;
    assertEquals(sent, PARALLEL);
  });
}
