/**
 * Two runs of one day on one folder at once, interleaved by chance that is the same for the same case: each ends with a
 * backup of its own that is exact, or says that it has none.
 */
import { DirectoryStore } from "../../src/store/directory/store.ts";
import type { Store } from "../../src/store/store.ts";
import type { RunReport } from "../../src/archive/report.ts";
import { judgeBackup } from "./backup_case.ts";
import { openS3, type Outcome, Program } from "./program.ts";
import { copyInto, startS3 } from "./s3_scene.ts";
import { folderOf, makeFolder, openSource } from "./scene.ts";
import { SteppedStore } from "./stepped_store.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { filesOf } from "../read_archive.ts";

const SEEDS = 16;

function withWaits(store: Store, random: () => number): SteppedStore {
  const wait = () => new Promise<void>((resolve) => setTimeout(resolve, random() * 6));
  return new SteppedStore(store, { before: wait, behind: wait });
}

interface Place {
  folder: string;
  open: () => Store;
  look: () => Promise<void>;
}

async function race({ folder, open, look }: Place, place: number, random: () => number): Promise<Verdict> {
  const source = await openSource();
  // Of every third pair the second one resumes; it may find what the first has just begun.
  const run = (resume: boolean) =>
    new Program({ couch: source.server, store: withWaits(open(), random), parallel: 2 }).backup({ resume });
  const [one, other] = await Promise.all([run(false), run(place % 3 === 0)]);
  await look();
  const breaches: string[] = [];
  const digits = (outcome: Outcome) => (outcome.report as RunReport).run.slice(0, 8);
  for (const outcome of place % 3 === 0 ? [one] : [one, other]) {
    if (outcome.exit !== 0) continue;
    for (const database of source.truths.keys()) {
      const names = await filesOf(folderOf(`${folder}/bucket`, database));
      const isThere = names.some((name) => name.startsWith("manifest-") && name.includes(digits(outcome)));
      if (!isThere) breaches.push(`a run exits with 0, and ${database} has no manifest of it`);
    }
  }
  const first: Outcome = {
    exit: one.exit || other.exit,
    errors: [...one.errors, ...other.errors],
    said: one.said + other.said,
    crash: one.crash ?? other.crash,
    report: undefined,
  };
  const resume = () => new Program({ couch: source.server, store: open() }).backup({ resume: true });
  const verdict = await judgeBackup({ source, folder, before: source.sameDay, first, isMet: true, resume, look });
  return { ...verdict, breaches: [...breaches, ...verdict.breaches] };
}

sweep({
  subject: "folder backup",
  fault: "two-runs",
  places: () => SEEDS,
  async attempt(place, random) {
    const folder = await makeFolder((await openSource()).sameDay);
    try {
      const open = () => new DirectoryStore(`${folder}/bucket`);
      return await race({ folder, open, look: () => Promise.resolve() }, place, random);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

for (const [fault, ignoresConditions] of [["two-runs", false], ["two-runs-overwriting", true]] as const) {
  sweep({
    subject: "s3 backup",
    fault,
    places: () => SEEDS,
    async attempt(place, random) {
      await using s3 = await startS3((await openSource()).sameDay, { ignoresConditions });
      const folder = await makeFolder();
      try {
        return await race({ folder, open: () => openS3(s3.url), look: () => copyInto(folder, s3) }, place, random);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}
