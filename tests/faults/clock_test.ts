/** The machine's clock is set, by hours, at each look at it in turn, or goes to and fro at every look. */
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { judgeBackup } from "./backup_case.ts";
import { Program } from "./program.ts";
import { makeFolder, openSource } from "./scene.ts";
import { sweep, type Verdict } from "./sweep.ts";

const HOUR_MS = 3_600_000;

/** How far the clock is off at look `look`, where it is set at look `place`. */
const JUMPS: Record<string, (look: number, place: number) => number> = {
  "set-back": (look, place) => look >= place ? -5 * HOUR_MS : 0,
  "set-ahead": (look, place) => look >= place ? 5 * HOUR_MS : 0,
  "to-and-fro": (look, place) => look >= place && look % 2 === 0 ? -3 * HOUR_MS : 3 * HOUR_MS,
};

async function attempt(name: string, place: number): Promise<Verdict & { looks: number }> {
  const source = await openSource();
  const before = place % 2 === 0 ? source.sameDay : source.earlier;
  const folder = await makeFolder(before);
  let looks = 0;
  const run = (now?: () => Date) =>
    new Program({ couch: source.server, store: new DirectoryStore(`${folder}/bucket`), now });
  try {
    const first = await run(() => new Date(Date.now() + JUMPS[name]!(++looks, place))).backup();
    const isMet = looks >= place;
    const resume = () => run().backup({ resume: true });
    return { ...await judgeBackup({ source, folder, before, first, isMet, resume }), looks };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const name of Object.keys(JUMPS)) {
  sweep({
    subject: "folder backup",
    fault: `clock-${name}`,
    places: async () => (await attempt(name, Number.MAX_SAFE_INTEGER)).looks,
    attempt: (place) => attempt(name, place),
  });
}
