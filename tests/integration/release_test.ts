/**
 * A release, made whole as far as this machine can: all but the executables, which want denort. Wants Go (nfpm), npm,
 * and what scripts/ci/release_checks.sh installs.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import { VERSION } from "../../src/version.ts";

const FOLDER = "dist/release";
const WORKFLOW = ".github/workflows/release.yml";

Deno.test("deno task release makes packages, layer, npm's archive and bill of materials, with checksums", async () => {
  await sh(`deno task --quiet release --runtime deno --tag v${VERSION}`);
  const names = (await Array.fromAsync(Deno.readDir(FOLDER))).map(({ name }) => name).toSorted();
  assertEquals(
    names,
    [
      "SHA256SUMS",
      `couchdb-backup-${VERSION}-1.aarch64.rpm`,
      `couchdb-backup-${VERSION}-1.x86_64.rpm`,
      `couchdb-backup-${VERSION}-lambda-arm64.zip`,
      `couchdb-backup-${VERSION}.cdx.json`,
      `couchdb-backup-${VERSION}.tgz`,
      `couchdb-backup_${VERSION}-1_amd64.deb`,
      `couchdb-backup_${VERSION}-1_arm64.deb`,
    ].toSorted(),
  );
  const checked = await sh(`cd ${FOLDER} && sha256sum --check --strict SHA256SUMS`);
  assertEquals(checked.trim().split("\n").length, names.length - 1);
  // The same again, byte for byte.
  const file = `couchdb-backup_${VERSION}-1_amd64.deb`;
  await sh("deno task --quiet packages --runtime deno --arch x86_64 --format deb");
  await sh(`cmp dist/packages/${file} ${FOLDER}/${file}`);
});

Deno.test("the bill of materials is CycloneDX, and names each package that is shipped with its checksum and licence", async () => {
  const file = `${FOLDER}/couchdb-backup-${VERSION}.cdx.json`;
  await sh(`.venv-sbom/bin/python -c '
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)
' ${file}`);
  const { components, dependencies } = JSON.parse(await Deno.readTextFile(file));
  const { npm } = JSON.parse(await Deno.readTextFile("deno.lock"));
  const names: string[] = components.map(({ name }: { name: string }) => name);
  for (const name of ["zod", "aws4fetch", "fast-xml-parser", "deno-std", "deno"]) assert(names.includes(name), name);
  // For tests alone.
  for (const name of ["express", "pouchdb", "rollup"]) assert(!names.includes(name), name);
  for (const { name, version, hashes, licenses } of components) {
    assertEquals(licenses.length, 1, name);
    if (name === "deno") continue;
    const [integrity] = Object.entries<{ integrity: string }>(npm).filter(([key]) =>
      key.replace(/_.*$/, "") === `${name}@${version}`
    ).map(([, entry]) => entry.integrity);
    assertEquals(`sha512-${Uint8Array.fromHex(hashes[0].content).toBase64()}`, integrity, name);
  }
  const refs = new Set(components.map((one: { "bom-ref": string }) => one["bom-ref"]));
  for (const { dependsOn } of dependencies) for (const ref of dependsOn) assert(refs.has(ref), ref);
  const reached = new Set(dependencies.flatMap(({ dependsOn }: { dependsOn: string[] }) => dependsOn));
  assertEquals([...refs].filter((ref) => !reached.has(ref)), []);
});

Deno.test("a release is refused for a tag that is not the version's", async () => {
  const { code, stderr } = await ended("deno task --quiet release --runtime deno --tag v99.0.0");
  assertEquals(code, 1);
  assertStringIncludes(stderr, `The tag is "v99.0.0", and the version in deno.json is ${VERSION}`);
});

Deno.test("the release's workflow is one that GitHub takes, tests before it builds, and signs what is published", async () => {
  const actionlint = (await sh("sh scripts/ci/release_checks.sh")).trim().split("\n").at(-1);
  assertEquals(await sh(`${actionlint} -no-color ${WORKFLOW}`), "");
  const { jobs: { release }, permissions } = parse(await Deno.readTextFile(WORKFLOW));
  assertEquals(permissions, {});
  const steps: string[] = release.steps.map(({ run, uses }: { run?: string; uses?: string }) => run ?? uses);
  const order = ["deno task ok", "deno task release", "cosign sign-blob", "gh release create", "npm publish"];
  const found = order.map((start) => steps.findIndex((step) => step.startsWith(start)));
  assert(found.every((index) => index >= 0), found.join(" "));
  assertEquals(found, found.toSorted((a, b) => a - b));
  assertMatch(steps.join("\n"), /deno@\$\(cat \.dvmrc\)/);
  // What the steps call is there.
  const { tasks } = JSON.parse(await Deno.readTextFile("deno.json"));
  for (const [, name = ""] of steps.join("\n").matchAll(/deno task (\w+)/g)) assert(name in tasks, name);
  const image = release.steps.find(({ uses }: { uses?: string }) => uses?.startsWith("docker/build-push-action"));
  assert((await Deno.stat(image.with.file)).isFile);
});

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function ended(line: string): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line] }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a line of shell in the checkout and returns what it printed. */
async function sh(line: string): Promise<string> {
  const { code, stdout, stderr } = await ended(line);
  assertEquals(code, 0, `${line}\n${stdout}${stderr}`);
  return stdout;
}
