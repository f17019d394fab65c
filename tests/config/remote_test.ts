import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { loadConfig } from "../../src/config/config.ts";
import { AwsError, ConfigError, StoreError } from "../../src/errors.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { startParameterStore } from "../fakes/parameter_store.ts";

const TEXT = `database: {url: "http://[::1]:5984", login: backup, password_file: pw}
task: {all: {databases: [".*"]}}
bucket: "s3://backups/folder"
`;
const ARN = "arn:aws:ssm:eu-central-1:123456789012:parameter/couchdb-backup/config";

/** A bucket with objects in it, and the environment that leads there. */
async function startBucket(objects: Record<string, string>) {
  const s3 = await FakeS3.start({ buckets: ["configs"] });
  for (const [key, text] of Object.entries(objects)) {
    const bytes = new TextEncoder().encode(text);
    s3.objects.set(`configs/${key}`, { bytes, etag: '"x"', checksum: undefined, headers: {}, modified: new Date() });
  }
  const env = {
    AWS_ACCESS_KEY_ID: s3.keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.keys.secretAccessKey,
    AWS_REGION: s3.keys.region,
    AWS_ENDPOINT_URL_S3: s3.url,
  };
  return { s3, env, [Symbol.asyncDispose]: () => s3.close() };
}

Deno.test("loadConfig() reads a config that is an object in S3, and names it in every message", async () => {
  await using bucket = await startBucket({ "a/b/config.yaml": TEXT, "wrong.yaml": "database:\n" });
  const { env } = bucket;
  const path = "s3://configs/a/b/config.yaml";
  for (const source of [{ path, env }, { env: { ...env, COUCHDB_BACKUP_CONFIG: path } }]) {
    const config = await loadConfig(source);
    assertEquals([config.file, config.tasks[0]?.name, config.warnings], [path, "all", []]);
    // There is no folder of this machine beside it.
    assertEquals(config.database.passwordFile?.path, "pw");
  }
  const wrong = await assertRejects(() => loadConfig({ path: "s3://configs/wrong.yaml", env }), ConfigError);
  assertStringIncludes(wrong.message, "s3://configs/wrong.yaml:1:");
});

Deno.test("loadConfig() says why a config in S3 cannot be used", async () => {
  await using bucket = await startBucket({ "large.yaml": `# ${"x".repeat(1 << 20)}\n${TEXT}` });
  const refusal = async (path: string) =>
    await assertRejects(() => loadConfig({ path, env: bucket.env }), ConfigError) as ConfigError;
  const absent = await refusal("s3://configs/no.yaml");
  assertEquals(absent.message, "s3://configs/no.yaml: Cannot read the config");
  assertEquals((absent.cause as StoreError).facts.code, "not_found");
  assertEquals(
    (await refusal("s3://configs/large.yaml")).message,
    "s3://configs/large.yaml: Cannot use this as a config: it is larger than 1 MiB",
  );
  for (const url of ["s3://configs", "s3://configs/", "s3://configs/folder/"]) {
    assertStringIncludes((await refusal(url)).message, "this names a folder, not an object");
  }
  assertEquals((await refusal("s3://other/config.yaml")).cause instanceof StoreError, true);
});

Deno.test("loadConfig() does not call it a mistake that S3 does not answer", async () => {
  await using bucket = await startBucket({ "config.yaml": TEXT });
  bucket.s3.inject("GetObject", { kind: "refuse", status: 503, code: "SlowDown" }, 1000);
  await assertRejects(() => loadConfig({ path: "s3://configs/config.yaml", env: bucket.env }), StoreError, "503");
});

Deno.test("loadConfig() warns of a config that lies where backups go", async () => {
  const there = TEXT.replace("backups/folder", "configs/folder/");
  await using bucket = await startBucket({ "folder/config.yaml": there, "folder2.yaml": there });
  const path = "s3://configs/folder/config.yaml";
  const { warnings } = await loadConfig({ path, env: bucket.env });
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, `${path}:1:1: The config lies in the bucket folder`);
  assertEquals((await loadConfig({ path: "s3://configs/folder2.yaml", env: bucket.env })).warnings, []);
});

Deno.test("loadConfig() reads a config that is a parameter of Systems Manager, decrypted", async () => {
  await using store = startParameterStore({ [ARN]: TEXT });
  const config = await loadConfig({ path: ARN, env: store.env });
  assertEquals([config.file, config.tasks[0]?.name, config.database.passwordFile?.path], [ARN, "all", "pw"]);
  assertEquals(store.asked, [{ Name: ARN, WithDecryption: true }]);
});

Deno.test("loadConfig() says why a parameter cannot be the config", async () => {
  await using store = startParameterStore({ [`${ARN}-denied`]: { status: 400, __type: "AccessDeniedException" } });
  const refusal = async (path: string) =>
    await assertRejects(() => loadConfig({ path, env: store.env }), ConfigError) as ConfigError;
  const absent = await refusal(`${ARN}-absent`);
  assertEquals(absent.message, `${ARN}-absent: Cannot read the config`);
  assertEquals((absent.cause as AwsError).facts.code, "ParameterNotFound");
  assertStringIncludes((await refusal(`${ARN}-denied`)).hint!, "Allow ssm:GetParameter on this parameter");
  const secret = await refusal("arn:aws:secretsmanager:eu-central-1:123456789012:secret:config-AbCdEf");
  assertStringIncludes(secret.message, "this is not the ARN of a Systems Manager parameter");
});

Deno.test("loadConfig() does not call it a mistake that Systems Manager is busy for long", async () => {
  await using store = startParameterStore({ [ARN]: { status: 500, __type: "InternalServerError" } });
  await assertRejects(() => loadConfig({ path: ARN, env: store.env }), AwsError, "500 InternalServerError");
});
