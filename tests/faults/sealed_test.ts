/**
 * Backups that are sealed: ended at each operation on the store, resumed while a request to CouchDB goes wrong, and
 * restored while one to the store does. What is held is what is held of others, and that nothing of a document is in
 * clear.
 */
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { Store } from "../../src/store/store.ts";
import { judgeBackup } from "./backup_case.ts";
import { HARD, openS3, Program } from "./program.ts";
import { FaultProxy } from "./proxy.ts";
import { judgeRestore } from "./restore_case.ts";
import { startS3 } from "./s3_scene.ts";
import { hastyClock, makeFolder, makeUnfinished, openSealedSource, startCouch, through } from "./scene.ts";
import { type End, runUntil } from "./stepped_store.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { COUCHDB_FAULTS, S3_FAULTS, type WireFault } from "./wire_faults.ts";

type Places = { places: number };

async function endBackup(end: End): Promise<Verdict & Places> {
  const source = await openSealedSource();
  const before = end.place % 2 === 0 ? source.sameDay : source.earlier;
  const folder = await makeFolder(before);
  const open = () => new DirectoryStore(`${folder}/bucket`);
  const run = (store: Store, resume: boolean) =>
    new Program({ couch: source.server, store, parallel: 2, now: hastyClock(), config: source.config })
      .backup({ resume });
  try {
    const { first, store, isMet, met } = await runUntil(end, open(), (store) => run(store, false));
    const resume = () => run(open(), true);
    const verdict = await judgeBackup({ source, folder, before, first, isMet, met, resume });
    return { ...verdict, places: store.steps.length };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

let unfinished: Promise<ReadonlyMap<string, Uint8Array>> | undefined;

async function resume(
  fault: WireFault | undefined,
  place: number,
  random: () => number,
): Promise<Verdict & Places> {
  const source = await openSealedSource();
  await using proxy = await FaultProxy.start("couchdb", source.server.url);
  const folder = await makeFolder(await (unfinished ??= makeUnfinished(source)));
  const run = () => {
    const store = new DirectoryStore(`${folder}/bucket`);
    return new Program({ couch: through(source.server, proxy), store, config: source.config }).backup({ resume: true });
  };
  try {
    if (fault !== undefined) proxy.arm({ fault, at: place, random });
    const first = await run();
    const { isMet, requests: { length: places } } = proxy;
    const met = proxy.requests[place - 1];
    proxy.arm(undefined);
    const verdict = await judgeBackup({ source, folder, before: source.sameDay, first, isMet, met, resume: run });
    return { ...verdict, places };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function restore(
  fault: WireFault | undefined,
  place: number,
  random: () => number,
): Promise<Verdict & Places> {
  const source = await openSealedSource();
  await using target = await startCouch();
  await using s3 = await startS3(source.earlier);
  await using proxy = await FaultProxy.start("s3", s3.url);
  const database = "back/again";
  const run = (intoExisting: boolean) =>
    new Program({ couch: target, store: openS3(proxy.url), config: source.config })
      .restore({ database, path: `2026-01-02/${HARD}`, parallel: 1, intoExisting });
  if (fault !== undefined) proxy.arm({ fault, at: place, random });
  const first = await run(false);
  const { isMet, requests: { length: places } } = proxy;
  const met = proxy.requests[place - 1];
  proxy.arm(undefined);
  const truth = source.truths.get(HARD)!;
  const verdict = await judgeRestore({ truth, target, database, first, isMet, met, again: () => run(true) });
  return { ...verdict, places };
}

for (const isBehind of [false, true]) {
  sweep({
    subject: "sealed backup",
    fault: `kill-${isBehind ? "behind" : "before"}-step`,
    places: async () => (await endBackup({ place: Number.MAX_SAFE_INTEGER - 1, isBehind })).places,
    attempt: (place) => endBackup({ place, isBehind }),
  });
}
for (
  const [subject, faults, attempt] of [
    ["sealed resume", COUCHDB_FAULTS, resume],
    ["sealed restore", S3_FAULTS, restore],
  ] as const
) {
  let counted: Promise<number> | undefined;
  for (const fault of faults) {
    sweep({
      subject,
      fault: fault.name,
      rounds: fault.rounds,
      places: () => counted ??= attempt(undefined, 1, Math.random).then(({ places }) => places),
      attempt: (place, random) => attempt(fault, place, random),
    });
  }
}
