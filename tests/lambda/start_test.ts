import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { RUN_FLAGS } from "../../scripts/run_flags.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { denoFolder } from "../deno_folder.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { type LambdaRuntimeDouble, startLambdaRuntime } from "../fakes/lambda_runtime.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The program in a folder that holds its config, with next to no environment: no HOME, no keys, no region. */
async function startProgram(lambda: LambdaRuntimeDouble, config: string | undefined) {
  const folder = await Deno.makeTempDir();
  if (config !== undefined) await Deno.writeTextFile(`${folder}/config.yaml`, config);
  const child = new Deno.Command("deno", {
    args: ["run", "--quiet", `--config=${ROOT}/deno.json`, ...RUN_FLAGS, `${ROOT}/main.ts`],
    cwd: folder,
    clearEnv: true,
    // Deno's own: where the packages of this checkout are. The layer's bundle needs none.
    env: { AWS_LAMBDA_RUNTIME_API: lambda.api, DENO_DIR: await denoFolder() },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return {
    folder,
    async end(): Promise<{ code: number; stdout: string; stderr: string }> {
      const { code, stdout, stderr } = await child.output();
      await Deno.remove(folder, { recursive: true });
      const decoder = new TextDecoder();
      return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
    },
    kill: () => child.kill("SIGKILL"),
  };
}

Deno.test("startLambda() makes main.ts a function that backs up, fails and goes on in one process", async () => {
  await using couch = await startFakeCouchDb();
  await createDatabase(couch, "media", idsOf(3));
  await using lambda = startLambdaRuntime();
  const archive = await Deno.makeTempDir();
  const program = await startProgram(
    lambda,
    `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {weekly: {cron: "Sat *-*-1..7 18:00:00 UTC", databases: [media]}}
bucket: "file://${archive}"
`,
  );
  const tick = { source: "aws.events", time: "2026-01-03T18:00:00Z" };
  const first = await lambda.invoke({ event: tick });
  assertEquals([first.kind, first.body], ["response", { started: ["weekly"], failed: [], overdueDays: 0 }]);
  assert((await Deno.stat(`${archive}/2026/01/03/media/manifest.json`)).isFile);

  const malformed = await lambda.invoke({ text: "{" });
  assertEquals(malformed.headers.get("Lambda-Runtime-Function-Error-Type"), "Runtime.MalformedEvent");
  const unknown = await lambda.invoke({ event: { task: "monthly" } });
  assertEquals((unknown.body as { errorType: string }).errorType, "UsageError");
  const again = await lambda.invoke({ event: tick });
  assertEquals(again.body, { started: [], failed: [], overdueDays: 0 });

  program.kill();
  const { stdout, stderr } = await program.end();
  assertEquals(stderr, "");
  const events = stdout.trim().split("\n").map((line) => JSON.parse(line).event);
  assertEquals(events.filter((event) => event === "schedules checked").length, 2);
  assert(events.includes("database is backed up"));
  await Deno.remove(archive, { recursive: true });
});

Deno.test("startLambda() reports a config that cannot be used as init error, and ends the process with code 1", async () => {
  await using lambda = startLambdaRuntime();
  const program = await startProgram(lambda, "database:\n  url: http://[::1]:5984\n");
  const { body, headers } = await lambda.initError;
  assertEquals(headers.get("Lambda-Runtime-Function-Error-Type"), "Function.ConfigError");
  assertStringIncludes((body as { errorMessage: string }).errorMessage, 'Key "task"');
  const { code, stdout } = await program.end();
  assertEquals(code, 1);
  assertStringIncludes(stdout, "start failed");
});

Deno.test("startLambda() says which config is missing", async () => {
  await using lambda = startLambdaRuntime();
  const program = await startProgram(lambda, undefined);
  const { body } = await lambda.initError;
  assertStringIncludes((body as { errorMessage: string }).errorMessage, "COUCHDB_BACKUP_CONFIG");
  assertEquals((await program.end()).code, 1);
});
