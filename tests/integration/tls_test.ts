/**
 * TLS with authorities and certificates of every kind, made by openssl: what `ca_file` makes trusted, what Deno's TLS
 * never accepts, and what the program says then. Wants openssl, which scripts/ci/proxies.sh installs.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { startProgram } from "../cli/program.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeLoki } from "../fakes/loki.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { Authority, freePort, type Pair, readPair, runLine, startTlsFront } from "../fakes/tls_front.ts";
import { until } from "../until.ts";

const SAN = "subjectAltName=IP:127.0.0.1";

/** A folder with an authority, and a CouchDB with the database `orders`. */
class Place implements AsyncDisposable {
  readonly folder: string;
  readonly authority: Authority;
  readonly couch: FakeCouchDb;

  private constructor(folder: string, authority: Authority, couch: FakeCouchDb) {
    [this.folder, this.authority, this.couch] = [folder, authority, couch];
  }

  static async make(): Promise<Place> {
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-tls-" });
    const couch = await startFakeCouchDb();
    await createDatabase(couch, "orders", idsOf(20));
    return new Place(folder, await Authority.make(folder), couch);
  }

  /** Runs the program over a config whose `database` is `database`. */
  async run(command: string, database: string, more = "", env: Record<string, string> = {}) {
    const bucket = /^bucket:/m.test(more) ? "" : `bucket: "${pathToFileURL(join(this.folder, "bucket")).href}"\n`;
    const { login, password } = this.couch;
    const keys = `login: ${login}, password: ${password}`;
    await Deno.writeTextFile(
      join(this.folder, "config.yaml"),
      `database: {${database}, ${keys}}\ntask: {all: {databases: [orders]}}\n${bucket}${more}`,
    );
    return await startProgram([command, join(this.folder, "config.yaml"), "--json"], env).ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.couch.stop();
    await Deno.remove(this.folder, { recursive: true });
  }
}

Deno.test("ca_file of CouchDB, the S3 server, Loki and the Pushgateway lets each be reached over TLS, and nothing else does", async () => {
  await using place = await Place.make();
  const pair = await place.authority.sign("server", [SAN]);
  const s3 = await FakeS3.start();
  const loki = new FakeLoki();
  let pushed = 0;
  const gateway = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    pushed++;
    return new Response();
  });
  const front = (target: string) => startTlsFront({ target, ...pair });
  await using couchFront = await front(place.couch.url);
  await using s3Front = await front(s3.url);
  await using lokiFront = await front(loki.url);
  await using gatewayFront = await front(`http://127.0.0.1:${gateway.addr.port}`);
  const more = (ca: string) =>
    `bucket: s3://test-bucket/folder\nendpoint: "${s3Front.url}"\ntoken: ${s3.keys.accessKeyId}\nsecret: ${s3.keys.secretAccessKey}\n` +
    `loki: {url: "${lokiFront.url}"${ca && `, ${ca}`}}\nprometheus: {pushgateway: "${gatewayFront.url}"${
      ca && `, ${ca}`
    }}\n${ca}\n`;
  const { code, stderr } = await place.run(
    "backup",
    `url: "${couchFront.url}", ca_file: ca.pem`,
    more("ca_file: ca.pem"),
  );
  assertEquals(code, 0, stderr);
  assertEquals([pushed > 0, loki.lines.length > 0], [true, true], stderr);

  // Without it each is refused, told once, and not tried again.
  const [before, linesBefore] = [pushed, loki.lines.length];
  const refused = await place.run("backup", `url: "${couchFront.url}", ca_file: ca.pem`, more(""));
  assertEquals(refused.code, 11, refused.stderr);
  const [{ error, hint }] = JSON.parse(refused.stdout).tasks[0].databases;
  assertStringIncludes(error, `the certificate of "${s3Front.url}" is refused: it is signed by an unknown authority`);
  assertStringIncludes(hint, "Set ca_file to a PEM file");
  assertStringIncludes(refused.stderr, "Set prometheus.ca_file to a PEM file");
  assertStringIncludes(refused.stderr, "Set loki.ca_file to a PEM file");
  assertEquals([pushed, loki.lines.length], [before, linesBefore]);
  await loki.close();
  await gateway.shutdown();
  await s3.close();
});

/** What Deno's TLS refuses although the authority is known, and what the program says of it. */
const REFUSED: [what: string, make: (authority: Authority) => Promise<Pair>, said: RegExp][] = [
  ["without subjectAltName", (ca) => ca.sign("nosan", ["basicConstraints=CA:FALSE"]), /it has no subjectAltName/],
  ["of X.509 version 1", (ca) => ca.sign("v1", []), /X\.509 version 1/],
  ["for another host", (ca) => ca.sign("other", ["subjectAltName=DNS:other.example"]), /not valid for this host name/],
  ["signed with SHA-1", (ca) => ca.sign("sha1", [SAN], "-days 30 -sha1"), /too weak/],
  ["that has expired", (ca) => ca.sign("expired", [SAN], "-days -1"), /has expired/],
  [
    "of an authority",
    async ({ folder }) => {
      const line =
        "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout own.key -out own.pem -subj /CN=x -addext";
      await runLine(folder, `${line} subjectAltName=IP:127.0.0.1`);
      await runLine(folder, "cat own.pem >> ca.pem");
      return await readPair(folder, "own");
    },
    /CA:TRUE/,
  ],
];

for (const [what, make, said] of REFUSED) {
  Deno.test(`a certificate ${what} is refused once, and the openssl line of the hint makes one that is accepted`, async () => {
    await using place = await Place.make();
    await using front = await startTlsFront({ target: place.couch.url, ...await make(place.authority) });
    const database = `url: "${front.url}", ca_file: ca.pem`;
    const { code, stdout, stderr } = await place.run("backup", database);
    assertEquals(code, 10, stderr);
    const { error: { message, hint } } = JSON.parse(stdout);
    assertMatch(message, said);
    assertEquals(front.connections, 1, "it is not tried again");

    const line = /openssl req .*$/.exec(hint)?.[0];
    if (line === undefined) return assertEquals(what, "that has expired", "only an expired one needs no other making");
    await runLine(place.folder, line);
    const good = await readPair(place.folder, "certificate", "key.pem");
    await using goodFront = await startTlsFront({ target: place.couch.url, ...good });
    const accepted = await place.run("backup", `url: "${goodFront.url}", ca_file: certificate.pem`);
    assertEquals(accepted.code, 0, accepted.stderr);
  });
}

Deno.test("what only a server that is set to it would use is told: a key of 1024 bits, TLS 1.1, certificates of clients", async () => {
  await using place = await Place.make();
  const { folder, authority } = place;
  await authority.sign("good", [SAN]);
  await authority.sign("weak", [SAN], "-days 30 -sha256", 1024);
  const cases: [server: string, said: string][] = [
    ["-cert weak.pem -key weak.key -cipher ALL:@SECLEVEL=0", "its key is too weak (RSA below 2048 bits)"],
    ["-cert good.pem -key good.key -tls1_1 -cipher ALL:@SECLEVEL=0", "no TLS version or cipher in common"],
    ["-cert good.pem -key good.key -tls1_2 -cipher AES128-SHA:@SECLEVEL=0", "no TLS version or cipher in common"],
    ["-cert good.pem -key good.key -Verify 1", "requires a client certificate"],
  ];
  for (const [server, said] of cases) {
    const port = freePort();
    const args = ["s_server", "-accept", `127.0.0.1:${port}`, "-www", ...server.split(" ")];
    const child = new Deno.Command("openssl", { args, cwd: folder, stdin: "null", stdout: "null", stderr: "null" })
      .spawn();
    const listens = () => Deno.connect({ hostname: "127.0.0.1", port }).then((one) => (one.close(), true), () => false);
    await until(listens, "openssl listens");
    const { code, stdout } = await place.run("backup", `url: "https://127.0.0.1:${port}", ca_file: ca.pem`);
    child.kill();
    await child.status;
    assertEquals(code, 10, stdout);
    assertStringIncludes(JSON.parse(stdout).error.message, said, server);
  }
});

Deno.test("https to a server without TLS, and http to one with it, are told as what they are", async () => {
  await using place = await Place.make();
  const plain = await place.run("backup", `url: "${place.couch.url.replace("http:", "https:")}"`);
  assertEquals(plain.code, 10);
  assertStringIncludes(plain.stdout, "does not speak TLS");
  await using front = await startTlsFront({ target: place.couch.url, ...await place.authority.sign("server", [SAN]) });
  const secured = await place.run("backup", `url: "${front.url.replace("https:", "http:")}"`);
  assertEquals(secured.code, 10);
  assertStringIncludes(secured.stdout, "Write https:// instead of http://");
});

Deno.test("DENO_CERT and DENO_TLS_CA_STORE make authorities known to the whole program", async () => {
  await using place = await Place.make();
  await using front = await startTlsFront({ target: place.couch.url, ...await place.authority.sign("server", [SAN]) });
  const run = async (env: Record<string, string>) => await place.run("backup", `url: "${front.url}"`, "", env);
  const ca = place.authority.file;
  assertEquals((await run({})).code, 10);
  assertEquals((await run({ DENO_CERT: ca })).code, 0);
  assertEquals((await run({ DENO_TLS_CA_STORE: "system" })).code, 10);
  // Where the machine's own authorities lie is SSL_CERT_FILE's to say, as for openssl.
  assertEquals((await run({ DENO_TLS_CA_STORE: "system", SSL_CERT_FILE: ca })).code, 0);
  const { code, stdout } = await run({ DENO_CERT: "/nowhere/ca.pem" });
  assertEquals(code, 10);
  assert(stdout.includes("Correct DENO_CERT"), stdout);
});
