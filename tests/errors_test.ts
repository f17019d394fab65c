import { assertEquals, assertMatch } from "@std/assert";
import { couchError } from "../src/couchdb/error.ts";
import {
  ArchiveError,
  AwsError,
  ConfigError,
  CouchError,
  describeDiscreetly,
  describeError,
  discreetError,
  EXIT,
  exitCodeOf,
  hintOf,
  InterruptedError,
  isFatalForRun,
  isNotFound,
  isTransient,
  StoreError,
  UsageError,
} from "../src/errors.ts";
import { directoryError } from "../src/store/directory/error.ts";

const couch = (facts: CouchError["facts"]) => new CouchError("Cannot read", facts);
const store = (facts: StoreError["facts"]) => new StoreError("Cannot store", facts);
const aws = (facts: AwsError["facts"]) => new AwsError("Cannot read the secret", facts);

Deno.test("isTransient() knows what a little patience can heal", () => {
  const cases: [error: unknown, transient: boolean][] = [
    [couch({ error: "timeout" }), true],
    [couch({ error: "cut_off" }), true],
    [couch({ error: "unreachable" }), true],
    [couch({ error: "not_couchdb" }), false],
    [couch({ error: "tls" }), false],
    [store({ code: "tls" }), false],
    [couch({ error: "redirect", status: 301 }), false],
    [couch({ error: "cut_off", status: 200 }), true],
    [couch({ error: "unauthorized", status: 401 }), false],
    [couch({ error: "timeout", status: 401 }), false],
    [couch({ error: "forbidden", status: 403 }), false],
    [couch({ error: "not_found", status: 404 }), false],
    [couch({ error: "http_error", status: 408 }), true],
    [couch({ error: "document_too_large", status: 413 }), false],
    [couch({ error: "too_many_requests", status: 429 }), true],
    [couch({ error: "unknown_error", status: 500 }), true],
    [couch({ error: "not_implemented", status: 501 }), false],
    [couch({ error: "http_error", status: 502 }), true],
    [couch({ error: "nodedown", status: 503 }), true],
    [couch({ error: "http_error", status: 504 }), true],
    [store({ code: "SlowDown", status: 503 }), true],
    [store({ code: "InternalError", status: 200 }), true],
    [store({ code: "RequestTimeTooSkewed", status: 403 }), true],
    [store({ code: "unreachable" }), true],
    [store({ code: "http_error", status: 500 }), true],
    [store({ code: "AccessDenied", status: 403 }), false],
    [store({ code: "NoSuchBucket", status: 404 }), false],
    [store({ code: "exists", status: 412 }), false],
    [store({ code: "ENOSPC" }), false],
    [aws({ code: "unreachable" }), true],
    [aws({ code: "ThrottlingException", status: 400 }), true],
    [store({ code: "KMS.ThrottlingException", status: 400 }), true],
    [aws({ code: "InternalServiceError", status: 500 }), true],
    [aws({ code: "AccessDeniedException", status: 400 }), false],
    [aws({ code: "no_credentials" }), false],
    [aws({ code: "keys_refused", status: 403 }), false],
    [new TypeError("a defect"), false],
    ["timeout", false],
    [undefined, false],
  ];
  for (const [error, expected] of cases) {
    const isKnown = error instanceof CouchError || error instanceof StoreError || error instanceof AwsError;
    const facts = isKnown ? error.facts : error;
    assertEquals(isTransient(error), expected, JSON.stringify(facts));
  }
});

Deno.test("isFatalForRun() tells what every further database would meet as well", () => {
  const cases: [error: unknown, fatal: boolean][] = [
    [couch({ error: "unauthorized", status: 401 }), true],
    [couch({ error: "forbidden", status: 403 }), false],
    [couch({ error: "unreachable" }), false],
    [store({ code: "NoSuchBucket", status: 404 }), true],
    [store({ code: "ExpiredToken", status: 400 }), true],
    [store({ code: "InvalidToken", status: 400 }), true],
    [store({ code: "TokenRefreshRequired", status: 400 }), true],
    [store({ code: "AuthorizationHeaderMalformed", status: 400 }), true],
    [store({ code: "ENOSPC" }), true],
    [store({ code: "EDQUOT" }), true],
    [store({ code: "AccessDenied", status: 403 }), false],
    [store({ code: "exists" }), false],
    [aws({ code: "ExpiredToken", status: 400 }), true],
    [aws({ code: "keys_refused", status: 403 }), true],
    [aws({ code: "no_credentials" }), false],
    [new Error("a defect"), false],
  ];
  for (const [error, expected] of cases) assertEquals(isFatalForRun(error), expected, String(error));
});

Deno.test("exitCodeOf() gives each kind of error its code", () => {
  const cases: [error: unknown, code: number][] = [
    [new UsageError("x"), 2],
    [new ConfigError("x", { file: "config.yaml" }), 2],
    [couch({ error: "timeout" }), 10],
    [store({ code: "timeout" }), 11],
    [aws({ code: "no_credentials" }), 11],
    [new ArchiveError("x", { key: "manifest.json" }), 12],
    [new InterruptedError("x"), 130],
    [new Error("x"), 1],
    ["x", 1],
  ];
  for (const [error, expected] of cases) assertEquals(exitCodeOf(error), expected, String(error));
  assertEquals(EXIT.partial, 3);
});

Deno.test("hintOf() gives the hint of an expected error, isNotFound() knows a missing object of a store", () => {
  const missing = new StoreError("Cannot read", { code: "not_found" }, { hint: "Look elsewhere" });
  assertEquals([hintOf(missing), hintOf(new UsageError("x")), hintOf(new Error("x"))], [
    "Look elsewhere",
    undefined,
    undefined,
  ]);
  const others = [store({ code: "NoSuchBucket", status: 404 }), couch({ error: "not_found", status: 404 }), undefined];
  assertEquals([missing, ...others].map(isNotFound), [true, false, false, false]);
});

Deno.test("describeError() adds the messages of causes that say more, and keeps to one level of each", () => {
  const low = new Error("Connection refused");
  const cases: [error: unknown, text: string][] = [
    [new Error("Cannot read", { cause: low }), "Cannot read: Connection refused"],
    [new Error("Cannot read: Connection refused", { cause: low }), "Cannot read: Connection refused"],
    [new Error("", { cause: low }), "Connection refused"],
    [new Error("Cannot read", { cause: "a text" }), "Cannot read: a text"],
    ["a text", "a text"],
    [undefined, ""],
  ];
  for (const [error, expected] of cases) assertEquals(describeError(error), expected);

  const round = new Error("first");
  round.cause = new Error("second", { cause: round });
  assertEquals(describeError(round), "first: second", "causes that lead in a circle");
});

Deno.test("describeError() keeps what others' errors quote on one line, without control characters", () => {
  const noJson = new SyntaxError("Unexpected token 'h', \"hi\n\u001b[2J\" is not valid JSON");
  const error = new CouchError("Cannot list the databases: it is not CouchDB", { error: "not_couchdb" }, {
    cause: noJson,
  });
  assertEquals(
    describeError(error),
    `Cannot list the databases: it is not CouchDB: Unexpected token 'h', "hi [2J" is not valid JSON`,
  );
  const findings = new ConfigError("a.yaml:1:1: one\na.yaml:2:1: two", { file: "a.yaml", line: 1, column: 1 });
  assertEquals(describeError(findings), findings.message);
});

Deno.test("describeError() tells a system's error once, in the words of the store's error that it caused", () => {
  const place = { action: "store" as const, key: "a/b", url: "file:///mnt/usb", path: "/mnt/usb/a/b" };
  const described = (code: string, message: string, action: "store" | "read" = "store") =>
    describeError(directoryError(Object.assign(new Error(message), { code }), { ...place, action }));
  const cannot = 'Cannot store "a/b" in "file:///mnt/usb": ';
  const cases: [said: string, told: string][] = [
    [
      described("ENOSPC", "No space left on device (os error 28)"),
      `${cannot}ENOSPC, no space is left on the device`,
    ],
    [
      described("EACCES", "EACCES: permission denied, open '/mnt/usb/a/b'"),
      `${cannot}EACCES, permission is denied`,
    ],
    [described("ENXIO", "ENXIO: no such device or address, open"), `${cannot}ENXIO, no such device or address, open`],
    [
      described("ENOENT", "ENOENT: no such file or directory, open '/mnt/usb/a/b'", "read"),
      'Cannot read "a/b" in "file:///mnt/usb": there is no such object',
    ],
    [
      described("ENOTDIR", "ENOTDIR: not a directory, open '/mnt/usb/a/b'", "read"),
      'Cannot read "a/b" in "file:///mnt/usb": there is no such object: ENOTDIR: not a directory, open \'/mnt/usb/a/b\'',
    ],
  ];
  for (const [said, told] of cases) assertEquals(said, told);
});

Deno.test("a message that quotes something endless keeps its beginning and its end, and so do its causes", () => {
  const long = `Cannot read schedule "${"x".repeat(70_000)}": "x" is no weekday`;
  const { message } = new UsageError(`${long}\nWrite another one`);
  assertEquals(message.length < 2200, true);
  assertEquals(
    /^Cannot read schedule "x+… \([\d,]+ characters\) …x+": "x" is no weekday\nWrite another one$/.test(message),
    true,
  );
  const caused = new UsageError("Cannot do it", { cause: new Error("y".repeat(70_000)) });
  assertEquals(describeError(caused).length < 2200, true);
  const id = "z".repeat(1500);
  assertEquals(new UsageError(`Cannot find "${id}"`).message, `Cannot find "${id}"`);
});

Deno.test("describeDiscreetly() quotes nothing of what does not parse, of a page, or of what a database's own rules say", () => {
  const said = '{"results":[{"id":patient-4711}]}';
  let syntax: unknown;
  try {
    JSON.parse(said);
  } catch (error) {
    syntax = error;
  }
  const subject = { action: "read documents", url: "http://[::1]:5984" };
  const reason = "patient-4711";
  const errors = [
    couchError(subject, { error: "cut_off", reason: "the answer is not whole JSON" }, syntax),
    couchError(subject, { error: "not_couchdb", reason }),
    ...[401, 403, 413, 500].map((status) => couchError(subject, { status, error: "refused", reason })),
    ...[404, 502].map((status) => couchError(subject, { status, error: "http_error", reason })),
  ];
  // An engine that quotes nothing would make the first one prove nothing.
  assertMatch(describeError(errors[0]), /patient-/);
  for (const error of errors) {
    assertEquals(describeDiscreetly(error).includes("patient"), false, describeDiscreetly(error));
    const passedOn = discreetError(error) as CouchError;
    assertEquals(describeError(passedOn), describeDiscreetly(error));
    assertEquals([passedOn.facts.status, passedOn.hint], [error.facts.status, error.hint]);
  }
});

Deno.test("discreetError() keeps what CouchDB says of a document out of an interruption's causes, too", () => {
  const facts = { status: 500, error: "internal_error", reason: "ann@example.com" };
  const cause = new CouchError('Cannot read document "ann@example.com"', facts, { discreet: "Cannot read a document" });
  const error = new InterruptedError("The restore is not finished", { cause, hint: "Send the same again" });
  const passedOn = discreetError(error);
  assertEquals(describeError(passedOn), "The restore is not finished: Cannot read a document");
  assertEquals([hintOf(passedOn), passedOn instanceof InterruptedError], ["Send the same again", true]);
});
