import { Buffer } from "node:buffer";
import { assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { parseConfig } from "../../src/config/config.ts";
import { ConfigError, InterruptedError } from "../../src/errors.ts";
import { couchError } from "../../src/couchdb/error.ts";
import { LastingLogin, withPassword } from "../../src/session/password.ts";
import { RecordedLog } from "../fakes/log.ts";

const REST = "task: {all: {databases: ['.*']}}\nbucket: file:///var/backup\n";
const ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:couchdb-AbCdEf";

Deno.test("withPassword() leaves a config as it is that holds the password", async () => {
  const text = `database: {url: 'http://[::1]:5984', login: backup, password: hunter2}\n${REST}`;
  const config = parseConfig(text, { file: "config.yaml", env: {} });
  const { url, login, password } = config.database;
  assertEquals(await withPassword(config), { url, login, password });
});

Deno.test("withPassword() takes the password from password_file, without its last newline", async () => {
  const text = `database: {url: 'http://[::1]:5984', login: backup, password_file: pw}\n${REST}`;
  const readFile = (path: string) => Promise.resolve(path === "/etc/b/pw" ? " p w\n\r\n" : "another");
  const { password } = await withPassword(parseConfig(text, { file: "/etc/b/c.yaml", env: {} }), { readFile });
  assertEquals(password?.reveal(), " p w\n");
});

Deno.test("withPassword() leaves a byte order mark out, and refuses a password file that is not UTF-8", async () => {
  const text = `database: {url: 'http://[::1]:5984', login: backup, password_file: pw}\n${REST}`;
  const config = parseConfig(text, { file: "/etc/b/c.yaml", env: {} });
  const read = async (...bytes: number[]) => {
    const readFile = () => Promise.resolve(Buffer.from(bytes).toString("utf8"));
    return (await withPassword(config, { readFile })).password?.reveal();
  };
  assertEquals(await read(0xef, 0xbb, 0xbf, 0x70, 0x77, 0x0d, 0x0a), "pw");
  const message = '/etc/b/c.yaml:1:68: The password file "/etc/b/pw" is not UTF-8 but ';
  await assertRejects(() => read(0x70, 0xfc), ConfigError, `${message}another encoding`);
  await assertRejects(() => read(0xff, 0xfe, 0x70, 0, 0x77, 0), ConfigError, `${message}UTF-16`);
});

Deno.test("withPassword() says where a password file is named that cannot be read or is empty", async () => {
  const text = `database:\n  url: 'http://[::1]:5984'\n  login: backup\n  password_file: /run/pw\n${REST}`;
  const config = parseConfig(text, { file: "c.yaml", env: {} });
  const readFile = () => Promise.reject(new Error("No such file or directory"));
  const error = await assertRejects(() => withPassword(config, { readFile }), ConfigError);
  assertInstanceOf(error, ConfigError);
  assertEquals(error.message, 'c.yaml:4:18: Cannot read the password file "/run/pw"');
  assertEquals(error.place, { file: "c.yaml", line: 4, column: 18, path: "database.password_file" });
  await assertRejects(
    () => withPassword(config, { readFile: () => Promise.resolve("\n") }),
    ConfigError,
    'c.yaml:4:18: The password file "/run/pw" is empty',
  );
});

Deno.test("withPassword() reads the password that is in Secrets Manager, with the environment's keys", async () => {
  const credentials: (string | undefined)[] = [];
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    credentials.push(/Credential=([^,]*)/.exec(request.headers.get("authorization") ?? "")?.[1]);
    return Response.json({ SecretString: (await request.json()).SecretId === ARN ? "hunter2" : "another" });
  });
  // The bucket's keys are those of another S3; they would not open a secret at AWS.
  const text =
    `database: {url: 'http://[::1]:5984', login: backup, password_secret: '${ARN}'}\ntask: {all: {databases: ['.*']}}\nbucket: s3://name\nendpoint: http://[::1]:9000\ntoken: minio\nsecret: minio\n`;
  const config = parseConfig(text, {
    file: "config.yaml",
    env: {
      AWS_ACCESS_KEY_ID: "AKIA",
      AWS_SECRET_ACCESS_KEY: "secret",
      AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${server.addr.port}/`,
    },
  });
  const { url, login, password } = await withPassword(config);
  assertEquals([url, login, password?.reveal()], ["http://[::1]:5984", "backup", "hunter2"]);
  assertEquals(credentials.map((one) => one?.replace(/\d{8}/, "DAY")), [
    "AKIA/DAY/eu-central-1/secretsmanager/aws4_request",
  ]);
});

Deno.test("LastingLogin reads the password again each time, and keeps the last one while it cannot be read", async () => {
  const text = `database: {url: 'http://[::1]:5984', login: backup, password_file: pw}\n${REST}`;
  const config = parseConfig(text, { file: "/etc/b/c.yaml", env: {} });
  const log = new RecordedLog();
  let password = "first";
  const readFile = () => Promise.resolve(password);
  const login = await LastingLogin.read(config, { readFile });
  const now = async () => (await login.now({ log, readFile })).password?.reveal();
  assertEquals(await now(), "first");
  password = "second";
  assertEquals([await now(), log.lines], ["second", []]);
  password = "";
  assertEquals(await now(), "second");
  assertEquals(log.events("warn"), ["the password cannot be read again: the one that was read last is used"]);
  assertEquals(log.lines[0]!.fields.error, '/etc/b/c.yaml:1:68: The password file "/etc/b/pw" is empty');
  const signal = AbortSignal.abort(new InterruptedError("Interrupted by SIGTERM"));
  await assertRejects(() => login.now({ log, readFile, signal }), InterruptedError);
  await assertRejects(() => LastingLogin.read(config, { readFile }), ConfigError, "is empty");
});

Deno.test("withPassword() says where the password comes from, so that a refused login names that place", async () => {
  const text =
    "{database: {url: 'http://h', login: u, password_file: pw}, task: {a: {databases: [a]}}, bucket: 'file:///b'}";
  const config = parseConfig(text, { file: "/etc/b/c.yaml", env: {} });
  const { passwordFrom } = await withPassword(config, { readFile: () => Promise.resolve("old") });
  assertEquals(passwordFrom, 'database.password_file, "/etc/b/pw"');
  const refused = { status: 401, error: "unauthorized", reason: "Name or password is incorrect." };
  const { hint } = couchError({ action: "list the databases", url: "http://h", passwordFrom }, refused);
  assertStringIncludes(hint!, 'Check database.login and database.password_file, "/etc/b/pw"; it is not retried');
  const locked = { status: 403, error: "forbidden", reason: "Account is temporarily locked due to multiple failures" };
  const { hint: later } = couchError({ action: "list the databases", url: "http://h", passwordFrom }, locked);
  assertStringIncludes(later!, 'check database.login and database.password_file, "/etc/b/pw", here');
});
