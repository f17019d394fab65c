/**
 * The names of databases that this program creates to check what it restores. In: a run and a number. Out: a name, and
 * the other way round. Pure.
 */

const NAME = /^couchdb_backup_test_([0-9a-f]{8})_(?:0|[1-9]\d{0,8})$/;

/** The name of the scratch database of a run. `run` is its short id, of eight hexadecimal digits. */
export function scratchName(run: string, number: number): string {
  return `couchdb_backup_test_${run}_${number}`;
}

/** Whether a database's name is one of these. */
export function isScratchName(name: string): boolean {
  return NAME.test(name);
}

/** The run whose scratch database has this name; undefined where it is none. */
export function runOfScratchName(name: string): string | undefined {
  return NAME.exec(name)?.[1];
}
