/** The program as a process of its own, with the permissions that it has in earnest. */

/** Where the checkout is, with a slash at its end. */
export const ROOT: string = new URL("../../", import.meta.url).pathname;

const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
/** What the program asks Deno for, as command-line options. */
export const PERMISSIONS: string[] = (tasks.start.command as string).split(" ").filter((word) =>
  /^--(allow|no-prompt)/.test(word)
);

/** Notes of bucket folders that are gone after the test do not belong into the home of whoever runs it. */
const STATE_HOME = await Deno.makeTempDir({ prefix: "couchdb-backup-state-" });

/** A process that has ended. */
export interface EndedProgram {
  code: number;
  stdout: string;
  stderr: string;
}

/** A process of the program that is under way. */
export interface RunningProgram {
  kill(signal: Deno.Signal): void;
  /** Resolves when standard error holds `text`. @throws Error when the program ends without it. */
  says(text: string): Promise<void>;
  ended: Promise<EndedProgram>;
}

/** Starts the program. */
export function startProgram(args: readonly string[], env: Record<string, string> = {}): RunningProgram {
  const child = new Deno.Command("deno", {
    args: ["run", "--quiet", "--no-check", ...PERMISSIONS, `${ROOT}main.ts`, ...args],
    env: { NO_COLOR: "1", XDG_STATE_HOME: STATE_HOME, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let stderr = "";
  const waiting = new Set<() => void>();
  const reading = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      stderr += text;
      for (const wake of waiting) wake();
    }
  })();
  const ended = (async () => {
    const [stdout, { code }] = await Promise.all([new Response(child.stdout).text(), child.status, reading]);
    return { code, stdout, stderr };
  })();
  return {
    kill: (signal) => child.kill(signal),
    async says(text) {
      const found = Promise.withResolvers<void>();
      const look = () => stderr.includes(text) && found.resolve();
      waiting.add(look);
      look();
      const gone = ended.then(() => {
        if (!stderr.includes(text)) throw new Error(`the program ended without "${text}":\n${stderr}`);
      });
      await Promise.race([found.promise, gone]);
      waiting.delete(look);
    },
    ended,
  };
}
