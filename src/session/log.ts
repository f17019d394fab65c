/** The log as a config wants it: lines go where the caller says, and to Loki where the config names it. */
import { hostname } from "node:os";
import type { Config } from "../config/config.ts";
import { type LogOptions, type OpenLog, openLog } from "../observe/log.ts";
import { openLoki } from "../observe/loki.ts";
import { PROGRAM_NAME } from "../version.ts";
import { Certificates } from "./certificates.ts";

/**
 * Opens the log of a config.
 *
 * @throws ConfigError when Loki's `ca_file` cannot be used.
 * @param options `host` is the label of that name in Loki; the operating system's name of the machine unless given.
 */
export async function openConfigLog(
  { loki, caFiles, proxies }: Pick<Config, "loki" | "caFiles" | "proxies">,
  options: Omit<LogOptions, "sinks"> & { host?: string | undefined },
): Promise<OpenLog> {
  if (loki === undefined) return openLog(options);
  const { host, ...rest } = options;
  const certificates = new Certificates(caFiles, { proxies });
  const fetch = await certificates.fetchFor("loki");
  const opened = openLog({ ...rest, sinks: [openLoki({ ...loki, labels: lokiLabels(loki, host), fetch })] });
  return {
    ...opened,
    close: async (closing) => {
      const lost = await opened.close(closing);
      await certificates.close();
      return lost;
    },
  };
}

/** The labels of every line of a config's, beside `task` and `level`. */
export function lokiLabels(
  loki: NonNullable<Config["loki"]>,
  host: string = hostname(),
): Record<string, string> {
  return { app: PROGRAM_NAME, host, ...loki.labels };
}
