/**
 * A service of AWS that speaks JSON and checks signatures, on the IPv6 loopback address. In: its name, and what it answers.
 * Out: where it is, and the keys that it knows.
 */
import { checkSignature } from "./sigv4.ts";

/** The keys that requests have to be signed with. */
export const SERVICE_KEYS = { accessKeyId: "ASIA1", secretAccessKey: "secret", sessionToken: "session" };

/** A running one. */
export interface JsonService extends AsyncDisposable {
  /** Its base URL. */
  url: string;
}

/** Starts one of `eu-central-1`. `answer` gets the operation, as `secretsmanager.GetSecretValue`, and its input. */
export function startJsonService(
  service: "secretsmanager" | "ssm",
  answer: (target: string, input: Record<string, unknown>) => Response,
  { clockAheadMs = 0 }: { clockAheadMs?: number } = {},
): JsonService {
  const now = () => new Date(Date.now() + clockAheadMs);
  const server = Deno.serve({ hostname: "::1", port: 0, onListen() {} }, async (request) => {
    const url = new URL(request.url);
    if (request.method === "HEAD") return new Response(null, { status: 404 }); // Whether somebody is there.
    const body = new Uint8Array(await request.arrayBuffer());
    const problem = checkSignature(
      {
        method: request.method,
        rawPath: url.pathname,
        rawQuery: url.search.slice(1),
        headers: { ...Object.fromEntries(request.headers), host: url.host },
        body,
      },
      { ...SERVICE_KEYS, region: "eu-central-1", service },
      now(),
    );
    if (problem !== undefined) {
      const isClock = problem.code === "RequestTimeTooSkewed";
      const message = isClock ? "Signature expired: it is now earlier than it should be" : problem.message;
      return Response.json({ __type: isClock ? "InvalidSignatureException" : problem.code, message }, {
        status: 400,
        headers: { date: now().toUTCString() },
      });
    }
    return answer(request.headers.get("x-amz-target") ?? "", JSON.parse(new TextDecoder().decode(body)));
  });
  return { url: `http://[::1]:${server.addr.port}`, [Symbol.asyncDispose]: () => server.shutdown() };
}
