/**
 * A fetch that trusts an authority beside those that the runtime knows. In: the text of a PEM file. Out: the fetch, to
 * be closed. Under Deno it is an HTTP client of its own; Node's fetch takes none, so there the authority is trusted by
 * all of the process.
 */

/** As the platform's, with what this program uses of it. */
export type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** A fetch and what it holds open. */
export interface TrustedFetch {
  fetch: Fetch;
  close(): void;
}

/** What Deno has and the web has not. */
interface Runtime {
  Deno?: { createHttpClient(options: { caCerts: string[] }): { close(): void } };
}

/**
 * Opens a fetch.
 *
 * @param pem One certificate or several.
 * @throws Error where the runtime can trust no further authority (Node before 22.19 and 24.5).
 */
export async function openTrustedFetch(pem: string): Promise<TrustedFetch> {
  const { Deno: deno } = globalThis as Runtime;
  if (deno !== undefined) {
    const client = deno.createHttpClient({ caCerts: [pem] });
    return {
      fetch: (url, init) => fetch(url, { ...init, client } as RequestInit),
      close: () => client.close(),
    };
  }
  const tls = await import("node:tls") as unknown as Partial<NodeTls>;
  if (tls.getCACertificates === undefined || tls.setDefaultCACertificates === undefined) {
    throw new Error(
      "This version of Node cannot trust a further authority: use Node 22.19, 24.5 or later, or NODE_EXTRA_CA_CERTS",
    );
  }
  tls.setDefaultCACertificates([...new Set([...tls.getCACertificates("default"), pem])]);
  return { fetch: (url, init) => fetch(url, init), close: () => {} };
}

/** @see https://nodejs.org/api/tls.html#tlssetdefaultcacertificatescerts */
interface NodeTls {
  getCACertificates(type: "default"): string[];
  setDefaultCACertificates(certificates: readonly string[]): void;
}
