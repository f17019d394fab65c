/**
 * A backup into a folder, from the beginning or resumed, while one request to CouchDB, or all from one on, go wrong.
 */
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { judgeBackup } from "./backup_case.ts";
import { FaultProxy } from "./proxy.ts";
import { Program } from "./program.ts";
import { makeFolder, makeUnfinished, openSource, through } from "./scene.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { COUCHDB_FAULTS, type WireFault } from "./wire_faults.ts";

/** The unfinished backup that is resumed. */
let unfinished: Promise<ReadonlyMap<string, Uint8Array>> | undefined;

async function attempt(
  fault: WireFault | undefined,
  { place, random, resume }: { place: number; random: () => number; resume: boolean },
): Promise<Verdict & { requests: number }> {
  const source = await openSource();
  await using proxy = await FaultProxy.start("couchdb", source.server.url);
  // Every other case has a backup of the same day before it, by another run.
  const before = resume
    ? await (unfinished ??= makeUnfinished(source))
    : place % 2 === 0
    ? source.sameDay
    : source.earlier;
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
