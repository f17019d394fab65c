/**
 * Small databases that are back from a store far away and have to ask CouchDB once more claim a request for it. The
 * store keeps what it has to say to seven of them until all seven wait: they come back at one moment, on any machine.
 */
import { assert, assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../../fakes/couchdb.ts";
import { couchOk } from "../../couch_request.ts";
import { Repository } from "../../../src/archive/repository.ts";
import { StoreError } from "../../../src/errors.ts";
import { openStore } from "../../../src/store/open.ts";
import type { Store } from "../../../src/store/store.ts";
import type { Task } from "../../../src/task/task.ts";
import { Backups } from "./feed_setup.ts";
import { Gate, InFlight } from "./in_flight.ts";

const NAMES = Array.from({ length: 12 }, (_, n) => `db${String(n).padStart(2, "0")}`);
/**
 * Those that the first question for properties brings along, but for the first two: of these nobody knows the sizes when
 * their turns come, so that they count as large.
 */
const TOGETHER = NAMES.slice(2, 9);
/** Long enough for whoever does not wait for its turn. */
const HOLD_MS = 150;

/** Databases of three documents, the last of which the feed does not bring along. */
async function createAll(fake: FakeCouchDb): Promise<void> {
  for (const name of NAMES) {
    await couchOk(fake, `PUT /${name}`);
    const database = fake.databases.get(name)!;
    fill(database, 2);
    edit(database, { _id: "other", _attachments: { "t.txt": { content_type: "text/plain", data: "aGVsbG8=" } } });
  }
}

/** The same store, some of whose methods do something else. */
function storeLike(own: Store, other: Partial<Store>): Store {
  return new Proxy(own, {
    get(_, name: keyof Store) {
      const member = other[name] ?? own[name];
      return typeof member === "function" ? member.bind(own) : member;
    },
  });
}

/** Calls `met` with the first chunk of each of the seven, once it is stored. */
function whenStored(own: Store, met: (key: string) => Promise<void>): Partial<Store> {
  const left = new Set(TOGETHER);
  return {
    async create(keys, body, options) {
      const stored = await own.create(keys, body, options);
      const name = TOGETHER.find((one) => options?.kind === "chunk" && stored.key.includes(`/${one}/`));
      if (name !== undefined && left.delete(name)) await met(stored.key);
      return stored;
    },
  };
}

interface Scene {
  task?: Partial<Task>;
  /** What the store does, from the second day on where the task is incremental. */
  store: (own: Store, gate: Gate) => Partial<Store>;
  /** What is done with each request to one of the seven before they come back. */
  before?: (fake: FakeCouchDb, database: string, endpoint: string) => void;
}

/** Backs up, and counts requests from the moment at which seven databases come back. */
async function comeBack(parallel: number, { task, store, before }: Scene): Promise<InFlight> {
  await using fake = await startFakeCouchDb({ externalBytes: 1000 });
  await createAll(fake);
  await using backups = new Backups();
  const own = await openStore({ bucket: pathToFileURL(backups.root).href });
  const databases = NAMES.map((database) => ({ database, pattern: database }));
  const gate = new Gate(TOGETHER.length);
  const run = async (day: number, used: Store) => {
    const repository = new Repository(used, { prefix: "", suffix: "couchdb" });
    const context = { freshMs: 60_000, repository };
    const reports = await backups.runAll(fake, databases, { task: { parallel, ...task }, day, context });
    assertEquals(reports.map(({ status, error }) => error ?? status), NAMES.map(() => "complete"));
  };
  if (task?.increments !== undefined) await run(3, own);
  const ofThem = (names: readonly string[]) => names.filter((name) => TOGETHER.includes(name));
  const inFlight: InFlight = new InFlight([fake], {
    // Until each has come back: what they ask for then tells nothing new.
    holds: () => gate.isOpen && inFlight.asked.size < TOGETHER.length ? HOLD_MS : undefined,
    databasesOf: ({ database, endpoint, ids }) =>
      database !== undefined ? ofThem([database]) : endpoint === "_dbs_info" ? ofThem(ids) : [],
  });
  fake.onRequest(({ database, endpoint }) => {
    if (!gate.isOpen && database !== undefined && TOGETHER.includes(database)) before?.(fake, database, endpoint);
  });
  await run(4, storeLike(own, store(own, gate)));
  return inFlight;
}

/** Databases of which a document was deleted since they were counted, so that their counts have to be looked at again. */
const COUNTED_LATE: Scene = {
  store: (own, gate) => whenStored(own, () => gate.pass()),
  before: (fake, name, endpoint) => {
    const database = fake.databases.get(name)!;
    if (endpoint === "_changes" && database.tree("d0000000")?.winner()?.content?.deleted !== true) {
      edit(database, { _id: "d0000000", _deleted: true });
    }
  },
};

/** Databases whose chunks somebody else has stored under the same names meanwhile. */
const READ_AGAIN: Scene = {
  store: (own, gate) =>
    whenStored(own, async (key) => {
      await gate.pass();
      throw new StoreError("The key is taken", { code: "exists", key });
    }),
};

/** Databases whose backups before are gone when the increments are stored. */
const SAVED_IN_FULL: Scene = {
  task: { increments: { most: 14 } },
  store: (own, gate) => {
    const left = new Set(TOGETHER);
    return {
      async stat(key, options) {
        const name = TOGETHER.find((one) => key.includes(`/${one}/`) && /manifest/.test(key));
        if (name === undefined || !left.delete(name)) return await own.stat(key, options);
        await gate.pass();
        return undefined;
      },
    };
  },
};

const SCENES: [title: string, scene: Scene][] = [
  ["its counts are looked at late", COUNTED_LATE],
  ["its chunk is read again", READ_AGAIN],
  ["it is saved in full after all", SAVED_IN_FULL],
];

for (const [title, scene] of SCENES) {
  Deno.test(`backup() of a small database claims a request again before ${title}`, async () => {
    for (const parallel of [1, 4]) {
      const { most, asked } = await comeBack(parallel, scene);
      assertEquals([...asked].sort(), TOGETHER, "each has to ask once more");
      assert(most <= parallel, `${most} databases make requests, with parallel: ${parallel}`);
    }
  });
}
