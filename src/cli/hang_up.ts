/**
 * Reloading of the config by SIGHUP, for a command that keeps running. In: what reads the config. Out: the new one, and a
 * signal that there is one. A config with a mistake is told of, and the old one stays in use.
 */
import type { Config } from "../config/config.ts";
import { describeError } from "../errors.ts";
import type { Log } from "../observe.ts";
import type { Shell } from "./shell.ts";

/** Handles SIGHUP. */
export interface HangUp {
  /** From now on says to `log` what comes of a SIGHUP; the signal is aborted when there is a new config. */
  listen(log: Log): AbortSignal;
  /** The new config; undefined when the program was told to end meanwhile. */
  newConfig(): Config | undefined;
  close(): void;
}

/** Listens as long as the command runs, between two sessions too: unheard, SIGHUP would end the process. */
export function listenForHangUp(
  { shell, read }: { shell: Pick<Shell, "onSignal">; read: () => Promise<Config> },
): HangUp {
  let log: Log | undefined;
  let changed = new AbortController();
  let found: Config | undefined;
  let isEnding = false;
  let readings = 0;
  const reread = async () => {
    const reading = ++readings;
    try {
      const config = await read();
      // One that was begun later has seen what was changed since, even where it is done earlier.
      if (reading !== readings) return;
      found = config;
      log?.info("config is read again");
      changed.abort();
    } catch (error) {
      log?.error("the new config has a mistake: the old one stays in use", { error: describeError(error) });
    }
  };
  const close = shell.onSignal((name) => {
    if (name === "SIGHUP") void reread();
    else isEnding = true;
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
      const config = isEnding ? undefined : found;
      found = undefined;
      return config;
    },
    close,
  };
}
