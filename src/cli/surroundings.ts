/** The environment variables and files that the program reads, for the man page and docs/commands.md. Pure. */

/** A variable or a file, and what it is for. */
export interface Surrounding {
  /** Several that belong together stand beside each other. */
  names: readonly string[];
  summary: string;
}

/** The environment's variables. */
export const ENVIRONMENT: readonly Surrounding[] = [
  {
    names: ["COUCHDB_BACKUP_CONFIG"],
    summary:
      "the config, if the command line names none: a path, s3://BUCKET/KEY, the ARN of a parameter of Systems Manager, " +
      "or the text itself. Any other variable may stand in the config as ${NAME}",
  },
  {
    names: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
    summary: "keys for S3, if the config has no token and secret",
  },
  {
    names: [
      "AWS_PROFILE",
      "AWS_CONFIG_FILE",
      "AWS_SHARED_CREDENTIALS_FILE",
      "AWS_LOGIN_CACHE_DIRECTORY",
      "HOME",
      "USERPROFILE",
    ],
    summary: "the profile that keys come from, SSO and assumed roles among them, and where it is written",
  },
  { names: ["AWS_REGION", "AWS_DEFAULT_REGION"], summary: "the region, if the config names none" },
  {
    names: [
      "AWS_WEB_IDENTITY_TOKEN_FILE",
      "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
      "AWS_CONTAINER_CREDENTIALS_FULL_URI",
      "AWS_CONTAINER_AUTHORIZATION_TOKEN",
      "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
      "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ],
    summary: "where a pod, a container and an instance get the keys of their role",
  },
  {
    names: [
      "AWS_ENDPOINT_URL",
      "AWS_ENDPOINT_URL_S3",
      "AWS_ENDPOINT_URL_SECRETS_MANAGER",
      "AWS_ENDPOINT_URL_SFN",
      "AWS_ENDPOINT_URL_SSM",
    ],
    summary: "other addresses of AWS's services",
  },
  {
    names: ["AWS_USE_FIPS_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"],
    summary: "true: AWS's FIPS addresses; no addresses of your own",
  },
  {
    names: ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"],
    summary: "proxies, in these or in small letters; docs/tls-and-proxies.md",
  },
  {
    names: ["DENO_CERT", "DENO_TLS_CA_STORE", "SSL_CERT_FILE"],
    summary: "authorities to trust, where no ca_file of the config names them; docs/tls-and-proxies.md",
  },
  {
    names: ["TZ"],
    summary: "the zone of schedules and dates, if neither a task nor its cron names one, such as Europe/Berlin",
  },
  {
    names: ["STATE_DIRECTORY", "XDG_STATE_HOME"],
    summary: "where the program remembers bucket folders that it has written to: systemd's state folder of the unit, " +
      "else below the user's, ~/.local/state unless set",
  },
  {
    names: ["COUCHDB_BACKUP_CONFIG_SOURCE"],
    summary: "set by the units, which systemd hands a copy of the config: the file that commands in messages name",
  },
  { names: ["CREDENTIALS_DIRECTORY"], summary: "where systemd puts the password_file of its units" },
  { names: ["JOURNAL_STREAM"], summary: "set by systemd: lines for the journal then have its levels and no time" },
  { names: ["NO_COLOR", "TERM"], summary: "no colours; TERM=dumb: no bars either, and ASCII alone" },
  { names: ["LC_ALL", "LC_CTYPE", "LANG"], summary: "a locale other than UTF-8: ASCII alone" },
];

/** Files, beside what the config names. */
export const FILES: readonly Surrounding[] = [
  { names: ["./config.yaml"], summary: "the config, if nothing names another one" },
  {
    names: ["~/.local/state/couchdb-backup/"],
    summary: "which bucket folders existed: if one is missing, its disk is taken for not mounted",
  },
  {
    names: ["<bucket>/<prefix>/<year>/<month>/<day>/<suffix>/<database>/"],
    summary: "a backup: chunks, and the manifest that makes it complete; docs/archive.md",
  },
];
