import { assertEquals } from "@std/assert";
import { parseConfig } from "../../src/config/config.ts";
import { withPassword } from "../../src/session/password.ts";

const REST = "task: {all: {databases: ['.*']}}\nbucket: file:///var/backup\n";
const ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:couchdb-AbCdEf";

Deno.test("withPassword() leaves a config as it is that holds the password", async () => {
  const text = `database: {url: 'http://[::1]:5984', login: backup, password: hunter2}\n${REST}`;
  const config = parseConfig(text, { file: "config.yaml", env: {} });
  assertEquals(await withPassword(config), config.database);
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
