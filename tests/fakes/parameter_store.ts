/** A Parameter Store of Systems Manager that checks signatures. In: parameters by their ARNs. Out: its environment. */
import { SERVICE_KEYS, startJsonService } from "./json_service.ts";

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
  const service = startJsonService("ssm", (target, input) => {
    if (target !== "AmazonSSM.GetParameter") return new Response(null, { status: 400 });
    asked.push(input);
    const found = parameters[String(input.Name)];
    if (typeof found === "string") return Response.json({ Parameter: { Name: input.Name, Value: found } });
    const { status, __type } = found ?? { status: 400, __type: "ParameterNotFound" };
    return Response.json({ __type }, { status });
  });
  return {
    parameters,
    asked,
    env: {
      AWS_ACCESS_KEY_ID: SERVICE_KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: SERVICE_KEYS.secretAccessKey,
      AWS_SESSION_TOKEN: SERVICE_KEYS.sessionToken,
      AWS_ENDPOINT_URL_SSM: service.url,
    },
    [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
  };
}
