import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import validateStates from "asl-validator";
import { Repository } from "../src/archive/repository.ts";
import { isRemote, parseConfig } from "../src/config/config.ts";
import { type BackupResult, parseEvent, type PlanResult, type SummariseResult } from "../lambda/events.ts";
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
const definition = (): any => structuredClone(resources.StateMachine!.Properties.Definition);

/** What stands between the state machine's paths, for a run with one database. */
const INPUT: Record<string, unknown> = {
  "$.task": "weekly",
  "$.elapse": "2026-01-03T18:00:00Z",
  "$.only": "all",
  "$.generation": 1,
  "$.plan.generation": 1,
  "$.database": "account/ab",
  "$.cursor": "",
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
const ROUND: BackupResult = {
  database: "account/ab",
  done: true,
  cursor: null,
  status: "complete",
  error: null,
  unchanged: false,
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
  const names: string[] = [];
  const walk = (value: unknown, path: string) => {
    if (typeof value === "string") {
      if (/\barn:aws[a-z-]*:/.test(value)) fixed.push(`${path}: ${value}`);
      if (path.includes("Definition.")) { for (const [, name] of value.matchAll(/\$\{([^}]+)\}/g)) names.push(name!); }
    } else if (typeof value === "object" && value !== null) {
      for (const [key, one] of Object.entries(value)) walk(one, `${path}.${key}`);
    }
  };
  walk(resources, "Resources");
  assertEquals(fixed, []);
  const { DefinitionSubstitutions } = resources.StateMachine!.Properties;
  assertEquals([...new Set(names)].sort(), Object.keys(DefinitionSubstitutions).sort());
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
    // CouchDB locks an address out at the fifth refused login within five minutes.
    assert(waits[0]! + waits[1]! + waits[2]! > 300);
  }
});

Deno.test("template.yaml has a state machine that the validator of the States Language accepts", () => {
  assertEquals(validateStates(definition()).errorsText(), "");
  const dangling = definition();
  dangling.States.Plan.Next = "Nowhere";
  assertMatch(validateStates(dangling).errorsText(), /Nowhere/);
});

Deno.test("template.yaml's state machine sends the function events that parseEvent() knows", () => {
  const sent = allStates(definition().States).flatMap(([, { Parameters }]) =>
    Parameters === undefined || !("Payload" in Parameters) ? [] : [Parameters.Payload]
  );
  const events = sent.map((payload) =>
    Object.fromEntries(
      Object.entries(payload).map(([key, value]) => {
        if (!key.endsWith(".$")) return [key, value];
        const path = String(value);
        assert(path in INPUT, `${key}: ${path} is no path of the machine`);
        return [key.slice(0, -2), INPUT[path]];
      }),
    )
  );
  assertEquals(events.map((event) => parseEvent(event).kind), ["plan", "backup", "summarise"]);
});

Deno.test("template.yaml's state machine takes from an answer only fields that are always there", () => {
  const answers: Record<string, object> = { Plan: PLAN, Backup: ROUND, Summarise: SUMMARY };
  const selectors = allStates(definition().States).filter(([, state]) => state.ResultSelector !== undefined);
  assertEquals(selectors.map(([name]) => name), Object.keys(answers));
  for (const [name, state] of selectors) {
    for (const path of Object.values(state.ResultSelector!)) {
      assert(path.replace("$.Payload.", "") in answers[name]!, `${name}: ${path}`);
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

Deno.test("template.yaml bounds every role, and gives each key to whoever has to decrypt with it", () => {
  const roles = Object.entries(resources).filter(([, { Type }]) => Type === "AWS::IAM::Role");
  assertEquals(roles.length, 3);
  for (const [name, { Properties }] of roles) {
    assertEquals(Properties.PermissionsBoundary, given("HasBoundary", "PermissionsBoundaryArn"), name);
  }
  const functions = Object.values(resources).filter(({ Type }) => Type === "AWS::Lambda::Function");
  assertEquals(functions.length, 2);
  for (const { Properties } of functions) {
    assertEquals(Properties.KmsKeyArn, given("EnvironmentHasKey", "EnvironmentKmsKeyArn"));
  }
  assertEquals(resources.LogGroup!.Properties.KmsKeyId, given("LogHasKey", "LogKmsKeyArn"));
  const decrypting = (name: string) => {
    const { Condition, Properties: { Roles, PolicyDocument: { Statement: [statement] } } } = resources[name]!;
    assertEquals([statement.Action, statement.Effect], ["kms:Decrypt", "Allow"]);
    return [Condition, Roles, statement.Resource];
  };
  assertEquals(decrypting("SecretKeyMayBeUsed"), [
    "SecretHasKey",
    [{ Ref: "FunctionRole" }],
    { Ref: "SecretKmsKeyArn" },
  ]);
  const both = { "Fn::If": ["Expires", [{ Ref: "FunctionRole" }, { Ref: "ExpireRole" }], [{ Ref: "FunctionRole" }]] };
  assertEquals(decrypting("EnvironmentKeyMayBeUsed"), ["EnvironmentHasKey", both, { Ref: "EnvironmentKmsKeyArn" }]);
  assertEquals(
    resources.Function!.Properties.ReservedConcurrentExecutions,
    given("HasReservedConcurrency", "ReservedConcurrency"),
  );
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
  const both = { "Fn::If": ["Expires", [{ Ref: "FunctionRole" }, { Ref: "ExpireRole" }], [{ Ref: "FunctionRole" }]] };
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
