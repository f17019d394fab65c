/**
 * A server that speaks TLS before another one, as a proxy does, and hands on what comes, byte for byte. With openssl's
 * certificates, good and bad ones, for tests of what is trusted.
 */
import { type AddressInfo, connect } from "node:net";
import { createServer } from "node:tls";
import { join } from "node:path";

/** A running front. */
export interface TlsFront extends AsyncDisposable {
  /** `https://127.0.0.1:…` */
  url: string;
  /** How many handshakes clients have begun. */
  readonly connections: number;
}

/** Starts a front on a free port of 127.0.0.1. `target` is the URL of the server behind it. */
export async function startTlsFront(
  { target, certificate, key }: { target: string; certificate: string; key: string },
): Promise<TlsFront> {
  const { hostname, port } = new URL(target);
  let connections = 0;
  const server = createServer({ cert: certificate, key }, (client) => {
    const behind = connect(Number(port), hostname.replaceAll(/[[\]]/g, ""));
    client.pipe(behind);
    behind.pipe(client);
    for (const [one, other] of [[client, behind], [behind, client]] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  server.on("connection", () => connections++);
  server.on("tlsClientError", () => {});
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return connections;
    },
    [Symbol.asyncDispose]() {
      server.close();
      return Promise.resolve();
    },
  };
}

/** A port of 127.0.0.1 on which nothing listens. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Runs a line of a shell in a folder. @throws Error with what it said when it fails. */
export async function runLine(folder: string, line: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("sh", { args: ["-c", line], cwd: folder, stdout: "null" })
    .output();
  if (!success) throw new Error(`"${line}" has failed: ${new TextDecoder().decode(stderr)}`);
}

/** An authority in a folder, `ca.pem` and `ca.key`, that signs certificates for servers. */
export class Authority {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(folder: string): Promise<Authority> {
    await runLine(
      folder,
      "openssl req -x509 -newkey rsa:2048 -nodes -days 365 -keyout ca.key -out ca.pem -subj '/CN=Authority of a test' " +
        "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign",
    );
    return new Authority(folder);
  }

  /** The path of the authority's own certificate. */
  get file(): string {
    return join(this.folder, "ca.pem");
  }

  /** Signs `<name>.pem` with `<name>.key`. @param extensions Lines of openssl's extfile; none make it of version 1. */
  async sign(name: string, extensions: readonly string[], options = "-days 30 -sha256", bits = 2048): Promise<Pair> {
    await Deno.writeTextFile(join(this.folder, `${name}.ext`), extensions.join("\n") + "\n");
    const extfile = extensions.length === 0 ? "" : `-extfile ${name}.ext`;
    await runLine(
      this.folder,
      `openssl req -new -newkey rsa:${bits} -nodes -keyout ${name}.key -out ${name}.csr -subj /CN=127.0.0.1`,
    );
    await runLine(
      this.folder,
      `openssl x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out ${name}.pem ${extfile} ${options}`,
    );
    return await readPair(this.folder, name);
  }
}

/** A certificate and its key, as PEM. */
export interface Pair {
  certificate: string;
  key: string;
}

/** Reads `<name>.pem` and `<key>.pem` or `<name>.key`. */
export async function readPair(folder: string, name: string, key = `${name}.key`): Promise<Pair> {
  const read = (file: string) => Deno.readTextFile(join(folder, file));
  return { certificate: await read(`${name}.pem`), key: await read(key) };
}
