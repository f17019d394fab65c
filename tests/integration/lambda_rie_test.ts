/**
 * The runtime loop under aws-lambda-rie, the Runtime API as AWS publishes it for tests on one's own machine. Wants the
 * path of that program in `AWS_LAMBDA_RIE`; .ci/run leaves this file out without it, and says so.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { resolve } from "node:path";

const emulator = Deno.env.get("AWS_LAMBDA_RIE") ?? missingEmulator();

function missingEmulator(): never {
  throw new Error("AWS_LAMBDA_RIE must be set to the path of an aws-lambda-rie");
}

/** A function under the emulator, in a process group whose end is awaited. */
interface EmulatedFunction extends AsyncDisposable {
  /** Sends a request as Lambda's Invoke API takes it. */
  invoke(body: string): Promise<{ status: number; text: string }>;
}

async function startFunction(env: Record<string, string> = {}): Promise<EmulatedFunction> {
  const folder = await Deno.makeTempDir();
  const bootstrap = `${folder}/bootstrap`;
  const program = resolve("tests/fakes/lambda_program.ts");
  // The emulator starts the program with an environment of its own, as Lambda does: no HOME, no cache.
  await Deno.writeTextFile(
    bootstrap,
    `#!/bin/sh\nexec ${Deno.execPath()} run --quiet --no-prompt --allow-net --allow-env ${program}\n`,
  );
  await Deno.chmod(bootstrap, 0o755);
  const [port, apiPort] = [freePort(), freePort()];
  const child = new Deno.Command(emulator, {
    args: [
      `--runtime-interface-emulator-address=127.0.0.1:${port}`,
      `--runtime-api-address=127.0.0.1:${apiPort}`,
      bootstrap,
    ],
    clearEnv: true,
    env: { PATH: "/usr/bin:/bin", DENO_DIR: `${folder}/.deno`, ...env },
    stdout: "null",
    stderr: "null",
  }).spawn();
  await untilListening(port);
  return {
    async invoke(body) {
      const response = await fetch(`http://127.0.0.1:${port}/2015-03-31/functions/function/invocations`, {
        method: "POST",
        body,
      });
      return { status: response.status, text: await response.text() };
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

Deno.test({
  name: "serveInvocations() under aws-lambda-rie answers, fails and goes on in one process",
  async fn() {
    await using lambda = await startFunction();
    assertEquals(JSON.parse((await lambda.invoke('{"ask":"hello"}')).text), { served: 1, home: null });

    const failed = JSON.parse((await lambda.invoke('{"ask":"fail"}')).text);
    assertEquals(failed, { errorType: "StoreError", errorMessage: "Cannot store the chunk", stackTrace: [] });

    const malformed = JSON.parse((await lambda.invoke("{ not JSON")).text);
    assertEquals(malformed.errorType, "Runtime.MalformedEvent");

    assertEquals(JSON.parse((await lambda.invoke('{"ask":"hello"}')).text), { served: 3, home: null });
  },
});

Deno.test({
  name: "serveInvocations() under aws-lambda-rie answers before the emulator's deadline",
  async fn() {
    await using lambda = await startFunction({ AWS_LAMBDA_FUNCTION_TIMEOUT: "4" });
    const started = performance.now();
    const { text } = await lambda.invoke('{"ask":"work until told to stop"}');
    const seconds = (performance.now() - started) / 1000;
    assertEquals(JSON.parse(text), { stopped: true, served: 1 });
    assert(seconds > 2 && seconds < 4, `answered after ${seconds} s`);
  },
});

Deno.test({
  name: "serveInvocations() under aws-lambda-rie reports a failed start",
  async fn() {
    await using lambda = await startFunction({ FAIL_INIT: "1" });
    const { text } = await lambda.invoke('{"ask":"hello"}');
    assertMatch(text, /ConfigError/);
    assertStringIncludes(text, "The config is empty");
  },
});

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

async function untilListening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`The emulator does not listen on port ${port}`);
}
