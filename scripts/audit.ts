/**
 * Looks for known vulnerabilities in the packages that the program loads, by `deno audit`. Those of the tests and the
 * demo are left out: nobody gets them with the program. In: deno.lock. Out: exit code 0, also where the registry's
 * service for that cannot be reached, which is said; 1 with what is known to be vulnerable.
 */
import { join } from "node:path";
import process from "node:process";

interface LockedPackage {
  integrity?: string;
  dependencies?: string[];
  optionalDependencies?: string[];
  optionalPeers?: string[];
}

/** What is read of a lock file. */
export interface Lock {
  version: string;
  specifiers: Record<string, string>;
  npm: Record<string, LockedPackage>;
}

/**
 * The part of a lock file that some packages need, and of deno.json.
 *
 * @param names The packages that are imported.
 */
export function partOf(lock: Lock, names: readonly string[]): { imports: Record<string, string>; lock: Lock } {
  const specifiers: Record<string, string> = {};
  const npm: Record<string, LockedPackage> = {};
  const imports: Record<string, string> = {};
  const waiting: string[] = [];
  for (const [specifier, version] of Object.entries(lock.specifiers)) {
    const name = specifier.replace(/^npm:/, "").replace(/(?<=.)@[^@]*$/, "");
    if (!names.includes(name)) continue;
    specifiers[specifier] = version;
    imports[name] = specifier;
    waiting.push(`${name}@${version}`);
  }
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (npm[id] !== undefined) continue;
    const found = lock.npm[id];
    if (found === undefined) throw new Error(`deno.lock has no "${id}"`);
    npm[id] = found;
    for (const needed of [...found.dependencies ?? [], ...found.optionalDependencies ?? []]) {
      // A name alone where the lock file has one version of it.
      const ids = Object.keys(lock.npm).filter((one) => one === needed || one.startsWith(`${needed}@`));
      const [only] = ids;
      if (only === undefined) throw new Error(`deno.lock has no "${needed}", which "${id}" needs`);
      waiting.push(only);
    }
  }
  return { imports, lock: { version: lock.version, specifiers, npm } };
}

/** What is known of an audit that has ended. */
export type Finding = "nothing" | "vulnerable" | "unreachable";

/** Tells a service that cannot be reached from a package that is vulnerable. */
export function findingOf({ code, text }: { code: number; text: string }): Finding {
  if (code === 0) return "nothing";
  // First, as an advisory's address or versions may hold what looks like a status.
  if (/^\W*Severity: /m.test(text)) return "vulnerable";
  return /error sending request|\bhttp error\b|status: [45]\d\d|advisories.*(?:404|403|5\d\d)/i.test(text)
    ? "unreachable"
    : "vulnerable";
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function audit(): Promise<number> {
  const root = new URL("..", import.meta.url);
  const text = await Deno.readTextFile(new URL("docs/security.md", root));
  // The list that tests/security_test.ts compares with what the program loads.
  const table = text.slice(text.indexOf("## Dependencies"));
  const names = [...table.matchAll(/^\| (@?[\w/-]+) +\| [\w.-]+ +\|/gm)].map(([, name]) => name!)
    .filter((name) => name !== "package");
  const part = partOf(JSON.parse(await Deno.readTextFile(new URL("deno.lock", root))), names);
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-audit-" });
  try {
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ imports: part.imports }));
    const dependencies = Object.keys(part.lock.specifiers);
    await Deno.writeTextFile(join(folder, "deno.lock"), JSON.stringify({ ...part.lock, workspace: { dependencies } }));
    const command = new Deno.Command(Deno.execPath(), { args: ["audit"], cwd: folder, env: { NO_COLOR: "1" } });
    const { code, stdout, stderr } = await command.output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    const count = Object.keys(part.lock.npm).length;
    switch (findingOf({ code, text: said })) {
      case "nothing":
        print(`No known vulnerability in the ${count} packages that the program loads\n${said.trim()}`);
        return 0;
      case "unreachable":
        print(
          `NOT LOOKED FOR: the registry's service for advisories cannot be reached from here\n${said.trim()}`,
        );
        return 0;
      case "vulnerable":
        print(said);
        return 1;
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await audit());
