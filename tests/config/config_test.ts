import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { parseCalendar } from "../../src/calendar/calendar.ts";
import { type Config, loadConfig, parseConfig } from "../../src/config/config.ts";
import { KNOWN_KEYS } from "../../src/config/keys.ts";
import { SECTIONS } from "../../src/config/schema.ts";
import { guardEnvironment } from "../../src/config/environment.ts";
import { ConfigError, describeError, UsageError } from "../../src/errors.ts";

/** The sample as its author wrote it: a colon is missing in the first line. */
const WRITTEN = `database
  url: "http://[2345::6]:5984"
  login: "backup"
  password: "secret"
task:
  weekly:
    cron: "Sat *-*-1..7 18:00:00"
    databases:
    - "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}"
    - "system_config"
    - "media"
    delay: 600
  mouthly:
    cron: "Sat *-*-1..7 18:00:00"
    databases:
    - "account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}-[0-9]{6}"
    delay: 600
    chunk: 1000
    backup_only_previus: true
bucket: "s3://data.example.com/folder"
token: "XXXXXXXXX"
secret: "YYYYYYYYYY"
prefix: "backup/ippbx"
suffix: "couchdb"
loki: "http://syslog-west.example.com:3100/loki/api/v1/push"
`;
const SAMPLE = WRITTEN.replace("database\n", "database:\n");

const DATABASE = "database: {url: 'http://h:5984'}\n";
const TASK = "task: {all: {databases: ['.*']}}\n";
const BUCKET = "bucket: s3://bucket/folder\n";

function parse(text: string, env: Record<string, string> = {}): Config {
  return parseConfig(text, { file: "cfg.yaml", env });
}

function errorOf(text: string, env: Record<string, string> = {}): ConfigError {
  return assertThrows(() => parse(text, env), ConfigError);
}

Deno.test("parseConfig() says of the sample as it was written that a colon is missing after database, and nothing else", () => {
  const error = errorOf(WRITTEN);
  assertEquals(error.message, 'cfg.yaml:1:9: A colon is missing after "database"\n  1 | database\n    |         ^');
  assertEquals(error.hint, 'Write "database:"');
  assertEquals(error.place, { file: "cfg.yaml", line: 1, column: 9 });
  assertEquals(error.exitCode, 2);
});

Deno.test("parseConfig() reads the sample with its colon", () => {
  const config = parse(SAMPLE);
  assertEquals(config.database.url, "http://[2345::6]:5984");
  assertEquals(config.database.login, "backup");
  assertEquals(config.database.password?.reveal(), "secret");
  const [weekly, mouthly, ...others] = config.tasks;
  assertEquals(others, []);
  assertEquals(weekly, {
    name: "weekly",
    cron: "Sat *-*-1..7 18:00:00",
    calendar: parseCalendar("Sat *-*-1..7 18:00:00"),
    timezone: undefined,
    databases: ["account%2F[0-9a-f]{2}%2F[0-9a-f]{2}%2F[0-9a-f]{16}", "system_config", "media"],
    exclude: [],
    delaySeconds: 600,
    chunk: undefined,
    backupOnlyPrevious: false,
    attachments: true,
    revisions: true,
    tombstones: false,
    increments: undefined,
    codec: { compression: "gzip", level: undefined },
    parallel: 4,
    concurrency: undefined,
    allowEmpty: false,
    retention: undefined,
  });
  assertEquals([mouthly?.name, mouthly?.chunk, mouthly?.backupOnlyPrevious], ["mouthly", 1000, true]);
  assertEquals([config.bucket.bucket, config.bucket.accessKeyId], ["s3://data.example.com/folder", "XXXXXXXXX"]);
  assertEquals(config.bucket.secretAccessKey?.reveal(), "YYYYYYYYYY");
  assertEquals([config.prefix, config.suffix, config.file], ["backup/ippbx", "couchdb", "cfg.yaml"]);
  assertEquals(config.loki?.url, "http://syslog-west.example.com:3100/loki/api/v1/push");
  assertEquals([config.prometheus, config.warnings], [undefined, []]);
});

Deno.test("parseConfig() reads every key", () => {
  const config = parse(`
database: {url: https://couch.example.com/db/, login: l, password_secret: "arn:aws:secretsmanager:eu-west-1:1:secret:x"}
task:
  "any name":
    cron: daily
    timezone: Europe/Berlin
    databases: [a]
    exclude: [b]
    delay: 0.5
    chunk: 1
    chunk_bytes: 65536
    backup_only_previous: true
    attachments: false
    revisions: false
    tombstones: true
    incremental: true
    max_increments: 30
    full_every: 90
    compression: zstd
    compression_level: 19
    parallel: 32
    concurrency: 100
    allow_empty: true
    retention: {keep_last: 1, keep_within: 1y2m3w4d5h, keep_daily: 2, keep_weekly: 3, keep_monthly: 4, keep_yearly: 5, grace: 0d}
bucket: s3://bucket/a/b/
region: eu-central-1
endpoint: http://[::1]:9000/
addressing_style: path
part_size: 16
max_parts: 1000
token: t
secret: s
session_token: st
storage_class: STANDARD_IA
object_lock: {mode: compliance, days: 120}
sse: aws:kms
kms_key_id: k
prefix: p
suffix: s/t
loki: {url: "http://loki:3100/push", labels: {app: x}, tenant: t, login: l, password: p}
prometheus: {pushgateway: "http://u:p@push:9091/", per_database: true, instance: i}
`);
  assertEquals(config.database.url, "https://couch.example.com/db");
  assertEquals(config.database.password, undefined);
  assertEquals(config.database.passwordSecret, "arn:aws:secretsmanager:eu-west-1:1:secret:x");
  assertEquals(config.tasks, [{
    name: "any name",
    cron: "daily",
    calendar: parseCalendar("daily"),
    timezone: "Europe/Berlin",
    databases: ["a"],
    exclude: ["b"],
    delaySeconds: 0.5,
    chunk: 1,
    chunkBytes: 65536,
    backupOnlyPrevious: true,
    attachments: false,
    revisions: false,
    tombstones: true,
    increments: { most: 30, fullEveryDays: 90, lockDays: 120 },
    codec: { compression: "zstd", level: 19 },
    parallel: 32,
    concurrency: 100,
    allowEmpty: true,
    retention: {
      keepLast: 1,
      keepWithin: { years: 1, months: 2, days: 25, hours: 5 },
      keepDaily: 2,
      keepWeekly: 3,
      keepMonthly: 4,
      keepYearly: 5,
      grace: { years: 0, months: 0, days: 0, hours: 0 },
    },
  }]);
  const { secretAccessKey: secret, sessionToken, ...bucket } = config.bucket;
  assertEquals([secret?.reveal(), sessionToken?.reveal()], ["s", "st"]);
  assertEquals(bucket, {
    bucket: "s3://bucket/a/b",
    region: "eu-central-1",
    endpoint: "http://[::1]:9000",
    addressing: "path",
    partBytes: 16 * 1024 * 1024,
    maxParts: 1000,
    accessKeyId: "t",
    storageClass: "STANDARD_IA",
    objectLock: { mode: "COMPLIANCE", days: 120 },
    sse: "aws:kms",
    kmsKeyId: "k",
  });
  assertEquals([config.prefix, config.suffix], ["p", "s/t"]);
  const { password, ...loki } = config.loki!;
  assertEquals(loki, { url: "http://loki:3100/push", login: "l", labels: { app: "x" }, tenant: "t" });
  assertEquals(password?.reveal(), "p");
  assertEquals(config.prometheus?.pushgateway?.url, "http://push:9091");
  assertEquals(config.prometheus?.pushgateway?.password?.reveal(), "p");
  assertEquals([config.prometheus?.perDatabase, config.prometheus?.instance], [true, "i"]);
});

Deno.test("parseConfig() takes TZ along for tasks that name no zone, an empty one, too", () => {
  for (const env of [{ TZ: ":Europe/Berlin" }, { TZ: "" }, {}]) {
    const [task] = parse(`${DATABASE}${TASK}${BUCKET}`, env).tasks;
    assertEquals(task?.tz, (env as { TZ?: string }).TZ);
  }
});

Deno.test("parseConfig() says of a retention that keeps nothing, or is none, what it must be", async (t) => {
  for (
    const [retention, message] of [
      ["{}", "must have at least one of the keys keep_last, keep_within, keep_daily"],
      ["{grace: 7d}", "must have at least one of the keys keep_last, keep_within, keep_daily"],
      [
        "{keep_last: 0}",
        "must be a whole number from 1 to 9007199254740991; leave the key out if the rule is not wanted",
      ],
      ["{keep_last: -1}", "must be a whole number from 1 to 9007199254740991"],
      ["{keep_within: 0d}", 'is "0d", must be more than nothing; leave the key out if the rule is not wanted'],
      ["{keep_last: 3, keep_within: 0y0h}", "must be more than nothing"],
      ["{keep_within: 30}", 'must be a span of time such as "1y6m14d12h"'],
      ["{keep_within: 3 days}", 'must be a span of time such as "1y6m14d12h"'],
      ["{keep_within: 5h3d}", 'must be a span of time such as "1y6m14d12h"'],
      ["{keep_daily: 99999999999999999999}", "must be a whole number from 1 to 9007199254740991; leave"],
      ["{keep_within: 99999y}", "of at most 9999y, 99999m, 99999w, 999999d and 9999999h"],
      ["{keep_latest: 3, keep_last: 3}", 'did you mean "keep_last"?'],
      ["7", "must be a mapping with at least one of the keys"],
    ] as const
  ) {
    await t.step(retention, () => {
      const text = `${DATABASE}task: {t: {databases: [a], retention: ${retention}}}\n${BUCKET}`;
      const error = assertThrows(() => parse(text), ConfigError);
      assertStringIncludes(error.message, message);
      assertStringIncludes(error.message, "retention");
    });
  }
});

Deno.test("parseConfig() refuses a lock where nothing locks, and one without an end", () => {
  const read = (bucket: string, lock: string) =>
    assertThrows(() => parse(`${DATABASE}${TASK}bucket: ${bucket}\nobject_lock: ${lock}\n`), ConfigError).message;
  for (const folder of ["file:///b", "/backups"]) {
    assertStringIncludes(read(folder, "{mode: governance, days: 9}"), "files in a folder cannot be locked");
  }
  assertStringIncludes(read("s3://bucket", "{mode: governance}"), "must be a whole number of days");
  assertStringIncludes(read("s3://bucket", "{mode: hard, days: 9}"), 'must be "governance" or "compliance"');
  assertStringIncludes(read("s3://bucket", "90"), "must be a mapping of mode");
});

Deno.test("parseConfig() keeps a backup seven days behind its successor where grace says nothing else", () => {
  const config = parse(`${DATABASE}task: {t: {databases: [a], retention: {keep_last: 3}}}\n${BUCKET}`);
  assertEquals(config.tasks[0]?.retention?.grace, { years: 0, months: 0, days: 7, hours: 0 });
});

Deno.test("parseConfig() takes a text for prometheus as a Pushgateway or as a textfile in the config's folder", () => {
  const read = (value: string) =>
    parseConfig(`${DATABASE}${TASK}${BUCKET}prometheus: ${value}\n`, { file: "/etc/backup/c.yaml", env: {} })
      .prometheus;
  assertEquals(read("http://push:9091")?.pushgateway, { url: "http://push:9091" });
  assertEquals(read("couchdb.prom")?.textfile, "/etc/backup/couchdb.prom");
  assertEquals(read("/var/lib/node/couchdb.prom")?.textfile, "/var/lib/node/couchdb.prom");
});

Deno.test("parseConfig() takes credentials out of the URLs", () => {
  const config = parse(
    `database: {url: "http://b%40ck:p%2Fw@[::1]:5984/couch/"}\n${TASK}${BUCKET}loki: http://u:q@loki:3100/push\n`,
  );
  assertEquals([config.database.url, config.database.login], ["http://[::1]:5984/couch", "b@ck"]);
  assertEquals(config.database.password?.reveal(), "p/w");
  assertEquals([config.loki?.url, config.loki?.login], ["http://loki:3100/push", "u"]);
  assertEquals(config.loki?.password?.reveal(), "q");
});

Deno.test("parseConfig() takes a bare path as the bucket folder, whatever is in it", () => {
  const bucketOf = (bucket: string) => parse(`${DATABASE}${TASK}bucket: ${bucket}\n`).bucket.bucket;
  assertEquals(bucketOf("/backups"), "file:///backups");
  assertEquals(bucketOf("'/a b/50%25/ü/'"), "file:///a%20b/50%2525/%C3%BC");
  for (const url of ["file:////a", "file:///a//b", "file:///a b/%C3%BC", "file:///a%20b/ü/50%25", "file:///a[1]|%23"]) {
    assertEquals(bucketOf(`"${url}"`), url);
  }
  const refused = [
    ["backups", 'is "backups", must be "s3://'],
    ["/", "must be"],
    ["/a/../b", 'must have no "."'],
    ["s3://arn:aws:s3:eu-central-1:123456789012:accesspoint/point/folder", "of an access point with its alias"],
  ] as const;
  for (const [bucket, message] of refused) assertThrows(() => bucketOf(bucket), ConfigError, message);
});

Deno.test("loadConfig() reads standard input where the path is -", async () => {
  const text = `${DATABASE}${TASK}${BUCKET}`;
  const readStandardInput = () => Promise.resolve(text);
  const config = await loadConfig({ path: "-", env: {}, readStandardInput });
  assertEquals([config.file, config.bucket.bucket], ["-", "s3://bucket/folder"]);
  assertEquals((await loadConfig({ env: { COUCHDB_BACKUP_CONFIG: "-" }, readStandardInput })).file, "-");
  const broken = () => loadConfig({ path: "-", env: {}, readStandardInput: () => Promise.resolve(`${text}x: 1\n`) });
  await assertRejects(broken, ConfigError, '-:4:1: Key "x" is unknown');
});

Deno.test("parseConfig() keeps a file:// bucket and warns of the keys that are S3's", () => {
  const config = parse(`${DATABASE}${TASK}bucket: file:///var/backup/\nregion: eu-west-1\n`, {
    AWS_ACCESS_KEY_ID: "a",
    AWS_SECRET_ACCESS_KEY: "s",
  });
  assertEquals([config.bucket.bucket, config.bucket.accessKeyId], ["file:///var/backup", undefined]);
  assertEquals(config.warnings, ['cfg.yaml:4:1: Key "region" has no effect on a file:// bucket']);
  const keys = [
    "addressing_style: path",
    "part_size: 8",
    "max_parts: 100",
    "ca_file: ca.pem",
    "storage_class: GLACIER",
  ];
  const { warnings } = parse(`${DATABASE}${TASK}bucket: /var/backup\n${keys.join("\n")}\n`);
  const told = warnings.map((text) =>
    /^cfg.yaml:(\d+):1: Key "(\w+)" has no effect on a file:\/\/ bucket$/.exec(text)?.[2]
  );
  assertEquals(told.toSorted(), keys.map((text) => text.split(":")[0]).toSorted());
});

Deno.test("parseConfig() warns of the keys of prometheus that are a Pushgateway's", () => {
  const warningsFor = (keys: string) => parse(`${DATABASE}${TASK}${BUCKET}prometheus: {${keys}}\n`).warnings;
  assertEquals(warningsFor("textfile: a.prom, per_database: true, instance: b, ca_file: ca.pem"), [
    'cfg.yaml:4:52: Key "prometheus.instance" has no effect on a textfile',
    'cfg.yaml:4:65: Key "prometheus.ca_file" has no effect on a textfile',
  ]);
  assertEquals(warningsFor('pushgateway: "http://p:9091", instance: b, ca_file: ca.pem'), []);
});

Deno.test("parseConfig() says where keys may be when neither the config nor the environment has any", () => {
  const sourcesIn = (env: Record<string, string>) => parse(`${DATABASE}${TASK}${BUCKET}`, env).bucket.keySources;
  assertEquals(sourcesIn({ AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "key" }), undefined);
  assertEquals(sourcesIn({ HOME: "/home/me", AWS_ACCESS_KEY_ID: "half a pair" }), {
    region: undefined,
    profile: undefined,
    profileFiles: ["/home/me/.aws/credentials", "/home/me/.aws/config"],
    webIdentity: false,
    container: undefined,
    metadataEndpoints: undefined,
    unpaired: "AWS_ACCESS_KEY_ID",
  });
  assertEquals(sourcesIn({ AWS_SECRET_ACCESS_KEY: "half" })?.unpaired, "AWS_SECRET_ACCESS_KEY");
  assertEquals(sourcesIn({})?.unpaired, undefined);
  const set = sourcesIn({
    AWS_PROFILE: "work",
    AWS_SHARED_CREDENTIALS_FILE: "/c",
    AWS_WEB_IDENTITY_TOKEN_FILE: "/t",
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: "/v2/credentials/1",
    AWS_CONTAINER_AUTHORIZATION_TOKEN: "bearer",
    AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://[::1]:1338/",
  })!;
  const regionIn = (text: string, env: Record<string, string> = {}) =>
    parse(`${DATABASE}${TASK}${BUCKET}${text}`, env).bucket.keySources?.region;
  assertEquals(regionIn("region: eu-west-1\n", { AWS_REGION: "eu-central-1" }), "eu-west-1");
  assertEquals(regionIn("", { AWS_DEFAULT_REGION: "eu-central-1" }), "eu-central-1");
  assertEquals(regionIn("region: garage\nendpoint: http://127.0.0.1:3900\n"), undefined, "no region of AWS");
  assertEquals([set.profile, set.profileFiles, set.webIdentity], ["work", ["/c"], true]);
  assertEquals([set.container?.url, set.container?.token?.reveal()], [
    "http://169.254.170.2/v2/credentials/1",
    "bearer",
  ]);
  assertEquals(set.metadataEndpoints, ["http://[::1]:1338"]);
  const pod = sourcesIn({
    AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://169.254.170.23/v1/credentials",
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: "/var/run/token",
    AWS_EC2_METADATA_DISABLED: "TRUE",
  })!;
  assertEquals(pod.container, {
    url: "http://169.254.170.23/v1/credentials",
    token: undefined,
    tokenFile: "/var/run/token",
  });
  assertEquals(pod.metadataEndpoints, []);
});

Deno.test("parseConfig() gives AWS beside the bucket the keys of the config, unless those are of another S3", () => {
  const env = { AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "key", AWS_ENDPOINT_URL_SECRETS_MANAGER: "http://sm/" };
  const keysOf = (text: string) => parse(text, env).aws;
  const written = `${DATABASE}${TASK}${BUCKET}token: t\nsecret: s\n`;
  assertEquals([keysOf(written).accessKeyId, keysOf(written).endpoints], [
    "t",
    { secretsmanager: "http://sm", ssm: undefined, states: undefined },
  ]);
  assertEquals(keysOf(`${written}endpoint: http://minio\n`).accessKeyId, "id");
  assertEquals(keysOf(`${DATABASE}${TASK}bucket: file:///var/backup\n`).secretAccessKey?.reveal(), "key");
});

Deno.test("parseConfig() takes from AWS's variables what the config does not say", () => {
  const env = {
    AWS_REGION: "eu-north-1",
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "id",
    AWS_SECRET_ACCESS_KEY: "key",
    AWS_SESSION_TOKEN: "session",
    AWS_ENDPOINT_URL: "http://all",
    AWS_ENDPOINT_URL_S3: "http://s3:9000/",
  };
  const { bucket } = parse(`${DATABASE}${TASK}${BUCKET}`, env);
  assertEquals([bucket.region, bucket.endpoint, bucket.accessKeyId], ["eu-north-1", "http://s3:9000", "id"]);
  assertEquals([bucket.secretAccessKey?.reveal(), bucket.sessionToken?.reveal()], ["key", "session"]);

  const said = parse(`${DATABASE}${TASK}${BUCKET}token: t\nsecret: s\nregion: r\nendpoint: http://e\n`, env).bucket;
  assertEquals([said.region, said.endpoint, said.accessKeyId], ["r", "http://e", "t"]);
  assertEquals([said.secretAccessKey?.reveal(), said.sessionToken], ["s", undefined]);

  const other = parse(`${DATABASE}${TASK}${BUCKET}`, { ...env, AWS_SECRET_ACCESS_KEY: "", AWS_REGION: "" }).bucket;
  assertEquals([other.region, other.accessKeyId, other.secretAccessKey, other.sessionToken], [
    "us-east-1",
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("parseConfig() heeds AWS's variables for addresses of FIPS 140, and for passing over those that are set", () => {
  const { bucket, aws } = parse(`${DATABASE}${TASK}${BUCKET}`, { AWS_USE_FIPS_ENDPOINT: "True" });
  assertEquals([bucket.fips, aws.fips], [true, true]);
  const plain = parse(`${DATABASE}${TASK}${BUCKET}`, { AWS_USE_FIPS_ENDPOINT: "false" });
  assertEquals([plain.bucket.fips, plain.aws.fips], [undefined, undefined]);
  const env = { AWS_ENDPOINT_URL_S3: "http://s3", AWS_ENDPOINT_URL: "http://all" };
  const ignoring = parse(`${DATABASE}${TASK}${BUCKET}`, { ...env, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: "true" });
  assertEquals([ignoring.bucket.endpoint, ignoring.aws.endpoints?.ssm], [undefined, undefined]);
});

Deno.test("parseConfig() puts variables in place of ${NAME}, once, and never as YAML", () => {
  const text = `database: {url: "http://\${HOST}:5984", login: "\${USER}", password: "a\${PW}b"}
task:
  all: {databases: ["$\${x}", "a$", "$"], delay: "\${DELAY}", chunk: "\${CHUNK}", attachments: "\${NO}"}
bucket: s3://bucket/\${EMPTY}x
prefix: \${USER}
`.replace('"$${x}", ', "");
  const env = { HOST: "h", USER: "[a, ${PW}]", PW: "$${HOST}", DELAY: "1.5", CHUNK: "10", NO: "false", EMPTY: "" };
  const config = parse(text, env);
  assertEquals([config.database.url, config.database.login], ["http://h:5984", "[a, ${PW}]"]);
  assertEquals(config.database.password?.reveal(), "a$${HOST}b");
  assertEquals([config.tasks[0]?.delaySeconds, config.tasks[0]?.chunk, config.tasks[0]?.attachments], [1.5, 10, false]);
  assertEquals(config.tasks[0]?.databases, ["a$", "$"]);
  assertEquals([config.bucket.bucket, config.prefix], ["s3://bucket/x", "[a, ${PW}]"]);
  assertEquals(parse(`${DATABASE}${TASK}${BUCKET}prefix: "a$\${USER}$"\n`, env).prefix, "a${USER}$");
});

const SCHEMA_ERRORS: { what: string; text: string; env?: Record<string, string>; message: string[] }[] = [
  {
    what: "an empty config",
    text: "# nothing\n",
    message: ["1:1: The config is empty, must be a mapping with the keys database, task, bucket, and others"],
  },
  {
    what: "missing keys, all at once",
    text: "database: {}\n",
    message: [
      '1:1: Key "database.url" is missing, must be a URL such as "http://host:5984"',
      '1:1: Key "task" is missing, must be a mapping of task names to tasks, with at least one task',
      '1:1: Key "bucket" is missing, must be "s3://name/folder", "file:///path" or "/path"',
    ],
  },
  {
    what: "a misspelt key",
    text: `database:\n  url: http://h\n  pasword: x\n${TASK}${BUCKET}`,
    message: ['3:3: Key "database.pasword" is unknown; did you mean "password"?'],
  },
  {
    what: "misspelt keys, and not what is missing for want of them alone",
    text:
      `databse: {url: http://h}\ntask: {a: {databses: [a], retention: {keep_daly: 1}, incrementl: true, full_every: 3}}\n` +
      `bukcet: s3://bucket\ntoken: t\nsecrt: s\nloki: {ulr: http://l}\nprometheus: {pushgatway: http://p}\n` +
      "notify: {ur: http://n}\nobject_lock: {mod: governance, day: 3}\nkms_key_id: k\nss: aws:kms\n",
    message: [
      '1:1: Key "databse" is unknown; did you mean "database"?',
      '2:12: Key "task.a.databses" is unknown; did you mean "databases"?',
      '2:39: Key "task.a.retention.keep_daly" is unknown; did you mean "keep_daily"?',
      '2:54: Key "task.a.incrementl" is unknown; did you mean "incremental"?',
      '3:1: Key "bukcet" is unknown; did you mean "bucket"?',
      '5:1: Key "secrt" is unknown; did you mean "secret"?',
      '6:8: Key "loki.ulr" is unknown; did you mean "url"?',
      '7:14: Key "prometheus.pushgatway" is unknown; did you mean "pushgateway"?',
      '8:10: Key "notify.ur" is unknown; did you mean "url"?',
      '9:15: Key "object_lock.mod" is unknown; did you mean "mode"?',
      '9:32: Key "object_lock.day" is unknown; did you mean "days"?',
      '11:1: Key "ss" is unknown; did you mean "sse"?',
    ],
  },
  {
    what: "a misspelt key beside what it does not explain",
    text: `database: {url: http://h, logn: a}\n${TASK}bucket: s3://b\ntokn: t\nloki: {labls: {}}\n`,
    message: [
      '1:27: Key "database.logn" is unknown; did you mean "login"?',
      '3:9: Key "bucket" is "s3://b", must be "s3://name/folder", with a bucket\'s name of 3 letters or more',
      '4:1: Key "tokn" is unknown; did you mean "token"?',
      '5:1: Key "loki.url" is missing, must be a URL such as "http://host:5984"',
      '5:8: Key "loki.labls" is unknown; did you mean "labels"?',
    ],
  },
  {
    what: "login and password of which one is misspelt",
    text:
      `database: {url: http://h, login: a, pasword: b}\n${TASK}${BUCKET}loki: {url: http://l, logn: a, password: b}\n`,
    message: [
      '1:37: Key "database.pasword" is unknown; did you mean "password"?',
      '4:23: Key "loki.logn" is unknown; did you mean "login"?',
    ],
  },
  {
    what: "keys between brackets that lack the space after their colons",
    text: `database: {url: http://h, login:"admin", password:"hunter2"}\n${TASK}${BUCKET}`,
    message: [
      '1:27: Key "database."login ***"" is unknown; is a space missing after the colon of "login"?',
      '1:42: Key "database."password ***"" is unknown; is a space missing after the colon of "password"?',
    ],
  },
  {
    what: "a key in the wrong mapping",
    text: `${DATABASE}${TASK}${BUCKET}chunk: 5\nloki:\n  url: http://l\n  prefix: x\n`,
    message: [
      '4:1: Key "chunk" is unknown here; it belongs under "task.<name>"',
      '7:3: Key "loki.prefix" is unknown here; it belongs to the top level',
    ],
  },
  {
    what: "a task's databases as if they were one, and not where CouchDB is",
    text: `${DATABASE}task: {w: {database: [a]}}\n${BUCKET}`,
    message: ['2:12: Key "task.w.database" is unknown; did you mean "databases"?'],
  },
  {
    what: "numbers that begin with 0, of which YAML makes others, and none of a secret's digits",
    text:
      `database: {url: "http://h", login: u, password: 0123}\ntask:\n  w:\n    databases: [010]\n    chunk: 0100 # many\n` +
      `    delay: 08\n    retention: {keep_last: 010, keep_daily: 1}\n    parallel: "02"\n    concurrency: 0x2\n${BUCKET}`,
    message: [
      '1:49: Key "database.password',
      '4:17: Key "task.w.databases[0]',
      '5:12: Key "task.w.chunk',
      '7:28: Key "task.w.retention.keep_last',
    ]
      .map((key) =>
        `${key}" begins with 0, by which YAML would take it for octal; leave the 0 out, or put the value in quotes`
      ),
  },
  {
    what: "typographic quotes, as a document has them, and none that stands in straight ones",
    text:
      `database: {url: "http://h", login: «u», password: “secret”}\ntask:\n  w:\n    databases: [ ‘a’, "“b”" ]\n    cron: “daily”\n` +
      `${BUCKET}loki: “http://loki:3100”\nprefix: "“x”"\n`,
    message: [
      '1:36: Key "database.login',
      '1:51: Key "database.password',
      '4:18: Key "task.w.databases[0]',
      '5:11: Key "task.w.cron',
      '7:7: Key "loki',
    ]
      .map((key) =>
        `${key}" begins with a typographic quote, which YAML takes for a part of the value; write " in place of both`
      ),
  },
  {
    what: "the same in every way in which YAML lets a number stand, and none of a text's",
    text:
      `${DATABASE}task:\n  w:\n    databases: [!!str 010, "010", a]\n    delay:\n      010\n    chunk: &many 0100\n` +
      `    parallel: !!int 02\n    concurrency: *many\n    retention: {\n      keep_last:\n        010}\n` +
      `    chunk_bytes: # 0200\n      # none\n      0_1000000\n${BUCKET}`,
    message: [
      '6:7: Key "task.w.delay',
      '7:18: Key "task.w.chunk',
      '8:21: Key "task.w.parallel',
      '9:18: Key "task.w.concurrency',
      '12:9: Key "task.w.retention.keep_last',
      '15:7: Key "task.w.chunk_bytes',
    ]
      .map((key) =>
        `${key}" begins with 0, by which YAML would take it for octal; leave the 0 out, or put the value in quotes`
      ),
  },
  {
    what: "a key that begins with 0, of which YAML makes another",
    text: `${DATABASE}task:\n  010:\n    databases: [a]\n${BUCKET}`,
    message: [
      '3:3: Key "task.010" begins with 0, by which YAML would take it for octal; leave the 0 out, or put the value in quotes',
    ],
  },
  {
    what: "a key that is like no other",
    text: `${DATABASE}${TASK}${BUCKET}prometheus:\n  textfile: a.prom\n  frobnicate: 1\n`,
    message: [
      '6:3: Key "prometheus.frobnicate" is unknown; allowed are pushgateway, textfile, per_database, instance, ca_file',
    ],
  },
  {
    what: "values out of their limits",
    text: `${DATABASE}task:
  weekly:
    databases: [a]
    chunk: 0
    delay: -1
    parallel: 33
    attachments: yes
  monthly:
    databases: []
    chunk: 1.5
    parallel: "4 or so"
    timezone: Europe/Brelin
    cron: 7
    exclude: media
  daily: {databases: [a], chunk: -0.5, timezone: "+01:00", concurrency: 0}
${BUCKET}`,
    message: [
      '5:12: Key "task.weekly.chunk" is 0, must be a whole number from 1 to 9007199254740991',
      '6:12: Key "task.weekly.delay" is -1, must be a number of seconds from 0 to 604800',
      '7:15: Key "task.weekly.parallel" is 33, must be a whole number from 1 to 32',
      '8:18: Key "task.weekly.attachments" is "yes", must be true or false',
      '10:16: Key "task.monthly.databases" is an empty list, must be a list of patterns, such as ["media", "account%2F.*"]',
      '11:12: Key "task.monthly.chunk" is 1.5, must be a whole number from 1 to 9007199254740991',
      '12:15: Key "task.monthly.parallel" is "4 or so", must be a whole number from 1 to 32',
      '13:15: Key "task.monthly.timezone" is "Europe/Brelin", must be a time zone such as "Europe/Berlin" or "UTC"; ' +
      'did you mean "Europe/Berlin"?',
      '14:11: Key "task.monthly.cron" is 7, must be a schedule such as "Sat *-*-1..7 18:00:00"',
      '15:14: Key "task.monthly.exclude" is "media", must be a list of patterns, such as ["media", "account%2F.*"]',
      '16:34: Key "task.daily.chunk" is -0.5, must be a whole number from 1 to 9007199254740991',
      '16:50: Key "task.daily.timezone" is "+01:00", must be a time zone such as "Europe/Berlin" or "UTC"',
      '16:73: Key "task.daily.concurrency" is 0, must be a whole number from 1 to 100',
    ],
  },
  {
    what: "bytes of a chunk out of their limits, as a fraction, and with a unit",
    text: `${DATABASE}task:
  a: {databases: [a], chunk_bytes: 0}
  b: {databases: [a], chunk_bytes: 70000.5}
  c: {databases: [a], chunk_bytes: 65535}
  d: {databases: [a], chunk_bytes: 1099511627777}
  e: {databases: [a], chunk_bytes: 64MiB}
${BUCKET}`,
    message: [["3", "0"], ["4", "70000.5"], ["5", "65535"], ["6", "1099511627777"], ["7", '"64MiB"']].map((
      [line, found],
      index,
    ) =>
      `${line}:36: Key "task.${"abcde"[index]}.chunk_bytes" is ${found}, must be a whole number of bytes from 65536 ` +
      "to 1099511627776, such as 67108864 for 64 MiB"
    ),
  },
  {
    what: "compressions",
    text: `${DATABASE}task:
  a: {databases: [a], compression: lz4}
  b: {databases: [a], compression: zstd, compression_level: 20}
  c: {databases: [a], compression_level: 10}
  d: {databases: [a], compression_level: fast}
${BUCKET}`,
    message: [
      '3:36: Key "task.a.compression" is "lz4", must be "gzip" or "zstd"',
      '4:61: Key "task.b.compression_level" is 20, must be a whole number from 1 to 19',
      '5:42: Key "task.c.compression_level" is more than 9, the highest level of gzip',
      '6:42: Key "task.d.compression_level" is "fast", must be a whole number from 1 to 19',
    ],
  },
  {
    what: "schedules",
    text: `${DATABASE}task:
  a: {databases: [a], cron: "Sat *-*-1..7 25:00"}
  b: {databases: [a], cron: "0 18 * * 6"}
  c: {databases: [a], cron: "daily Europe/Brelin"}
  d: {databases: [a], timezone: CEST}
  e: {databases: [a], cron: "18:00 password: hunter2"}
  f: {databases: [a], cron: "Sat 18: 00"}
${BUCKET}`,
    message: [
      '3:29: Key "task.a.cron" is not a schedule: hour 25 is outside 0..23\n    Sat *-*-1..7 25:00\n                 ^\n' +
      '    Write [weekdays] [[year-]month-day] [hour:minute[:second]] [zone], such as "Sat *-*-1..7 18:00:00 ' +
      'Europe/Berlin", or minutely, hourly, daily, weekly, monthly, quarterly, semiannually, yearly',
      '4:29: Key "task.b.cron" is not a schedule: this is a cron line, not a systemd OnCalendar expression\n' +
      '    0 18 * * 6\n    ^\n    Write "Sat *-*-* 18:00:00"',
      '5:29: Key "task.c.cron" is not a schedule: there is no time zone "Europe/Brelin"\n    daily Europe/Brelin\n' +
      '          ^\n    Did you mean "Europe/Berlin"?',
      '6:33: Key "task.d.timezone" is "CEST", must be a time zone such as "Europe/Berlin" or "UTC"; ' +
      '"CEST" is an abbreviation: write the zone\'s name, such as Europe/Berlin or UTC',
      '7:29: Key "task.e.cron" is not a schedule, with the value that it got: character 6 of it is not as it must be\n' +
      '    Write [weekdays] [[year-]month-day] [hour:minute[:second]] [zone], such as "Sat *-*-1..7 18:00:00 ' +
      'Europe/Berlin", or minutely, hourly, daily, weekly, monthly, quarterly, semiannually, yearly',
      '8:29: Key "task.f.cron" is not a schedule: a number is needed here, not " "\n    Sat 18: 00\n           ^\n' +
      '    Write [weekdays] [[year-]month-day] [hour:minute[:second]] [zone], such as "Sat *-*-1..7 18:00:00 ' +
      'Europe/Berlin", or minutely, hourly, daily, weekly, monthly, quarterly, semiannually, yearly',
    ],
  },
  {
    what: "patterns of other dialects",
    text:
      `${DATABASE}task:\n  weekly:\n    databases:\n    - media\n    - '\\Amedia\\z'\n    exclude: ["a++", 7]\n${BUCKET}`,
    message: [
      '6:7: Key "task.weekly.databases[1]" is "\\Amedia\\z", must be a JavaScript regular expression: ' +
      '"\\A" is unknown there; leave it out, a pattern always matches the whole name',
      '7:15: Key "task.weekly.exclude[0]" is "a++", must be a JavaScript regular expression: ' +
      'the possessive "++" is unknown there; write "+"',
      '7:22: Key "task.weekly.exclude[1]" is 7, must be text; put it in quotes',
    ],
  },
  {
    what: "task names that cannot be folders",
    text: `${DATABASE}task:\n  "..": {databases: [a]}\n  " ": {databases: [a]}\n${BUCKET}`,
    message: [
      '3:9: Key "task.".."" is not a valid task name; a name needs letters or digits',
      '4:8: Key "task." "" is not a valid task name; a name needs letters or digits',
    ],
  },
  {
    what: "URLs",
    text: `database: {url: "http://2345::6:5984"}\n${TASK}${BUCKET}endpoint: http://u:p/w@h\n` +
      "loki: loki.example.com\nprometheus: http://h:x\n",
    message: [
      '1:17: Key "database.url" is "http://2345::6:5984", must be a URL such as "http://host:5984"; ' +
      'an IPv6 address stands in brackets, as in "http://[2345::6]:5984"',
      '4:11: Key "endpoint" is "http://***@h", must be a URL such as "http://host:5984"',
      '5:7: Key "loki" is "loki.example.com", must begin with "http://" or "https://"',
      '6:13: Key "prometheus" is "http://***", must be a URL such as "http://host:5984"',
    ],
  },
  {
    what: "URLs with a query or with credentials that belong elsewhere",
    text: `database: {url: "http://h/?a=1"}\n${TASK}${BUCKET}endpoint: http://u:p@h\n`,
    message: [
      '1:17: Key "database.url" is "http://h/?a=1", must be a URL without "?" and "#"',
      '4:11: Key "endpoint" is "http://***@h", must be a URL without credentials; they are given as token and secret',
    ],
  },
  {
    what: "buckets",
    text: `${DATABASE}${TASK}bucket: http://b\n`,
    message: ['3:9: Key "bucket" is "http://b", must be "s3://name/folder", "file:///path" or "/path"'],
  },
  {
    what: "a bucket's short name",
    text: `${DATABASE}${TASK}bucket: s3://ab/c\n`,
    message: [
      '3:9: Key "bucket" is "s3://ab/c", must be "s3://name/folder", with a bucket\'s name of 3 letters or more',
    ],
  },
  {
    what: "a relative file:// bucket",
    text: `${DATABASE}${TASK}bucket: file://backup\n`,
    message: ['3:9: Key "bucket" is "file://backup", must be "file://" and an absolute path: "file:///path"'],
  },
  ...["backup #2", "ba?ckup", "ba%zz", "a/%2e%2e/b", "a%2Fb", "a "].map((folder) => ({
    what: `the URL of a folder that reads otherwise than it looks, ${folder}`,
    text: `${DATABASE}${TASK}bucket: "file:///${folder}"\n`,
    message: [
      `3:9: Key "bucket" is "file:///${folder}", must be the URL of a folder, in which % # and ? are written %25 %23 ` +
      'and %3F; or "/path", as it is',
    ],
  })),
  {
    what: "a task that JavaScript would pass over",
    text: `${DATABASE}task:\n  a: {databases: [a]}\n  __proto__: {databases: [b]}\n${BUCKET}`,
    message: ['4:14: Key "task.__proto__" is not a valid task name; give it another one'],
  },
  {
    what: "a label that JavaScript would pass over",
    text: `${DATABASE}${TASK}${BUCKET}loki: {url: "http://l:3100", labels: {a: b, __proto__: c}}\n`,
    message: ['4:56: Key "loki.labels.__proto__" is not a valid label name; give it another one'],
  },
  {
    what: "folders that lead out of the bucket",
    text: `${DATABASE}${TASK}bucket: file:///a/../b\nprefix: ../x\nsuffix: 7\n`,
    message: [
      '3:9: Key "bucket" is "file:///a/../b", must have no "." or ".." between its slashes',
      '4:9: Key "prefix" is "../x", must have no "." or ".." between its slashes',
      '5:9: Key "suffix" is 7, must be the names of folders, such as backup/ippbx; put it in quotes',
    ],
  },
  {
    what: "logins with a colon, which would be sent as a part of the password",
    text: `database: {url: "http://h", login: "a:b", password: x}\n` + TASK + BUCKET + "loki: http://a%3Ab:p@l\n",
    message: [
      '1:36: Key "database.login" is "a:b", must be a name without a colon, which cannot be sent',
      '4:7: Key "loki" is "http://***@l", must be a URL whose login has no colon, which cannot be sent',
    ],
  },
  {
    what: "passwords given twice, and half credentials",
    text: "database:\n  url: http://h\n  password: x\n  password_file: y\n" + TASK + BUCKET +
      "token: t\nkms_key_id: k\nloki: http://u@l\nprometheus: {}\n",
    message: [
      '3:13: Key "database.password" needs the key login beside it',
      '4:18: Key "database.password_file" is given together with password; keep one of password, password_file and password_secret',
      '7:8: Key "token" needs the key secret beside it',
      '8:13: Key "kms_key_id" needs the key sse beside it, "aws:kms" or "aws:kms:dsse"',
      '9:7: Key "loki" needs a password beside it',
      '10:13: Key "prometheus" is an empty mapping, must have one of the keys pushgateway and textfile',
    ],
  },
  {
    what: "credentials in the URL and beside it",
    text: `database: {url: "http://u:p@h", login: v, password: w}\n${TASK}${BUCKET}secret: s\nsession_token: x\n`,
    message: [
      '1:40: Key "database.login" is also in the url; keep one of them',
      '1:53: Key "database.password" is also in the url; keep one of them',
      '4:9: Key "secret" needs the key token beside it',
      '5:16: Key "session_token" needs the keys token and secret beside it',
    ],
  },
  {
    what: "how long increments last, where there are none",
    text: `${DATABASE}task: {w: {databases: [a], incremental: false, max_increments: 3, full_every: 30}}\n${BUCKET}`,
    message: [
      '2:64: Key "task.w.max_increments" needs "incremental: true" beside it',
      '2:79: Key "task.w.full_every" needs "incremental: true" beside it',
    ],
  },
  {
    what: "a lock that ends before what builds on it",
    text:
      `${DATABASE}task: {w: {databases: [a], incremental: true, full_every: 90}}\n${BUCKET}object_lock: {mode: governance, days: 90}`,
    message: [
      '2:59: Key "task.w.full_every" is 90, must be less than the 90 days of object_lock: an incremental backup ' +
      "would outlive the lock of the backups that it needs",
    ],
  },
  {
    what: "increments without end, and full backups every moment",
    text: `${DATABASE}task: {w: {databases: [a], incremental: true, max_increments: 0, full_every: 0.5}}\n${BUCKET}`,
    message: [
      '2:63: Key "task.w.max_increments" is 0, must be a whole number from 1 to 1000',
      '2:78: Key "task.w.full_every" is 0.5, must be a whole number of days from 1 to 3660',
    ],
  },
  {
    what: "both spellings of one key",
    text:
      `${DATABASE}task:\n  w:\n    databases: [a]\n    backup_only_previous: true\n    backup_only_previus: true\n${BUCKET}`,
    message: [
      '6:26: Key "task.w.backup_only_previus" is given together with backup_only_previous, which means the same: keep one of them',
    ],
  },
  {
    what: "variables that are not set, or have no name",
    text:
      `${DATABASE}task: {w: {databases: [a], chunk: "\${CHUNK}", delay: "\${N}"}}\n${BUCKET}prefix: "\${a b}"\nsuffix: "\${A"\n`,
    env: { N: "secret", CHUNK_: "1" },
    message: [
      '2:35: Key "task.w.chunk" uses the environment variable CHUNK, which is not set',
      '2:54: Key "task.w.delay" is "${N}", with values from the environment in it, must be a number of seconds from 0 to 604800',
      '4:9: Key "prefix" has a "${" that is not followed by a variable\'s name and "}"; write "$${" for a literal "${"',
      '5:9: Key "suffix" has a "${" that is not followed by a variable\'s name and "}"; write "$${" for a literal "${"',
    ],
  },
  {
    what: "merge keys of YAML, and nothing of what they would have brought",
    text: `x: &x {delay: 5}\n${DATABASE}task:\n  a:\n    <<: *x\n  b: {<<: {delay: 5}, databases: [b]}\n${BUCKET}`,
    message: [
      `5:5: Key "task.a.<<" is a merge key of YAML, which is not allowed here; write the keys that it stands for`,
      `6:7: Key "task.b.<<" is a merge key of YAML, which is not allowed here; write the keys that it stands for`,
    ],
  },
  {
    what: "variables that are empty",
    text:
      `database: {url: "\${E}", login: "\${E}", password: "\${E}"}\n${TASK}bucket: "\${E}\${F}"\nendpoint: "http://\${E}"\n`,
    env: { E: "", F: "" },
    message: [
      '1:17: Key "database.url" is empty, as the environment variable E is empty, must be a URL such as "http://host:5984"',
      '1:32: Key "database.login" is empty, as the environment variable E is empty, must not be empty',
      '1:50: Key "database.password" is empty, as the environment variable E is empty, must not be empty',
      `3:9: Key "bucket" is empty, as the environment variables E and F are empty, must be "s3://name/folder", "file:///path" or "/path"`,
      '4:11: Key "endpoint" is "http://${E}", with values from the environment in it and the environment variable E empty, must be a URL such as "http://host:5984"',
    ],
  },
  {
    what: "a password that is empty, and one that is missing",
    text: `database: {url: http://h, login: u, password: ""}\n${TASK}${BUCKET}loki: {url: http://l, login: u}\n`,
    message: [
      '1:47: Key "database.password" is empty, must not be empty',
      '4:30: Key "loki.login" needs a password beside it',
    ],
  },
  {
    what: "a login of CouchDB without a password",
    text: `database: {url: http://h, login: u}\n${TASK}${BUCKET}`,
    message: ['1:34: Key "database.login" needs one of password, password_file and password_secret beside it'],
  },
  {
    what: "a port that is none",
    text: `database: {url: "http://h:59845984"}\n${TASK}${BUCKET}`,
    message: [
      '1:17: Key "database.url" is "http://h:59845984", must be a URL such as "http://host:5984"; a port is a number from 1 to 65535',
    ],
  },
  {
    what: "a key that lacks its colon and finds one later, without what is between",
    text: `database:\n  url: http://h\n  password "hunter2: x"\n${TASK}${BUCKET}`,
    message: ['3:3: Key "database."password ***"" is unknown; is a colon missing after "password"?'],
  },
  {
    what: "secrets that are no text, without showing them",
    text: `database: {url: "http://h", login: 12, password: 123456}\n${TASK}${BUCKET}token: t\nsecret: [hunter2]\n`,
    message: [
      '1:36: Key "database.login" is 12, must be text; put it in quotes',
      '1:50: Key "database.password" is a number, must be text; put it in quotes',
      '5:9: Key "secret" is a list, must be text; put it in quotes',
    ],
  },
  {
    what: "a folder of digits",
    text: `${DATABASE}${TASK}${BUCKET}prefix: 2026\nsuffix: [a]\n`,
    message: [
      '4:9: Key "prefix" is 2026, must be the names of folders, such as backup/ippbx; put it in quotes',
      '5:9: Key "suffix" is a list, must be the names of folders, such as backup/ippbx',
    ],
  },
];

for (const { what, text, env, message } of SCHEMA_ERRORS) {
  Deno.test(`parseConfig() names the place, the key and what is allowed: ${what}`, () => {
    const error = errorOf(text, env);
    assertEquals(error.message, message.map((line) => `cfg.yaml:${line}`).join("\n"));
    assertEquals(`${error.place.line}:${error.place.column}:`, message[0]?.split(" ", 1)[0]);
  });
}

const SYNTAX_ERRORS: { what: string; text: string; message: string; hint?: string }[] = [
  {
    what: "a missing colon further down",
    text: "suffix: x\ntask\n  # here\n\n  weekly:\n    delay: 1\n",
    message: '2:5: A colon is missing after "task"\n  2 | task\n    |     ^',
    hint: 'Write "task:"',
  },
  {
    what: "a missing colon after a task's name",
    text: "task:\n  weekly # each week\n    delay: 1\n",
    message: '2:9: A colon is missing after "weekly"\n  2 |   weekly\n    |         ^',
    hint: 'Write "weekly:"',
  },
  {
    what: "a missing colon between key and value",
    text: 'bucket "s3://b"\nprefix: x\n',
    message: '1:7: A colon is missing after "bucket"\n  1 | bucket "s3://b"\n    |       ^',
    hint: 'Write "bucket:"',
  },
  {
    what: "a schedule without quotes, with a space in its time",
    text: "task:\n  weekly:\n    cron: Sat 18: 00\n",
    message: '3:17: The value of "cron" has a colon followed by a space, and is not in quotes\n' +
      "  3 |     cron: Sat 18: 00\n    |                 ^",
    hint: 'Put a value with a colon in quotes; the time of a schedule has no spaces: cron: "Sat *-*-1..7 18:00:00"',
  },
  {
    what: "a colon in a value without quotes",
    text: "bucket: /a: b\n",
    message: '1:11: The value of "bucket" has a colon followed by a space, and is not in quotes\n' +
      "  1 | bucket: /a: ***\n    |           ^",
    hint: "Put a value with a colon in quotes",
  },
  {
    what: "a missing space",
    text: "database:\n  login:backup\n  url: x\n",
    message: '2:9: A space is missing after the colon of "login"\n  2 |   login:backup\n    |         ^',
    hint: 'Write "login: "',
  },
  {
    what: "a key given twice",
    text: "prefix: a\nbucket: b\nprefix: c\n",
    message: '3:1: Key "prefix" is given twice in this mapping\n  3 | prefix: c\n    | ^',
    hint: "Keep one of them",
  },
  {
    what: "a task given twice",
    text: "task:\n  a:\n    databases: [a]\n  a:\n    databases: [b]\n    delay: 7\nprefix: c\n",
    message: '4:3: Key "a" is given twice in this mapping\n  4 |   a:\n    |   ^',
    hint: "Keep one of them",
  },
  {
    what: "a merge key of what is not there",
    text: "task:\n  a:\n    <<: *x\n",
    message: "3:11: Cannot read alias: unidentified alias\n  3 |     ***\n    |        ^",
    hint: "Merge keys of YAML (<<) are not allowed here: write the keys that it stands for",
  },
  {
    what: "a quote that is not closed",
    text: 'database:\n  login: "admin\n  password: "secret"\nbucket: x\n',
    message: '2:10: A quote opens here and is not closed in this line\n  2 |   login: "admin\n    |          ^',
    hint: "Close the quote at the end of the value",
  },
  ...["%", "@", "`"].map((first) => ({
    what: `a value that begins with ${first}`,
    text: `prefix: ${first}x\nbucket: y\n`,
    message:
      `1:9: The value of "prefix" begins with a character that YAML reserves\n  1 | prefix: ${first}x\n    |         ^`,
    hint: "Put the value in quotes",
  })),
  {
    what: "a list that is not closed",
    text: "loki: {labels: [a, b}}\n",
    message: '1:16: A "[" opens here and is not closed\n  1 | loki: {labels: [a, b}}\n    |                ^',
    hint: 'Write "]" behind the last value',
  },
  {
    what: "a list that is not closed, below a quoted value of two lines",
    text: 'prefix: "a\n  b"\nloki:\n  labels: ["a", "b"\nbucket: x\n',
    message: '4:11: A "[" opens here and is not closed\n  4 |   labels: ["a", "b"\n    |           ^',
    hint: 'Write "]" behind the last value',
  },
  {
    what: "a quote between brackets that is not closed",
    text: 'task:\n  a:\n    databases: ["a", "b]\nbucket: "x"\n',
    message:
      '3:22: A quote opens here and is not closed in this line\n  3 |     databases: ["a", "b]\n    |                      ^',
    hint: "Close the quote at the end of the value",
  },
  {
    what: "a quote within quotes",
    text: "database: {login: x, password: 'hun'ter2', url: x}\n",
    message: "1:36: A quote closes here, and more stands behind it\n" +
      "  1 | database: {login: x, password: ***\n    |                                   ^",
    hint: "Close each quote at the end of its value, and put a value with ' in it in double quotes",
  },
  {
    what: "a missing comma",
    text: 'loki: {labels: "a" tenant: "b"}\n',
    message: "1:20: Cannot read flow collection: missing comma between flow collection entries\n" +
      '  1 | loki: {labels: "a" tenant: "b"}\n    |                    ^',
    hint: "Put a comma between two values, and values in quotes",
  },
  {
    what: "a pattern between brackets without quotes",
    text: "task:\n  a:\n    databases: [[a-z].*]\n",
    message: '3:17: A value with "[" in it is not in quotes\n  3 |     databases: [[a-z].*]\n    |                 ^',
    hint: "Put the value in quotes",
  },
  {
    what: "a backslash in double quotes",
    text: 'prefix: "a\n  b"\nbucket: "C:\\dir"\n',
    message:
      '3:13: Cannot read double quoted scalar: unknown escape sequence\n  3 | bucket: "C:\\dir"\n    |             ^',
    hint: "Write each \\ twice in double quotes, or put the value in single quotes",
  },
  {
    what: "wrong indentation",
    text: "prefix:\n  suffix: 1\n bucket: 2\n",
    message: "3:2: Cannot read block: bad indentation of a mapping entry\n  3 |  bucket: 2\n    |  ^",
  },
  {
    what: "a tab",
    text: "prefix:\n  suffix: 1\n\tbucket: 2\n",
    message: "3:1: A tab indents this line\n  3 | \tbucket: 2\n    | ^",
    hint: "Indent with spaces",
  },
  {
    what: "a second document",
    text: "a: 1\n---\nb: 2\n",
    message: "2:1: Found more than 1 document in the stream: expected a single document\n  2 | ---\n    | ^",
    hint: 'A config is one document: remove the line "---", or what stands below it',
  },
];

for (const { what, text, message, hint } of SYNTAX_ERRORS) {
  Deno.test(`parseConfig() shows the line and a caret: ${what}`, () => {
    const error = errorOf(text);
    assertEquals(error.message, `cfg.yaml:${message}`);
    assertEquals(error.hint, hint);
  });
}

const SECRET_TEXTS = [
  "database:\n  password: *hunter2\n",
  "database:\n  password: !hunter2 a: b\n",
  'database:\n  password: "hun\\qter2"\n',
  'database:\n  password "hunter2: x"\n  login: x\n',
  "database:\n  password:hunter2\n  login: x\n",
  'database:\n  passwort: "hunter2\\q"\n',
  'database:\n  password: "a\n    hunter2\\q"\n',
  "token: x\nsecret: @hunter2\n",
  'session_token: {hunter2: 1, "hunter2": 2}\n',
  "database: {url: x, password: hunter2: y}\n",
  "database:\n  url: http://u:hunter2@h:\n    x: 1\n",
  "database:\n  url: http://u:hunter2/@h:x\n",
  "database:\n  password: [hunter2]\n",
  "database:\n  login: x\n  password: hunter2\n  password_file: 7\n",
  "bucket: s3://id:hunter2@bucket\n",
  "secret:\n  hunter2\n    prefix: x\n",
  "hunter2",
  "- hunter2",
];

for (const text of SECRET_TEXTS) {
  Deno.test(`parseConfig() shows no secret in what it says of ${JSON.stringify(text)}`, () => {
    const error = errorOf(text);
    for (const shown of [error.message, error.hint ?? "", JSON.stringify(error), Deno.inspect(error)]) {
      assertEquals(shown.replaceAll(error.stack ?? "", "").includes("hunter2"), false, shown);
    }
  });
}

Deno.test("parseConfig() shows no secret of the sample, whichever character of it is missing or too much", () => {
  const text = SAMPLE.replace('"secret"', "hunter2").replace("YYYYYYYYYY", "hunter2")
    .replace("http://syslog", "http://u:hunter2@syslog");
  let errors = 0;
  for (let at = 0; at <= text.length; at++) {
    for (const between of ["", ":", "\n", '"', "{", "#", "*", "!", "\t"]) {
      const changed = text.slice(0, at) + between + text.slice(between === "" ? at + 1 : at);
      try {
        parse(changed);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        const { message, hint = "", place } = error;
        assertEquals(`${message}${hint}${place.path}`.includes("hunter2"), false, message);
        errors++;
      }
    }
  }
  assertEquals(errors > 1000, true);
});

Deno.test("parseConfig() reads a text with a byte order mark and CRLF at the same places", () => {
  const text = "\uFEFF" + SAMPLE.replaceAll("\n", "\r\n");
  assertEquals(parse(text).tasks.length, 2);
  assertStringIncludes(errorOf(text.replace("delay: 600", "delay: x")).message, "cfg.yaml:12:12: ");
});

Deno.test("parseConfig() shows no secret of a config, however it is printed", () => {
  const config = parse(SAMPLE.replaceAll("YYYYYYYYYY", "hunter2").replace('"secret"', '"hunter2"'));
  assertEquals(config.database.password?.reveal(), "hunter2");
  for (
    const shown of [Deno.inspect(config, { depth: 9 }), JSON.stringify(config), `${config.bucket.secretAccessKey}`]
  ) {
    assertEquals(shown.includes("hunter2"), false);
  }
});

/** Reads from a record of files, as node:fs would. */
function filesystem(files: Record<string, string>) {
  const asked: string[] = [];
  const readFile = (path: string) => {
    asked.push(path);
    const text = files[path];
    return text === undefined ? Promise.reject(new Error(`ENOENT: ${path}`)) : Promise.resolve(text);
  };
  return { asked, readFile };
}

Deno.test("loadConfig() reads the path it is given, else that of the variable, else ./config.yaml", async () => {
  const { readFile } = filesystem({ "a.yaml": SAMPLE, "b.yaml": SAMPLE, "./config.yaml": SAMPLE });
  const env = { COUCHDB_BACKUP_CONFIG: "b.yaml" };
  assertEquals((await loadConfig({ path: "a.yaml", env, readFile })).file, "a.yaml");
  assertEquals((await loadConfig({ env, readFile })).file, "b.yaml");
  assertEquals((await loadConfig({ env: { COUCHDB_BACKUP_CONFIG: "" }, readFile })).file, "./config.yaml");
});

Deno.test("loadConfig() takes a variable with a newline for the text itself", async () => {
  const { readFile, asked } = filesystem({});
  const config = await loadConfig({ env: { COUCHDB_BACKUP_CONFIG: SAMPLE }, readFile });
  assertEquals([config.file, config.tasks.length, asked], ["$COUCHDB_BACKUP_CONFIG", 2, []]);
  const error = await assertRejects(
    () => loadConfig({ env: { COUCHDB_BACKUP_CONFIG: WRITTEN }, readFile }),
    ConfigError,
  );
  assertStringIncludes(error.message, '$COUCHDB_BACKUP_CONFIG:1:9: A colon is missing after "database"');
});

Deno.test("loadConfig() takes a config on one line for what it is, and shows nothing of it", async () => {
  const { readFile, asked } = filesystem({});
  const config = { database: { url: "http://h", login: "u", password: "hush" }, task: { a: { databases: ["a"] } } };
  const text = JSON.stringify({ ...config, bucket: "/b" });
  const env = { COUCHDB_BACKUP_CONFIG: text };
  assertEquals((await loadConfig({ env, readFile })).bucket.bucket, "file:///b");
  assertEquals(
    (await loadConfig({ env: { COUCHDB_BACKUP_CONFIG: `--- ${text}` }, readFile })).bucket.bucket,
    "file:///b",
  );
  const database = JSON.stringify(config.database);
  const broken = [text.slice(0, -1), ` database: ${database}`, `"database": ${database}`, `'database' : ${database}`];
  // As an env file of Docker has it, which knows no line breaks.
  broken.push(String.raw`database:\n  url: "http://h"\n  password: hush\nbucket: /b\n`);
  for (const COUCHDB_BACKUP_CONFIG of broken) {
    const error = await assertRejects(() => loadConfig({ env: { COUCHDB_BACKUP_CONFIG }, readFile }), ConfigError);
    assertStringIncludes(error.message, "$COUCHDB_BACKUP_CONFIG:1:");
    assert(!describeError(error).includes("hush"));
  }
  for (const path of [text, ...broken]) {
    const error = await assertRejects(() => loadConfig({ path, env: {}, readFile }), ConfigError);
    assertEquals(error.message, "--config:1:1: The config's path seems to be the config's text");
  }
  assertEquals(asked, []);
  await assertRejects(() => loadConfig({ path: String.raw`C:\new\config.yaml`, env: {}, readFile }), ConfigError);
  assertEquals(asked, [String.raw`C:\new\config.yaml`]);
});

Deno.test("parseConfig() takes a config whose password's variable is not set, and says so of anything else", () => {
  const database = 'database: {url: "http://h", login: u, password: "${PW}"}\n';
  const message = 'cfg.yaml:1:49: Key "database.password" uses the environment variable PW, which is not set';
  const { password, passwordUnset } = parse(`${database}${TASK}${BUCKET}`).database;
  assertEquals([password, passwordUnset?.message], [undefined, message]);
  assertEquals(passwordUnset?.hint, `Set PW ${WHERE_SET}`);
  assertEquals(parse(`${database}${TASK}${BUCKET}`, { PW: "p" }).database.passwordUnset, undefined);
  // With another mistake, and with a "${" that is none of a variable.
  assertEquals(errorOf(`${database}${TASK}${BUCKET}x: 1\n`).message.split("\n")[0], message);
  assertStringIncludes(errorOf(`${database}${TASK}bucket: "\${B}"\n`).message, `${message}\n`);
  assertStringIncludes(errorOf(`${database.replace("PW}", "PW")}${TASK}${BUCKET}`).message, 'has a "${" that is not');
});

Deno.test("parseConfig() warns of $NAME where the environment has that variable, and does not show it", () => {
  const text = `database: {url: "http://h", login: u, password: $PW}\ntask: {a: {databases: ["a$", "$B"]}}\n${BUCKET}`;
  assertEquals(parse(text, { PW: "p" }).warnings, [
    'cfg.yaml:1:49: Key "database.password" is a "$" and the name of an environment variable, which is taken as it is; ' +
    "what the variable holds is written ${NAME}",
  ]);
  assertEquals(parse(text, { P: "p" }).warnings, []);
});

Deno.test("loadConfig() says which config it cannot read, and why", async () => {
  const { readFile } = filesystem({});
  const named = await assertRejects(() => loadConfig({ path: "no.yaml", env: {}, readFile }), ConfigError);
  assertEquals(named.message, "no.yaml: Cannot read the config");
  assertInstanceOf(named.cause, Error);
  const absent = await assertRejects(() => loadConfig({ env: {}, readFile }), ConfigError);
  assertEquals(absent.message, "./config.yaml: Cannot read the config");
  assertStringIncludes(absent.hint ?? "", "--config");
  for (const { hint } of [named, absent]) {
    assertStringIncludes(hint ?? "", '"couchdb-backup help" shows a config of six lines');
  }
});

Deno.test("loadConfig() leaves the password file alone, and says where it is and where it is named", async () => {
  const text = SAMPLE.replace('password: "secret"', "password_file: pw");
  const { readFile, asked } = filesystem({ "etc/b/c.yaml": text, "c.yaml": text });
  const config = await loadConfig({ path: "etc/b/c.yaml", env: {}, readFile });
  assertEquals(config.database.password, undefined);
  const place = { line: 4, column: 18, path: "database.password_file" };
  assertEquals(config.database.passwordFile, { path: "etc/b/pw", place: { file: "etc/b/c.yaml", ...place } });
  const beside = await loadConfig({ path: "c.yaml", env: {}, readFile });
  assertEquals(beside.database.passwordFile, { path: "pw", place: { file: "c.yaml", ...place } });
  const inVariable = await loadConfig({ env: { COUCHDB_BACKUP_CONFIG: text }, readFile });
  assertEquals(inVariable.database.passwordFile, { path: "pw", place: { file: "$COUCHDB_BACKUP_CONFIG", ...place } });
  const absolute = parseConfig(text.replace(": pw", ": /run/pw"), { file: "c.yaml", env: {} });
  assertEquals(absolute.database.passwordFile?.path, "/run/pw");
  assertEquals([beside.relativePaths, absolute.relativePaths], [{ "database.password_file": "pw" }, undefined]);
  assertEquals(asked, ["etc/b/c.yaml", "c.yaml"]);
});

Deno.test("loadConfig() reads files of the system, such as config.sample.yaml", async () => {
  const path = new URL("../../config.sample.yaml", import.meta.url).pathname;
  const env = { COUCHDB_PASSWORD: "p", AWS_REGION: "eu-central-1" };
  const config = await loadConfig({ path, env });
  assertEquals(config.tasks.map((task) => task.name), ["weekly", "monthly"]);
  assertEquals(config.warnings, []);
  assert(config.tasks.every((task) => task.databases.length > 0));
});

/** The text of a file of the project. */
function projectFile(name: string): Promise<string> {
  return Deno.readTextFile(new URL(`../../${name}`, import.meta.url));
}

Deno.test("config.sample.yaml and docs/configuration.md speak of every key of KNOWN_KEYS", async () => {
  const sample = await projectFile("config.sample.yaml");
  const docs = (await projectFile("docs/configuration.md")).replaceAll(/ +/g, " ");
  for (const key of KNOWN_KEYS) {
    assertEquals(docs.includes(`\n| \`${key}\` | `) || docs.includes(`\n### ${key}\n`), true, `docs: ${key}`);
  }
  for (const key of SECTIONS[""]!) {
    assertEquals(new RegExp(`^(?:# )?${key}:`, "m").test(sample), true, `sample: ${key}`);
  }
});

Deno.test("parseConfig() reads config.sample.yaml with the keys that are commented out in it", async () => {
  const sample = (await projectFile("config.sample.yaml"))
    .replaceAll(/^( *)# (\w+: .*)$/gm, "$1$2")
    .replaceAll(/^ *(password_file|password_secret): .*\n/gm, "");
  const env = { COUCHDB_PASSWORD: "p", BACKUP_KEY_ID: "i", BACKUP_SECRET_KEY: "s", BACKUP_SESSION_TOKEN: "t" };
  const config = parse(sample, env);
  assertEquals(config.tasks[0]?.exclude, ["account%2Fff%2F.*"]);
  assertEquals([config.tasks[1]?.parallel, config.tasks[1]?.allowEmpty], [4, false]);
  assertEquals([config.bucket.sse, config.bucket.accessKeyId], ["aws:kms", "i"]);
  assertEquals(config.prometheus?.pushgateway?.url, "http://pushgateway.example.com:9091");
});

Deno.test("parseConfig() gives the defaults that docs/configuration.md names", async () => {
  const docs = (await projectFile("docs/configuration.md")).replaceAll(/ +/g, " ");
  const rows = docs.matchAll(/^\| `(\w+)` \| .* \| `(\d+|true|false|\[\]|"[a-z]+")` \| .* \|$/gm);
  const documented = Object.fromEntries([...rows].map(([, key, value]) => [key, JSON.parse(value!)]));
  const [task] = parse(`${DATABASE}${TASK}${BUCKET}`).tasks;
  assertEquals(documented, {
    exclude: task?.exclude,
    delay: task?.delaySeconds,
    backup_only_previous: task?.backupOnlyPrevious,
    attachments: task?.attachments,
    revisions: task?.revisions,
    tombstones: task?.tombstones,
    incremental: task?.increments !== undefined,
    max_increments: parse(`${DATABASE}task: {w: {databases: [a], incremental: true}}\n${BUCKET}`).tasks[0]?.increments
      ?.most,
    compression: task?.codec?.compression,
    parallel: task?.parallel,
    allow_empty: task?.allowEmpty,
    per_database: parse(`${DATABASE}${TASK}${BUCKET}prometheus: a.prom\n`).prometheus?.perDatabase,
  });
});

Deno.test("parseConfig() reads notify as a URL or a mapping, and no message shows the address", () => {
  const base = `${DATABASE}${TASK}${BUCKET}`;
  const { notify } = parse(`${base}notify: https://hc.example.com/c0ffee/{task}\n`);
  assertEquals([notify?.url.reveal(), notify?.kind], ["https://hc.example.com/c0ffee/{task}", "healthchecks"]);
  assertEquals(parse(`${base}notify: {url: "https://h/c0ffee?a=b", kind: webhook}\n`).notify?.kind, "webhook");
  for (
    const wrong of [
      "notify: ftp://hc.example.com/c0ffee",
      "notify: https://hc.example.com/c0ffee#x",
      "notify: {kind: webhook}",
      "notify: {url: 'https://h/c0ffee', kind: c0ffee}",
      "notify: {urll: 'https://h/c0ffee'}",
      "notify:\n  url: https://h/c0ffee\n kind: webhook",
      "notify:\n  url: 'https://h/c0ffee\n",
      "notfy:\n  url: 'https://h/c0ffee\n",
      "notify:\n\turl: https://h/c0ffee",
    ]
  ) {
    const error = assertThrows(() => parse(`${base}${wrong}\n`), ConfigError);
    assertEquals(error.message.includes("c0ffee"), false, error.message);
  }
  assertEquals(parse(`${base}notify: {url: "https://h/c0ffee"}\n`).holdsSecret, true);
  const variable = parse(`${base}notify: {url: "\${MONITOR}", kind: webhook}\n`, { MONITOR: "https://h/c0ffee" });
  assertEquals([variable.holdsSecret, variable.notify?.url.reveal()], [false, "https://h/c0ffee"]);
});

Deno.test("parseConfig() warns of one check for several tasks: the success of one hides the failure of another", () => {
  const tasks = `task: {a: {databases: [a], cron: "*-01-01"}, b: {databases: [b], cron: "*-01-02"}}\n`;
  const warningsOf = (notify: string) => parse(`${DATABASE}${tasks}${BUCKET}notify: ${notify}\n`).warnings;
  assertEquals(warningsOf("https://hc.example.com/c0ffee").map((text) => text.replace(/^[^ ]+ /, "")), [
    'Key "notify" has one check for 2 tasks: the success of one hides the failure of another; write {task} in the URL',
  ]);
  assertEquals(warningsOf('"https://hc.example.com/c0ffee/{task}"'), []);
  assertEquals(warningsOf("{url: 'https://h/c0ffee', kind: webhook}"), []);
});

Deno.test("parseConfig() says of what is empty that it is", () => {
  const text = 'database: {url: "http://h"}\ntask: {a: {databases: [""], retention: {}}}\nbucket: ""\n';
  const error = assertThrows(() => parseConfig(text, { file: "c", env: {} }), ConfigError);
  assertStringIncludes(error.message, 'c:2:24: Key "task.a.databases[0]" is empty, must be a pattern such as');
  assertStringIncludes(
    error.message,
    'Key "task.a.retention" is an empty mapping, must have at least one',
  );
  assertStringIncludes(error.message, 'c:3:9: Key "bucket" is empty, must be "s3://name/folder"');
});

Deno.test("parseConfig() names mappings that stand for texts, whatever they have as toString", () => {
  const text =
    "database: {url: {toString: 1}}\ntask: {a: {databases: [a]}}\nbucket: {toString: 1}\nsse: {toString: 1}\nkms_key_id: x\n";
  const error = assertThrows(() => parseConfig(text, { file: "c", env: {} }), ConfigError);
  assertStringIncludes(error.message, 'c:1:17: Key "database.url" is a mapping');
});

Deno.test("loadConfig() does not quote a config's text that was given as its path", async () => {
  const path = 'database: {url: "http://[::1]:5984", login: a, password: "hunter2"}\nbucket: /b\n';
  const error = await assertRejects(() => loadConfig({ path, env: {} }), ConfigError, "seems to be the config's text");
  assertEquals(`${describeError(error)} ${error.hint} ${error.stack}`.includes("hunter2"), false);
});

const KEYS = [
  "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq",
  "age1qgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpquuzgag",
];

Deno.test("parseConfig() reads encrypt_to of all tasks and of one, and where identities are", () => {
  const [one = "", two = ""] = KEYS;
  const text = `${DATABASE}task: {a: {databases: [a]}, b: {databases: [b], encrypt_to: ["${two}", "${one}", "${two}"]}}
${BUCKET}encrypt_to: [${one}]
identity_file: keys/backup.key
identity_secret: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:key-AbCdEf"
`;
  const { tasks, identityFile, identitySecret, warnings } = parseConfig(text, { file: "/etc/cfg.yaml", env: {} });
  assertEquals(tasks.map(({ codec }) => codec?.recipients), [[one], [two, one]]);
  assertEquals([identityFile?.path, identityFile?.place.line, identitySecret?.slice(0, 8), warnings], [
    "/etc/keys/backup.key",
    5,
    "arn:aws:",
    [],
  ]);
});

Deno.test("parseConfig() refuses what is no public key at its place, and shows no secret that was put there", () => {
  const secret = "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSHUNTER";
  const cases: [value: string, message: RegExp][] = [
    [`[${secret}]`, /"encrypt_to\[0\]" is a secret key, which opens backups/],
    [`["${KEYS[0]}", "${secret}"]`, /"encrypt_to\[1\]" is a secret key/],
    [secret, /"encrypt_to" has a wrong value; it must be a list of age public keys/],
    [`"hunter2"`, /"encrypt_to" has a wrong value/],
    ["[hunter2]", /"encrypt_to\[0\]" is no public key; passphrases are not taken/],
    ["[ssh-ed25519 AAAAhunter2]", /"encrypt_to\[0\]" is a key of ssh/],
    [`["${KEYS[0]!.slice(0, -1)}x"]`, /"encrypt_to\[0\]" is no whole key/],
    ["[]", /"encrypt_to" has a wrong value/],
    ["[4711]", /"encrypt_to\[0\]" is not an age public key/],
  ];
  for (const [value, message] of cases) {
    for (const text of [`${DATABASE}${TASK}${BUCKET}encrypt_to: ${value}\n`]) {
      const error = errorOf(text);
      assert(message.test(error.message), error.message);
      assertEquals([error.place.line, /hunter/i.test(`${error.message} ${error.hint}`)], [4, false], error.message);
    }
  }
  // The very line is shown where it is no YAML.
  for (const broken of [`encrypt_to: [${secret}`, `encrypt_to: [${secret}]]`, `encrypt_to\n- ${secret}`]) {
    const error = errorOf(`${DATABASE}${TASK}${BUCKET}${broken}\n`);
    assertEquals(/hunter/i.test(`${error.message} ${error.hint}`), false, error.message);
  }
  const file = errorOf(`${DATABASE}${TASK}${BUCKET}identity_file: ${secret}\n`);
  assert(/"identity_file" is a secret key itself/.test(file.message) && !/hunter/i.test(file.message), file.message);
  for (const key of [KEYS[0]!, KEYS[0]!.toUpperCase(), `"${KEYS[0]!} "`]) {
    const error = errorOf(`${DATABASE}${TASK}${BUCKET}identity_file: ${key}\n`);
    assertStringIncludes(error.message, '"identity_file" is a public key, which opens nothing, and must be the path');
    assertEquals(error.place.line, 4);
  }
});

Deno.test("parseConfig() warns of the key that the documentation shows, which opens for nobody", async () => {
  const [, example] = /(age1[a-z0-9]{58})/.exec(await projectFile("docs/encryption.md")) ?? [];
  const { warnings } = parse(`${DATABASE}${TASK}${BUCKET}encrypt_to: [${example}]\n`);
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, "nobody has its secret key");
});

Deno.test("loadConfig() says that a config is not UTF-8, where, and shows nothing of it", async () => {
  const text = `${DATABASE}${TASK}bucket: "/srv/b\u00fccher"\n`;
  const latin1 = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const utf16 = (order: boolean) =>
    Uint8Array.from(
      `\ufeff${text}`.split("").flatMap((one) => {
        const [low, high] = [one.charCodeAt(0) & 0xff, one.charCodeAt(0) >> 8];
        return order ? [low, high] : [high, low];
      }),
    );
  const cases: [bytes: Uint8Array, message: string][] = [
    [latin1, "c.yaml:3:16: The config is not UTF-8 but another encoding"],
    [utf16(true), "c.yaml:1:1: The config is not UTF-8 but UTF-16"],
    [utf16(false), "c.yaml:1:1: The config is not UTF-8 but UTF-16"],
    [utf16(true).subarray(2), "c.yaml:1:1: The config is not UTF-8 but UTF-16"],
  ];
  for (const [bytes, message] of cases) {
    const readFile = () => Promise.resolve(Buffer.from(bytes).toString("utf8"));
    const error = await assertRejects(() => loadConfig({ path: "c.yaml", env: {}, readFile }), ConfigError);
    assertEquals(error.message, message);
    assertStringIncludes(error.hint ?? "", "Save it as UTF-8");
  }
});

/** Nobody but the operator knows which of them it was. */
const WHERE_SET =
  "where the program is started: in the shell, in the systemd unit (Environment=, EnvironmentFile=), for the container or for the Lambda";

Deno.test("parseConfig() says where a variable that is not set can be set", () => {
  const error = errorOf(`${DATABASE}${TASK}bucket: "\${A}"\nprefix: "\${B}/\${A}"\n`);
  assertEquals(error.hint, `Set A and B ${WHERE_SET}`);
  assertEquals(errorOf(`${DATABASE}${TASK}`).hint, undefined);
});

Deno.test("a variable that is not UTF-8 is refused where the config uses it, and its value shown by no error", () => {
  const text = `${DATABASE}${TASK}bucket: "/b\${X}"\n`;
  // As Deno's process.env has it, and as Node's.
  const denos = {
    get X(): string {
      throw new TypeError('environment variable was not valid unicode: "p\\xE9w"');
    },
  };
  for (const env of [denos, guardEnvironment(denos), { X: "p\uFFFDw" }]) {
    const error = assertThrows(() => parseConfig(text, { file: "cfg.yaml", env }), ConfigError);
    assertEquals(error.message, 'cfg.yaml:3:9: Key "bucket" uses the environment variable X, which is not UTF-8');
    assertEquals(error.hint, `Set X as UTF-8 ${WHERE_SET}`);
  }
  const env = guardEnvironment(denos);
  const error = assertThrows(() => env["X"], UsageError);
  assertEquals([error.message, error.cause], ["The environment variable X is not UTF-8", undefined]);
  assertEquals(error.hint, `Set X as UTF-8 ${WHERE_SET}, or unset it there`);
  assertEquals({ ...guardEnvironment({ A: "a" }) }, { A: "a" });
});
