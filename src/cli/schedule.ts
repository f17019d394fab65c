/** `couchdb-backup schedule <config>`: a service that runs each task when it is due. */
import { hostname } from "node:os";
import process from "node:process";
import type { Config } from "../config/config.ts";
import { EXIT } from "../errors.ts";
import { checkSchedules, followSchedule, type Look } from "../schedule/resident.ts";
import { SILENT_LOG } from "../observe.ts";
import { type ElapseOutcome, type KeptRefusal, runScheduled } from "../schedule/due.ts";
import type { Call, Command } from "./command.ts";
import { type HangUp, listenForHangUp } from "./hang_up.ts";
import { Rest } from "../commands/backup/rest.ts";
import { checkCertificates } from "../session/certificates.ts";
import { openSession } from "../session/open.ts";
import { LastingLogin } from "../session/password.ts";
import type { Task } from "../task/task.ts";
import type { ProgramSession } from "../session/session.ts";
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
    let found: Usable | undefined = await readUsable(call);
    const hangUp = listenForHangUp({
      shell: call.shell,
      read: (signal) => readUsable(call, { signal, before: found?.config.tasks }),
    });
    // The state of each database is kept across runs and config reloads.
    const rest = new Rest();
    try {
      while (found !== undefined) {
        const { config, login }: Usable = found;
        found = await withConfig(call, config, (session) => follow(call, session, { hangUp, rest, login }));
      }
      return EXIT.ok;
    } finally {
      hangUp.close();
    }
  },
};

/** A config that can be used, and CouchDB's login. */
interface Usable {
  config: Config;
  login: LastingLogin;
}

/**
 * Reads the config, and all that it names and without which it cannot be used: what is found out later ends a service
 * that could have gone on with the config that it had. No server is asked, but for what is kept in AWS.
 */
async function readUsable(
  call: Call,
  { signal, before }: { signal?: AbortSignal; before?: readonly Task[] | undefined } = {},
): Promise<Usable> {
  const config = await loadCallConfig(call, { signal });
  checkSchedules(config.tasks, { now: new Date(), before });
  await checkCertificates(config.caFiles);
  await (await openSession({ config, log: SILENT_LOG })).close();
  return { config, login: await LastingLogin.read(config, { signal }) };
}

/** What is kept from one look of a service to the next. */
interface Kept {
  rest: Rest;
  login: LastingLogin;
}

/** Runs with one config until it is told to stop or there is a new config, which is returned. */
async function follow(
  call: Call,
  session: ProgramSession,
  { hangUp, ...kept }: Kept & { hangUp: HangUp<Usable> },
): Promise<Usable | undefined> {
  const { config } = session;
  const { log, now, stop } = session.surroundings;
  const changed = hangUp.listen(log);
  // A new config is tried at once, as it may have the password that the old one lacked.
  const refusal: KeptRefusal = { last: undefined };
  await followSchedule({
    tasks: config.tasks,
    runDue: () => runDue(call, session, { ...kept, refusal }),
    end: AbortSignal.any([stop, changed]),
    log,
    now,
  });
  return stop.aborted ? undefined : hangUp.newConfig();
}

const UNSETTLED: ReadonlySet<ElapseOutcome> = new Set(["running", "lost", "unclaimed"]);

/** Runs what is due. Each time is a separate run, which reads CouchDB's password again. */
async function runDue(
  call: Call,
  session: ProgramSession,
  { rest, login, refusal }: Kept & { refusal: KeptRefusal },
): Promise<Look> {
  const run = crypto.randomUUID();
  const { log: sessionLog, signal } = session.surroundings;
  const log = sessionLog.with({ run });
  const own = session.with({ run, log, login: await login.now({ log, signal }) });
  const report = await runScheduled({
    ...await own.context(),
    rest,
    refusal,
    host: hostname(),
    pid: process.pid,
    whenInterrupted: async (report) => {
      call.print(report, () => "");
      await own.publish(report, { isInterrupted: true });
    },
  }, session.config.tasks);
  if (report.tasks.length > 0) {
    await own.publish(report);
    call.print(report, () => "");
  }
  const retries = report.scheduled.flatMap(({ retry_at }) => retry_at === undefined ? [] : [Date.parse(retry_at)]);
  return {
    isUnsettled: report.scheduled.some(({ outcome, unreported }) => unreported === true || UNSETTLED.has(outcome)),
    retryAt: retries.length === 0 ? undefined : new Date(Math.min(...retries)),
  };
}
