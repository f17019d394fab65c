/**
 * The units that the packages carry: those that `couchdb-backup systemd` prints for the packages' own config, with one
 * timer for whatever task, since that config will be changed. Out: files for /usr/lib/systemd/system.
 */
import { makeUnits, type UnitFile } from "../../src/commands/systemd.ts";
import { parseConfig } from "../../src/config/config.ts";

/** Where the packages put the config. */
export const CONFIG_PATH = "/etc/couchdb-backup/config.yaml";

const TIMER =
  `# Looks every five minutes whether the task that stands behind the @ is due: the config says when it is, so that a changed
# one counts at once. What failed is tried again, and what was cut short is resumed.
[Unit]
Description=CouchDB backup: %I, when it is due
Documentation=man:couchdb-backup(1)

[Timer]
OnCalendar=*:0/5
Persistent=true
OnBootSec=1min

[Install]
WantedBy=timers.target
`;

/** The service that stays, the service and the timer of a single task, the expiry, and what tells of a failure. */
export async function packageUnits(): Promise<UnitFile[]> {
  const text = await Deno.readTextFile(new URL("config.yaml", import.meta.url));
  const config = parseConfig(text, { file: CONFIG_PATH, env: {} });
  const units = [true, false].flatMap((resident) =>
    makeUnits({
      config,
      configPath: CONFIG_PATH,
      program: "/usr/bin/couchdb-backup",
      user: "couchdb-backup",
      resident,
      readsInPlace: true,
    })
  );
  const byName = new Map(units.map(({ name, text }) => [name, text]));
  for (const name of byName.keys()) if (/@.+\.timer$/.test(name)) byName.delete(name);
  byName.set("couchdb-backup@.timer", TIMER);
  return [...byName].map(([name, text]) => ({ name, text }));
}
