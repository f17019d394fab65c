/**
 * `check --store` asks servers of others: versitygw (S3_ENDPOINT, S3_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY),
 * moto from the Python of CLOUD_PYTHON, and MinIO, which scripts/ci/minio_server.sh installs. What is found here is the
 * table in docs/stores.md.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "node:path";
import { ROOT, startProgram } from "../cli/program.ts";
import { freePort } from "../fakes/tls_front.ts";
import { untilAnswers } from "../until_ready.ts";

const given = (name: string, otherwise?: string): string => {
  const value = Deno.env.get(name) ?? otherwise;
  if (value === undefined) throw new Error(`Cannot ask a store: ${name} is not set (see .ci/run)`);
  return value;
};

interface Server {
  endpoint: string;
  bucket: string;
  keyId: string;
  secret: string;
  /** More of the config. */
  more?: string;
  /** For the program's process. */
  env?: Record<string, string>;
}

interface Property {
  property: string;
  held: boolean;
  ok: boolean;
}

/**
 * Asks twice, as the first time is another one where objects stay; then a backup's requests are tried by the plain
 * check.
 */
async function askStore({ endpoint, bucket, keyId, secret, more = "", env = {} }: Server): Promise<{
  lacking: string[];
  asked: number;
  text: string;
}> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-check-store-" });
  try {
    const file = join(folder, "config.yaml");
    await Deno.writeTextFile(
      file,
      `database: {url: "http://127.0.0.1:1"}
task: {t: {databases: [a]}}
bucket: s3://${bucket}/check-${crypto.randomUUID()}
endpoint: ${endpoint}
token: "${keyId}"
secret: "${secret}"
${more}`,
    );
    const text = (await startProgram(["check", file, "--store", "--quiet"], env).ended).stdout;
    const { code, stdout, stderr } = await startProgram(["check", file, "--store", "--json", "--quiet"], env).ended;
    assertEquals(code, 0, text + stderr);
    const { ok, properties } = JSON.parse(stdout) as { ok: boolean; properties: Property[] };
    assertEquals(ok, true);
    return {
      asked: properties.length,
      lacking: properties.filter(({ held }) => !held).map(({ property }) => property),
      text,
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs a server until the test is over. */
async function withServer(
  command: string,
  args: string[],
  { url, env = {} }: { url: string; env?: Record<string, string> },
  use: () => Promise<void>,
): Promise<void> {
  const child = new Deno.Command(command, { args, env, stdout: "null", stderr: "null" }).spawn();
  try {
    await untilAnswers(url);
    await use();
  } finally {
    child.kill("SIGTERM");
    await child.status;
  }
}

const ASKED = 24;

Deno.test("check --store on versitygw: everything is held", async () => {
  const { lacking, asked, text } = await askStore({
    endpoint: given("S3_ENDPOINT"),
    bucket: given("S3_BUCKET"),
    keyId: given("AWS_ACCESS_KEY_ID"),
    secret: given("AWS_SECRET_ACCESS_KEY"),
  });
  assertEquals([lacking, asked], [["no_delete"], ASKED], text);
});

Deno.test("check --store on moto: checksums are taken and not verified, and a race may have two winners", async () => {
  const port = freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const python = given("CLOUD_PYTHON", join(ROOT, ".venv/bin/python"));
  const args = ["-H", "127.0.0.1", "-p", String(port)];
  await withServer(join(dirname(python), "moto_server"), args, { url: endpoint }, async () => {
    await (await fetch(`${endpoint}/test-bucket`, { method: "PUT" })).body?.cancel();
    const { lacking, asked, text } = await askStore({ endpoint, bucket: "test-bucket", keyId: "k", secret: "s" });
    // Its threads look whether a key is free and write it later, without a lock: one race in a hundred is lost on a busy
    // machine, so that either answer is right.
    const always = lacking.filter((property) => property !== "create_race");
    assertEquals([always, asked], [["checksum_sha256", "content_md5", "no_delete"], ASKED], text);
  });
});

Deno.test("check --store on MinIO: everything is held, in path style and before a host's name", async () => {
  const [port, folder] = [freePort(), await Deno.makeTempDir()];
  const endpoint = `http://127.0.0.1:${port}`;
  const env = { AWS_ACCESS_KEY_ID: "ci-access", AWS_SECRET_ACCESS_KEY: "ci-secret" };
  const keys = { keyId: env.AWS_ACCESS_KEY_ID, secret: env.AWS_SECRET_ACCESS_KEY, bucket: "test-bucket" };
  const args = [`${ROOT}scripts/ci/minio_server.sh`, String(port), folder, "s3.store.example"];
  try {
    await withServer("sh", args, { url: `${endpoint}/minio/health/ready`, env }, async () => {
      const inPath = await askStore({ endpoint, ...keys });
      assertEquals([inPath.lacking, inPath.asked], [["no_delete"], ASKED], inPath.text);
      const virtual = await askStore({
        endpoint: "http://s3.store.example",
        more: "addressing_style: virtual",
        // Nothing resolves that name here: MinIO answers as the proxy that it is asked through.
        env: { HTTP_PROXY: endpoint },
        ...keys,
      });
      assertEquals([virtual.lacking, virtual.asked], [["no_delete"], ASKED], virtual.text);
      assertMatch(
        virtual.text,
        /^held +reach +http:\/\/test-bucket\.s3\.store\.example answers with virtual addressing$/m,
      );
      assert(virtual.text.endsWith("; a property is missing\n"), virtual.text);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
