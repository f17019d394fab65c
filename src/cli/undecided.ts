/** What the commands that prove backups say of those that could not be looked at. Pure. */
import type { UndecidedBackup } from "../commands/undecided.ts";
import { counted, formatCount } from "../counts.ts";

/** More than these are counted; `--json` and the log have them all. */
const SHOWN = 20;

/**
 * How a proof came out, for its closing sentence: what is wrong, and of how many nothing is known.
 *
 * @param said What is said of all where nothing is wrong with any that was looked at, and after the number of those
 * that something is wrong with.
 */
export function verdict(
  { backups, faulty, undecided }: {
    backups: number;
    faulty: readonly unknown[];
    undecided: readonly UndecidedBackup[];
  },
  { fine, wrong }: { fine: string; wrong: string },
): string {
  const isNothingSeen = backups + faulty.length === 0 && undecided.length > 0;
  const seen = faulty.length > 0 ? `${formatCount(faulty.length)} ${wrong}` : isNothingSeen ? [] : fine;
  const others = isNothingSeen ? "" : " others";
  return [seen, undecided.length === 0 ? [] : `${formatCount(undecided.length)}${others} NOT KNOWN`].flat().join(", ");
}

/** A line for each that was tried, with what can be done about it; how many were not. */
export function describeUndecided(backups: readonly UndecidedBackup[]): string[] {
  const tried = backups.filter((backup) => backup.tried);
  const lines = tried.slice(0, SHOWN).flatMap(({ database, path, error, hint }) => [
    `NOT KNOWN: ${database}: ${path}`,
    `  ${error}`,
    ...hint === undefined ? [] : [`  ${hint}`],
  ]);
  if (tried.length > SHOWN) lines.push(`NOT KNOWN: ${counted(tried.length - SHOWN, "more backup")} that failed`);
  const untried = backups.length - tried.length;
  if (untried > 0) lines.push(`NOT KNOWN: ${counted(untried, "backup")} not tried, as they would fail like one before`);
  return lines;
}
