import { assertEquals, assertRejects, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { parseConfig } from "../../src/config/config.ts";
import { ConfigError } from "../../src/errors.ts";
import { Certificates } from "../../src/session/certificates.ts";
import { openConfigLog } from "../../src/session/log.ts";
import { openSession } from "../../src/session/open.ts";
import { RecordedLog } from "../fakes/log.ts";

/** Of an authority that nobody has; valid for a hundred years. */
const PEM = `-----BEGIN CERTIFICATE-----
MIIBmDCCAT+gAwIBAgIUIla7F2YPdCxi+k4KHMB8Qf/Q0s8wCgYIKoZIzj0EAwIw
ITEfMB0GA1UEAwwWQXV0aG9yaXR5IG9mIHRoZSB0ZXN0czAgFw0yNjExMjgwMTA0
MTBaGA8yMTI2MTEwNDAxMDQxMFowITEfMB0GA1UEAwwWQXV0aG9yaXR5IG9mIHRo
ZSB0ZXN0czBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJ5RqNvANIfcvfoUb0nB
X0RxU/0XnvLdoEFaQfd6r8xVMKRJnEZ11Hl3debKglTAqdkMtSz72hRg6CTLgzDb
K3GjUzBRMB0GA1UdDgQWBBRMyzchNdotxPcdgQnJiHk4mfn5mjAfBgNVHSMEGDAW
gBRMyzchNdotxPcdgQnJiHk4mfn5mjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49
BAMCA0cAMEQCIGdpE1vvfDF6v0w1BYWPTAlQVughDmwPESkfHbTkh169AiAtxzoF
0RsOkcuRvrBwGP9Uj8aByCaYZfxFIkvUsSm7Og==
-----END CERTIFICATE-----
`;

const PLACES = { database: "4:12", bucket: "9:10", loki: "12:12", pushgateway: "15:12" } as const;
type Server = keyof typeof PLACES;
const SERVERS = Object.keys(PLACES) as Server[];

/** A config whose `ca_file` of some servers is given. */
function configOf(servers: readonly Server[], file = "ca.pem") {
  const ca = (server: Server) => servers.includes(server) ? `ca_file: ${file}` : "# no ca_file";
  const text = `
database:
  url: "https://couchdb.example:6984"
  ${ca("database")}
task:
  weekly: {databases: [".*"]}
bucket: s3://name/folder
endpoint: "https://s3.example"
${ca("bucket")}
loki:
  url: "https://loki.example:3100"
  ${ca("loki")}
prometheus:
  pushgateway: "https://pushgateway.example:9091"
  ${ca("pushgateway")}
token: a
secret: b
`;
  return parseConfig(text, { file: "/etc/backup/config.yaml", env: {} });
}

Deno.test("Certificates reads the file of each server once, relative to the config's folder, when it is wanted", async () => {
  const read: string[] = [];
  const { caFiles } = configOf(SERVERS);
  const certificates = new Certificates(caFiles, {
    readFile: (path) => {
      read.push(path);
      return Promise.resolve(`A key, and a comment.\n${PEM}${PEM}`);
    },
  });
  assertEquals(read, []);
  const first = await certificates.fetchFor("database");
  assertStrictEquals(await certificates.fetchFor("database"), first);
  assertEquals(read, ["/etc/backup/ca.pem"]);
  for (const server of SERVERS) assertEquals(typeof await certificates.fetchFor(server), "function");
  assertEquals(read.length, SERVERS.length);
  await certificates.close();
});

Deno.test("Certificates reads a file again that could not be read, as a service stays for months", async () => {
  let isThere = false;
  const certificates = new Certificates(configOf(["database"]).caFiles, {
    readFile: () => isThere ? Promise.resolve(PEM) : Promise.reject(new Deno.errors.NotFound("no such file")),
  });
  await assertRejects(() => certificates.fetchFor("database"), ConfigError);
  isThere = true;
  assertEquals(typeof await certificates.fetchFor("database"), "function");
  await certificates.close();
});

Deno.test("Certificates leaves a server without a file to the platform's fetch", async () => {
  const certificates = new Certificates(configOf([]).caFiles);
  for (const server of SERVERS) assertStrictEquals(await certificates.fetchFor(server), fetch);
});

Deno.test("Certificates refuses a file that is missing, holds no certificate or a damaged one, and names its place", async () => {
  const cases: [content: string | Error, what: string][] = [
    [new Deno.errors.NotFound("no such file"), "cannot be read"],
    ["", "holds no certificate"],
    ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no certificate"],
    [PEM.replace(/\n.{20}/, "\n"), "has a damaged certificate, number 1 of 1"],
    [`${PEM}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`, "number 2 of 2"],
  ];
  for (const server of SERVERS) {
    const { caFiles } = configOf([server]);
    for (const [content, what] of cases) {
      const readFile = () => content instanceof Error ? Promise.reject(content) : Promise.resolve(content);
      const certificates = new Certificates(caFiles, { readFile });
      const error = await assertRejects(() => certificates.fetchFor(server), ConfigError);
      assertStringIncludes(
        error.message,
        `/etc/backup/config.yaml:${PLACES[server]}: The file "/etc/backup/ca.pem" of `,
      );
      assertStringIncludes(error.message, what);
      assertStringIncludes(error.hint ?? "", "PEM");
    }
  }
});

Deno.test("a ca_file that cannot be used is found when the session opens, CouchDB's when CouchDB is wanted", async () => {
  for (const server of SERVERS) {
    const config = configOf([server], "/nowhere/ca.pem");
    const opening = async () => {
      const log = server === "loki" ? await openConfigLog(config, { level: "info", write() {} }) : undefined;
      await log?.close();
      await using session = await openSession({ config, log: new RecordedLog() });
      if (server === "database") await session.connect();
    };
    const { place } = await assertRejects(opening, ConfigError, "/nowhere/ca.pem");
    assertEquals(
      place.path,
      server === "bucket" ? "ca_file" : `${server === "pushgateway" ? "prometheus" : server}.ca_file`,
    );
  }
});
