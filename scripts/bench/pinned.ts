/**
 * CouchDB on one core and everything else on another, as if on two machines. In: CouchDB's process id. Out: its
 * processes' threads on the first core, until they are let go again; or what is missing for that.
 */

/** Where CouchDB runs, and where all others. */
const COUCHDB_CORE = 0;
const OTHERS_CORE = 1;

/** What stands before the commands of all others. */
export const OTHERS_PREFIX: readonly string[] = ["taskset", "-c", String(OTHERS_CORE)];

/** What pinning is told. */
export interface PinOptions {
  /** Of CouchDB's `beam.smp`; undefined where nobody has said. */
  pid: string | undefined;
  /** @default those of this machine */
  cores?: number | undefined;
  /** @default taskset */
  command?: string | undefined;
}

/** Something that goes back to what it was. */
export interface Pinned {
  /** Lets CouchDB run where it ran before. */
  release(): Promise<void>;
}

/** Keeps CouchDB on the first core. @throws Error that says what is missing. */
export async function pinCouchDb(
  { pid, cores = navigator.hardwareConcurrency, command = "taskset" }: PinOptions,
): Promise<Pinned> {
  if (cores < 2) {
    throw new Error(
      `--pinned needs two cores, one for CouchDB and one for everything else; this machine has ${cores}. Leave it out`,
    );
  }
  if (pid === undefined || !/^[1-9]\d*$/.test(pid)) {
    throw new Error(
      `--pinned needs COUCHDB_PID, the process id of CouchDB's beam.smp: COUCHDB_PID="$(pgrep -o beam.smp)"` +
        (pid === undefined ? "" : `; it is ${JSON.stringify(pid)}`),
    );
  }
  const before = await taskset(command, ["-c", "-p", pid]);
  const list = /:\s*([\d,-]+)\s*$/.exec(before)?.[1];
  if (list === undefined) throw new Error(`Cannot tell on which cores process ${pid} runs: taskset says "${before}"`);
  await taskset(command, ["-a", "-c", "-p", String(COUCHDB_CORE), pid]);
  return { release: async () => void await taskset(command, ["-a", "-c", "-p", list, pid]) };
}

async function taskset(command: string, args: readonly string[]): Promise<string> {
  try {
    const { code, stdout, stderr } = await new Deno.Command(command, { args: [...args] }).output();
    if (code === 0) return new TextDecoder().decode(stdout).trim();
    throw new Error(`CouchDB cannot be pinned: ${new TextDecoder().decode(stderr).trim()}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`--pinned needs ${command}, which Debian has in the package util-linux; only Linux has it`, {
      cause: error,
    });
  }
}
