/**
 * The proxies that the environment names, and what fails at them. The runtime follows HTTPS_PROXY and its like by
 * itself, and its errors say nothing of them: a proxy whose name does not resolve looks as if CouchDB's did not. In: the
 * variables, and a fetch. Out: the same fetch, whose errors name the variable where the proxy is to blame.
 */
import { BlockList, isIP } from "node:net";
import { ProxyError } from "./proxy_error.ts";
import type { Fetch } from "./trusted_fetch.ts";

/** The environment's variables that are about proxies; the proxies' addresses are without a login. */
export type ProxyVariables = Readonly<Record<string, string>>;

/** The proxy that a request goes through. */
interface ProxyInUse {
  /** `HTTPS_PROXY`, in the letters in which it is set. */
  variable: string;
  /** Without a login. */
  address: string;
}

/** How Deno says that the first connection, which is the one to the proxy, has not come about, and why. */
const NO_CONNECTION = /(?:dns error|tcp connect error): .*/;
const WANTS_LOGIN = /proxy authentication required/i;

/** The variables that count for a scheme: of the first that is set, as Deno 2.9.6 takes them. */
const VARIABLES: Readonly<Record<string, readonly string[]>> = {
  "https:": ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"],
  "http:": ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"],
};

/** A fetch whose errors name the proxy's variable where the proxy is to blame. */
export function tellingProxy(fetch: Fetch, variables: ProxyVariables): Fetch {
  return async (url, init) => {
    let response: Response;
    try {
      response = await fetch(url, init);
    } catch (cause) {
      throw explain(cause, new URL(url), variables) ?? cause;
    }
    if (response.status !== 407) return response;
    const proxy = proxyOf(new URL(url), variables);
    if (proxy === undefined) return response;
    await response.body?.cancel();
    throw loginWanted(proxy, new URL(url));
  };
}

function explain(cause: unknown, url: URL, variables: ProxyVariables): ProxyError | undefined {
  const proxy = proxyOf(url, variables);
  if (proxy === undefined) return undefined;
  const said = messagesOf(cause);
  if (WANTS_LOGIN.test(said)) return loginWanted(proxy, url, cause);
  const [reason] = NO_CONNECTION.exec(said) ?? [];
  if (reason === undefined) return undefined;
  const { variable, address } = proxy;
  return new ProxyError(`the proxy "${address}", which ${variable} names, cannot be reached (${reason})`, {
    wantsLogin: false,
    hint: `Correct ${variable}, or name ${hostOf(url)} in NO_PROXY, which is then asked without a proxy`,
    cause,
  });
}

function loginWanted({ variable, address }: ProxyInUse, url: URL, cause?: unknown): ProxyError {
  return new ProxyError(`the proxy "${address}", which ${variable} names, wants a login (407)`, {
    wantsLogin: true,
    hint: `Write the login into ${variable}, as in http://name:password@${address.replace(/^.*\/\//, "")}, ` +
      `or name ${hostOf(url)} in NO_PROXY, which is then asked without a proxy`,
    cause,
  });
}

/** The proxy that a request goes through; undefined where it goes through none. */
export function proxyOf(url: URL, variables: ProxyVariables): ProxyInUse | undefined {
  const variable = VARIABLES[url.protocol]?.find((name) => variables[name]);
  if (variable === undefined || isExcepted(hostOf(url), variables["NO_PROXY"] || variables["no_proxy"] || "")) {
    return undefined;
  }
  return { variable, address: variables[variable]! };
}

/** Those of an environment; undefined where it names no proxy. */
export function proxyVariablesIn(env: Readonly<Record<string, string | undefined>>): ProxyVariables | undefined {
  const names = new Set(Object.values(VARIABLES).flat());
  const proxies = [...names].flatMap((name) => env[name] ? [[name, withoutLogin(env[name])] as const] : []);
  if (proxies.length === 0) return undefined;
  const excepted = ["NO_PROXY", "no_proxy"].flatMap((name) => env[name] ? [[name, env[name]] as const] : []);
  return Object.fromEntries([...proxies, ...excepted]);
}

function withoutLogin(address: string): string {
  const { protocol, host } = URL.parse(address.includes("://") ? address : `http://${address}`) ?? {};
  return host ? `${protocol}//${host}` : "an invalid address";
}

/** Whether a list of names, addresses and networks has a host. */
function isExcepted(host: string, list: string): boolean {
  const addresses = new BlockList();
  const family = (address: string) => isIP(address) === 6 ? "ipv6" : "ipv4";
  for (const entry of list.split(",").map((one) => one.trim())) {
    const [address = "", bits] = entry.split("/");
    if (isIP(address) === 0) {
      const name = entry.replace(/^\./, "");
      if (name !== "" && (host === name || host.endsWith(`.${name}`))) return true;
    } else if (bits === undefined) addresses.addAddress(address, family(address));
    else if (/^\d{1,3}$/.test(bits) && Number(bits) <= (isIP(address) === 6 ? 128 : 32)) {
      addresses.addSubnet(address, Number(bits), family(address));
    }
  }
  return isIP(host) !== 0 && addresses.check(host, family(host));
}

function hostOf({ hostname }: URL): string {
  return hostname.replaceAll(/[[\]]/g, "");
}

function messagesOf(error: unknown): string {
  const messages: string[] = [];
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    messages.push(current.message);
  }
  return messages.join(": ");
}
