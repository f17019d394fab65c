import { assertEquals, assertStringIncludes } from "@std/assert";
import { opensslLine, tlsFailure } from "../src/tls_failure.ts";

const SERVER = { url: "https://couchdb.example:6984/path?secret", caFileKey: "database.ca_file" };

/** What fetch throws under Deno. */
function denoError(said: string): Error {
  const cause = new Error(
    `error sending request for url (https://couchdb.example:6984/): client error (Connect): ${said}`,
  );
  return new TypeError("fetch failed", { cause });
}

/** What it throws under Node. */
function nodeError(code: string, message: string): Error {
  return new TypeError("fetch failed", { cause: Object.assign(new Error(message), { code }) });
}

// As Deno 2.9.6, Node 22.23 and Node 24.21 say it; tests/integration/tls_test.ts meets Deno's with real certificates.
const CASES: [error: Error, reason: string, hint: string][] = [
  [
    denoError("invalid peer certificate: UnknownIssuer"),
    "signed by an unknown authority",
    "Set database.ca_file to a PEM file",
  ],
  [
    nodeError("UNABLE_TO_VERIFY_LEAF_SIGNATURE", "unable to verify the first certificate"),
    "signed by an unknown authority",
    "Set database.ca_file",
  ],
  [
    nodeError("DEPTH_ZERO_SELF_SIGNED_CERT", "self-signed certificate"),
    "signed by an unknown authority",
    "Set database.ca_file",
  ],
  [
    nodeError("SELF_SIGNED_CERT_IN_CHAIN", "self-signed certificate in certificate chain"),
    "signed by an unknown authority",
    "Set database.ca_file",
  ],
  [denoError("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))"), "CA:TRUE", "openssl req -x509"],
  [
    denoError("invalid peer certificate: Other(OtherError(UnsupportedCertVersion))"),
    "X.509 version 1",
    "openssl req -x509",
  ],
  [
    denoError(
      'invalid peer certificate: certificate not valid for name "couchdb.example"; certificate is not valid for any names (according to its subjectAltName extension)',
    ),
    "no subjectAltName",
    "openssl req -x509",
  ],
  [
    denoError(
      'invalid peer certificate: certificate not valid for name "couchdb.example"; certificate is only valid for DnsName("other.example")',
    ),
    "not valid for this host name",
    "subjectAltName=DNS:couchdb.example",
  ],
  [
    nodeError("ERR_TLS_CERT_ALTNAME_INVALID", "Hostname/IP does not match certificate's altnames"),
    "not valid for this host name",
    "subjectAltName",
  ],
  [
    denoError("invalid peer certificate: UnsupportedSignatureAlgorithmContext { signature_algorithm_id: [6, 9, 42] }"),
    "too weak",
    "openssl req -x509",
  ],
  [denoError("invalid peer certificate: Expired"), "has expired", "clock"],
  [nodeError("CERT_HAS_EXPIRED", "certificate has expired"), "has expired", "clock"],
  [denoError("invalid peer certificate: NotValidYetContext { time: 1, not_before: 2 }"), "not valid yet", "clocks"],
  // What Deno says of RSA keys of 1024 bits.
  [denoError("invalid peer certificate: BadSignature"), "its key is too weak", "openssl req -x509"],
  [denoError("invalid peer certificate: BadEncoding"), "it is not accepted", "database.ca_file"],
  [denoError("received corrupt message of type InvalidContentType"), "does not speak TLS", "http://"],
  [nodeError("ERR_SSL_WRONG_VERSION_NUMBER", "wrong version number"), "does not speak TLS", "http://"],
  [
    new TypeError("fetch failed", { cause: new Error("client error (SendRequest): invalid HTTP version parsed") }),
    "does not speak plain HTTP",
    "https://",
  ],
  [
    denoError("received fatal alert: CertificateRequired"),
    "requires a client certificate",
    "a login and a password",
  ],
  [denoError("received fatal alert: HandshakeFailure"), "no TLS version or cipher in common", "TLS 1.2"],
  [denoError("received fatal alert: ProtocolVersion"), "no TLS version or cipher in common", "TLS 1.2"],
  [new TypeError("Failed opening CA file: No such file or directory (os error 2)"), "DENO_CERT", "Correct DENO_CERT"],
];

Deno.test("tlsFailure() says of each refusal of Deno and Node what is wrong and what to do", () => {
  for (const [error, reason, hint] of CASES) {
    const found = tlsFailure(error, SERVER);
    const said = (error.cause as Error | undefined)?.message ?? error.message;
    assertStringIncludes(found?.reason ?? "", reason, said);
    assertStringIncludes(found?.hint ?? "", hint, said);
    assertStringIncludes(found?.reason ?? "", '"https://couchdb.example:6984"', said);
  }
});

Deno.test("tlsFailure() leaves every other failure alone", () => {
  const others = [
    denoError("tcp connect error: Connection refused (os error 111)"),
    denoError("dns error: failed to lookup address information: Name or service not known"),
    denoError("tls handshake eof"),
    new TypeError("fetch failed", {
      cause: new Error("client error (SendRequest): connection closed before message completed"),
    }),
    nodeError("ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:6984"),
    nodeError("UND_ERR_SOCKET", "other side closed"),
    new DOMException("The signal has been aborted", "AbortError"),
    "a text",
  ];
  for (const error of others) assertEquals(tlsFailure(error, SERVER), undefined, String(error));
});

Deno.test("opensslLine() names a host as a name or as an address", () => {
  assertStringIncludes(opensslLine("couchdb.example"), "subjectAltName=DNS:couchdb.example ");
  assertStringIncludes(opensslLine("192.0.2.7"), "subjectAltName=IP:192.0.2.7 ");
  assertStringIncludes(opensslLine("2345::6"), "subjectAltName=IP:2345::6 ");
});

Deno.test("docs/tls-and-proxies.md shows the line that opensslLine() makes", async () => {
  const page = await Deno.readTextFile(new URL("../docs/tls-and-proxies.md", import.meta.url));
  const shown = [...page.matchAll(/^```sh\n(openssl [\s\S]*?)^```$/gm)].map(([, text]) => text!);
  assertEquals(shown.map((text) => text.trim().replaceAll(/\s*\\\n\s*/g, " ")), [opensslLine("couchdb.example.com")]);
});
