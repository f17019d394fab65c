import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { parseEvent } from "../../lambda/events.ts";

const ELAPSE = "2026-01-03T18:00:00Z";
const elapse = new Date(ELAPSE);

Deno.test("parseEvent() recognises every kind of event", () => {
  const table: [unknown, unknown][] = [
    [
      { "version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "time": ELAPSE, "detail": {} },
      { kind: "tick", source: "aws.events", time: elapse },
    ],
    [{ action: "plan", task: "weekly", elapse: ELAPSE }, {
      kind: "plan",
      action: "plan",
      task: "weekly",
      elapse,
      only: "all",
      generation: 0,
      batches: false,
    }],
    [{ action: "plan", task: "weekly", elapse: ELAPSE, batches: true }, {
      kind: "plan",
      action: "plan",
      task: "weekly",
      elapse,
      only: "all",
      generation: 0,
      batches: true,
    }],
    [{ action: "backup", task: "weekly", elapse: ELAPSE, databases: ["a/b", "c"], cursor: "" }, {
      kind: "backupBatch",
      action: "backup",
      task: "weekly",
      elapse,
      databases: ["a/b", "c"],
      cursor: null,
      broken: 0,
      why: "",
      generation: 0,
    }],
    [{ action: "backup", task: "weekly", elapse: ELAPSE, database: "a/b", cursor: null }, {
      kind: "backup",
      action: "backup",
      task: "weekly",
      elapse,
      database: "a/b",
      cursor: null,
      generation: 0,
    }],
    [{ action: "backup", task: "weekly", elapse: ELAPSE, database: "a/b", cursor: "", generation: 1 }, {
      kind: "backup",
      action: "backup",
      task: "weekly",
      elapse: new Date(ELAPSE),
      database: "a/b",
      cursor: null,
      generation: 1,
    }],
    [{ action: "backup", task: "weekly", elapse: ELAPSE, database: "a/b", cursor: "12", generation: 2 }, {
      kind: "backup",
      action: "backup",
      task: "weekly",
      elapse,
      database: "a/b",
      cursor: "12",
      generation: 2,
    }],
    [{ action: "summarise", task: "weekly", elapse: "2026-01-03T19:00:00+01:00", only: "failed" }, {
      kind: "summarise",
      action: "summarise",
      task: "weekly",
      elapse,
      only: "failed",
      generation: 0,
    }],
    [{ task: "weekly" }, { kind: "run", task: "weekly", only: "all" }],
    [{ task: "weekly", elapse: ELAPSE, only: "failed" }, { kind: "run", task: "weekly", elapse, only: "failed" }],
  ];
  for (const [event, expected] of table) assertEquals(parseEvent(event) as unknown, expected);
});

Deno.test("parseEvent() says what is wrong with an event", () => {
  const table: [unknown, string][] = [
    [null, "neither a tick"],
    ["weekly", "neither a tick"],
    [[{ task: "weekly" }], "neither a tick"],
    [{}, "neither a tick"],
    [{ action: "erase", task: "weekly" }, "neither a tick"],
    [{ action: "restore", task: "weekly" }, 'restore event: "path" must be text'],
    [{ action: "restore", step: "all", path: "latest" }, 'restore event: "step" is not known'],
    [{ source: "aws.events" }, 'tick event: "time" must be an instant'],
    [{ action: "plan", task: "weekly", elapse: "yesterday" }, 'plan event: "elapse" must be an instant'],
    [{ action: "plan", task: "", elapse: ELAPSE }, 'plan event: "task" must not be empty'],
    [{ action: "backup", task: "weekly", elapse: ELAPSE }, 'backup event: "database" must be text'],
    [
      { action: "backup", task: "weekly", elapse: ELAPSE, databases: [] },
      'backupBatch event: "databases" must not be empty',
    ],
    [
      { action: "plan", task: "weekly", elapse: ELAPSE, generation: -1 },
      'plan event: "generation" must not be negative',
    ],
    [{ task: "weekly", only: "some" }, 'run event: "only" must be "all" or "failed"'],
    [{ task: "weekly", databse: "a" }, 'run event: "databse" is not known'],
  ];
  for (const [event, message] of table) assertThrows(() => parseEvent(event), UsageError, message);
});
