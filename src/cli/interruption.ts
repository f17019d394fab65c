/** Signals as the operator means them: the first one ends the work at the next chunk, the second one at once. */
import { EXIT, InterruptedError } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { Shell } from "./shell.ts";

/** How long chunks in flight may take after the first request to stop; then they are dropped. */
const GRACE_MS = 3000;

/** Listens for SIGINT and SIGTERM until it is closed. `hint` says what to do then. */
export function listenForInterruption(
  shell: Shell,
  log: Log,
  hint: () => string | undefined,
): { stop: AbortSignal; signal: AbortSignal; close(): void } {
  const soft = new AbortController();
  const hard = new AbortController();
  let grace: ReturnType<typeof setTimeout> | undefined;
  const close = shell.onSignal((name) => {
    if (name === "SIGHUP") return;
    if (soft.signal.aborted) shell.exit(EXIT.interrupted);
    const reason = new InterruptedError(`Interrupted by ${name}`, { hint: hint() });
    log.warn("stopping: chunks in flight are finished first", { signal: name, graceMs: GRACE_MS });
    soft.abort(reason);
    grace = setTimeout(() => hard.abort(reason), GRACE_MS);
  });
  return {
    stop: soft.signal,
    signal: hard.signal,
    close() {
      clearTimeout(grace);
      close();
    },
  };
}
