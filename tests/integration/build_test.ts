/**
 * What the build scripts make: the layer with Deno for arm64 runs under qemu as Lambda's machine would run it, and the
 * executable is put together with the permissions. Wants npm, tar, unzip, objdump and what scripts/ci/qemu.sh installs.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { seedHardDatabase } from "../hard_database.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { startLambdaRuntime } from "../fakes/lambda_runtime.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { PERMISSIONS } from "../../scripts/run_flags.ts";
import { until } from "../until.ts";

const QEMU = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];

Deno.test("deno task layer --runtime deno makes the same archive each time, with an executable bootstrap", async () => {
  await layerIsBuilt();
  const digest = await Deno.readTextFile("dist/layer.zip.sha256");
  const { code, stderr } = await sh("deno task layer --runtime deno");
  assertEquals(code, 0, stderr);
  assertEquals(await Deno.readTextFile("dist/layer.zip.sha256"), digest);
  assertEquals((await sh("cd dist && sha256sum --check layer.zip.sha256 function.zip.sha256")).code, 0);

  const listing = (await sh("unzip -Z dist/layer.zip && unzip -tq dist/layer.zip")).stdout;
  assertMatch(listing, /^-rwxr-xr-x .* bootstrap$/m);
  assertMatch(listing, /^-rwxr-xr-x .* deno$/m);
  assertMatch(listing, /^-rw-r--r-- .* program\/main\.js$/m);
  assertMatch(listing, /No errors detected/);
});

Deno.test("deno task layer --config --ca puts config and authority into the function's package", async () => {
  const config = await Deno.makeTempFile();
  const ca = await Deno.makeTempFile();
  await Deno.writeTextFile(ca, "-----BEGIN CERTIFICATE-----\n");
  await Deno.writeTextFile(config, "database:\n");
  assertEquals((await sh(`deno task layer --runtime deno --config ${config} --ca ${ca}`)).code, 0);
  assertEquals((await sh("unzip -p dist/function.zip config.yaml")).stdout, "database:\n");
  assertEquals((await sh("unzip -p dist/function.zip ca.pem")).stdout, "-----BEGIN CERTIFICATE-----\n");
  for (const file of [config, ca]) await Deno.remove(file);
});

Deno.test("the layer's bootstrap runs the program on arm64 with an empty environment", async () => {
  await layerIsBuilt();
  const layer = await emulatedLayer();
  const { code, stdout, stderr } = await sh(`env -i PATH=/usr/bin:/bin ${layer}/bootstrap --version`);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^couchdb-backup \d+\.\d+\.\d+\n$/);
  await Deno.remove(layer, { recursive: true });
});

Deno.test("the layer is a function on arm64: it backs a database up into S3 at a tick, fails, and goes on", async () => {
  await layerIsBuilt();
  const layer = await emulatedLayer();
  await using couch = await startFakeCouchDb();
  const database = await seedHardDatabase(couch, "account/ab", { documents: 20 });
  const s3 = await FakeS3.start({ sessionToken: "session" });
  await using lambda = startLambdaRuntime();
  const config = `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {weekly: {cron: "Sat *-*-1..7 18:00:00 UTC", databases: ["account/.*"], chunk: 10}}
bucket: s3://test-bucket/folder
`;
  const child = new Deno.Command(`${layer}/bootstrap`, {
    cwd: layer,
    clearEnv: true,
    env: {
      PATH: "/usr/bin:/bin",
      AWS_LAMBDA_RUNTIME_API: lambda.api,
      AWS_REGION: s3.keys.region,
      AWS_ACCESS_KEY_ID: s3.keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.keys.secretAccessKey,
      AWS_SESSION_TOKEN: "session",
      AWS_ENDPOINT_URL_S3: s3.url,
      COUCHDB_BACKUP_CONFIG: config,
    },
    stdout: "null",
    stderr: "piped",
  }).spawn();
  // The emulator's own memory and what it has translated are in it, too: what counts is what a backup adds.
  const peakMb = async () => {
    const { stdout } = await sh(`cat /proc/${child.pid}/status`);
    return Number(/VmHWM:\s+(\d+)/.exec(stdout)![1]) / 1024;
  };
  await until(() => Promise.resolve(lambda.asked() > 0), "the function to ask for an event", 300_000);
  const idleMb = await peakMb();
  const tick = { source: "aws.events", time: "2026-01-03T18:00:00Z" };
  const first = await lambda.invoke({ event: tick, timeoutMs: 300_000 });
  assertEquals([first.kind, first.body], ["response", { started: ["weekly"], failed: [], overdueDays: 0 }]);
  const manifest = s3.objects.get("test-bucket/folder/2026/01/03/account%2Fab/manifest.json");
  const { totals } = JSON.parse(new TextDecoder().decode(manifest!.bytes));
  assertEquals([totals.documents, totals.leaf_revisions], [database.liveIds.length, database.leafRevisions]);
  assertEquals((await lambda.invoke({ text: "not JSON" })).kind, "error");
  assertEquals((await lambda.invoke({ event: tick })).body, { started: [], failed: [], overdueDays: 0 });
  const addedMb = await peakMb() - idleMb;
  const said = `memory on arm64, with the emulator's: ${Math.round(idleMb)} MB idle, a backup adds ${
    Math.round(addedMb)
  }`;
  await Deno.stdout.write(new TextEncoder().encode(`${said}\n`));
  assert(addedMb > 0 && addedMb < 300, `${addedMb} MB`);
  child.kill("SIGKILL");
  assertEquals(new TextDecoder().decode((await child.output()).stderr), "");
  await s3.close();
  await Deno.remove(layer, { recursive: true });
});

Deno.test("deno task compile joins program and runtime, with exactly the permissions", async () => {
  // Any ELF file does for the runtime: what is looked at is what is joined to it.
  const { code, stderr } = await sh("DENORT_BIN=/bin/true deno task compile");
  assertEquals(code, 0, stderr);
  assertEquals((await sh("cd dist && sha256sum --check couchdb-backup.sha256")).code, 0);
  const text = new TextDecoder("latin1").decode(await Deno.readFile("dist/couchdb-backup"));
  const [embedded] = /"permissions":\{.*?\}/s.exec(text) ?? [];
  assert(embedded !== undefined, "no permissions in the executable");
  assertMatch(embedded, /"allow_sys":\["hostname","statfs"\]/);
  for (const kind of PERMISSIONS.map((flag) => flag.replace(/^--(allow)-(\w+).*$/, "$1_$2"))) {
    assertStringIncludes(embedded, `"${kind}":[`);
  }
  assertMatch(embedded, /"allow_run":null/);
  assertMatch(embedded, /"allow_ffi":null/);
});

Deno.test("deno task compile says what to do when DENORT_BIN names nothing", async () => {
  const { code, stderr } = await sh("DENORT_BIN=/nowhere deno task compile");
  assertEquals(code, 1);
  assertStringIncludes(stderr, 'Cannot compile: DENORT_BIN is "/nowhere", which cannot be used');
});

Deno.test("scripts/glibc_check.sh tells the newest symbol of glibc that an executable needs", async () => {
  await layerIsBuilt();
  const { code, stdout } = await sh("scripts/glibc_check.sh dist/layer/deno 2.28");
  assertEquals([code, stdout], [0, "dist/layer/deno needs glibc 2.27, 2.28 or newer is there\n"]);
  assertEquals((await sh("scripts/glibc_check.sh dist/layer/deno 2.17")).code, 1);
  assertEquals((await sh("scripts/glibc_check.sh main.ts 2.28")).code, 1);
});

let built: ReturnType<typeof sh> | undefined;

/** Builds the layer for the first test that wants it. */
async function layerIsBuilt(): Promise<void> {
  const { code, stderr } = await (built ??= sh("deno task layer --runtime deno"));
  assertEquals(code, 0, stderr);
}

/** A copy of the layer whose Deno is started by qemu; the bootstrap is the layer's own. */
async function emulatedLayer(): Promise<string> {
  const layer = await Deno.makeTempDir();
  const original = await Deno.realPath("dist/layer");
  await sh(`cp -r ${original}/bootstrap ${original}/program ${layer}`);
  await Deno.writeTextFile(`${layer}/deno`, `#!/bin/sh\nexec ${QEMU.join(" ")} ${original}/deno "$@"\n`);
  await Deno.chmod(`${layer}/deno`, 0o755);
  return layer;
}

async function sh(command: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", command] }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
