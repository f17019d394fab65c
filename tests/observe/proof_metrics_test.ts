import { assertEquals } from "@std/assert";
import type { Proof } from "../../src/archive/proof.ts";
import { formatMetrics, formatProof, mergeMetrics } from "../../src/observe/metrics.ts";
import { pushProof } from "../../src/observe/pushgateway.ts";
import { writeProofFile } from "../../src/observe/textfile.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";

const WELL: Proof = {
  at: "2026-11-25T12:00:00.000Z",
  ok: true,
  backups: 3,
  backups_in_all: 9,
  faulty: 0,
  documents: 100,
  seconds: 1.5,
  last_ok_at: "2026-11-25T12:00:00.000Z",
};
const AT = Date.parse(WELL.at) / 1000;
const ILL: Proof = { ...WELL, at: "2026-11-26T12:00:00.000Z", ok: false, faulty: 2, undecided: 7 };
const WEEKLY = runReport([taskReport("weekly", [databaseReport("a")])]);

/** The samples of a text without its comments. */
function samples(text: string, part = ""): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#") && line.includes(part));
}

Deno.test("formatProof() tells when backups were last proved, and how that came out", () => {
  assertEquals(samples(formatProof("test_restore", ILL)), [
    `couchdb_backup_proof_last_run_timestamp_seconds{proof="test_restore"} ${AT + 86_400}`,
    `couchdb_backup_proof_last_success_timestamp_seconds{proof="test_restore"} ${AT}`,
    'couchdb_backup_proof_success{proof="test_restore"} 0',
    'couchdb_backup_proof_backups{proof="test_restore"} 3',
    'couchdb_backup_proof_faulty_backups{proof="test_restore"} 2',
    'couchdb_backup_proof_undecided_backups{proof="test_restore"} 7',
    'couchdb_backup_proof_duration_seconds{proof="test_restore"} 1.5',
  ]);
});

Deno.test("mergeMetrics() keeps proofs and tasks apart, and the last success of a proof that knows none", () => {
  const both = mergeMetrics(formatMetrics(WEEKLY), formatProof("verify", WELL));
  assertEquals(samples(both, 'proof="verify"'), samples(formatProof("verify", WELL)));
  assertEquals(samples(both, 'task="weekly"'), samples(formatMetrics(WEEKLY)));
  const again = mergeMetrics(both, formatMetrics(WEEKLY));
  assertEquals(samples(again, 'proof="verify"'), samples(formatProof("verify", WELL)));
  const ill = mergeMetrics(again, formatProof("verify", { ...ILL, last_ok_at: null }));
  assertEquals(samples(ill, "last_success_timestamp_seconds{proof"), [
    `couchdb_backup_proof_last_success_timestamp_seconds{proof="verify"} ${AT}`,
  ]);
  assertEquals(samples(ill, "proof_success"), ['couchdb_backup_proof_success{proof="verify"} 0']);
});

Deno.test("pushProof() replaces the group of a proof, and adds to it where no success is known", async () => {
  const received: { method: string; path: string; body: string }[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    received.push({ method: request.method, path: new URL(request.url).pathname, body: await request.text() });
    return new Response(null);
  });
  try {
    const options = { url: `http://127.0.0.1:${server.addr.port}`, instance: "h1" };
    assertEquals(await pushProof("verify", WELL, options), []);
    assertEquals(await pushProof("verify", { ...ILL, last_ok_at: null }, options), []);
  } finally {
    await server.shutdown();
  }
  const path = "/metrics/job/couchdb-backup/instance/h1/proof/verify";
  assertEquals(received.map(({ method, path }) => [method, path]), [["PUT", path], ["POST", path]]);
  assertEquals(received[0]?.body, formatProof("verify", WELL));
  const [warning] = await pushProof("verify", WELL, { url: "http://127.0.0.1:1", instance: "h1", timeoutMs: 500 });
  assertEquals(
    warning?.startsWith('Cannot push metrics of the proof "verify" to the Pushgateway at "127.0.0.1:1": '),
    true,
  );
});

Deno.test("writeProofFile() puts a proof beside what runs have left in the file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/couchdb-backup.prom`;
    await Deno.writeTextFile(path, formatMetrics(WEEKLY));
    assertEquals(await writeProofFile("test_restore", WELL, { path }), []);
    const text = await Deno.readTextFile(path);
    assertEquals(text, mergeMetrics(formatMetrics(WEEKLY), formatProof("test_restore", WELL)));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
