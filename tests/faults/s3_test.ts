/** Backup to, restore from and verification of an S3 store, while one of its requests, or all from one on, go wrong. */
import { judgeBackup } from "./backup_case.ts";
import { judgeOutcome } from "./judge.ts";
import { HARD, openS3, type Outcome, Program } from "./program.ts";
import { FaultProxy } from "./proxy.ts";
import { judgeRestore } from "./restore_case.ts";
import { copyInto, startS3 } from "./s3_scene.ts";
import { makeFolder, openSource, startCouch } from "./scene.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { S3_FAULTS, type WireFault } from "./wire_faults.ts";

const TARGET = "back/again";
const PATH = `2026-01-02/${HARD}`;

interface Action {
  name: string;
  attempt(fault: WireFault | undefined, place: number, random: () => number): Promise<Verdict & { requests: number }>;
}

const backup: Action = {
  name: "s3 backup",
  async attempt(fault, place, random) {
    const source = await openSource();
    const before = place % 2 === 0 ? source.sameDay : source.earlier;
    await using s3 = await startS3(before);
    await using proxy = await FaultProxy.start("s3", s3.url);
    const folder = await makeFolder();
    const run = () => new Program({ couch: source.server, store: openS3(proxy.url) });
    try {
      if (fault !== undefined) proxy.arm({ fault, at: place, random });
      const first = await run().backup();
      const { isMet, requests: { length: requests } } = proxy;
      const met = proxy.requests[place - 1];
      proxy.arm(undefined);
      const verdict = await judgeBackup({
        source,
        folder,
        before,
        first,
        isMet,
        met,
        resume: () => run().backup({ resume: true }),
        look: () => copyInto(folder, s3),
      });
      return { ...verdict, requests };
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
};

const restore: Action = {
  name: "s3 restore",
  async attempt(fault, place, random) {
    const source = await openSource();
    await using target = await startCouch();
    await using s3 = await startS3(source.earlier);
    await using proxy = await FaultProxy.start("s3", s3.url);
    const run = (intoExisting: boolean) =>
      new Program({ couch: target, store: openS3(proxy.url) })
        .restore({ database: TARGET, path: PATH, parallel: 1, intoExisting });
    if (fault !== undefined) proxy.arm({ fault, at: place, random });
    const first = await run(false);
    const { isMet, requests: { length: requests } } = proxy;
    const met = proxy.requests[place - 1];
    proxy.arm(undefined);
    const truth = source.truths.get(HARD)!;
    const again = () => run(true);
    return { ...await judgeRestore({ truth, target, database: TARGET, first, isMet, met, again }), requests };
  },
};

const verify: Action = {
  name: "s3 verify",
  async attempt(fault, place, random) {
    const source = await openSource();
    await using s3 = await startS3(source.earlier);
    await using proxy = await FaultProxy.start("s3", s3.url);
    const run = () => new Program({ couch: source.server, store: openS3(proxy.url) }).verify(HARD, PATH);
    if (fault !== undefined) proxy.arm({ fault, at: place, random });
    const first = await run();
    const { isMet, requests: { length: requests } } = proxy;
    const met = proxy.requests[place - 1];
    proxy.arm(undefined);
    const second: Outcome = await run();
    const breaches = [first, second].flatMap(judgeOutcome);
    if (second.exit !== 0) breaches.push(`again it exits with ${second.exit}: ${second.errors.join("; ")}`);
    return { result: !isMet ? "untouched" : first.exit === 0 ? "whole" : "said", breaches, met, requests };
  },
};

for (const action of [backup, restore, verify]) {
  let counted: Promise<number> | undefined;
  const countRequests = async () => (await action.attempt(undefined, 1, Math.random)).requests;
  for (const fault of S3_FAULTS) {
    sweep({
      subject: action.name,
      fault: fault.name,
      rounds: fault.rounds,
      places: () => counted ??= countRequests(),
      attempt: (place, random) => action.attempt(fault, place, random),
    });
  }
}
