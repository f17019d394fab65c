/** docs/security.md against what is: the rights of each command, the permissions, the packages. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { main } from "../src/cli/cli.ts";
import { QuietShell } from "./fakes/quiet_shell.ts";
import { PERMISSIONS } from "../scripts/run_flags.ts";
import { readTemplate } from "./cloudformation.ts";
import { createDatabase, idsOf } from "./couchdb/impatient_client.ts";
import { startFakeCouchDb } from "./fakes/couchdb.ts";
import { FakeS3, type Operation } from "./fakes/s3.ts";
import { makeOldObjects, OLD } from "./hostile/old_backups.ts";

const ROOT = new URL("../", import.meta.url);
const page = await Deno.readTextFile(new URL("docs/security.md", ROOT));

/** The rows of the table below a heading or sentence that has this text, as trimmed cells without backquotes. */
function tableBehind(text: string): string[][] {
  const from = page.indexOf(text);
  assert(from >= 0, `docs/security.md has "${text}"`);
  const lines = page.slice(from).split("\n");
  const begin = lines.findIndex((line) => line.startsWith("|"));
  const table = lines.slice(begin);
  const end = table.findIndex((line) => !line.startsWith("|"));
  return table.slice(2, end).map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", "")));
}

/** The right that AWS asks for an operation. HeadBucket is asked without a key, for the bucket's region. */
const RIGHTS: Record<Operation, string | undefined> = {
  PutObject: "s3:PutObject",
  PutObjectRetention: "s3:PutObjectRetention",
  CreateMultipartUpload: "s3:PutObject",
  UploadPart: "s3:PutObject",
  CompleteMultipartUpload: "s3:PutObject",
  AbortMultipartUpload: "s3:AbortMultipartUpload",
  GetObject: "s3:GetObject",
  HeadObject: "s3:GetObject",
  ListObjectsV2: "s3:ListBucket",
  DeleteObject: "s3:DeleteObject",
  HeadBucket: undefined,
};

const documented = new Map(
  tableBehind("### In S3").flatMap(([commands = "", actions = ""]) =>
    commands.split(", ").map((command) => [command, actions.split(", ").sort()] as const)
  ),
);

Deno.test("the rights in docs/security.md are those that each command uses, and template.yaml grants no others", async () => {
  await using couch = await startFakeCouchDb();
  await createDatabase(couch, "db", idsOf(5));
  // Larger than a part, whatever the compression makes of it.
  const attachment = crypto.getRandomValues(new Uint8Array(60_000)).toBase64();
  const parts = Array.from({ length: 97 }, (_, part) => `"p${part}":"${attachment.slice(part)}"`);
  await createDatabase(couch, "large", ["x"], parts.join(","));
  const s3 = await FakeS3.start({ allowsDelete: true });
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-rights-" });
  try {
    const config = join(folder, "config.yaml");
    await Deno.writeTextFile(
      config,
      `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task:
  weekly: {databases: [db, large, "a/b"], timezone: UTC, allow_empty: true, retention: {keep_last: 2}}
  yearly: {databases: [db], timezone: UTC, cron: "*-01-01"}
bucket: s3://test-bucket/folder
endpoint: ${s3.url}
region: ${s3.keys.region}
token: ${s3.keys.accessKeyId}
secret: "${s3.keys.secretAccessKey}"
prefix: p
suffix: s
`,
    );
    for (const [name, bytes] of await makeOldObjects()) {
      const object = { bytes, etag: '"x"', checksum: undefined, headers: {}, modified: OLD };
      s3.objects.set(`test-bucket/folder/${name}`, object);
    }
    const withConfig = ["--config", config];
    const commands: [command: string, args: string[]][] = [
      ["check", ["check", config]],
      ["backup", ["backup", config, "--task", "weekly"]],
      ["backup --scheduled", ["backup", config, "--scheduled"]],
      ["verify", ["verify", "db", "latest", ...withConfig]],
      ["verify --all", ["verify", "--all", ...withConfig]],
      ["restore", ["restore", "target", "latest/db", ...withConfig]],
      ["restore --all", ["restore", "--all", "latest", "--map", "(.*)=all_$1", ...withConfig]],
      ["test-restore", ["test-restore", config, "--match", "db"]],
      ["show", ["show", "db", "latest", "--id", idsOf(1)[0]!, ...withConfig]],
      ["export", ["export", "db", "latest", ...withConfig]],
      ["find", ["find", "db", "--id", idsOf(1)[0]!, ...withConfig]],
      ["diff", ["diff", "db", "latest", "latest", ...withConfig]],
      ["status", ["status", config, "--task", "weekly"]],
      ["report", ["report", config, "--days", "30"]],
      ["list backups", ["list", "backups", ...withConfig]],
      ["list --rebuild", ["list", "backups", "--rebuild", ...withConfig]],
      ["keep", ["keep", "db", "latest", ...withConfig]],
      ["unkeep", ["unkeep", "db", "latest", ...withConfig]],
      ["expire", ["expire", config]],
      ["expire --confirm", ["expire", config, "--confirm"]],
    ];
    assertEquals([...documented.keys()].sort(), commands.map(([command]) => command).sort());
    const used = new Map<string, string[]>();
    for (const [command, args] of commands) {
      // Each finds out anew what the store holds.
      for (const key of s3.objects.keys()) if (key.includes("/_store/")) s3.objects.delete(key);
      s3.requests.length = 0;
      const shell = new QuietShell({ HOME: folder });
      const code = await main(args, shell);
      assertEquals(code, 0, `${command}: ${shell.printed}`);
      const rights = new Set(
        s3.requests.map(({ operation }) => RIGHTS[operation]).filter((right) => right !== undefined),
      );
      used.set(command, [...rights].sort());
    }
    assertEquals(
      Object.fromEntries(used),
      Object.fromEntries([...documented].map(([name, list]) => [name, [...list]])),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
    await s3.close();
  }
  const { Resources: resources } = await readTemplate();
  /** The actions of every statement below a value, wherever a condition has put it. */
  const actionsBelow = (value: unknown): string[] => {
    if (typeof value !== "object" || value === null) return [];
    const { Effect, Action } = value as { Effect?: string; Action?: string | string[] };
    if (Effect === "Allow") return [Action ?? []].flat();
    return Object.values(value).flatMap(actionsBelow);
  };
  const granted = (role: string) => {
    const policies = Object.entries(resources).filter(([name, { Properties }]) =>
      name === role || JSON.stringify(Properties?.Roles ?? []).includes(JSON.stringify({ Ref: role }))
    );
    const actions = policies.flatMap(([, { Properties }]) => actionsBelow(Properties));
    return [...new Set(actions.filter((action) => action.startsWith("s3:")))].sort();
  };
  // Where the config has object_lock, which is a parameter of its own.
  const locking = "s3:PutObjectRetention";
  assert(page.includes(locking));
  assertEquals(granted("FunctionRole").filter((action) => action !== locking), documented.get("backup --scheduled"));
  const locks = ["s3:GetObjectLegalHold", "s3:GetObjectRetention"];
  for (const right of locks) assert(page.includes(right), right);
  assertEquals(
    granted("ExpireRole").filter((action) => !locks.includes(action)),
    documented.get("expire --confirm"),
  );
});

Deno.test("the program's permissions are the ones in docs/security.md", async () => {
  const flags = tableBehind("these permissions and no others").map(([flag]) => flag!);
  assertEquals(flags.sort(), [...PERMISSIONS].sort());
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const start = (tasks.start.command as string).split(" ").filter((word) => word.startsWith("--allow"));
  assertEquals(start.sort(), flags);
});

interface Package {
  name: string;
  dependencies: string[];
  localPath: string;
}

/** Every package that a file loads, and what those need, by their ids. */
async function packagesOf(file: string): Promise<{ direct: Set<string>; all: Map<string, Package> }> {
  const info = await new Deno.Command("deno", { args: ["info", "--json", file], cwd: ROOT }).output();
  const { modules, npmPackages } = JSON.parse(new TextDecoder().decode(info.stdout)) as {
    modules: { specifier: string }[];
    npmPackages: Record<string, Package>;
  };
  const specifiers = modules.map(({ specifier }) => /^npm:\/(@[^/]+\/[^/@]+|[^/@]+)@/.exec(specifier)?.[1]);
  const direct = new Set(specifiers.filter((name) => name !== undefined));
  const all = new Map<string, Package>();
  const waiting = Object.keys(npmPackages).filter((id) => direct.has(npmPackages[id]!.name));
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    if (all.has(id)) continue;
    all.set(id, npmPackages[id]!);
    waiting.push(...npmPackages[id]!.dependencies);
  }
  return { direct, all };
}

const LICENCES = new Set(["Apache-2.0", "MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "0BSD"]);

Deno.test("every package that the program loads is in docs/security.md, with the licence that it has, and a reason", async () => {
  const listed = new Map(tableBehind("## Dependencies").map(([name, licence, reason]) => [name!, { licence, reason }]));
  const { direct, all } = await packagesOf("main.ts");
  assertEquals([...direct].sort(), [...listed.keys()].sort());
  for (const { name, localPath } of all.values()) {
    const { license } = JSON.parse(await Deno.readTextFile(join(localPath, "package.json")));
    assert(LICENCES.has(license), `${name} has the licence ${license}`);
    if (!direct.has(name)) continue;
    assertEquals(listed.get(name)?.licence, license, name);
    assert((listed.get(name)?.reason ?? "").length > 5, `${name} has a reason`);
  }
});

Deno.test("no package that the program loads has an install script, and the lock file has the checksum of each", async () => {
  const { npm } = JSON.parse(await Deno.readTextFile(new URL("deno.lock", ROOT)));
  for (const file of ["main.ts", "mod.ts"]) {
    const { all } = await packagesOf(file);
    assert(all.size > 10, "packages are found");
    for (const [id, { localPath }] of all) {
      const { scripts = {} } = JSON.parse(await Deno.readTextFile(join(localPath, "package.json")));
      const found = ["preinstall", "install", "postinstall"].filter((name) => name in scripts);
      assertEquals([id, found, npm[id]?.scripts ?? false], [id, [], false]);
      assert(/^sha(512|1)-/.test(npm[id]?.integrity ?? ""), `${id} has a checksum`);
    }
  }
});

Deno.test("every test that docs/security.md names is there", async () => {
  const paths = [...page.matchAll(/\btests\/[\w/]+\.ts\b/g)].map(([path]) => path);
  assert(paths.length > 5, "it names some");
  for (const path of new Set(paths)) assert((await Deno.stat(new URL(path, ROOT))).isFile, path);
  const sources: string[] = [];
  for (
    const folder of [
      "tests/hostile",
      "tests/store/directory",
      "tests/commands/test_restore",
      "tests/commands/backup",
      "tests/cli",
      "tests",
    ]
  ) {
    for await (const { name } of Deno.readDir(new URL(folder, ROOT))) {
      if (name.endsWith(".ts")) sources.push(await Deno.readTextFile(new URL(`${folder}/${name}`, ROOT)));
    }
  }
  const text = sources.join("\n");
  const named = [...page.matchAll(/\((`[^`)]+`(?:(?:, | a surface)[^)]*)?)\)/g)].flatMap(([, list = ""]) =>
    [...list.matchAll(/`([^`]+)`/g)].map(([, name]) => name!.replaceAll(/\s+/g, " "))
  ).filter((name) => / /.test(name) && !name.startsWith("deno ") && !name.startsWith("couchdb"));
  assert(named.length > 5, `it names some: ${named}`);
  for (const name of named) assert(text.includes(name), `a test or surface named "${name}"`);
});
