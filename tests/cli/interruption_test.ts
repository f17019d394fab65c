import { assertEquals } from "@std/assert";
import { command } from "../../src/cli/backup.ts";
import { parseCall } from "../../src/cli/command.ts";
import type { Shell } from "../../src/cli/shell.ts";
import { task } from "../fakes/task.ts";

Deno.test("backup says what to do after an interruption also where --task names none of the config", () => {
  const shell = { env: {} } as Shell;
  const begun = { tasks: [task("weekly")], startedAt: new Date("2026-03-31T12:00:00Z") };
  const hintFor = (args: string[]) => command.afterInterruption!(parseCall(command, args, shell), begun);
  assertEquals(hintFor(["--task", "wekly", "cfg.yaml"]), "Nothing was stored");
  assertEquals(
    hintFor(["--task", "weekly", "cfg.yaml"]).replace(/--date \S+/, "--date D"),
    "What is done so far is kept. Resume with: couchdb-backup backup --task weekly --date D --resume",
  );
});
