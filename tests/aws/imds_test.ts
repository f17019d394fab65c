import { assert, assertEquals, assertRejects } from "@std/assert";
import { AwsError } from "../../src/errors.ts";
import { METADATA_ENDPOINTS, readInstanceCredentials } from "../../src/aws/imds.ts";
import { startBlackHole, startRoleService } from "../fakes/role_service.ts";

const CLOSED_V4 = "http://127.0.0.1:1";
const CLOSED_V6 = "http://[::1]:1";

for (const hostname of ["127.0.0.1", "::1"] as const) {
  Deno.test(`readInstanceCredentials() finds a service that is on ${hostname} alone`, async () => {
    await using service = startRoleService({ hostname });
    const endpoints = hostname === "::1" ? [CLOSED_V4, service.url] : [service.url, CLOSED_V6];
    const credentials = await readInstanceCredentials({ endpoints });
    assertEquals(credentials?.accessKeyId, "ASIA1");
    assertEquals(credentials?.secretAccessKey.reveal(), "secret1");
    assertEquals(credentials?.sessionToken?.reveal(), "session1");
    const lastsMs = credentials!.expiresAt!.getTime() - Date.now();
    assert(lastsMs > 5.9 * 3600_000 && lastsMs <= 6 * 3600_000, `${lastsMs}`);
    assertEquals(service.requests, [
      "PUT /latest/api/token",
      "GET /latest/meta-data/iam/security-credentials/",
      "GET /latest/meta-data/iam/security-credentials/backup-role",
    ]);
  });
}

Deno.test("readInstanceCredentials() does not wait for the address that does not answer", async () => {
  await using service = startRoleService({ hostname: "::1" });
  using nowhere = startBlackHole();
  const started = performance.now();
  assertEquals((await readInstanceCredentials({ endpoints: [nowhere.url, service.url] }))?.accessKeyId, "ASIA1");
  assert(performance.now() - started < 900);
});

Deno.test("readInstanceCredentials() gives up when nothing has answered twice, within some seconds", async () => {
  using first = startBlackHole();
  using second = startBlackHole("::1");
  const started = performance.now();
  assertEquals(await readInstanceCredentials({ endpoints: [first.url, second.url] }), undefined);
  const tookMs = performance.now() - started;
  assert(tookMs > 2_900 && tookMs < 5_000, `${tookMs} ms`);
  assertEquals(await readInstanceCredentials({ endpoints: [CLOSED_V4, CLOSED_V6] }), undefined);
});

Deno.test("readInstanceCredentials() is patient with a service that is busy", async () => {
  await using service = startRoleService();
  // Once the token is there, the next two requests are refused.
  service.refuse(503, 2, { after: 1 });
  assertEquals((await readInstanceCredentials({ endpoints: [service.url] }))?.accessKeyId, "ASIA1");
  assertEquals(service.requests.length, 5);
});

Deno.test("readInstanceCredentials() asks for the token again when that failed, was slow or cut off once", async () => {
  for (const status of [503, 500, 429]) {
    await using service = startRoleService();
    service.refuse(status);
    setTimeout(() => service.refuse(0, 0), 50);
    assertEquals((await readInstanceCredentials({ endpoints: [service.url] }))?.accessKeyId, "ASIA1", `${status}`);
  }
  await using slow = startRoleService();
  slow.delayOnce(1_300);
  assertEquals((await readInstanceCredentials({ endpoints: [CLOSED_V6, slow.url] }))?.accessKeyId, "ASIA1");
  assertEquals(slow.requests.filter((request) => request.startsWith("PUT")).length, 2);

  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const asking = readInstanceCredentials({ endpoints: [`http://127.0.0.1:${port}`] });
  (await listener.accept()).close();
  listener.close();
  await using _service = startRoleService({ port });
  assertEquals((await asking)?.accessKeyId, "ASIA1");
});

Deno.test("readInstanceCredentials() takes a service that is busy for one that is there, and says so in the end", async () => {
  await using service = startRoleService();
  service.refuse(503);
  const error = await assertRejects(() => readInstanceCredentials({ endpoints: [CLOSED_V6, service.url] }), AwsError);
  assertEquals([error.facts.code, service.requests.length], ["no_credentials", 4]);
});

Deno.test("readInstanceCredentials() says what is wrong when the service has no keys", async () => {
  await using roleless = startRoleService({ role: undefined });
  await using refusing = startRoleService();
  refusing.refuse(403);
  await using broken = startRoleService();
  broken.answerWith('{"SecretAccessKey":"do not show"}');
  await using untaken = startRoleService();
  untaken.answerWith(
    '{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role","SecretAccessKey":"do not show"}',
  );
  const table: [string, RegExp][] = [
    [roleless.url, /metadata service at 127\.0\.0\.1:\d+: it answered 404$/],
    [refusing.url, /it answered 403 to the request for a token$/],
    [broken.url, /its answer has no usable "AccessKeyId"$/],
    [untaken.url, /it says AssumeRoleUnauthorizedAccess: EC2 cannot assume the role$/],
  ];
  for (const [url, message] of table) {
    const error = await assertRejects(() => readInstanceCredentials({ endpoints: [url] }), AwsError);
    assertEquals([error.facts.code, message.test(error.message), error.message.includes("do not show")], [
      "no_credentials",
      true,
      false,
    ], error.message);
  }
});

Deno.test("METADATA_ENDPOINTS are AWS's addresses of both families", () => {
  assertEquals(METADATA_ENDPOINTS, ["http://169.254.169.254", "http://[fd00:ec2::254]"]);
});
