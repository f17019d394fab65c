/**
 * Explains why a TLS connection fails. In: what fetch has thrown, under Deno (rustls) or Node (OpenSSL), and the
 * server. Out: a reason and what to do, in the operator's words; nothing if TLS is not the cause. A retry never
 * helps. Pure.
 */

/** The server that was asked. */
export interface TlsServer {
  /** Its address; only scheme, host and port are shown. */
  url: string;
  /** The config's key for the authority's file: `database.ca_file`. */
  caFileKey: string;
}

/** Why there is no TLS connection. */
export interface TlsFailure {
  /** Completes "Cannot …: ". */
  reason: string;
  /** What to do. */
  hint: string;
}

type Explain = (server: TlsServer & { host: string }) => string;

const UNKNOWN_ISSUER: Explain = ({ caFileKey }) =>
  `Set ${caFileKey} to a PEM file with the certificate of the authority that signed it, and let the server send its intermediate certificates`;
const OTHER_CERTIFICATE: Explain = ({ caFileKey, host }) =>
  `No setting of this program helps: give the server another certificate, and name its authority in ${caFileKey}. A self-signed one, which is its own ${caFileKey}: ${
    opensslLine(host)
  }`;

/** What rustls and OpenSSL say, in the order in which it is looked for. */
const FAILURES: readonly [said: RegExp, problem: string, hint: Explain][] = [
  [
    /CaUsedAsEndEntity/,
    "it is the certificate of an authority (CA:TRUE), which a server must not use",
    OTHER_CERTIFICATE,
  ],
  [/not valid for any names/, "it has no subjectAltName; the common name is not used", OTHER_CERTIFICATE],
  [/UnsupportedCertVersion/, "it is of X.509 version 1 and not 3", OTHER_CERTIFICATE],
  [
    /UnsupportedSignatureAlgorithm|EE_KEY_TOO_SMALL|CA_MD_TOO_WEAK|key too (?:small|weak)|md too weak/i,
    "its signature or its key is too weak, as SHA-1 is",
    OTHER_CERTIFICATE,
  ],
  [
    /not valid for name|NotValidForName|ERR_TLS_CERT_ALTNAME_INVALID/,
    "it is not valid for this host name",
    ({ host }) =>
      `Write the address with a name that the certificate has, or make one that has this name in its subjectAltName: ${
        opensslLine(host)
      }`,
  ],
  [/\bExpired|CERT_HAS_EXPIRED/, "it has expired", () => "Renew it, and check this machine's clock"],
  [
    /NotValidYet|CERT_NOT_YET_VALID/,
    "it is not valid yet",
    () => "Check the clocks of this machine and of the server",
  ],
  [
    /UnknownIssuer|UNABLE_TO_(?:VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT)|(?:DEPTH_ZERO_)?SELF_SIGNED_CERT/,
    "it is signed by an unknown authority",
    UNKNOWN_ISSUER,
  ],
  [
    /BadSignature|CERT_SIGNATURE_FAILURE/,
    "its signature does not hold: its key is too weak (RSA below 2048 bits), or another authority of this name has signed it",
    OTHER_CERTIFICATE,
  ],
  [/invalid peer certificate|ERR_TLS_CERT|CERT_/, "it is not accepted", OTHER_CERTIFICATE],
];

/** What keeps TLS from beginning at all. */
const WITHOUT_CERTIFICATE: readonly [said: RegExp, reason: string, hint: string][] = [
  [
    /InvalidContentType|ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG/,
    "does not speak TLS",
    "Write http:// instead of https://, or the port of its TLS listener",
  ],
  [
    /invalid HTTP version parsed|HPE_INVALID_CONSTANT/,
    "does not speak plain HTTP",
    "Write https:// instead of http:// if it speaks TLS there, or correct the port",
  ],
  [
    /CertificateRequired|ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED|BadCertificate\b/,
    "requires a client certificate",
    "Client certificates are not supported: let the server accept a login and a password instead",
  ],
  [
    /fatal alert: (?:HandshakeFailure|ProtocolVersion|InsufficientSecurity)|peer is incompatible|ERR_SSL_(?:SSLV3|TLSV1)_ALERT/,
    "and this program have no TLS version or cipher in common",
    "The server must speak TLS 1.2 or 1.3",
  ],
  [
    /Failed opening CA file|Unable to add pem file/,
    "cannot be reached: the file that DENO_CERT names is not a readable PEM file",
    "Correct DENO_CERT",
  ],
];

const ABOUT_CERTIFICATE = /invalid peer certificate|ERR_TLS_CERT|CERT_|_CERT\b|_LEAF_SIGNATURE|too (?:small|weak)/i;

/**
 * Whether what fetch has thrown shows that the server does speak TLS: it has sent a certificate, or an alert of TLS.
 */
export function showsTls(error: unknown): boolean {
  const said = textOf(error);
  return ABOUT_CERTIFICATE.test(said) || /fatal alert|ERR_SSL_\w*ALERT/.test(said);
}

/** Why TLS is to blame for `error`; undefined where it is not. */
export function tlsFailure(error: unknown, server: TlsServer): TlsFailure | undefined {
  const said = textOf(error);
  const { origin = server.url, hostname = "" } = URL.parse(server.url) ?? {};
  if (ABOUT_CERTIFICATE.test(said) && !/fatal alert/.test(said)) {
    const [, problem, hint] = FAILURES.find(([pattern]) => pattern.test(said)) ?? FAILURES.at(-1)!;
    const reason = `the certificate of "${origin}" is refused: ${problem}`;
    return { reason, hint: hint({ ...server, host: hostname.replaceAll(/[[\]]/g, "") }) };
  }
  const [, reason, hint] = WITHOUT_CERTIFICATE.find(([pattern]) => pattern.test(said)) ?? [];
  return reason === undefined || hint === undefined ? undefined : { reason: `"${origin}" ${reason}`, hint };
}

/** The line of a shell that makes a certificate which is accepted for a host, with its key beside it. */
export function opensslLine(host: string): string {
  const name = /^[\d.]+$|:/.test(host) ? `IP:${host}` : `DNS:${host}`;
  return "openssl req -x509 -newkey rsa:3072 -nodes -days 825 -keyout key.pem -out certificate.pem " +
    `-subj /CN=couchdb -addext subjectAltName=${name} -addext basicConstraints=critical,CA:FALSE`;
}

/** The messages and codes of an error and of its causes. */
function textOf(error: unknown): string {
  const parts: string[] = [];
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    parts.push(current.message, String((current as { code?: unknown }).code ?? ""));
  }
  return parts.join(" ");
}
