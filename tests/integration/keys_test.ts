/**
 * docs/keys.md, run: the commands of each section are given in their order, age's own among them, against a history of
 * sealed backups; what they print is what the page shows, and the keys that are left open what the page says.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { main } from "../../src/cli/cli.ts";
import { couchOk } from "../couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "../fakes/couchdb.ts";
import { edit, fill } from "../fakes/couchdb/edits.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";
import { shellWords } from "../shell_words.ts";

const BUCKET = "s3://backups.example.com";
const INSTRUCTION = /^# encrypt_to in cfg\.yaml: the public keys? of (.*)$/;

/** A line of the page that is done, and what it is to print; an instruction to who edits the config prints nothing. */
interface Step {
  line: string;
  output: string;
  code: number;
}

/** What is done in each section of the page. */
async function readSteps(): Promise<Map<string, Step[]>> {
  const page = await Deno.readTextFile(new URL("../../docs/keys.md", import.meta.url));
  const sections = new Map<string, Step[]>();
  for (const section of page.split(/^## /m).slice(1)) {
    const steps: Step[] = [];
    for (const [, block = ""] of section.matchAll(/^```\n([\s\S]*?)^```$/gm)) {
      for (const line of block.trimEnd().split("\n")) {
        const exit = /^\[exit code (\d+)\]$/.exec(line);
        const last = steps.at(-1);
        if (line.startsWith("$ ")) steps.push({ line: line.slice(2), output: "", code: 0 });
        else if (line.startsWith("# ")) steps.push({ line, output: "", code: 0 });
        else if (exit !== null) last!.code = Number(exit[1]);
        else last!.output += `${line}\n`;
      }
    }
    sections.set(section.split("\n", 1)[0]!, steps);
  }
  return sections;
}

/** A CouchDB, its backups, and a folder with keys. */
class Scene implements AsyncDisposable {
  readonly couch: FakeCouchDb;
  readonly folder: string;
  #savedSecond: number | undefined;

  private constructor(couch: FakeCouchDb, folder: string) {
    [this.couch, this.folder] = [couch, folder];
  }

  /** Two backups of a database, sealed to keys of these names. */
  static async set(keys: readonly string[]): Promise<Scene> {
    const scene = new Scene(await startFakeCouchDb(), await Deno.makeTempDir({ prefix: "couchdb-backup-keys-" }));
    await couchOk(scene.couch, "PUT /orders");
    const database = scene.couch.databases.get("orders")!;
    const ids = fill(database, 60);
    for (const key of keys) assertEquals((await scene.run(`age-keygen -o ${key}`)).code, 0);
    await scene.sealTo(keys);
    assertEquals((await scene.run("couchdb-backup backup --quiet")).code, 0);
    edit(database, { _id: ids[0]!, changed: true });
    assertEquals((await scene.run("couchdb-backup backup --quiet")).code, 0);
    edit(database, { _id: ids[1]!, changed: true });
    return scene;
  }

  /** Does what the page tells who edits the config. */
  async sealTo(keys: readonly string[]): Promise<void> {
    const recipients: string[] = [];
    for (const key of keys) recipients.push((await this.run(`age-keygen -y ${key}`)).output.trim());
    const { url, login, password } = this.couch;
    await Deno.writeTextFile(
      join(this.folder, "cfg.yaml"),
      `database: {url: "${url}", login: ${login}, password: ${password}}
task: {nightly: {databases: [orders], incremental: true, timezone: UTC}}
bucket: "${pathToFileURL(join(this.folder, "bucket")).href}"
encrypt_to: [${recipients}]
`,
    );
  }

  /** Does what a line says. @returns What it prints on stdout, with the page's names for what only this test has. */
  async run(line: string): Promise<{ code: number; output: string; err: string }> {
    const instruction = INSTRUCTION.exec(line);
    if (instruction !== null) {
      await this.sealTo(instruction[1]!.split(" and "));
      return { code: 0, output: "", err: "" };
    }
    if (!line.startsWith("couchdb-backup ")) {
      const [program = "", ...args] = line.split(" ");
      const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: this.folder }).output();
      const [output, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      return { code, output: output!, err: err! };
    }
    const [[, ...words] = []] = await shellWords(line);
    // Of two that were complete within a second either may be the latest.
    if (words[0] === "backup") {
      while (Math.floor(Date.now() / 1000) === this.#savedSecond) await new Promise((done) => setTimeout(done, 20));
    }
    const args = words.map((word) => /^[a-z]+\.key$/.test(word) ? join(this.folder, word) : word);
    const shell = new QuietShell({
      XDG_STATE_HOME: join(this.folder, "state"),
      COUCHDB_BACKUP_CONFIG: join(this.folder, "cfg.yaml"),
    });
    const code = await main(args, shell);
    if (words[0] === "backup") this.#savedSecond = Math.floor(Date.now() / 1000);
    const output = shell.out.replaceAll(pathToFileURL(join(this.folder, "bucket")).href, BUCKET);
    return { code, output, err: shell.err };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
    await this.couch.stop();
  }
}

/** What differs from one time to the next: keys, moments, how long it took, sizes. */
function plain(text: string): string {
  return text
    .replaceAll(/age1[a-z0-9]{58}/g, "KEY").replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "MOMENT")
    .replaceAll(/\d{4}[-/]\d\d[-/]\d\d/g, "DATE").replaceAll(/\d{8}T\d{6}Z-[0-9a-f]{8}/g, "RUN")
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "RUN").replaceAll(/[0-9a-f]{8}-(?=\d{7})/g, "")
    .replaceAll(/\d+(?:\.\d+)? [kM]?B\b/g, "N B").replaceAll(/\b\d+\.\d+x/g, "Rx").replaceAll(/\b\d+\.\d+s\b/g, "T")
    .replaceAll(/\([^()]* ago\)/g, "(T ago)").replaceAll(/ +/g, " ").trimEnd();
}

/**
 * Each section: the keys that the history is sealed to, and which key opens the newest backup behind it, and which not.
 */
const SECTIONS: Record<string, { keys: string[]; opens: string[]; not: string[]; lost?: string }> = {
  "A new key in place of the old one": { keys: ["old.key"], opens: ["new.key"], not: ["old.key"] },
  "One more reader": { keys: ["ours.key"], opens: ["ours.key", "safe.key"], not: [] },
  "A key is lost, and another one is there": {
    keys: ["ours.key", "safe.key"],
    opens: ["safe.key", "new.key"],
    not: [],
    lost: "ours.key",
  },
  "The only key is lost": { keys: ["old.key"], opens: ["new.key"], not: [], lost: "old.key" },
  "A key has become known": { keys: ["known.key", "safe.key"], opens: ["new.key", "safe.key"], not: ["known.key"] },
};

const sections = await readSteps();

Deno.test("every section of docs/keys.md is one that is tested", () => {
  assertEquals([...sections.keys()], Object.keys(SECTIONS));
});

for (const [name, { keys, opens, not, lost }] of Object.entries(SECTIONS)) {
  Deno.test(`docs/keys.md, ${name}: the commands print what it shows, and the keys open what it says`, async () => {
    await using scene = await Scene.set(keys);
    // Before anything else: what is lost is not there for any of the commands.
    if (lost !== undefined) await Deno.remove(join(scene.folder, lost));
    const steps = sections.get(name) ?? [];
    assert(steps.length > 3, name);
    for (const { line, output: shown, code: expected } of steps) {
      const { code, output, err } = await scene.run(line);
      assertEquals(code, expected, `${line}: ${output}${err}`);
      assertEquals(plain(output), plain(shown), line);
    }
    for (const key of opens) {
      const { code, output } = await scene.run(`couchdb-backup verify orders latest --contents --identity ${key}`);
      assertEquals(code, 0, key);
      assertMatch(output, /60 documents.*, read in/);
    }
    for (const key of not) {
      assertEquals((await scene.run(`couchdb-backup verify orders latest --contents --identity ${key}`)).code, 12, key);
    }
  });
}
