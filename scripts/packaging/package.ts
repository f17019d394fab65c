/**
 * Makes deb and rpm with nfpm: `deno task packages [--arch x86_64|aarch64] [--format deb|rpm|image] [--runtime
 * compiled|deno] [--maintainer "NAME <ADDRESS>"]`. In: the sources, and what lies beside this file. Out:
 * dist/packages/*.deb and *.rpm with their checksums, below dist/packages/ARCH all the files that are in them, and in
 * image-ARCH those of an image. The same sources and tools give the same bytes.
 */
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { PROGRAM_NAME, VERSION } from "../../src/version.ts";
import { build, BuildError, capture, removeFolder, run, sourceDate, writeChecksum } from "../artifact.ts";
import { bundle } from "../bundle.ts";
import { compile } from "../compile.ts";
import { bundledNotices } from "../npm/notices.ts";
import { type Architecture, ARCHITECTURES, startScript, takeRuntime } from "../runtime.ts";
import { maintainerOf } from "./maintainer.ts";
import { CONFIG_PATH, packageUnits } from "./units.ts";

const HERE = "scripts/packaging";
const FOLDER = "dist/packages";
/** Debian's and Fedora's count of how often one version was packaged. */
const RELEASE = "1";
/** What is made; `image` is the folder that the Dockerfile copies. */
const FORMATS = ["deb", "rpm", "image"];
/** The oldest glibc among the systems that the packages are for, CentOS 8's. */
const OLDEST_GLIBC = "2.28";
const SUMMARY = "back up CouchDB databases to S3 or a folder, and restore them exactly";
const DESCRIPTION = `${SUMMARY}
Saves every leaf revision, conflict, history and attachment of a CouchDB
database, byte for byte, as compressed chunks in a bucket of S3 or a folder,
by schedule, and brings them back.`;

/** A file of a package. */
interface Packaged {
  /** Its absolute path where it is installed. */
  place: string;
  content: string | Uint8Array | { file: string };
  mode?: number;
  /** Its group, where that is not root's. */
  group?: string;
  /** A change to it outlives an upgrade. */
  isConfig?: boolean;
  /** The packager that alone carries it. */
  only?: "deb" | "rpm";
}

/** What the parts that do not depend on the architecture are. */
async function commonFiles({ date, maintainer }: { date: Date; maintainer: string }): Promise<Packaged[]> {
  const doc = `/usr/share/doc/${PROGRAM_NAME}`;
  const license = await Deno.readTextFile("LICENSE");
  const files: Packaged[] = [
    { place: CONFIG_PATH, content: { file: `${HERE}/config.yaml` }, mode: 0o640, group: PROGRAM_NAME, isConfig: true },
    { place: `/usr/lib/sysusers.d/${PROGRAM_NAME}.conf`, content: { file: `${HERE}/sysusers.conf` } },
    { place: `/usr/share/man/man1/${PROGRAM_NAME}.1.gz`, content: gzip(await manPage(date)) },
    { place: `/usr/share/bash-completion/completions/${PROGRAM_NAME}`, content: await completions("bash") },
    {
      place: `/usr/share/zsh/vendor-completions/_${PROGRAM_NAME}`,
      content: await completions("zsh"),
      only: "deb",
    },
    { place: `/usr/share/zsh/site-functions/_${PROGRAM_NAME}`, content: await completions("zsh"), only: "rpm" },
    {
      place: `/usr/share/fish/vendor_completions.d/${PROGRAM_NAME}.fish`,
      content: await completions("fish"),
    },
    { place: `${doc}/copyright`, content: copyright(license), only: "deb" },
    { place: `${doc}/changelog.Debian.gz`, content: gzip(debianChangelog(date, maintainer)), only: "deb" },
    { place: `${doc}/changelog.gz`, content: gzip(await Deno.readTextFile("CHANGELOG.md")), only: "deb" },
    { place: `${doc}/CHANGELOG.md`, content: { file: "CHANGELOG.md" }, only: "rpm" },
    { place: `${doc}/THIRD_PARTY_LICENSES.gz`, content: gzip(await bundledNotices()) },
    { place: `/usr/share/licenses/${PROGRAM_NAME}/LICENSE`, content: license, only: "rpm" },
    {
      place: `/usr/share/lintian/overrides/${PROGRAM_NAME}`,
      content: { file: `${HERE}/deb/lintian-overrides` },
      only: "deb",
    },
    // Where they lie in a checkout, so that their links lead to each other.
    ...["README.md", "config.sample.yaml", "monitoring/alerts.yaml", "monitoring/dashboard.json"].map((file) => ({
      place: `${doc}/${file}`,
      content: { file },
    })),
  ];
  for await (const { name } of Deno.readDir("docs")) {
    if (name.endsWith(".md")) files.push({ place: `${doc}/docs/${name}`, content: { file: `docs/${name}` } });
  }
  for (const { name, text } of await packageUnits()) {
    files.push({ place: `/usr/lib/systemd/system/${name}`, content: text });
  }
  return files;
}

/** The program: one executable, or the runtime with the bundle and a script that starts them. */
async function programFiles(architecture: Architecture, runtime: string): Promise<Packaged[]> {
  const command = `/usr/bin/${PROGRAM_NAME}`;
  if (runtime === "compiled") {
    const output = `${FOLDER}/${architecture}-executable`;
    await compile({ output, target: ARCHITECTURES[architecture].triple });
    return [{ place: command, content: { file: output }, mode: 0o755 }];
  }
  const folder = `/usr/lib/${PROGRAM_NAME}`;
  return [
    { place: command, content: startScript(folder), mode: 0o755 },
    { place: `${folder}/deno`, content: { file: await takeRuntime(architecture) }, mode: 0o755 },
    { place: `${folder}/main.js`, content: { file: await bundle(`${FOLDER}/program`, { splitting: false }) } },
  ];
}

/** Builds the packages of an architecture from the files of both. */
async function buildPackages(
  architecture: Architecture,
  { common, runtime, date, maintainer, formats }: {
    common: readonly Packaged[];
    runtime: string;
    date: Date;
    maintainer: string;
    formats: readonly string[];
  },
): Promise<void> {
  const root = `${FOLDER}/${architecture}`;
  const program = await programFiles(architecture, runtime);
  const files = [...program, ...common].toSorted((a, b) => a.place < b.place ? -1 : 1);
  await removeFolder(root);
  for (const { place, content, mode = 0o644 } of files) {
    const path = `${root}${place}`;
    await Deno.mkdir(dirname(path), { recursive: true });
    if (typeof content === "object" && "file" in content) await Deno.copyFile(content.file, path);
    else await Deno.writeFile(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    await Deno.chmod(path, mode);
  }
  if (formats.includes("image")) await imageFiles(architecture, files, root);
  const elf = program.find(({ mode, content }) => mode === 0o755 && typeof content === "object")!.place;
  const glibc = await neededGlibc(`${root}${elf}`);
  for (const packager of ["deb", "rpm"] as const) {
    if (!formats.includes(packager)) continue;
    const nfpm = (await capture("sh", ["scripts/ci/nfpm.sh"])).trim();
    const name = ARCHITECTURES[architecture][packager === "deb" ? "debian" : "rpm"];
    const file = packager === "deb"
      ? `${PROGRAM_NAME}_${VERSION}-${RELEASE}_${name}.deb`
      : `${PROGRAM_NAME}-${VERSION}-${RELEASE}.${name}.rpm`;
    const config = `${FOLDER}/${architecture}.${packager}.json`;
    const its = files.filter(({ only }) => only === undefined || only === packager);
    await Deno.writeTextFile(
      config,
      JSON.stringify(packageConfig(its, { packager, root, name, glibc, date, maintainer }), undefined, 2),
    );
    const args = ["package", "--config", config, "--packager", packager, "--target", `${FOLDER}/${file}`];
    const complaint = await run(nfpm, args);
    if (complaint !== undefined) throw new BuildError(`Cannot make ${file}:\n${complaint}`);
    await writeChecksum(`${FOLDER}/${file}`, await Deno.readFile(`${FOLDER}/${file}`));
  }
}

/** What the Dockerfile copies: the program, and whose it is. */
async function imageFiles(architecture: Architecture, files: readonly Packaged[], root: string): Promise<void> {
  const image = `${FOLDER}/image-${ARCHITECTURES[architecture].debian}`;
  await removeFolder(image);
  for (const { place } of files) {
    if (!/^\/usr\/(bin|lib\/couchdb-backup)\/|\/(copyright|THIRD_PARTY_LICENSES\.gz)$/.test(place)) continue;
    await Deno.mkdir(dirname(`${image}${place}`), { recursive: true });
    await Deno.copyFile(`${root}${place}`, `${image}${place}`);
  }
  // An image is never changed under a running program, so that parts can be read when they are needed: it starts with
  // half of the memory, and nothing can be cached on a root that is read-only.
  const program = `${image}/usr/lib/${PROGRAM_NAME}`;
  if (files.some(({ place }) => place.endsWith("/main.js"))) await takeParts(program);
}

/** Puts the bundle in parts in place of the one file. */
async function takeParts(program: string): Promise<void> {
  const parts = `${FOLDER}/parts`;
  await bundle(parts, { lazy: true });
  for await (const { name } of Deno.readDir(parts)) await Deno.copyFile(`${parts}/${name}`, `${program}/${name}`);
}

/** What nfpm is told; its format is YAML, of which JSON is a part. @see https://nfpm.goreleaser.com/configuration/ */
function packageConfig(
  files: readonly Packaged[],
  { packager, root, name, glibc, date, maintainer }: {
    packager: "deb" | "rpm";
    root: string;
    name: string;
    glibc: string;
    date: Date;
    maintainer: string;
  },
): Record<string, unknown> {
  const mtime = date.toISOString();
  const scripts = packager === "deb"
    ? { postinstall: "postinst", preremove: "prerm", postremove: "postrm" }
    : { preinstall: "preinstall", postinstall: "postinstall", preremove: "preremove", postremove: "postremove" };
  const contents = files.map(({ place, mode = 0o644, group = "root", isConfig = false }) => ({
    src: `${root}${place}`,
    dst: place,
    ...isConfig ? { type: "config|noreplace" } : {},
    file_info: { mode, owner: "root", group, mtime },
  }));
  const own = ["/etc/couchdb-backup", ...new Set(files.map(({ place }) => dirname(place)))]
    // Folders of the package alone, of which nothing must be left over.
    .filter((folder) => new RegExp(`/${PROGRAM_NAME}(/|$)`).test(folder) && !folder.includes("completions"));
  const folders = [...new Set(own)].toSorted().map((dst) => ({
    dst,
    type: "dir",
    file_info: dst.startsWith("/etc")
      ? { mode: 0o750, owner: "root", group: PROGRAM_NAME, mtime }
      : { mode: 0o755, owner: "root", group: "root", mtime },
  }));
  return {
    name: PROGRAM_NAME,
    arch: name,
    platform: "linux",
    version: VERSION,
    version_schema: "semver",
    release: RELEASE,
    section: "admin",
    priority: "optional",
    maintainer,
    description: DESCRIPTION,
    license: "MIT",
    mtime,
    umask: 0,
    depends: packager === "deb"
      ? [`libc6 (>= ${glibc})`, "libgcc-s1 | libgcc1", "passwd", "init-system-helpers (>= 1.52)"]
      : [`libc.so.6(GLIBC_${glibc})(64bit)`, "libgcc_s.so.1()(64bit)", "shadow-utils"],
    contents: [...folders, ...contents],
    scripts: Object.fromEntries(
      Object.entries(scripts).map(([when, file]) => [when, `${HERE}/${packager}/${file}`]),
    ),
    // Of what nfpm knows the fast one: xz takes minutes for 5 MB less.
    deb: { compression: "gzip" },
    rpm: {
      summary: `Backs up CouchDB databases to S3 or a folder`,
      packager: maintainer,
      compression: "gzip",
      buildhost: "localhost",
    },
  };
}

/** The glibc that an executable needs, as a version. @throws BuildError where the oldest system has an older one. */
async function neededGlibc(elf: string): Promise<string> {
  const said = await capture("sh", ["scripts/glibc_check.sh", elf, OLDEST_GLIBC]);
  const [, version] = / needs glibc ([\d.]+),/.exec(said) ?? [];
  if (version === undefined) throw new BuildError(`Cannot tell which glibc "${elf}" needs: ${said}`);
  return version;
}

async function completions(shell: string): Promise<string> {
  return await capture(Deno.execPath(), [
    "run",
    "--quiet",
    "--no-prompt",
    "--allow-env",
    "main.ts",
    "completions",
    shell,
  ]);
}

/** The man page, dated as the build is. */
async function manPage(date: Date): Promise<string> {
  const seconds = String(date.getTime() / 1000);
  const complaint = await run(Deno.execPath(), ["task", "--quiet", "man"], { env: { SOURCE_DATE_EPOCH: seconds } });
  if (complaint !== undefined) throw new BuildError(`Cannot make the man page:\n${complaint}`);
  return await Deno.readTextFile(`dist/${PROGRAM_NAME}.1`);
}

function gzip(text: string): Uint8Array {
  // Without name and time, as `gzip -9n` does.
  return gzipSync(text, { level: 9 });
}

/** Debian's own changelog, which says how the package has changed. */
function debianChangelog(date: Date, maintainer: string): string {
  return `${PROGRAM_NAME} (${VERSION}-${RELEASE}) stable; urgency=medium

  * Version ${VERSION}; changelog.gz tells what is new.

 -- ${maintainer}  ${date.toUTCString().replace("GMT", "+0000")}
`;
}

/** Debian's machine-readable copyright file. */
function copyright(license: string): string {
  const [, holder = "", text = ""] = /^Copyright \(c\) (.*)\n\n([\s\S]*)$/m.exec(license) ?? [];
  const indented = text.trim().split("\n").map((line) => line === "" ? " ." : ` ${line}`).join("\n");
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ${PROGRAM_NAME}
Comment: The program is bundled with the packages of npm that it uses; THIRD_PARTY_LICENSES.gz has their names and
 licences. Deno holds V8 and other libraries, under BSD, MIT and Apache-2.0 licences.

Files: *
Copyright: ${holder}
License: Expat

Files: usr/lib/${PROGRAM_NAME}/deno
Copyright: 2018-2026 the Deno authors
License: Expat

License: Expat
${indented}
`;
}

const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    arch: { type: "string", multiple: true },
    format: { type: "string", multiple: true },
    runtime: { type: "string", default: "compiled" },
    maintainer: { type: "string" },
  },
});
await build(async () => {
  if (flags.runtime !== "compiled" && flags.runtime !== "deno") {
    throw new BuildError(`There is no runtime "${flags.runtime}": it is compiled or deno`);
  }
  const architectures = flags.arch ?? Object.keys(ARCHITECTURES);
  for (const name of architectures) {
    if (!Object.hasOwn(ARCHITECTURES, name)) {
      throw new BuildError(`There is no architecture "${name}": there are ${Object.keys(ARCHITECTURES).join(" and ")}`);
    }
  }
  const formats = flags.format ?? FORMATS;
  for (const name of formats) {
    if (!FORMATS.includes(name)) throw new BuildError(`There is no format "${name}": there are ${FORMATS.join(", ")}`);
  }
  const maintainer = maintainerOf(flags.maintainer);
  const date = await sourceDate();
  const common = await commonFiles({ date, maintainer });
  for (const architecture of architectures as Architecture[]) {
    await buildPackages(architecture, { common, runtime: flags.runtime, date, maintainer, formats });
  }
});
