/** `couchdb-backup systemd <config>`: prints unit and timer files, or writes them into a folder. */
import { basename, dirname, isAbsolute, join, normalize, resolve } from "node:path";
import { type CaFiles, type Config, isRemote, type NamedFile, STANDARD_INPUT } from "../config/config.ts";
import { EXIT, UsageError } from "../errors.ts";
import { type Authority, CONFIG_CREDENTIAL, type Credential, makeUnits } from "../commands/systemd.ts";
import type { Command } from "./command.ts";
import { replaceFile } from "./output_file.ts";
import { loadCallConfig } from "./session.ts";

const DEFAULT_PROGRAM = "/usr/local/bin/couchdb-backup";
/** Stands for the folder that systemd names only in a running service. */
const CREDENTIALS = "/run/credentials/couchdb-backup";

export const command: Command = {
  name: "systemd",
  usage: ["[<config>]"],
  help: [
    "Prints a hardened service and a timer for each task, or with --resident one service that keeps running.",
    "",
    "password_file and each ca_file are passed as credentials if they are the name of a file beside the config, or",
    "${CREDENTIALS_DIRECTORY}/NAME; docs/server.md says more.",
  ],
  flags: [
    { name: "resident", summary: "one service that keeps running and reloads its config, instead of timers" },
    { name: "user", value: "NAME", summary: "the user to run as", default: "one that systemd allocates" },
    {
      name: "program",
      value: "PATH",
      summary: "where the program is installed",
      default: DEFAULT_PROGRAM,
    },
    {
      name: "output",
      value: "FOLDER",
      summary: "write the files there, such as /etc/systemd/system",
      default: "standard output",
    },
  ],
  operands: { least: 0, most: 0 },
  exits: {},
  examples: [
    {
      line: "couchdb-backup systemd --output /etc/systemd/system /etc/couchdb-backup/cfg.yaml",
      summary: "units and timers, where systemd finds them",
    },
    {
      line: "couchdb-backup systemd --resident --user backup /etc/couchdb-backup/cfg.yaml",
      summary: "one service in their place, on standard output",
    },
  ],

  async run(call) {
    const env = { CREDENTIALS_DIRECTORY: CREDENTIALS, ...call.shell.env };
    const config = await loadCallConfig(call, { env });
    if (config.file.startsWith("$") || config.file === STANDARD_INPUT || isRemote(config.file)) {
      const where = config.file === STANDARD_INPUT ? "comes from standard input" : `stands in ${config.file}`;
      throw new UsageError("A systemd unit needs a config in a file", { hint: `Its text ${where}` });
    }
    const program = call.text("program") ?? DEFAULT_PROGRAM;
    if (!isAbsolute(program)) throw new UsageError(`--program "${program}" is not an absolute path`);
    const configPath = resolve(config.file);
    const isResident = call.isOn("resident");
    const credentials = env.CREDENTIALS_DIRECTORY ?? CREDENTIALS;
    const files = makeUnits({
      config: withTextfile(config, isResident),
      configPath,
      program,
      user: call.text("user"),
      resident: isResident,
      ...findCredentials(config, { credentials, configPath, isResident }),
    });
    const folder = call.text("output");
    if (folder !== undefined) {
      for (const { name, text } of files) await replaceFile(join(folder, name), text, { mode: 0o644 });
    }
    call.print(
      { ok: true, files },
      () =>
        files.map(({ name, text }) =>
          folder === undefined ? `# /etc/systemd/system/${name}\n${text}\n` : `${join(folder, name)}\n`
        ).join(""),
    );
    return EXIT.ok;
  },
};

/** What the units are made for. */
interface Surroundings {
  /** The folder of credentials, as the config has it. */
  credentials: string;
  /** Absolute. */
  configPath: string;
  isResident: boolean;
}

/** Which files become credentials: those that the config expects among them, or beside itself. */
function findCredentials(
  config: Config,
  surroundings: Surroundings,
): { password: Credential | undefined; authorities: Authority[] } {
  const { caFiles = {}, relativePaths = {}, tasks } = config;
  const password = credentialOf(config.database.passwordFile, config, surroundings);
  const expires = tasks.some(({ retention }) => retention !== undefined);
  const authorities: Authority[] = [];
  for (const server of Object.keys(caFiles) as (keyof CaFiles)[]) {
    // Beside a service that stays the one that deletes has its config as a credential, and asks CouchDB for nothing.
    const isResident = surroundings.isResident && (!expires || server === "database");
    const credential = credentialOf(caFiles[server], config, { ...surroundings, isResident });
    const isBeside = relativePaths[caFiles[server]?.place.path ?? ""] !== undefined;
    if (credential !== undefined) authorities.push({ ...credential, server, isBeside });
  }
  return { password, authorities };
}

function credentialOf(
  file: NamedFile | undefined,
  { relativePaths = {} }: Config,
  { credentials, configPath, isResident }: Surroundings,
): Credential | undefined {
  if (file === undefined) return undefined;
  const { path, place: { path: key = "" } } = file;
  const relative = relativePaths[key];
  const isCredential = relative === undefined && dirname(path) === credentials;
  // A service that stays reads the config where it is, and thereby what lies beside it.
  if (!isCredential && (isResident || relative === undefined)) return undefined;
  const name = isCredential ? basename(path) : normalize(relative ?? "");
  const problem = whyNoCredential(name, isResident);
  if (problem !== undefined) {
    throw new UsageError(`systemd cannot hand over ${key} "${relative ?? path}": ${problem}`, {
      hint: "Write an absolute path, of a file that the service's user can read, or have the file beside the config",
    });
  }
  return { name, source: join(dirname(configPath), name) };
}

function whyNoCredential(name: string, isResident: boolean): string | undefined {
  if (name.includes("/")) return "a credential has a name, and no folder";
  // deno-lint-ignore no-control-regex -- systemd refuses them
  if (/[:\x00-\x1f\x7f]/.test(name)) return "the name of a credential has no colon, and no control character";
  return name === CONFIG_CREDENTIAL && !isResident ? "the config itself is handed over under this name" : undefined;
}

/** The config with an absolute path of its textfile, which a service has to be allowed to write to. */
function withTextfile(config: Config, isResident: boolean): Config {
  const { prometheus, relativePaths } = config;
  if (prometheus?.textfile === undefined) return config;
  const relative = relativePaths?.["prometheus.textfile"];
  if (relative !== undefined && !isResident) {
    throw new UsageError(
      `A service cannot write prometheus.textfile "${relative}": it has the config in a folder of credentials`,
      { hint: "Write an absolute path, such as /var/lib/prometheus/node-exporter/couchdb-backup.prom" },
    );
  }
  return { ...config, prometheus: { ...prometheus, textfile: resolve(prometheus.textfile) } };
}
