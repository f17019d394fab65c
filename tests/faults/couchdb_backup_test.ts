/** A backup into a folder, from the beginning or resumed, while one request to CouchDB, or all from one on, go wrong. */
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { judgeBackup } from "./backup_case.ts";
import { filesBelow } from "./judge.ts";
import { FaultProxy } from "./proxy.ts";
import { Program } from "./program.ts";
import { makeFolder, openSource, through } from "./scene.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { COUCHDB_FAULTS, type WireFault } from "./wire_faults.ts";

/** The unfinished backup that is resumed: what a run leaves that CouchDB has left at a request for documents. */
let unfinished: Promise<ReadonlyMap<string, Uint8Array>> | undefined;

async function makeUnfinished(): Promise<ReadonlyMap<string, Uint8Array>> {
  const { server, sameDay } = await openSource();
  await using proxy = await FaultProxy.start("couchdb", server.url);
  const folder = await makeFolder(sameDay);
  const gone = COUCHDB_FAULTS.find(({ name }) => name === "gone")!;
  proxy.onRequest = (number, request) => {
    const reads = proxy.requests.filter((one) => one.includes("/_bulk_get")).length;
    if (request.includes("/_bulk_get") && reads === 3) {
      proxy.onRequest = undefined;
      proxy.armFrom({ fault: gone, at: number, random: Math.random });
    }
  };
  await new Program({ couch: through(server, proxy), store: new DirectoryStore(`${folder}/bucket`) }).backup();
  const files = await filesBelow(folder);
  await Deno.remove(folder, { recursive: true });
  const checkpoint = [...files].filter(([path]) => /\/hard%2Fdb\/checkpoint-/.test(path))
    .map(([, bytes]) => JSON.parse(new TextDecoder().decode(bytes)).chunks.length);
  if (Math.max(...checkpoint) < 1) throw new Error("Nothing is left that could be resumed");
  return files;
}

async function attempt(
  fault: WireFault | undefined,
  { place, random, resume }: { place: number; random: () => number; resume: boolean },
): Promise<Verdict & { requests: number }> {
  const source = await openSource();
  await using proxy = await FaultProxy.start("couchdb", source.server.url);
  // Every other case has a backup of the same day before it, by another run.
  const before = resume ? await (unfinished ??= makeUnfinished()) : place % 2 === 0 ? source.sameDay : source.earlier;
  const folder = await makeFolder(before);
  const run = () =>
    new Program({ couch: through(source.server, proxy), store: new DirectoryStore(`${folder}/bucket`) });
  try {
    proxy.arm(fault === undefined ? undefined : { fault, at: place, random });
    const first = await run().backup({ resume });
    const { isMet, requests: { length: requests } } = proxy;
    const met = proxy.requests[place - 1];
    proxy.arm(undefined);
    const again = () => run().backup({ resume: true });
    const earlier = resume ? source.sameDay : before;
    return { ...await judgeBackup({ source, folder, before: earlier, first, isMet, met, resume: again }), requests };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const resume of [false, true]) {
  let counted: Promise<number> | undefined;
  const count = async () => (await attempt(undefined, { place: 1, random: Math.random, resume })).requests;
  for (const fault of COUCHDB_FAULTS) {
    sweep({
      subject: resume ? "couchdb resume" : "couchdb backup",
      fault: fault.name,
      rounds: fault.rounds,
      places: () => counted ??= count(),
      attempt: (place, random) => attempt(fault, { place, random, resume }),
    });
  }
}
