/** `deno task bench --pinned`: what is missing is told, and CouchDB runs where it ran before when it is over. */
import { assertEquals, assertRejects } from "@std/assert";
import { OTHERS_PREFIX, pinCouchDb } from "../../scripts/bench/pinned.ts";

async function affinityOf(pid: number): Promise<string> {
  const { stdout } = await new Deno.Command("taskset", { args: ["-c", "-p", String(pid)] }).output();
  return new TextDecoder().decode(stdout).trim().split(": ").at(-1)!;
}

Deno.test("pinCouchDb() says what is missing: a second core, the process, taskset", async () => {
  const one = () => pinCouchDb({ pid: "1", cores: 1 });
  await assertRejects(
    one,
    Error,
    "--pinned needs two cores, one for CouchDB and one for everything else; this machine has 1",
  );
  for (const pid of [undefined, "", "beam.smp", "0"]) {
    await assertRejects(() => pinCouchDb({ pid, cores: 2 }), Error, "--pinned needs COUCHDB_PID");
  }
  const none = () => pinCouchDb({ pid: "1", cores: 2, command: "no-such-taskset" });
  await assertRejects(none, Error, "--pinned needs no-such-taskset, which Debian has in the package util-linux");
  await assertRejects(() => pinCouchDb({ pid: "4194305", cores: 2 }), Error, "CouchDB cannot be pinned");
});

Deno.test("pinCouchDb() keeps a process on the first core until it is released, and everything else on the second", async () => {
  assertEquals(OTHERS_PREFIX, ["taskset", "-c", "1"]);
  await using process = new Deno.Command("sleep", { args: ["60"] }).spawn();
  const before = await affinityOf(process.pid);
  const pinned = await pinCouchDb({ pid: String(process.pid), cores: 2 });
  assertEquals(await affinityOf(process.pid), "0");
  await pinned.release();
  assertEquals(await affinityOf(process.pid), before);
});
