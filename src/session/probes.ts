/** What `check` tries beside CouchDB and the store: whether what a config names for its logs and figures is there. */
import type { Probe } from "../commands/check.ts";
import type { Config } from "../config/config.ts";

const PROBE_TIMEOUT_MS = 5000;

/** Whether Loki and the Pushgateway are there, asked for in a way that leaves nothing behind. */
export function probesOf({ loki, prometheus }: Pick<Config, "loki" | "prometheus">): Probe[] {
  const probes: Probe[] = [];
  if (loki !== undefined) probes.push(reach("loki", new URL("/ready", loki.url)));
  if (prometheus?.pushgateway !== undefined) {
    probes.push(reach("pushgateway", new URL("/-/ready", prometheus.pushgateway.url)));
  }
  return probes;
}

function reach(check: string, url: URL): Probe {
  return {
    check,
    async run(signal) {
      const address = url.origin + url.pathname;
      const response = await fetch(address, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
      });
      await response.body?.cancel();
      return `${address} answers ${response.status}`;
    },
  };
}
