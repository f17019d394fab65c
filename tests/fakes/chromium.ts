/**
 * Debian's Chromium without a window, spoken to by its DevTools protocol. In: a page's file. Out: what becomes of it.
 */

/** A page that is open. */
export interface OpenPage extends AsyncDisposable {
  /** Calls a method of the protocol. @see https://chromedevtools.github.io/devtools-protocol/ */
  // deno-lint-ignore no-explicit-any
  call(method: string, params?: Record<string, unknown>): Promise<any>;
  /** What an expression is on the page. The page's policy does not hold for it. */
  // deno-lint-ignore no-explicit-any
  evaluate(expression: string): Promise<any>;
}

/** How a reader looks at a page. */
export interface Viewer {
  width: number;
  height: number;
  scheme: "light" | "dark";
}

/** Opens a file, and waits until it has been painted. */
export async function openPage(file: string, { width, height, scheme }: Viewer): Promise<OpenPage> {
  const profile = await Deno.makeTempDir({ prefix: "couchdb-backup-chromium-" });
  const child = new Deno.Command("chromium", {
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"],
      ...["--remote-debugging-port=0", `--user-data-dir=${profile}`],
    ],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  let port: string | undefined;
  while (port === undefined) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`Chromium does not start: ${said}`);
    said += value;
    port = /DevTools listening on ws:\/\/[^:]+:(\d+)/.exec(said)?.[1];
  }
  const rest = (async () => {
    while (!(await reader.read()).done);
  })();
  const answer = await fetch(`http://127.0.0.1:${port}/json/new?about:blank`, { method: "PUT" });
  const { webSocketDebuggerUrl } = await answer.json();
  const socket = new WebSocket(webSocketDebuggerUrl);
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let last = 0;
  socket.onmessage = ({ data }) => {
    const { id, result, error } = JSON.parse(data);
    const call = waiting.get(id);
    if (error === undefined) call?.resolve(result);
    else call?.reject(new Error(error.message));
    waiting.delete(id);
  };
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  const page: OpenPage = {
    call(method, params = {}) {
      const answered = Promise.withResolvers<unknown>();
      waiting.set(++last, answered);
      socket.send(JSON.stringify({ id: last, method, params }));
      return answered.promise;
    },
    async evaluate(expression) {
      const params = { expression, awaitPromise: true, returnByValue: true };
      const { result, exceptionDetails } = await page.call("Runtime.evaluate", params);
      if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
      return result.value;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => socket.onclose = resolve);
      socket.close();
      child.kill();
      await Promise.all([child.status, rest, closed]);
      await Deno.remove(profile, { recursive: true });
    },
  };
  await page.call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  await page.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await page.call("Page.enable");
  await page.call("Page.navigate", { url: `file://${file}` });
  while (!await page.evaluate("performance.getEntriesByName('first-contentful-paint').length > 0")) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return page;
}
