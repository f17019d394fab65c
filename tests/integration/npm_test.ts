/**
 * The npm package as its users have it: packed, installed into an empty folder without any network, and run by the
 * versions of Node that it is for. Wants npm, and what scripts/ci/node.sh installs.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { couchOk, type CouchServer } from "../couch_request.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { FakeS3 } from "../fakes/s3.ts";
import { Authority, startTlsFront } from "../fakes/tls_front.ts";
import { ISSUED, startTokenService } from "../fakes/token_service.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";

const VERSIONS = ["22", "24"];
const { version: VERSION, imports: IMPORTS } = JSON.parse(await Deno.readTextFile("deno.json"));
const TYPESCRIPT = IMPORTS.typescript.replace(/^npm:/, "");

for (const version of VERSIONS) {
  Deno.test(`under Node ${version} the package says its version`, async () => {
    await using place = await Installed.make(version);
    const { stdout, stderr } = await place.run("couchdb-backup", "--version");
    assertEquals([stdout, stderr], [`couchdb-backup ${VERSION}\n`, ""]);
    assertMatch((await place.run("node", "--version")).stdout, new RegExp(`^v${version}\\.`));
  });

  Deno.test(`under Node ${version} the package calls UTC as the other forms do`, async () => {
    await using place = await Installed.make(version);
    await place.write(
      "config.yaml",
      `database: {url: "http://127.0.0.1:9"}
task: {often: {databases: [a], cron: "*-1-1", timezone: UTC}, there: {databases: [a], cron: "*-1-1", timezone: Europe/Berlin}}
bucket: s3://data.example.com/folder
`,
    );
    const { stdout } = await place.gives(0, "plan", "--offline", "--from", "2026-06-01", "--count", "1");
    assertEquals(stdout.match(/20.* GMT.*$/gm), ["2027-01-01 00:00:00 GMT", "2027-01-01 00:00:00 GMT+1"]);
  });

  Deno.test(`under Node ${version} npx runs the package from its archive in an empty folder, and npm installs it for all`, async () => {
    const { stdout: node } = await execute("sh", ["scripts/ci/node.sh", version]);
    const archive = await (packed ??= tarball());
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-npx-" });
    const npm = async (line: string) => {
      const env = {
        PATH: `${folder}/global/bin:${node.trim()}:${Deno.env.get("PATH")}`,
        npm_config_cache: `${folder}/cache`,
      };
      await Deno.mkdir(`${folder}/empty`, { recursive: true });
      const { code, stdout, stderr } = await execute("sh", ["-c", line], { cwd: `${folder}/empty`, env });
      assertEquals([code, stderr], [0, ""], line);
      return stdout;
    };
    assertEquals(
      await npm(`npx --yes --offline --package "${archive}" couchdb-backup --version`),
      `couchdb-backup ${VERSION}\n`,
    );
    await npm(`npm install --global --offline --silent --prefix ../global "${archive}"`);
    assertEquals(await npm("couchdb-backup --version"), `couchdb-backup ${VERSION}\n`);
    assertEquals(await Array.fromAsync(Deno.readDir(`${folder}/empty`)), []);
    await Deno.remove(folder, { recursive: true });
  });

  Deno.test(`under Node ${version} the package backs a hard database up, verifies and restores it`, async () => {
    await using couch = await startFakeCouchDb();
    await using place = await Installed.make(version);
    await seedHardDatabase(couch, "a/b", { documents: 60 });
    await place.write("config.yaml", configOf(couch, { bucket: pathToFileURL(`${place.folder}/backups`).href }));
    const backup = await place.run("couchdb-backup", "backup", "config.yaml", "--json");
    assertEquals([backup.code, JSON.parse(backup.stdout).ok], [0, true], backup.stderr);
    await place.gives(0, "verify", "a/b", "latest");
    await place.gives(0, "restore", "copy", "latest/a%2Fb");
    const read = (name: string) => readAllLeafRevisions(couch, name);
    assertEquals(compareLeafRevisions(await read("a/b"), await read("copy")), []);
    const { stderr } = await place.gives(2, "bakup");
    assertEquals(stderr.split("\n")[0], 'couchdb-backup: There is no command "bakup"');
  });

  Deno.test(`under Node ${version} the package writes zstd and reads it, and finds what was cut off or changed`, async () => {
    await using couch = await startFakeCouchDb();
    await using place = await Installed.make(version);
    await seedHardDatabase(couch, "a/b", { documents: 60 });
    const bucket = pathToFileURL(`${place.folder}/backups`).href;
    await place.write("config.yaml", configOf(couch, { bucket, compression: "zstd" }));
    await place.gives(0, "backup", "config.yaml");
    await place.gives(0, "restore", "copy", "latest/a%2Fb");
    const read = (name: string) => readAllLeafRevisions(couch, name);
    assertEquals(compareLeafRevisions(await read("a/b"), await read("copy")), []);
    const [chunk] = (await filesBelow(`${place.folder}/backups`)).filter((name) => name.endsWith(".json.zst"));
    // Without the manifest's checksums the decompressor has to find it.
    const bytes = await Deno.readFile(chunk!);
    for (
      const [name, damaged] of [["cut", bytes.subarray(0, -1)], ["changed", bytes.with(bytes.length - 30, 1)]] as const
    ) {
      await Deno.writeFile(`${place.folder}/${name}.zst`, damaged);
      await place.gives(12, "verify", "a/b", `./${name}.zst`);
    }
  });

  Deno.test(`under Node ${version} the package seals backups, and opens them with the identity alone`, async () => {
    await using couch = await startFakeCouchDb();
    await using place = await Installed.make(version);
    await seedHardDatabase(couch, "a/b", { documents: 60 });
    const identity = await generateIdentity();
    await place.write("backup.key", `# a comment\n${identity}\n`);
    const bucket = pathToFileURL(`${place.folder}/backups`).href;
    const more = `encrypt_to: [${await identityToRecipient(identity)}]`;
    await place.write("config.yaml", configOf(couch, { bucket, compression: "zstd", more }));
    await place.gives(0, "backup", "config.yaml");
    await place.gives(0, "verify", "a/b", "latest");
    assertMatch((await place.gives(2, "restore", "copy", "latest/a%2Fb")).stderr, /is sealed to age1/);
    await place.gives(0, "verify", "a/b", "latest", "--contents", "--identity", "backup.key");
    await place.gives(0, "restore", "copy", "latest/a%2Fb", "--identity", "backup.key");
    const read = (name: string) => readAllLeafRevisions(couch, name);
    assertEquals(compareLeafRevisions(await read("a/b"), await read("copy")), []);
    const chunks = (await filesBelow(`${place.folder}/backups`)).filter((name) => /\.json\.(zst|gz)/.test(name));
    assertEquals(chunks.filter((name) => !name.endsWith(".json.zst.age")), []);
    // What is changed within a block is found by the seal itself, where no manifest has a checksum.
    const bytes = await Deno.readFile(chunks[0]!);
    await Deno.writeFile(`${place.folder}/changed.zst.age`, bytes.with(bytes.length - 30, bytes.at(-30)! ^ 1));
    await place.gives(12, "verify", "a/b", "./changed.zst.age", "--identity", "backup.key");
  });

  Deno.test(`under Node ${version} the package saves everything on a terminal that is closed, and ends with 0`, async () => {
    await using couch = await startFakeCouchDb();
    await createDatabase(couch, "a/b", idsOf(200));
    // The terminal is gone before the backup is done.
    couch.faults.add({ endpoint: "_bulk_get", times: Infinity, fault: { kind: "stall", ms: 400 } });
    await using place = await Installed.make(version);
    await place.write("config.yaml", configOf(couch, { bucket: pathToFileURL(`${place.folder}/backups`).href }));
    // `script` is the terminal; killed, it takes the terminal with it. Node then says EIO where Deno says EPIPE.
    const { stdout, stderr } = await place.run(
      "bash",
      "-c",
      `script -qfc 'trap : HUP; couchdb-backup backup config.yaml; echo $? >code' screen >/dev/null 2>&1 &
       until [ -s screen ]; do sleep 0.05; done
       kill -9 $!
       for _ in $(seq 200); do [ -s code ] && break; sleep 0.1; done
       cat code`,
    );
    assertEquals(stdout, "0\n", stderr);
    await place.gives(0, "verify", "a/b", "latest");
  });

  Deno.test(`under Node ${version} the package backs up into S3 and restores from it`, async () => {
    await using couch = await startFakeCouchDb();
    await createDatabase(couch, "a/b", idsOf(50), '"pi":3.0');
    const s3 = await FakeS3.start();
    await using place = await Installed.make(version);
    const more = `endpoint: "${s3.url}"\ntoken: ${s3.keys.accessKeyId}\nsecret: ${s3.keys.secretAccessKey}`;
    await place.write("config.yaml", configOf(couch, { bucket: "s3://test-bucket/folder", more }));
    await place.gives(0, "backup", "config.yaml");
    await place.gives(0, "restore", "copy", "latest/a%2Fb");
    const read = (name: string) => readAllLeafRevisions(couch, name);
    assertEquals(compareLeafRevisions(await read("a/b"), await read("copy")), []);
    await s3.close();
  });

  Deno.test(`under Node ${version} the package takes the role of a web identity, as in EKS, and that of a profile`, async () => {
    await using couch = await startFakeCouchDb();
    await createDatabase(couch, "orders", idsOf(3));
    await using service = startTokenService();
    const s3 = await FakeS3.start();
    const { accessKeyId, secretAccessKey, sessionToken } = ISSUED;
    Object.assign(s3.keys, { accessKeyId, secretAccessKey, sessionToken });
    await using place = await Installed.make(version);
    await place.write("config.yaml", configOf(couch, { bucket: "s3://test-bucket/folder", database: "orders" }));
    await place.write("token", "token-of-the-pod");
    await place.write(
      "aws",
      "[base]\naws_access_key_id = B\naws_secret_access_key = b\n" +
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/backup\nsource_profile = base\n",
    );
    const file = `${place.folder}/aws`;
    const addresses = [
      // Those of the tier's S3 server would come first.
      "AWS_ACCESS_KEY_ID=",
      `AWS_ENDPOINT_URL_S3=${s3.url}`,
      `AWS_ENDPOINT_URL_STS=${service.url}`,
      "AWS_REGION=us-east-1",
    ];
    for (
      const variables of [
        [`AWS_WEB_IDENTITY_TOKEN_FILE=${place.folder}/token`, "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/backup"],
        ["AWS_PROFILE=role", `AWS_SHARED_CREDENTIALS_FILE=${file}`, `AWS_CONFIG_FILE=${file}`],
      ]
    ) {
      const { code, stderr } = await place.run(
        "env",
        ...addresses,
        ...variables,
        "couchdb-backup",
        "backup",
        "config.yaml",
      );
      assertEquals(code, 0, stderr);
    }
    assertEquals(service.asked.map(({ body }) => /Action=(\w+)/.exec(body)?.[1]), [
      "AssumeRoleWithWebIdentity",
      "AssumeRole",
    ]);
    await s3.close();
  });

  Deno.test(`under Node ${version} ca_file, and NODE_EXTRA_CA_CERTS without it, make an authority trusted`, async () => {
    await using couch = await startFakeCouchDb();
    await createDatabase(couch, "orders", idsOf(3));
    await using place = await Installed.make(version);
    const authority = await Authority.make(place.folder);
    await using front = await startTlsFront({
      target: couch.url,
      ...await authority.sign("server", ["subjectAltName=IP:127.0.0.1"]),
    });
    const bucket = pathToFileURL(`${place.folder}/backups`).href;
    const behind = { url: front.url, login: couch.login, password: couch.password };
    const without = configOf(behind, { bucket, database: "orders" });
    await place.write("config.yaml", without);
    const { code, stdout, stderr } = await place.run("couchdb-backup", "backup", "config.yaml", "--json");
    assertEquals(code, 10, stderr);
    const { error } = JSON.parse(stdout);
    assertStringIncludes(error.message, "it is signed by an unknown authority");
    assertStringIncludes(error.hint, "Set database.ca_file");
    const extra = `NODE_EXTRA_CA_CERTS=${authority.file}`;
    assertEquals((await place.run(extra, "couchdb-backup", "backup", "config.yaml")).code, 0);
    await place.write("config.yaml", without.replace("database: {", "database: {ca_file: ca.pem, "));
    await place.gives(0, "backup", "config.yaml");
  });

  Deno.test(`under Node ${version} a TypeScript program that uses the library is checked, and runs`, async () => {
    await using couch = await startFakeCouchDb();
    await createDatabase(couch, "orders", idsOf(3));
    await using place = await Installed.make(version);
    const bucket = pathToFileURL(`${place.folder}/backups`).href;
    await place.write("config.yaml", configOf(couch, { bucket, database: "orders" }));
    const [, example] = /```ts\n([\s\S]*?)```/.exec(await place.read("README.md")) ?? [];
    assert(example !== undefined, "the package's README has an example");
    await place.write("program.ts", `${example}console.log("done");\n`);
    await place.npm("install", TYPESCRIPT, `@types/node@${version}`);
    const options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022"];
    const checked = await place.run("tsc", ...options, "program.ts");
    assertEquals([checked.code, checked.stdout], [0, ""]);
    const { code, stdout, stderr } = await place.run("node", "program.ts");
    assertEquals([code, stdout], [0, "done\n"], stderr);
    assertEquals((await couchOk(couch, "GET /orders_copy")).json.doc_count, 3);
  });
}

Deno.test("the declarations fit a program that has no types of Node, and one with the strictest options", async () => {
  await using place = await Installed.make("24");
  await place.npm("install", TYPESCRIPT);
  const code = `import { type Config, openSession, type RunReport } from "couchdb-backup";
export async function save(config: Config): Promise<RunReport> {
  await using session = await openSession({ config, signal: AbortSignal.timeout(1000) });
  const { backups } = await session.list();
  // @ts-expect-error the declarations are no "any"
  backups.push(42);
  return await session.backup({ databases: backups.map(({ database }) => database) });
}
`;
  await place.write("program.ts", code);
  for (
    const options of [
      ["--lib", "es2022,dom,dom.iterable"],
      ["--lib", "es2022,dom", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--verbatimModuleSyntax"],
    ]
  ) {
    const module = [
      "--noEmit",
      "--strict",
      "--module",
      "esnext",
      "--moduleResolution",
      "bundler",
      "--target",
      "es2022",
    ];
    const { code, stdout } = await place.run("tsc", ...module, ...options, "program.ts");
    assertEquals([code, stdout], [0, ""], options.join(" "));
  }
});

Deno.test("the package holds what its users need and no more, and its links lead somewhere", async () => {
  await using place = await Installed.make("22");
  const root = `${place.folder}/node_modules/couchdb-backup`;
  const files = (await filesBelow(root)).map((path) => path.slice(root.length + 1));
  assertEquals([...new Set(files.map((path) => path.split("/")[0]))].sort(), [
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "THIRD_PARTY_LICENSES",
    "config.sample.yaml",
    "docs",
    "lib",
    "monitoring",
    "package.json",
  ]);
  for (const path of files.filter((path) => path.endsWith(".md"))) {
    const text = await Deno.readTextFile(`${root}/${path}`);
    for (const [, target = ""] of text.matchAll(/\]\(([^)#\s]+)/g)) {
      if (!/^[a-z]+:/.test(target)) assert(files.includes(join(dirname(path), target)), `${path} links to ${target}`);
    }
  }
  for (const path of files.filter((path) => path.startsWith("lib/"))) {
    const text = await Deno.readTextFile(`${root}/${path}`);
    const foreign = /^(?:import|export|\}).*? from "(?!\.|node:)([^"]+)"/m.exec(text)?.[1];
    assertEquals(foreign, undefined, `${path} imports a package`);
    assert(!text.includes(Deno.cwd()), `${path} names a folder of the machine that built it`);
    assert(!/\bregistry\.npmjs\.org\//.test(text), `${path} names a folder of the machine that built it`);
  }
  const notices = await Deno.readTextFile(`${root}/THIRD_PARTY_LICENSES`);
  for (const name of ["zod", "aws4fetch", "fast-xml-parser", "deno-std", "@smithy/core"]) {
    assertMatch(notices, new RegExp(`^${name} \\d`, "m"));
  }
});

Deno.test("package.json says what npm and its users look for, and where the sources are as far as the release tells", async () => {
  const env = { GITHUB_SERVER_URL: "https://forge.example", GITHUB_REPOSITORY: "who/couchdb-backup" };
  const read = async () => JSON.parse(await Deno.readTextFile("dist/npm/package.json"));
  const built = await execute("deno", ["task", "--quiet", "npm"], { env });
  assertEquals(built.code, 0, built.stderr);
  const told = await read();
  assertEquals(told.repository, { type: "git", url: "git+https://forge.example/who/couchdb-backup.git" });
  assertEquals(told.publishConfig, { access: "public", provenance: true });
  packed = undefined;
  await tarball();
  const { repository, bin, engines, license, types, type } = await read();
  assertEquals({ repository, bin, engines, license, types, type }, {
    repository: undefined,
    bin: { "couchdb-backup": "lib/main.js" },
    engines: { node: ">=22.2" },
    license: "MIT",
    types: "./lib/mod.d.ts",
    type: "module",
  });
});

/** A config with one task that saves one database in small chunks. */
function configOf(
  couch: CouchServer,
  part: { bucket: string; database?: string; compression?: string; more?: string },
): string {
  const { url, login, password } = couch;
  return `database: {url: "${url}", login: "${login}", password: "${password}"}
task: {weekly: {databases: ["${part.database ?? "a/b"}"], chunk: 20, compression: ${part.compression ?? "gzip"}}}
bucket: "${part.bucket}"
${part.more ?? ""}
`;
}

async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) files.push(...await filesBelow(`${folder}/${name}`));
    else files.push(`${folder}/${name}`);
  }
  return files.sort();
}

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function execute(command: string, args: readonly string[], options: Deno.CommandOptions = {}): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command(command, { ...options, args: [...args] }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

let packed: Promise<string> | undefined;

/** Builds the package for the first test that wants it, and returns the path of its archive. */
async function tarball(): Promise<string> {
  for (const command of ["deno task --quiet npm", "npm pack --silent --pack-destination dist ./dist/npm"]) {
    const { code, stderr } = await execute("sh", ["-c", command]);
    assertEquals(code, 0, stderr);
  }
  return await Deno.realPath(`dist/couchdb-backup-${VERSION}.tgz`);
}

/** An empty folder into which the package was installed, and a version of Node. */
class Installed implements AsyncDisposable {
  readonly folder: string;
  readonly path: string;

  private constructor(folder: string, path: string) {
    this.folder = folder;
    this.path = path;
  }

  static async make(version: string): Promise<Installed> {
    const node = await execute("sh", ["scripts/ci/node.sh", version]);
    assertEquals(node.code, 0, node.stderr);
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup installed-" });
    const place = new Installed(folder, `${folder}/node_modules/.bin:${node.stdout.trim()}:${Deno.env.get("PATH")}`);
    await place.write("package.json", '{"private":true,"type":"module"}');
    // Without the network: it needs no other package.
    await place.npm("install", "--offline", await (packed ??= tarball()));
    return place;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }

  async run(command: string, ...args: string[]): Promise<Ended> {
    // Through `env`: it looks for the command in the new PATH.
    const env = { PATH: this.path, NO_COLOR: "1" };
    return await execute("env", [command, ...args], { cwd: this.folder, env });
  }

  async npm(...args: string[]): Promise<void> {
    const { code, stderr } = await this.run("npm", ...args, "--no-audit", "--no-fund", "--loglevel=error");
    assertEquals(code, 0, stderr);
  }

  /** Runs the program and expects an exit code of it. */
  async gives(expected: number, ...args: string[]): Promise<Ended> {
    const ended = await this.run("couchdb-backup", ...args);
    assertEquals(ended.code, expected, ended.stderr);
    return ended;
  }

  /** Reads a file of the package. */
  async read(name: string): Promise<string> {
    return await Deno.readTextFile(`${this.folder}/node_modules/couchdb-backup/${name}`);
  }

  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.folder}/${name}`, text);
  }
}
