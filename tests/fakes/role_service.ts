/**
 * A double of the services that hand out a role's keys: an instance's metadata service (IMDSv2) and a container's
 * agent. Every set of keys is new, as `ASIA1`, `ASIA2` …, and ends when the test says so.
 */

/** One set of keys. */
export interface IssuedKeys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
}

export interface RoleServiceOptions {
  /** @default "127.0.0.1" */
  hostname?: "127.0.0.1" | "::1";
  /** @default a free one */
  port?: number;
  /** How long keys last, in milliseconds. @default six hours */
  lifetimeMs?: number;
  /** Undefined for an instance without a role. @default "backup-role" */
  role?: string | undefined;
  /** What a container's agent wants as `Authorization`. */
  authorization?: string;
  /** Is told of keys that are handed out. */
  onIssue?: (keys: IssuedKeys) => void;
}

/** The double, listening until it is disposed of. */
export interface RoleService extends AsyncDisposable {
  /** The base URL, without a slash at the end. */
  url: string;
  /** Methods and paths, in the order in which they came. */
  requests: string[];
  /** How many sets of keys were handed out. */
  issued(): number;
  /** Answers `times` requests with `status`, once `after` more are answered well. */
  refuse(status: number, times?: number, options?: { after?: number }): void;
  /** The next answer comes so much later. */
  delayOnce(ms: number): void;
  /** The next set of keys is this text. */
  answerWith(text: string): void;
}

const TOKEN = "token-of-this-session";

/** Starts the double. */
export function startRoleService(options: RoleServiceOptions = {}): RoleService {
  const { hostname = "127.0.0.1", lifetimeMs = 6 * 3600_000, role = "backup-role" } = options;
  const hasRole = !("role" in options) || options.role !== undefined;
  const requests: string[] = [];
  let issued = 0;
  let refusal = { status: 0, times: 0, after: 0 };
  let text: string | undefined;

  const issue = () => {
    issued++;
    if (text !== undefined) return new Response(text);
    const keys = { accessKeyId: `ASIA${issued}`, secretAccessKey: `secret${issued}`, sessionToken: `session${issued}` };
    options.onIssue?.(keys);
    return Response.json({
      Code: "Success",
      Type: "AWS-HMAC",
      AccessKeyId: keys.accessKeyId,
      SecretAccessKey: keys.secretAccessKey,
      Token: keys.sessionToken,
      LastUpdated: new Date().toISOString(),
      Expiration: new Date(Date.now() + lifetimeMs).toISOString().replace(/\.\d+Z$/, "Z"),
    });
  };

  const answer = (method: string, path: string, headers: Headers): Response => {
    if (refusal.after-- <= 0 && refusal.times-- > 0) return new Response("refused", { status: refusal.status });
    if (path === "/container") {
      const isAllowed = options.authorization === undefined || headers.get("authorization") === options.authorization;
      return isAllowed ? issue() : new Response("who are you", { status: 403 });
    }
    if (method === "PUT" && path === "/latest/api/token") {
      const seconds = Number(headers.get("x-aws-ec2-metadata-token-ttl-seconds"));
      return seconds >= 1 && seconds <= 21_600 ? new Response(TOKEN) : new Response("bad ttl", { status: 400 });
    }
    if (headers.get("x-aws-ec2-metadata-token") !== TOKEN) return new Response("no token", { status: 401 });
    const folder = "/latest/meta-data/iam/security-credentials/";
    if (hasRole && path === folder) return new Response(role);
    return hasRole && path === folder + role ? issue() : new Response("not found", { status: 404 });
  };

  let delayMs = 0;
  const server = Deno.serve({ hostname, port: options.port ?? 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    requests.push(`${request.method} ${pathname}`);
    const waitMs = delayMs;
    delayMs = 0;
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    return answer(request.method, pathname, request.headers);
  });
  const host = hostname === "::1" ? "[::1]" : hostname;
  return {
    url: `http://${host}:${server.addr.port}`,
    requests,
    issued: () => issued,
    refuse(status, times = Infinity, { after = 0 } = {}) {
      refusal = { status, times, after };
    },
    delayOnce(ms) {
      delayMs = ms;
    },
    answerWith(other) {
      text = other;
    },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** An address that takes connections and never answers, as an unused address off AWS mostly does. */
export function startBlackHole(hostname: "127.0.0.1" | "::1" = "127.0.0.1"): { url: string } & Disposable {
  const listener = Deno.listen({ hostname, port: 0 });
  const connections: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const connection of listener) connections.push(connection);
  })();
  const host = hostname === "::1" ? "[::1]" : hostname;
  return {
    url: `http://${host}:${(listener.addr as Deno.NetAddr).port}`,
    [Symbol.dispose]() {
      listener.close();
      for (const connection of connections) connection.close();
      void accepting;
    },
  };
}
