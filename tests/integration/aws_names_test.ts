/**
 * The Lambda in networks where some of AWS's names answer and others do not: in a network namespace each, with a hosts
 * file and addresses of its own. Counts the calls by each name and the seconds. Wants root, to make the namespaces,
 * `ip` of Debian's iproute2, and openssl.
 */
import { assert, assertEquals } from "@std/assert";
import type { NamesResult, NamesTask } from "../fakes/aws_names.ts";
import { makeHostCertificate } from "../fakes/host_certificate.ts";

const REGION = "eu-central-1";
const BUCKET = "test-bucket";
const SERVICES = ["s3", "secretsmanager", "states", "sts"] as const;
const OLDER = (service: string) => `${service}.${REGION}.amazonaws.com`;
const DUAL = (service: string) =>
  service === "s3" ? `s3.dualstack.${REGION}.amazonaws.com` : `${service}.${REGION}.api.aws`;

/** What becomes of the dual-stack names, and whether there is IPv4. */
interface Network {
  dual: "answer" | "are silent" | "are refused" | "are unknown";
  hasIpv4: boolean;
}

const NETWORKS: Record<string, Network> = {
  "every name answers": { dual: "answer", hasIpv4: true },
  "IPv6 alone": { dual: "answer", hasIpv4: false },
  "older names alone, the others silent": { dual: "are silent", hasIpv4: true },
  "older names alone, the others refused": { dual: "are refused", hasIpv4: true },
  "older names alone, the others unknown": { dual: "are unknown", hasIpv4: true },
};

async function sh(command: string, ...args: string[]): Promise<string> {
  // Keys of the surroundings would be taken for the function's own.
  const env = Object.fromEntries(Object.entries(Deno.env.toObject()).filter(([name]) => !/^(?:AWS|S3)_/.test(name)));
  const { success, stdout, stderr } = await new Deno.Command(command, { args, env, clearEnv: true }).output();
  const decoder = new TextDecoder();
  assert(success, `${command} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

/** Runs the handler in a network of its own. */
async function runIn({ dual, hasIpv4 }: Network, folder: string): Promise<NamesResult> {
  const namespace = `couchdb-backup-names-${Deno.pid}`;
  const etc = `/etc/netns/${namespace}`;
  const ip = (...args: string[]) => sh("ip", "-n", namespace, ...args);
  await sh("ip", "netns", "add", namespace);
  try {
    await Deno.mkdir(etc, { recursive: true });
    await ip("link", "set", "lo", "up");
    if (!hasIpv4) await ip("-4", "addr", "flush", "dev", "lo");
    // What is sent there goes nowhere, and nobody says so.
    if (hasIpv4) await ip("route", "add", "10.9.0.0/24", "dev", "lo");
    const hosts: string[] = ["127.0.0.1 localhost", "::1 localhost"];
    const listeners: NamesTask["listeners"] = [];
    for (const [n, service] of SERVICES.entries()) {
      const net = dual === "are silent" ? 9 : 8;
      const places = {
        dual: { name: DUAL(service), addresses: [`10.${net}.0.${10 + n}`, `fd00:${net}::${10 + n}`] },
        older: { name: OLDER(service), addresses: [`10.8.0.${20 + n}`] },
      };
      for (const kind of ["dual", "older"] as const) {
        const { name, addresses } = places[kind];
        const own = addresses.filter((address) => !/^(?:10\.|fd00:)9\b/.test(address));
        for (const address of own) {
          if (address.includes(":")) await ip("-6", "addr", "add", `${address}/128`, "dev", "lo", "nodad");
          else if (hasIpv4) await ip("addr", "add", `${address}/32`, "dev", "lo");
        }
        if (kind === "older" || dual !== "are unknown") {
          hosts.push(
            ...addresses.map((address) => `${address} ${name}${service === "s3" ? ` ${BUCKET}.${name}` : ""}`),
          );
        }
        const answering = own.filter((address) => address.includes(":") || hasIpv4);
        if (kind === "older" || dual === "answer") listeners.push({ service, kind, name, addresses: answering });
      }
    }
    await Deno.writeTextFile(`${etc}/hosts`, `${hosts.join("\n")}\n`);
    // Nobody answers there, and the machine says so at once.
    await Deno.writeTextFile(`${etc}/resolv.conf`, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    const task: NamesTask = {
      folder,
      region: REGION,
      bucket: BUCKET,
      loopback: hasIpv4 ? "127.0.0.1" : "::1",
      listeners,
    };
    const program = ["run", "--quiet", "--no-prompt", "--no-check", "--allow-all", "tests/fakes/aws_names.ts"];
    return JSON.parse(
      await sh("ip", "netns", "exec", namespace, Deno.execPath(), ...program, JSON.stringify(task)),
    );
  } finally {
    await sh("ip", "netns", "delete", namespace);
    await Deno.remove(etc, { recursive: true });
  }
}

Deno.test("docs/lambda.md counts calls and seconds where only some of AWS's names answer", async () => {
  assertEquals(Deno.uid(), 0, "only root can make network namespaces");
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-names-" });
  await makeHostCertificate(folder, SERVICES.flatMap((service) => [DUAL(service), OLDER(service)]));
  const found: Record<string, NamesResult> = {};
  try {
    for (const [name, network] of Object.entries(NETWORKS)) found[name] = await runIn(network, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const page = await Deno.readTextFile("docs/lambda.md");
  const rows = page.slice(page.indexOf("| network ")).split("\n").slice(2, 2 + Object.keys(NETWORKS).length);
  for (const [index, [name, { events, requests, started }]] of Object.entries(found).entries()) {
    const { dual, hasIpv4 } = NETWORKS[name]!;
    assertEquals(events.map(({ error }) => error), [undefined, undefined, undefined], name);
    assertEquals(started, ["weekly-20260103T180000Z"], name);
    const [network, names, ...cells] = rows[index]!.split("|").slice(1, -1).map((cell) => cell.trim());
    const kind = dual === "answer" ? "dual" : "older";
    assertEquals([network, names], [name, dual === "answer" ? "dual-stack" : "older"]);
    const counted = ["sts", "s3", "states", "secretsmanager"].map((service) =>
      requests[`${service} ${service === "sts" && hasIpv4 ? "older" : kind}`]
    );
    assertEquals(counted.map(String), cells.slice(0, 4), name);
    // No name is asked beside those.
    assertEquals(Object.keys(requests).length, SERVICES.length, name);
    // The page's seconds are those of a machine with nothing else to do.
    for (const [n, { event, seconds }] of events.entries()) {
      assert(seconds < parseFloat(cells[4 + n]!) + 8, `${name}, ${event}: ${seconds} s`);
    }
  }
});
