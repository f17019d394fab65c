/**
 * What `check` tries besides CouchDB and the store: whether Loki, the Pushgateway and the monitor accept data, with the
 * login and path that a run uses; the free space on the disk of a bucket folder; and who may read the passwords.
 */
import { stat } from "node:fs/promises";
import { hostname } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Repository } from "../archive/repository.ts";
import { CheckFailure, type Found, type Probe } from "../commands/check.ts";
import { type Config, STANDARD_INPUT } from "../config/config.ts";
import { describeError } from "../errors.ts";
import { formatLogfmt } from "../observe/logfmt.ts";
import { LokiClient } from "../observe/loki_request.ts";
import { tryNotify } from "../observe/notify.ts";
import { tryPush } from "../observe/pushgateway.ts";
import { tryMetricsFile } from "../observe/textfile.ts";
import { otherReaders } from "./identities.ts";
import { shellWord } from "../shell_word.ts";
import { tryStateFolder } from "../store/directory/mount.ts";
import { recipientOf } from "../codec/age_header.ts";
import { requireCodec, requireSeal } from "../codec/codec.ts";
import type { Codec } from "../codec/compression.ts";
import { codecOf, isSealing } from "../task/task.ts";
import type { Certificates } from "./certificates.ts";
import { spaceProbe } from "./disk_space.ts";
import { lokiLabels } from "./log.ts";
import { errorCode } from "../system_error.ts";

/** For Loki's answer. */
const PATIENCE_MS = 5000;

/** What {@linkcode probesOf} takes beside the config. */
export interface ProbeContext {
  repository: Repository;
  /** The authorities that the config names. */
  certificates: Certificates;
  now: () => Date;
  /** The machine's name in log lines and figures. @default the operating system's */
  host?: string | undefined;
  /** What opens sealed backups, where there is anything. @default there is nothing */
  identities?: (() => Promise<readonly string[]>) | undefined;
  /** How long one answer of Loki, a Pushgateway or a monitor may take. @default as long as in a run, 4 or 5 s */
  patienceMs?: number | undefined;
  /** Throws where a codec cannot be had. @default the runtime's own */
  requireCodec?: ((codec: Codec) => void) | undefined;
}

/** Everything else that a config names, each tried as a run would use it. */
export function probesOf(config: Config, context: ProbeContext): Probe[] {
  const { bucket, loki, prometheus, notify } = config;
  const probes: Probe[] = [];
  if (bucket.bucket.startsWith("file:")) {
    probes.push(
      spaceProbe(fileURLToPath(bucket.bucket), { ...context, tasks: config.tasks }),
      stateFolderProbe(bucket.stateFolder),
    );
  }
  if (config.tasks.some((task) => codecOf(task).compression !== "gzip")) probes.push(codecProbe(config, context));
  if (config.tasks.some(isSealing) || config.identityFile !== undefined || config.identitySecret !== undefined) {
    probes.push(sealProbe(config, context));
  }
  if (loki !== undefined) probes.push(lokiProbe(loki, context));
  if (prometheus?.pushgateway !== undefined) {
    const options = { ...prometheus.pushgateway, instance: prometheus.instance ?? context.host ?? hostname() };
    probes.push({
      check: "pushgateway",
      run: async (signal) => {
        const fetch = await context.certificates.fetchFor("pushgateway");
        return await tryPush({ ...options, fetch, attemptMs: context.patienceMs }, signal);
      },
    });
  }
  if (notify !== undefined) {
    const tasks = config.tasks.map(({ name }) => name);
    const run = crypto.randomUUID();
    probes.push({
      check: "notify",
      async run(signal) {
        const fetch = await context.certificates.fetchFor("notify");
        return await tryNotify({ ...notify, fetch }, {
          tasks,
          run,
          signal,
          attemptMs: context.patienceMs,
        });
      },
    });
  }
  const { textfile } = prometheus ?? {};
  if (textfile !== undefined) probes.push({ check: "textfile", run: () => tryTextfile(textfile) });
  if (process.platform !== "win32") probes.push(...modeProbes(config)); // Windows has no such modes.
  return probes;
}

async function tryTextfile(path: string): Promise<string> {
  try {
    return await tryMetricsFile(path);
  } catch (error) {
    throw new CheckFailure(`"${path}" cannot be written: ${describeError(error)}`, {
      hint: "Its folder must exist, have room, and be writable for the user that runs this program",
    });
  }
}

/** Pushes a line with the labels of a run: what Loki refuses here it would refuse in a run too. */
function lokiProbe(
  loki: NonNullable<Config["loki"]>,
  { now, host, certificates, patienceMs = PATIENCE_MS }: ProbeContext,
): Probe {
  return {
    check: "loki",
    async run(signal) {
      const client = new LokiClient({ ...loki, fetch: await certificates.fetchFor("loki") });
      const labels = { ...lokiLabels(loki, host), level: "info" };
      const time = BigInt(now().getTime()) * 1_000_000n;
      const line = formatLogfmt({ event: "check pushes a line" });
      const patience = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
      const outcome = await client.push([{ stream: JSON.stringify(labels), time, line }], patience);
      signal.throwIfAborted();
      if (outcome.result === "accepted") return `${client.place} accepts a log line at ${client.path}`;
      const { cause, status } = outcome;
      throw new CheckFailure(cause, { hint: lokiHint(status, client.path) });
    },
  };
}

function lokiHint(status: number | undefined, path: string): string {
  if (status === undefined) return "Check loki.url; backups run without it, and count the log lines that are lost";
  if (status === 401 || status === 403) {
    return "Check loki.login and loki.password; a multi-tenant Loki also needs loki.tenant";
  }
  if (status === 404 || status === 405 || (status >= 300 && status < 400)) {
    return `No push API at ${path}: loki.url is the whole address, such as http://host:3100/loki/api/v1/push`;
  }
  return "See Loki's own log; backups run without it, and count the log lines that are lost";
}

/** Whether this runtime compresses as the tasks say: not every one has zstd. */
function codecProbe({ tasks }: Config, { requireCodec: requireOne = requireCodec }: ProbeContext): Probe {
  return {
    check: "compression",
    async run(): Promise<string> {
      for (const task of tasks) requireOne(codecOf(task));
      const told = tasks.map((task) => `"${task.name}" with ${codecOf(task).compression}`);
      return await Promise.resolve(`This runtime compresses ${told.join(", ")}`);
    },
  };
}

/** To whom backups are sealed, and whether the configured identity opens them. */
function sealProbe({ tasks }: Config, { identities }: ProbeContext): Probe {
  return {
    check: "encryption",
    async run(): Promise<string | Found> {
      for (const task of tasks) await requireSeal(codecOf(task));
      const told = tasks.map((task) => {
        const { recipients } = codecOf(task);
        return `"${task.name}" seals to ${recipients === undefined ? "nobody" : recipients.join(", ")}`;
      });
      const detail = `Task ${told.join("; ")}`;
      const own = await Promise.all((await identities?.() ?? []).map(recipientOf));
      if (own.length === 0) return detail;
      const opened = tasks.filter((task) => codecOf(task).recipients?.some((one) => own.includes(one)) === true);
      const opens = `${detail}. The configured identity is that of ${own.join(", ")}`;
      if (opened.length === tasks.filter(isSealing).length) return opens;
      return {
        detail: `${opens}, which does not open the backups of every task`,
        hint: 'Compare encrypt_to with what "age-keygen -y" prints for the identity file',
        warning: true,
      };
    },
  };
}

/** The state folder, where this machine notes that the bucket folder existed, so that a missing mount is noticed. */
function stateFolderProbe(folder: string | undefined): Probe {
  const hint = "Set STATE_DIRECTORY or XDG_STATE_HOME to a writable folder that survives a restart";
  const consequence = "if its disk is not mounted one day, that will not be noticed";
  return {
    check: "state_folder",
    async run(): Promise<string | Found> {
      if (folder === undefined) return { detail: `There is no state folder: ${consequence}`, hint, warning: true };
      try {
        await tryStateFolder(folder);
        return `"${folder}" can be written`;
      } catch (error) {
        const detail = `"${folder}" cannot be written: ${describeError(error)}; ${consequence}`;
        return { detail, hint, warning: true };
      }
    },
  };
}

/**
 * A file with a password in it should not be readable for everybody on the machine, nor one with a secret key for a
 * group.
 */
function modeProbes({ file, holdsSecret, database, identityFile }: Config): Probe[] {
  const files: [string, string][] = [];
  if (holdsSecret === true && !file.startsWith("$") && file !== STANDARD_INPUT) files.push(["config_mode", file]);
  if (database.passwordFile !== undefined) files.push(["password_file_mode", database.passwordFile.path]);
  if (identityFile !== undefined) files.push(["identity_file_mode", identityFile.path]);
  return files.map(([check, path]) => ({
    check,
    async run(): Promise<string | Found> {
      const found = await stat(path).catch(notThere);
      // A program that uses the library may have the text from elsewhere, and a name for it that is no file's.
      if (found?.isFile() !== true) return `"${path}" is not a file on this machine`;
      const mode = found.mode & 0o777;
      const shown = `0${mode.toString(8).padStart(3, "0")}`;
      const holdsKey = check === "identity_file_mode";
      // A service's passwords are read through its group; what opens backups is no service's.
      const others = holdsKey
        ? otherReaders(found, path)
        : (mode & 0o004) === 0
        ? undefined
        : { who: "everybody on this machine", hint: `chmod o-rwx ${shellWord(path)}` };
      if (others === undefined) return `"${path}" has the mode ${shown}`;
      const detail = `"${path}" holds a ${holdsKey ? "secret key" : "password"} and can be read by ${others.who} ` +
        `(mode ${shown})`;
      return { detail, hint: others.hint, warning: true };
    },
  }));
}

/** Undefined for a file that is not there; anything else is thrown on. */
function notThere(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}
