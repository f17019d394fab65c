/** The Lambda function's handler with everything around it: CouchDB, S3, Step Functions, and an environment. */
import type { Invocation } from "../../lambda/runtime.ts";
import { openHandler } from "../../lambda/handler.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeS3 } from "../fakes/s3.ts";

/** What a state machine was asked to run. */
export interface StartedExecution {
  name: string;
  input: unknown;
  /** What DescribeExecution says of it; a test changes it. */
  status: string;
}

export interface FunctionSetupOptions {
  /** Lines of the config below `task:`, indented. */
  tasks: string;
  /** Further lines of the config. @default "" */
  more?: string;
  /** The line with the password. @default the double's */
  password?: string;
  /** Where the config says that CouchDB is. @default the double */
  couchUrl?: string;
  /** Whether there is a state machine. @default false */
  stateMachine?: boolean;
  /** What time it is. @default the system's clock */
  now?: () => Date;
  /** Whether the function's role may delete. @default false */
  mayDelete?: boolean;
  /** Further variables. */
  env?: Record<string, string>;
  /** Where the config lies, in the double of S3. @default in the environment */
  configUrl?: string;
}

/** A function, deployed as template.yaml does. */
export interface FunctionSetup extends AsyncDisposable {
  couch: FakeCouchDb;
  s3: FakeS3;
  executions: StartedExecution[];
  /** The environment the function has. */
  env: Record<string, string>;
  /** The log, a parsed line each. */
  lines: Record<string, unknown>[];
  /** Hands an event to the handler. */
  // deno-lint-ignore no-explicit-any -- each event has an answer of its own
  invoke(event: unknown, time?: Partial<Pick<Invocation, "stop" | "signal" | "requestId">>): Promise<any>;
  /** The JSON of an object below the bucket's folder. */
  // deno-lint-ignore no-explicit-any -- tests look into objects of every shape
  json(key: string): any;
  /** The text of the config at `configUrl`, which another one may take the place of. */
  config(next?: string): string;
}

const BUCKET = "data.example.com";
const MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:couchdb-backup";

/** Databases `a` and `a/b` of three documents, and `large` of twenty. */
export async function setUpFunction(options: FunctionSetupOptions): Promise<FunctionSetup> {
  const couch = await startFakeCouchDb();
  for (const name of ["a", "a/b"]) await createDatabase(couch, name, idsOf(3));
  await createDatabase(couch, "large", idsOf(20));
  const s3 = await FakeS3.start({
    buckets: [BUCKET],
    sessionToken: "session",
    allowsDelete: options.mayDelete === true,
  });
  const executions: StartedExecution[] = [];
  const states = serveStepFunctions(executions);
  const env: Record<string, string> = {
    AWS_ACCESS_KEY_ID: s3.keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.keys.secretAccessKey,
    AWS_SESSION_TOKEN: "session",
    AWS_REGION: "us-east-1",
    AWS_LAMBDA_FUNCTION_NAME: "backup-function",
    AWS_ENDPOINT_URL_S3: s3.url,
    AWS_ENDPOINT_URL_SFN: `http://127.0.0.1:${states.addr.port}`,
    ...options.stateMachine === true ? { BACKUP_STATE_MACHINE: MACHINE } : {},
    ...options.env,
  };
  let config = configOf(options, couch);
  const setConfig = (text: string) => {
    config = text;
    if (options.configUrl === undefined) return void (env.COUCHDB_BACKUP_CONFIG = text);
    env.COUCHDB_BACKUP_CONFIG = options.configUrl;
    const bytes = new TextEncoder().encode(text);
    const object = { bytes, etag: '"x"', checksum: undefined, headers: {}, modified: new Date() };
    s3.objects.set(options.configUrl.replace("s3://", ""), object);
  };
  setConfig(config);
  const lines: Record<string, unknown>[] = [];
  const { handler, flush } = await openHandler({
    env,
    write: (line) => void lines.push(JSON.parse(line)),
    now: options.now,
  });
  let invocations = 0;
  return {
    couch,
    s3,
    executions,
    env,
    lines,
    async invoke(event, time = {}) {
      const never = new AbortController().signal;
      const answer = await handler({
        event: JSON.parse(JSON.stringify(event)),
        requestId: `request-${++invocations}`,
        stop: never,
        signal: never,
        ...time,
      });
      await flush();
      // As the Runtime API gets it.
      return JSON.parse(JSON.stringify(answer));
    },
    json(key) {
      const object = s3.objects.get(`${BUCKET}/folder/${key}`);
      return object === undefined ? undefined : JSON.parse(new TextDecoder().decode(object.bytes));
    },
    config(next) {
      if (next !== undefined) setConfig(next);
      return config;
    },
    async [Symbol.asyncDispose]() {
      await states.shutdown();
      await s3.close();
      await couch.stop();
    },
  };
}

/** Step Functions with one state machine, which notes what it is asked to run. */
function serveStepFunctions(executions: StartedExecution[]): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { name, input, stateMachineArn, executionArn, statusFilter } = await request.json();
    const refuse = (type: string) => Response.json({ __type: type }, { status: 400 });
    switch (request.headers.get("x-amz-target")) {
      case "AWSStepFunctions.ListExecutions": {
        const listed = executions.filter(({ status }) => status === statusFilter);
        return Response.json({
          executions: listed.map((one) => ({
            executionArn: `${MACHINE.replace("stateMachine", "execution")}:${one.name}`,
            startDate: executions.indexOf(one),
          })),
        });
      }
      case "AWSStepFunctions.DescribeExecution": {
        const found = executions.find((one) => executionArn.endsWith(`:execution:couchdb-backup:${one.name}`));
        return found === undefined
          ? refuse("ExecutionDoesNotExist")
          : Response.json({ executionArn, status: found.status });
      }
      default:
        if (stateMachineArn !== MACHINE) return refuse("StateMachineDoesNotExist");
        if (executions.some((one) => one.name === name)) return refuse("ExecutionAlreadyExists");
        executions.push({ name, input: JSON.parse(input), status: "RUNNING" });
        return Response.json({ executionArn: "…", startDate: 0 });
    }
  });
}

function configOf({ couchUrl, password, tasks, more = "" }: FunctionSetupOptions, couch: FakeCouchDb): string {
  return `database:
  url: "${couchUrl ?? couch.url}"
  login: "${couch.login}"
${password ?? `  password: "${couch.password}"`}
task:
${tasks}
bucket: "s3://${BUCKET}/folder"
prefix: backup
suffix: couchdb
${more}
`;
}

/** EventBridge's event of that time. */
export function tickAt(time: string): unknown {
  return {
    version: "0",
    id: "c0ffee",
    "detail-type": "Scheduled Event",
    source: "aws.events",
    account: "123456789012",
    time,
    region: "us-east-1",
    resources: ["arn:aws:events:us-east-1:123456789012:rule/ticks"],
    detail: {},
  };
}
