/**
 * A double of AWS's services that hand out keys for something else: of its token service (STS), to whoever asks to take a
 * role, and of SSO, to whoever has a token of it.
 */

/** What one request said. */
export interface TokenRequest {
  /** Its path, where it has no body. */
  body: string;
  userAgent: string;
  /** The header, empty where it is not signed. */
  authorization: string;
}

/** The double, listening until it is disposed of. */
export interface TokenService extends AsyncDisposable {
  /** The base URL, without a slash at the end. */
  url: string;
  asked: TokenRequest[];
}

/** What the double of the token service hands out, and for how long. */
export const ISSUED: { accessKeyId: string; secretAccessKey: string; sessionToken: string; expiresAt: string } = {
  accessKeyId: "ASIAW",
  secretAccessKey: "w",
  sessionToken: "t",
  expiresAt: new Date(Date.now() + 3600_000).toISOString(),
};

/** A double of AWS's token service: it gives keys to whoever asks, and tells what it was asked. */
export function startTokenService(): TokenService {
  const asked: TokenRequest[] = [];
  const service = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const body = await request.text();
    const { pathname } = new URL(request.url);
    const headers = request.headers;
    asked.push({
      body: body === "" ? pathname : body,
      userAgent: headers.get("User-Agent")!,
      authorization: headers.get("Authorization") ?? "",
    });
    if (pathname === "/token") return Response.json({ accessToken: "new", expiresIn: 3600, refreshToken: "next" });
    if (pathname.startsWith("/federation")) {
      const { accessKeyId, secretAccessKey, sessionToken, expiresAt } = ISSUED;
      const expiration = Date.parse(expiresAt);
      return Response.json({ roleCredentials: { accessKeyId, secretAccessKey, sessionToken, expiration } });
    }
    const action = new URLSearchParams(body).get("Action");
    return new Response(
      `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result><Credentials>
        <AccessKeyId>${ISSUED.accessKeyId}</AccessKeyId><SecretAccessKey>${ISSUED.secretAccessKey}</SecretAccessKey>
        <SessionToken>${ISSUED.sessionToken}</SessionToken><Expiration>${ISSUED.expiresAt}</Expiration>
        </Credentials></${action}Result></${action}Response>`,
      { headers: { "Content-Type": "text/xml" } },
    );
  });
  const url = `http://127.0.0.1:${service.addr.port}`;
  return { url, asked, [Symbol.asyncDispose]: () => service.shutdown() };
}
