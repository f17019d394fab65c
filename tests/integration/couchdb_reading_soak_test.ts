/**
 * Chance against a real CouchDB, given by COUCHDB_URL with the credentials of an administrator in it: what `export`,
 * `show`, `find`, `diff` and `restore --id` say of any backup, held against what CouchDB had when it was made. Two tasks
 * save the same databases, one of them with all tombstones, over some days.
 *
 * SOAK_SEED makes the choices of one round again; SOAK_SECONDS goes on for longer.
 */
import { assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import type { ListedBackup } from "../../src/commands/list.ts";
import { parseConfig } from "../../src/config/config.ts";
import { SILENT_LOG } from "../../src/observe.ts";
import { openSession } from "../../src/session/open.ts";
import type { Session } from "../../mod.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { membersOf } from "../fakes/couchdb/json_text.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { Dice } from "../hostile/dice.ts";
import { readAllLeafRevisions } from "../leaf_revisions.ts";

const { SOAK_SEED, SOAK_SECONDS = "20" } = Deno.env.toObject();
const CHECKS_A_STEP = 20;

/** A document as CouchDB has it. */
interface Document {
  /** The text of each leaf revision, by the revision. */
  texts: Map<string, string>;
  deleted: Set<string>;
  /** As CouchDB says it. */
  winner: string;
  isLive: boolean;
}

/** By id. */
type State = Map<string, Document>;

/** A backup, and what it must hold. */
interface Point extends ListedBackup {
  content: State;
}

class Round implements AsyncDisposable {
  readonly #server: CouchServer;
  readonly #dice: Dice;
  readonly #root: string;
  readonly #names: string[];
  readonly #made: string[] = [];
  readonly #living = new Map<string, State>();
  readonly #points: Point[] = [];
  /** By task and database, all that was there when it was saved last. */
  readonly #saved = new Map<string, { whole: State; content: State }>();
  #now = new Date("2026-01-03T02:00:00Z");

  constructor(server: CouchServer, seed: string, root: string) {
    this.#server = server;
    this.#dice = new Dice(seed);
    this.#root = root;
    const name = `soak_${crypto.randomUUID().slice(0, 8)}`;
    this.#names = [name, `${name}/a+b`];
  }

  async play(untilMs: number): Promise<void> {
    for (const name of this.#names) {
      this.#made.push(name);
      await seedHardDatabase(this.#server, name, { documents: 10 });
      this.#living.set(name, await this.#read(name));
    }
    await using session = await this.#open();
    for (let step = 0; step < 4 && (step === 0 || performance.now() < untilMs); step++) {
      for (const name of this.#names) {
        for (let change = this.#dice.pick([0, 3, 20]); change > 0; change--) await this.#change(name);
        this.#living.set(name, await this.#read(name));
      }
      await this.#backUp(session);
      for (let check = 0; check < CHECKS_A_STEP; check++) await this.#check(session);
    }
  }

  async #open(): Promise<Session> {
    const dice = this.#dice;
    const { url, login, password } = this.#server;
    const task = (tombstones: boolean) => ({
      databases: this.#names.map((name) => name.replaceAll("+", "\\+")),
      timezone: "UTC",
      incremental: true,
      max_increments: dice.pick([1, 14]),
      tombstones,
      compression: dice.pick(["gzip", "zstd"]),
      ...dice.oneIn(2) ? { chunk: dice.pick([3, 20]) } : {},
    });
    const config = {
      database: { url, login, password },
      task: { all: task(true), live: task(false) },
      bucket: pathToFileURL(`${this.#root}/bucket`).href,
    };
    const env = { XDG_STATE_HOME: this.#root };
    return await openSession({
      config: parseConfig(JSON.stringify(config), { file: "cfg.yaml", env }),
      log: SILENT_LOG,
      now: () => this.#now,
    });
  }

  /** An edit, a deletion or a conflict of a document that may be new; what CouchDB refuses changes nothing. */
  async #change(name: string): Promise<void> {
    const dice = this.#dice;
    const known = [...this.#living.get(name)!];
    const [id, document] = dice.oneIn(4) ? [`new ${dice.below(20)}`, undefined] : dice.pick(known);
    const rev = document === undefined ? undefined : dice.pick([...document.texts.keys()]);
    // What is larger than four megabytes streams by, and one megabyte has a request of its own.
    const size = dice.oneIn(15) ? dice.pick([1_500_000, 5_000_000]) : dice.below(200);
    const text = Array.from({ length: size / 8 }, () => dice.below(2 ** 32).toString(16)).join("");
    const body = { value: dice.value(), text, ...dice.oneIn(3) ? { _deleted: true } : {} };
    const made = `${1 + dice.below(4)}-${
      dice.oneIn(2) ? dice.pick(["b", "abc", "0b"]) : dice.below(2 ** 32).toString(16).padStart(8, "0").repeat(4)
    }`;
    const change = dice.oneIn(2)
      ? { new_edits: false, docs: [{ _id: id, _rev: made, ...body }] }
      : { docs: [{ _id: id, ...rev === undefined ? {} : { _rev: rev }, ...body }] };
    await couch(this.#server, `POST /${encodeURIComponent(name)}/_bulk_docs`, change);
  }

  async #read(name: string): Promise<State> {
    const path = `/${encodeURIComponent(name)}`;
    const { json } = await couchOk(this.#server, `GET ${path}/_changes?style=all_docs`);
    const rows = json.results as { id: string; changes: { rev: string }[]; deleted?: true }[];
    const also = rows.filter(({ deleted }) => deleted).map(({ id }) => id);
    const all = await readAllLeafRevisions(this.#server, name, { by: "_bulk_get", also });
    return new Map(rows.map(({ id, changes, deleted }) => {
      const texts = all.get(id)!;
      const isDeleted = ([, text]: [string, string]) => new Map(membersOf(text)).get("_deleted") === "true";
      const marks = new Set([...texts].filter(isDeleted).map(([rev]) => rev));
      return [id, { texts, deleted: marks, winner: changes[0]!.rev, isLive: deleted !== true }];
    }));
  }

  async #backUp(session: Session): Promise<void> {
    this.#now = new Date(this.#now.getTime() + this.#dice.pick([1000, 3_600_000, 86_400_000]));
    assertEquals((await session.backup({ full: this.#dice.oneIn(5) })).ok, true);
    const known = new Set(this.#points.map(({ restore_path }) => restore_path));
    const fresh = (await session.list()).backups.filter(({ restore_path }) => !known.has(restore_path));
    assertEquals(fresh.length, 2 * this.#names.length);
    for (const backup of fresh) {
      const { database, task, kind } = backup;
      const whole = this.#living.get(database)!;
      const before = this.#saved.get(`${task} ${database}`);
      const isChanged = ([id, { texts }]: [string, Document]) => !isSame(texts, before?.whole.get(id)?.texts);
      const content = kind === "full"
        ? new Map([...whole].filter(([, { isLive }]) => isLive || task === "all"))
        : new Map([...before!.content, ...[...whole].filter(isChanged)]);
      this.#saved.set(`${task} ${database}`, { whole, content });
      this.#points.push({ ...backup, content });
    }
    this.#points.sort((a, b) => a.finished_at! < b.finished_at! ? -1 : 1);
  }

  async #check(session: Session): Promise<void> {
    const dice = this.#dice;
    const point = dice.pick(this.#points);
    const others = this.#points.filter(({ database }) => database === point.database);
    const id = dice.pick([...dice.pick(others).content.keys(), "never"]);
    const what = `${point.restore_path} ${JSON.stringify(id.slice(0, 80))}`;
    switch (dice.below(5)) {
      case 0:
        return await this.#export(session, point, what);
      case 1:
        return await this.#show(session, { point, id }, what);
      case 2:
        return await this.#find(session, { points: others, id }, what);
      case 3:
        return await this.#diff(session, { from: point, to: dice.pick(others) }, what);
      default:
        return await this.#restore(session, { point, id }, what);
    }
  }

  async #export(session: Session, { database, restore_path, content }: Point, what: string): Promise<void> {
    const winners = this.#dice.oneIn(2);
    const { sink, text } = collector();
    await session.export({ database, path: restore_path!, winners }, sink);
    const texts = [...content.values()].flatMap(({ texts, winner, isLive }) =>
      !winners ? [...texts.values()] : isLive ? [texts.get(winner)!] : []
    );
    assertEquals(text().split("\n").slice(0, -1).sort(), texts.sort(), `export ${what} ${winners}`);
  }

  async #show(session: Session, { point, id }: { point: Point; id: string }, what: string): Promise<void> {
    const { database, restore_path: path, content } = point;
    const document = content.get(id);
    const { sink, text } = collector();
    const shown = session.show({ database, path: path!, id }, sink);
    if (document === undefined) return void assertEquals(await shown.catch((error) => error.exitCode), 12, what);
    const { rev, deleted, leaves } = await shown;
    assertEquals([rev, deleted], [document.winner, !document.isLive], `show ${what}`);
    assertEquals(sorted(leaves), leavesOf(document), `show ${what}`);
    assertEquals(text(), `${document.texts.get(rev)}\n`, `show ${what}`);
  }

  async #find(session: Session, { points, id }: { points: Point[]; id: string }, what: string): Promise<void> {
    const states: {
      rev: string | null;
      deleted: boolean;
      leaves: object[];
      since: string;
      until: string;
      backups: number;
    }[] = [];
    for (const { content, finished_at } of points) {
      const document = content.get(id);
      const leaves = document === undefined ? [] : leavesOf(document);
      const last = states.at(-1);
      const at = finished_at!;
      if (last !== undefined && JSON.stringify(last.leaves) === JSON.stringify(leaves)) {
        last.until = at;
        last.backups++;
      } else {
        const { winner: rev = null, isLive = true } = document ?? {};
        states.push({ rev, deleted: !isLive, leaves, since: at, until: at, backups: 1 });
      }
    }
    const found = await session.find({ database: points[0]!.database, id });
    assertEquals([found.states, found.problems], [states.reverse(), []], `find ${what}`);
  }

  async #diff(session: Session, { from, to }: { from: Point; to: Point }, what: string): Promise<void> {
    const isLive = this.#dice.oneIn(2);
    const after = isLive ? this.#living.get(from.database)! : to.content;
    const path = isLive ? "live" : to.restore_path!;
    const found = await session.diff({ database: from.database, from: from.restore_path!, to: path });
    const ids = [...new Set([...from.content.keys(), ...after.keys()])].sort();
    const kindOf = (id: string) => {
      const [was, is] = [from.content.get(id), after.get(id)].map((one) => one?.isLive ? one : undefined);
      if (was === undefined || is === undefined) return was === is ? "equal" : was === undefined ? "added" : "deleted";
      return JSON.stringify(leavesOf(was)) === JSON.stringify(leavesOf(is)) ? "equal" : "changed";
    };
    for (const kind of ["added", "changed", "deleted"] as const) {
      assertEquals(found[kind].ids.toSorted(), ids.filter((id) => kindOf(id) === kind), `diff ${what} ${path} ${kind}`);
      assertEquals(found[kind].count, found[kind].ids.length);
    }
  }

  async #restore(session: Session, { point, id }: { point: Point; id: string }, what: string): Promise<void> {
    const name = `${this.#names[0]}_restored${this.#made.length}`;
    this.#made.push(name);
    const report = await session.restore({ database: name, path: point.restore_path!, ids: [id] });
    const document = point.content.get(id);
    assertEquals(report.not_found, document === undefined ? [id] : [], `restore ${what}`);
    assertEquals((await this.#read(name)).get(id)?.texts, document?.texts, `restore ${what}`);
    await couchOk(this.#server, `DELETE /${name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#made) await couch(this.#server, `DELETE /${encodeURIComponent(name)}`);
    await Deno.remove(this.#root, { recursive: true });
  }
}

function isSame(a: Map<string, string>, b: Map<string, string> | undefined): boolean {
  return a.size === b?.size && [...a].every(([rev, text]) => b.get(rev) === text);
}

function sorted<L extends { rev: string }>(leaves: readonly L[]): L[] {
  return leaves.toSorted((a, b) => a.rev < b.rev ? -1 : 1);
}

function leavesOf({ texts, deleted }: Document): { rev: string; deleted: boolean }[] {
  return sorted([...texts.keys()].map((rev) => ({ rev, deleted: deleted.has(rev) })));
}

function collector() {
  const decoder = new TextDecoder();
  let text = "";
  const sink = (bytes: Uint8Array) => {
    text += decoder.decode(bytes, { stream: true });
    return Promise.resolve(true);
  };
  return { sink, text: () => text };
}

Deno.test("what is read of backups of a real CouchDB is what it had when they were made, by chance", async () => {
  const url = Deno.env.get("COUCHDB_URL") ?? "";
  if (url === "") throw new Error("COUCHDB_URL is not set, as http://admin:secret@127.0.0.1:5984");
  const untilMs = performance.now() + Number(SOAK_SECONDS) * 1000;
  const first = Number(SOAK_SEED ?? Date.now());
  for (let seed = first; seed === first || performance.now() < untilMs; seed++) {
    const root = await Deno.makeTempDir({ prefix: "couchdb-backup soak-" });
    await using round = new Round(serverOf(url), String(seed), root);
    try {
      await round.play(untilMs);
    } catch (error) {
      throw new Error(`The round of SOAK_SEED=${seed} has failed`, { cause: error });
    }
  }
});
