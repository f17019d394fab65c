import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { AwsError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import {
  executionArn,
  executionName,
  executionStatus,
  runningExecutions,
  startExecution,
} from "../../src/aws/step_functions.ts";

const MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:couchdb-backup";

Deno.test("executionName() joins task and elapse", () => {
  assertEquals(executionName("weekly", "20260103T180000Z"), "weekly-20260103T180000Z");
  assertEquals(executionName("weekly", "20260103T180000Z", "failed", "1a"), "weekly-20260103T180000Z-failed-1a");
});

Deno.test("executionName() gives each task a name that Step Functions takes", () => {
  const tasks = ["a b", "a/b", "a?b", "wöchentlich", "x".repeat(200), `${"x".repeat(200)}y`, ""];
  const names = tasks.map((task) => executionName(task, "20260103T180000Z"));
  for (const name of names) assertMatch(name, /^[A-Za-z0-9_-]{1,80}$/);
  assertEquals(new Set(names).size, tasks.length);
  assertMatch(names[0]!, /^a_b-[0-9a-f]{8}-20260103T180000Z$/);
  assertEquals(names[4]!.length, 80);
  assertNotEquals(executionName("a b", "1"), executionName("a b", "2"));
});

Deno.test("startExecution() starts an execution once, and says of one that exists that it has not started it", async () => {
  const asked: unknown[] = [];
  await using server = Deno.serve({ hostname: "::1", port: 0, onListen() {} }, async (request) => {
    const { input, ...rest } = await request.json();
    const { name } = rest;
    const scope = /Credential=AKIA\/\d+\/([^,]*)/.exec(request.headers.get("authorization") ?? "")?.[1];
    asked.push([request.headers.get("x-amz-target"), scope, rest, JSON.parse(input)]);
    if (name === "denied") return Response.json({ __type: "AccessDeniedException" }, { status: 400 });
    return asked.length === 1
      ? Response.json({ executionArn: "…" })
      : Response.json({ __type: "ExecutionAlreadyExists", message: "…" }, { status: 400 });
  });
  const options = {
    accessKeyId: "AKIA",
    secretAccessKey: new Secret("s"),
    endpoints: { states: `http://[::1]:${server.addr.port}` },
  };
  const execution = { name: "weekly-1", input: { task: "weekly" } };
  const arn = "arn:aws:states:eu-central-1:123456789012:execution:couchdb-backup:weekly-1";
  for (const isNew of [true, false]) {
    assertEquals(await startExecution(MACHINE, execution, options), { arn, isNew });
  }
  assertEquals(asked[0], [
    "AWSStepFunctions.StartExecution",
    "eu-central-1/states/aws4_request",
    { stateMachineArn: MACHINE, name: "weekly-1" },
    { task: "weekly" },
  ]);
  const error = await assertRejects(
    () => startExecution(MACHINE, { ...execution, name: "denied" }, options),
    AwsError,
    'Cannot start the execution "denied": AWS answered 400 AccessDeniedException',
  );
  assertEquals(error.hint, "Allow states:StartExecution on the state machine");
});

Deno.test("executionStatus() tells how an execution stands, and that there is none", async () => {
  const asked: unknown[] = [];
  await using server = Deno.serve({ hostname: "::1", port: 0, onListen() {} }, async (request) => {
    const input = await request.json();
    asked.push([request.headers.get("x-amz-target"), input]);
    if (input.executionArn.endsWith("none")) return Response.json({ __type: "ExecutionDoesNotExist" }, { status: 400 });
    return Response.json({ executionArn: input.executionArn, status: "TIMED_OUT" });
  });
  const options = {
    accessKeyId: "AKIA",
    secretAccessKey: new Secret("s"),
    endpoints: { states: `http://[::1]:${server.addr.port}` },
  };
  const arn = executionArn(MACHINE, "weekly-1");
  assertEquals(await executionStatus(arn, options), "TIMED_OUT");
  assertEquals(await executionStatus(executionArn(MACHINE, "none"), options), undefined);
  assertEquals(asked[0], ["AWSStepFunctions.DescribeExecution", { executionArn: arn }]);
});

Deno.test("runningExecutions() reads every page, an empty one too, and refuses what is no list or never ends", async () => {
  const asked: Record<string, unknown>[] = [];
  const pages: Record<string, unknown> = {
    first: { executions: [{ executionArn: "a", startDate: 1.5 }], nextToken: "second" },
    second: { executions: [], nextToken: "third" },
    third: { executions: [{ executionArn: "b", startDate: 2 }] },
    odd: { executionArn: "…" },
    endless: { executions: [], nextToken: "endless" },
  };
  let first = "first";
  await using server = Deno.serve({ hostname: "::1", port: 0, onListen() {} }, async (request) => {
    const input = await request.json();
    asked.push({ target: request.headers.get("x-amz-target"), ...input });
    return Response.json(pages[input.nextToken ?? first]);
  });
  const options = {
    accessKeyId: "AKIA",
    secretAccessKey: new Secret("s"),
    endpoints: { states: `http://[::1]:${server.addr.port}` },
  };
  assertEquals(await runningExecutions(MACHINE, options), [
    { arn: "a", startedAt: new Date(1500) },
    { arn: "b", startedAt: new Date(2000) },
  ]);
  const query = { stateMachineArn: MACHINE, statusFilter: "RUNNING", maxResults: 100 };
  assertEquals(asked[0], { target: "AWSStepFunctions.ListExecutions", ...query });
  for (const [name, message] of [["odd", "without a list"], ["endless", "does not end"]] as const) {
    first = name;
    await assertRejects(() => runningExecutions(MACHINE, options), AwsError, message);
  }
});
