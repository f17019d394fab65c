/** `couchdb-backup systemd <config>`: prints unit and timer files, or writes them into a folder. */
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isRemote, STANDARD_INPUT } from "../config/config.ts";
import { EXIT, UsageError } from "../errors.ts";
import { makeUnits, type UnitOptions } from "../commands/systemd.ts";
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
    "The password is passed as a credential if the config's password_file lies beside the config, or is",
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
    const config = await loadCallConfig(call, env);
    if (config.file.startsWith("$") || config.file === STANDARD_INPUT || isRemote(config.file)) {
      const where = config.file === STANDARD_INPUT ? "comes from standard input" : `stands in ${config.file}`;
      throw new UsageError("A systemd unit needs a config in a file", { hint: `Its text ${where}` });
    }
    const program = call.text("program") ?? DEFAULT_PROGRAM;
    if (!isAbsolute(program)) throw new UsageError(`--program "${program}" is not an absolute path`);
    const configPath = resolve(config.file);
    const isResident = call.isOn("resident");
    const password = passwordOf(config.database.passwordFile?.path, {
      credentials: env.CREDENTIALS_DIRECTORY ?? CREDENTIALS,
      configPath,
      isResident,
    });
    const files = makeUnits({ config, configPath, program, user: call.text("user"), resident: isResident, password });
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

/** Which file becomes a credential: the one that the config expects among them, or beside itself. */
function passwordOf(
  path: string | undefined,
  { credentials, configPath, isResident }: { credentials: string; configPath: string; isResident: boolean },
): UnitOptions["password"] {
  if (path === undefined) return undefined;
  const isCredential = dirname(path) === credentials;
  // A service that stays reads the config where it is, and thereby what lies beside it.
  const isBeside = !isResident && resolve(dirname(path)) === dirname(configPath);
  return isCredential || isBeside
    ? { name: basename(path), source: join(dirname(configPath), basename(path)) }
    : undefined;
}
