/**
 * AWS by its own names, where a firewall, here a proxy, lets some of them through: a backup whose password is in
 * Secrets Manager and whose bucket is on S3. TLS is by a certificate of the test's own, made by openssl.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { startProgram } from "../cli/program.ts";
import { couchOk } from "../couch_request.ts";
import { type Route, startConnectProxy } from "../fakes/connect_proxy.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { makeHostCertificate } from "../fakes/host_certificate.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { ISSUED, startTokenService } from "../fakes/token_service.ts";

const REGION = "eu-central-1";
const BUCKET = "test-bucket";
const HOSTS = {
  s3: { dual: `s3.dualstack.${REGION}.amazonaws.com`, plain: `s3.${REGION}.amazonaws.com` },
  sts: { dual: `sts.${REGION}.api.aws`, plain: `sts.${REGION}.amazonaws.com` },
  secrets: { dual: `secretsmanager.${REGION}.api.aws`, plain: `secretsmanager.${REGION}.amazonaws.com` },
};
const ARN = `arn:aws:secretsmanager:${REGION}:123456789012:secret:couchdb-AbCdEf`;

/** Takes TLS off before a server of this machine. */
function terminateTls(upstream: string, { cert, key }: { cert: string; key: string }): { port: number } & Disposable {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
  const { hostname, port } = new URL(upstream);
  const accepting = (async () => {
    for await (const client of listener) {
      void (async () => {
        const server = await Deno.connect({ hostname, port: Number(port) });
        await Promise.allSettled([client.readable.pipeTo(server.writable), server.readable.pipeTo(client.writable)]);
      })();
    }
  })().catch(() => undefined); // The listener was closed.
  return {
    port: listener.addr.port,
    [Symbol.dispose]() {
      listener.close();
      void accepting;
    },
  };
}

for (
  const [what, dual, plain] of [
    ["dual-stack names are refused", "refused", "open"],
    ["dual-stack names are silent", "silent", "open"],
    ["all names are open", "open", "open"],
    ["older names are silent", "open", "silent"],
  ] as const
) {
  Deno.test(`a backup to AWS where ${what}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-aws-" });
    const hosts = Object.values(HOSTS).flatMap(({ dual, plain }) => [dual, plain]);
    const certificates = await makeHostCertificate(folder, hosts);
    const s3Of = (virtualHost: string) => FakeS3.start({ region: REGION, virtualHost });
    const [s3Dual, s3Plain] = [await s3Of(HOSTS.s3.dual), await s3Of(HOSTS.s3.plain)];
    await using couch = await startFakeCouchDb();
    const manager = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      (request) =>
        request.method === "HEAD"
          ? new Response(null, { status: 404 })
          : Response.json({ SecretString: couch.password }),
    );
    const managerUrl = `http://127.0.0.1:${manager.addr.port}`;
    try {
      await couchOk(couch, "PUT /a");
      await couchOk(couch, "POST /a/_bulk_docs", { docs: [{ _id: "one" }] });
      using s3DualTls = terminateTls(s3Dual.url, certificates);
      using s3PlainTls = terminateTls(s3Plain.url, certificates);
      using managerTls = terminateTls(managerUrl, certificates);
      const ports: Record<string, Route> = {
        [`${BUCKET}.${HOSTS.s3.dual}`]: dual === "open" ? s3DualTls.port : dual,
        [`${BUCKET}.${HOSTS.s3.plain}`]: plain === "open" ? s3PlainTls.port : plain,
        [HOSTS.secrets.dual]: dual === "open" ? managerTls.port : dual,
        [HOSTS.secrets.plain]: plain === "open" ? managerTls.port : plain,
      };
      using proxy = await startConnectProxy((host) => ports[host] ?? "refused");
      await Deno.writeTextFile(
        `${folder}/config.yaml`,
        `database: {url: "${couch.url}", login: ${couch.login}, password_secret: "${ARN}"}
task: {t: {databases: [a]}}
bucket: s3://${BUCKET}/folder
region: ${REGION}
token: "${s3Dual.keys.accessKeyId}"
secret: "${s3Dual.keys.secretAccessKey}"
`,
      );
      const env = { HTTPS_PROXY: proxy.url, NO_PROXY: "127.0.0.1", DENO_CERT: certificates.ca };
      const started = performance.now();
      const { code, stderr } = await startProgram(["backup", `${folder}/config.yaml`, "--json"], env).ended;
      assertEquals(code, 0, stderr);
      assert(performance.now() - started < 20_000, "it fell back at once");
      const { code: verified } = await startProgram(["verify", "a", "latest", "--config", `${folder}/config.yaml`], env)
        .ended;
      assertEquals(verified, 0);
      const [used, other] = dual === "open" ? [s3Dual, s3Plain] : [s3Plain, s3Dual];
      assert(used.count("PutObject") > 0);
      assertEquals(other.count("PutObject"), 0);
      if (dual === "open") assertEquals(proxy.hosts.filter((host) => host.endsWith(HOSTS.s3.plain)), []);
      // Asked once a process, however many requests follow.
      else assertEquals(proxy.hosts.filter((host) => host.endsWith(HOSTS.s3.dual)).length, 2);
    } finally {
      await manager.shutdown();
      for (const s3 of [s3Dual, s3Plain]) await s3.close();
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("a backup to AWS where no name is reachable says which were asked, and what a VPC needs", async () => {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-aws-" });
  using proxy = await startConnectProxy(() => "refused");
  try {
    await Deno.writeTextFile(
      `${folder}/config.yaml`,
      `database: {url: "http://127.0.0.1:1"}
task: {t: {databases: [a]}}
bucket: s3://${BUCKET}/folder
region: ${REGION}
token: t
secret: s
`,
    );
    const env = { HTTPS_PROXY: proxy.url, NO_PROXY: "127.0.0.1" };
    const { code, stderr } = await startProgram(["list", "--config", `${folder}/config.yaml`], env).ended;
    assertEquals(code, 11);
    assertStringIncludes(stderr, `no answer from ${BUCKET}.${HOSTS.s3.dual} or ${BUCKET}.${HOSTS.s3.plain}`);
    assertStringIncludes(stderr, "in a VPC S3 needs a gateway or interface endpoint");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

for (const plain of ["refused", "silent", "open"] as const) {
  Deno.test(`a backup with a web identity asks STS through the proxy, by an authority of DENO_CERT, where its older name is ${plain}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-aws-" });
    const certificates = await makeHostCertificate(folder, Object.values(HOSTS.sts));
    await using couch = await startFakeCouchDb();
    await using service = startTokenService();
    const { accessKeyId, secretAccessKey, sessionToken } = ISSUED;
    const s3 = await FakeS3.start({ accessKeyId, secretAccessKey, sessionToken });
    try {
      await couchOk(couch, "PUT /a");
      using tls = terminateTls(service.url, certificates);
      const routes: Record<string, Route> = {
        [HOSTS.sts.dual]: tls.port,
        [HOSTS.sts.plain]: plain === "open" ? tls.port : plain,
      };
      using proxy = await startConnectProxy((host) => routes[host] ?? "refused");
      await Deno.writeTextFile(`${folder}/token`, "token-of-the-pod");
      await Deno.writeTextFile(
        `${folder}/config.yaml`,
        `database: {url: "${couch.url}", login: ${couch.login}, password: "${couch.password}"}
task: {t: {databases: [a]}}
bucket: s3://test-bucket/folder
`,
      );
      const env = {
        HTTPS_PROXY: proxy.url,
        NO_PROXY: "127.0.0.1",
        DENO_CERT: certificates.ca,
        // Those of the tier's S3 server would come first.
        AWS_ACCESS_KEY_ID: "",
        AWS_REGION: REGION,
        AWS_ENDPOINT_URL_S3: s3.url,
        AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/backup",
        AWS_WEB_IDENTITY_TOKEN_FILE: `${folder}/token`,
      };
      s3.keys.region = REGION;
      const { code, stderr } = await startProgram(["backup", `${folder}/config.yaml`], env).ended;
      assertEquals(code, 0, stderr);
      const asked = proxy.hosts.filter((host) => host.startsWith("sts."));
      assertEquals(asked, plain === "open" ? [HOSTS.sts.plain] : [HOSTS.sts.plain, HOSTS.sts.dual]);
      const { DENO_CERT: _, ...without } = env;
      const refused = await startProgram(["backup", `${folder}/config.yaml`], without).ended;
      if (plain === "open") assertStringIncludes(refused.stderr, "Set the variable DENO_CERT");
      else assert(refused.code !== 0);
    } finally {
      await s3.close();
      await Deno.remove(folder, { recursive: true });
    }
  });
}
