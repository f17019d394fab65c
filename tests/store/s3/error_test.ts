import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { isFatalForRun, isTransient } from "../../../src/errors.ts";
import { refusalError } from "../../../src/store/s3/error.ts";

const subject = {
  action: "store",
  method: "PUT",
  key: "a/b",
  url: "s3://name/folder",
  region: "us-east-1",
  right: "s3:PutObject",
};
const errorBody = (code: string, message = "Said so", more = "") =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message>${more}</Error>`;

Deno.test("refusalError() tells by S3's code what to do", () => {
  const cases: [status: number, code: string, hint: RegExp][] = [
    [403, "AccessDenied", /Allow s3:PutObject on s3:\/\/name for this key or role/],
    [404, "NoSuchBucket", /Create s3:\/\/name, or correct bucket/],
    [403, "SignatureDoesNotMatch", /secret does not belong to the token/],
    [403, "InvalidAccessKeyId", /does not know the token/],
    [403, "RequestTimeTooSkewed", /clock/],
    [400, "ExpiredToken", /expired: get new ones/],
    [400, "InvalidToken", /session_token, or AWS_SESSION_TOKEN/],
    [301, "PermanentRedirect", /Set region/],
    [400, "AuthorizationHeaderMalformed", /Set region/],
    [501, "NotImplemented", /If-None-Match/],
    [400, "KMS.NotFoundException", /kms_key_id/],
    [400, "InvalidStorageClass", /storage_class/],
    [403, "InvalidObjectState", /restore it/],
    [400, "BadDigest", /proxy/],
    [503, "SlowDown", /parallel/],
  ];
  for (const [status, code, hint] of cases) {
    const error = refusalError(subject, { status, headers: new Headers(), body: errorBody(code) });
    assertEquals(error.message, `Cannot store "a/b" in "s3://name/folder": S3 answered ${status} ${code}: Said so`);
    assertEquals(error.facts, { code, key: "a/b", status, retryAfterMs: undefined });
    assert(hint.test(error.hint ?? ""), `${code}: ${error.hint}`);
  }
});

Deno.test("refusalError() says only of what is read that a missing object is answered in the same way", () => {
  const refusal = { status: 403, headers: new Headers(), body: errorBody("AccessDenied") };
  for (const right of ["s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:GetObject"]) {
    const { hint } = refusalError({ ...subject, right }, refusal);
    assertEquals(/missing object/.test(hint ?? ""), right === "s3:GetObject", hint);
  }
});

Deno.test("refusalError() names the region the bucket is in, from header or body", () => {
  const inHeader = { status: 301, headers: new Headers({ "x-amz-bucket-region": "eu-west-1" }), body: "" };
  const inBody = {
    status: 400,
    headers: new Headers(),
    body: errorBody("AuthorizationHeaderMalformed", "x", "<Region>eu-west-1</Region>"),
  };
  for (const refusal of [inHeader, inBody]) {
    const error = refusalError(subject, refusal);
    assert(
      error.message.includes('the bucket is in region "eu-west-1", the request was for "us-east-1"'),
      error.message,
    );
    assertEquals(error.hint, "Set region: eu-west-1; without it AWS_REGION counts, else the bucket's own");
  }
  const same = refusalError({ ...subject, region: "eu-west-1" }, { ...inHeader, status: 403 });
  assert(/^Allow /.test(same.hint ?? ""), "a region that is right is not the reason");
});

Deno.test("refusalError() goes by the status where the answer has no body, or one that is not S3's", () => {
  const isBelieved = (status: number, body: string) => body === "" || (status !== 404 && status !== 412);
  const cases: [status: number, code: string, transient: boolean][] = [
    [301, "PermanentRedirect", false],
    [400, "BadRequest", false],
    [403, "AccessDenied", false],
    [404, "not_found", false],
    [409, "ConditionalRequestConflict", true],
    [412, "PreconditionFailed", false],
    [418, "Status418", false],
    [429, "Status429", true],
    [500, "InternalError", true],
    [502, "Status502", true],
    [503, "ServiceUnavailable", true],
  ];
  for (const [status, code, transient] of cases) {
    for (const body of ["", "<html><body>Bad Gateway</body>", "<Error>", "{}"]) {
      if (!isBelieved(status, body)) continue;
      const error = refusalError(subject, { status, headers: new Headers(), body });
      assertEquals([error.facts.code, error.facts.status], [code, status]);
      assertEquals(isTransient(error), transient, code);
    }
  }
});

Deno.test("refusalError() believes no page of a proxy that an object is missing or there", () => {
  for (const status of [404, 412]) {
    for (const body of ["404 page not found\n", "<html><body>Not Found</body>", "<Error>", "{}"]) {
      const error = refusalError(subject, { status, headers: new Headers(), body });
      assertEquals([error.facts.code, error.facts.status, isTransient(error)], ["strange_answer", status, false], body);
      assertStringIncludes(error.message, `something that is not S3 answered ${status}`);
      assertStringIncludes(error.hint ?? "", "something in between");
    }
  }
});

Deno.test("refusalError() tells a proxy's refusal from one of S3's, and speaks of no right then", () => {
  const page = "<html><body><h1>403 Forbidden</h1></body></html>";
  const ofProxy = refusalError(subject, { status: 403, headers: new Headers(), body: page });
  assertStringIncludes(ofProxy.message, "something that is not S3 answered 403");
  assertStringIncludes(ofProxy.hint ?? "", "something in between");
  const headers = new Headers({ "x-amz-request-id": "4442587FB7D0A2F9" });
  for (const refusal of [{ headers, body: "No\n" }, { headers: new Headers(), body: "" }]) {
    const error = refusalError(subject, { status: 403, ...refusal });
    assertStringIncludes(error.message, "S3 answered 403 AccessDenied");
    assertStringIncludes(error.hint ?? "", "Allow s3:PutObject");
  }
});

Deno.test("refusalError() takes a 404 to HEAD for S3's only where something tells so", () => {
  const codeOf = (method: string, headers: Record<string, string>) =>
    refusalError({ ...subject, method }, { status: 404, headers: new Headers(headers), body: "" }).facts.code;
  const ofS3 = { "x-amz-request-id": "4442587FB7D0A2F9" };
  assertEquals([codeOf("HEAD", ofS3), codeOf("HEAD", {}), codeOf("PUT", {})], [
    "not_found",
    "unconfirmed",
    "not_found",
  ]);
});

Deno.test("refusalError() says where something that is not S3 redirects to, and nothing of a region", () => {
  const headers = new Headers({ location: "https://user:hunter2@minio.example.com/name/a?ticket=hunter2" });
  for (const [status, body] of [[301, ""], [302, "<html><body>Moved</body>"], [308, ""]] as const) {
    const error = refusalError(subject, { status, headers, body });
    assertStringIncludes(error.message, 'something that is not S3 redirects to "https://minio.example.com"');
    assertStringIncludes(error.hint ?? "", 'Set endpoint to "https://minio.example.com"');
    assertEquals([error.facts.code, isFatalForRun(error)], ["strange_answer", false]);
    assert(!/hunter2/.test(`${error.message} ${error.hint}`));
  }
  // A page for logins, of the server at endpoint itself.
  const login = new Headers({ location: "/login?next=/name/a&ticket=hunter2" });
  for (const status of [301, 302, 307]) {
    const error = refusalError(subject, { status, headers: login, body: "" });
    assertStringIncludes(error.message, 'something that is not S3 redirects to "/login"');
    assertStringIncludes(error.hint ?? "", "The server at endpoint is not an S3 server");
    assertEquals([error.facts.code, isFatalForRun(error)], ["strange_answer", false]);
  }
  const byS3 = [
    refusalError(subject, { status: 301, headers, body: errorBody("PermanentRedirect") }),
    refusalError(subject, {
      status: 301,
      headers: new Headers({ location: "https://a.b", "x-amz-bucket-region": "x" }),
      body: "",
    }),
  ];
  assertEquals(byS3.map(({ facts }) => facts.code), ["PermanentRedirect", "PermanentRedirect"]);
});

Deno.test("refusalError() calls a missing key not_found, but a missing bucket by its name", () => {
  const codes = ["NoSuchKey", "NotFound", "NoSuchBucket", "NoSuchUpload"].map((code) =>
    refusalError(subject, { status: 404, headers: new Headers(), body: errorBody(code) }).facts.code
  );
  assertEquals(codes, ["not_found", "not_found", "NoSuchBucket", "NoSuchUpload"]);
});

Deno.test("refusalError() honours Retry-After in seconds or as a date by the server's clock, up to two minutes", () => {
  const cases: [value: string, ms: number | undefined][] = [
    ["2", 2000],
    ["0", 0],
    ["86400", 120_000],
    ["-1", undefined],
    ["soon", undefined],
    ["Sat, 03 Jan 2026 18:00:07 GMT", 7000],
  ];
  for (const [value, ms] of cases) {
    const headers = new Headers({ "retry-after": value, date: "Sat, 03 Jan 2026 18:00:00 GMT" });
    assertEquals(refusalError(subject, { status: 503, headers, body: "" }).facts.retryAfterMs, ms, value);
  }
});

Deno.test("refusalError() shows no secret that S3 quotes, and no page of text", () => {
  const said = `bad token hunter2 &amp; more ${"x".repeat(5000)}`;
  const refusal = {
    status: 400,
    headers: new Headers(),
    body: errorBody("InvalidToken", said, "<Token0>hunter2</Token0>"),
  };
  const error = refusalError(subject, refusal, ["hunter2", ""]);
  assert(error.message.includes("bad token *** & more"), error.message);
  assert(!JSON.stringify(error).includes("hunter2") && error.message.length < 600);
});

Deno.test("refusalError() speaks of the bucket where there is no key", () => {
  const error = refusalError({ ...subject, action: "list", key: undefined }, {
    status: 403,
    headers: new Headers(),
    body: "",
  });
  assertEquals(error.message, 'Cannot list "s3://name/folder": S3 answered 403 AccessDenied');
});
