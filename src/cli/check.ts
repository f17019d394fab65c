/** `couchdb-backup check <config>`: whether a backup could run now, and what to do where it could not. */
import { checkSetup, type Probe } from "../commands/check.ts";
import type { Config } from "../config/config.ts";
import { EXIT } from "../errors.ts";
import type { Command } from "./command.ts";
import { withSession } from "../session/open.ts";

export const command: Command = {
  name: "check",
  usage: "<config>",
  help: [
    "Tries all that a backup needs: CouchDB, its rights and clock, the store, Loki and the Pushgateway.",
    "",
    "Writes three small objects, always the same, below _runs and _store in the store. Exit code 1: something does not work.",
  ],
  flags: [],
  operands: { least: 0, most: 1 },

  async run(call) {
    return await withSession(call, call.operands[0], async (session) => {
      const report = await checkSetup({
        ...session,
        probes: probesOf(session.config),
        isScheduled: session.config.tasks.some(({ cron }) => cron !== undefined),
      });
      call.print(report, () =>
        report.checks.map(({ check, ok, detail, hint, warning }) => {
          const line = `${warning ? "warn" : ok ? "ok  " : "FAIL"}  ${check.padEnd(18)}  ${detail}\n`;
          return (ok && !warning) || hint === undefined ? line : `${line}      ${"".padEnd(18)}  ${hint}\n`;
        }).join(""));
      return report.ok ? EXIT.ok : EXIT.unexpected;
    });
  },
};

/** Whether Loki and the Pushgateway are there, asked for in a way that leaves nothing behind. */
function probesOf({ loki, prometheus }: Config): Probe[] {
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
      const response = await fetch(address, { signal: AbortSignal.any([signal, AbortSignal.timeout(5000)]) });
      await response.body?.cancel();
      return `${address} answers ${response.status}`;
    },
  };
}
