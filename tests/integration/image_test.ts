/**
 * The container image, the CronJob and the Compose file: built and run by podman on a base of this machine's own libc,
 * since no registry of images is in reach; read by who reads such files. Wants what scripts/ci/containers.sh,
 * prometheus.sh and s3_server.sh install, root, and Go (nfpm).
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { parse, parseAllDocuments } from "yaml";
import { parseConfig } from "../../src/config/config.ts";
import { VERSION } from "../../src/version.ts";
import { startProgram } from "../cli/program.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { until } from "../until.ts";

const COMPOSE = "scripts/compose";

Deno.test("the image is built, and backs up and restores as nobody on a root that nobody can write", async () => {
  // A short name: podman takes no --runroot of more than 50 characters.
  const folder = await Deno.makeTempDir({ prefix: "image-" });
  // Apart from what else podman has on this machine.
  const podman = `podman --root ${folder}/root --runroot ${folder}/run --runtime runc --cgroup-manager cgroupfs`;
  try {
    await sh("deno task --quiet packages --runtime deno --arch x86_64 --format image");
    await sh(`${BASE_OF_THIS_MACHINE}\ntar -C "$1/base" -c . | ${podman} import - localhost/base`, folder);
    await sh(`${podman} build --isolation chroot --file scripts/packaging/Dockerfile --tag couchdb-backup \
      --build-arg BASE=localhost/base --build-arg TARGETARCH=amd64 --build-arg VERSION=${VERSION} dist/packages`);
    const [image] = JSON.parse(await sh(`${podman} image inspect couchdb-backup`));
    assertEquals(image.Config.User, "65532:65532");
    assertEquals(image.Labels["org.opencontainers.image.version"], VERSION);
    assertEquals(image.Labels["org.opencontainers.image.licenses"], "MIT");

    await using couch = await startFakeCouchDb();
    await seedHardDatabase(couch, "orders", { documents: 40 });
    await Deno.writeTextFile(
      `${folder}/config.yaml`,
      `database: {url: "${couch.url}", login: "${couch.login}", password: "\${COUCHDB_PASSWORD}"}
task: {all: {databases: [orders]}}
bucket: /backups
`,
    );
    await sh(
      `cd "$1"; mkdir backups state; chown 65532:65532 backups state; chmod 644 config.yaml; chmod 755 .`,
      folder,
    );
    // The limits are this machine's own: a container may not have more than who starts it.
    const run = `${podman} run --rm --read-only --cap-drop ALL --network host --ulimit nofile=1024:1024 \
      --ulimit nproc=4096:4096 --env COUCHDB_PASSWORD=${couch.password} --volume ${folder}/config.yaml:/config.yaml:ro \
      --volume ${folder}/backups:/backups --volume ${folder}/state:/state`;
    assertEquals(await sh(`${run} couchdb-backup --version`), `couchdb-backup ${VERSION}\n`);
    assertEquals((await ended(`${run} --entrypoint /bin/sh couchdb-backup -c '>/x'`)).code, 2);
    // As docs/install.md has it, where docker stands for podman.
    const [shown = ""] = /^docker run .*$/m.exec(await Deno.readTextFile("docs/install.md")) ?? [];
    const limits = "--network host --ulimit nofile=1024:1024 --ulimit nproc=4096:4096";
    await sh(
      `export COUCHDB_PASSWORD=${couch.password}
      ${shown.replace("docker run", `${podman} run ${limits}`).replaceAll("--volume ./", `--volume ${folder}/`)}`,
    );
    await sh(`${run} couchdb-backup restore orders_copy latest/orders /config.yaml`);
    const read = (name: string) => readAllLeafRevisions(couch, name);
    assertEquals(compareLeafRevisions(await read("orders"), await read("orders_copy")), []);
    assertEquals((await sh(`find ${folder}/backups -mindepth 1 -not -user 65532`)).trim(), "");
  } finally {
    await sh(`${podman} system reset --force; rm -rf "$1"`, folder);
  }
});

Deno.test("the CronJob is one that Kubernetes takes, and runs a command and a config that the program takes", async () => {
  const file = "scripts/packaging/cronjob.yaml";
  const said = await ended(`.venv-kubernetes/bin/kubernetes-validate --strict ${file}`);
  assertEquals(said.code, 0, said.stderr);
  assertEquals((said.stdout + said.stderr).match(/passed for resource/g)?.length, 2);
  const [map, job] = parseAllDocuments(await Deno.readTextFile(file)).map((document) => document.toJS());
  parseConfig(map.data["config.yaml"], { file, env: { COUCHDB_PASSWORD: "secret" } });
  const pod = job.spec.jobTemplate.spec.template.spec;
  const [container] = pod.containers;
  assertEquals(container.args, ["backup", "/config/config.yaml", "--scheduled"]);
  assertEquals([pod.securityContext.runAsNonRoot, pod.securityContext.runAsUser], [true, 65532]);
  assertEquals(container.securityContext.readOnlyRootFilesystem, true);
  assertEquals(job.spec.concurrencyPolicy, "Forbid");
});

Deno.test("compose.yaml is one that Compose takes, and all that it mounts is there and is what its reader takes", async () => {
  const loader = (await sh("sh scripts/ci/containers.sh")).trim().split("\n").at(-1);
  const loaded = JSON.parse(await sh(`cd ${COMPOSE} && ${loader} -format json compose.yaml`));
  assertEquals(Object.keys(loaded.services).sort(), [
    "backup",
    "couchdb",
    "grafana",
    "loki",
    "prometheus",
    "pushgateway",
    "s3",
  ]);
  const written = parse(await Deno.readTextFile(`${COMPOSE}/compose.yaml`));
  const mounts = new Map<string, string>();
  for (const service of Object.values<{ volumes?: string[]; ports?: string[]; image: string }>(written.services)) {
    for (const volume of service.volumes ?? []) {
      const [source = "", target = ""] = volume.split(":");
      if (!source.startsWith(".")) continue;
      assert((await Deno.stat(join(COMPOSE, source))).isFile, source);
      mounts.set(target, join(COMPOSE, source));
    }
    // Nobody else on the network gets in: the passwords stand in the file.
    for (const port of service.ports ?? []) assertMatch(port, /^127\.0\.0\.1:/);
    assert(service.image === "couchdb-backup" || /:v?\d/.test(service.image), `${service.image} names no version`);
  }
  const { context, dockerfile } = written.services.backup.build;
  assert((await Deno.stat(join(COMPOSE, context, dockerfile))).isFile);

  // Prometheus: its config with the rules where it will find them.
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-compose-" });
  for (const target of ["/etc/prometheus/prometheus.yml", "/etc/prometheus/alerts.yaml"]) {
    await Deno.copyFile(mounts.get(target)!, join(folder, target.split("/").at(-1)!));
  }
  assertMatch(await sh(`promtool check config ${folder}/prometheus.yml`), /rules found/);
  await Deno.remove(folder, { recursive: true });

  // Grafana: each data source is a service, each type one that the dashboard asks for, and the dashboard lies in the
  // folder.
  const { datasources } = parse(await Deno.readTextFile(`${COMPOSE}/grafana/datasources.yaml`));
  const dashboard = await Deno.readTextFile(mounts.get("/var/lib/grafana/dashboards/couchdb-backup.json")!);
  for (const { type, url } of datasources) {
    assert(new URL(url).hostname in written.services, url);
    assert(JSON.parse(dashboard).templating.list.some((one: { query: unknown }) => one.query === type), type);
  }
  const { providers } = parse(await Deno.readTextFile(`${COMPOSE}/grafana/dashboards.yaml`));
  assertEquals(providers[0].options.path, "/var/lib/grafana/dashboards");
});

Deno.test("what compose.yaml tells the backup and the S3 server fits together: a backup is made by them", async () => {
  const { services: { backup, s3, couchdb } } = parse(await Deno.readTextFile(`${COMPOSE}/compose.yaml`));
  await using couch = await startFakeCouchDb();
  await createDatabase(couch, "orders", idsOf(3));
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-compose-" });
  await Deno.mkdir(`${folder}/data/backups`, { recursive: true });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  await sh("sh scripts/ci/s3_server.sh --install");
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const { version } = /^version=(?<version>.*)$/m.exec(await Deno.readTextFile("scripts/ci/s3_server.sh"))!.groups!;
  assertEquals(s3.image, `versity/versitygw:${version}`);
  const server = new Deno.Command(`${cache}/couchdb-backup-ci/versitygw-${version}`, {
    args: s3.command.map((word: string) => word === "/data" ? `${folder}/data` : word),
    env: { ...s3.environment, VGW_PORT: `127.0.0.1:${port}` },
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const text = await Deno.readTextFile(`${COMPOSE}/config.yaml`);
    assertEquals(couchdb.environment.COUCHDB_PASSWORD, backup.environment.COUCHDB_PASSWORD);
    const path = `${folder}/config.yaml`;
    await Deno.writeTextFile(
      path,
      text.replace("http://couchdb:5984", couch.url).replace('"admin"', `"${couch.login}"`)
        .replace("http://s3:7070", `http://127.0.0.1:${port}`).replace(/^(loki|prometheus): .*$/gm, ""),
    );
    const answers = () => Deno.connect({ hostname: "127.0.0.1", port }).then((it) => (it.close(), true), () => false);
    await until(answers, "the S3 server listens");
    const env = { ...backup.environment, COUCHDB_PASSWORD: couch.password };
    const { code, stderr } = await startProgram(["backup", path], env).ended;
    assertEquals(code, 0, stderr);
    assertEquals((await startProgram(["verify", "orders", "latest", path], env).ended).code, 0);
  } finally {
    server.kill();
    await server.status;
    await Deno.remove(folder, { recursive: true });
  }
});

/** What a small image of Debian has of use to the program, in $1/base: the C library and a shell. */
const BASE_OF_THIS_MACHINE = `set -e
mkdir -p "$1/base/usr/bin" "$1/base/usr/lib" "$1/base/usr/lib64"
for name in bin lib lib64; do ln -s "usr/$name" "$1/base/$name"; done
for file in $(dpkg -L libc6 libgcc-s1 dash | grep -E '^/(usr/)?(lib|lib64|bin)/' | sort -u); do
  if [ -f "$file" ]; then
    place="$1/base/usr/\${file#/usr}"
    mkdir -p "$(dirname "$place")"
    cp -L "$file" "$place"
  fi
done`;

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function ended(line: string, ...args: string[]): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line, "sh", ...args] }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a line of shell in the checkout and returns what it printed. */
async function sh(line: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ended(line, ...args);
  assertEquals(code, 0, `${line}\n${stdout}${stderr}`);
  return stdout;
}
