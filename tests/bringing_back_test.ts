/**
 * docs/disaster.md and what docs/restore.md shows, run: each case is made to happen to a double, its commands are given
 * in their order, what they print is what the page shows, and what was lost is there again.
 */
import { assert, assertEquals } from "@std/assert";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { main } from "../src/cli/cli.ts";
import type { Shell } from "../src/cli/shell.ts";
import { loadConfig } from "../src/config/config.ts";
import { openSession } from "../src/session/open.ts";
import { couchOk } from "./couch_request.ts";
import { type FakeCouchDb, startFakeCouchDb } from "./fakes/couchdb.ts";
import { outputTo } from "./fakes/output.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "./leaf_revisions.ts";
import { shellWords } from "./shell_words.ts";

const DATABASES = ["account/4711", "customers", "orders"];
const BUCKET = "s3://backups.example.com";

/** A command of the page, and what it is to print. */
interface Shown {
  line: string;
  output: string;
}

/** What a page shows, by the headings of its sections. */
async function readSections(path: string): Promise<Map<string, Shown[]>> {
  const page = await Deno.readTextFile(new URL(`../${path}`, import.meta.url));
  const sections = new Map<string, Shown[]>();
  for (const section of page.split(/^## /m).slice(1)) {
    const commands: Shown[] = [];
    for (const [, block = ""] of section.matchAll(/^```\n([\s\S]*?)^```$/gm)) {
      for (const part of block.split(/^\$ /m).slice(1)) {
        const [line = "", ...output] = part.split("\n");
        commands.push({ line, output: output.join("\n") });
      }
    }
    if (commands.length > 0) sections.set(section.split("\n", 1)[0]!, commands);
  }
  return sections;
}

/** A CouchDB that is backed up, and a new one beside it. */
class Scene implements AsyncDisposable {
  readonly old: FakeCouchDb;
  readonly fresh: FakeCouchDb;
  readonly folder: string;

  private constructor(old: FakeCouchDb, fresh: FakeCouchDb, folder: string) {
    [this.old, this.fresh, this.folder] = [old, fresh, folder];
  }

  static async set(): Promise<Scene> {
    const [old, fresh] = await Promise.all([startFakeCouchDb(), startFakeCouchDb()]);
    const scene = new Scene(old, fresh, await Deno.makeTempDir({ prefix: "couchdb-backup-disaster-" }));
    await scene.#writeConfig("cfg.yaml", { couch: old, bucket: "bucket" });
    await scene.#writeConfig("new.yaml", { couch: fresh, bucket: "bucket" });
    await scene.#writeConfig("copy.yaml", { couch: old, bucket: "copy" });
    for (const [index, name] of DATABASES.entries()) {
      await couchOk(old, `PUT /${encodeURIComponent(name)}`);
      const kind = ["call", "customer", "order"][index]!;
      for (let number = 1; number <= 20; number++) {
        await couchOk(old, `PUT /${encodeURIComponent(name)}/${kind}-${number}`, { total: number * 10, paid: true });
      }
    }
    await couchOk(old, "PUT /_users/org.couchdb.user:anna", {
      _id: "org.couchdb.user:anna",
      name: "anna",
      type: "user",
      roles: [],
      password: "x",
    });
    return scene;
  }

  async #writeConfig(name: string, { couch, bucket }: { couch: FakeCouchDb; bucket: string }): Promise<void> {
    await Deno.writeTextFile(
      join(this.folder, name),
      `database: {url: "${couch.url}", login: "${couch.login}", password: "${couch.password}"}
task: {nightly: {databases: [".*", _users], exclude: ["_replicator"], timezone: UTC}}
bucket: "${pathToFileURL(join(this.folder, bucket)).href}"
`,
    );
  }

  /** A backup that is complete at 02:00 UTC of a day of November. */
  async backUp(day: number): Promise<void> {
    const env = { XDG_STATE_HOME: join(this.folder, "state") };
    const config = await loadConfig({ path: join(this.folder, "cfg.yaml"), env });
    const now = () => new Date(`2025-11-${day}T02:00:00Z`);
    await using session = await openSession({ config, now });
    assertEquals((await session.backup()).ok, true);
  }

  /** Changes a document, or deletes it. */
  async change(database: string, id: string, document: Record<string, unknown>): Promise<void> {
    const path = `/${encodeURIComponent(database)}/${id}`;
    const { _rev } = (await couchOk(this.old, `GET ${path}`)).json;
    await couchOk(this.old, `PUT ${path}`, { _rev, ...document });
  }

  async drop(database: string): Promise<void> {
    await couchOk(this.old, `DELETE /${encodeURIComponent(database)}`);
  }

  /** All that there is, by database. */
  async state(server: FakeCouchDb, names: readonly string[] = DATABASES): Promise<Map<string, LeafRevisions>> {
    const all = new Map<string, LeafRevisions>();
    for (const name of names) all.set(name, await readAllLeafRevisions(server, name, { by: "_bulk_get" }));
    return all;
  }

  /** Gives a command of the page. @returns What it prints, with the page's names for what only this test has. */
  async give(line: string): Promise<{ code: number; output: string; err: string }> {
    const [[program, ...words] = []] = await shellWords(line);
    assertEquals(program, "couchdb-backup", line);
    const args = words.map((word) => {
      if (/^[a-z]+\.yaml$/.test(word)) return join(this.folder, word);
      return word === "http://new.example.com:5984" ? this.fresh.url : word;
    });
    let [output, err] = ["", ""];
    const shell: Shell = {
      journal: false,
      env: { XDG_STATE_HOME: join(this.folder, "state"), COUCHDB_BACKUP_CONFIG: join(this.folder, "cfg.yaml") },
      stdout: outputTo((text) => void (output += text)),
      stderr: outputTo((text) => void (err += text)),
      onSignal: () => () => {},
      exit: (code) => {
        throw new Error(`exit ${code}`);
      },
    };
    const code = await main(args, shell);
    for (const bucket of ["bucket", "copy"]) {
      output = output.replaceAll(pathToFileURL(join(this.folder, bucket)).href, BUCKET);
    }
    output = output.replaceAll(this.old.url, "http://db.example.com:5984");
    return { code, output: output.replaceAll(this.fresh.url, "http://new.example.com:5984"), err };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
    await Promise.all([this.old.stop(), this.fresh.stop()]);
  }
}

/** What differs from one time to the next: how long it took, how long ago it was, ids of runs, today. */
function plain(text: string): string {
  return text
    .replaceAll(/\b(in|TIME) +\d[\d.]*(?:ms|s|m\d+s)\b/g, "$1 T").replaceAll(/ \d[\d.]*s$/gm, " T")
    .replaceAll(/\([^()]* ago\)/g, "(T ago)")
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "RUN").replaceAll(/Z-[0-9a-f]{8}\.json/g, "Z-RUN.json")
    .replaceAll(/(?<=proved )\S+/g, "T").replaceAll(/(?<=nightly, )\S+/g, "T")
    .replaceAll(/\d+(?:\.\d+)? [kM]?B\b/g, "N B").replaceAll(/\b\d+\.\d+x/g, "Rx").replaceAll(/ +/g, " ").trimEnd();
}

/** How two states differ. */
function differences(before: Map<string, LeafRevisions>, after: Map<string, LeafRevisions>): string[] {
  return [...before].flatMap(([name, left]) => compareLeafRevisions(left, after.get(name) ?? new Map()));
}

/** Lets a case happen, and gives back what looks at what came of it. */
type Case = (scene: Scene) => Promise<() => Promise<void>>;

const DISASTERS: Record<string, Case> = {
  async "Before it happens"(scene) {
    await scene.backUp(22);
    await scene.backUp(23);
    return () => Promise.resolve();
  },
  async "The cluster is gone"(scene) {
    await scene.backUp(22);
    const before = await scene.state(scene.old, [...DATABASES, "_users"]);
    for (const name of DATABASES) await scene.drop(name);
    return async () => assertEquals(differences(before, await scene.state(scene.fresh, [...DATABASES, "_users"])), []);
  },
  async "One database is gone"(scene) {
    await scene.backUp(22);
    const before = await scene.state(scene.old);
    await scene.drop("orders");
    return async () => assertEquals(differences(before, await scene.state(scene.old)), []);
  },
  async "A document is spoilt"(scene) {
    await scene.backUp(21);
    await scene.backUp(22);
    await scene.change("orders", "order-17", { total: "#REF!" });
    await scene.change("orders", "order-4", { _deleted: true });
    await scene.backUp(23);
    await scene.backUp(24);
    return async () => {
      for (const [id, total] of [["order-17", 170], ["order-4", 40]] as const) {
        const found = (await couchOk(scene.old, `GET /orders/${id}`)).json;
        assertEquals([found.total, found.paid, found._rev.slice(0, 2)], [total, true, "3-"]);
      }
    };
  },
  async "The bucket's region is gone"(scene) {
    await scene.backUp(22);
    const before = await scene.state(scene.old);
    await cp(join(scene.folder, "bucket"), join(scene.folder, "copy"), { recursive: true });
    await Deno.remove(join(scene.folder, "bucket"), { recursive: true });
    return async () => assertEquals(differences(before, await scene.state(scene.fresh)), []);
  },
  async "Ransomware"(scene) {
    await scene.backUp(22);
    await scene.change("orders", "order-3", { total: 31, paid: true });
    await scene.backUp(23);
    const before = await scene.state(scene.old);
    for (const name of ["customers", "orders"]) {
      const { rows } = (await couchOk(scene.old, `GET /${name}/_all_docs`)).json;
      for (const { id } of rows as { id: string }[]) {
        await scene.change(name, id, id.endsWith("1") ? { _deleted: true } : { blob: "8f1c…" });
      }
    }
    await scene.backUp(24);
    return async () => assertEquals(differences(before, await scene.state(scene.fresh)), []);
  },
};

const RESTORES: Record<string, Case> = {
  async "All databases of a moment"(scene) {
    await scene.backUp(22);
    const before = await scene.state(scene.old);
    await scene.change("orders", "order-17", { total: 171 });
    await scene.backUp(23);
    const after = await scene.state(scene.old);
    for (const name of DATABASES) await scene.drop(name);
    return async () => {
      const [account, , orders] = DATABASES.map((name) => before.get(name)!);
      assertEquals(compareLeafRevisions(account!, (await scene.state(scene.old, ["old/4711"])).get("old/4711")!), []);
      assertEquals(
        compareLeafRevisions(orders!, (await scene.state(scene.old, ["old/orders"])).get("old/orders")!),
        [],
      );
      const restored = await scene.state(scene.old, ["account/4711", "orders"]);
      assertEquals(differences(new Map([...after].filter(([name]) => name !== "customers")), restored), []);
    };
  },
  async "Single documents"(scene) {
    await scene.backUp(22);
    await scene.change("orders", "order-17", { total: 171 });
    await scene.backUp(23);
    return async () => {
      const found = (await couchOk(scene.old, "GET /orders/order-17")).json;
      assertEquals([found.total, found._rev.slice(0, 2)], [170, "3-"]);
    };
  },
  async "Looking into backups"(scene) {
    await scene.change("orders", "order-1", { price: 1 });
    await couchOk(scene.old, "PUT /orders/order-21", '{"total":9007199254740993,"tax":1.0}');
    await scene.backUp(22);
    await scene.change("orders", "order-17", { total: 171 });
    await scene.change("orders", "order-3", { _deleted: true });
    const docs = [{ _id: "order-2", _rev: "1-0b", total: 0 }];
    await couchOk(scene.old, "POST /orders/_bulk_docs", { docs, new_edits: false });
    await scene.backUp(23);
    return () => Promise.resolve();
  },
};

for (const [path, cases] of [["docs/disaster.md", DISASTERS], ["docs/restore.md", RESTORES]] as const) {
  const sections = await readSections(path);

  Deno.test(`every section of ${path} that shows commands with their output is a case that is tested`, () => {
    assertEquals([...sections.keys()], Object.keys(cases));
  });

  for (const [name, happen] of Object.entries(cases)) {
    Deno.test(`${path}, ${name}: the commands print what it shows, and what was lost is there again`, async () => {
      const commands = sections.get(name) ?? [];
      assert(commands.length > 0, name);
      await using scene = await Scene.set();
      const check = await happen(scene);
      for (const { line, output: shown } of commands) {
        const { code, output, err } = await scene.give(line);
        assertEquals(code, 0, `${line}: ${err}`);
        assertEquals(plain(output), plain(shown), line);
      }
      await check();
    });
  }
}
