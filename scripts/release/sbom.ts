/**
 * A software bill of materials, CycloneDX 1.6: what the program is made of. In: the packages whose code is in the
 * bundle, the lock file, Deno's version. Out: the document, the same each time. Pure.
 */
import { PROGRAM_NAME, VERSION } from "../../src/version.ts";

/** A package whose code is shipped. */
export interface SbomPackage {
  name: string;
  version: string;
  /** An SPDX identifier or expression. */
  license: string;
}

/** What deno.lock says of a package of npm, under `name@version`, after which the versions of its peers may stand. */
export interface LockedPackage {
  integrity: string;
  dependencies?: string[];
}

/** What {@linkcode makeSbom} takes. */
export interface SbomOptions {
  packages: readonly SbomPackage[];
  lock: Readonly<Record<string, LockedPackage>>;
  denoVersion: string;
  date: Date;
}

/**
 * Makes the document.
 *
 * @throws Error where a package that is shipped is not in the lock file.
 * @see https://cyclonedx.org/docs/1.6/json/
 */
export async function makeSbom({ packages, lock, denoVersion, date }: SbomOptions): Promise<Record<string, unknown>> {
  const locked = new Map(Object.entries(lock).map(([key, value]) => [key.replace(/_.*$/, ""), value]));
  const sorted = packages.toSorted((a, b) => purlOf(a) < purlOf(b) ? -1 : 1);
  const shipped = new Set(sorted.map(({ name, version }) => `${name}@${version}`));
  const components = sorted.map(({ name, version, license }) => {
    const entry = locked.get(`${name}@${version}`);
    if (entry === undefined) throw new Error(`"${name}@${version}" is shipped and not in deno.lock`);
    const [algorithm, digest = ""] = entry.integrity.split("-");
    if (algorithm !== "sha512") throw new Error(`The checksum of "${name}" in deno.lock is no SHA-512`);
    return {
      type: "library",
      "bom-ref": purlOf({ name, version }),
      name,
      version,
      purl: purlOf({ name, version }),
      hashes: [{ alg: "SHA-512", content: Uint8Array.fromBase64(digest).toHex() }],
      licenses: [/[ (]/.test(license) ? { expression: license } : { license: { id: license } }],
    };
  });
  const deno = {
    type: "framework",
    "bom-ref": `pkg:github/denoland/deno@v${denoVersion}`,
    name: "deno",
    version: denoVersion,
    purl: `pkg:github/denoland/deno@v${denoVersion}`,
    licenses: [{ license: { id: "MIT" } }],
  };
  const self = `pkg:npm/${PROGRAM_NAME}@${VERSION}`;
  const needed = (key: string) => {
    const names = (locked.get(key)?.dependencies ?? []).map((dependency) => resolve(dependency, shipped));
    return names.filter((name) => name !== undefined).map((name) => purlOf(split(name))).toSorted();
  };
  const inner = components.map(({ name, version, purl }) => ({ ref: purl, dependsOn: needed(`${name}@${version}`) }));
  const indirect = new Set(inner.flatMap(({ dependsOn }) => dependsOn));
  const direct = components.map(({ purl }) => purl).filter((purl) => !indirect.has(purl));
  const content = {
    metadata: {
      timestamp: date.toISOString(),
      component: {
        type: "application",
        "bom-ref": self,
        name: PROGRAM_NAME,
        version: VERSION,
        purl: self,
        licenses: [{ license: { id: "MIT" } }],
      },
    },
    components: [...components, deno],
    dependencies: [{ ref: self, dependsOn: [...direct, deno["bom-ref"]] }, ...inner],
  };
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${await uuidOf(JSON.stringify(content))}`,
    version: 1,
    ...content,
  };
}

/** @see https://github.com/package-url/purl-spec */
function purlOf({ name, version }: { name: string; version: string }): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

function split(key: string): { name: string; version: string } {
  const at = key.lastIndexOf("@");
  return { name: key.slice(0, at), version: key.slice(at + 1) };
}

/**
 * A dependency as the lock file names it, without a version where there is but one; undefined where it is not shipped.
 */
function resolve(dependency: string, shipped: ReadonlySet<string>): string | undefined {
  const plain = dependency.replace(/_.*$/, "");
  if (shipped.has(plain)) return plain;
  return [...shipped].find((key) => split(key).name === plain);
}

/** A UUID that is the same for the same text: version 8, of the text's SHA-256. */
async function uuidOf(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).subarray(0, 16);
  digest[6] = (digest[6]! & 0x0f) | 0x80;
  digest[8] = (digest[8]! & 0x3f) | 0x80;
  return digest.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
