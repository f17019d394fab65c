/**
 * A backup and a restore where there is nothing but IPv6, for a network namespace without any IPv4 address: CouchDB,
 * S3, Loki and the instance's metadata service listen on [::1]. Prints what came of it as one JSON object.
 */
import { startProgram } from "../cli/program.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { startFakeCouchDb } from "./couchdb.ts";
import { FakeLoki } from "./loki.ts";
import { startRoleService } from "./role_service.ts";
import { FakeS3 } from "./s3.ts";

await using couch = await startFakeCouchDb({ hostname: "::1" });
await seedHardDatabase(couch, "account/ab", { documents: 30 });
const s3 = await FakeS3.start({ hostname: "::1" });
await using instance = startRoleService({
  hostname: "::1",
  onIssue: (keys) => Object.assign(s3.keys, keys),
});
const loki = new FakeLoki({}, "::1");

const folder = await Deno.makeTempDir();
const config = `${folder}/config.yaml`;
await Deno.writeTextFile(
  config,
  `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {all: {databases: ["account/.*"], chunk: 10, timezone: UTC}}
bucket: s3://test-bucket/folder
region: ${s3.keys.region}
endpoint: "${s3.url}"
loki: "${loki.url}"
`,
);
const none = `${folder}/none`;
const env = {
  AWS_EC2_METADATA_SERVICE_ENDPOINT: instance.url,
  AWS_SHARED_CREDENTIALS_FILE: none,
  AWS_CONFIG_FILE: none,
  AWS_ACCESS_KEY_ID: "",
};
const backup = await startProgram(["backup", config, "--json"], env).ended;
const restore = await startProgram(["restore", "copy", "latest/account%2Fab", "--config", config, "--json"], env).ended;
const all = { by: "_bulk_get" } as const;
const [original, copy] = [
  await readAllLeafRevisions(couch, "account/ab", all),
  restore.code === 0 ? await readAllLeafRevisions(couch, "copy", all) : new Map(),
];
await s3.close();
await loki.close();
await Deno.remove(folder, { recursive: true });

const result = {
  backup,
  restore,
  leafRevisions: original.size,
  differences: compareLeafRevisions(original, copy),
  lokiLines: loki.lines.length,
  keysIssued: instance.issued(),
};
await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(result)));
