/**
 * The program through HAProxy and nginx in front of CouchDB, with the configurations that docs/tls-and-proxies.md shows
 * and with those of which it says that they do not work. CouchDB is the one at COUCHDB_URL where that is set, else the
 * double. Wants what scripts/ci/proxies.sh installs.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type EndedProgram, startProgram } from "../cli/program.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { Authority, freePort } from "../fakes/tls_front.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { until } from "../until.ts";

const PAGE = await Deno.readTextFile(new URL("../../docs/tls-and-proxies.md", import.meta.url));
const blocks = (language: string) =>
  [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map(([, text]) => text!);
const [HAPROXY, HAPROXY_TLS] = blocks("haproxy") as [string, string];
const [NGINX, NGINX_PATH] = blocks("nginx") as [string, string];

/** A proxy that is under way. */
class Proxy implements AsyncDisposable {
  readonly origin: string;
  readonly #child: Deno.ChildProcess;

  private constructor(origin: string, child: Deno.ChildProcess) {
    [this.origin, this.#child] = [origin, child];
  }

  /**
   * Starts HAProxy or nginx with a configuration of the page, whose ports and files are changed to those of the test.
   */
  static async start(folder: string, shown: string, target: CouchServer): Promise<Proxy> {
    const port = freePort();
    const isNginx = shown.includes("proxy_pass") || shown.includes("return 301");
    const text = shown
      .replace(/127\.0\.0\.1:(?:5985|6984)/, `127.0.0.1:${port}`)
      .replaceAll("127.0.0.1:5984", new URL(target.url).host)
      .replaceAll(/\/etc\/(?:haproxy|nginx)\//g, `${folder}/`);
    const file = join(folder, `proxy-${port}.conf`);
    await Deno.writeTextFile(file, isNginx ? nginxAround(text, folder, port) : text);
    const [command, args] = isNginx
      ? ["nginx", ["-p", folder, "-c", file, "-g", "daemon off;"]]
      : ["haproxy", ["-db", "-f", file]];
    const env = { PATH: `${Deno.env.get("PATH")}:/usr/sbin` };
    const child = new Deno.Command("env", {
      args: [command, ...args],
      env,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    })
      .spawn();
    let ended: Deno.CommandStatus | undefined;
    void child.status.then((status) => ended = status);
    const listens = async () => {
      if (ended !== undefined) throw new Error(`${command} has ended with ${ended.code}:\n${text}`);
      return await Deno.connect({ hostname: "127.0.0.1", port }).then((one) => (one.close(), true), () => false);
    };
    await until(listens, `${command} listens`, 20_000);
    const scheme = /\bssl\b/.test(text) ? "https" : "http";
    return new Proxy(`${scheme}://127.0.0.1:${port}`, child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.status;
  }
}

function nginxAround(server: string, folder: string, port: number): string {
  // Workers of another user could not write into the folder.
  const user = Deno.uid() === 0 ? "user root;\n" : "";
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `${user}pid ${folder}/nginx-${port}.pid;\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n${
    temporary.map((name) => `  ${name}_temp_path ${folder}/${name}-${port};\n`).join("")
  }${server}}\n`;
}

/** A CouchDB with a database that has a slash in its name, and a folder. */
class Place implements AsyncDisposable {
  readonly folder: string;
  readonly couch: CouchServer;
  readonly fake: FakeCouchDb | undefined;
  /** A database, and one to restore it into. */
  readonly database: string;
  readonly copy: string;

  private constructor(folder: string, fake: FakeCouchDb | undefined, couch: CouchServer) {
    [this.folder, this.fake, this.couch] = [folder, fake, couch];
    const name = `couch_${crypto.randomUUID().slice(0, 8)}/ab`;
    [this.database, this.copy] = [name, `${name}/copy`];
  }

  static async make({ isDouble = false } = {}): Promise<Place> {
    const url = Deno.env.get("COUCHDB_URL") ?? "";
    const fake = isDouble || url === "" ? await startFakeCouchDb() : undefined;
    const place = new Place(await Deno.makeTempDir({ prefix: "couchdb-backup-proxy-" }), fake, fake ?? serverOf(url));
    await couchOk(place.couch, `PUT /${encodeURIComponent(place.database)}`);
    return place;
  }

  /** Writes documents of so many bytes each. */
  async fill(count: number, bytes: number, prefix = "d"): Promise<void> {
    for (let at = 0; at < count; at += 500) {
      const docs = Array.from({ length: Math.min(500, count - at) }, (_, index) => {
        // Text that no compression makes small enough for a proxy that limits sizes.
        return { _id: `${prefix}${at + index}/+ ü`, text: randomBytes(bytes).toString("base64").slice(0, bytes) };
      });
      await couchOk(this.couch, `POST /${encodeURIComponent(this.database)}/_bulk_docs`, { docs });
    }
  }

  /** Runs the program with CouchDB at `url`. */
  async run(url: string, args: readonly string[], env: Record<string, string> = {}): Promise<EndedProgram> {
    const { login, password } = this.couch;
    const config = join(this.folder, "config.yaml");
    await Deno.writeTextFile(
      config,
      `database: {url: "${url}", login: "${login}", password: "${password}"${
        url.startsWith("https") ? ", ca_file: ca.pem" : ""
      }}\ntask: {all: {databases: ["${this.database}"], chunk: 500}}\nbucket: "${
        pathToFileURL(join(this.folder, "bucket")).href
      }"\n`,
    );
    return await startProgram([...args, "--json"], { COUCHDB_BACKUP_CONFIG: config, ...env }).ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [this.database, this.copy]) await couch(this.couch, `DELETE /${encodeURIComponent(name)}`);
    await this.fake?.stop();
    await Deno.remove(this.folder, { recursive: true });
  }
}

const WORKING: [what: string, shown: string, path: string][] = [
  ["HAProxy", HAPROXY, ""],
  ["HAProxy with TLS", HAPROXY_TLS, ""],
  ["nginx", NGINX, ""],
  ["nginx with TLS and below a path", NGINX_PATH, "/couchdb"],
];
for (const [what, shown, path] of WORKING) {
  Deno.test(`check, backup and restore run through ${what} as docs/tls-and-proxies.md shows it`, async () => {
    await using place = await Place.make();
    await place.fill(700, 300);
    // More than nginx lets through unless it is told to.
    await place.fill(2, 3_000_000, "large");
    const { folder } = place;
    const pair = await (await Authority.make(folder)).sign("server", ["subjectAltName=IP:127.0.0.1"]);
    await Deno.writeTextFile(join(folder, "couchdb.key"), pair.key);
    await Deno.writeTextFile(join(folder, "couchdb.pem"), pair.certificate + (what.startsWith("HA") ? pair.key : ""));
    await using proxy = await Proxy.start(folder, shown, place.couch);
    const url = proxy.origin + path;
    const checked = await place.run(url, ["check"]);
    assertEquals(checked.code, 0, checked.stdout);
    const saved = await place.run(url, ["backup"]);
    assertEquals([saved.code, JSON.parse(saved.stdout).tasks[0].databases[0].documents], [0, 702], saved.stderr);
    const restored = await place.run(url, ["restore", place.copy, `latest/${encodeURIComponent(place.database)}`]);
    assertEquals(restored.code, 0, restored.stderr);
    const read = (name: string) => readAllLeafRevisions(place.couch, name);
    assertEquals(compareLeafRevisions(await read(place.database), await read(place.copy)), []);
  });
}

Deno.test("nginx with a path behind proxy_pass: check and backup say that it decodes %2F", async () => {
  await using place = await Place.make();
  await place.fill(3, 10);
  const shown = NGINX.replace("proxy_pass http://127.0.0.1:5984;", "proxy_pass http://127.0.0.1:5984/;");
  assert(shown !== NGINX);
  await using proxy = await Proxy.start(place.folder, shown, place.couch);
  const checked = await place.run(proxy.origin, ["check"]);
  const { ok, hint } = JSON.parse(checked.stdout).checks.find(({ check }: { check: string }) =>
    check === "couchdb_slash_in_name"
  );
  assertEquals([checked.code === 0, ok], [false, false]);
  assertStringIncludes(hint, "proxy in front of CouchDB decodes %2F in paths, or refuses it");
  const saved = await place.run(proxy.origin, ["backup"]);
  const [database] = JSON.parse(saved.stdout).tasks[0].databases;
  assertEquals([saved.code, database.status], [10, "failed"]);
  assertStringIncludes(database.hint, "proxy in front of CouchDB decodes %2F in paths, or refuses it");
});

Deno.test("nginx without client_max_body_size: restore sends less at a time, and names a document that is too large", async () => {
  await using place = await Place.make();
  await place.fill(1500, 2000);
  await place.fill(1, 1_500_000, "large");
  const shown = NGINX.replace("client_max_body_size 0;", "");
  await using proxy = await Proxy.start(place.folder, shown, place.couch);
  assertEquals((await place.run(proxy.origin, ["backup"])).code, 0);
  const path = `latest/${encodeURIComponent(place.database)}`;
  const restored = await place.run(proxy.origin, ["restore", place.copy, path]);
  const { documents, failed } = JSON.parse(restored.stdout);
  assertEquals([restored.code, documents, failed.length], [3, 1500, 1], restored.stderr);
  assertStringIncludes(failed[0].id, "large");
  assertStringIncludes(failed[0].hint, "Raise the size that the proxy in front of CouchDB lets through");
});

const SHORT: [what: string, shown: string][] = [
  ["HAProxy", HAPROXY.replace("timeout server 5m", "timeout server 1s")],
  ["nginx", NGINX.replace("proxy_read_timeout 5m", "proxy_read_timeout 1s")],
];
for (const [what, shown] of SHORT) {
  Deno.test(`${what} that waits too short a time: requests are made smaller, and what never comes is told`, async () => {
    // The double, as it can be told to be slow.
    await using place = await Place.make({ isDouble: true });
    await place.fill(300, 10);
    await using proxy = await Proxy.start(place.folder, shown, place.couch);
    const isSlow = ({ endpoint, ids, query }: { endpoint: string; ids: string[]; query: URLSearchParams }) =>
      (endpoint === "_bulk_get" && ids.length > 100) || Number(query.get("limit")) > 2000;
    place.fake!.faults.add({ where: isSlow, times: Infinity, fault: { kind: "stall", ms: 3000 } });
    const saved = await place.run(proxy.origin, ["backup"]);
    assertEquals([saved.code, JSON.parse(saved.stdout).tasks[0].databases[0].documents], [0, 300], saved.stderr);

    place.fake!.faults.add({ endpoint: "/", times: Infinity, fault: { kind: "stall", ms: 3000 } });
    const checked = await place.run(proxy.origin, ["check"]);
    const { detail, hint } = JSON.parse(checked.stdout).checks[0];
    assertStringIncludes(detail, 'something that is not CouchDB answered 504, "504 Gateway Time-out"');
    assertStringIncludes(hint, "HAProxy: timeout server; nginx: proxy_read_timeout");
  });
}

Deno.test("CouchDB down behind HAProxy or nginx, and a redirect to https, are told", async () => {
  await using place = await Place.make();
  const nobody: CouchServer = { ...place.couch, url: `http://127.0.0.1:${freePort()}` };
  for (const [shown, status] of [[HAPROXY, 503], [NGINX, 502]] as const) {
    await using proxy = await Proxy.start(place.folder, shown, nobody);
    const { code, stdout } = await place.run(proxy.origin, ["check"]);
    assertEquals(code, 10);
    const { detail, hint } = JSON.parse(stdout).checks[0];
    assertStringIncludes(detail, `something that is not CouchDB answered ${status}`);
    assertStringIncludes(hint, "check that CouchDB runs");
  }
  const redirect = "server {\n  listen 127.0.0.1:5985;\n  return 301 https://couchdb.example$request_uri;\n}\n";
  await using proxy = await Proxy.start(place.folder, redirect, nobody);
  const { code, stdout, stderr } = await place.run(proxy.origin, ["backup"]);
  assertEquals(code, 10, stderr);
  const { message, hint } = JSON.parse(stdout).error;
  assertStringIncludes(message, `"${proxy.origin}" redirects to "https://couchdb.example/`);
  assertStringIncludes(hint, 'Set database.url to "https://couchdb.example"');
});

Deno.test("HTTP_PROXY, HTTPS_PROXY and NO_PROXY are followed as docs/tls-and-proxies.md says, for the instance's metadata too", async () => {
  await using place = await Place.make({ isDouble: true });
  const asked: string[] = [];
  const stopping = new AbortController();
  const { signal } = stopping;
  const out = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {}, signal }, (request) => {
    asked.push(request.url);
    return new Response("refused", { status: 403 });
  });
  const proxy = `http://127.0.0.1:${out.addr.port}`;
  const { couch: { url } } = place;
  const through = async (env: Record<string, string>) => {
    asked.length = 0;
    const { stdout } = await place.run(url, ["check"], env);
    return [JSON.parse(stdout).checks[0].ok, asked.some((one) => one.startsWith(url))];
  };
  assertEquals(await through({}), [true, false]);
  for (const name of ["HTTP_PROXY", "http_proxy", "ALL_PROXY"]) {
    assertEquals(await through({ [name]: proxy }), [false, true], name);
  }
  assertEquals(await through({ HTTPS_PROXY: proxy }), [true, false]);
  for (const names of ["127.0.0.1", "10.0.0.1,127.0.0.0/8"]) {
    assertEquals(await through({ HTTP_PROXY: proxy, NO_PROXY: names }), [true, false], names);
  }
  assertEquals(await through({ HTTP_PROXY: proxy, NO_PROXY: "*" }), [false, true], "a star is not understood");

  // Keys of an instance's role: asked through the proxy unless NO_PROXY, as the page has it, names where they are.
  const metadata: string[] = [];
  const service = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {}, signal }, (request) => {
    metadata.push(new URL(request.url).pathname);
    return new Response("no role", { status: 404 });
  });
  const noProxy = /^NO_PROXY=(.*)$/m.exec(PAGE)![1]!;
  const config = join(place.folder, "s3.yaml");
  await Deno.writeTextFile(
    config,
    `database: {url: "${url}"}\ntask: {all: {databases: [x]}}\nbucket: s3://name/folder\nregion: eu-central-1\nendpoint: "${url}"\n`,
  );
  const env = {
    COUCHDB_BACKUP_CONFIG: config,
    HOME: place.folder,
    // Whoever runs these tests may have keys.
    AWS_ACCESS_KEY_ID: "",
    AWS_SECRET_ACCESS_KEY: "",
    AWS_SESSION_TOKEN: "",
    AWS_PROFILE: "",
    AWS_CONFIG_FILE: "/nowhere",
    AWS_SHARED_CREDENTIALS_FILE: "/nowhere",
    HTTP_PROXY: proxy,
  };
  const endpoint = { AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://127.0.0.1:${service.addr.port}` };
  asked.length = 0;
  await startProgram(["list"], env).ended;
  assertEquals(
    asked.filter((one) => one.includes("//169.254.169.254/") || one.includes("//[fd00:ec2::254]/")).length,
    2,
  );
  asked.length = 0;
  await startProgram(["list"], { ...env, ...endpoint }).ended;
  assertEquals([asked.length, metadata.length], [1, 0]);
  await startProgram(["list"], { ...env, ...endpoint, NO_PROXY: noProxy }).ended;
  assertEquals([asked.length, metadata[0]], [1, "/latest/api/token"]);
  stopping.abort();
});
