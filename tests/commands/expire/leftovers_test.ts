import { assertEquals } from "@std/assert";
import type { DatabaseHoldings, HeldBackup, HeldFolder } from "../../../src/archive/holdings.ts";
import { checkpointName, chunkName, pinName, seenName } from "../../../src/archive/layout.ts";
import { findLeftovers } from "../../../src/commands/expire/leftovers.ts";
import { ArchiveError } from "../../../src/errors.ts";

const NOW = new Date("2027-06-14T12:00:00Z");
/** Longer ago than a run may go on from. */
const OLD = "2027-05-01";
const RUN = "0a0a0a0a";
const [CHUNK, CHECKPOINT, SEEN, PIN] = [
  chunkName(0, { run: RUN }),
  checkpointName(RUN),
  seenName(RUN, 0),
  pinName(RUN),
];

/** A folder with objects, by the day on which each was stored. */
function folder(objects: Record<string, string>, more: Partial<HeldFolder> = {}): HeldFolder {
  const entries = Object.entries(objects).map(([name, day]) =>
    [name, { sizeBytes: 5, modified: new Date(`${day}T10:00:00Z`) }] as const
  );
  return { folder: "f", objects: new Map(entries), backups: [], damaged: [], ...more };
}

/** A backup of that run, which has one chunk. */
function backup(day: string, more: Partial<HeldBackup> = {}): HeldBackup {
  const finishedAt = new Date(`${day}T11:00:00Z`);
  const own = { key: `f/${day}`, folder: "f", task: "t", run: RUN, documents: 1, compressedBytes: 5 };
  return { ...own, finishedAt, isWhole: true, holds: [], chunks: new Map([[CHUNK, 5]]), seen: [], ...more };
}

/** The names of what may go. */
function found(...folders: HeldFolder[]): string[] {
  const holdings: DatabaseHoldings = { database: "db", folders, entries: [], listedAtMs: 0 };
  return findLeftovers(holdings, { now: NOW }).map(({ key }) => key.slice(key.indexOf("/") + 1));
}

/** A later backup of another day, which is whole. */
const LATER = folder({}, { folder: "later", backups: [backup("2027-06-01")] });

Deno.test("findLeftovers() leaves what belongs to a backup: its chunks, what it has seen, and its pin", () => {
  const objects = { [CHUNK]: OLD, [SEEN]: OLD, [PIN]: OLD };
  assertEquals(found(folder(objects, { backups: [backup(OLD, { seen: [SEEN] })] }), LATER), []);
  // Of a backup that is gone nothing is needed any more.
  assertEquals(found(folder(objects), LATER), [CHUNK, SEEN, PIN]);
});

Deno.test("findLeftovers() takes nothing that is younger than the newest backup that is whole", () => {
  const interrupted = folder({ [CHUNK]: OLD });
  assertEquals(found(interrupted), []);
  const broken = backup("2027-06-01", { isWhole: false });
  assertEquals(found(interrupted, folder({}, { folder: "later", backups: [broken] })), []);
  const older = folder({}, { folder: "older", backups: [backup("2027-04-01")] });
  assertEquals(found(interrupted, older), []);
  assertEquals(found(interrupted, older, LATER), [CHUNK]);
});

Deno.test("findLeftovers() takes nothing of a folder where a run may go on, or a manifest cannot be read", () => {
  const runs = { [CHUNK]: OLD, [checkpointName("0b0b0b0b")]: "2027-06-10", [CHECKPOINT]: OLD };
  assertEquals(found(folder(runs), LATER), []);
  assertEquals(found(folder(Object.fromEntries(Object.entries(runs).toReversed())), LATER), []);
  const objects = { [CHUNK]: OLD, [CHECKPOINT]: OLD };
  assertEquals(found(folder(objects), LATER), [CHUNK, CHECKPOINT]);
  const damaged = [new ArchiveError("It is damaged", { key: "f/manifest" })];
  assertEquals(found(folder(objects, { damaged }), LATER), []);
});
