/**
 * The CouchDB that the benchmark fills and asks, and curl as the peer of the program. In: a URL with credentials. Out:
 * databases of made-up telephony records; measures of curl making the same requests.
 */
import { inARow, type Measure, run, together } from "./measure.ts";

/** Documents in a chunk, and in curl's requests. */
export const CHUNK = 1000;

/** What runs beside the program on the same cores. */
export interface PeerOptions {
  /** For files. */
  folder: string;
  /** What stands before a command: `taskset -c 1`. */
  prefix: readonly string[];
}

/** A CouchDB that is filled and asked with the credentials of its URL. */
export class BenchServer {
  /** With credentials, without a slash at the end. */
  readonly auth: string;
  /** Without credentials. */
  readonly base: string;
  readonly login: string;
  readonly password: string;

  constructor(url: URL) {
    this.auth = url.href.replace(/\/$/, "");
    this.base = url.origin;
    this.login = decodeURIComponent(url.username);
    this.password = decodeURIComponent(url.password);
  }

  /** A database of `count` documents, made anew. */
  async fill(name: string, count: number, options: Omit<RecordOptions, "rev"> = {}): Promise<void> {
    await this.remove(name);
    await this.ask("PUT", `/${name}`);
    for (let from = 0; from < count; from += CHUNK) {
      const docs = Array.from({ length: Math.min(CHUNK, count - from) }, (_, n) => record(from + n, options));
      await this.ask("POST", `/${name}/_bulk_docs`, `{"docs":[${docs.join(",")}]}`);
    }
  }

  /** Changes each document whose number is a multiple of `every`. */
  async change(name: string, count: number, every: number): Promise<void> {
    const ids = Array.from({ length: Math.ceil(count / every) }, (_, n) => idOf(n * every));
    for (let from = 0; from < ids.length; from += CHUNK) {
      const keys = JSON.stringify({ keys: ids.slice(from, from + CHUNK) });
      const { rows } = JSON.parse(await this.ask("POST", `/${name}/_all_docs?include_docs=true`, keys)) as {
        rows: { doc: Record<string, unknown> }[];
      };
      const docs = rows.map(({ doc }) => ({ ...doc, changed: true }));
      await this.ask("POST", `/${name}/_bulk_docs`, JSON.stringify({ docs }));
    }
  }

  async remove(name: string): Promise<void> {
    await this.ask("DELETE", `/${name}`, undefined, [404]);
  }

  async ask(method: string, path: string, body?: string, tolerated: number[] = []): Promise<string> {
    const response = await fetch(this.base + path, {
      method,
      headers: {
        authorization: `Basic ${btoa(`${this.login}:${this.password}`)}`,
        "content-type": "application/json",
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    if (response.ok || tolerated.includes(response.status)) return text;
    throw new Error(`CouchDB answered ${response.status} to ${method} ${path}: ${text.slice(0, 200)}`);
  }

  /** How many requests the node has answered so far. */
  async requests(): Promise<number> {
    const { value } = JSON.parse(await this.ask("GET", "/_node/_local/_stats/couchdb/httpd/requests")) as {
      value: number;
    };
    return value;
  }

  /** The bodies of `_bulk_get` requests for all of a database. */
  async bodies(name: string): Promise<string[]> {
    const { rows } = JSON.parse(await this.ask("GET", `/${name}/_all_docs`)) as { rows: { id: string }[] };
    return inParts(rows.map(({ id }) => `{"id":${JSON.stringify(id)}}`));
  }
}

/** The listing, then four `_bulk_get` at once into nothing: what CouchDB and the network take, and no more. */
export async function curlBackup(server: BenchServer, name: string, peer: PeerOptions): Promise<Measure> {
  const listing = await run(
    [...peer.prefix, "curl", "-sf", `${server.auth}/${name}/_all_docs`, "-o", "/dev/null"],
    peer,
  );
  const bodies = await server.bodies(name);
  return inARow([
    listing,
    await curlPosts(`${server.auth}/${name}/_bulk_get?revs=true&attachments=true`, bodies, peer),
  ]);
}

/**
 * Four curl processes that post ready-made `_bulk_docs` bodies, in the order in which the documents were made: what
 * CouchDB takes to write them.
 */
export async function curlRestore(
  server: BenchServer,
  documents: number,
  { isRandom, ...peer }: PeerOptions & Pick<RecordOptions, "isRandom">,
): Promise<Measure> {
  const name = "bench_restored";
  await server.remove(name);
  await server.ask("PUT", `/${name}`);
  const rev = "1-0123456789abcdef0123456789abcdef";
  const docs = Array.from({ length: documents }, (_, n) => record(n, { rev, isRandom }));
  const posting = await curlPosts(`${server.auth}/${name}/_bulk_docs`, inParts(docs, '"new_edits":false,'), peer);
  await server.remove(name);
  return posting;
}

/**
 * The requests that version 1 made for each of many small databases, from one curl process that keeps its connection.
 */
export async function curlDatabases(
  server: BenchServer,
  names: readonly string[],
  peer: PeerOptions,
): Promise<Measure> {
  const requests: string[] = [];
  for (const name of names) {
    const base = `${server.auth}/${name}`;
    const [body = ""] = await server.bodies(name);
    for (const path of ["", "/_security", "/_revs_limit", "/_all_docs?limit=5000", ""]) {
      requests.push(`url = "${base}${path}"`);
    }
    requests.push(
      `url = "${base}/_bulk_get?revs=true&attachments=true"\nheader = "content-type: application/json"\n` +
        `data = "${body.replaceAll('"', '\\"')}"`,
    );
  }
  return await curl(requests, peer, "databases");
}

/** What brings as many small databases back, from one curl process: made, set up, filled, looked at, secured. */
export async function curlRestoreAll(
  server: BenchServer,
  names: readonly string[],
  peer: PeerOptions,
): Promise<Measure> {
  const rev = "1-0123456789abcdef0123456789abcdef";
  const docs = Array.from({ length: 10 }, (_, n) => record(n, { rev }));
  await Deno.writeTextFile(`${peer.folder}/body-many`, `{"new_edits":false,"docs":[${docs.join(",")}]}`);
  const json = 'header = "content-type: application/json"';
  const requests: string[] = [];
  for (const name of names) {
    await server.remove(name);
    const base = `${server.auth}/${name}`;
    requests.push(
      `url = "${base}?q=2&n=1"\nrequest = "PUT"`,
      `url = "${base}/_revs_limit"\nrequest = "PUT"\n${json}\ndata = "1000"`,
      `url = "${base}/_bulk_docs"\n${json}\ndata-binary = "@${peer.folder}/body-many"`,
      `url = "${base}"`,
      `url = "${base}/_security"\nrequest = "PUT"\n${json}\ndata = "{}"`,
    );
  }
  return await curl(requests, peer, "fleet");
}

function inParts(texts: string[], more = ""): string[] {
  const bodies: string[] = [];
  for (let from = 0; from < texts.length; from += CHUNK) {
    bodies.push(`{${more}"docs":[${texts.slice(from, from + CHUNK).join(",")}]}`);
  }
  return bodies;
}

async function curlPosts(url: string, bodies: readonly string[], peer: PeerOptions): Promise<Measure> {
  const shares: string[][] = [[], [], [], []];
  for (const [n, body] of bodies.entries()) {
    await Deno.writeTextFile(`${peer.folder}/body-${n}`, body);
    shares[n % shares.length]!.push(
      `url = "${url}"\nheader = "content-type: application/json"\ndata-binary = "@${peer.folder}/body-${n}"`,
    );
  }
  // A small database gives fewer requests than there are processes.
  const busy = shares.filter((share) => share.length > 0);
  return together(await Promise.all(busy.map((share, n) => curl(share, peer, String(n)))));
}

async function curl(requests: readonly string[], peer: PeerOptions, name: string): Promise<Measure> {
  const path = `${peer.folder}/curl-${name}`;
  await Deno.writeTextFile(
    path,
    requests.map((request) => `${request}\noutput = "/dev/null"\nsilent\nfail\n`).join("next\n"),
  );
  return await run([...peer.prefix, "curl", "-K", path], peer);
}

/** What a record is to be like. */
export interface RecordOptions {
  /** Its revision; @default none */
  rev?: string | undefined;
  /** Of 285 bytes in CouchDB's answer, and not of one KB. */
  isSmall?: boolean | undefined;
  /** Whether its id tells nothing of when it was made, as that of a call. */
  isRandom?: boolean | undefined;
}

function idOf(n: number, { isRandom = false }: RecordOptions = {}): string {
  const digits = (Math.imul(n + 1, 2_654_435_761) >>> 0).toString(16);
  if (isRandom) return digits.padStart(8, "0") + String(n).padStart(24, "0");
  return `${String(n).padStart(10, "0")}-${digits.padStart(16, "0")}`;
}

/** A telephony record of about one KB, or of 285 bytes in CouchDB's answer; the same for the same number. */
export function record(n: number, { rev, isSmall = false, isRandom }: RecordOptions = {}): string {
  let state = n + 1;
  const below = (limit: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const hex = (length: number) => Array.from({ length }, () => below(16).toString(16)).join("");
  const words = ["call", "from", "to", "queue", "agent", "hold", "transfer", "voicemail", "answered", "missed"];
  const head = {
    _id: idOf(n, { isRandom }),
    ...(rev === undefined ? {} : { _rev: rev }),
    type: "cdr",
    call_id: hex(32),
  };
  if (isSmall) return JSON.stringify({ ...head, caller: `+${below(1e11)}` });
  return JSON.stringify({
    ...head,
    caller: `+${below(1e11)}`,
    callee: `+${below(1e11)}`,
    duration_seconds: below(4000),
    timestamp: 63_000_000_000 + below(1e9),
    media_server: hex(64),
    notes: Array.from({ length: 100 }, () => words[below(words.length)]).join(" "),
  });
}
