import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CouchClient } from "../src/couchdb/client.ts";
import { CouchError, StoreError } from "../src/errors.ts";
import { proxyOf, proxyVariablesIn, tellingProxy } from "../src/proxy.ts";
import { proxyErrorIn } from "../src/proxy_error.ts";
import { Secret } from "../src/secret.ts";
import { openStore } from "../src/store/open.ts";
import type { Fetch } from "../src/trusted_fetch.ts";
import { RecordedLog } from "./fakes/log.ts";

Deno.test("proxyOf() knows which variable counts for a URL, and what NO_PROXY excepts", () => {
  const variableFor = (url: string, variables: Record<string, string>) => proxyOf(new URL(url), variables)?.variable;
  const proxy = "http://proxy:3128";
  assertEquals(proxyOf(new URL("http://a/"), { http_proxy: proxy }), {
    variable: "http_proxy",
    address: "http://proxy:3128",
  });
  assertEquals(variableFor("https://a/", { HTTP_PROXY: proxy }), undefined);
  assertEquals(variableFor("https://a/", { HTTPS_PROXY: proxy, HTTP_PROXY: proxy }), "HTTPS_PROXY");
  assertEquals(variableFor("https://a/", { ALL_PROXY: proxy, NO_PROXY: "" }), "ALL_PROXY");
  const cases: [host: string, list: string, isExcepted: boolean][] = [
    ["couch.example.com", "example.com", true],
    ["couch.example.com", "b, .example.com", true],
    ["notexample.com", "example.com", false],
    ["couch.example.com", "*", false],
    ["10.1.2.3", "10.0.0.0/8", true],
    ["11.1.2.3", "10.0.0.0/8,10.1", false],
    ["127.0.0.1", "127.0.0.1", true],
    ["[fd00::1]", "fd00::/16", true],
    ["[::1]", "::1", true],
    ["[::1]", "::2,::1/200", false],
  ];
  for (const [host, list, isExcepted] of cases) {
    const variable = variableFor(`http://${host}:5984/`, { HTTP_PROXY: proxy, NO_PROXY: list });
    assertEquals(variable, isExcepted ? undefined : "HTTP_PROXY", `${host} ${list}`);
  }
});

Deno.test("proxyVariablesIn() takes what is about proxies, without a login", () => {
  assertEquals(proxyVariablesIn({ HOME: "/root", HTTP_PROXY: "" }), undefined);
  const env = { HTTP_PROXY: "http://u:hunter2@proxy:3128/x", https_proxy: "proxy:3128", NO_PROXY: "a,b", PATH: "/bin" };
  assertEquals(proxyVariablesIn(env), {
    HTTP_PROXY: "http://proxy:3128",
    https_proxy: "http://proxy:3128",
    NO_PROXY: "a,b",
  });
});

/** What Deno 2.9.6 throws. */
function failing(said: string): Fetch {
  const cause = new Error(`error sending request for url (http://couch:5984/): client error (Connect): ${said}`);
  return () => Promise.reject(new TypeError("fetch failed", { cause }));
}
const VARIABLES = proxyVariablesIn({ HTTP_PROXY: "http://u:hunter2@proxy.example:3128" })!;

Deno.test("tellingProxy() leaves alone what is no fault of the proxy", async () => {
  const refused = failing("tcp connect error: Connection refused (os error 111)");
  const others: [Fetch, Record<string, string>][] = [
    [refused, {}],
    [refused, { ...VARIABLES, NO_PROXY: "couch" }],
    [failing("invalid peer certificate: UnknownIssuer"), VARIABLES],
  ];
  for (const [fetch, variables] of others) {
    const error = await assertRejects(() => tellingProxy(fetch, variables)("http://couch:5984/"));
    assertEquals(proxyErrorIn(error), undefined);
  }
  const answer: Fetch = () => Promise.resolve(new Response("", { status: 407 }));
  assertEquals((await tellingProxy(answer, {})("http://couch:5984/")).status, 407);
});

for (
  const [what, fetch, said, attempts] of [
    ["a name that does not resolve", failing("dns error: failed to lookup address information"), "dns error", 3],
    ["a closed port", failing("tcp connect error: Connection refused"), "Connection refused", 3],
    ["a login that it wants", failing("proxy authentication required"), "wants a login (407)", 1],
    ["407", () => Promise.resolve(new Response("", { status: 407 })), "wants a login (407)", 1],
  ] as [string, Fetch, string, number][]
) {
  Deno.test(`what fails at the proxy is told of it and its variable, by CouchDB's client and the store: ${what}`, async () => {
    let asked = 0;
    const telling = tellingProxy((url, init) => (asked++, fetch(url, init)), VARIABLES);
    const retry = { attempts: 3, firstWaitMs: 1, longestWaitMs: 1 };
    const client = new CouchClient({ url: "http://couch:5984", log: new RecordedLog(), fetch: telling, retry });
    const ofCouch = await assertRejects(() => client.serverVersion(), CouchError);
    assertEquals(asked, attempts);
    const bucket = { bucket: "s3://bucket", endpoint: "http://couch:9000", region: "x", accessKeyId: "a" };
    const store = await openStore({ ...bucket, secretAccessKey: new Secret("s") }, { fetch: telling });
    const signal = AbortSignal.timeout(2000);
    const ofStore = await assertRejects(() => store.stat("a", { signal }), StoreError);
    for (const error of [ofCouch, ofStore]) {
      assertStringIncludes(error.message, 'the proxy "http://proxy.example:3128", which HTTP_PROXY names');
      assertStringIncludes(error.message, said);
      assertStringIncludes(error.hint ?? "", "HTTP_PROXY");
      assertStringIncludes(error.hint ?? "", "name couch in NO_PROXY");
      assert(!`${error.message} ${error.hint}`.includes("hunter2"));
    }
  });
}
