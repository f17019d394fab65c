/**
 * Loki and the Pushgateway fail at each of their requests in turn: the backup is whole all the same, ends with 0, and
 * what was lost is said.
 */
import { openLoki } from "../../src/observe/loki.ts";
import { DirectoryStore } from "../../src/store/directory/store.ts";
import { FakeLoki } from "../fakes/loki.ts";
import { judgeBackup } from "./backup_case.ts";
import { Program } from "./program.ts";
import { FaultProxy } from "./proxy.ts";
import { makeFolder, openSource } from "./scene.ts";
import { sweep, type Verdict } from "./sweep.ts";
import { COUCHDB_FAULTS, type WireFault } from "./wire_faults.ts";

/** A Pushgateway that takes everything. */
function startPushgateway() {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(null, { status: 202 }),
  );
  return { url: `http://127.0.0.1:${server.addr.port}`, close: () => server.shutdown() };
}

const SERVERS = {
  loki: () => Promise.resolve(new FakeLoki()),
  pushgateway: () => Promise.resolve(startPushgateway()),
};

async function attempt(
  name: keyof typeof SERVERS,
  fault: WireFault | undefined,
  { place, random }: { place: number; random: () => number },
): Promise<Verdict & { requests: number }> {
  const source = await openSource();
  const server = await SERVERS[name]();
  await using proxy = await FaultProxy.start(name, server.url);
  const folder = await makeFolder(source.earlier);
  const isLoki = name === "loki";
  const sinks = () =>
    isLoki
      ? [
        openLoki({
          url: proxy.url,
          labels: { app: "test" },
          batchMs: 10,
          requestTimeoutMs: 300,
          backoffMs: 10,
          maxBackoffMs: 50,
        }),
      ]
      : [];
  const config = isLoki ? [] : [`prometheus: {pushgateway: "${proxy.url}"}`];
  const run = () =>
    new Program({ couch: source.server, store: new DirectoryStore(`${folder}/bucket`), sinks: sinks(), config });
  try {
    proxy.arm(fault === undefined ? undefined : { fault, at: place, random });
    const first = await run().backup();
    const { isMet, requests: { length: requests } } = proxy;
    const met = proxy.requests[place - 1];
    proxy.arm(undefined);
    const resume = () => run().backup({ resume: true });
    const verdict = await judgeBackup({ source, folder, before: source.earlier, first, isMet, met, resume });
    if (first.exit !== 0) verdict.breaches.push(`${name} has failed the backup: ${first.errors.join("; ")}`);
    return { ...verdict, requests };
  } finally {
    await Deno.remove(folder, { recursive: true });
    await server.close();
  }
}

for (const name of ["loki", "pushgateway"] as const) {
  let counted: Promise<number> | undefined;
  const count = async () => (await attempt(name, undefined, { place: 1, random: Math.random })).requests;
  // An answer that says 204 has no body to be cut.
  const faults = COUCHDB_FAULTS.filter(({ change, behind }) =>
    change === undefined && !["cut", "half and silence"].includes(behind ?? "")
  );
  for (const fault of faults) {
    sweep({
      subject: `${name} backup`,
      fault: fault.name,
      places: () => counted ??= count(),
      attempt: (place, random) => attempt(name, fault, { place, random }),
    });
  }
}
