import { assertEquals, assertLess, assertMatch, assertNotMatch } from "@std/assert";
import { formatMetrics } from "../../src/observe/metrics.ts";
import { groupPath, pushMetrics } from "../../src/observe/pushgateway.ts";
import { Secret } from "../../src/secret.ts";
import { withTurnsForTime } from "../fake_timers.ts";
import { databaseReport, runReport, taskReport } from "../fakes/report.ts";

/** A server that keeps what it is sent and answers as told. */
async function withServer(
  answer: () => Response | Promise<Response>,
  use: (url: string, received: { method: string; path: string; headers: Headers; body: string }[]) => Promise<void>,
  release?: () => void,
) {
  const received: { method: string; path: string; headers: Headers; body: string }[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const { method, headers, url } = request;
    received.push({ method, path: new URL(url).pathname, headers, body: await request.text() });
    return await answer();
  });
  try {
    await use(`http://127.0.0.1:${server.addr.port}`, received);
  } finally {
    // A test that fails must not wait for answers that never come.
    release?.();
    await server.shutdown();
  }
}

const WEEKLY = taskReport("weekly", [databaseReport("a")]);
const FAILED = taskReport("a/b", [databaseReport("a", { status: "failed", error: "x", exit_code: 11 })]);

Deno.test("pushMetrics() replaces the group of a task that succeeded and adds to that of one that failed", async () => {
  await withServer(() => new Response(null, { status: 200 }), async (url, received) => {
    const report = runReport([WEEKLY, FAILED]);
    assertEquals(await pushMetrics(report, { url: `${url}/`, instance: "h1", lostLogLines: 1 }), []);
    assertEquals(received.map(({ method, path, body }) => ({ method, path, body })), [
      {
        method: "PUT",
        path: "/metrics/job/couchdb-backup/instance/h1/task/weekly",
        body: formatMetrics(runReport([WEEKLY]), { lostLogLines: 1 }),
      },
      {
        method: "POST",
        path: "/metrics/job/couchdb-backup/instance/h1/task@base64/YS9i",
        body: formatMetrics(runReport([FAILED]), { lostLogLines: 1 }),
      },
    ]);
    assertEquals(received[0]?.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assertEquals(received[0]?.headers.get("authorization"), null);
  });
});

Deno.test("pushMetrics() sends a login, from the options or the URL, and keeps a path before /metrics", async () => {
  await withServer(() => new Response(null, { status: 202 }), async (url, received) => {
    const report = runReport([WEEKLY]);
    const password = new Secret("päss");
    await pushMetrics(report, { url: `${url}/gate/way`, instance: "h1", login: "u", password });
    await pushMetrics(report, { url: url.replace("//", "//u:p%2Fw@"), instance: "h1" });
    assertEquals(received.map(({ headers }) => headers.get("authorization")), [
      `Basic ${btoa("u:p\u00c3\u00a4ss")}`,
      `Basic ${btoa("u:p/w")}`,
    ]);
    assertEquals(received[0]?.path, "/gate/way/metrics/job/couchdb-backup/instance/h1/task/weekly");
  });
});

Deno.test("pushMetrics() returns a warning for each task that a Pushgateway refuses", async () => {
  await withServer(() => new Response("pushed metrics are invalid", { status: 400 }), async (url) => {
    const host = new URL(url).host;
    assertEquals(await pushMetrics(runReport([WEEKLY, FAILED]), { url, instance: "h1" }), [
      `Cannot push metrics of task "weekly" to the Pushgateway at "${host}": it answered 400 pushed metrics are invalid`,
      `Cannot push metrics of task "a/b" to the Pushgateway at "${host}": it answered 400 pushed metrics are invalid`,
    ]);
  });
});

Deno.test("pushMetrics() says the title of a page that a proxy answers, on one line", async () => {
  const page = "<!DOCTYPE html>\n<html>\n<head><title>502 Bad\n Gateway</title></head>\n<body>nginx</body></html>";
  await withServer(() => new Response(page, { status: 404 }), async (url) => {
    assertEquals(await pushMetrics(runReport([WEEKLY]), { url, instance: "h1" }), [
      `Cannot push metrics of task "weekly" to the Pushgateway at "${
        new URL(url).host
      }": it answered 404 502 Bad Gateway`,
    ]);
  });
});

Deno.test("pushMetrics() waits for a Pushgateway that takes 2.5 s, by default", () =>
  withTurnsForTime(async () => {
    const slowly = () => new Promise<Response>((resolve) => setTimeout(() => resolve(new Response()), 2_500));
    await withServer(slowly, async (url, received) => {
      assertEquals(await pushMetrics(runReport([WEEKLY]), { url, instance: "h1" }), []);
      assertEquals(received.length, 1);
    });
  }));

Deno.test("pushMetrics() sends once more what is not answered in time, or refused for the moment, and nothing else", () =>
  withTurnsForTime(async () => {
    const answers: (() => Response | Promise<Response>)[] = [];
    const released = Promise.withResolvers<void>();
    const silence = () => released.promise.then(() => new Response());
    await withServer(() => answers.shift()!(), async (url, received) => {
      const push = () => pushMetrics(runReport([WEEKLY]), { url, instance: "h1", attemptMs: 200 });
      const status = (status: number) => () => new Response("no", { status });
      const cases: [(() => Response | Promise<Response>)[], RegExp?][] = [
        [[silence, status(200)]],
        [[status(503), status(200)]],
        [[status(400)], /it answered 400 no$/],
        [[status(502), status(503)], /it answered 503 no$/],
        [[silence, silence], /no answer in 200 ms$/],
      ];
      for (const [given, expected] of cases) {
        answers.push(...given);
        received.length = 0;
        const [warning, ...others] = await push();
        assertEquals([received.length, others], [given.length, []]);
        if (expected === undefined) assertEquals(warning, undefined);
        else assertMatch(warning ?? "", expected);
      }
    }, released.resolve);
  }));

Deno.test("pushMetrics() spends its time limit once, on all tasks together, where nothing answers", () =>
  withTurnsForTime(async () => {
    const released = Promise.withResolvers<void>();
    await withServer(() => released.promise.then(() => new Response()), async (url) => {
      const started = performance.now();
      const warnings = await pushMetrics(runReport([WEEKLY, FAILED, WEEKLY]), { url, instance: "h1", timeoutMs: 500 });
      assertLess(performance.now() - started, 1400);
      assertEquals(warnings.length, 3);
      for (const warning of warnings) assertMatch(warning, /: no answer in 500 ms$/);
    }, released.resolve);
  }));

Deno.test("pushMetrics() warns, without the login, when nothing listens and when its URL is none", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = listener.addr;
  listener.close();
  const url = `http://u:hunter2@127.0.0.1:${port}`;
  const [warning = ""] = await pushMetrics(runReport([WEEKLY]), { url, instance: "h1" });
  assertMatch(warning, /^Cannot push metrics of task "weekly" to the Pushgateway at "127\.0\.0\.1:\d+": .*refused/);
  assertNotMatch(warning, /hunter2/);
  const none = await pushMetrics(runReport([WEEKLY]), { url: "gateway:hunter2@", instance: "h1" });
  assertEquals(none.length, 1);
  assertNotMatch(none.join(), /hunter2/);
});

Deno.test("groupPath() carries any value, those that a path cannot hold as base64", () => {
  assertEquals(
    groupPath({ job: "a b", instance: "h%1", task: "ö" }),
    "/metrics/job/a%20b/instance/h%251/task/%C3%B6",
  );
  assertEquals(
    groupPath({ a: "", b: "/var/tmp", c: "..", d: "ö/?>", e: "/??>/~~" }),
    "/metrics/a@base64/=/b@base64/L3Zhci90bXA=/c@base64/Li4=/d@base64/w7YvPz4=/e@base64/Lz8_Pi9-fg==",
  );
});
