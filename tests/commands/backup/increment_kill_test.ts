/**
 * An incremental run that is killed at each operation of its store, before and behind it: what was complete before
 * stays whole, what is called complete is whole, and running again ends it.
 */
import { assert, assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { followChain } from "../../../src/archive/chain.ts";
import { listManifests, readManifests } from "../../../src/archive/read.ts";
import { Repository } from "../../../src/archive/repository.ts";
import { verify } from "../../../src/commands/verify.ts";
import { InterruptedError } from "../../../src/errors.ts";
import { SILENT_PROGRESS } from "../../../src/observe.ts";
import { openStore } from "../../../src/store/open.ts";
import type { Store } from "../../../src/store/store.ts";
import { edit, fill } from "../../fakes/couchdb/edits.ts";
import { Increments } from "./increment_setup.ts";

const OPERATIONS = new Set(["create", "replace", "read", "stat", "list", "tryConditions"]);
const TASK = { chunk: 20, parallel: 2 };

/** A store whose process ends at its `last`-th operation: before it, or when it is done and nobody has heard of it. */
class DyingStore {
  readonly store: Store;
  readonly death: AbortController = new AbortController();
  operations = 0;

  constructor(store: Store, { last, isDone }: { last: number; isDone: boolean }) {
    const die = () => {
      const error = new InterruptedError("killed");
      this.death.abort(error);
      throw error;
    };
    this.store = new Proxy(store, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        if (!OPERATIONS.has(String(name))) return value.bind(target);
        if (name === "list") {
          return (...args: unknown[]) => {
            this.operations++;
            if (this.operations >= last) die();
            return value.apply(target, args);
          };
        }
        return async (...args: unknown[]) => {
          this.operations++;
          if (this.death.signal.aborted || (this.operations >= last && !isDone)) die();
          const result = await value.apply(target, args);
          if (this.operations >= last) die();
          return result;
        };
      },
      set: (target, name, value) => Reflect.set(target, name, value, target),
    });
  }
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

async function repositoryIn(root: string): Promise<Repository> {
  return new Repository(await openStore({ bucket: pathToFileURL(root).href }), { prefix: "", suffix: "couchdb" });
}

for (
  const { what, kind, change } of [
    {
      what: "an increment",
      kind: "incremental",
      change: (place: Increments, ids: readonly string[]) => {
        edit(place.database, ...ids.slice(0, 60).map((_id) => ({ _id, changed: true })));
        edit(place.database, ...ids.slice(60, 70).map((_id) => ({ _id, _deleted: true })));
      },
    },
    { what: "a carry-over", kind: "unchanged", change: () => {} },
  ] as const
) {
  Deno.test(`${what} that is killed at every operation of the store harms nothing, and running again ends it`, async () => {
    await using place = await Increments.start();
    const ids = fill(place.database, 300);
    await place.run({ task: TASK });
    edit(place.database, { _id: ids[299]!, second: true });
    await place.run({ task: TASK, day: 4 });
    change(place, ids);
    const before = await place.leaves(ids.slice(60, 70));
    let deaths = 0;
    for (let last = 1;; last++) {
      let survived = false;
      for (const isDone of [false, true]) {
        const root = await Deno.makeTempDir({ prefix: "couchdb-backup dying-" });
        try {
          await copyFolder(place.backups.root, root);
          const whole = await repositoryIn(root);
          const dying = new DyingStore(whole.store, { last, isDone });
          const signals = { signal: dying.death.signal, stop: dying.death.signal };
          const repository = new Repository(dying.store, whole);
          const run = { task: TASK, day: 5, context: { repository, ...signals, run: "the run" } };
          const report = await place.run(run).catch((error) => {
            assert(error instanceof InterruptedError, String(error));
            return undefined;
          });
          survived = report !== undefined;
          deaths += survived ? 0 : 1;
          await expectWhole(whole, place, `killed at operation ${last}, ${isDone ? "behind" : "before"} it`);
          const again = await place.run({ ...run, resume: true, context: { repository: whole, run: "the run" } });
          assertEquals([again.status === "failed" ? again.error : undefined, again.kind], [undefined, "incremental"]);
          if (kind === "unchanged") assertEquals(again.documents, 0);
          await expectWhole(whole, place, `resumed behind operation ${last}`);
          const { leaves } = await place.restore(`${root}/2026/01/05/couchdb/db`, { also: ids.slice(60, 70) });
          assertEquals(leaves, before);
        } finally {
          await Deno.remove(root, { recursive: true });
        }
      }
      if (survived) break;
    }
    assert(deaths > 10, `${deaths} deaths`);
  });
}

/** Every manifest of the repository that there is stands for a backup that is whole, and the older two are there. */
async function expectWhole(repository: Repository, place: Increments, what: string): Promise<void> {
  const { store } = repository;
  const signal = new AbortController().signal;
  let points = 0;
  for (const day of ["03", "04", "05"]) {
    const folder = `2026/01/${day}/couchdb/db`;
    for (
      const found of await readManifests(store, folder, {
        state: { manifests: await listManifests(store, folder, {}) },
      })
    ) {
      assert("manifest" in found, what);
      points++;
      const { broken } = await followChain({ store, folder, manifest: found.manifest }, {});
      assertEquals(broken, undefined, what);
      const report = await verify({
        repository,
        openStore: (bucket) => openStore({ bucket }),
        log: place.backups.log,
        progress: SILENT_PROGRESS,
        now: () => new Date(),
        signal,
      }, { database: "db", path: `${folder}/${found.name}` });
      assertEquals([report.ok, report.problems], [true, []], what);
    }
  }
  assert(points >= 2, `${what}: ${points} restore points`);
}
