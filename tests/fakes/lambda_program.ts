/** A program on the runtime loop whose handler does what the event says; `FAIL_INIT` makes its start fail. */
import { ConfigError, StoreError } from "../../src/errors.ts";
import { SILENT_LOG } from "../../src/observe.ts";
import { serveInvocations } from "../../lambda/runtime.ts";

await serveInvocations({
  api: Deno.env.get("AWS_LAMBDA_RUNTIME_API") ?? "",
  env: {},
  log: SILENT_LOG,
  flush: () => Promise.resolve(),
  init() {
    if (Deno.env.has("FAIL_INIT")) throw new ConfigError("The config is empty", { file: "config.yaml" });
    let served = 0;
    return Promise.resolve(async ({ event, stop }) => {
      served++;
      const { ask } = event as { ask: string };
      if (ask === "fail") throw new StoreError("Cannot store the chunk", { code: "AccessDenied" });
      if (ask === "work until told to stop") {
        await new Promise((resolve) => stop.addEventListener("abort", resolve, { once: true }));
        return { stopped: true, served };
      }
      return { served, home: Deno.env.get("HOME") ?? null };
    });
  },
});
