/** Sealed backups on the command line: keys in the config, identities in files, and what is refused. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { main } from "../../src/cli/cli.ts";
import { alterFile, flipByte } from "../commands/restore/setup.ts";
import { couchOk } from "../couch_request.ts";
import { partsOf, textWithChecksum } from "../edited_manifest.ts";
import { CouchDesk, layDesk } from "../fakes/couch_desk.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";

const [ours, theirs] = await Promise.all([generateIdentity(), generateIdentity()]);
const [to, toOthers] = await Promise.all([ours, theirs].map(identityToRecipient)) as [string, string];

/** A CouchDB with databases `a` and `b`, a config for it, and identities in files. */
class Place extends CouchDesk {
  static async make(): Promise<Place> {
    const place = new Place(await layDesk(["a", "b"]));
    await place.write("ours.key", `# created: 2026-11-28T02:00:00Z\n# public key: ${to}\n${ours}\n`);
    await place.write("theirs.key", `${theirs}\n`);
    await place.write("both.key", `\n${theirs}\n# and ours\n${ours}\n`);
    return place;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async write(name: string, text: string, mode = 0o600): Promise<void> {
    await Deno.writeTextFile(this.path(name), text, { mode });
    await Deno.chmod(this.path(name), mode);
  }

  /** Runs a command with a config of these further lines. */
  async run(more: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
    return await this.runWith("task: {weekly: {databases: [a, b]}}", more, ...args);
  }

  /** The same with other tasks. */
  async runWith(tasks: string, more: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const { url, login, password } = this.fake;
    await this.write(
      "cfg.yaml",
      `database: {url: "${url}", login: ${login}, password: ${password}}
${tasks}
bucket: "${this.folder}/bucket"
${more}
`,
    );
    const shell = new QuietShell({ XDG_STATE_HOME: this.path("state") });
    const code = await main([...args, "--config", this.path("cfg.yaml")], shell);
    return { code, out: shell.out, err: shell.err };
  }

  get written(): number {
    return this.fake.requestsTo("_bulk_docs").length;
  }
}

/** The paths of the manifests that make backups of a database complete. */
async function manifestsOf(folder: string, database: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) found.push(...await manifestsOf(join(folder, name), database));
    else if (name.startsWith("manifest-") && folder.endsWith(`/${database}`)) found.push(join(folder, name));
  }
  return found;
}

const SEALED = `encrypt_to: [${to}]`;

Deno.test("restore, show, export, find, diff and test-restore take identities from files and the config, and end with 2 without", async () => {
  await using place = await Place.make();
  assertEquals((await place.run(SEALED, "backup")).code, 0);
  await couchOk(place.fake, "PUT /a/another", { a: 1 });
  assertEquals((await place.run(SEALED, "backup")).code, 0);
  const identity = ["--identity", place.path("ours.key")];
  const commands: [args: string[], out: RegExp][] = [
    [["show", "a", "latest", "--id", "d00003"], /"_id":"d00003"/],
    [["export", "a", "latest"], /"_id":"another"/],
    [["find", "a", "--id", "another"], /1-/],
    [["diff", "a", "latest", "live"], /0 added, 0 changed/],
    [["test-restore"], /all of them came back as they were saved/],
    [["verify", "a", "latest", "--contents"], /complete and as its manifest says: .*, read in [^;]+\n/],
    [["verify", "--all", "--contents"], /all of them complete/],
    [["restore", "copy", "latest/a"], /Restored "copy"/],
    [["restore", "--all", "latest", "--map", "(.)=all-$1"], /Restored 2 of 2 databases/],
  ];
  for (const [args, expected] of commands) {
    const before = place.written;
    const without = await place.run(SEALED, ...args);
    const isAll = args.join(" ") === "verify --all --contents";
    if (isAll) assertMatch(without.out, /NOT WHOLE/);
    else {
      assertEquals([args, without.code], [args, 2]);
      assertStringIncludes(without.err, `is sealed to ${to}: an identity of age opens it, and none is given`);
      assertStringIncludes(without.err, "--identity FILE");
    }
    const other = await place.run(SEALED, ...args, "--identity", place.path("theirs.key"));
    assertEquals([args, other.code], [args, 12], other.err);
    assertEquals(place.written, before, "nothing was written");
    const found = await place.run(SEALED, ...args, ...identity);
    assertEquals([args, found.code], [args, 0], found.err);
    assertMatch(found.out, expected);
  }
  for (
    const [more, ...flags] of [
      [`identity_file: ours.key`],
      [`identity_file: both.key`],
      ["", "--identity", place.path("theirs.key"), "--identity", place.path("ours.key")],
    ] as [string, ...string[]][]
  ) {
    const { code, err } = await place.run(`${SEALED}\n${more}`, "export", "a", "latest", ...flags);
    assertEquals(code, 0, err);
  }
});

Deno.test("verify compares checksums of sealed backups without an identity, and says that it has not opened them", async () => {
  await using place = await Place.make();
  await place.run(SEALED, "backup");
  const { code, out } = await place.run(SEALED, "verify", "a", "latest");
  assertEquals(code, 0);
  assertMatch(out, /is complete and as its manifest says: 1 chunk, 12 documents.*; it is sealed, and was not opened/);
  const json = JSON.parse((await place.run(SEALED, "verify", "a", "latest", "--json")).out);
  assertEquals([json.ok, json.contents_read, json.documents], [true, false, 12]);
  const all = await place.run(SEALED, "verify", "--all");
  assertMatch(all.out, /^Verified 2 backups, all of them complete .*; 2 of them sealed, and not opened\n$/);
  assertEquals(JSON.parse((await place.run(SEALED, "verify", "--all", "--json")).out).unopened, 2);
  const opened = await place.run(SEALED, "verify", "--all", "--identity", place.path("ours.key"));
  assertEquals([opened.code, opened.out.includes("not opened")], [0, false], opened.out);
  const read = await place.run(SEALED, "verify", "a", "latest", "--json", "--identity", place.path("ours.key"));
  assertEquals([JSON.parse(read.out).contents_read, JSON.parse(read.out).ids_compared], [true, true]);
  assertEquals((await place.run(SEALED, "verify", "a", "latest", "--quick", "--contents")).code, 2);
  // A folder alone, without any config.
  const path = fileURLToPath(json.path);
  const shell = new QuietShell({ COUCHDB_BACKUP_CONFIG: place.path("none.yaml") });
  assertEquals(
    await main(["verify", "a", path, "--contents", "--identity", place.path("ours.key")], shell),
    0,
    shell.err,
  );
});

Deno.test("verify with an identity that opens nothing compares checksums as one without any does, and takes no key for damage", async () => {
  await using place = await Place.make();
  await place.run(SEALED, "backup");
  const other = ["--identity", place.path("theirs.key")];
  const why = "None of the identities opens it";
  const one = await place.run(SEALED, "verify", "a", "latest", "--json", ...other);
  const { contents_read, documents, chunks, problems } = JSON.parse(one.out);
  assertEquals([one.code, contents_read, documents, chunks, problems.length], [12, false, 12, 1, 1], one.out);
  assertStringIncludes(problems[0].problem, `${why}; its chunks have the checksums that they must have`);
  const intact = await place.run(SEALED, "verify", "--all", ...other);
  assertEquals([intact.code, intact.out.split(why).length], [12, 3], intact.out);
  assertMatch(intact.out, /2 NOT as they must be: .*; 2 of them sealed, and not opened\n$/);
  const marked = async () => (await place.run(SEALED, "list")).out.includes("found damaged");
  assertEquals(await marked(), false);

  const { backups } = JSON.parse((await place.run(SEALED, "list", "--database", "a", "--json")).out);
  const chunk = join(fileURLToPath(backups[0].path), "0000000.json.gz.age");
  await alterFile(chunk, flipByte);
  const damaged = await place.run(SEALED, "verify", "--all", ...other);
  assertMatch(damaged.out, /^ {2}0000000\.json\.gz\.age: Chunk .* is damaged: .* sha256/m);
  assertEquals([damaged.code, damaged.out.split(why).length, await marked()], [12, 3, true], damaged.out);
  // Who can open nothing can see that it is sound again.
  await alterFile(chunk, flipByte);
  await place.run(SEALED, "verify", "--all", ...other);
  assertEquals(await marked(), false);
});

Deno.test("An identity that is none is told without its content, and one that others can read is warned of", async () => {
  await using place = await Place.make();
  await place.run(SEALED, "backup");
  await place.write("public.key", `${to}\n`);
  await place.write("ssh.key", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n");
  await place.write("open.key", `${ours}\n`, 0o644);
  const cases: [file: string, message: RegExp][] = [
    [place.path("none.key"), /Cannot read the identity file ".*none.key"/],
    [place.path("."), /Cannot read the identity file/],
    [place.path("public.key"), /Line 1 is a public key, which opens nothing/],
    [place.path("ssh.key"), /Line 1 begins a key of another kind/],
    [ours, /The secret key itself is given as an identity/],
    [to, /A public key is given as an identity; it must be a file that holds a secret key/],
  ];
  for (const [file, message] of cases) {
    const { code, err } = await place.run(SEALED, "export", "a", "latest", "--identity", file);
    assertEquals(code, 2, err);
    assertMatch(err, message);
    assert(!err.includes("hunter2") && !err.includes(ours), err);
    // What was named by mistake, such as /tmp, must not be closed to all others.
    assert(!err.includes("chmod"), err);
  }
  const { code, err } = await place.run(SEALED, "export", "a", "latest", "--identity", place.path("open.key"));
  assertEquals(code, 0);
  assertStringIncludes(err, "identity file can be read by everybody on this machine");
  assertStringIncludes(err, "chmod go-rwx");
  for (const mode of [0o640, 0o600, 0o400]) {
    await Deno.chmod(place.path("open.key"), mode);
    const { code, err } = await place.run(SEALED, "export", "a", "latest", "--identity", place.path("open.key"));
    assertEquals([code, err.includes("identity file can be read by its group")], [0, mode === 0o640], err);
  }
});

Deno.test("restore() refuses a backup in clear whose task seals, unless it is told to take it", async () => {
  await using place = await Place.make();
  assertEquals((await place.run("", "backup")).code, 0);
  for (const args of [["restore", "copy", "latest/a"], ["restore", "--all", "latest", "--map", "(.)=all-$1"]]) {
    const before = place.written;
    const refused = await place.run(SEALED, ...args);
    assertEquals([refused.code, place.written], [2, before]);
    assertStringIncludes(
      refused.err,
      "is not encrypted, but its task or that of its database seals its backups (encrypt_to)",
    );
    assertStringIncludes(refused.err, "--allow-plain");
    assertEquals((await place.run(SEALED, ...args, "--allow-plain")).code, 0);
  }
  // Of a task that the config does not know nobody else can say that it does not seal.
  const { code } = await place.run(
    `${SEALED}\n`.replace("weekly", "w"),
    "restore",
    "other",
    "latest/a",
    "--allow-plain",
  );
  assertEquals(code, 0);
  // Each command that only looks takes it as it is.
  for (const args of [["verify", "a", "latest"], ["export", "a", "latest"], ["test-restore"]]) {
    assertEquals([args, (await place.run(SEALED, ...args)).code], [args, 0]);
  }
});

Deno.test("restore() refuses a backup in clear that names a task which does not seal, where one that seals has its database", async () => {
  await using place = await Place.make();
  assertEquals((await place.run("", "backup")).code, 0);
  const [name = ""] = await manifestsOf(place.path("bucket"), "a");
  const parts = partsOf(await Deno.readTextFile(name));
  const before = place.written;
  // A task that the config does not know, one that it knows and that has other databases, and one of these.
  for (const [task, database] of [["nobody", "a"], ["plain", "a"], ["plain", "b"]] as const) {
    await Deno.writeFile(name, textWithChecksum({ ...parts, task, database }));
    const tasks = `task: {weekly: {databases: [a], encrypt_to: [${to}]}, plain: {databases: [b]}}`;
    for (
      const args of [["restore", "copy", "latest/a"], ["restore", "--all", "latest", "--match", "a", "--map", "a=c"]]
    ) {
      const refused = await place.runWith(tasks, "", ...args);
      assertEquals([task, refused.code, place.written], [task, 2, before], refused.err);
      assertStringIncludes(refused.err, "is not encrypted");
    }
  }
  await Deno.writeFile(name, textWithChecksum({ ...parts, task: "plain" }));
  // What the task that does not seal has selected is its own.
  const tasks = `task: {weekly: {databases: [a], encrypt_to: [${to}]}, plain: {databases: [a, b]}}`;
  const own = await place.runWith(tasks, "", "restore", "copy", "latest/a");
  assertEquals(own.code, 0, own.err);
});

Deno.test("check and plan say to whom backups are sealed, and check whether the identity that is there opens them", async () => {
  await using place = await Place.make();
  const plan = await place.run(`encrypt_to: [${to}, ${toOthers}]`, "plan");
  assertMatch(plan.out, new RegExp(`\\n  sealed to  ${to}\\n             ${toOthers}\\n  selects`));
  const { tasks } = JSON.parse((await place.run(SEALED, "plan", "--json")).out);
  assertEquals(tasks[0].encrypt_to, [to]);
  const detail = async (more: string) => {
    const { out } = await place.run(more, "check", "--json");
    const { checks } = JSON.parse(out);
    return checks.find(({ check }: { check: string }) => check === "encryption");
  };
  assertEquals((await detail(SEALED)).detail, `Task "weekly" seals to ${to}`);
  assertEquals(await detail(""), undefined);
  const opens = await detail(`${SEALED}\nidentity_file: ours.key`);
  assertEquals([opens.ok, opens.warning, opens.detail.includes(`is that of ${to}`)], [true, undefined, true]);
  const other = await detail(`${SEALED}\nidentity_file: theirs.key`);
  assertEquals([other.ok, other.warning], [true, true]);
  assertStringIncludes(other.detail, "does not open the backups of every task");
  await Deno.chmod(place.path("ours.key"), 0o644);
  const { out } = await place.run(`${SEALED}\nidentity_file: ours.key`, "check");
  assertMatch(out, /ours.key" holds a secret key and can be read by everybody/);
  await Deno.chmod(place.path("ours.key"), 0o640);
  const { out: group } = await place.run(`${SEALED}\nidentity_file: ours.key`, "check");
  assertMatch(group, /ours.key" holds a secret key and can be read by its group \(mode 0640\)/);
  // What is no path of a key is refused by each command that reads the config, before anything is asked of anybody.
  for (const args of [["plan"], ["check"], ["backup"]]) {
    const { code, err } = await place.run(`${SEALED}\nidentity_file: ${to}`, ...args);
    assertEquals(code, 2, err);
    assertStringIncludes(err, '"identity_file" is a public key, which opens nothing');
  }
});
