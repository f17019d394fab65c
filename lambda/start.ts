/**
 * The program as a Lambda function: the loop that takes events, around the handler. In: the environment and the
 * console. Out: an exit code, when the process cannot go on.
 */
import type { Environment } from "../src/config/config.ts";
import { describeError } from "../src/errors.ts";
import { openLog } from "../src/observe/log.ts";
import { openHandler } from "./handler.ts";
import { serveInvocations } from "./runtime.ts";

/**
 * Answers events for as long as Lambda lets the process live.
 *
 * @param options.api The value of `AWS_LAMBDA_RUNTIME_API`.
 * @param options.env The process's environment, the object itself.
 * @param options.write Takes a line of the log.
 * @returns The exit code, once the process cannot go on; Lambda starts another one.
 */
export async function startLambda(options: {
  api: string;
  env: Environment & Record<string, string | undefined>;
  write: (line: string) => void;
}): Promise<number> {
  const { api, env, write } = options;
  const { log } = openLog({ level: "info", format: "json", write });
  let flush = () => Promise.resolve();
  try {
    await serveInvocations({
      api,
      env,
      log,
      flush: () => flush(),
      async init() {
        const opened = await openHandler({ env, write });
        flush = opened.flush;
        return opened.handler;
      },
    });
    return 0;
  } catch (error) {
    log.error("the process ends", { error: describeError(error) });
    return 1;
  }
}
