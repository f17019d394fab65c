/**
 * One backup that met a fault, held against the promises: whole and exact, or said to be incomplete and finished
 * exactly by `--resume`; whatever calls itself complete is; and what was complete before is as it was.
 */
import { judgeCopy, judgeEarlier, judgeFolder, judgeOutcome } from "./judge.ts";
import type { Outcome } from "./program.ts";
import { folderOf, type Source } from "./scene.ts";
import type { Verdict } from "./sweep.ts";

/** What happened. */
export interface BackupCase {
  source: Source;
  /** The folder above the bucket's. */
  folder: string;
  /** What lay in it before. */
  before: ReadonlyMap<string, Uint8Array>;
  /** How the run ended that met the fault; undefined where it was ended by force. */
  first: Outcome | undefined;
  isMet: boolean;
  met?: string | undefined;
  /** Runs again, without a fault. */
  resume: () => Promise<Outcome>;
  /** Brings what lies in the store into the folder. @default it lies there */
  look?: () => Promise<void>;
}

/** What came of it. */
export async function judgeBackup(
  { source, folder, before, first, isMet, met, resume, look = () => Promise.resolve() }: BackupCase,
): Promise<Verdict> {
  const bucket = `${folder}/bucket`;
  const breaches = first === undefined ? [] : judgeOutcome(first);
  await look();
  for (const [database, truth] of source.truths) {
    const verdict = await judgeFolder(folderOf(bucket, database), truth, source.identity);
    breaches.push(...verdict.breaches.map((breach) => `after it: ${database}: ${breach}`));
    if (first?.exit === 0 && verdict.complete.length === 0) {
      breaches.push(`it exits with 0, and ${database} has no backup`);
    }
  }
  if (!isMet && breaches.length === 0) return { result: "untouched", breaches };
  const second = await resume();
  breaches.push(...judgeOutcome(second).map((breach) => `--resume: ${breach}`));
  if (second.exit !== 0) breaches.push(`--resume exits with ${second.exit}: ${second.errors.join("; ")}`);
  await look();
  for (const [database, truth] of source.truths) {
    const place = folderOf(bucket, database);
    const { breaches: found } = await judgeFolder(place, truth, source.identity);
    for (const breach of [...found, ...await judgeCopy(place)]) breaches.push(`after --resume: ${database}: ${breach}`);
  }
  breaches.push(...await judgeEarlier(folder, before));
  const result = !isMet ? "untouched" : first?.exit === 0 ? "whole" : "said";
  return { result, breaches, met };
}
