/**
 * Makes the repository of format 1 with version 1 of this program: called by record_vectors.ts with that version's
 * source tree and the folder to write to. It takes its modules from there, so that nothing of today's program is in it.
 */
const [root = "", folder = ""] = Deno.args;
const load = (path: string) => import(new URL(path, `file://${root}/`).href);

const { backup } = await load("src/backup.ts");
const { CouchClient } = await load("src/couchdb/client.ts");
const { SILENT_LOG, SILENT_PROGRESS } = await load("src/observe/observe.ts");
const { Secret } = await load("src/secret.ts");
const { openStore } = await load("src/store/open.ts");
const { startFakeCouchDb } = await load("tests/fakes/couchdb.ts");
const { couchOk } = await load("tests/couch_request.ts");
const { readAllLeafRevisions } = await load("tests/leaf_revisions.ts");

const DATABASE = "a/b";
const PATH = `/${encodeURIComponent(DATABASE)}`;
const DOCUMENTS = [
  '{"_id":"conflict","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"winner":false}',
  '{"_id":"conflict","_rev":"2-c","_revisions":{"start":2,"ids":["c","a"]},"winner":true}',
  '{"_id":"conflict","_rev":"3-d","_revisions":{"start":3,"ids":["d","x","a"]},"_deleted":true}',
  '{"_id":"deleted","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_deleted":true}',
  '{"_id":"file","_rev":"1-a","_attachments":{"hello.txt":{"content_type":"text/plain","data":"aGVsbG8="}}}',
  '{"_id":"numbers","_rev":"1-a","big":9007199254740993,"one":1.0,"10":"ten","2":"two"}',
  '{"_id":"ä 😀/\\u0000","_rev":"1-a"}',
  '{"_id":"_design/app","_rev":"1-a","views":{"all":{"map":"function (doc) { emit(doc._id); }"}}}',
];

const server = await startFakeCouchDb();
try {
  await couchOk(server, `PUT ${PATH}?q=3`);
  await couchOk(server, `PUT ${PATH}/_revs_limit`, "20");
  const security = '{"admins":{"names":["ann"],"roles":[]},"members":{"names":[],"roles":["staff"]}}';
  await couchOk(server, `PUT ${PATH}/_security`, security);
  await couchOk(server, `POST ${PATH}/_bulk_docs`, `{"new_edits":false,"docs":[${DOCUMENTS.join(",")}]}`);
  await run({ run: "11111111-1111-4111-8111-111111111111", date: { year: 2026, month: 1, day: 3 } });
  // The second one ends in the middle.
  const { promise: second, resolve } = Promise.withResolvers<void>();
  const where = ({ endpoint }: { endpoint: string }) => endpoint === "_bulk_get";
  server.faults.add({ where, skip: 1, fault: { kind: "run", run: resolve } });
  const stop = new AbortController();
  second.then(() => stop.abort(new Error("stopped for the test vectors")));
  await run({ run: "22222222-2222-4222-8222-222222222222", date: { year: 2026, month: 1, day: 4 }, stop: stop.signal })
    .catch((error) => {
      if (error !== stop.signal.reason) throw error;
    });
  const leaves = await readAllLeafRevisions(server, DATABASE);
  const text = JSON.stringify([...leaves].map(([id, revisions]) => [id, [...revisions.values()]]));
  await Deno.stdout.write(new TextEncoder().encode(text));
} finally {
  await server.stop();
}

async function run(
  { run, date, stop = new AbortController().signal }: {
    run: string;
    date: { year: number; month: number; day: number };
    stop?: AbortSignal;
  },
): Promise<void> {
  const { url, login, password } = server;
  const log = SILENT_LOG;
  const couch = new CouchClient({ url, login, password: new Secret(password), log });
  // The address in the manifests is that of no machine.
  Object.defineProperty(couch, "url", { value: "http://127.0.0.1:5984" });
  const task = {
    name: "weekly",
    databases: [],
    exclude: [],
    delaySeconds: 0,
    chunk: 2,
    backupOnlyPrevious: false,
    attachments: true,
    revisions: true,
    parallel: 1,
    allowEmpty: false,
  };
  let seconds = 0;
  const context = {
    couch,
    store: await openStore({ bucket: `file://${folder}` }),
    prefix: "backup",
    suffix: "couchdb",
    log,
    progress: SILENT_PROGRESS,
    run,
    now: () => new Date(Date.UTC(date.year, date.month - 1, date.day, 18, 0, seconds++)),
    signal: new AbortController().signal,
    stop,
  };
  const databases = [{ database: DATABASE, encoded: encodeURIComponent(DATABASE), pattern: "--database" }];
  const report = await backup(context, [{ task, date, databases, warnings: [] }], {});
  if (!report.ok) throw new Error(JSON.stringify(report));
}
