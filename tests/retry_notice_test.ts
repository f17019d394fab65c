import { assertEquals } from "@std/assert";
import { RetryNotice } from "../src/retry_notice.ts";
import { RecordedLog } from "./fakes/log.ts";

Deno.test("RetryNotice tells of the first repetition, not of those behind it, nor of others of the same moment", () => {
  const log = new RecordedLog();
  const notice = new RetryNotice(log, "it is asked again");
  for (const attempt of [3, 2, 3, 2, 4]) notice.tell({ attempt, waitMs: 1.5, error: `attempt ${attempt}` });
  assertEquals(log.lines.map(({ level, event, fields }) => [level, event, fields.attempt, fields.waitMs]), [
    ["warn", "it is asked again", 2, 2],
  ]);
});
