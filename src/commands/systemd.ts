/**
 * Unit files for systemd: a hardened service for the tasks and a timer for each, or one service that stays. In go the
 * config and where things are; out come files with their texts. Written for systemd 250 and later. Pure.
 */
import { dirname, isAbsolute, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import type { CaFiles, Config } from "../config/config.ts";
import { PROGRAM_NAME } from "../version.ts";

/** A file for `/etc/systemd/system`. */
export interface UnitFile {
  name: string;
  text: string;
}

/** A file that systemd reads for the service. */
export interface Credential {
  /** The name under which the config asks for it, in the folder of credentials. */
  name: string;
  /** Its absolute path. */
  source: string;
}

/** One with an authority to trust. */
export interface Authority extends Credential {
  /** Whose authority. */
  server: keyof CaFiles;
  /** Whether the config names it as a file beside itself: a service that reads the config in place finds it there. */
  isBeside: boolean;
}

/** What the units are made with. */
export interface UnitOptions {
  config: Config;
  /** The config's absolute path. */
  configPath: string;
  /** The absolute path of the program. */
  program: string;
  /**
   * The user to run as; absent: one that systemd makes up, or `couchdb-backup` where files have to belong to somebody,
   * or lie in /tmp.
   */
  user?: string | undefined;
  /** One service that stays, in place of timers. */
  resident: boolean;
  /** The file with CouchDB's password, where it is handed to the service as a credential. */
  password?: Credential | undefined;
  /** The same of the files with authorities to trust. */
  authorities?: readonly Authority[] | undefined;
  /** Whether the user may read the config where it lies, as in a package; else systemd reads it and hands it over. */
  readsInPlace?: boolean;
}

/** The name under which systemd hands the config over. */
export const CONFIG_CREDENTIAL = "config.yaml";

/** The variable that tells a service which file it was handed over, for the commands in its messages. */
export const CONFIG_SOURCE_VARIABLE = "COUCHDB_BACKUP_CONFIG_SOURCE";

/** Where whoever looks at a unit reads on. */
const DOCUMENTATION = `Documentation=man:${PROGRAM_NAME}(1)`;

/** What no unit of this program may do, wherever it runs and whatever it writes. */
const CONFINEMENT = `PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
PrivateMounts=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
`;

/** The service, and a timer for each task that has a schedule. */
export function makeUnits(options: UnitOptions): UnitFile[] {
  const whenFailed = { name: `${PROGRAM_NAME}-failed@.service`, text: failedService() };
  const expiry = options.config.tasks.some(({ retention }) => retention !== undefined) ? expiryUnits(options) : [];
  if (options.resident) {
    return [{ name: `${PROGRAM_NAME}.service`, text: residentService(options) }, ...expiry, whenFailed];
  }
  const timers = options.config.tasks.filter(({ cron }) => cron !== undefined).map((task) => ({
    name: `${PROGRAM_NAME}@${escapeInstance(task.name)}.timer`,
    text: timer(task, options),
  }));
  return [{ name: `${PROGRAM_NAME}@.service`, text: taskService(options) }, ...timers, ...expiry, whenFailed];
}

/** A name as it stands between `@` and `.service`, as systemd-escape(1) makes it. */
export function escapeInstance(name: string): string {
  const bytes = new TextEncoder().encode(name);
  return [...bytes].map((byte, index) => {
    const character = String.fromCharCode(byte);
    if (character === "/") return "-";
    const isPlain = /[A-Za-z0-9:_.]/.test(character) && !(character === "." && index === 0);
    return isPlain ? character : `\\x${byte.toString(16).padStart(2, "0")}`;
  }).join("");
}

/** A word of a setting that takes several. */
function quote(word: string): string {
  return `"${escapeSpecifiers(word).replace(/["\\]/g, "\\$&")}"`;
}

function escapeSpecifiers(text: string): string {
  return text.replaceAll("%", "%%");
}

/** Config, password and authorities, read by systemd, so that they may belong to root alone. */
function credentials(options: UnitOptions): { config: string; lines: string } {
  const { configPath, readsInPlace = false } = options;
  if (readsInPlace) return { config: quote(configPath), lines: "" };
  const lines =
    `# The config, and what it names beside itself, are read by systemd, so that they may belong to root alone.
${loadCredential({ name: CONFIG_CREDENTIAL, source: configPath })}${
      loadNamed(options)
    }# The copy is gone when the service ends: commands in messages name the file itself.
Environment=${quote(`${CONFIG_SOURCE_VARIABLE}=${configPath}`)}
`;
  return { config: `%d/${CONFIG_CREDENTIAL}`, lines };
}

function taskService(options: UnitOptions): string {
  const { config, lines } = credentials(options);
  return `# One look at one task: what is due is claimed and run. Its name stands after the @.
[Unit]
Description=CouchDB backup: %I
${dependencies(options, "Called each time that something is not saved, again and again until it is.")}
[Service]
Type=oneshot
ExecStart=:${quote(options.program)} backup ${config} --scheduled --task=%I
# 130 is a stop that was asked for: what is stored is kept, and the next look goes on from there.
SuccessExitStatus=130
TimeoutStopSec=15
# No Restart=: a run that was killed, and one that did not save everything and ends with 3, 10 or 11, leave this unit
# failed, and the timer's next look resumes it. With Restart= OnFailure= would not be called of what is killed every time.

${lines}${hardening(options)}`;
}

function residentService(options: UnitOptions): string {
  const { configPath, program, authorities = [] } = options;
  return `# Stays and runs every task when it is due.
[Unit]
Description=CouchDB backup
${
    dependencies(
      options,
      "Called when this service ends for good. What a run did not save does not end it: notify: and status tell.",
    )
  }
[Service]
# There is no Type=notify: the program would need the right to start others, or an unstable API, to write to systemd's socket.
Type=exec
ExecStart=:${quote(program)} schedule ${quote(configPath)}
ExecReload=/bin/kill -HUP $MAINPID
# 130 is a stop amid a run: what is stored is kept, and the next start goes on from there.
SuccessExitStatus=130
TimeoutStopSec=15
Restart=on-failure
RestartSec=30
# A config with a mistake does not get better by being read again.
RestartPreventExitStatus=2

# The config is read in place, for a reload to see what was changed: the user below must be able to read it.
${loadNamed({ ...options, authorities: authorities.filter(({ isBeside }) => !isBeside) })}${hardening(options)}
[Install]
WantedBy=multi-user.target
`;
}

/**
 * What deletes, apart from what backs up: it runs once somebody has enabled its timer, and needs no password of
 * CouchDB.
 */
function expiryUnits(options: UnitOptions): UnitFile[] {
  // It asks CouchDB for nothing.
  const authorities = options.authorities?.filter(({ server }) => server !== "database");
  const { config, lines } = credentials({ ...options, password: undefined, authorities });
  const name = `${PROGRAM_NAME}-expire`;
  const service =
    `# Deletes the backups that the retention of no task keeps. Nothing calls it before its timer is enabled.
[Unit]
Description=CouchDB backup: deletes what has expired
${dependencies(options, "Called each time that it fails.")}
[Service]
Type=oneshot
ExecStart=:${quote(options.program)} expire ${config} --confirm
SuccessExitStatus=130
TimeoutStopSec=15
${lines}${hardening(options)}`;
  const timer = `# Once a day, off the hours at which backups begin; systemctl enable --now ${name}.timer
[Unit]
Description=CouchDB backup: deletes what has expired, daily
${DOCUMENTATION}

[Timer]
OnCalendar=*-*-* 12:00:00
RandomizedDelaySec=1h
Persistent=true

[Install]
WantedBy=timers.target
`;
  return [{ name: `${name}.service`, text: service }, { name: `${name}.timer`, text: timer }];
}

/** What a unit waits for, and what is called `whenFailed`, a comment. */
function dependencies(options: UnitOptions, whenFailed: string): string {
  return `${DOCUMENTATION}
Wants=network-online.target
# A CouchDB on this machine is there first; elsewhere the second name means nothing.
After=network-online.target couchdb.service
${mounts(options)}# ${whenFailed}
OnFailure=${PROGRAM_NAME}-failed@%n.service
`;
}

/** What is called when something failed: a line in the journal, in whose place somebody may be woken up. */
function failedService(): string {
  return `# Tells that a unit has failed, %i. As it stands it writes to the journal. To be told in another way, put a drop-in
# beside it, such as ${PROGRAM_NAME}-failed@.service.d/mail.conf:
#   [Service]
#   ExecStart=
#   ExecStart=/usr/local/bin/send-a-mail "%i on %H has failed"
#   PrivateNetwork=no
#   RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
[Unit]
Description=Tells that %i has failed
${DOCUMENTATION}

[Service]
Type=oneshot
ExecStart=:/usr/bin/systemd-cat --identifier=${PROGRAM_NAME} --priority=alert /bin/echo "%i has failed: systemctl status '%i' and journalctl -u '%i' tell why"
DynamicUser=yes
UMask=0077
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
# It speaks to the journal, through a socket of this machine, and to nobody else.
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
${CONFINEMENT}`;
}

/** Password and authorities; a file that is named more than once is loaded once. */
function loadNamed({ password, authorities = [] }: UnitOptions): string {
  const lines = [...password === undefined ? [] : [password], ...authorities].map(loadCredential);
  return [...new Set(lines)].join("");
}

/** Without quotes, which systemd would take for a part of name and path: it reads on to the line's end. */
function loadCredential({ name, source }: Credential): string {
  return `LoadCredential=${escapeSpecifiers(name).replaceAll("\\", "\\\\")}:${escapeSpecifiers(source)}\n`;
}

function hardening(options: UnitOptions): string {
  const { config, configPath, user } = options;
  const paths = writablePaths(config);
  const needed = [...paths, ...readPaths(options)].map((path) => normalize(path));
  const isIn = (...folders: string[]) => needed.some((path) => folders.some((folder) => `${path}/`.startsWith(folder)));
  const state = bucketFolder(config) === undefined
    ? ""
    : `# Here is noted that the bucket folder was there, so that a disk which is not mounted is told from a first run.
StateDirectory=${PROGRAM_NAME}
`;
  const needsTmp = isIn("/tmp/", "/var/tmp/");
  // One that systemd makes up has a /tmp of its own, whatever PrivateTmp= says.
  const owner = user ?? (paths.length > 0 || needsTmp ? PROGRAM_NAME : undefined);
  const install = paths.map((path) => `install -d -o ${owner} '${path}'`).join("; ");
  const identity = owner === undefined
    ? "DynamicUser=yes"
    : `# It must exist (useradd --system ${owner})${
      paths.length === 0 ? "" : ` and own what it writes to (${install})`
    }.
User=${owner}`;
  return `# For variables that the config uses, a NAME=value a line.
EnvironmentFile=-${escapeSpecifiers(dirname(configPath))}/environment

${identity}
UMask=0077
# What Deno notes of the program, where a package runs it on Deno: else each start takes longer, and 50 MB more.
CacheDirectory=${PROGRAM_NAME}
CacheDirectoryMode=0700
${state}${writable(paths)}ProtectSystem=strict
# Where the program, or a path that it reads or writes, lies in somebody's home or in /tmp, that place cannot be hidden.
ProtectHome=${isIn("/home/", "/root/", "/run/user/") ? "read-only" : "yes"}
PrivateTmp=${needsTmp ? "no" : "yes"}
RestrictAddressFamilies=AF_INET AF_INET6
${CONFINEMENT}# MemoryDenyWriteExecute=yes is impossible: V8 writes the machine code that it runs.
`;
}

function writable(paths: readonly string[]): string {
  if (paths.length === 0) return "";
  const lines = paths.map((path) => `ReadWritePaths=${quote(`-${path}`)}\n`);
  return `# With a dash, the program says it where one is not there, as when its disk is not mounted: systemd would start nothing.
${lines.join("")}`;
}

/** The bucket, where it is a folder. */
function bucketFolder({ bucket }: Config): string | undefined {
  return bucket.bucket.startsWith("file:") ? fileURLToPath(bucket.bucket) : undefined;
}

/** What must be mounted before: a backup to the disk below the mount point would fill that one, and be no backup. */
function mounts({ config }: UnitOptions): string {
  const folder = bucketFolder(config);
  return folder === undefined ? "" : `RequiresMountsFor=${quote(folder)}\n`;
}

/** What is written to in the file system: the bucket, where it is a folder, and the folder of the textfile. */
function writablePaths(config: Config): string[] {
  const folder = bucketFolder(config);
  const textfile = config.prometheus?.textfile;
  return [...folder === undefined ? [] : [folder], ...textfile === undefined ? [] : [dirname(textfile)]];
}

/** What the service itself opens, beside what systemd hands over: the program, and files by absolute paths. */
function readPaths(options: UnitOptions): string[] {
  const { config, configPath, program, resident, readsInPlace = false, password, authorities = [] } = options;
  const caFiles = { ...config.caFiles };
  for (const { server } of authorities) delete caFiles[server];
  const files = [password === undefined ? config.database.passwordFile : undefined, ...Object.values(caFiles)];
  const named = files.flatMap((file) => file?.path ?? []);
  return [program, ...resident || readsInPlace ? [configPath] : [], ...named.filter((path) => isAbsolute(path))];
}

function timer({ name, cron, calendar, timezone }: Config["tasks"][number], options: UnitOptions): string {
  const zone = calendar?.timeZone === undefined && timezone !== undefined ? ` ${timezone}` : "";
  return `# When the task "${name.replace(/\s/g, " ")}" of ${options.configPath} is due.
[Unit]
Description=CouchDB backup: ${escapeSpecifiers(name.replace(/\s/g, " "))}, when it is due
${DOCUMENTATION}

[Timer]
OnCalendar=${escapeSpecifiers(cron ?? "")}${zone}
# What was missed while the machine was off is caught up on once.
Persistent=true
# A run that the machine's end cut short is resumed when the machine is back.
OnBootSec=10min
# A look five minutes behind each other one: what failed is tried again, and what another machine left is resumed. Where
# nothing is due it costs one listing of a folder.
OnUnitInactiveSec=5min

[Install]
WantedBy=timers.target
`;
}
