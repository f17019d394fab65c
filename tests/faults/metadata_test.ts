/** The instance's metadata service, which hands out the keys of the store, fails at each of its requests in turn. */
import type { IssuedKeys } from "../fakes/role_service.ts";
import { startRoleService } from "../fakes/role_service.ts";
import { judgeBackup } from "./backup_case.ts";
import { openS3With, Program } from "./program.ts";
import { FaultProxy } from "./proxy.ts";
import { copyInto, startS3 } from "./s3_scene.ts";
import { makeFolder, openSource } from "./scene.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { COUCHDB_FAULTS, type WireFault } from "./wire_faults.ts";

async function attempt(
  fault: WireFault | undefined,
  { place, random }: { place: number; random: () => number },
): Promise<Verdict & { requests: number }> {
  const source = await openSource();
  await using s3 = await startS3(source.earlier);
  const onIssue = (keys: IssuedKeys) => void Object.assign(s3.keys, keys);
  await using service = startRoleService({ onIssue });
  await using proxy = await FaultProxy.start("metadata", service.url);
  const folder = await makeFolder();
  const keys = { keySources: { profileFiles: [], webIdentity: false, metadataEndpoints: [proxy.url] } };
  const run = () => new Program({ couch: source.server, store: openS3With(s3.url, keys) });
  try {
    proxy.arm(fault === undefined ? undefined : { fault, at: place, random });
    const first = await run().backup();
    const { isMet, requests: { length: requests } } = proxy;
    const met = proxy.requests[place - 1];
    proxy.arm(undefined);
    const resume = () => run().backup({ resume: true });
    const look = () => copyInto(folder, s3);
    return {
      ...await judgeBackup({ source, folder, before: source.earlier, first, isMet, met, resume, look }),
      requests,
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

let counted: Promise<number> | undefined;
const count = async () => (await attempt(undefined, { place: 1, random: Math.random })).requests;
for (const fault of COUCHDB_FAULTS) {
  if (["corrupt", "rename", "error-rows", "locked-out"].includes(fault.name)) continue; // Of JSON, and of CouchDB.
  sweep({
    subject: "metadata backup",
    fault: fault.name,
    places: () => counted ??= count(),
    attempt: (place, random) => attempt(fault, { place, random }),
  });
}
