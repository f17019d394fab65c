import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { generateIdentity } from "age-encryption";
import { AwsError } from "../../src/errors.ts";
import { Secret } from "../../src/secret.ts";
import { readPassword } from "../../src/aws/secrets_manager.ts";
import { identityReader } from "../../src/session/identities.ts";
import { SERVICE_KEYS, startJsonService } from "../fakes/json_service.ts";
import { RecordedLog } from "../fakes/log.ts";
import { startRoleService } from "../fakes/role_service.ts";

const ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:couchdb-AbCdEf";
/** A Secrets Manager that gives one answer after the other. */
function startSecretsManager(answers: ((secretId: unknown) => Response)[], clockAheadMs = 0) {
  const asked: string[] = [];
  const service = startJsonService("secretsmanager", (target, { SecretId }) => {
    asked.push(target);
    return answers.shift()!(SecretId);
  }, { clockAheadMs });
  return {
    asked,
    options: {
      endpoints: { secretsmanager: service.url },
      accessKeyId: SERVICE_KEYS.accessKeyId,
      secretAccessKey: new Secret(SERVICE_KEYS.secretAccessKey),
      sessionToken: new Secret(SERVICE_KEYS.sessionToken),
    },
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}

const text = (SecretString: string) => (secretId: unknown) => Response.json({ ARN: secretId, SecretString });

Deno.test("readPassword() reads a plain secret, or the field password of a JSON one", async () => {
  const table: [string, string][] = [
    ["hunter2", "hunter2"],
    ['{"username":"backup","password":"päss \\"x\\""}', 'päss "x"'],
    ['{"password":"with a line\\n"}\n', "with a line\n"],
    ["from a file\n", "from a file"],
    ["\uFEFFfrom a file of Windows\r\n", "from a file of Windows"],
    ["two lines\n\n", "two lines\n"],
    [" {spaces] ", " {spaces] "],
    ["[1]", "[1]"],
    ["12345", "12345"],
    ['"quoted"', '"quoted"'],
    ["null", "null"],
  ];
  await using manager = startSecretsManager(table.map(([stored]) => text(stored)));
  for (const [, password] of table) assertEquals((await readPassword(ARN, manager.options)).reveal(), password);
  assertEquals(new Set(manager.asked), new Set(["secretsmanager.GetSecretValue"]));
});

Deno.test("readPassword() refuses an object without a password, which would be refused as one, and shows nothing of it", async () => {
  const held = ['{"COUCHDB_PASSWORD":"hunter2"}', '{"password":7}', '{"password":""}', "{}", "\r\n"];
  await using manager = startSecretsManager(held.map(text));
  for (const one of held) {
    const error = await assertRejects(() => readPassword(ARN, manager.options), AwsError, `secret "${ARN}": it `, one);
    assertEquals(error.facts.code, "bad_secret");
    assertStringIncludes(error.hint!, "field password");
    assertEquals(`${error.message} ${error.hint}`.includes("hunter2"), false);
  }
});

Deno.test("readPassword() takes the keys that have replaced refused ones, and says what is refused where none have", async () => {
  await using agent = startRoleService();
  const signedBy: string[] = [];
  const good = new Set(["ASIA2"]);
  await using manager = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    await request.body?.cancel();
    if (request.method === "HEAD") return new Response(null, { status: 404 });
    const keyId = /Credential=(\w+)/.exec(request.headers.get("Authorization")!)![1]!;
    signedBy.push(keyId);
    if (good.has(keyId)) return Response.json({ ARN, SecretString: "hunter2" });
    return Response.json({ __type: "UnrecognizedClientException", message: "no such token" }, { status: 400 });
  });
  const container = { url: `${agent.url}/container` };
  const options = {
    endpoints: { secretsmanager: `http://127.0.0.1:${manager.addr.port}` },
    keySources: { profileFiles: [], webIdentity: false, metadataEndpoints: [], container },
  };
  assertEquals((await readPassword(ARN, options)).reveal(), "hunter2");
  assertEquals(signedBy, ["ASIA1", "ASIA2"]);
  good.clear();
  const error = await assertRejects(() => readPassword(ARN, options), AwsError);
  assertEquals(error.facts.code, "UnrecognizedClientException");
});

Deno.test("readPassword() says which right is missing, and shows no secret", async () => {
  await using manager = startSecretsManager([
    () => Response.json({ __type: "AccessDeniedException", Message: "User x is not authorized" }, { status: 400 }),
    () => Response.json({ __type: "com.amazonaws#ResourceNotFoundException" }, { status: 400 }),
    () => Response.json({ SecretBinary: "aHVudGVyMg==" }),
  ]);
  const denied = await assertRejects(() => readPassword(ARN, manager.options), AwsError);
  assertEquals(
    denied.message,
    `Cannot read the secret "${ARN}": AWS answered 400 AccessDeniedException: User x is not authorized`,
  );
  assertEquals(denied.hint, "Allow secretsmanager:GetSecretValue on this secret");
  const missing = await assertRejects(() => readPassword(ARN, manager.options), AwsError);
  assertEquals(missing.facts, { code: "ResourceNotFoundException", status: 400, retryAfterMs: undefined });
  const binary = await assertRejects(() => readPassword(ARN, manager.options), AwsError, "it holds no text");
  assertEquals(binary.facts.code, "bad_secret");
});

Deno.test("readPassword() tries again when Secrets Manager is busy", async () => {
  await using manager = startSecretsManager([
    () => new Response("<html>", { status: 503 }),
    () => Response.json({ __type: "ThrottlingException", message: "Rate exceeded" }, { status: 400 }),
    text("hunter2"),
  ]);
  assertEquals((await readPassword(ARN, manager.options)).reveal(), "hunter2");
});

for (const minutes of [-20, 20]) {
  Deno.test(`readPassword() signs by AWS's clock where this machine's is ${minutes} minutes off`, async () => {
    await using manager = startSecretsManager([text("hunter2")], minutes * 60_000);
    assertEquals((await readPassword(ARN, manager.options)).reveal(), "hunter2");
  });
}

Deno.test("readPassword() refuses a signature by other keys", async () => {
  await using manager = startSecretsManager([]);
  await assertRejects(
    () => readPassword(ARN, { ...manager.options, secretAccessKey: new Secret("wrong") }),
    AwsError,
    "SignatureDoesNotMatch",
  );
});

Deno.test("readPassword() asks the address that answers", async () => {
  await using manager = startSecretsManager([text("hunter2"), text("hunter3")]);
  const endpoints = { secretsmanager: ["http://[::1]:1", manager.options.endpoints.secretsmanager] };
  assertEquals((await readPassword(ARN, { ...manager.options, endpoints })).reveal(), "hunter2");
  assertEquals((await readPassword(ARN, { ...manager.options, endpoints })).reveal(), "hunter3");
});

Deno.test("readPassword() is ended by its signal while Secrets Manager is out of reach", async () => {
  const keys = { accessKeyId: "t", secretAccessKey: new Secret("s"), endpoints: { secretsmanager: "http://[::1]:1" } };
  const signal = AbortSignal.timeout(300);
  await assertRejects(() => readPassword(ARN, { ...keys, signal }), DOMException, "aborted");
});

Deno.test("identityReader() reads identities from a secret, once and when they are wanted, and shows none that is wrong", async () => {
  const [one, two] = await Promise.all([generateIdentity(), generateIdentity()]);
  const log = new RecordedLog();
  await using manager = startSecretsManager([text("hunter2"), text(`# keys\n${one}\n\n${two}\n`)]);
  const read = identityReader({ files: [], secret: ARN, aws: manager.options, log });
  assertEquals(manager.asked, []);
  const error = await assertRejects(read, AwsError, "Line 1 is no identity of age");
  assertEquals(`${error.message} ${(error as AwsError).hint}`.includes("hunter2"), false);
  // What could not be read is asked for again, and what could is not.
  assertEquals(await read(), [one, two]);
  assertEquals(await read(), [one, two]);
  assertEquals([manager.asked.length, log.lines], [2, []]);
});
