/**
 * What the Lambda function does with an event (events.ts has their shapes): the config is read, what does not change is
 * opened, and each event goes to what answers it, invocation.ts or restore.ts. In: the environment. Out: a handler for
 * the loop in runtime.ts.
 */
import { type Environment, isRemote, parseConfig, readConfig } from "../src/config/config.ts";
import { describeError, discreetError, hintOf, InterruptedError } from "../src/errors.ts";
import type { Log } from "../src/observe.ts";
import { openConfigLog } from "../src/session/log.ts";
import { openSession } from "../src/session/open.ts";
import type { ProgramSession } from "../src/session/session.ts";
import { parseEvent } from "./events.ts";
import { errorInFields } from "./field_words.ts";
import { ProgramInvocation } from "./invocation.ts";
import { planRestore, restoreStretch, summariseRestore } from "./restore.ts";
import type { Handler, Invocation } from "./runtime.ts";
import { Silence } from "./silence.ts";

/** What {@linkcode openHandler} takes. */
export interface HandlerOptions {
  env: Environment;
  /** Takes a line of the log. */
  write: (line: string) => void;
  /** Tells the time. @default the system's clock */
  now?: (() => Date) | undefined;
}

/**
 * Reads the config and opens what does not change: the store and the log. A config that lies in AWS is read again for
 * each event, so that a change holds from the next one on.
 *
 * @returns The handler, and what sends the log lines that wait.
 * @throws ConfigError, AwsError or StoreError when the config cannot be used.
 */
export async function openHandler(
  options: HandlerOptions,
): Promise<{ handler: Handler; flush: () => Promise<void> }> {
  const host = options.env.AWS_LAMBDA_FUNCTION_NAME ?? "lambda";
  const silence = new Silence();
  const surroundings = { ...options, host, silence };
  let program = await openProgram(await readConfig(options), surroundings);
  return {
    handler: async (invocation) => {
      silence.forget();
      const saying = silenceAtEnd(silence, invocation);
      try {
        program = await renewed(program, invocation.signal);
      } catch (failure) {
        const error = saying(failure);
        sayFailed(program.session.surroundings.log.with({ request: invocation.requestId }), error);
        throw error;
      }
      return await answer(program.session, { host, invocation, saying });
    },
    flush: async () => void await program.flush(),
  };

  /** The program itself while its config is the same. */
  async function renewed(before: OpenProgram, signal: AbortSignal): Promise<OpenProgram> {
    if (!isRemote(before.file)) return before;
    const read = await readConfig({ ...options, fetch: silence.watch(fetch, "config"), signal });
    if (read.text === before.text) return before;
    const next = await openProgram(read, surroundings);
    next.session.surroundings.log.info("config has changed", { config: read.file });
    await before.close();
    return next;
  }
}

/**
 * Says of an interruption what was waited for when the time came to its end: later the requests are ended.
 */
function silenceAtEnd(silence: Silence, { stop, signal }: Invocation): (error: unknown) => unknown {
  let waited: string | undefined;
  for (const end of [stop, signal]) {
    end.addEventListener("abort", () => waited = silence.describe() ?? waited, { once: true });
  }
  return (error) => {
    if (waited === undefined || !(error instanceof InterruptedError)) return error;
    return new InterruptedError(`${describeError(error)}; ${waited}`, { hint: error.hint });
  };
}

/** The text of a config, and what was opened for it. */
interface OpenProgram {
  file: string;
  text: string;
  session: ProgramSession;
  flush: () => Promise<unknown>;
  close: () => Promise<void>;
}

async function openProgram(
  { file, text }: { file: string; text: string },
  { env, write, now, host, silence }: HandlerOptions & { host: string; silence: Silence },
): Promise<OpenProgram> {
  const parsed = parseConfig(text, { file, env });
  const config = { ...parsed, aws: { ...parsed.aws, fetch: silence.watch(fetch, "aws") } };
  // As JSON: template.yaml's metric filter looks into the lines.
  const { log, flush, close } = await openConfigLog(config, { level: "info", format: "json", write, host });
  const session = await openSession({ config, log, flush, host, now, watch: silence.watch.bind(silence) }).catch(
    async (error) => {
      await close();
      throw error;
    },
  );
  return {
    file,
    text,
    session,
    flush,
    close: async () => {
      await session.close();
      await close();
    },
  };
}

function sayFailed(log: Log, error: unknown): void {
  log.error("invocation failed", { error: describeError(error), hint: hintOf(error) });
}

async function answer(
  program: ProgramSession,
  options: { host: string; invocation: Invocation; saying: (error: unknown) => unknown },
): Promise<unknown> {
  const call = new ProgramInvocation(program, options);
  try {
    const event = parseEvent(options.invocation.event);
    switch (event.kind) {
      case "tick":
        return await call.tick(event);
      case "plan":
        return await call.plan(event);
      case "backup":
        return await call.backup(event);
      case "backupBatch":
        return await call.backupBatch(event);
      case "summarise":
        return await call.summarise(event);
      case "expire":
        return await call.expire(event);
      case "run":
        return await call.run(event);
      case "restore":
        return await call.restore(event);
      case "restorePlan":
        return await planRestore(call.session, event);
      case "restoreRound":
        return await restoreStretch(call.session, event);
      case "restoreSummary":
        return await summariseRestore(call.session, event);
    }
  } catch (failure) {
    // It becomes a line of the log, and a part of a state machine's history.
    const error = errorInFields(options.saying(program.isDiscreet ? discreetError(failure) : failure));
    sayFailed(call.log, error);
    throw error;
  } finally {
    call.close();
  }
}
