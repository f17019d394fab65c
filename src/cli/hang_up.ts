/**
 * Reloading of the config by SIGHUP, for a command that keeps running. In: what reads the config. Out: the new one, and a
 * signal that there is one. A config with a mistake is told of, and the old one stays in use.
 */
import { ConfigError, describeError, hintOf, UsageError } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { Shell } from "./shell.ts";

/** Handles SIGHUP. `T` is a config that was read, with whatever belongs to it. */
export interface HangUp<T> {
  /** From now on says to `log` what comes of a SIGHUP; the signal is aborted when there is a new config. */
  listen(log: Log): AbortSignal;
  /** The new config; undefined when the program was told to end meanwhile. */
  newConfig(): T | undefined;
  close(): void;
}

/**
 * Listens as long as the command runs, between two sessions too: unheard, SIGHUP would end the process. A reading is
 * ended when the program is told to end: it may wait for a server that does not answer.
 */
export function listenForHangUp<T>(
  { shell, read }: { shell: Pick<Shell, "onSignal">; read: (signal: AbortSignal) => Promise<T> },
): HangUp<T> {
  let log: Log | undefined;
  let changed = new AbortController();
  let found: T | undefined;
  const ending = new AbortController();
  let readings = 0;
  const reread = async () => {
    const reading = ++readings;
    // A reading that was begun later has seen what was changed since, even where it is done earlier.
    const isOutdated = () => reading !== readings;
    try {
      const config = await read(ending.signal);
      if (isOutdated()) return;
      found = config;
      log?.info("config is read again");
      changed.abort();
    } catch (error) {
      if (ending.signal.aborted || isOutdated()) return;
      const isMistake = error instanceof ConfigError || error instanceof UsageError;
      const what = isMistake ? "the new config has a mistake" : "the config cannot be read again";
      log?.error(`${what}: the old one stays in use`, { error: describeError(error), hint: hintOf(error) });
    }
  };
  const close = shell.onSignal((name) => {
    if (name === "SIGHUP") void reread();
    else ending.abort();
  });
  return {
    listen(sessionLog) {
      log = sessionLog;
      changed = new AbortController();
      // It came while the session before was being closed.
      if (found !== undefined) changed.abort();
      return changed.signal;
    },
    newConfig() {
      const config = ending.signal.aborted ? undefined : found;
      found = undefined;
      return config;
    },
    close() {
      ending.abort();
      close();
    },
  };
}
