/**
 * template.yaml in the hands of others: cfn-lint reads it, the AWS CLI packages it, an AWS account in memory (moto)
 * creates its stack and runs its state machine. Wants Python with these, as scripts/ci/cloud_tools.sh installs it, in
 * `CLOUD_PYTHON`, and `CHECKOV` and `SAM_CLI`, which scripts/ci/template_checks.sh installs.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname } from "node:path";
import { openHandler } from "../../lambda/handler.ts";
import { InterruptedError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { openStore } from "../../src/store/open.ts";
import { couchOk } from "../couch_request.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeS3 } from "../fakes/s3.ts";
import type { BackupBatchResult, PlanResult, SummariseResult } from "../../lambda/answers.ts";
import { parseEvent } from "../../lambda/events.ts";
import { freePort } from "../fakes/tls_front.ts";

const python = Deno.env.get("CLOUD_PYTHON") ?? ".venv/bin/python";
const BUCKET = "backups.example.com";
const REGION = "eu-central-1";
const ACCOUNT = {
  AWS_ACCESS_KEY_ID: "testing",
  AWS_SECRET_ACCESS_KEY: "testing",
  AWS_DEFAULT_REGION: REGION,
  AWS_EC2_METADATA_DISABLED: "true",
};

/** What tests/fakes/aws_account.py says. */
interface Account {
  resources: Record<string, { type: string; id: string }>;
  executions: { name: string; status: string; output?: string; error?: string; cause?: string }[];
  ticks: { started?: string[]; waiting?: string[]; errorMessage?: string }[];
  runs: { name: string; status: string; error?: string; cause?: string; began: number; ended: number }[];
  function: { Handler: string; Runtime: string; Timeout: number };
  permission: { Statement: { Principal: unknown; Condition: unknown }[] };
  rule: { Arn: string; State: string; ScheduleExpression: string };
  targets: { Arn: string }[];
  policy: { Statement: { Action: string | string[]; Resource: string }[] };
  mail: { Arn: string; InputTransformer: { InputTemplate: string } }[];
}

/**
 * Deploys the template and runs its state machine, with `answer` as the function; then come the ticks, a second apart
 * or at a pace.
 */
async function deployAndRun(
  answer: (event: unknown, s3Url: string) => Promise<unknown>,
  executions: { name: string; input: unknown; restores?: true }[],
  { port = freePort(), ticks = [], pace, parameters = {} }: {
    port?: number;
    ticks?: string[];
    pace?: number;
    parameters?: Record<string, string>;
  } = {},
): Promise<Account> {
  const folder = await Deno.makeTempDir();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    try {
      return Response.json(await answer(await request.json(), `http://127.0.0.1:${port}`));
    } catch (error) {
      const { name, message } = error as Error;
      return Response.json({ errorType: name, errorMessage: message }, { status: 500 });
    }
  });
  try {
    await Deno.copyFile("template.yaml", `${folder}/template.yaml`);
    await Deno.mkdir(`${folder}/dist`);
    // An empty zip archive; what is in the packages does not matter here.
    const archive = new Uint8Array([0x50, 0x4b, 5, 6, ...new Uint8Array(18)]);
    for (const name of ["layer", "function"]) await Deno.writeFile(`${folder}/dist/${name}.zip`, archive);
    const child = new Deno.Command(python, {
      args: ["tests/fakes/aws_account.py"],
      env: ACCOUNT,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode(JSON.stringify({
      folder,
      port,
      buckets: [BUCKET],
      invoke_url: `http://127.0.0.1:${server.addr.port}/`,
      parameters: {
        CouchUrl: "http://[::1]:5984",
        PasswordSecretArn: `arn:aws:secretsmanager:${REGION}:123456789012:secret:couchdb-AbCdEf`,
        BucketName: BUCKET,
        BucketFolder: "folder",
        ...parameters,
      },
      executions,
      ticks,
      pace,
    })));
    await input.close();
    const { success, stdout, stderr } = await child.output();
    assert(success, new TextDecoder().decode(stderr));
    return JSON.parse(new TextDecoder().decode(stdout));
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
}

/** A function that plans `databases` and takes a round after the other of each, as the handler does. */
function scriptedFunction(databases: Record<string, (BackupBatchResult | "dies")[]>) {
  const rounds: string[] = [];
  const outcomes = new Map<string, string>();
  const answer = async (sent: unknown, s3Url: string): Promise<unknown> => {
    const event = parseEvent(sent);
    if (event.kind === "plan") {
      const key = "folder/_runs/couchdb/weekly/20260103T180000Z/plan.json";
      const items = Object.keys(databases).map((database) => ({ databases: [database] }));
      await fetch(`${s3Url}/${BUCKET}/${key}`, { method: "PUT", body: JSON.stringify(items) });
      const { task } = event;
      const elapse = event.elapse.toISOString();
      const result: PlanResult = {
        task,
        elapse,
        bucket: BUCKET,
        key,
        databases: items.length,
        generation: 1,
        concurrency: 1,
        delay: 0,
      };
      return result;
    }
    if (event.kind === "backupBatch") {
      const [database = ""] = event.databases;
      const died = event.broken === 0 ? "" : `, died ${event.broken}`;
      rounds.push(`${database} ${event.cursor || "first"}${died}`);
      if (event.broken > 1) {
        assertStringIncludes(event.why, "The process died");
        return round("failed");
      }
      const result = databases[database]!.shift();
      if (result === undefined || result === "dies") throw new Error("The process died");
      outcomes.set(database, result.status);
      return result;
    }
    const failed = Object.keys(databases).filter((database) => outcomes.get(database) !== "complete");
    const result: SummariseResult = {
      ok: failed.length === 0,
      databases: Object.keys(databases).length,
      failed: failed.length,
      message: `Not saved: ${failed.join(", ")}`,
      report: "s3://…/report.json",
    };
    return result;
  };
  return { answer, rounds };
}

const RUN = { task: "weekly", elapse: "2026-01-03T18:00:00Z" };

function round(status: BackupBatchResult["status"], cursor: string | null = null): BackupBatchResult {
  return {
    done: status !== "unfinished",
    cursor,
    status,
    error: status === "failed" ? "CouchDB answered 500" : null,
    rest: false,
  };
}

Deno.test("template.yaml has nothing that cfn-lint finds, not even for information", async () => {
  const lint = `${dirname(python)}/cfn-lint`;
  const { stdout, code } = await new Deno.Command(lint, {
    args: ["--template", "template.yaml", "--include-checks", "I"],
  })
    .output();
  assertEquals(new TextDecoder().decode(stdout), "");
  assertEquals(code, 0);
});

/** What checkov asks for and the template does otherwise. */
const OTHERWISE = [
  // What fails goes to the queue as a destination of asynchronous calls, which says more than a dead letter.
  "CKV_AWS_116",
  // SQS encrypts it with keys of its own.
  "CKV_AWS_27",
  // Neither alarms nor rules may publish to a topic that SNS's own key encrypts.
  "CKV_AWS_26",
];

Deno.test("template.yaml passes checkov but for what it does otherwise", async () => {
  const checkov = Deno.env.get("CHECKOV") ?? ".venv-checkov/bin/checkov";
  // Without the download it asks no server for anything.
  const args = ["--skip-download", "--framework", "cloudformation", "--file", "template.yaml", "--output", "json"];
  const { stdout } = await new Deno.Command(checkov, { args }).output();
  const { results: { failed_checks: failed, passed_checks: passed } } = JSON.parse(new TextDecoder().decode(stdout));
  const ids: string[] = failed.map(({ check_id }: { check_id: string }) => check_id);
  assertEquals([...new Set(ids)].sort(), OTHERWISE.toSorted());
  assert(passed.length > 60, `only ${passed.length} checks have passed`);
});

Deno.test("template.yaml is valid for the SAM CLI", async () => {
  const sam = Deno.env.get("SAM_CLI") ?? ".venv-sam/bin/sam";
  const env = { ...ACCOUNT, SAM_CLI_TELEMETRY: "0" };
  for (const more of [[], ["--lint"]]) {
    const args = ["validate", "--template", "template.yaml", "--region", REGION, ...more];
    const { stdout, stderr, code } = await new Deno.Command(sam, { args, env }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assertStringIncludes(new TextDecoder().decode(stdout), "is a valid SAM Template");
  }
});

Deno.test("template.yaml becomes a stack whose schedule may call the function", async () => {
  const account = await deployAndRun(() => Promise.resolve({}), []);
  const { resources, permission, rule, targets, policy } = account;
  const { Handler, Runtime, Timeout } = account.function;
  assertEquals([Handler, Runtime, Timeout], ["bootstrap", "provided.al2023", 900]);
  assertEquals([rule.State, rule.ScheduleExpression], ["ENABLED", "cron(0/15 * * * ? *)"]);
  assertEquals(permission.Statement.map(({ Principal }) => Principal), [{ Service: "events.amazonaws.com" }]);
  assertStringIncludes(JSON.stringify(permission.Statement[0]!.Condition), rule.Arn);
  assertMatch(targets[0]!.Arn, new RegExp(`function:${resources.Function!.id}$`));
  const rights = policy.Statement.find(({ Action }) => Action.includes("s3:PutObject"));
  assertEquals(rights?.Resource, `arn:aws:s3:::${BUCKET}/folder/*`);
  for (const name of ["StateMachine", "StateMachineStartsItself", "FailedEvents", "LogGroup", "Program"]) {
    assertEquals(name in resources, true, `${name} is missing`);
  }
});

Deno.test("template.yaml becomes a stack with every option, whose rule mails the cause of a failed run", async () => {
  const account = "123456789012";
  const key = `arn:aws:kms:${REGION}:${account}:key/0a1b`;
  const { resources, mail } = await deployAndRun(() => Promise.resolve({}), [], {
    parameters: {
      NotificationEmail: "backups@example.com",
      AlarmTopicArn: `arn:aws:sns:${REGION}:${account}:alarms`,
      ReservedConcurrency: "5",
      ObjectLock: "true",
      PermissionsBoundaryArn: `arn:aws:iam::${account}:policy/boundary`,
      SecretKmsKeyArn: key,
      EnvironmentKmsKeyArn: key,
      LogKmsKeyArn: key,
      BucketKmsKeyArn: key,
      ConfigS3Url: "s3://configs.example.com/couchdb-backup/config.yaml",
      ConfigKmsKeyArn: key,
      Expire: "DELETE",
      Restore: "true",
      RestoreUrl: "http://[2001:db8::7]:5984",
      RestoreLogin: "admin",
      RestorePasswordSecretArn: `arn:aws:secretsmanager:${REGION}:${account}:secret:restore-AbCdEf`,
    },
  });
  const topic = resources.Notifications!.id;
  assertEquals(mail.map(({ Arn }) => Arn), [topic]);
  assertStringIncludes(mail[0]!.InputTransformer.InputTemplate, "<cause>");
  for (
    const name of [
      "EnvironmentKeyMayBeUsed",
      "SecretKeyMayBeUsed",
      "FunctionMayLock",
      "ExpireFunction",
      "ConfigMayBeRead",
      "ConfigKeyMayBeUsed",
      "RestoreMachine",
    ]
  ) {
    assertEquals(name in resources, true, `${name} is missing`);
  }
});

Deno.test("template.yaml's state machine calls again by cursor, goes on after a failure, and ends FAILED", async () => {
  const { answer, rounds } = scriptedFunction({
    "account/ab": [round("complete")],
    large: [round("unfinished", "1"), round("unfinished", "2"), round("complete")],
    broken: [round("failed")],
    tired: ["dies", round("complete")],
    dead: ["dies", "dies", "dies", "dies", "dies", "dies"],
    media: [round("complete")],
  });
  const { executions } = await deployAndRun(answer, [{ name: "weekly-20260103T180000Z", input: RUN }]);
  assertEquals(executions[0], {
    name: "weekly-20260103T180000Z",
    status: "FAILED",
    output: null as unknown as string,
    error: "DatabasesNotSaved",
    cause: "Not saved: broken, dead",
  });
  assertEquals(rounds, [
    "account/ab first",
    ...["large first", "large 1", "large 2"],
    "broken first",
    ...["tired first", "tired first"],
    ...["dead first", "dead first", "dead first"],
    // Alone, then given up.
    ...["dead first, died 1", "dead first, died 1", "dead first, died 1", "dead first, died 2"],
    "media first",
  ]);
});

Deno.test("template.yaml's state machine ends SUCCEEDED with the summary when everything is saved", async () => {
  const { answer } = scriptedFunction({ media: [round("complete")], empty: [round("complete")] });
  const input = { ...RUN, only: "failed" };
  const { executions } = await deployAndRun(answer, [{ name: "weekly-20260103T180000Z-failed-1", input }]);
  assertEquals(executions[0]!.status, "SUCCEEDED", JSON.stringify(executions[0]));
  assertEquals(JSON.parse(executions[0]!.output!).databases, 2);
});

Deno.test("template.yaml's state machine and the handler back up every database but one, then that one alone", async () => {
  await using couch = await startFakeCouchDb();
  for (const name of ["account/ab", "broken", "media"]) await createDatabase(couch, name, idsOf(3));
  await createDatabase(couch, "large", idsOf(20));
  couch.faults.add({ endpoint: "_bulk_get", database: "broken", times: 1000, fault: { kind: "status", status: 404 } });
  const port = freePort();
  const s3Url = `http://127.0.0.1:${port}`;
  const { handler } = await openHandler({
    env: {
      ...ACCOUNT,
      AWS_REGION: REGION,
      AWS_ENDPOINT_URL_S3: s3Url,
      COUCHDB_BACKUP_CONFIG: `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {weekly: {databases: [".*"], exclude: ["_.*"], chunk: 2, parallel: 1, timezone: UTC}}
bucket: "s3://${BUCKET}/folder"
prefix: backup
suffix: couchdb
`,
    },
    write() {},
  });
  const rounds: string[] = [];
  const answer = async (sent: unknown) => {
    const event = parseEvent(sent);
    const stop = new AbortController();
    if (event.kind === "plan" && event.only === "failed") couch.faults.clear();
    if (event.kind === "backupBatch") {
      const [database] = event.databases;
      assertEquals(event.databases.length, 1);
      const chunks = event.cursor === null ? "first" : JSON.parse(event.cursor).chunks;
      rounds.push(`${database} ${chunks}`);
      // An invocation has time for eight documents.
      const fault = { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) } as const;
      if (database === "large") couch.faults.add({ endpoint: "_bulk_get", database: "large", skip: 3, fault });
    }
    const signal = new AbortController().signal;
    const answered = await handler({ event: sent, requestId: "1", stop: stop.signal, signal });
    if (event.kind === "summarise") manifests.push(await countManifests());
    return answered;
  };
  const manifests: number[] = [];
  const store = await openStore({
    bucket: `s3://${BUCKET}/folder`,
    endpoint: s3Url,
    region: REGION,
    accessKeyId: ACCOUNT.AWS_ACCESS_KEY_ID,
    secretAccessKey: new Secret(ACCOUNT.AWS_SECRET_ACCESS_KEY),
  });
  const countManifests = async () => {
    const folders = ["account%2Fab", "broken", "large", "media"].map((name) => `backup/2026/01/03/couchdb/${name}`);
    const found = await Promise.all(folders.map((folder) => store.stat(`${folder}/manifest.json`)));
    return found.filter((manifest) => manifest !== undefined).length;
  };
  const { executions } = await deployAndRun(answer, [
    { name: "weekly-20260103T180000Z", input: RUN },
    { name: "weekly-20260103T180000Z-failed-1", input: { ...RUN, only: "failed" } },
  ], { port });
  const [first, second] = executions;
  assertEquals([first!.status, first!.error], ["FAILED", "DatabasesNotSaved"], JSON.stringify(first));
  assertEquals(first!.cause, "1 of 4 databases are not saved: broken");
  assertEquals(rounds, [
    "account/ab first",
    "broken first",
    ...["large first", "large 4", "large 8"],
    "media first",
    "broken first",
  ]);
  assertEquals(second!.status, "SUCCEEDED", JSON.stringify(second));
  const { ok, databases, failed } = JSON.parse(second!.output!);
  assertEquals([ok, databases, failed], [true, 4, 0]);
  assertEquals(manifests, [3, 4]);
});

Deno.test("template.yaml's machine that restores and the handler bring every database back in rounds, and the same again goes on", async () => {
  await using couch = await startFakeCouchDb();
  const names = ["account/ab", "broken", "large", "media"];
  for (const name of names) await createDatabase(couch, name, idsOf(name === "large" ? 20 : 3));
  const port = freePort();
  const { handler } = await openHandler({
    env: {
      ...ACCOUNT,
      AWS_REGION: REGION,
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
      COUCHDB_BACKUP_CONFIG: `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {weekly: {databases: [".*"], exclude: ["_.*"], chunk: 1, parallel: 1, timezone: UTC}}
bucket: "s3://${BUCKET}/folder"
prefix: backup
suffix: couchdb
`,
    },
    write() {},
  });
  const state = async () => {
    const found = new Map<string, LeafRevisions>();
    for (const name of names) found.set(name, await readAllLeafRevisions(couch, name, { by: "_bulk_get" }));
    return found;
  };
  const before = await state();
  const rounds: string[] = [];
  let deaths = 1;
  const answer = async (sent: unknown) => {
    const event = parseEvent(sent);
    const stop = new AbortController();
    if (event.kind === "restorePlan" && rounds.length === 0) {
      for (const name of names) await couchOk(couch, `DELETE /${encodeURIComponent(name)}`);
      const refusal = { kind: "status", status: 403 } as const;
      couch.faults.add({ endpoint: "_bulk_docs", database: "broken", times: 1e6, fault: refusal });
    } else if (event.kind === "restorePlan") couch.faults.clear();
    if (event.kind === "restoreRound") {
      rounds.push(`${event.stretch.from} ${event.cursor === "" ? "first" : JSON.parse(event.cursor).chunks > 0}`);
      // An invocation has time for some documents.
      const fault = { kind: "run", run: () => stop.abort(new InterruptedError("The time is nearly over")) } as const;
      if (event.stretch.from === "large") {
        couch.faults.add({ endpoint: "_bulk_docs", database: "large", skip: 5, fault });
      }
    }
    const signal = new AbortController().signal;
    const answered = await handler({ event: sent, requestId: "1", stop: stop.signal, signal });
    if (event.kind === "restoreRound" && event.stretch.from === "media" && deaths-- > 0) {
      throw new Error("The process died");
    }
    return answered;
  };
  const request = { action: "restore", path: "latest", parallel: 1 };
  const { executions } = await deployAndRun(answer, [
    { name: "weekly-20260103T180000Z", input: RUN },
    { name: "restore-1", input: request, restores: true },
    { name: "restore-2", input: request, restores: true },
    { name: "restore-3", input: { path: "latest" }, restores: true },
  ], { port, parameters: { Restore: "true" } });
  const [backup, first, second, third] = executions;
  assertEquals(backup!.status, "SUCCEEDED", JSON.stringify(backup));
  assertEquals([first!.status, first!.error], ["FAILED", "DatabasesNotRestored"], JSON.stringify(first));
  assertMatch(first!.cause!, /^1 of 4 databases are not restored: broken; "broken": .*; the same with "path": "20/);
  assertEquals([second!.status, JSON.parse(second!.output!).failed], ["SUCCEEDED", 0], JSON.stringify(second));
  const after = await state();
  assertEquals(names.flatMap((name) => compareLeafRevisions(before.get(name)!, after.get(name)!)), []);
  assertEquals(rounds.slice(0, 3), ["account/ab first", "broken first", "large first"]);
  const ofLarge = rounds.filter((one) => one.startsWith("large"));
  assert(ofLarge.length > 3 && ofLarge.includes("large true"), rounds.join());
  assertEquals(rounds.filter((one) => one === "media first").length, 3, "one died with its answer");
  // What the event lacks is not tried for hours.
  assertEquals([third!.status, third!.error], ["FAILED", "UsageError"], JSON.stringify(third));
});

Deno.test("template.yaml's state machine runs one task at a time, keeps delay between them, and outlives a CouchDB that is away", async () => {
  await using couch = await startFakeCouchDb();
  for (const name of ["w1", "w2", "w3", "o1", "o2"]) await createDatabase(couch, name, idsOf(3));
  const port = freePort();
  const beganMs = performance.now();
  const elapse = Date.parse("2026-01-03T18:00:00Z");
  const { handler } = await openHandler({
    env: {
      ...ACCOUNT,
      AWS_REGION: REGION,
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
      AWS_ENDPOINT_URL_SFN: `http://127.0.0.1:${port}`,
      BACKUP_STATE_MACHINE: `arn:aws:states:${REGION}:123456789012:stateMachine:couchdb-backup`,
      COUCHDB_BACKUP_CONFIG: `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task:
  weekly: {cron: "Sat *-*-* 18:00:00 UTC", databases: ["w[0-9]"], delay: 1, chunk: 2}
  other: {cron: "Sat *-*-* 18:00:00 UTC", databases: ["o[0-9]"], delay: 1, chunk: 2}
bucket: "s3://${BUCKET}/folder"
prefix: backup
suffix: couchdb
`,
    },
    now: () => new Date(elapse + performance.now() - beganMs),
    write() {},
  });
  const backups: { database: string; began: number; ended: number }[] = [];
  let plans = 0;
  const answer = async (sent: unknown) => {
    const event = parseEvent(sent);
    // CouchDB is away for the first two plans.
    if (event.kind === "plan" && ++plans === 1) {
      couch.faults.add({ times: 1e6, fault: { kind: "answer", status: 404, body: { error: "not_found" } } });
    }
    if (plans === 3) couch.faults.clear();
    const began = performance.now();
    const signal = new AbortController().signal;
    const answered = await handler({ event: sent, requestId: "1", stop: signal, signal });
    if (event.kind === "backupBatch") {
      backups.push({ database: event.databases.join(), began, ended: performance.now() });
    }
    return answered;
  };
  const times = Array.from({ length: 24 }, (_, n) => new Date(elapse + n * 900_000).toISOString());
  const { ticks, runs } = await deployAndRun(answer, [], { port, ticks: times });
  assertEquals(
    runs.map(({ name, status }) => `${name} ${status}`).sort(),
    ["other-20260103T180000Z SUCCEEDED", "weekly-20260103T180000Z SUCCEEDED"],
    JSON.stringify({ runs, ticks }),
  );
  const [first, second] = runs.sort((a, b) => a.began - b.began);
  assert(first!.ended <= second!.began, JSON.stringify(runs));
  assertEquals(backups.map(({ database }) => database), ["w1", "w2", "w3", "o1", "o2"]);
  for (const [index, { began }] of backups.entries()) {
    const restMs = index === 0 ? Infinity : began - backups[index - 1]!.ended;
    assert(restMs >= 1000, `only ${restMs} ms before ${backups[index]!.database}`);
  }
  assertEquals(ticks.flatMap(({ started = [] }) => started).map((arn) => arn.split(":").at(-1)), [
    "weekly-20260103T180000Z",
    "other-20260103T180000Z",
  ]);
  assertEquals(ticks[0]!.waiting, ["other"]);
  // As long as the plan fails, each tick says so; as soon as it is under way, none does.
  const complaints = ticks.flatMap(({ errorMessage }) => errorMessage ?? []);
  for (const complaint of complaints) assertStringIncludes(complaint, 'Not everything is saved of "weekly"');
});

/** Where a task stands, as its events have told. */
type Standing = "free" | "planned" | "failed" | "saved";

for (
  const [away, awaySeconds, pace] of [["three minutes", 180, 100], ["three hours", 10_800, 600]] as const
) {
  Deno.test(`template.yaml's state machine saves 1,000 databases of two tasks, one task at a time, when CouchDB is away for ${away}`, async () => {
    const [DELAY, CONCURRENCY] = [5, 4];
    await using couch = await startFakeCouchDb();
    const numbers = Array.from({ length: 1000 }, (_, n) => String(n).padStart(3, "0"));
    const names = numbers.map((number, n) => n < 900 ? `w${number}` : `o${number}`);
    for (const name of names) await createDatabase(couch, name, idsOf(1));
    const s3 = await FakeS3.start({ buckets: [BUCKET], region: REGION });
    const port = freePort();
    const elapse = Date.parse("2026-01-03T18:00:00Z");
    // The clock of all that happens here, which begins with the first tick.
    let beganMs: number | undefined;
    const seconds = () => beganMs === undefined ? 0 : (performance.now() - beganMs) * pace / 1000;
    const lines: { event: string; started?: string[] }[] = [];
    const { handler } = await openHandler({
      env: {
        AWS_ACCESS_KEY_ID: s3.keys.accessKeyId,
        AWS_SECRET_ACCESS_KEY: s3.keys.secretAccessKey,
        AWS_REGION: REGION,
        AWS_ENDPOINT_URL_S3: s3.url,
        AWS_ENDPOINT_URL_SFN: `http://127.0.0.1:${port}`,
        BACKUP_STATE_MACHINE: `arn:aws:states:${REGION}:123456789012:stateMachine:couchdb-backup`,
        COUCHDB_BACKUP_CONFIG: `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task:
  weekly: {cron: "Sat *-*-* 18:00:00 UTC", databases: ["w[0-9]+"], delay: ${DELAY}, concurrency: ${CONCURRENCY}, chunk: 10}
  other: {cron: "Sat *-*-* 18:00:00 UTC", databases: ["o[0-9]+"], delay: ${DELAY}, chunk: 10}
bucket: "s3://${BUCKET}/folder"
prefix: backup
suffix: couchdb
`,
      },
      now: () => new Date(elapse + 1000 * seconds()),
      write: (line) => void lines.push(JSON.parse(line)),
    });
    const standing: Record<string, Standing> = { weekly: "free", other: "free" };
    const backups: { task: string; began: number; ended: number }[] = [];
    const batches = new Set<string>();
    const ticks: { before: Record<string, Standing>; after: Record<string, Standing> }[] = [];
    let isAway = false;
    // A machine that is busy comes later to its last try: longer than two hours means that a run has failed and begun
    // again.
    const isBegunAgain = () => lines.some(({ started = [] }) => started.some((arn) => arn.endsWith("-2")));
    const comeAndGo = () => {
      const shouldBeAway = seconds() < awaySeconds || (awaySeconds > 8100 && !isBegunAgain());
      if (shouldBeAway === isAway) return;
      isAway = shouldBeAway;
      // What is not tried again within a call, whose patience is measured in real seconds.
      if (isAway) {
        couch.faults.add({ times: 1e6, fault: { kind: "answer", status: 404, body: { error: "not_found" } } });
      } else couch.faults.clear();
    };
    const answer = async (sent: unknown) => {
      beganMs ??= performance.now();
      comeAndGo();
      const event = parseEvent(sent);
      const began = seconds();
      const before = { ...standing };
      const signal = new AbortController().signal;
      try {
        const answered = await handler({ event: sent, requestId: "1", stop: signal, signal });
        if (event.kind === "plan") {
          standing[event.task] = "planned";
          // The machine's own S3 is another one.
          const { bucket, key } = answered as PlanResult;
          const body = s3.objects.get(`${bucket}/${key}`)!.bytes as Uint8Array<ArrayBuffer>;
          await (await fetch(`http://127.0.0.1:${port}/${bucket}/${key}`, { method: "PUT", body })).body?.cancel();
        }
        if (event.kind === "backupBatch") {
          backups.push({ task: event.task, began, ended: seconds() });
          batches.add(event.databases.join());
        }
        if (event.kind === "summarise") standing[event.task] = (answered as SummariseResult).ok ? "saved" : "failed";
        return answered;
      } catch (error) {
        if (event.kind === "plan") standing[event.task] = "failed";
        throw error;
      } finally {
        if (event.kind === "tick") ticks.push({ before, after: { ...standing } });
      }
    };
    const times = Array.from({ length: 400 }, (_, n) => new Date(elapse + n * 900_000).toISOString());
    const account = await deployAndRun(answer, [], { port, ticks: times, pace });
    await s3.close();
    const { runs } = account;

    // Saved in the end: each database once, by runs that all but the last of a task have failed at their plan.
    assertEquals(standing, { weekly: "saved", other: "saved" }, JSON.stringify(account.ticks.slice(-3)));
    assertEquals(backups.length, names.length);
    // 900 databases of which four are read at a time, and 100 of which one is.
    assertEquals(batches.size, 40 + 10);
    const manifests = names.filter((name) =>
      s3.objects.has(`${BUCKET}/folder/backup/2026/01/03/couchdb/${name}/manifest.json`)
    );
    assertEquals(manifests.length, names.length);
    const succeeded = runs.filter(({ status }) => status === "SUCCEEDED").map(({ name }) => name.split("-")[0]);
    assertEquals(succeeded.sort(), ["other", "weekly"]);
    assertEquals(runs.length > 2, awaySeconds > 8100, JSON.stringify(runs));

    // Never more at once than is allowed, and the delay kept: whatever was read within the delay counts.
    for (const { task, began } of backups) {
      const busy = backups.filter((one) => one.began <= began && began < one.ended + DELAY);
      assertEquals([...new Set(busy.map((one) => one.task))], [task]);
      assert(busy.length <= (task === "weekly" ? CONCURRENCY : 1), `${busy.length} databases of ${task} at once`);
    }

    // Each tick's answer is true: what it says was so before or behind it.
    // A tick that complains of one task may have started another: then only its line says so.
    const checks = lines.filter(({ event }) => event === "schedules checked");
    const started = checks.flatMap(({ started = [] }) => started.map((arn) => arn.split(":").at(-1)!));
    assertEquals(started.toSorted(), runs.map(({ name }) => name).sort());
    assertEquals(checks.length, account.ticks.length);
    for (const [n, { started, errorMessage }] of account.ticks.entries()) {
      if (errorMessage === undefined) assertEquals(started, checks[n]!.started);
    }
    assertEquals(ticks.length, account.ticks.length);
    let [waited, complained] = [0, 0];
    for (const [n, { before, after }] of ticks.entries()) {
      const { waiting = [], errorMessage = "" } = account.ticks[n]!;
      const { started = [] } = checks[n]!;
      const isOne = (task: string, ...states: Standing[]) =>
        states.includes(before[task]!) || states.includes(after[task]!);
      for (const task of ["weekly", "other"]) {
        const isNamed = errorMessage.includes(`"${task}"`);
        const said = JSON.stringify({ n, task, before, after, answer: account.ticks[n] });
        if (isNamed) assert(isOne(task, "failed"), said);
        if (before[task] === "failed" && after[task] === "failed") assert(isNamed || started.length > 0, said);
        if (waiting.includes(task)) assert(isOne(task, "free", "failed"), said);
        const other = task === "weekly" ? "other" : "weekly";
        if (
          before[task] === "free" && after[task] === "free" && before[other] === "planned" && after[other] === "planned"
        ) {
          assert(waiting.includes(task), said);
        }
        waited += waiting.includes(task) ? 1 : 0;
        complained += isNamed ? 1 : 0;
      }
    }
    const last = account.ticks.at(-1)!;
    assertEquals([last.started, last.waiting, last.errorMessage], [[], undefined, undefined]);
    // After three minutes the machine has planned again before the next tick comes.
    assertEquals([waited > 0, complained > 0], [true, awaySeconds > 900], JSON.stringify({ waited, complained }));
  });
}
