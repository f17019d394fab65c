import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { AwsError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { PERMISSIONS } from "../../scripts/run_flags.ts";
import { onEitherStack, openCredentials, type StsConfig } from "../../src/aws/credential_chain.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { KeySources } from "../../src/aws/options.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { startRoleService } from "../fakes/role_service.ts";

/** A machine with no keys anywhere. */
const NOWHERE: KeySources = { profileFiles: [], webIdentity: false, metadataEndpoints: [] };

async function profileFile(text: string): Promise<string> {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, text);
  return file;
}

/** Sets variables that the AWS SDK reads by itself while `work` goes. */
async function withEnvironment(variables: Record<string, string>, work: () => Promise<void>): Promise<void> {
  const before = Object.keys(variables).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
  try {
    await work();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}

Deno.test("openCredentials() gives the keys of the config before it looks anywhere", async () => {
  await using instance = startRoleService();
  const keySources = { ...NOWHERE, metadataEndpoints: [instance.url] };
  const provider = openCredentials({ accessKeyId: "AKIA", secretAccessKey: new Secret("s"), keySources });
  assertEquals((await provider()).accessKeyId, "AKIA");
  assertEquals(instance.requests, []);
});

Deno.test("openCredentials() refuses half a pair of keys, and no keys without a place to look", () => {
  assertThrows(() => openCredentials({ accessKeyId: "AKIA", keySources: NOWHERE }), AwsError, "no secret is given");
  assertThrows(() => openCredentials({ secretAccessKey: new Secret("s") }), AwsError, "no token is given");
  assertThrows(() => openCredentials({}), AwsError, "no token is given");
});

Deno.test("openCredentials() takes a container's keys before the instance's, and either once for many requests", async () => {
  await using agent = startRoleService();
  await using instance = startRoleService();
  const both = { ...NOWHERE, container: { url: `${agent.url}/container` }, metadataEndpoints: [instance.url] };
  const inContainer = openCredentials({ keySources: both });
  await Promise.all([inContainer(), inContainer()]);
  assertEquals([agent.issued(), instance.issued()], [1, 0]);
  const onInstance = openCredentials({ keySources: { ...NOWHERE, metadataEndpoints: [instance.url] } });
  assertEquals((await onInstance()).accessKeyId, "ASIA1");
  await onInstance();
  assertEquals(instance.issued(), 1);
});

Deno.test("openCredentials() takes the keys of a profile", async () => {
  const file = await profileFile(
    "[default]\naws_access_key_id = D\naws_secret_access_key = d\n\n[work]\naws_access_key_id = W\naws_secret_access_key = w\naws_session_token = t\n",
  );
  await withEnvironment({ AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: "/dev/null" }, async () => {
    const work = await openCredentials({ keySources: { ...NOWHERE, profile: "work", profileFiles: [file] } })();
    assertEquals([work.accessKeyId, work.secretAccessKey.reveal(), work.sessionToken?.reveal()], ["W", "w", "t"]);
    const fallback = await openCredentials({ keySources: { ...NOWHERE, profileFiles: [file] } })();
    assertEquals([fallback.accessKeyId, fallback.sessionToken], ["D", undefined]);
    const error = await assertRejects(
      openCredentials({ keySources: { ...NOWHERE, profile: "typo", profileFiles: [file] } }),
      AwsError,
      'Cannot use the AWS profile "typo"',
    );
    assertEquals(error.facts.code, "no_credentials");
  });
  await Deno.remove(file);
});

Deno.test("openCredentials() takes the keys of a profile with no more than the program's permissions", async () => {
  const file = await profileFile("[work]\naws_access_key_id = W\naws_secret_access_key = w\n");
  const { stdout, stderr } = await new Deno.Command("deno", {
    args: ["run", "--quiet", "--no-prompt", ...PERMISSIONS, "tests/fakes/profile_program.ts", file],
    env: { AWS_PROFILE: "work", AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: "/dev/null" },
  }).output();
  assertEquals([new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)], ["W", ""]);
  await Deno.remove(file);
});

Deno.test("openCredentials() looks on where the default profile has no keys", async () => {
  const file = await profileFile("[default]\nregion = eu-central-1\n");
  await using instance = startRoleService({ hostname: "::1" });
  await withEnvironment({ AWS_SHARED_CREDENTIALS_FILE: "/dev/null", AWS_CONFIG_FILE: file }, async () => {
    const keySources = { ...NOWHERE, profileFiles: [file], metadataEndpoints: [instance.url] };
    assertEquals((await openCredentials({ keySources })()).accessKeyId, "ASIA1");
  });
  await Deno.remove(file);
});

Deno.test("openCredentials() takes a role by web identity from the token service", async () => {
  const bodies: string[] = [];
  const expiration = new Date(Date.now() + 3600_000).toISOString();
  await using service = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    bodies.push(await request.text());
    return new Response(
      `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
        <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAW</AccessKeyId><SecretAccessKey>w</SecretAccessKey>
        <SessionToken>t</SessionToken><Expiration>${expiration}</Expiration></Credentials>
        </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
      { headers: { "Content-Type": "text/xml" } },
    );
  });
  const file = await profileFile("token-of-the-pod");
  const variables = {
    AWS_WEB_IDENTITY_TOKEN_FILE: file,
    AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/backup",
    AWS_REGION: "eu-central-1",
    AWS_ENDPOINT_URL_STS: `http://127.0.0.1:${service.addr.port}`,
  };
  await withEnvironment(variables, async () => {
    const credentials = await openCredentials({ keySources: { ...NOWHERE, webIdentity: true } })();
    assertEquals([credentials.accessKeyId, credentials.expiresAt?.toISOString()], ["ASIAW", expiration]);
  });
  assertMatch(bodies[0]!, /WebIdentityToken=token-of-the-pod/);
  await Deno.remove(file);
});

Deno.test("openCredentials() tells every place it has looked in when there are no keys", async () => {
  const provider = openCredentials({ keySources: { ...NOWHERE, metadataEndpoints: ["http://[::1]:1"] } });
  const error = await assertRejects(provider, AwsError);
  for (const word of ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "RELATIVE_URI", "IPv6"]) {
    assert(error.message.includes(word), `${word} is missing in: ${error.message}`);
  }
  assertEquals(error.facts.code, "no_credentials");
});

Deno.test("S3Store goes on with new keys of the instance's role when the old ones end in the middle of a run", async () => {
  const s3 = await FakeS3.start({ hostname: "::1" });
  // From the moment at which new keys are issued the server takes no others.
  await using instance = startRoleService({
    hostname: "::1",
    lifetimeMs: 5 * 60_000 + 1_500,
    onIssue: ({ accessKeyId, secretAccessKey, sessionToken }) =>
      Object.assign(s3.keys, { accessKeyId, secretAccessKey, sessionToken }),
  });
  const store = new S3Store({
    bucket: "s3://test-bucket/folder",
    endpoint: s3.url,
    region: s3.keys.region,
    keySources: { ...NOWHERE, metadataEndpoints: ["http://127.0.0.1:1", instance.url] },
  });
  const started = performance.now();
  let stored = 0;
  while (instance.issued() < 3 && performance.now() - started < 20_000) {
    await store.replace(`object${stored++}`, new Uint8Array([1]));
    // In real time: the signatures are dated by this clock, and so are the keys.
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assertEquals(instance.issued(), 3);
  const keys = new Set(s3.requests.map(({ headers }) => /Credential=(\w+)/.exec(headers.authorization!)?.[1]));
  assertEquals([...keys], ["ASIA1", "ASIA2", "ASIA3"]);
  assertEquals(s3.requests.every(({ status }) => status === 200), true);
  await s3.close();
});

Deno.test("onEitherStack() asks STS at its other address where one cannot be reached, and says what the first one failed with", async () => {
  const asked: (boolean | undefined)[] = [];
  const failing = (...failures: Error[]) => ({ useDualstackEndpoint }: StsConfig) => {
    asked.push(useDualstackEndpoint);
    const failure = failures.shift();
    return failure === undefined ? Promise.resolve("keys") : Promise.reject(failure);
  };
  const gone = (code: string) => Object.assign(new Error(code), { code });
  assertEquals(await onEitherStack(failing()), "keys");
  assertEquals(await onEitherStack(failing(gone("ENOTFOUND"))), "keys");
  const silent = Object.assign(new Error("silent"), { name: "TimeoutError" });
  assertEquals(await onEitherStack(failing(new Error("no", { cause: gone("ECONNREFUSED") }), silent)), "keys");
  assertEquals(asked, [undefined, undefined, true, undefined, true, false]);
  const all = failing(gone("ENOTFOUND"), silent, gone("ENETUNREACH"));
  await assertRejects(() => onEitherStack(all), Error, "ENOTFOUND");
  await assertRejects(() => onEitherStack(failing(new Error("AccessDenied"))), Error, "AccessDenied");
});
