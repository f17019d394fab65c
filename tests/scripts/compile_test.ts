import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { explainFailure } from "../../scripts/compile.ts";
import { RUN_FLAGS } from "../../scripts/run_flags.ts";

// What Deno 2.9.6 says on a machine that does not reach its releases.
const UNREACHABLE = `error: Writing deno compile executable to temporary file '/tmp/couchdb-backup.tmp-cfff42e2d8ea2f3e'

Caused by:
    0: Setting up base binary.
    1: error sending request for url (https://dl.deno.land/release/v2.9.6/denort-x86_64-unknown-linux-gnu.zip): dns error
    2: dns error`;
const MISSING = `error: Writing deno compile executable

Caused by:
    0: Could not find denort at '/nowhere'
    1: No such file or directory (os error 2)`;

Deno.test("explainFailure() says where to get the runtime when it cannot be fetched", () => {
  const target = "aarch64-unknown-linux-gnu";
  const message = explainFailure(UNREACHABLE, { target, denortBin: undefined });
  assertMatch(
    message,
    /^Cannot compile: the runtime for aarch64-unknown-linux-gnu cannot be fetched\n1: error sending/,
  );
  assertStringIncludes(message, "DENORT_BIN=");
  assertStringIncludes(message, "--runtime deno");
});

Deno.test("explainFailure() names DENORT_BIN when that is the cause", () => {
  const message = explainFailure(MISSING, { target: "x86_64-unknown-linux-gnu", denortBin: "/nowhere" });
  assertMatch(message, /^Cannot compile: DENORT_BIN is "\/nowhere", which cannot be used\n/);
});

Deno.test("explainFailure() leaves any other complaint as it is", () => {
  const message = explainFailure("error: No space left on device", { target: "any", denortBin: undefined });
  assertEquals(message, "Cannot compile:\nerror: No space left on device");
});

Deno.test("RUN_FLAGS are those of the task start", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile("deno.json"));
  assertEquals(tasks.start.command.split(" "), ["deno", "run", "--quiet", ...RUN_FLAGS, "main.ts"]);
});
