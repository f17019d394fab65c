/** `couchdb-backup schedule <config>`: a service that runs each task when it is due. */
import { hostname } from "node:os";
import process from "node:process";
import type { Config } from "../config/config.ts";
import { EXIT } from "../errors.ts";
import { checkSchedules, followSchedule, type Look } from "../schedule/resident.ts";
import { type ElapseOutcome, runScheduled } from "../schedule/due.ts";
import type { Call, Command } from "./command.ts";
import { type HangUp, listenForHangUp } from "./hang_up.ts";
import { Rest } from "../commands/backup/rest.ts";
import { withPassword } from "../session/password.ts";
import type { Session } from "../session/session.ts";
import { loadCallConfig, withConfig } from "./session.ts";

export const command: Command = {
  name: "schedule",
  usage: ["[<config>]"],
  help: [
    "Runs as a service: each task when it is due, on only one of several machines; missed runs are caught up on by one run.",
    "",
    "SIGHUP reloads the config, after a run under way; a config with a mistake is not used. SIGTERM and SIGINT end it.",
    "With --json it prints a line for each run.",
  ],
  flags: [],
  operands: { least: 0, most: 0 },
  exits: {
    ok: "stopped while it waited",
    interrupted: "stopped during a run, which is resumed when a scheduler starts again",
  },
  examples: [
    { line: "couchdb-backup schedule cfg.yaml", summary: "in the foreground; systemd --resident prints a unit for it" },
    { line: "couchdb-backup schedule --json --quiet cfg.yaml", summary: "a line of JSON a run" },
  ],

  afterInterruption: () => "What is done so far is kept, and resumed when a scheduler starts again",

  async run(call) {
    const read = async () => {
      const config = await loadCallConfig(call);
      checkSchedules(config.tasks, new Date());
      // Read now and not at the first run: a password that cannot be read is a mistake in the config.
      return { ...config, database: await withPassword(config) };
    };
    let config: Config | undefined = await read();
    const hangUp = listenForHangUp({ shell: call.shell, read });
    // The state of each database is kept across runs and config reloads.
    const rest = new Rest();
    try {
      while (config !== undefined) {
        config = await withConfig(call, config, (session) => follow(call, session, { hangUp, rest }));
      }
      return EXIT.ok;
    } finally {
      hangUp.close();
    }
  },
};

/** Runs with one config until it is told to stop or there is a new config, which is returned. */
async function follow(
  call: Call,
  session: Session,
  { hangUp, rest }: { hangUp: HangUp; rest: Rest },
): Promise<Config | undefined> {
  const { config } = session;
  const { log, now, stop } = session.surroundings;
  const changed = hangUp.listen(log);
  await followSchedule({
    tasks: config.tasks,
    runDue: () => runDue(call, session, rest),
    end: AbortSignal.any([stop, changed]),
    log,
    now,
  });
  return stop.aborted ? undefined : hangUp.newConfig();
}

const UNSETTLED: ReadonlySet<ElapseOutcome> = new Set(["running", "lost", "unclaimed"]);

/** Runs what is due. Each time is a separate run, which reads CouchDB's password again. */
async function runDue(call: Call, session: Session, rest: Rest): Promise<Look> {
  const run = crypto.randomUUID();
  const own = session.with({ run, log: session.surroundings.log.with({ run }) });
  const report = await runScheduled(
    { ...await own.context(), rest, host: hostname(), pid: process.pid },
    session.config.tasks,
  );
  if (report.tasks.length > 0) {
    await own.publish(report);
    call.print(report, () => "");
  }
  const retries = report.scheduled.flatMap(({ retry_at }) => retry_at === undefined ? [] : [Date.parse(retry_at)]);
  return {
    isUnsettled: report.scheduled.some(({ outcome }) => UNSETTLED.has(outcome)),
    retryAt: retries.length === 0 ? undefined : new Date(Math.min(...retries)),
  };
}
