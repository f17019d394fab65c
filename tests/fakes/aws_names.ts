/**
 * AWS by its own names, within a network namespace whose hosts file says where they are: S3, Secrets Manager, Step
 * Functions and STS, on port 443, and the Lambda's handler in a process of its own. In, as JSON in the first argument:
 * the addresses at which each kind of name answers, and the folder with the certificate. Out, as JSON: the seconds of
 * each event, and the requests that came by each name. With "handler" as argument it is that process: it takes the
 * events from its environment.
 */
import { openHandler } from "../../lambda/handler.ts";
import { describeError } from "../../src/errors.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { startFakeCouchDb } from "./couchdb.ts";
import { FakeS3 } from "./s3.ts";

/** What the outer test says. */
export interface NamesTask {
  /** With ca.pem, cert.pem and key.pem. */
  folder: string;
  region: string;
  bucket: string;
  /** Of CouchDB: "127.0.0.1" or "::1". */
  loopback: "127.0.0.1" | "::1";
  /** By service and kind of name, where somebody answers. */
  listeners: { service: string; kind: "dual" | "older"; name: string; addresses: string[] }[];
}

/** What it gets. */
export interface NamesResult {
  events: { event: string; seconds: number; error?: string }[];
  /** By service and kind of name, such as `s3 dual`. */
  requests: Record<string, number>;
  started: string[];
}

const MACHINE = (region: string) => `arn:aws:states:${region}:123456789012:stateMachine:couchdb-backup`;

async function beHandler(): Promise<NamesResult["events"]> {
  const env = Deno.env.toObject();
  const { handler } = await openHandler({ env, write() {} });
  const run = { task: "weekly", elapse: "2026-01-03T18:00:00Z" };
  const tick = { source: "aws.events", time: run.elapse };
  const events: [string, unknown][] = [
    ["tick", tick],
    ["plan", { action: "plan", ...run, only: "all", generation: 1 }],
    ["second tick", tick],
  ];
  const found: NamesResult["events"] = [];
  for (const [event, sent] of events) {
    const began = performance.now();
    const signal = new AbortController().signal;
    const failure = await handler({ event: sent, requestId: "r", stop: signal, signal }).then(() => ({}), (error) => ({
      error: describeError(error),
    }));
    found.push({ event, seconds: (performance.now() - began) / 1000, ...failure });
  }
  return found;
}

async function serveNames(task: NamesTask): Promise<NamesResult> {
  const { folder, region, bucket, loopback, listeners } = task;
  const [cert, key] = [await Deno.readTextFile(`${folder}/cert.pem`), await Deno.readTextFile(`${folder}/key.pem`)];
  const requests: Record<string, number> = {};
  const count = (listener: { service: string; kind: string }) => {
    const name = `${listener.service} ${listener.kind}`;
    requests[name] = (requests[name] ?? 0) + 1;
  };
  await using couch = await startFakeCouchDb({ hostname: loopback });
  await createDatabase(couch, "a", idsOf(1));
  const buckets = new Map<string, FakeS3>();
  const s3 = await FakeS3.start({ region, hostname: loopback, buckets: [bucket], sessionToken: "session" });
  const started: string[] = [];
  const answer = (service: string, body: string, operation: string | null): Response => {
    if (service === "secretsmanager") return Response.json({ SecretString: couch.password });
    if (service === "sts") return new Response(keysOf(s3), { headers: { "content-type": "text/xml" } });
    const executionArn = (name: string) => `${MACHINE(region).replace("stateMachine", "execution")}:${name}`;
    if (operation === "AWSStepFunctions.ListExecutions") {
      return Response.json({ executions: started.map((name) => ({ executionArn: executionArn(name), startDate: 0 })) });
    }
    if (operation === "AWSStepFunctions.DescribeExecution") return Response.json({ status: "RUNNING" });
    const { name } = JSON.parse(body);
    started.push(name);
    return Response.json({ executionArn: executionArn(name), startDate: 0 });
  };
  const closing: (() => unknown)[] = [() => s3.close()];
  for (const listener of listeners) {
    for (const hostname of listener.addresses) {
      if (listener.service === "s3") {
        // One by each name: it sees the host that a request is signed for.
        const ofName = await FakeS3.start({
          region,
          hostname: loopback,
          buckets: [bucket],
          sessionToken: "session",
          virtualHost: listener.name,
        });
        for (const kind of ["objects", "uploads"] as const) {
          Object.defineProperty(ofName, kind, { value: s3[kind] });
        }
        buckets.set(`${listener.service} ${listener.kind} ${hostname}`, ofName);
        const tls = Deno.listenTls({ hostname, port: 443, cert, key });
        const { port } = new URL(ofName.url);
        void (async () => {
          for await (const client of tls) {
            void (async () => {
              const server = await Deno.connect({ hostname: loopback, port: Number(port) });
              await Promise.allSettled([
                client.readable.pipeTo(server.writable),
                server.readable.pipeTo(client.writable),
              ]);
            })();
          }
        })().catch(() => undefined); // Closed.
        closing.push(() => tls.close(), () => ofName.close());
      } else {
        const server = Deno.serve({ hostname, port: 443, cert, key, onListen() {} }, async (request) => {
          count(listener);
          const body = await request.text();
          const operation = request.headers.get("x-amz-target");
          if (request.method === "HEAD") return new Response(null, { status: 404 });
          return answer(listener.service, body, operation);
        });
        closing.push(() => server.shutdown());
      }
    }
  }
  const token = `${folder}/token`;
  await Deno.writeTextFile(token, "token");
  const { stdout, stderr, code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-check", "--allow-all", import.meta.filename!, "handler"],
    env: {
      DENO_CERT: `${folder}/ca.pem`,
      AWS_REGION: region,
      AWS_WEB_IDENTITY_TOKEN_FILE: token,
      AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/backup",
      AWS_SHARED_CREDENTIALS_FILE: `${folder}/none`,
      AWS_CONFIG_FILE: `${folder}/none`,
      BACKUP_STATE_MACHINE: MACHINE(region),
      COUCHDB_BACKUP_CONFIG: `database:
  url: "${couch.url}"
  login: "${couch.login}"
  password_secret: "arn:aws:secretsmanager:${region}:123456789012:secret:couchdb-AbCdEf"
task: {weekly: {cron: "Sat *-*-* 18:00:00 UTC", databases: [a], chunk: 10}}
bucket: "s3://${bucket}/folder"
`,
    },
  }).output();
  for (const close of closing) await close();
  if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
  for (const [name, { requests: asked }] of buckets) {
    const [service, kind] = name.split(" ");
    for (const _ of asked) count({ service: service!, kind: kind! });
  }
  return { events: JSON.parse(new TextDecoder().decode(stdout)), requests, started };
}

function keysOf({ keys }: FakeS3): string {
  return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>${keys.accessKeyId}</AccessKeyId><SecretAccessKey>${keys.secretAccessKey}</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;
}

if (import.meta.main) {
  const [argument = ""] = Deno.args;
  const result = argument === "handler" ? await beHandler() : await serveNames(JSON.parse(argument));
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(result)));
  Deno.exit(0);
}
