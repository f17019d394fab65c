/**
 * The program in a network namespace that has no IPv4 address, not even 127.0.0.1. Wants root, to make the namespace,
 * and `ip` of Debian's iproute2.
 */
import { assert, assertEquals } from "@std/assert";
import { startProgram } from "../cli/program.ts";

const NAMESPACE = `couchdb-backup-${Deno.pid}`;

Deno.test("the program backs up and restores with CouchDB, S3, Loki and the metadata service on IPv6 alone", async () => {
  // Whatever Deno fetches at a first start is fetched here: inside there is no way to anywhere.
  assertEquals((await startProgram(["--version"]).ended).code, 0);
  await ip("netns", "add", NAMESPACE);
  try {
    await ip("-n", NAMESPACE, "link", "set", "lo", "up");
    await ip("-n", NAMESPACE, "-4", "addr", "flush", "dev", "lo");
    assertEquals(await ip("-n", NAMESPACE, "-4", "addr"), "", "there is still an IPv4 address");
    const program = [Deno.execPath(), "run", "--quiet", "--no-prompt", "--allow-all", "tests/fakes/ipv6_only.ts"];
    const result = JSON.parse(await ip("netns", "exec", NAMESPACE, ...program));
    assertEquals(result.backup.code, 0, result.backup.stderr);
    assertEquals(result.restore.code, 0, result.restore.stderr);
    assertEquals(result.differences, []);
    assert(result.leafRevisions > 30, "nothing was compared");
    assert(result.lokiLines > 0, "Loki got no line");
    assertEquals(result.keysIssued, 2, "backup and restore each ask for keys once");
  } finally {
    await ip("netns", "delete", NAMESPACE);
  }
});

async function ip(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("ip", { args }).output();
  const decoder = new TextDecoder();
  assert(success, `ip ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}
