/**
 * The runtime that packages, image and layer carry where no executable can be compiled: Deno as npm has it, with a
 * script that starts the bundled program with exactly its permissions. In: `.dvmrc`, the one place that names Deno's
 * version.
 */
import { BuildError, run } from "./artifact.ts";
import { RUN_ENVIRONMENT, RUN_FLAGS } from "./run_flags.ts";

/** The version of Deno that checks, builds and carries the program; `.ci/run` and the release read the same file. */
export const DENO_VERSION: string = (await Deno.readTextFile(new URL("../.dvmrc", import.meta.url))).trim();

/** The architectures that the program is built for, by the names that each packager has for them. */
export const ARCHITECTURES = {
  x86_64: {
    triple: "x86_64-unknown-linux-gnu",
    debian: "amd64",
    rpm: "x86_64",
    npm: "linux-x64-glibc",
    integrity: "3md4TKLCuzsLDmfOoC5KN7NAZaxSVkMgm64vg6foD00JBADCpYS2/5QqXfzgnP5ZQz3iLP9vBQJtEgc116OAoQ==",
  },
  aarch64: {
    triple: "aarch64-unknown-linux-gnu",
    debian: "arm64",
    rpm: "aarch64",
    npm: "linux-arm64-glibc",
    integrity: "poqhoH9B3nYloigEMPT5t8HY+wBeiuea1An5Q7fqgJzP0SYmWsoS/oUnWO/pEiA4ofzIBy1Elt/in58xKtxEoQ==",
  },
} as const;

/** A key of {@linkcode ARCHITECTURES}. */
export type Architecture = keyof typeof ARCHITECTURES;

/** Where Deno keeps what it has compiled: nowhere, so that a program that was removed leaves nothing behind. */
const NO_CACHE = "/dev/null";

/**
 * Takes Deno for an architecture from npm, checks it, and returns the path of the executable.
 *
 * @throws BuildError where npm has another archive than the one with the digest above.
 */
export async function takeRuntime(architecture: Architecture): Promise<string> {
  const { npm, integrity } = ARCHITECTURES[architecture];
  const specifier = `@deno/${npm}@${DENO_VERSION}`;
  const folder = `dist/deno-${architecture}`;
  const archive = `${folder}/deno-${npm}-${DENO_VERSION}.tgz`;
  await Deno.mkdir(folder, { recursive: true });
  if (!(await isWhole(archive, integrity))) {
    const complaint = await run("npm", ["pack", "--silent", "--pack-destination", folder, specifier]);
    if (complaint !== undefined) throw new BuildError(`Cannot take ${specifier} from npm:\n${complaint}`);
    if (!(await isWhole(archive, integrity))) {
      throw new BuildError(`Cannot use "${archive}": its SHA-512 is not that of ${specifier} in scripts/runtime.ts`);
    }
  }
  const complaint = await run("tar", ["-xzf", archive, "-C", folder, "package/deno"]);
  if (complaint !== undefined) throw new BuildError(`Cannot unpack "${archive}":\n${complaint}`);
  return `${folder}/package/deno`;
}

/** The arguments of a Deno that runs a bundle, and of nothing else. */
function runBundle(main: string): string {
  return `run --quiet --no-config --no-remote --no-npm \\\n  ${RUN_FLAGS.join(" ")} ${main} "$@"`;
}

/** What a script that starts it exports beside Deno's own variables, unless whoever calls it has set it. */
const EXPORTS = Object.entries(RUN_ENVIRONMENT)
  .map(([name, value]) => `${name}="\${${name}:-${value}}"`)
  .join(" ");

/**
 * Deno reads `.npmrc` in HOME, whatever it runs, and ends where HOME is no folder (/dev/null, of many a service's user) or
 * that file is not as Deno wants it. So it gets another HOME, and main.ts takes the true one.
 */
const HIDE_HOME = 'export COUCHDB_BACKUP_HOME="${HOME-}" HOME=/nonexistent';

/** A script for /usr/bin that runs the bundle with the Deno beside it. */
export function startScript(folder: string): string {
  return `#!/bin/sh
# Runs couchdb-backup on the Deno that came with it, with exactly its permissions. Nothing is kept between two runs, but for
# a unit that has a cache folder of its own.
export DENO_DIR="\${CACHE_DIRECTORY:-${NO_CACHE}}" DENO_NO_UPDATE_CHECK=1 ${EXPORTS}
${HIDE_HOME}
exec ${folder}/deno ${runBundle(`${folder}/main.js`)}
`;
}

/**
 * The script of the layer, which starts the bundle with the Deno beside it. The disk is read-only but for /tmp, and the
 * environment may be empty.
 */
export const BOOTSTRAP: string = `#!/bin/sh
# Started by Lambda as its custom runtime: couchdb-backup on Deno, with exactly its permissions.
export HOME="\${HOME:-/tmp}" DENO_DIR="\${DENO_DIR:-/tmp/.deno}" NO_COLOR=1 DENO_NO_UPDATE_CHECK=1 ${EXPORTS}
${HIDE_HOME}
here=\${0%/*}
exec "$here/deno" ${runBundle('"$here/program/main.js"')}
`;

async function isWhole(archive: string, integrity: string): Promise<boolean> {
  const bytes = await Deno.readFile(archive).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
  if (bytes === undefined) return false;
  return new Uint8Array(await crypto.subtle.digest("SHA-512", bytes)).toBase64() === integrity;
}
