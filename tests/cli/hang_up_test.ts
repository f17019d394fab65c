import { assertEquals, assertRejects } from "@std/assert";
import { type HangUp, listenForHangUp } from "../../src/cli/hang_up.ts";
import type { Config } from "../../src/config/config.ts";
import { StoreError, UsageError } from "../../src/errors.ts";
import { RecordedLog } from "../fakes/log.ts";

type Listener = (signal: "SIGINT" | "SIGTERM" | "SIGHUP") => void;

/** A process that is sent signals, and readings of its config that end when the test wants them to. */
function setUp() {
  const readings: PromiseWithResolvers<Config>[] = [];
  let send: Listener = () => {};
  const shell = { onSignal: (listener: Listener) => (send = listener, () => {}) };
  const read = (signal: AbortSignal) => {
    const reading = Promise.withResolvers<Config>();
    readings.push(reading);
    signal.addEventListener("abort", () => reading.reject(signal.reason));
    return reading.promise;
  };
  const hangUp: HangUp<Config> = listenForHangUp({ shell, read });
  return { hangUp, readings, send: (name: Parameters<Listener>[0]) => send(name) };
}

/** Readings are ended in one turn of the event loop, and heard of by the next. */
const turn = () => new Promise((resolve) => setTimeout(resolve));

const [OLDER, NEWER] = [{ lists: "older" }, { lists: "newer" }] as unknown as [Config, Config];

Deno.test("listenForHangUp() takes the config of the last SIGHUP, whichever reading is done first", async () => {
  for (const order of [[0, 1], [1, 0]]) {
    const { hangUp, readings, send } = setUp();
    const log = new RecordedLog();
    const changed = hangUp.listen(log);
    send("SIGHUP");
    send("SIGHUP");
    for (const index of order) {
      readings[index]!.resolve(index === 0 ? OLDER : NEWER);
      await turn();
    }
    assertEquals([changed.aborted, hangUp.newConfig(), log.events("info")], [true, NEWER, ["config is read again"]]);
  }
});

Deno.test("listenForHangUp() keeps the old config where the new one has a mistake, and says so", async () => {
  const { hangUp, readings, send } = setUp();
  const log = new RecordedLog();
  const changed = hangUp.listen(log);
  send("SIGHUP");
  readings[0]!.reject(new UsageError("no task", { hint: "give one" }));
  await turn();
  send("SIGHUP");
  readings[1]!.reject(new StoreError("S3 does not answer", { code: "timeout" }));
  await turn();
  assertEquals([changed.aborted, hangUp.newConfig()], [false, undefined]);
  assertEquals(log.events("error"), [
    "the new config has a mistake: the old one stays in use",
    "the config cannot be read again: the old one stays in use",
  ]);
  assertEquals(log.lines.map(({ fields }) => fields.hint), ["give one", undefined]);
});

Deno.test("listenForHangUp() says nothing of a mistake that a later reading no longer finds", async () => {
  const { hangUp, readings, send } = setUp();
  const log = new RecordedLog();
  hangUp.listen(log);
  send("SIGHUP");
  send("SIGHUP");
  readings[1]!.resolve(NEWER);
  await turn();
  readings[0]!.reject(new UsageError("no task"));
  await turn();
  assertEquals([hangUp.newConfig(), log.events("error")], [NEWER, []]);
});

Deno.test("listenForHangUp() ends a reading, without a word, when the process is to end or the command is over", async () => {
  for (const end of ["SIGTERM", "close"] as const) {
    const { hangUp, readings, send } = setUp();
    const log = new RecordedLog();
    hangUp.listen(log);
    send("SIGHUP");
    if (end === "close") hangUp.close();
    else send(end);
    await assertRejects(() => readings[0]!.promise);
    await turn();
    assertEquals([hangUp.newConfig(), log.events("error")], [undefined, []], end);
  }
});

Deno.test("listenForHangUp() has no new config for a process that is to end, and remembers one between two sessions", async () => {
  const { hangUp, readings, send } = setUp();
  send("SIGHUP");
  readings[0]!.resolve(NEWER);
  await turn();
  assertEquals(hangUp.listen(new RecordedLog()).aborted, true);
  send("SIGTERM");
  assertEquals(hangUp.newConfig(), undefined);
});
