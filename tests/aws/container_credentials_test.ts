import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AwsError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { readContainerCredentials } from "../../src/aws/container_credentials.ts";
import { startRoleService } from "../fakes/role_service.ts";

for (const hostname of ["127.0.0.1", "::1"] as const) {
  Deno.test(`readContainerCredentials() asks an agent on ${hostname} with the token of the environment`, async () => {
    await using agent = startRoleService({ hostname, authorization: "Bearer one" });
    const token = new Secret("Bearer one");
    const credentials = await readContainerCredentials({ url: `${agent.url}/container`, token });
    assertEquals([credentials.accessKeyId, credentials.secretAccessKey.reveal()], ["ASIA1", "secret1"]);
  });
}

Deno.test("readContainerCredentials() reads the token's file each time, rather than take the old one", async () => {
  const tokenFile = await Deno.makeTempFile();
  await Deno.writeTextFile(tokenFile, "one\n");
  await using first = startRoleService({ authorization: "one" });
  await readContainerCredentials({ url: `${first.url}/container`, token: new Secret("old"), tokenFile });
  await Deno.writeTextFile(tokenFile, "two");
  await using second = startRoleService({ authorization: "two" });
  await readContainerCredentials({ url: `${second.url}/container`, token: new Secret("old"), tokenFile });
  await Deno.remove(tokenFile);
  const error = await assertRejects(
    () => readContainerCredentials({ url: `${second.url}/container`, tokenFile }),
    AwsError,
  );
  assertMatch(error.message, /^Cannot read the container's token/);
});

Deno.test("readContainerCredentials() tries again when the agent is busy, and says what it answered when that is final", async () => {
  await using agent = startRoleService({ authorization: "one" });
  agent.refuse(500, 2);
  const url = `${agent.url}/container`;
  assertEquals((await readContainerCredentials({ url, token: new Secret("one") })).accessKeyId, "ASIA1");
  assertEquals(agent.requests.length, 3);
  const error = await assertRejects(() => readContainerCredentials({ url, token: new Secret("wrong") }), AwsError);
  assertMatch(error.message, /^Cannot get AWS keys from the container's agent at 127.*: it answered 403$/);
  assertEquals(agent.requests.length, 4);
});

Deno.test("readContainerCredentials() sends the token to no other host in the clear", async () => {
  for (
    const url of ["http://example.com/", "http://169.254.169.254/", "http://127.0.0.1.example.com/", "ftp://x/", "x"]
  ) {
    const error = await assertRejects(() => readContainerCredentials({ url, token: new Secret("one") }), AwsError);
    assertMatch(error.message, /must be an https:\/\/ URL/);
  }
  const encrypted = await assertRejects(() => readContainerCredentials({ url: "https://localhost:1/" }), AwsError);
  assertMatch(encrypted.message, /^Cannot get AWS keys from the container's agent at localhost:1/);
});
