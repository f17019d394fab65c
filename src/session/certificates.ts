/**
 * The authorities that a config trusts: `ca_file` of CouchDB, the S3 server, Loki and the Pushgateway. In: the files
 * that the config names. Out: for each server the fetch that trusts its authority; a file that is none is an error of
 * the config.
 */
import { readFile as readFileOfSystem } from "node:fs/promises";
import type { CaFiles, NamedFile } from "../config/config.ts";
import { ConfigError, describeError } from "../errors.ts";
import { tellingProxy } from "../proxy.ts";
import { type Fetch, openTrustedFetch, type TrustedFetch } from "../trusted_fetch.ts";

const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Gives a fetch in place of another one; `server` is what it is for, such as `database` or `bucket`. */
export type WatchFetch = (fetch: Fetch, server: string) => Fetch;

/** What surrounds the reading. */
export interface CertificateOptions {
  /** Looks at the requests. @default nobody */
  watch?: WatchFetch | undefined;
  /** The proxies that requests go through. @default none */
  proxies?: Readonly<Record<string, string>> | undefined;
  /** Reads a file as UTF-8. @default node:fs */
  readFile?: ((path: string) => Promise<string>) | undefined;
}

/** The fetches of one config; each file is read when its server is first wanted, and again where that has failed. */
export class Certificates {
  readonly #files: CaFiles;
  readonly #readFile: (path: string) => Promise<string>;
  readonly #watch: WatchFetch;
  readonly #opened = new Map<keyof CaFiles, Promise<TrustedFetch>>();

  /** Takes what the config names; nothing is read yet. */
  constructor(files: CaFiles = {}, options: CertificateOptions = {}) {
    const { readFile = (path) => readFileOfSystem(path, "utf8"), watch = (fetch) => fetch, proxies } = options;
    this.#files = files;
    this.#watch = (fetch, server) => watch(proxies === undefined ? fetch : tellingProxy(fetch, proxies), server);
    this.#readFile = readFile;
  }

  /**
   * The fetch for a server; the platform's own where the config names no file for it.
   *
   * @throws ConfigError when the file cannot be read, or holds no certificate.
   */
  async fetchFor(server: keyof CaFiles): Promise<Fetch> {
    const file = this.#files[server];
    if (file === undefined) return this.#watch(fetch, server);
    let opening = this.#opened.get(server);
    if (opening === undefined) {
      opening = this.#open(file);
      this.#opened.set(server, opening);
      // A file that could not be read just now may be there a moment later: a service stays for months.
      opening.catch(() => this.#opened.delete(server));
    }
    return this.#watch((await opening).fetch, server);
  }

  /** Closes the connections. */
  async close(): Promise<void> {
    for (const opened of await Promise.allSettled(this.#opened.values())) {
      if (opened.status === "fulfilled") opened.value.close();
    }
    this.#opened.clear();
  }

  async #open(file: NamedFile): Promise<TrustedFetch> {
    const pem = await readPem(file, this.#readFile);
    try {
      return await openTrustedFetch(pem);
    } catch (cause) {
      throw wrongFile(file, `cannot be used: ${describeError(cause)}`);
    }
  }
}

/** Whether every file that a config names can be used, also of a server that is asked later. @throws ConfigError */
export async function checkCertificates(files: CaFiles = {}): Promise<void> {
  const certificates = new Certificates(files);
  try {
    for (const server of Object.keys(files) as (keyof CaFiles)[]) await certificates.fetchFor(server);
  } finally {
    await certificates.close();
  }
}

/** The certificates of a PEM file; what else stands in it, such as a key, is left out. */
async function readPem(file: NamedFile, readFile: (path: string) => Promise<string>): Promise<string> {
  let text: string;
  try {
    text = await readFile(file.path);
  } catch (cause) {
    throw wrongFile(file, "cannot be read", { cause });
  }
  const blocks = text.match(BLOCK) ?? [];
  if (blocks.length === 0) throw wrongFile(file, "holds no certificate (-----BEGIN CERTIFICATE-----)");
  const { X509Certificate } = await import("node:crypto");
  for (const [index, block] of blocks.entries()) {
    try {
      new X509Certificate(block);
    } catch {
      throw wrongFile(file, `has a damaged certificate, number ${index + 1} of ${blocks.length}`);
    }
  }
  return `${blocks.join("\n")}\n`;
}

function wrongFile({ path, place }: NamedFile, what: string, context: { cause?: unknown } = {}): ConfigError {
  return new ConfigError(
    `${place.file}:${place.line}:${place.column}: The file "${path}" of ${place.path} ${what}`,
    place,
    {
      ...context,
      hint:
        "It must be a PEM file with the certificate of the authority, readable by the user that runs this program; a relative path begins in the config's folder",
    },
  );
}
