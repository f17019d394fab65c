/**
 * couchbackup itself, run as its users do: in go a server and a database, out come the files that it writes, also one
 * whose writing was stopped and resumed. scripts/ci/couchbackup.sh installs it.
 */
import { join } from "node:path";
import { basicAuthorization, type CouchServer } from "./couch_request.ts";
import { MARKER } from "./foreign_files.ts";
import { until } from "./until.ts";

/** Documents in a batch, so that a small database has several. */
const BATCH = "20";

/** couchbackup before one server. */
export interface Couchbackup extends AsyncDisposable {
  /** The bytes of a backup of a database, decoded name. */
  backup(database: string, ...options: string[]): Promise<Uint8Array>;
  /**
   * The same, stopped in the middle and resumed.
   *
   * @param cut Whether what it had written last is cut off, as where the machine lost its power.
   */
  resumedBackup(database: string, options: { cut: boolean; more?: string[] }): Promise<Uint8Array>;
  /** Restores a file into a database, which is made. @returns The exit code and what it said. */
  restore(file: Uint8Array, database: string, ...options: string[]): Promise<{ code: number; stderr: string }>;
}

/** The folder with the programs, which scripts/ci/couchbackup.sh installs. */
export async function installedCouchbackup(): Promise<string> {
  const args = ["scripts/ci/couchbackup.sh"];
  const { code, stdout, stderr } = await new Deno.Command("sh", { args }).output();
  const decoder = new TextDecoder();
  if (code !== 0) throw new Error(`scripts/ci/couchbackup.sh failed: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout).trim();
}

/**
 * Prepares couchbackup for a server. It logs in for itself where the server hands out cookies; the double does not, so
 * requests go through a front that logs in.
 *
 * @param bin The folder with the programs.
 */
export async function startCouchbackup(server: CouchServer, bin: string): Promise<Couchbackup> {
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-couchbackup-" });
  const front = new Front(server);
  const run = async (program: string, args: string[], input?: Uint8Array) => {
    const child = new Deno.Command(join(bin, program), {
      args: ["--url", front.url, ...args],
      stdin: input === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writing = input === undefined ? undefined : write(child.stdin, input);
    const output = await child.output();
    await writing;
    return { ...output, stderr: new TextDecoder().decode(output.stderr) };
  };
  const ok = async (program: string, args: string[]) => {
    const { code, stdout, stderr } = await run(program, args);
    if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  };
  return {
    backup: (database, ...options) => ok("couchbackup", ["--db", database, "--buffer-size", BATCH, ...options]),
    async resumedBackup(database, { cut, more = [] }) {
      const [log, output] = [join(folder, "log"), join(folder, "output")];
      for (const path of [log, output]) await Deno.remove(path).catch(() => {});
      const args = ["--db", database, "--buffer-size", BATCH, "--parallelism", "1", "--log", log, "--output", output];
      front.holdFrom = 3;
      const child = new Deno.Command(join(bin, "couchbackup"), {
        args: ["--url", front.url, ...args, ...more],
        stdout: "null",
        stderr: "null",
      }).spawn();
      const hasWritten = async () => /^:d batch1$/m.test(await Deno.readTextFile(log).catch(() => ""));
      await until(hasWritten, "couchbackup writes two batches");
      child.kill("SIGKILL");
      await child.status;
      front.release();
      if (cut) {
        const text = await Deno.readTextFile(output);
        await Deno.writeTextFile(output, text.slice(0, text.trimEnd().lastIndexOf("\n") + 400));
        await Deno.writeTextFile(log, (await Deno.readTextFile(log)).replace(/^:d batch1\n/m, ""));
      }
      await ok("couchbackup", [...args, "--resume", ...more]);
      const bytes = await Deno.readFile(output);
      const marked = new TextDecoder().decode(bytes).split("\n").filter((line) => line.endsWith(MARKER));
      if (marked.length !== 1 || (marked[0] !== MARKER) !== cut) {
        throw new Error("couchbackup did not resume as it must");
      }
      return bytes;
    },
    async restore(file, database, ...options) {
      const path = `/${encodeURIComponent(database)}`;
      const made = await fetch(front.url + path, { method: "PUT" });
      await made.body?.cancel();
      const { code, stderr } = await run("couchrestore", ["--db", database, ...options], file);
      return { code, stderr };
    },
    async [Symbol.asyncDispose]() {
      await front.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** A server that logs in for whoever asks, and can let `_bulk_get` wait. */
class Front {
  /** From which request for documents on these are not answered. */
  holdFrom = Infinity;
  readonly url: string;

  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #requests = 0;
  #held: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(target: CouchServer) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const { pathname, search } = new URL(request.url);
      const hasBody = request.method !== "GET" && request.method !== "HEAD";
      const body = hasBody ? await request.bytes() : null;
      // Its first request has no documents: it asks whether there is such an endpoint.
      const isForDocuments = pathname.endsWith("/_bulk_get") && body !== null && body.length > 40;
      if (isForDocuments && ++this.#requests >= this.holdFrom) await this.#held.promise;
      const headers = new Headers(request.headers);
      headers.delete("host");
      headers.set("authorization", basicAuthorization(target.login, target.password));
      const answer = await fetch(target.url + pathname + search, { method: request.method, headers, body });
      return new Response(answer.body, { status: answer.status, headers: answer.headers });
    });
    this.url = `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** Answers again, what waits and what comes. */
  release(): void {
    this.#held.resolve();
    this.#held = Promise.withResolvers();
    this.holdFrom = Infinity;
    this.#requests = 0;
  }

  async close(): Promise<void> {
    this.release();
    await this.#server.shutdown();
  }
}

async function write(stream: WritableStream<Uint8Array>, bytes: Uint8Array): Promise<void> {
  const writer = stream.getWriter();
  await writer.write(bytes);
  await writer.close();
}
