/** `check --store` as a process, and a store whose buckets stand before its host's name, reached through a proxy. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { couchOk } from "../couch_request.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeS3, type FakeS3Options } from "../fakes/s3.ts";
import { startProgram } from "./program.ts";

const HOST = "s3.store.example";

const runProgram = (args: string[], env: Record<string, string> = {}) => startProgram(args, env).ended;

/** A config for a store that answers as `endpoint`. */
async function withConfig(
  server: FakeS3Options,
  test: (given: { fake: FakeS3; config: (endpoint: string, more?: string) => Promise<string> }) => Promise<void>,
): Promise<void> {
  const fake = await FakeS3.start(server);
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-check-store-" });
  let count = 0;
  const config = async (endpoint: string, more = "") => {
    const file = `${folder}/config-${++count}.yaml`;
    await Deno.writeTextFile(
      file,
      `database: {url: "http://127.0.0.1:1"}
task: {often: {databases: [a]}}
bucket: s3://test-bucket/folder
endpoint: ${endpoint}
token: ${fake.keys.accessKeyId}
secret: "${fake.keys.secretAccessKey}"
prefix: backup
${more}`,
    );
    return file;
  };
  try {
    await test({ fake, config });
  } finally {
    await fake.close();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("check --store shows what is held, what lacks and what is done then, without CouchDB", async () => {
  await withConfig({ refusesChecksums: true, wantsEqualParts: true }, async ({ fake, config }) => {
    const file = await config(fake.url);
    const { code, stdout, stderr } = await runProgram(["check", file, "--store"]);
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /^held +reach +http:\/\/127\.0\.0\.1:\d+\/test-bucket answers with path addressing$/m);
    assertMatch(
      stdout,
      /^no +checksum_sha256 +x-amz-checksum-sha256 is answered 400 InvalidArgument\n +-> Content-MD5/m,
    );
    assertMatch(stdout, /^no +parts_unequal .*\n +-> .*\n +option: part_size: 64$/m);
    assertMatch(stdout, /\nBackups can be kept in s3:\/\/test-bucket\/folder; 2 properties are missing\n$/);
    const json = await runProgram(["check", file, "--store", "--json"]);
    const { ok, store, server, properties } = JSON.parse(json.stdout);
    assertEquals([json.code, ok, store, server], [0, true, "s3://test-bucket/folder", fake.url]);
    assertEquals(
      properties.filter(({ held }: { held: boolean }) => !held).map(({ property, option }: Record<string, string>) => [
        property,
        option,
      ]),
      [["checksum_sha256", undefined], ["parts_unequal", "part_size: 64"]],
    );
  });
});

Deno.test("check --store ends with 11 where nothing makes up for what lacks, in one sentence with what to do", async () => {
  await withConfig({ isStale: true }, async ({ fake, config }) => {
    const { code, stdout } = await runProgram(["check", await config(fake.url), "--store"]);
    assertEquals(code, 11);
    assertMatch(stdout, /^FAIL +read_after_write .*\n +Use a consistent store/m);
    assertStringIncludes(stdout, "Backups cannot be kept in s3://test-bucket/folder as it is");
  });
});

Deno.test("a store without path style is told what to set, and then keeps backups", async () => {
  await withConfig({ virtualHost: HOST }, async ({ fake, config }) => {
    await using couch = await startFakeCouchDb();
    await couchOk(couch, "PUT /a");
    await couchOk(couch, "POST /a/_bulk_docs", { docs: [{ _id: "one" }, { _id: "two" }] });
    // Names below the store's host resolve nowhere here: the double is the proxy that they are asked through.
    const env = { HTTP_PROXY: fake.url, NO_PROXY: "127.0.0.1" };
    const endpoint = `http://${HOST}`;
    const told = await runProgram(["check", await config(endpoint), "--store"], env);
    assertEquals(told.code, 11);
    assertMatch(
      told.stdout,
      /^FAIL +reach +.*403 SecondLevelDomainForbidden.*; with virtual addressing it answers$/m,
    );
    assertMatch(told.stdout, /^ +option: addressing_style: virtual$/m);

    const refused = await runProgram(["verify", "a", "latest", "--config", await config(endpoint)], env);
    assertEquals(refused.code, 11);
    assertStringIncludes(refused.stderr, "Set addressing_style: virtual");

    const file = await config(endpoint, "addressing_style: virtual\n");
    const found = await runProgram(["check", file, "--store"], env);
    assertEquals(found.code, 0, found.stdout + found.stderr);
    assertMatch(
      found.stdout,
      /^held +reach +http:\/\/test-bucket\.s3\.store\.example answers with virtual addressing$/m,
    );

    await Deno.writeTextFile(
      file,
      (await Deno.readTextFile(file)).replace(
        /^database: .*$/m,
        `database: {url: "${couch.url}", login: ${couch.login}, password: ${couch.password}}`,
      ),
    );
    const saved = await runProgram(["backup", file, "--all"], env);
    assertEquals(saved.code, 0, saved.stderr);
    const verified = await runProgram(["verify", "a", "latest", "--config", file, "--json"], env);
    assertEquals([verified.code, JSON.parse(verified.stdout).documents], [0, 2], verified.stderr);
    assert(fake.requests.every(({ headers }) => headers["host"]?.endsWith(HOST)));
  });
});
