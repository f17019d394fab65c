/** The log as a config wants it: lines go where the caller says, and to Loki where the config names it. */
import { hostname } from "node:os";
import type { Config } from "../config/config.ts";
import { type LogOptions, type OpenLog, openLog } from "../observe/log.ts";
import { openLoki } from "../observe/loki.ts";
import { PROGRAM_NAME } from "../version.ts";

/**
 * Opens the log of a config.
 *
 * @param options `host` is the label of that name in Loki; the operating system's name of the machine unless given.
 */
export function openConfigLog(
  { loki }: Pick<Config, "loki">,
  options: Omit<LogOptions, "sinks"> & { host?: string | undefined },
): OpenLog {
  if (loki === undefined) return openLog(options);
  const { host, ...rest } = options;
  return openLog({ ...rest, sinks: [openLoki({ ...loki, labels: lokiLabels(loki, host) })] });
}

/** The labels of every line of a config's, beside `task` and `level`. */
export function lokiLabels(
  loki: NonNullable<Config["loki"]>,
  host: string = hostname(),
): Record<string, string> {
  return { app: PROGRAM_NAME, host, ...loki.labels };
}
