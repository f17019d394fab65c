/** A backup into a folder, while one request to CouchDB, or all from one on, go wrong. */
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { judgeBackup } from "./backup_case.ts";
import { FaultProxy } from "./proxy.ts";
import { Program } from "./program.ts";
import { makeFolder, openSource, through } from "./scene.ts";
import { sweep } from "./sweep.ts";
import { COUCHDB_FAULTS, type WireFault } from "./wire_faults.ts";

for (const fault of COUCHDB_FAULTS) {
  sweep({
    subject: "couchdb backup",
    fault: fault.name,
    places: () => countRequests(),
    attempt: (place, random) => tryOne(fault, place, random),
  });
}

let counted: Promise<number> | undefined;

/** How many requests a backup without a fault makes. */
function countRequests(): Promise<number> {
  return counted ??= (async () => {
    const { server, earlier } = await openSource();
    await using proxy = await FaultProxy.start("couchdb", server.url);
    const folder = await makeFolder(earlier);
    const { exit } = await new Program({
      couch: through(server, proxy),
      store: new DirectoryStore(`${folder}/bucket`),
    }).backup();
    await Deno.remove(folder, { recursive: true });
    if (exit !== 0) throw new Error(`A run without a fault exits with ${exit}`);
    return proxy.requests.length;
  })();
}

async function tryOne(fault: WireFault, place: number, random: () => number) {
  const source = await openSource();
  await using proxy = await FaultProxy.start("couchdb", source.server.url);
  // Every other case has a backup of the same day before it, by another run.
  const before = place % 2 === 0 ? source.sameDay : source.earlier;
  const folder = await makeFolder(before);
  const run = () =>
    new Program({ couch: through(source.server, proxy), store: new DirectoryStore(`${folder}/bucket`) });
  try {
    proxy.arm({ fault, at: place, random });
    const first = await run().backup();
    const { isMet } = proxy;
    const met = proxy.requests[place - 1];
    proxy.arm(undefined);
    return await judgeBackup({
      source,
      folder,
      before,
      first,
      isMet,
      met,
      resume: () => run().backup({ resume: true }),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
