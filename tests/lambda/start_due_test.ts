import { assertEquals, assertRejects } from "@std/assert";
import { startDue } from "../../lambda/start_due.ts";
import { Repository } from "../../src/archive/repository.ts";
import { InterruptedError } from "../../src/errors.ts";
import { readElapse } from "../../src/schedule/elapse.ts";
import { Secret } from "../../src/secret.ts";
import { RecordedLog } from "../fakes/log.ts";
import { task } from "../fakes/task.ts";
import { setUpScheduled, storeThatFails } from "../schedule/due_setup.ts";

const FOLDER = "backup/_runs/couchdb/weekly/20260103T180000Z";

Deno.test("startDue() leaves the elapse free where its time is over before an execution is started", async () => {
  for (const at of ["earlier elapses", "the request"]) {
    await using setup = await setUpScheduled("file://", {});
    const death = new AbortController();
    const end = () => death.abort(new InterruptedError("The time is over"));
    await using states = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      if (request.headers.get("x-amz-target") === "AWSStepFunctions.ListExecutions") {
        return Response.json({ executions: [] });
      }
      end();
      return Response.json({}, { status: 503 });
    });
    const store = storeThatFails(setup.store, (method, key) => {
      if (at !== "earlier elapses" || method !== "list" || !key.endsWith("couchdb/weekly")) return undefined;
      end();
      return death.signal.reason;
    });
    const context = {
      repository: new Repository(store, { prefix: "backup", suffix: "couchdb" }),
      log: new RecordedLog(),
      now: () => new Date("2026-01-03T18:00:05Z"),
      signal: death.signal,
      stateMachine: "arn:aws:states:us-east-1:123456789012:stateMachine:couchdb-backup",
      aws: {
        accessKeyId: "key",
        secretAccessKey: new Secret("secret"),
        endpoints: { states: `http://127.0.0.1:${states.addr.port}` },
      },
      host: "function",
    };
    const weekly = task("weekly", { databases: ["a"], cron: "Sat 18:00 UTC", timezone: "UTC" });
    await assertRejects(() => startDue(context, [weekly]), InterruptedError, "The time is over");
    assertEquals((await readElapse(setup.store, FOLDER, {})).kind, "stopped", at);
    assertEquals(context.log.events("warn"), []);
  }
});

Deno.test("startDue() starts one execution where its tick is delivered again before that one exists", async () => {
  await using scene = await setUpScheduled("file://", {});
  const executions: string[] = [];
  let whenAsked: () => Promise<void> = () => Promise.resolve();
  await using states = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const target = request.headers.get("x-amz-target");
    const { name, executionArn } = await request.json();
    if (target === "AWSStepFunctions.ListExecutions") return Response.json({ executions: [] });
    if (target === "AWSStepFunctions.DescribeExecution") {
      if (executions.includes(executionArn.split(":").at(-1))) return Response.json({ status: "RUNNING" });
      return Response.json({ __type: "ExecutionDoesNotExist" }, { status: 400 });
    }
    await whenAsked();
    executions.push(name);
    return Response.json({ executionArn: "…", startDate: 0 });
  });
  const log = new RecordedLog();
  const tick = async (time: string) => {
    const context = {
      repository: new Repository(scene.store, { prefix: "backup", suffix: "couchdb" }),
      log,
      now: () => new Date(time),
      signal: new AbortController().signal,
      stateMachine: "arn:aws:states:us-east-1:123456789012:stateMachine:couchdb-backup",
      aws: {
        accessKeyId: "key",
        secretAccessKey: new Secret("secret"),
        endpoints: { states: `http://127.0.0.1:${states.addr.port}` },
      },
      host: "function",
    };
    const tasks = ["weekly", "other"].map((name) => task(name, { cron: "Sat 18:00 UTC", timezone: "UTC" }));
    return await startDue(context, tasks);
  };
  whenAsked = async () => {
    whenAsked = () => Promise.resolve();
    assertEquals(await tick("2026-01-03T18:00:01Z"), { started: [], failed: [], waiting: ["other"] });
  };
  assertEquals((await tick("2026-01-03T18:00:00Z")).started.length, 1);
  assertEquals(executions, ["weekly-20260103T180000Z"]);
  assertEquals(log.events("warn"), []);

  // Of a call that was killed before it could start one the elapse is tried again, when that call is surely over.
  executions.length = 0;
  assertEquals((await tick("2026-01-03T18:15:00Z")).started, []);
  await tick("2026-01-03T18:15:01Z");
  assertEquals(executions, ["weekly-20260103T180000Z-2"]);
  assertEquals(log.events("warn"), ["execution has ended without a report: the elapse is tried again"]);
});
