/**
 * Incremental backups of a real CouchDB, given by COUCHDB_URL with the credentials of an administrator in it: each
 * restore point is held against a replica that CouchDB itself made at its moment, leaf by leaf, deleted ones too.
 */
import { assert, assertEquals } from "@std/assert";
import type { Manifest } from "../../src/archive/manifest.ts";
import { parseManifest } from "../../src/archive/manifest_json.ts";
import { Repository } from "../../src/archive/repository.ts";
import type { DatabaseReport } from "../../src/archive/report.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { SILENT_PROGRESS } from "../../src/observe.ts";
import { openStore } from "../../src/store/open.ts";
import { Backups, type RunRequest } from "../commands/backup/feed_setup.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { impatientClient } from "../couchdb/impatient_client.ts";
import { isVersionAtLeast } from "../fakes/couchdb/server_state.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { filesOf } from "../read_archive.ts";

const TASK = { increments: { most: 14 }, tombstones: true };

class Scene implements AsyncDisposable {
  readonly server: CouchServer;
  readonly name: string = `incr_${crypto.randomUUID().slice(0, 8)}`;
  readonly backups: Backups = new Backups();
  readonly #others: string[] = [];

  constructor(server: CouchServer) {
    this.server = server;
  }

  static async make(q = 4): Promise<Scene> {
    const url = Deno.env.get("COUCHDB_URL") ?? "";
    if (url === "") throw new Error("COUCHDB_URL is not set, as http://admin:secret@127.0.0.1:5984");
    const scene = new Scene(serverOf(url));
    await couchOk(scene.server, `PUT /${scene.name}?q=${q}`);
    return scene;
  }

  async write(docs: readonly Record<string, unknown>[], newEdits = true): Promise<void> {
    for (let at = 0; at < docs.length; at += 2000) {
      const body = { docs: docs.slice(at, at + 2000), new_edits: newEdits };
      await couchOk(this.server, `POST /${this.name}/_bulk_docs`, body);
    }
  }

  async fill(count: number, from = 0): Promise<string[]> {
    const ids = Array.from({ length: count }, (_, at) => `d${String(from + at).padStart(7, "0")}`);
    await this.write(ids.map((_id) => ({ _id })));
    return ids;
  }

  /** Makes each document the newest revision of its id. */
  async edit(ids: readonly string[], members: Record<string, unknown>): Promise<void> {
    const { json } = await couchOk(this.server, `POST /${this.name}/_all_docs`, { keys: ids });
    await this.write(json.rows.map((row: { key: string; value?: { rev: string; deleted?: true } }) => ({
      _id: row.key,
      ...row.value === undefined || row.value === null || row.value.deleted ? {} : { _rev: row.value.rev },
      ...members,
    })));
  }

  async run(day: number, request: RunRequest = {}): Promise<DatabaseReport> {
    const { task, ...others } = request;
    return await this.backups.run(this.server, {
      database: this.name,
      day,
      task: { ...TASK, chunk: 500, ...task },
      ...others,
    });
  }

  /** A replica of the database as it is now. */
  async replicate(): Promise<string> {
    const name = `${this.name}_replica${this.#others.length}`;
    this.#others.push(name);
    const url = new URL(this.server.url);
    [url.username, url.password] = [this.server.login, this.server.password];
    const body = { source: `${url.href}${this.name}`, target: `${url.href}${name}`, create_target: true };
    const { json } = await couchOk(this.server, "POST /_replicate", body);
    assertEquals(json.ok, true);
    return name;
  }

  /** The manifest of the backup of a day. */
  async manifest(day: number): Promise<Manifest> {
    const folder = this.backups.folderOf(this.name).replace("/03/", `/0${day}/`);
    return parseManifest(await Deno.readFile(`${folder}/manifest.json`), folder);
  }

  /** The database that a restore of the backup of a day makes. */
  async restore(day: number): Promise<string> {
    const name = `${this.name}_restored${this.#others.length}`;
    this.#others.push(name);
    const [manifest] = (await filesOf(this.backups.folderOf(this.name).replace("/03/", `/0${day}/`)))
      .filter((one) => one.startsWith("manifest-"));
    const report = await restore({
      couch: impatientClient(this.server),
      repository: new Repository(await openStore({ bucket: `file://${this.backups.root}` }), {
        prefix: "",
        suffix: "couchdb",
      }),
      openStore: (bucket) => openStore({ bucket }),
      log: this.backups.log,
      progress: SILENT_PROGRESS,
      now: () => new Date(),
      signal: new AbortController().signal,
    }, { database: name, path: `2026/01/0${day}/couchdb/${this.name}/${manifest}`, noViews: true });
    assertEquals([report.ok, report.missing, report.failed], [true, 0, []]);
    return name;
  }

  async leaves(name: string) {
    const { json } = await couchOk(this.server, `GET /${name}/_changes`);
    const rows = json.results as { id: string; deleted?: true }[];
    const also = rows.filter(({ deleted }) => deleted).map(({ id }) => id);
    return await readAllLeafRevisions(this.server, name, { by: "_bulk_get", also });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [this.name, ...this.#others]) await couch(this.server, `DELETE /${name}`);
    await this.backups[Symbol.asyncDispose]();
  }
}

Deno.test("a full backup and three increments of a real CouchDB are, each restored, a replica made at its moment", async () => {
  await using scene = await Scene.make();
  const ids = await scene.fill(3000);
  const attachment = (text: string) => ({ "a.txt": { content_type: "text/plain", data: btoa(text) } });
  const leaf = (rev: string, deleted = false) => ({
    _id: "conflicted",
    _rev: `1-${rev.repeat(32)}`,
    _revisions: { start: 1, ids: [rev.repeat(32)] },
    ...deleted ? { _deleted: true } : { rev },
  });
  await scene.write([{ _id: "with attachment", _attachments: attachment("one") }]);
  await scene.write([{ _id: "_design/d", views: { v: { map: "function (doc) {}" } } }]);
  await scene.write([leaf("a"), leaf("b")], false);
  await scene.edit(ids.slice(0, 20), { _deleted: true });
  const days: [day: number, replica: string][] = [];
  const save = async (day: number, kind: string) => {
    const report = await scene.run(day);
    assertEquals([report.error, report.kind], [undefined, kind]);
    days.push([day, await scene.replicate()]);
  };
  await save(3, "full");
  // Edits, deletions, re-creations of what was deleted long ago, a document that is edited beyond the revisions limit.
  await scene.edit(ids.slice(100, 160), { edited: 1 });
  await scene.edit(ids.slice(160, 190), { _deleted: true });
  await scene.edit(ids.slice(0, 5), { again: true });
  let rev = "";
  for (let n = 0; n < 1200; n++) {
    const body = { n, ...rev === "" ? {} : { _rev: rev } };
    rev = (await couchOk(scene.server, `PUT /${scene.name}/hot`, body)).json.rev;
  }
  await scene.write([leaf("c")], false);
  await save(4, "incremental");
  await scene.edit(ids.slice(150, 180), { edited: 2 });
  await scene.edit(["with attachment"], { _attachments: attachment("two") });
  for (let n = 0; n < 1200; n++) {
    rev = (await couchOk(scene.server, `PUT /${scene.name}/hot`, { n, _rev: rev, second: true })).json.rev;
  }
  await scene.write([{
    ...leaf("b"),
    _rev: `2-${"f".repeat(32)}`,
    _revisions: { start: 2, ids: ["f".repeat(32), "b".repeat(32)] },
    _deleted: true,
  }], false);
  await save(5, "incremental");
  await scene.edit(["_design/d"], { views: {} });
  await scene.edit(["hot", ...ids.slice(100, 110)], { _deleted: true });
  await scene.edit(ids.slice(185, 190), { again: true });
  await scene.fill(200, 10_000);
  await save(6, "incremental");
  for (const [day, replica] of days) {
    const restored = await scene.restore(day);
    assertEquals(compareLeafRevisions(await scene.leaves(replica), await scene.leaves(restored)), [], `day ${day}`);
  }
  const full = await scene.run(7, { full: true });
  assertEquals([full.kind, full.chain_lost], ["full", undefined], "the chain before has lost nothing");
  assertEquals(scene.backups.log.lines.filter(({ event }) => event.includes("not compared")), []);
});

Deno.test("a real CouchDB's database that has not changed is carried over, whatever moves its update_seq without a row", async () => {
  await using scene = await Scene.make();
  await scene.fill(2000);
  assertEquals((await scene.run(3)).kind, "full");
  const change: (() => Promise<unknown>)[] = [
    () => Promise.resolve(),
    () => couchOk(scene.server, `PUT /${scene.name}/_security`, { admins: { roles: ["x"] }, members: { roles: [] } }),
    () => couchOk(scene.server, `PUT /${scene.name}/_revs_limit`, "1000"),
    () => couchOk(scene.server, `PUT /${scene.name}/_local/x`, {}),
    () => couchOk(scene.server, `POST /${scene.name}/_compact`, {}),
  ];
  for (const [at, happens] of change.entries()) {
    await happens();
    const report = await scene.run(4 + at);
    assertEquals([report.error, report.unchanged, report.full_because], [undefined, true, undefined], `${at}`);
    const { properties } = await scene.manifest(4 + at);
    const settings = ["_security", "_revs_limit"].map((one) => couchOk(scene.server, `GET /${scene.name}/${one}`));
    const texts = (await Promise.all(settings)).map(({ text }) => text.trim());
    assertEquals([properties.security, String(properties.revs_limit)], texts, `${at}`);
  }
});

Deno.test("a real CouchDB's histories are in a backup as it shows them, whatever its revisions limit was before", async () => {
  await using scene = await Scene.make();
  const ids = await scene.fill(20);
  for (const n of [2, 3, 4, 5]) await scene.edit(ids, { n });
  const showing = async () => {
    const { json } = await couchOk(scene.server, `GET /${scene.name}/${ids[0]}?revs=true`);
    return json._revisions.ids.length;
  };
  // CouchDB cuts when it reads: what is raised shows again what it has kept.
  for (const [at, limit] of [1000, 2, 1000, 3].entries()) {
    await couchOk(scene.server, `PUT /${scene.name}/_revs_limit`, String(limit));
    assertEquals(await showing(), Math.min(limit, 5));
    const before = await scene.leaves(scene.name);
    const report = await scene.run(3 + at);
    const because = at === 0 ? undefined : `its revisions limit was ${[1000, 2, 1000, 3][at - 1]} and is ${limit}`;
    assertEquals([report.error, report.kind, report.full_because?.split(",")[0]], [
      undefined,
      "full",
      at === 0 ? "there is no backup of this task yet" : because,
    ]);
    assertEquals(compareLeafRevisions(before, await scene.leaves(await scene.restore(3 + at))), []);
  }
});

Deno.test("a real CouchDB that counts wrongly behind a purge has its database saved in full, and in increments", async () => {
  await using scene = await Scene.make(1);
  await scene.fill(5);
  const { json: { rev } } = await couchOk(scene.server, `PUT /${scene.name}/x`, { a: 1 });
  const [deleted, parent] = ["b".repeat(32), "c".repeat(32)];
  const leaf = { _id: "x", _rev: `2-${deleted}`, _deleted: true, _revisions: { start: 2, ids: [deleted, parent] } };
  await scene.write([leaf], false);
  await couchOk(scene.server, `POST /${scene.name}/_purge`, { x: [rev] });
  const { json: { doc_count, doc_del_count } } = await couchOk(scene.server, `GET /${scene.name}`);
  assertEquals([doc_count, doc_del_count], [6, 0], "five of its documents live");
  const saves = async (day: number, kind: string, warnings: number) => {
    const report = await scene.run(day);
    assertEquals([report.error, report.kind, report.warnings?.length ?? 0], [undefined, kind, warnings]);
    const before = await scene.leaves(scene.name);
    assertEquals(compareLeafRevisions(before, await scene.leaves(await scene.restore(day))), []);
    return report;
  };
  const { warnings } = await saves(3, "full", 1);
  assert(
    warnings?.[0]?.startsWith("CouchDB counts 6 live documents and shows 5, which are all saved: "),
    warnings?.[0],
  );
  await scene.fill(3, 100);
  await saves(4, "incremental", 0);
});

Deno.test("a real CouchDB's position moves at once with each change of a database's settings, and with nothing else but a write", async () => {
  for (const q of [1, 2, 8]) {
    await using scene = await Scene.make(q);
    const { server, name } = scene;
    await scene.fill(100);
    await couchOk(server, `PUT /${name}/_design/d`, { views: { v: { map: "function (doc) { emit(doc._id) }" } } });
    const position = async () => {
      const { json: one } = await couchOk(server, `GET /${name}`);
      const { json: [many] } = await couchOk(server, "POST /_dbs_info", { keys: [name] });
      assertEquals(many.info.update_seq, one.update_seq);
      return one.update_seq as string;
    };
    const change = (at: number) =>
      at % 2 === 0
        ? couchOk(server, `PUT /${name}/_security`, { admins: { roles: [] }, members: { roles: [] } })
        : couchOk(server, `PUT /${name}/_revs_limit`, "900");
    const seen = new Set([await position()]);
    for (let at = 0; at < 20; at++) {
      await change(at);
      const now = await position();
      assert(!seen.has(now), `change ${at}`);
      seen.add(now);
    }
    const last = await position();
    await couchOk(server, `GET /${name}/_design/d/_view/v`);
    await couchOk(server, `PUT /${name}/_local/x`, {});
    await couchOk(server, `POST /${name}/_compact`, {});
    await couchOk(server, `POST /${name}/_compact/d`, {});
    for (let n = 0; n < 200; n++) {
      if (!(await couchOk(server, `GET /${name}`)).json.compact_running) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    for (let n = 0; n < 10; n++) assertEquals(await position(), last);
  }
});

Deno.test("a real CouchDB's database that was purged or made anew is saved in full, and a split range is no doubt", async () => {
  await using scene = await Scene.make(2);
  const ids = await scene.fill(1000);
  assertEquals((await scene.run(3)).kind, "full");
  const shards = (await couchOk(scene.server, `GET /${scene.name}/_shards`)).json.shards;
  const [range] = Object.keys(shards);
  const { status, json } = await couch(scene.server, "POST /_reshard/jobs", { type: "split", db: scene.name, range });
  assertEquals(status, 201, JSON.stringify(json));
  const job = json[0].id;
  for (let n = 0; n < 200; n++) {
    const { json: { state } } = await couchOk(scene.server, `GET /_reshard/jobs/${job}/state`);
    if (state === "completed") break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await scene.edit(ids.slice(0, 10), { edited: true });
  const split = await scene.run(4);
  assertEquals([split.error, split.kind], [undefined, "incremental"]);
  const { json: { rows } } = await couchOk(scene.server, `POST /${scene.name}/_all_docs`, { keys: [ids[500]] });
  await couchOk(scene.server, `POST /${scene.name}/_purge`, { [ids[500]!]: [rows[0].value.rev] });
  const purged = await scene.run(5);
  assertEquals(purged.kind, "full");
  assert(purged.full_because?.includes("purged"), purged.full_because);
  await couchOk(scene.server, `DELETE /${scene.name}`);
  // The time of creation is told in seconds.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  await couchOk(scene.server, `PUT /${scene.name}?q=2`);
  await scene.fill(1000);
  const anew = await scene.run(6);
  assertEquals(anew.kind, "full");
  // Before 3.3 CouchDB does not tell: there the count of its purges shows that, which has begun again.
  const { json: { version } } = await couchOk(scene.server, "GET /");
  const reason = isVersionAtLeast(version, 3, 3) ? "created again" : "purged";
  assert(anew.full_because?.includes(reason), anew.full_because);
});
