import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { AwsError, StoreError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { bundle } from "../../scripts/bundle.ts";
import { onEitherStack, openCredentials, type SdkConfig } from "../../src/aws/credential_chain.ts";
import { S3Store } from "../../src/store/s3/store.ts";
import type { KeySources } from "../../src/aws/options.ts";
import { startConnectProxy } from "../fakes/connect_proxy.ts";
import { FakeS3 } from "../fakes/s3.ts";
import type { FoundCredentials } from "../fakes/credentials_program.ts";
import { startRoleService } from "../fakes/role_service.ts";
import { ISSUED, startTokenService } from "../fakes/token_service.ts";
import { runInOwnProcess } from "../own_process.ts";

const PROGRAM = "tests/fakes/credentials_program.ts";
const BUNDLE_NAME = "credentials_program.js";

/** As the program is run: in layer and image, in a deb or rpm, and by whoever works on it. */
const FORMS: [form: string, make: (folder: string) => Promise<string>][] = [
  ["from the sources", () => Promise.resolve(PROGRAM)],
  ["bundled", async (folder) => {
    await bundle(folder, { entries: [PROGRAM], lazy: true });
    return `${folder}/${BUNDLE_NAME}`;
  }],
  ["bundled into one file", async (folder) => {
    await bundle(folder, { entries: [PROGRAM], splitting: false });
    return `${folder}/${BUNDLE_NAME}`;
  }],
];

/** A machine with no keys anywhere. */
const NOWHERE: KeySources = { profileFiles: [], webIdentity: false, metadataEndpoints: [] };

async function profileFile(text: string): Promise<string> {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, text);
  return file;
}

/** What `openCredentials()` finds where the environment has these variables, which the AWS SDK reads by itself. */
async function findWith(
  env: Record<string, string>,
  keySources: KeySources,
  program: string = PROGRAM,
  ...more: string[]
): Promise<FoundCredentials> {
  return await runInOwnProcess(program, [JSON.stringify(keySources), ...more], { env }) as FoundCredentials;
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
  const env = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: "/dev/null" };
  const sources = { ...NOWHERE, profileFiles: [file] };
  assertEquals(await findWith(env, { ...sources, profile: "work" }), {
    accessKeyId: "W",
    secretAccessKey: "w",
    sessionToken: "t",
  });
  assertEquals(await findWith(env, sources), { accessKeyId: "D", secretAccessKey: "d" });
  const { error } = await findWith(env, { ...sources, profile: "typo" });
  assertEquals(error?.code, "no_credentials");
  assertStringIncludes(error!.message, 'Cannot use the AWS profile "typo"');
  await Deno.remove(file);
});

Deno.test("openCredentials() reads a profile again whose keys are refused", async () => {
  const text = (id: string) => `[work]\naws_access_key_id = ${id}\naws_secret_access_key = w\naws_session_token = t\n`;
  const file = await profileFile(text("OLD"));
  const env = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: "/dev/null" };
  const sources = { ...NOWHERE, profile: "work", profileFiles: [file] };
  assertEquals((await findWith(env, sources, PROGRAM, file, text("NEW"))).accessKeyId, "NEW");
  await Deno.remove(file);
});

Deno.test("openCredentials() looks on where the default profile has no keys", async () => {
  const file = await profileFile("[default]\nregion = eu-central-1\n");
  await using instance = startRoleService({ hostname: "::1" });
  const env = { AWS_SHARED_CREDENTIALS_FILE: "/dev/null", AWS_CONFIG_FILE: file };
  const found = await findWith(env, { ...NOWHERE, profileFiles: [file], metadataEndpoints: [instance.url] });
  assertEquals(found.accessKeyId, "ASIA1");
  await Deno.remove(file);
});

for (const [form, make] of FORMS) {
  Deno.test(`openCredentials() ${form} takes a role by web identity from the token service, with HOME and without`, async () => {
    await using service = startTokenService();
    const folder = await Deno.makeTempDir();
    const program = await make(folder);
    const file = await profileFile("token-of-the-pod");
    const env = {
      AWS_WEB_IDENTITY_TOKEN_FILE: file,
      AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/backup",
      AWS_ENDPOINT_URL_STS: service.url,
    };
    const sources = { ...NOWHERE, webIdentity: true, region: "eu-central-1" };
    assertEquals(await findWith(env, sources, program), ISSUED);
    assertEquals(await findWith({ ...env, HOME: "" }, sources, program), ISSUED);
    for (const { body, userAgent } of service.asked) {
      assertMatch(body, /WebIdentityToken=token-of-the-pod/);
      assertMatch(userAgent, /^couchdb-backup\//);
    }
    assertEquals(service.asked.length, 2);
    await Deno.remove(file);
    await Deno.remove(folder, { recursive: true });
  });

  Deno.test(`openCredentials() ${form} takes the role of a profile, in the region of the config`, async () => {
    await using service = startTokenService();
    const folder = await Deno.makeTempDir();
    const program = await make(folder);
    const file = await profileFile(
      "[base]\naws_access_key_id = B\naws_secret_access_key = b\n" +
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/backup\nsource_profile = base\n",
    );
    const env = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: file, AWS_ENDPOINT_URL_STS: service.url };
    const found = await findWith(
      env,
      { ...NOWHERE, profile: "role", profileFiles: [file], region: "eu-central-1" },
      program,
    );
    assertEquals(found, ISSUED);
    const [{ body, authorization }] = service.asked as [typeof service.asked[number]];
    assertMatch(body, /Action=AssumeRole&.*role%2Fbackup/);
    assertMatch(authorization, /Credential=B\/\d+\/eu-central-1\/sts\//);
    await Deno.remove(file);
    await Deno.remove(folder, { recursive: true });
  });

  Deno.test(`openCredentials() ${form} takes a profile with SSO, and renews its token`, async () => {
    await using service = startTokenService();
    const folder = await Deno.makeTempDir();
    const program = await make(folder);
    const home = await Deno.makeTempDir();
    await Deno.mkdir(`${home}/.aws/sso/cache`, { recursive: true });
    await Deno.writeTextFile(
      `${home}/.aws/config`,
      "[profile sso]\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = backup\n" +
        "[sso-session work]\nsso_start_url = https://sso.example.com\nsso_region = eu-central-1\n",
    );
    const name = createHash("sha1").update("work").digest("hex");
    const token = {
      startUrl: "https://sso.example.com",
      region: "eu-central-1",
      accessToken: "old",
      expiresAt: new Date(Date.now() - 60_000).toISOString(),
      clientId: "c",
      clientSecret: "s",
      refreshToken: "r",
      registrationExpiresAt: new Date(Date.now() + 3600_000).toISOString(),
    };
    await Deno.writeTextFile(`${home}/.aws/sso/cache/${name}.json`, JSON.stringify(token));
    const env = {
      HOME: home,
      AWS_ENDPOINT_URL_SSO: service.url,
      AWS_ENDPOINT_URL_SSO_OIDC: service.url,
    };
    const found = await findWith(env, { ...NOWHERE, profile: "sso", profileFiles: [`${home}/.aws/config`] }, program);
    assertEquals(found, ISSUED);
    assertEquals(service.asked.length, 2);
    await Deno.remove(home, { recursive: true });
    await Deno.remove(folder, { recursive: true });
  });
}

/** A profile with SSO in a home folder, with a token that holds. */
async function ssoHome(): Promise<string> {
  const home = await Deno.makeTempDir();
  await Deno.mkdir(`${home}/.aws/sso/cache`, { recursive: true });
  await Deno.writeTextFile(
    `${home}/.aws/config`,
    "[profile sso]\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = backup\n" +
      "[sso-session work]\nsso_start_url = https://sso.example.com\nsso_region = us-west-2\n",
  );
  const name = createHash("sha1").update("work").digest("hex");
  const expiresAt = new Date(Date.now() + 3600_000).toISOString();
  const token = { startUrl: "https://sso.example.com", region: "us-west-2", accessToken: "a", expiresAt };
  await Deno.writeTextFile(`${home}/.aws/sso/cache/${name}.json`, JSON.stringify(token));
  return home;
}

Deno.test("openCredentials() asks SSO in its own region, whatever that of the config is, through the proxy", async () => {
  const home = await ssoHome();
  using proxy = await startConnectProxy(() => "refused");
  const sources = { ...NOWHERE, profile: "sso", profileFiles: [`${home}/.aws/config`], region: "eu-central-1" };
  const { error } = await findWith({ HOME: home, HTTPS_PROXY: proxy.url }, sources);
  assertStringIncludes(error!.message, "Cannot use the AWS profile");
  assertEquals(error!.code, "unreachable");
  const [first, dual] = proxy.hosts.filter((host) => host.startsWith("portal."));
  assertEquals([first, dual], ["portal.sso.us-west-2.amazonaws.com", "portal.sso.us-west-2.api.aws"]);
  await Deno.remove(home, { recursive: true });
});

Deno.test("openCredentials() says that a token service of one's own is out of reach, and nothing of other addresses", async () => {
  const file = await profileFile("token-of-the-pod");
  const env = {
    AWS_WEB_IDENTITY_TOKEN_FILE: file,
    AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/backup",
    AWS_ENDPOINT_URL_STS: "http://127.0.0.1:1",
  };
  const { error } = await findWith(env, { ...NOWHERE, webIdentity: true });
  assertEquals(error?.code, "unreachable");
  assertStringIncludes(error!.described, "no answer from 127.0.0.1:1");
  await Deno.remove(file);
});

Deno.test("openCredentials() takes a profile with a web identity of its own, also as the source of another role", async () => {
  await using service = startTokenService();
  const token = await profileFile("token-of-the-pod");
  const file = await profileFile(
    `[profile pod]\nrole_arn = arn:aws:iam::123456789012:role/pod\nweb_identity_token_file = ${token}\n` +
      "[profile other]\nrole_arn = arn:aws:iam::210987654321:role/other\nsource_profile = pod\n",
  );
  const env = { AWS_SHARED_CREDENTIALS_FILE: "/dev/null", AWS_CONFIG_FILE: file, AWS_ENDPOINT_URL_STS: service.url };
  for (const region of ["eu-central-1", undefined]) {
    for (const profile of ["pod", "other"]) {
      assertEquals(await findWith(env, { ...NOWHERE, profile, profileFiles: [file], region }), ISSUED);
    }
  }
  const actions = service.asked.map(({ body }) => /Action=(\w+)/.exec(body)![1]);
  const chained = ["AssumeRoleWithWebIdentity", "AssumeRoleWithWebIdentity", "AssumeRole"];
  assertEquals(actions, [...chained, ...chained]);
  for (const { userAgent } of service.asked) assertMatch(userAgent, /^couchdb-backup\//);
  await Deno.remove(token);
  await Deno.remove(file);
});

Deno.test("openCredentials() says that a code of multi-factor authentication cannot be typed, and does not die of a source that fails", async () => {
  await using service = startTokenService();
  const role = "role_arn = arn:aws:iam::123456789012:role/backup\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n";
  const file = await profileFile(
    `[base]\naws_access_key_id = B\naws_secret_access_key = b\n[profile mfa]\n${role}source_profile = base\n` +
      `[profile broken]\n${role}source_profile = nobody\n`,
  );
  const env = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: file, AWS_ENDPOINT_URL_STS: service.url };
  const mfa = await findWith(env, { ...NOWHERE, profile: "mfa", profileFiles: [file] });
  assertStringIncludes(mfa.error!.described, "multi-factor authentication (mfa_serial), which cannot be typed here");
  const broken = await findWith(env, { ...NOWHERE, profile: "broken", profileFiles: [file] });
  assertStringIncludes(broken.error!.described, "nobody");
  assertEquals(service.asked, []);
  await Deno.remove(file);
});

Deno.test("openCredentials() takes a profile of aws login", async () => {
  const home = await Deno.makeTempDir();
  const session = "arn:aws:iam::123456789012:user/me";
  const folder = `${home}/.aws/login/cache`;
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(
    `${home}/.aws/config`,
    `[profile login]\nlogin_session = ${session}\nregion = eu-central-1\n`,
  );
  const { accessKeyId, secretAccessKey, sessionToken, expiresAt } = ISSUED;
  const accessToken = { accessKeyId, secretAccessKey, sessionToken, expiresAt, accountId: "123456789012" };
  const name = createHash("sha256").update(session).digest("hex");
  const token = { accessToken, clientId: "c", refreshToken: "r", dpopKey: "k" };
  await Deno.writeTextFile(`${folder}/${name}.json`, JSON.stringify(token));
  const sources = { ...NOWHERE, profile: "login", profileFiles: [`${home}/.aws/config`] };
  assertEquals(await findWith({ HOME: home }, sources), ISSUED);
  await Deno.remove(home, { recursive: true });
});

Deno.test("openCredentials() takes no other keys where the default profile has a role that is refused", async () => {
  await using instance = startRoleService();
  const refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>";
  const headers = { "Content-Type": "text/xml" };
  await using service = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(refusal, { status: 403, headers }),
  );
  const file = await profileFile(
    "[base]\naws_access_key_id = B\naws_secret_access_key = b\n" +
      "[default]\nrole_arn = arn:aws:iam::123456789012:role/backup\nsource_profile = base\n",
  );
  const env = {
    AWS_SHARED_CREDENTIALS_FILE: file,
    AWS_CONFIG_FILE: "/dev/null",
    AWS_ENDPOINT_URL_STS: `http://127.0.0.1:${service.addr.port}`,
  };
  const { error } = await findWith(env, { ...NOWHERE, profileFiles: [file], metadataEndpoints: [instance.url] });
  assertEquals([error?.described, error?.code], ['Cannot use the AWS profile "default": not you', "keys_refused"]);
  assertEquals(instance.requests, []);
  await Deno.remove(file);
});

Deno.test("openCredentials() says that a profile's credential_process is not run, and what to do", async () => {
  const file = await profileFile("[default]\ncredential_process = /bin/true\n");
  const env = { AWS_SHARED_CREDENTIALS_FILE: "/dev/null", AWS_CONFIG_FILE: file };
  const sources = { ...NOWHERE, profileFiles: [file] };
  const named = await findWith(env, { ...sources, profile: "default" });
  assertEquals(named.error?.message, 'Cannot use the AWS profile "default": its credential_process is not run');
  const { error } = await findWith(env, sources);
  assertStringIncludes(error!.message, "profile: its credential_process is not run; web identity:");
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

Deno.test("openCredentials() tells of half a pair of keys in the environment, also where the instance's service refuses", async () => {
  const nowhere = { ...NOWHERE, unpaired: "AWS_ACCESS_KEY_ID" };
  const half =
    "AWS_ACCESS_KEY_ID is set without the other one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; profile:";
  const silent = openCredentials({ keySources: { ...nowhere, metadataEndpoints: ["http://[::1]:1"] } });
  assertStringIncludes((await assertRejects(silent, AwsError)).message, half);
  await using refusing = Deno.serve(
    { port: 0, hostname: "::1", onListen() {} },
    () => new Response("", { status: 403 }),
  );
  const url = `http://[::1]:${refusing.addr.port}`;
  const error = await assertRejects(
    openCredentials({ keySources: { ...nowhere, metadataEndpoints: [url] } }),
    AwsError,
  );
  assertStringIncludes(error.message, "it answered 403 to the request for a token (environment: ");
  assertStringIncludes(error.message, half);
  assertEquals(error.facts, { code: "no_credentials", status: 403 });
  assertStringIncludes(error.hint ?? "", "Set token and secret in the config");
  assertStringIncludes(error.hint ?? "", "Check the instance's metadata options");
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

Deno.test("S3Store takes the keys that have replaced those of a container's agent, which are refused before their end", async () => {
  const s3 = await FakeS3.start();
  await using agent = startRoleService({
    onIssue: ({ accessKeyId, secretAccessKey, sessionToken }) =>
      Object.assign(s3.keys, { accessKeyId, secretAccessKey, sessionToken }),
  });
  const keySources = { ...NOWHERE, container: { url: `${agent.url}/container` } };
  const store = new S3Store({
    bucket: "s3://test-bucket/folder",
    endpoint: s3.url,
    region: s3.keys.region,
    keySources,
  });
  await store.replace("one", new Uint8Array([1]));
  Object.assign(s3.keys, { accessKeyId: "ASIA0", sessionToken: "other" });
  await store.replace("one", new Uint8Array([2]));
  assertEquals(agent.issued(), 2);
  assertEquals(s3.requests.map(({ status }) => status), [200, 403, 200]);
  // Those that nobody replaces are refused once, with what S3 says.
  Object.assign(s3.keys, { accessKeyId: "ASIA0", sessionToken: "other" });
  await assertRejects(() => store.replace("one", new Uint8Array([3])), StoreError, "InvalidAccessKeyId");
  await s3.close();
});

Deno.test("onEitherStack() asks STS at its other address where one cannot be reached, and says what the first one failed with", async () => {
  const asked: (boolean | undefined)[] = [];
  const failing = (...failures: Error[]) => ({ useDualstackEndpoint }: SdkConfig) => {
    asked.push(useDualstackEndpoint);
    const failure = failures.shift();
    return failure === undefined ? Promise.resolve("keys") : Promise.reject(failure);
  };
  const gone = (code: string) => Object.assign(new Error(code), { code });
  assertEquals(await onEitherStack(failing(), { choice: 0 }), "keys");
  assertEquals(await onEitherStack(failing(gone("ENOTFOUND")), { choice: 0 }), "keys");
  const silent = Object.assign(new Error("silent"), { name: "TimeoutError" });
  const answered = { choice: 0 };
  const third = failing(new Error("no", { cause: gone("ECONNREFUSED") }), silent);
  assertEquals(await onEitherStack(third, answered), "keys");
  assertEquals(asked, [undefined, undefined, true, undefined, true, false]);
  // What has answered is asked first from then on, and the others where it does not any more.
  assertEquals(await onEitherStack(failing(gone("ENOTFOUND")), answered), "keys");
  assertEquals(asked.slice(6), [false, undefined]);
  await assertRejects(
    () => onEitherStack(failing(gone("ENOTFOUND"), new Error("AccessDenied")), answered),
    Error,
    "Access",
  );
  assertEquals(answered.choice, 1);
  const all = failing(gone("ENOTFOUND"), silent, gone("ENETUNREACH"));
  await assertRejects(() => onEitherStack(all, { choice: 0 }), Error, "ENOTFOUND");
  await assertRejects(() => onEitherStack(failing(new Error("AccessDenied")), { choice: 0 }), Error, "AccessDenied");
});
