/** A restore from a folder, while one request to CouchDB, or all from one on, go wrong. */
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { FaultProxy } from "./proxy.ts";
import { HARD, Program } from "./program.ts";
import { judgeRestore } from "./restore_case.ts";
import { makeFolder, openSource, startCouch, through } from "./scene.ts";
import { sweep } from "./sweep.ts";
import { COUCHDB_FAULTS, type WireFault } from "./wire_faults.ts";

const TARGET = "back/again";

let folder: Promise<string> | undefined;

/** The repository that is restored from; nobody writes to it. */
function archive(): Promise<string> {
  return folder ??= (async () => await makeFolder((await openSource()).earlier))();
}

globalThis.addEventListener("unload", () => {
  folder?.then((path) => Deno.removeSync(path, { recursive: true }));
});

for (const fault of COUCHDB_FAULTS) {
  if (fault.name === "error-rows") continue; // A restore reads no documents by _bulk_get.
  sweep({
    subject: "couchdb restore",
    fault: fault.name,
    rounds: fault.rounds,
    places: () => countRequests(),
    attempt: (place, random) => tryOne(fault, place, random),
  });
}

let counted: Promise<number> | undefined;

function countRequests(): Promise<number> {
  return counted ??= (async () => {
    await using target = await startCouch();
    await using proxy = await FaultProxy.start("couchdb", target.url);
    const store = new DirectoryStore(`${await archive()}/bucket`);
    const program = new Program({ couch: through(target, proxy), store });
    const { exit } = await program.restore({ database: TARGET, path: `2026-01-02/${HARD}`, parallel: 1 });
    if (exit !== 0) throw new Error(`A run without a fault exits with ${exit}`);
    return proxy.requests.length;
  })();
}

async function tryOne(fault: WireFault, place: number, random: () => number) {
  const source = await openSource();
  await using target = await startCouch();
  await using proxy = await FaultProxy.start("couchdb", target.url);
  const store = new DirectoryStore(`${await archive()}/bucket`);
  const run = (intoExisting: boolean) =>
    new Program({ couch: through(target, proxy), store })
      .restore({ database: TARGET, path: `2026-01-02/${HARD}`, parallel: 1, intoExisting });
  proxy.arm({ fault, at: place, random });
  const first = await run(false);
  const { isMet } = proxy;
  const met = proxy.requests[place - 1];
  proxy.arm(undefined);
  const truth = source.truths.get(HARD)!;
  return await judgeRestore({ truth, target, database: TARGET, first, isMet, met, again: () => run(true) });
}
