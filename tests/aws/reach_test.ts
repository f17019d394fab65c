import { assert, assertEquals, assertRejects } from "@std/assert";
import { findReachable, forgetReachable } from "../../src/aws/reach.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { startBlackHole } from "../fakes/role_service.ts";

const CLOSED = "http://127.0.0.1:1/";
const UNRESOLVED = "http://no-such-name.invalid/";

function startServer(): { url: string; asked: () => number } & AsyncDisposable {
  let asked = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    asked++;
    return new Response("no", { status: 403 });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    asked: () => asked,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

const nameOf = () => crypto.randomUUID();

Deno.test("findReachable() takes the first address that answers, a refusal included, and remembers it", async () => {
  await using first = startServer();
  await using second = startServer();
  const service = nameOf();
  assertEquals(await findReachable(service, [first.url, second.url]), 0);
  assertEquals(await findReachable(service, [first.url, second.url]), 0);
  assertEquals([first.asked(), second.asked()], [1, 0]);
  forgetReachable(service);
  assertEquals(await findReachable(service, [CLOSED, second.url]), 1);
});

Deno.test("findReachable() turns at once from a name that does not resolve or a port that is closed", async () => {
  await using server = startServer();
  for (const gone of [CLOSED, UNRESOLVED]) {
    const started = performance.now();
    assertEquals(await findReachable(nameOf(), [gone, server.url], { headStartMs: 5_000 }), 1, gone);
    assert(performance.now() - started < 4_000, gone);
  }
});

Deno.test("findReachable() turns from an address that is silent, and asks once for all who ask", async () => {
  await using server = startServer();
  using silent = startBlackHole();
  const service = nameOf();
  const ask = () => findReachable(service, [silent.url, server.url], { headStartMs: 50 });
  const started = performance.now();
  assertEquals(await Promise.all([ask(), ask(), ask()]), [1, 1, 1]);
  assert(performance.now() - started >= 45);
  assertEquals(server.asked(), 1);
});

Deno.test("findReachable() says why where nothing answers, and asks again the next time", () =>
  withTurnsForTime(async () => {
    using silent = startBlackHole();
    const service = nameOf();
    const ask = (urls: string[]) => findReachable(service, urls, { headStartMs: 10, limitMs: 100 });
    await assertRejects(() => ask([silent.url, silent.url]), DOMException);
    await assertRejects(() => ask([CLOSED, CLOSED]), TypeError);
    await using server = startServer();
    assertEquals(await ask([CLOSED, server.url]), 1);
  }));

Deno.test("findReachable() does not ask a lone address", async () => {
  assertEquals(await findReachable(nameOf(), [CLOSED]), 0);
});
