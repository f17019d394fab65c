/** What `check` tries beside CouchDB and the store: whether what a config names for its logs and figures is there. */
import type { Probe } from "../commands/check.ts";
import type { Config } from "../config/config.ts";
import { ProgramError } from "../errors.ts";
import { tlsFailure } from "../tls_failure.ts";
import type { Certificates } from "./certificates.ts";

const PROBE_TIMEOUT_MS = 5000;

/** Whether Loki and the Pushgateway are there, asked for in a way that leaves nothing behind. */
export function probesOf(
  { loki, prometheus }: Pick<Config, "loki" | "prometheus">,
  certificates: Certificates,
): Probe[] {
  const probes: Probe[] = [];
  if (loki !== undefined) probes.push(reach("loki", new URL("/ready", loki.url), certificates));
  if (prometheus?.pushgateway !== undefined) {
    probes.push(reach("pushgateway", new URL("/-/ready", prometheus.pushgateway.url), certificates));
  }
  return probes;
}

/** A server that no TLS connection leads to. */
class TlsError extends ProgramError {
  override readonly exitCode = 1;
}

function reach(check: "loki" | "pushgateway", url: URL, certificates: Certificates): Probe {
  return {
    check,
    async run(signal) {
      const address = url.origin + url.pathname;
      const fetch = await certificates.fetchFor(check);
      const caFileKey = check === "loki" ? "loki.ca_file" : "prometheus.ca_file";
      const response = await fetch(address, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
      }).catch((error) => {
        const tls = tlsFailure(error, { url: address, caFileKey });
        throw tls === undefined ? error : new TlsError(`Cannot ask ${address}: ${tls.reason}`, { hint: tls.hint });
      });
      await response.body?.cancel();
      return `${address} answers ${response.status}`;
    },
  };
}
