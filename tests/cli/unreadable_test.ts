import { assertEquals, assertStringIncludes } from "@std/assert";
import { main } from "../../src/cli/cli.ts";
import { outputTo } from "../fakes/output.ts";
import type { Shell } from "../../src/cli/shell.ts";
import { describeRevision, describeUnreadable } from "../../src/cli/unreadable.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";

const FOLDER = new URL("../fixtures/format2/repository/backup/2026/11/25/couchdb/orders", import.meta.url).pathname;
const MANIFEST = `${FOLDER}/manifest-20261125T060000Z-33333333.json`;

/** Runs the program. @returns Its exit code, and what it printed. */
async function run(args: readonly string[], env: Record<string, string> = {}): Promise<[code: number, out: string]> {
  let out = "";
  const shell: Shell = {
    stdout: outputTo((text) => out += text),
    stderr: outputTo(() => {}),
    journal: false,
    env,
    onSignal: () => () => {},
    exit: (code) => {
      throw new Error(`exit ${code}`);
    },
  };
  return [await main(args, shell), out];
}

Deno.test("describeUnreadable() gives each document a line, and counts those that are too many", () => {
  const unreadable = ["a", "b", "c"].map((id) => ({ id, error: "internal_error", reason: "badmatch" }));
  const [first, ...others] = describeUnreadable(unreadable, 2);
  assertEquals(first, '  not in the backup, CouchDB could not read it: "a": internal_error, badmatch');
  assertEquals([others.length, others[1]], [2, "  not in the backup: 3 documents in all"]);
  assertEquals(describeUnreadable(unreadable, 3).length, 3);
  assertEquals([describeRevision("a\n", undefined), describeRevision("a", "1-b")], ['"a\\n"', '"a" 1-b']);
});

Deno.test("main() says with verify what CouchDB could not read, and ends with 3", async () => {
  const [code, out] = await run(["verify", "orders", MANIFEST]);
  assertEquals(code, 3);
  assertStringIncludes(out, "is as its manifest says, but LACKS 1 document: ");
  assertStringIncludes(out, "(1 of them deleted)");
  assertStringIncludes(out, '  not in the backup, CouchDB could not read it: "unreadable": internal_error, badmatch\n');
  const [json, report] = await run(["verify", "orders", MANIFEST, "--json"]);
  assertEquals([json, JSON.parse(report).ok, JSON.parse(report).unreadable.length], [3, false, 1]);
  const [whole, said] = await run(["verify", "orders", FOLDER]);
  assertEquals([whole, said.includes("is complete and as its manifest says")], [0, true]);
});

Deno.test("main() says with restore what CouchDB could not read, and ends with 3", async () => {
  await using server = await startFakeCouchDb();
  const { url, login, password } = server;
  const config = { database: { url, login, password }, bucket: "file:///tmp", task: { w: { databases: ["orders"] } } };
  const COUCHDB_BACKUP_CONFIG = JSON.stringify(config, undefined, 2);
  const [code, out] = await run(["restore", "new", MANIFEST], { COUCHDB_BACKUP_CONFIG });
  assertEquals(code, 3);
  assertStringIncludes(out, 'Restored "new" from ');
  assertStringIncludes(out, "8 documents (1 of them deleted)");
  assertStringIncludes(out, '  not in the backup, CouchDB could not read it: "unreadable": internal_error, badmatch\n');
});
