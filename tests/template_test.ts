import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import validateStates from "asl-validator";
import { Repository } from "../src/archive/repository.ts";
import { isRemote, parseConfig } from "../src/config/config.ts";
import type {
  BackupBatchResult,
  PlanResult,
  RestorePlanResult,
  RestoreRoundResult,
  RestoreSummaryResult,
  SummariseResult,
} from "../lambda/answers.ts";
import { parseEvent } from "../lambda/events.ts";
import { RunFolder } from "../src/archive/run_folder.ts";
import { DirectoryStore } from "../src/store/directory/store.ts";
import { readTemplate } from "./cloudformation.ts";

const template = await readTemplate();
const { Resources: resources } = template;

/** A state, as far as the tests look into it. */
interface State {
  Type: string;
  Parameters?: { FunctionName: string; Payload: Record<string, string | null> };
  ResultSelector?: Record<string, string>;
  ItemProcessor?: { States: Record<string, State> };
}

/** The states of the machine, those inside the Map included. */
function allStates(states: Record<string, State>): [string, State][] {
  return Object.entries(states).flatMap(([name, state]) => [
    [name, state] as [string, State],
    ...allStates(state.ItemProcessor?.States ?? {}),
  ]);
}

// deno-lint-ignore no-explicit-any -- the tests change copies of it at will
const definition = (machine = "StateMachine"): any => structuredClone(resources[machine]!.Properties.Definition);

/** What stands between the state machine's paths, for a run with one database. */
const INPUT: Record<string, unknown> = {
  "$.task": "weekly",
  "$.elapse": "2026-01-03T18:00:00Z",
  "$.only": "all",
  "$.generation": 1,
  "$.plan.generation": 1,
  "$.databases": ["account/ab"],
  "$.at.cursor": "",
  "$.at.broken": 0,
  "$.at.why": "",
  "$$.Execution.Id": "arn:aws:states:eu-central-1:123456789012:execution:couchdb-backup:weekly-20260103T180000Z",
  "$.map": { MapRunArn: "arn", ResultWriterDetails: {} },
};
const PLAN: PlanResult = {
  task: "weekly",
  elapse: "2026-01-03T18:00:00Z",
  bucket: "b",
  key: "k",
  databases: 1,
  generation: 1,
  concurrency: 1,
  delay: 0,
};
const ROUND: BackupBatchResult = { done: true, cursor: null, status: "complete", error: null, rest: false };
const RESTORE_PLAN: RestorePlanResult = {
  moment: "2026-01-03T18:20:00.000Z",
  started: "2026-01-04T10:00:00.000Z",
  databases: 1,
  stretches: [{ from: "account/ab", to: "account/ab" }],
  concurrency: 4,
};
const RESTORE_ROUND: RestoreRoundResult = { status: "finished", cursor: null, failed: 0, error: null };
const RESTORE_SUMMARY: RestoreSummaryResult = {
  ok: true,
  databases: 1,
  failed: 0,
  left_out: 0,
  moment: RESTORE_PLAN.moment,
  message: "",
};
/** The same of the machine that restores. */
const RESTORE_INPUT: Record<string, unknown> = {
  "$$.Execution.Input": { action: "restore", path: "latest" },
  "$.request": { action: "restore", path: "latest" },
  "$.moment": RESTORE_PLAN.moment,
  "$.stretch": RESTORE_PLAN.stretches[0],
  "$.cursor": "",
  "$.plan.moment": RESTORE_PLAN.moment,
  "$.plan.started": RESTORE_PLAN.started,
  "$.map": [{ failed: 0, error: null }],
};
const SUMMARY: SummariseResult = { ok: true, databases: 1, failed: 0, message: "", report: "s3://b/k" };

Deno.test("template.yaml has no null, which CloudFormation refuses anywhere in a template", () => {
  const nulls: string[] = [];
  let visited = 0;
  const walk = (value: unknown, path: string) => {
    visited++;
    if (value === null || value === undefined) nulls.push(path);
    else if (typeof value === "object") { for (const [key, one] of Object.entries(value)) walk(one, `${path}.${key}`); }
  };
  walk(template, "template");
  assertEquals(nulls, []);
  assert(visited > 500, `only ${visited} values were looked at`);
});

Deno.test("template.yaml names no partition of AWS, and what its definitions have between braces is given to them", () => {
  const fixed: string[] = [];
  const names: [string[], string[]] = [[], []];
  const walk = (value: unknown, path: string) => {
    if (typeof value === "string") {
      if (/\barn:aws[a-z-]*:/.test(value)) fixed.push(`${path}: ${value}`);
      const ofMachine = names[path.startsWith("Resources.RestoreMachine.") ? 1 : 0];
      if (path.includes("Definition.")) {
        for (const [, name] of value.matchAll(/\$\{([^}]+)\}/g)) ofMachine.push(name!);
      }
    } else if (typeof value === "object" && value !== null) {
      for (const [key, one] of Object.entries(value)) walk(one, `${path}.${key}`);
    }
  };
  walk(resources, "Resources");
  assertEquals(fixed, []);
  const substitutions = [resources.StateMachine, resources.RestoreMachine].map((machine) =>
    machine!.Properties.DefinitionSubstitutions
  );
  for (const [index, given] of substitutions.entries()) {
    assertEquals([...new Set(names[index])].sort(), Object.keys(given).sort());
  }
  const [DefinitionSubstitutions, ofRestore] = substitutions;
  assertEquals(ofRestore.InvokeFunction, DefinitionSubstitutions.InvokeFunction);
  const integrations = { InvokeFunction: "lambda:invoke", GetObject: "s3:getObject", PutObject: "s3:putObject" };
  for (const [name, integration] of Object.entries(integrations)) {
    assertEquals(DefinitionSubstitutions[name], { "Fn::Sub": `arn:\${AWS::Partition}:states:::${integration}` });
  }
});

Deno.test("template.yaml's state machine tries to plan and to summarise for hours, but not what stays wrong", () => {
  const { Plan, Summarise } = definition().States;
  for (const state of [Plan, Summarise]) {
    const [, final, patient] = state.Retry;
    assertEquals([final.ErrorEquals, final.MaxAttempts], [["UsageError", "ConfigError"], 0]);
    const { IntervalSeconds, BackoffRate, MaxAttempts, MaxDelaySeconds } = patient;
    const waits = Array.from(
      { length: MaxAttempts },
      (_, n) => Math.min(IntervalSeconds * BackoffRate ** n, MaxDelaySeconds),
    );
    const seconds = waits.reduce((sum, one) => sum + one);
    assertEquals([MaxAttempts, MaxDelaySeconds, seconds], [12, 900, 8100]);
    // CouchDB locks a login out at the fifth refused login within five minutes.
    assert(waits[0]! + waits[1]! + waits[2]! > 300);
  }
});

Deno.test("template.yaml has state machines that the validator of the States Language accepts", () => {
  assertEquals(validateStates(definition()).errorsText(), "");
  assertEquals(validateStates(definition("RestoreMachine")).errorsText(), "");
  const dangling = definition();
  dangling.States.Plan.Next = "Nowhere";
  assertMatch(validateStates(dangling).errorsText(), /Nowhere/);
});

/** The events of a machine, with `input` in place of its paths. */
function eventsOf(machine: string, input: Record<string, unknown>): Record<string, unknown>[] {
  const sent = allStates(definition(machine).States).flatMap(([, { Parameters }]) =>
    Parameters === undefined || !("Payload" in Parameters) ? [] : [Parameters.Payload]
  );
  return sent.map((payload) =>
    Object.fromEntries(
      Object.entries(payload).map(([key, value]) => {
        if (!key.endsWith(".$")) return [key, value];
        const path = String(value);
        assert(path in input, `${key}: ${path} is no path of the machine`);
        return [key.slice(0, -2), input[path]];
      }),
    )
  );
}

Deno.test("template.yaml's state machines send the functions events that parseEvent() knows", () => {
  const kinds = (machine: string, input: Record<string, unknown>) =>
    eventsOf(machine, input).map((event) => parseEvent(event).kind);
  assertEquals(kinds("StateMachine", INPUT), ["plan", "backupBatch", "summarise"]);
  const expected = ["restorePlan", "restoreRound", "restoreSummary"];
  assertEquals(kinds("RestoreMachine", RESTORE_INPUT), expected);
  const brokenOff = { ...RESTORE_INPUT, "$.map": { Error: "RestoreRefused", Cause: "CouchDB answered 401" } };
  assertEquals(kinds("RestoreMachine", brokenOff), expected);
});

Deno.test("template.yaml's state machine fills in what somebody leaves out who starts it by hand", () => {
  const { StartAt, States } = definition();
  const begin = (input: Record<string, unknown>) => {
    const state = { ...input };
    for (let name = StartAt; name !== "Plan";) {
      const { Type, Choices, Default, Next, InputPath, Result, ResultPath } = States[name];
      const field = (path: string) => path.replace("$.", "");
      if (Type === "Pass") state[field(ResultPath)] = Result ?? InputPath;
      const isPresent = (one: { Variable: string }) => field(one.Variable) in state;
      name = Type === "Choice" ? Choices.find(isPresent)?.Next ?? Default : Next;
    }
    return state;
  };
  const now = "$$.Execution.StartTime";
  assertEquals(begin({ task: "weekly" }), { task: "weekly", only: "all", generation: 0, elapse: now });
  const whole = { task: "weekly", only: "failed", generation: 2, elapse: "2026-01-03T18:00:00Z" };
  assertEquals(begin(whole), whole);
  // Its milliseconds are no part of a run's name.
  const event = { action: "plan", task: "weekly", only: "all", generation: 0, elapse: "2026-01-03T18:00:00.123Z" };
  assertEquals(parseEvent(event).kind, "plan");
});

Deno.test("template.yaml's state machine goes through batches: to the end, on by cursor, by a rest, and past what a call dies of", () => {
  const { Databases } = definition().States;
  const { States } = Databases.ItemProcessor;
  assertEquals(Databases.ItemSelector["databases.$"], "$$.Map.Item.Value.databases");
  assertEquals(definition().States.Plan.Parameters.Payload.batches, true);
  /** Where the answer of a call leads, by way of the states that only choose or wait. */
  const follow = (round: Record<string, unknown>, at: Record<string, unknown>, from: string): string[] => {
    const way: string[] = [];
    for (let name = from;;) {
      const { Type, Choices, Default, Next } = States[name];
      way.push(name);
      if (Type !== "Choice" && Type !== "Wait" && Type !== "Pass") return way;
      const holds = (one: Record<string, unknown>) => {
        const [, object, key] = /^\$\.(\w+)\.(\w+)$/.exec(one.Variable as string)!;
        const value = (object === "round" ? round : at)[key!];
        return value === one.BooleanEquals || value === one.StringEquals ||
          (typeof one.NumericGreaterThan === "number" && Number(value) > one.NumericGreaterThan);
      };
      name = Type === "Choice" ? Choices.find(holds)?.Next ?? Default : Next;
      if (name === "Backup") return way;
    }
  };
  const on = (round: Partial<BackupBatchResult>) => follow({ ...ROUND, ...round }, {}, States.Backup.Next);
  assertEquals(on({}), ["Another round", "Saved"]);
  assertEquals(on({ status: "failed", error: "x" }), ["Another round", "Not saved"]);
  assertEquals(on({ done: false, status: "unfinished", cursor: "c" }), ["Another round", "Take cursor"]);
  const rest = ["Another round", "Delay", "After the delay"];
  assertEquals(on({ rest: true }), [...rest, "Saved"]);
  assertEquals(on({ rest: true, status: "failed" }), [...rest, "Not saved"]);
  assertEquals(on({ rest: true, done: false, status: "unfinished" }), [...rest, "Take cursor"]);
  const [{ Next: broken }] = States.Backup.Catch;
  // Alone, then given up; where even that does not come through, the batch ends.
  for (const times of [1, 2]) assertEquals(follow({}, { broken: times }, broken), ["Round broken", "Broken again"]);
  assertEquals(follow({}, { broken: 3 }, broken), ["Round broken", "Broken again", "Given up"]);
  assertEquals(States["Broken again"].Default, "Backup");
  assertEquals(States["Round broken"].Parameters["broken.$"], "States.MathAdd($.at.broken, 1)");
});

Deno.test("template.yaml's state machines take from an answer only fields that are always there", () => {
  const answers: Record<string, Record<string, object>> = {
    StateMachine: { Plan: PLAN, Backup: ROUND, Summarise: SUMMARY },
    RestoreMachine: { Plan: RESTORE_PLAN, Restore: RESTORE_ROUND, Summarise: RESTORE_SUMMARY },
  };
  for (const [machine, ofMachine] of Object.entries(answers)) {
    const selectors = allStates(definition(machine).States).filter(([, state]) => state.ResultSelector !== undefined);
    assertEquals(selectors.map(([name]) => name), Object.keys(ofMachine));
    for (const [name, state] of selectors) {
      for (const path of Object.values(state.ResultSelector!)) {
        assert(path.replace("$.Payload.", "") in ofMachine[name]!, `${name}: ${path}`);
      }
    }
  }
});

Deno.test("template.yaml holds a config that the program accepts, within Lambda's 4 KB", () => {
  const given: Record<string, string> = {
    CouchUrl: "http://[2001:db8::6]:5984",
    CouchLogin: "backup",
    PasswordSecretArn: "arn:aws:secretsmanager:eu-central-1:123456789012:secret:couchdb-AbCdEf",
    BucketName: "data.example.com",
    BucketFolder: "folder",
  };
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries<string | Record<string, unknown>>(functionVariables())) {
    if (typeof value === "string") env[name] = value;
    else if ("Ref" in value) env[name] = given[value.Ref as string]!;
    else env[name] = (value["Fn::If"] as unknown[])[1] as string;
  }
  env.COUCHDB_BACKUP_CONFIG = template.Mappings.Config.Template.Text;
  const stateMachine = "arn:aws:states:eu-central-1:123456789012:stateMachine:couchdb-backup";
  env.BACKUP_STATE_MACHINE = stateMachine;
  const config = parseConfig(env.COUCHDB_BACKUP_CONFIG!, { file: "$COUCHDB_BACKUP_CONFIG", env });
  assertEquals(config.database.url, given.CouchUrl);
  assertEquals(config.database.passwordSecret, given.PasswordSecretArn);
  assertEquals(config.bucket.bucket, "s3://data.example.com/folder");
  assertEquals(config.tasks.map((task) => task.name), ["weekly", "monthly"]);
  assertEquals(config.warnings, []);
  const sizeBytes = new TextEncoder().encode(Object.entries(env).flat().join("")).length;
  assert(sizeBytes < 4096 - 1024, `${sizeBytes} bytes leave too little for a longer config`);
});

Deno.test("template.yaml gives no right to delete but to what expires, and none on everything but what has no resource", () => {
  const policies = Object.values(resources).flatMap(({ Type, Properties }) => {
    if (Type === "AWS::IAM::Policy") return [Properties];
    // {"Fn::If": [condition, policies, no value]}
    return Type === "AWS::IAM::Role" ? Properties.Policies?.["Fn::If"][1] ?? [] : [];
  });
  const statements = policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
  assert(statements.length >= 10);
  const deleting = policies.filter(({ PolicyDocument }) =>
    PolicyDocument.Statement.some(({ Action }: { Action: string | string[] }) =>
      [Action].flat().includes("s3:DeleteObject")
    )
  );
  assertEquals(deleting.map(({ Roles }) => Roles), [[{ Ref: "ExpireRole" }]]);
  assertEquals(resources.ExpiryMayDelete!.Condition, "ExpiryDeletes");
  for (const { Sid, Effect, Action, Resource } of statements) {
    assertEquals(Effect, "Allow");
    for (const action of [Action].flat()) {
      assertMatch(action, /^[a-z0-9]+:[A-Za-z]+$/);
      assert(!/Delete/.test(action) || action === "ec2:DeleteNetworkInterface" || Sid === "DeleteExpired", action);
    }
    assert(Resource !== "*" || Sid === "LiveInVpc", Sid);
  }
});

Deno.test("template.yaml lets only what restores read the identity that opens sealed backups", () => {
  const policies = Object.values(resources).filter(({ Type }) => Type === "AWS::IAM::Policy")
    .map(({ Condition, Properties }) => ({ Condition, ...Properties }));
  const reading = policies.filter(({ PolicyDocument }) =>
    JSON.stringify(PolicyDocument.Statement).includes('{"Ref":"IdentitySecretArn"}')
  );
  assertEquals(reading.map(({ Condition, Roles }) => [Condition, Roles]), [
    ["RestoreHasIdentity", [{ Ref: "RestoreRole" }]],
  ]);
});

Deno.test("template.yaml lets the state machine read every plan that the handler stores", async () => {
  const statements = resources.StateMachineRights!.Properties.PolicyDocument.Statement;
  const { Resource } = statements.find(({ Sid }: { Sid: string }) => Sid === "ReadPlan");
  const pattern = Resource["Fn::Sub"].replace(/^.*\$\{BucketFolder\}\//, "").replace(".", "\\.").replaceAll("*", ".*");
  const root = await Deno.makeTempDir();
  const repository = new Repository(new DirectoryStore(root), { prefix: "backup", suffix: "couchdb" });
  const folder = new RunFolder(repository, { task: "weekly", elapse: new Date("2026-01-03T18:00:00Z") });
  const plans = [{ scope: "all", generation: 1 }, { scope: "all", generation: 12 }, { scope: "failed", generation: 2 }];
  for (const plan of plans as Parameters<RunFolder["storePlan"]>[0][]) {
    assertMatch(await folder.storePlan(plan, [], {}), new RegExp(`^${pattern}$`));
  }
  await Deno.remove(root, { recursive: true });
});

Deno.test("template.yaml lets each rule, and no other, call its function", () => {
  const permissions = Object.values(resources).filter(({ Type }) => Type === "AWS::Lambda::Permission");
  const permission = (functionName: string, rule: string) => ({
    FunctionName: { Ref: functionName },
    Action: "lambda:InvokeFunction",
    Principal: "events.amazonaws.com",
    SourceArn: { "Fn::GetAtt": [rule, "Arn"] },
    SourceAccount: { Ref: "AWS::AccountId" },
  });
  assertEquals(permissions.map(({ Properties }) => Properties), [
    permission("ExpireFunction", "ExpiryDaily"),
    permission("Function", "Ticks"),
  ]);
  assertEquals(resources.Ticks!.Properties.Targets[0].Arn, { "Fn::GetAtt": ["Function", "Arn"] });
  assertEquals(resources.ExpiryDaily!.Properties.Targets[0].Arn, { "Fn::GetAtt": ["ExpireFunction", "Arn"] });
});

const noValue = { Ref: "AWS::NoValue" };
const given = (condition: string, parameter: string) => ({ "Fn::If": [condition, { Ref: parameter }, noValue] });

Deno.test("template.yaml tells of every alarm by topic and by e-mail, and of each what it means", () => {
  const alarms = Object.entries(resources).filter(([, { Type }]) => Type === "AWS::CloudWatch::Alarm");
  assertEquals(alarms.map(([name]) => name), [
    "FunctionFails",
    "FunctionIsThrottled",
    "ExpiryFails",
    "EventsAreLost",
    "RunsFail",
    "BackupIsOverdue",
  ]);
  const actions = [given("HasAlarmTopic", "AlarmTopicArn"), given("HasEmail", "Notifications")];
  for (const [name, { Properties }] of alarms) {
    assertEquals(Properties.AlarmActions, actions, name);
    assert(JSON.stringify(Properties.AlarmDescription).length > 60, name);
  }
  // One failed invocation is tried again; three quarters of an hour are not.
  const { EvaluationPeriods, DatapointsToAlarm } = resources.FunctionFails!.Properties;
  assertEquals([DatapointsToAlarm, EvaluationPeriods], [3, 4]);
  // What expired and had no time goes the next day.
  const expiry = resources.ExpiryFails!.Properties;
  assertEquals([expiry.Dimensions, expiry.Period, expiry.DatapointsToAlarm, expiry.EvaluationPeriods], [
    [{ Name: "FunctionName", Value: { Ref: "ExpireFunction" } }],
    86_400,
    2,
    3,
  ]);
  // A message lies in the queue for two weeks, and would ring for as long.
  assert(alarms.every(([, { Properties }]) => Properties.Namespace !== "AWS/SQS"));
  const metrics = resources.RunsFail!.Properties.Metrics as { MetricStat?: { Metric: { MetricName: string } } }[];
  assertEquals(metrics.flatMap(({ MetricStat }) => MetricStat?.Metric.MetricName ?? []), [
    "ExecutionsFailed",
    "ExecutionsTimedOut",
    "ExecutionsAborted",
  ]);
});

Deno.test("template.yaml mails the cause of a run that fails, times out or is stopped, where an address is given", () => {
  const { Condition, Properties: { EventPattern, Targets: [target] } } = resources.RunEnds!;
  assertEquals(Condition, "MailsCauses");
  assertEquals(template.Conditions.MailsCauses, {
    "Fn::And": [{ Condition: "HasEmail" }, { Condition: "HasStateMachine" }],
  });
  assertEquals(EventPattern.detail, {
    stateMachineArn: [{ Ref: "StateMachine" }],
    status: ["FAILED", "TIMED_OUT", "ABORTED"],
  });
  assertEquals(target.Arn, { Ref: "Notifications" });
  const { InputPathsMap, InputTemplate } = target.InputTransformer;
  const used = [...InputTemplate.matchAll(/<(\w+)>/g)].map(([, name]) => name);
  assertEquals(used.sort(), Object.keys(InputPathsMap).sort());
  assertEquals(InputPathsMap.cause, "$.detail.cause");
  assertMatch(InputTemplate, /^"[^"\n]+"$/);
  const [fromAlarms, fromRules] = resources.NotificationsFromAlarms!.Properties.PolicyDocument.Statement;
  assertEquals(fromAlarms.Principal, { Service: "cloudwatch.amazonaws.com" });
  assertEquals(fromRules.Principal, { Service: "events.amazonaws.com" });
  const sources = resources.FailedEventsFromSchedule!.Properties.PolicyDocument.Statement[0].Condition.ArnEquals;
  assertStringIncludes(JSON.stringify(sources), '["RunEnds","Arn"]');
  assertEquals(template.Parameters.NotificationEmail!.Default, "");
});

/** The statements of a policy. */
function statementsOf(name: string): { Sid: string; Resource: unknown }[] {
  return resources[name]!.Properties.PolicyDocument.Statement;
}

/** These roles, and what restores where it is there. */
function rolesOf(names: readonly string[]): unknown {
  const roles = names.map((Ref) => ({ Ref }));
  return { "Fn::If": ["Restores", [...roles, { Ref: "RestoreRole" }], roles] };
}

Deno.test("template.yaml bounds every role, and gives each key to whoever has to decrypt with it", () => {
  const roles = Object.entries(resources).filter(([, { Type }]) => Type === "AWS::IAM::Role");
  assertEquals(roles.length, 5);
  for (const [name, { Properties }] of roles) {
    assertEquals(Properties.PermissionsBoundary, given("HasBoundary", "PermissionsBoundaryArn"), name);
  }
  const functions = Object.values(resources).filter(({ Type }) => Type === "AWS::Lambda::Function");
  assertEquals(functions.length, 3);
  for (const { Properties } of functions) {
    assertEquals(Properties.KmsKeyArn, given("EnvironmentHasKey", "EnvironmentKmsKeyArn"));
  }
  assertEquals(resources.LogGroup!.Properties.KmsKeyId, given("LogHasKey", "LogKmsKeyArn"));
  const decrypting = (name: string) => {
    const { Condition, Properties: { Roles, PolicyDocument: { Statement: [statement] } } } = resources[name]!;
    assertEquals([statement.Action, statement.Effect], ["kms:Decrypt", "Allow"]);
    return [Condition, Roles, statement.Resource];
  };
  const own = rolesOf(["FunctionRole"]);
  assertEquals(decrypting("SecretKeyMayBeUsed"), ["SecretHasKey", own, { Ref: "SecretKmsKeyArn" }]);
  assertEquals(decrypting("EnvironmentKeyMayBeUsed"), [
    "EnvironmentHasKey",
    { "Fn::If": ["Expires", rolesOf(["FunctionRole", "ExpireRole"]), own] },
    { Ref: "EnvironmentKmsKeyArn" },
  ]);
  assertEquals(
    resources.Function!.Properties.ReservedConcurrentExecutions,
    given("HasReservedConcurrency", "ReservedConcurrency"),
  );
  // Lambda refuses to reserve any in an account that has no more than ten.
  for (const { Properties: { ReservedConcurrentExecutions: reserved } } of functions) {
    assertEquals(reserved["Fn::If"][0], "HasReservedConcurrency");
  }
});

Deno.test("template.yaml lets the function lock what it stores where the config has object_lock, and else not", () => {
  const locking = Object.entries(resources).filter(([, one]) => JSON.stringify(one).includes("s3:PutObjectRetention"));
  assertEquals(locking.map(([name, { Condition, Properties }]) => [name, Condition, Properties.Roles]), [
    ["FunctionMayLock", "Locks", [{ Ref: "FunctionRole" }]],
  ]);
  const stored = statementsOf("FunctionRights").find(({ Sid }) => Sid === "WriteBackups")!;
  assertEquals(statementsOf("FunctionMayLock")[0]!.Resource, stored.Resource);
  const { ObjectLockEnabled, VersioningConfiguration } = resources.Bucket!.Properties;
  assertEquals(ObjectLockEnabled, { "Fn::If": ["Locks", true, { Ref: "AWS::NoValue" }] });
  assertEquals(VersioningConfiguration.Status, "Enabled", "which Object Lock needs");
});

Deno.test("template.yaml keeps the bucket that it has created as it is, its policy too, when the stack is deleted", () => {
  const ofBucket = Object.entries(resources).filter(([, { Type }]) => Type.startsWith("AWS::S3::"));
  assertEquals(ofBucket.map(([name]) => name), ["Bucket", "BucketNeedsTls"]);
  for (const [name, { DeletionPolicy, UpdateReplacePolicy }] of ofBucket) {
    assertEquals([DeletionPolicy, UpdateReplacePolicy], ["Retain", "Retain"], name);
  }
});

Deno.test("template.yaml has every parameter in a group and with a label, and docs/lambda.md explains each", async () => {
  const names = Object.keys(template.Parameters).sort();
  const { ParameterGroups, ParameterLabels } = template.Metadata["AWS::CloudFormation::Interface"];
  assertEquals(ParameterGroups.flatMap(({ Parameters }) => Parameters).sort(), names);
  assertEquals(Object.keys(ParameterLabels).sort(), names);
  const page = await Deno.readTextFile(new URL("../docs/lambda.md", import.meta.url));
  const rows = page.slice(page.indexOf("## Parameters"), page.indexOf("## What it is told")).split("\n");
  const explained = rows.filter((row) => row.startsWith("| `")).flatMap((row) =>
    [...row.split("|")[1]!.matchAll(/`(\w+)`/g)].map(([, name]) => name!)
  );
  assertEquals(explained.sort(), names);
  const alarms = Object.entries(resources).flatMap(([name, { Type }]) =>
    Type === "AWS::CloudWatch::Alarm" ? [name] : []
  );
  for (const name of alarms) assertMatch(page, new RegExp(`^\\| \`${name}\` +\\|`, "m"));
});

Deno.test("template.yaml's function that expires has the same config, is called with events that parseEvent() knows, and is off", () => {
  const { COUCHDB_BACKUP_CONFIG } = functionVariables();
  const { Variables } = resources.ExpireFunction!.Properties.Environment;
  assertEquals(Variables.COUCHDB_BACKUP_CONFIG, COUCHDB_BACKUP_CONFIG);
  const [, ...inputs] = resources.ExpiryDaily!.Properties.Targets[0].Input["Fn::If"];
  assertEquals(inputs.map((text: string) => parseEvent(JSON.parse(text))), [
    { kind: "expire", action: "expire", confirm: true },
    { kind: "expire", action: "expire", confirm: false },
  ]);
  assertEquals(template.Parameters.Expire!.Default, "OFF");
  for (const [name, { Condition }] of Object.entries(resources)) {
    if (/^Expir/.test(name)) assertMatch(Condition ?? "none", /^Expir/);
  }
});

Deno.test("template.yaml takes the config from S3, else from a parameter, else from itself, and lets its functions read just that", () => {
  assertEquals(functionVariables().COUCHDB_BACKUP_CONFIG, {
    "Fn::If": ["ConfigIsInS3", { Ref: "ConfigS3Url" }, {
      "Fn::If": ["ConfigIsParameter", { Ref: "ConfigParameterArn" }, {
        "Fn::If": ["ConfigIsHere", { "Fn::FindInMap": ["Config", "Template", "Text"] }, noValue],
      }],
    }],
  });
  const all = rolesOf(["FunctionRole", "ExpireRole"]);
  const both = { "Fn::If": ["Expires", all, rolesOf(["FunctionRole"])] };
  const bucketAndKey = { BucketAndKey: { "Fn::Select": [1, { "Fn::Split": ["s3://", { Ref: "ConfigS3Url" }] }] } };
  const rights: [name: string, condition: string, action: string, resource: unknown][] = [
    ["ConfigMayBeRead", "ConfigIsInS3", "s3:GetObject", {
      "Fn::Sub": ["arn:${AWS::Partition}:s3:::${BucketAndKey}", bucketAndKey],
    }],
    ["ConfigParameterMayBeRead", "ConfigIsParameter", "ssm:GetParameter", { Ref: "ConfigParameterArn" }],
    ["ConfigKeyMayBeUsed", "ConfigHasKey", "kms:Decrypt", { Ref: "ConfigKmsKeyArn" }],
  ];
  for (const [name, condition, action, resource] of rights) {
    const { Condition, Properties: { Roles, PolicyDocument: { Statement } } } = resources[name]!;
    assertEquals([Condition, Roles, Statement.length], [condition, both, 1]);
    const [{ Effect, Action, Resource }] = Statement;
    assertEquals([Effect, Action, Resource], ["Allow", action, resource]);
  }
  const places: [parameter: string, name: string, isRemote: boolean][] = [
    ["ConfigS3Url", "s3://data.example.com/couchdb-backup/config.yaml", true],
    ["ConfigS3Url", "s3://data.example.com/", false],
    ["ConfigParameterArn", "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/couchdb-backup/config", true],
    ["ConfigParameterArn", "/couchdb-backup/config", false],
  ];
  for (const [parameter, name, fits] of places) {
    const { AllowedPattern, Default } = template.Parameters[parameter]!;
    assertEquals([new RegExp(AllowedPattern!).test(name), Default], [fits, ""], name);
    if (fits) assert(isRemote(name));
  }
});

Deno.test("template.yaml gives the function the variables that an empty disk needs", () => {
  const { HOME, DENO_DIR, NO_COLOR } = functionVariables() as Record<string, string>;
  assertEquals({ HOME, DENO_DIR, NO_COLOR }, { HOME: "/tmp", DENO_DIR: "/tmp/.deno", NO_COLOR: "1" });
});

function functionVariables(): Record<string, string | Record<string, unknown>> {
  return resources.Function!.Properties.Environment.Variables;
}

Deno.test("template.yaml's function that restores reads the backups and writes none, has the same config, and is off", () => {
  const { COUCHDB_BACKUP_CONFIG } = functionVariables();
  const { Variables } = resources.RestoreFunction!.Properties.Environment;
  assertEquals(Variables.COUCHDB_BACKUP_CONFIG, COUCHDB_BACKUP_CONFIG);
  const elsewhere = (condition: string, there: string, here: string) => ({
    "Fn::If": [condition, { Ref: there }, { Ref: here }],
  });
  assertEquals(Variables.COUCHDB_URL, elsewhere("RestoresElsewhere", "RestoreUrl", "CouchUrl"));
  const secret = elsewhere("RestoreHasSecret", "RestorePasswordSecretArn", "PasswordSecretArn");
  assertEquals(Variables.COUCHDB_PASSWORD_SECRET, secret);
  const ofRole = (role: string) =>
    Object.values(resources).flatMap(({ Type, Properties }) =>
      Type === "AWS::IAM::Policy" && JSON.stringify(Properties.Roles).includes(`"${role}"`)
        ? Properties.PolicyDocument.Statement.flatMap(({ Action }: { Action: string | string[] }) => Action)
        : []
    );
  assertEquals(ofRole("RestoreRole").sort(), [
    // Of the bucket's key, the environment's, the secret's and the config's.
    ...Array(4).fill("kms:Decrypt"),
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    // Of the backups, and of the config.
    ...Array(2).fill("s3:GetObject"),
    "s3:ListBucket",
    // Of the password, and of the identity that opens sealed backups.
    ...Array(2).fill("secretsmanager:GetSecretValue"),
    "ssm:GetParameter",
  ]);
  assertEquals(ofRole("RestoreMachineRole"), ["lambda:InvokeFunction"]);
  assertEquals(resources.RestoreMachineRights!.Properties.PolicyDocument.Statement[0].Resource, {
    "Fn::GetAtt": ["RestoreFunction", "Arn"],
  });
  assertEquals(template.Parameters.Restore!.Default, "false");
  for (const [name, { Condition }] of Object.entries(resources)) {
    if (/^Restore/.test(name)) assertMatch(Condition ?? "none", /^Restore/);
  }
});

Deno.test("docs/lambda.md deploys by way of a bucket, for CloudFormation takes 51,200 bytes from a command", async () => {
  const { size } = await Deno.stat(new URL("../template.yaml", import.meta.url));
  assert(size > 51_200, "it could do without");
  const page = await Deno.readTextFile(new URL("../docs/lambda.md", import.meta.url));
  const deploys = [...page.replaceAll("\\\n", "").matchAll(/^ *aws cloudformation deploy (.*)$/gm)];
  assert(deploys.length > 0);
  for (const [, options = ""] of deploys) assertStringIncludes(options, "--s3-bucket ");
});
