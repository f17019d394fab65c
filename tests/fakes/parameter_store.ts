/** A Parameter Store of Systems Manager that checks signatures. In: parameters by their ARNs. Out: its environment. */
import { checkSignature } from "./sigv4.ts";

const KEYS = { accessKeyId: "ASIA1", secretAccessKey: "secret", sessionToken: "session" };

/** A value, or how the question for it is refused. */
export type FakeParameter = string | { status: number; __type: string };

/** A running one. The parameters may be changed. */
export interface FakeParameterStore extends AsyncDisposable {
  parameters: Record<string, FakeParameter>;
  /** The inputs of the questions. */
  asked: unknown[];
  /** The variables that lead to it. */
  env: Record<string, string>;
}

export function startParameterStore(parameters: Record<string, FakeParameter>): FakeParameterStore {
  const asked: unknown[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const url = new URL(request.url);
    const body = new Uint8Array(await request.arrayBuffer());
    const problem = checkSignature(
      {
        method: request.method,
        rawPath: url.pathname,
        rawQuery: url.search.slice(1),
        headers: { ...Object.fromEntries(request.headers), host: url.host },
        body,
      },
      { ...KEYS, region: "eu-central-1", service: "ssm" },
      new Date(),
    );
    if (problem !== undefined) {
      return Response.json({ __type: problem.code, message: problem.message }, { status: 400 });
    }
    if (request.headers.get("x-amz-target") !== "AmazonSSM.GetParameter") return new Response(null, { status: 400 });
    const input = JSON.parse(new TextDecoder().decode(body));
    asked.push(input);
    const found = parameters[input.Name];
    if (typeof found === "string") return Response.json({ Parameter: { Name: input.Name, Value: found } });
    const { status, __type } = found ?? { status: 400, __type: "ParameterNotFound" };
    return Response.json({ __type }, { status });
  });
  return {
    parameters,
    asked,
    env: {
      AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
      AWS_SESSION_TOKEN: KEYS.sessionToken,
      AWS_ENDPOINT_URL_SSM: `http://127.0.0.1:${server.addr.port}`,
    },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
