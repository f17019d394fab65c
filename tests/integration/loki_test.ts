/**
 * The Loki sink before a real Loki, which scripts/ci/loki_server.sh builds: what was logged is what can be read back.
 * The faults come from a proxy between the two. Without $LOKI_BINARY or the file that the script makes, this test
 * fails.
 */
import { assertEquals, assertGreater } from "@std/assert";
import { openLog } from "../../src/observe/log.ts";
import { openLoki } from "../../src/observe/loki.ts";
import { readLogfmt } from "../fakes/logfmt.ts";
import { untilReady } from "../until_ready.ts";

const BINARY = Deno.env.get("LOKI_BINARY") ?? `${Deno.env.get("HOME")}/.cache/couchdb-backup/loki`;
const TENANT = "backups";

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/** A Loki with tenants, in memory and a temporary folder. */
async function withLoki(use: (url: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  const port = freePort();
  const config = {
    auth_enabled: true,
    server: {
      http_listen_address: "127.0.0.1",
      http_listen_port: port,
      grpc_listen_address: "127.0.0.1",
      grpc_listen_port: freePort(),
      log_level: "error",
    },
    common: {
      instance_addr: "127.0.0.1",
      path_prefix: folder,
      storage: { filesystem: { chunks_directory: `${folder}/chunks`, rules_directory: `${folder}/rules` } },
      replication_factor: 1,
      ring: { kvstore: { store: "inmemory" } },
    },
    ingester: { lifecycler: { min_ready_duration: "0s" } },
    schema_config: {
      configs: [{
        from: "2020-10-24",
        store: "tsdb",
        object_store: "filesystem",
        schema: "v13",
        index: { prefix: "index_", period: "24h" },
      }],
    },
    analytics: { reporting_enabled: false },
  };
  await Deno.writeTextFile(`${folder}/loki.yaml`, JSON.stringify(config));
  const child = new Deno.Command(BINARY, {
    args: [`-config.file=${folder}/loki.yaml`],
    stdout: "null",
    stderr: "null",
  }).spawn();
  const url = `http://127.0.0.1:${port}`;
  try {
    await untilReady(`${url}/ready`);
    await use(url);
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  }
}

/** What a request gets instead of Loki's answer; `forward` lets it through first, as when an answer is lost. */
type Fault = { status: number; forward?: boolean };

async function withProxy(upstream: string, faults: Fault[], use: (url: string) => Promise<void>) {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const body = await request.arrayBuffer();
    const fault = faults.shift();
    if (fault !== undefined && fault.forward !== true) return faulty(fault);
    const { pathname } = new URL(request.url);
    const response = await fetch(upstream + pathname, { method: request.method, headers: request.headers, body });
    const text = await response.text();
    return fault === undefined ? new Response(text === "" ? null : text, { status: response.status }) : faulty(fault);
  });
  try {
    await use(`http://127.0.0.1:${server.addr.port}`);
  } finally {
    await server.shutdown();
  }
}

function faulty({ status }: Fault): Response {
  return new Response("fault", { status, headers: status === 429 ? { "retry-after": "1" } : {} });
}

/** The query in docs/monitoring.md, and the run that it looks for. */
const [DOCS_QUERY = ""] =
  /^\{app=.*\| logfmt \|.*$/m.exec(await Deno.readTextFile(new URL("../../docs/monitoring.md", import.meta.url))) ?? [];
const RUN = /run="(.*)"/.exec(DOCS_QUERY)?.[1] ?? "";

interface Stream {
  stream: Record<string, string>;
  values: [string, string][];
}

async function queryAll(url: string, sinceMs: number, logQl = '{app="couchdb-backup"}'): Promise<Stream[]> {
  const query = new URLSearchParams({
    query: logQl,
    start: `${sinceMs}000000`,
    end: `${Date.now() + 60_000}000000`,
    direction: "forward",
    limit: "5000",
  });
  const response = await fetch(`${url}/loki/api/v1/query_range?${query}`, { headers: { "x-scope-orgid": TENANT } });
  if (!response.ok) throw new Error(`query: ${response.status} ${await response.text()}`);
  return (await response.json()).data.result;
}

Deno.test("openLoki() brings every line to a real Loki in order and once, through 500, 500, 500, 429 and a lost answer", async () => {
  const startedMs = Date.now();
  const faults: Fault[] = [{ status: 500 }, { status: 500 }, { status: 500 }, { status: 429 }, {
    status: 502,
    forward: true,
  }];
  await withLoki((loki) =>
    withProxy(loki, faults, async (url) => {
      const console: string[] = [];
      const sink = openLoki({
        url,
        tenant: TENANT,
        labels: { app: "couchdb-backup", host: "h1" },
        batchMs: 20,
        batchCharacters: 20_000,
        backoffMs: 20,
      });
      const { log, close } = openLog({ level: "info", write: (line) => console.push(line), sinks: [sink] });
      const run = log.with({ run: RUN, task: "weekly" });
      for (let line = 0; line < 3000; line++) {
        const fields = { line, database: `account/ab/${line % 7}`, odd: 'two "words"\n{a="b"}' };
        if (line % 10 === 0) run.warn("Slow", fields);
        else run.info("Chunk stored", fields);
        if (line % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assertEquals(await close({ deadlineMs: 60_000 }), { lostLines: 0, causes: [] });
      assertEquals([console.length, faults.length], [3000, 0]);

      const streams = await queryAll(loki, startedMs);
      // Loki adds labels it has found out by itself; ours are these.
      const labels = streams.map(({ stream: { app, host, task, level } }) => ({ app, host, task, level }));
      assertEquals(labels.toSorted((a, b) => String(a.level).localeCompare(String(b.level))), [
        { app: "couchdb-backup", host: "h1", task: "weekly", level: "info" },
        { app: "couchdb-backup", host: "h1", task: "weekly", level: "warn" },
      ]);
      const lines = streams.flatMap(({ values }) => values).sort((a, b) => (BigInt(a[0]) < BigInt(b[0]) ? -1 : 1));
      const fields = lines.map(([, line]) => readLogfmt(line));
      assertEquals(fields.map(({ line }) => Number(line)), Array.from({ length: 3000 }, (_, line) => line));
      for (const { run, odd } of fields) assertEquals([run, odd], [RUN, 'two "words"\n{a="b"}']);
      // The query that docs/monitoring.md shows finds this run by its id, and no other.
      const countOf = (found: Stream[]) => found.reduce((sum, { values }) => sum + values.length, 0);
      assertEquals(countOf(await queryAll(loki, startedMs, DOCS_QUERY)), 3000);
      assertEquals(countOf(await queryAll(loki, startedMs, DOCS_QUERY.replace(RUN, "another"))), 0);
      for (const { values } of streams) {
        for (let index = 1; index < values.length; index++) {
          assertGreater(BigInt(values[index]?.[0] ?? 0), BigInt(values[index - 1]?.[0] ?? 0));
        }
      }
    })
  );
});

Deno.test("openLoki() counts the lines that a real Loki refuses, and quotes its reason", async () => {
  await withLoki(async (url) => {
    const sink = openLoki({ url, tenant: TENANT, labels: { app: "couchdb-backup" }, batchMs: 1 });
    // Loki takes nothing older than a week by default.
    sink.write({ timeMs: Date.now() - 30 * 86_400_000, level: "info", event: "Old", fields: {} });
    const { lostLines, causes } = await sink.flush({ deadlineMs: 30_000 });
    assertEquals(lostLines, 1);
    assertEquals(
      /^Loki at "127\.0\.0\.1:\d+" answered 400 .*timestamp too old/.test(causes.join()),
      true,
      causes.join(),
    );
    sink.write({ timeMs: Date.now(), level: "info", event: "New", fields: {} });
    assertEquals(await sink.flush({ deadlineMs: 30_000 }), { lostLines: 0, causes: [] });
  });
});
