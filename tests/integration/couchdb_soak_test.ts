/**
 * Chance against a real CouchDB, given by COUCHDB_URL with the credentials of an administrator in it: the program backs
 * up a database that is changed between its runs, in a config by chance, and restores any backup, and is stopped or
 * killed at any moment. Every restored database is what the source was when the backup was made, leaf by leaf.
 *
 * SOAK_SEED makes the choices of one round again, as far as they do not depend on time; SOAK_SECONDS goes on for longer.
 */
import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { PERMISSIONS } from "../../scripts/run_flags.ts";
import { couch, couchOk, type CouchServer, serverOf } from "../couch_request.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { Dice } from "../hostile/dice.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";

const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));
const { SOAK_SEED, SOAK_SECONDS = "40" } = Deno.env.toObject();
/** A stopped program has three seconds for what is in flight. */
const MOST_TO_STOP_MS = 30_000;
const MOST_TO_RUN_MS = 120_000;

/** How a run of the program ended. */
interface Ended {
  /** Whether a signal came before its end. */
  isCut: boolean;
  code: number;
  stdout: string;
  stderr: string;
}

class Round implements AsyncDisposable {
  readonly #server: CouchServer;
  readonly #dice: Dice;
  readonly #name: string = `soak_${crypto.randomUUID().slice(0, 8)}`;
  readonly #root: string;
  readonly #made: string[] = [];
  readonly #tombstones: boolean;
  readonly #partitioned: boolean;
  /** What the source was, by the URL of the backup's manifest. */
  readonly #points = new Map<string, LeafRevisions>();

  constructor(server: CouchServer, seed: string, root: string) {
    this.#server = server;
    this.#dice = new Dice(seed);
    this.#root = root;
    this.#tombstones = this.#dice.oneIn(2);
    this.#partitioned = this.#dice.oneIn(3);
  }

  /** Backs up and restores some times, the first time in any case. */
  async play(untilMs: number): Promise<void> {
    const dice = this.#dice;
    await this.#seed();
    await this.#configure();
    for (let step = 0; step < 4 && (step === 0 || performance.now() < untilMs); step++) {
      if (step > 0) { for (let change = dice.pick([0, 1, 10, 40]); change > 0; change--) await this.#change(); }
      const truth = await this.#leaves(this.#name);
      const options = ["--date", dice.pick(["2026-01-03", "2026-01-04"])];
      for (let times = 0; (await this.#run("backup", options, { mayBeCut: times < 3 })).isCut; times++) {
        if (times === 0) options.push("--resume");
      }
      const { stdout } = await this.#run("list", ["--json"]);
      for (const { path, manifest } of JSON.parse(stdout).backups as { path: string; manifest: string | null }[]) {
        const point = `${path}/${manifest}`;
        if (manifest !== null && !this.#points.has(point)) this.#points.set(point, truth);
      }
      await this.#restore();
    }
    await this.#run("verify", ["--all"]);
  }

  async #seed(): Promise<void> {
    const dice = this.#dice;
    this.#made.push(this.#name);
    await seedHardDatabase(this.#server, this.#name, {
      documents: dice.pick([0, 10, 200]),
      // A document of more than a megabyte streams, in its own request.
      attachmentBytes: dice.pick([0, 1000, 4_000_000]),
      partitioned: this.#partitioned,
      validation: dice.oneIn(2),
    });
  }

  async #configure(): Promise<void> {
    const dice = this.#dice;
    const { url, login, password } = this.#server;
    const task = {
      databases: [this.#name],
      timezone: "UTC",
      incremental: !dice.oneIn(3),
      tombstones: this.#tombstones,
      compression: dice.pick(["gzip", "zstd"]),
      parallel: dice.pick([1, 4, 16]),
      ...dice.oneIn(2) ? { chunk: dice.pick([1, 7, 100]) } : {},
      ...dice.oneIn(3) ? { chunk_bytes: 65_536 } : {},
    };
    const config = { database: { url, login, password }, task: { t: task }, bucket: `${this.#root}/bucket` };
    await Deno.mkdir(config.bucket);
    await Deno.writeTextFile(`${this.#root}/cfg.yaml`, JSON.stringify(config));
  }

  /** A new document, an edit, a deletion or a conflict. */
  async #change(): Promise<void> {
    const dice = this.#dice;
    const { json } = await couchOk(this.#server, `GET /${this.#name}/_all_docs?endkey="_design"`);
    const rows = json.rows as { id: string; value: { rev: string } }[];
    const body = { value: dice.value(), text: dice.text().toWellFormed() };
    const kind = rows.length === 0 ? 0 : dice.below(4);
    if (kind === 0) {
      const id = `${this.#partitioned ? "part:" : ""}new-${dice.below(1000)}`;
      await this.#write({ _id: id, ...body });
      return;
    }
    const { id, value: { rev } } = dice.pick(rows);
    if (kind === 1) await this.#write({ _id: id, _rev: rev, ...body });
    else if (kind === 2) await this.#write({ _id: id, _rev: rev, _deleted: true });
    else {
      const hash = dice.below(2 ** 32).toString(16).padStart(32, "0");
      const conflict = { _id: id, _rev: `2-${hash}`, _revisions: { start: 2, ids: [hash, "a".repeat(32)] }, ...body };
      await this.#write(conflict, false);
    }
  }

  async #write(document: Record<string, unknown>, newEdits = true): Promise<void> {
    const body = { docs: [document], new_edits: newEdits };
    // What CouchDB refuses, such as half a surrogate pair, changes nothing.
    await couch(this.#server, `POST /${this.#name}/_bulk_docs`, body);
  }

  async #leaves(name: string): Promise<LeafRevisions> {
    const live = new Set((await couchOk(this.#server, `GET /${encodeURIComponent(name)}/_all_docs`)).json.rows.map(
      ({ id }: { id: string }) => id,
    ));
    const { json } = await couchOk(this.#server, `GET /${encodeURIComponent(name)}/_changes`);
    const listed = (json.results as { id: string }[]).map(({ id }) => id);
    const also = this.#tombstones ? listed.filter((id) => !live.has(id)) : [];
    return await readAllLeafRevisions(this.#server, name, { by: "_bulk_get", also });
  }

  async #restore(): Promise<void> {
    const [path, truth] = this.#dice.pick([...this.#points]);
    const name = `${this.#name}_restored${this.#made.length}`;
    this.#made.push(name);
    const options = [name, path];
    for (let times = 0; (await this.#run("restore", options, { mayBeCut: times < 3 })).isCut; times++) {
      if (times === 0) options.push("--into-existing");
    }
    assertEquals(compareLeafRevisions(truth, await this.#leaves(name)), [], path);
  }

  /** Runs a command to its end, or until a signal comes at any moment. Where none came it must end well. */
  async #run(command: string, options: readonly string[], { mayBeCut = false } = {}): Promise<Ended> {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", ...PERMISSIONS, MAIN, command, ...options, "--config", "cfg.yaml"],
      cwd: this.#root,
      env: { XDG_STATE_HOME: this.#root },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const output = child.output();
    const dice = this.#dice;
    const signal = dice.pick(["SIGKILL", "SIGTERM"] as const);
    const cut = mayBeCut && dice.oneIn(2)
      ? await this.#cut(child, { output, signal, afterMs: dice.below(2500) })
      : false;
    const { code, stdout, stderr } = await within(output, cut ? MOST_TO_STOP_MS : MOST_TO_RUN_MS, child);
    const ended = {
      isCut: cut && code !== 0,
      code,
      stdout: new TextDecoder().decode(stdout),
      stderr: new TextDecoder().decode(stderr),
    };
    // 130 where it was asked to stop, 128 and more where the signal ended it.
    if (!ended.isCut || code < 128) assertEquals(code, 0, `${command} ${options.join(" ")}:\n${ended.stderr}`);
    return ended;
  }

  /** @returns Whether the signal came before its end. */
  async #cut(
    child: Deno.ChildProcess,
    { output, signal, afterMs }: { output: Promise<unknown>; signal: Deno.Signal; afterMs: number },
  ): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const time = new Promise<true>((resolve) => timer = setTimeout(() => resolve(true), afterMs));
    const isRunning = await Promise.race([time, output.then(() => false)]);
    clearTimeout(timer);
    if (isRunning) child.kill(signal);
    return isRunning;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#made) await couch(this.#server, `DELETE /${encodeURIComponent(name)}`);
    await Deno.remove(this.#root, { recursive: true });
  }
}

/** What a process puts out, which must end in time. */
async function within<T>(output: Promise<T>, mostMs: number, child: Deno.ChildProcess): Promise<T> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill("SIGKILL");
  }, mostMs);
  try {
    const ended = await output;
    if (isLate) throw new Error(`The program did not end within ${mostMs / 1000} s`);
    return ended;
  } finally {
    clearTimeout(timer);
  }
}

Deno.test("what is saved of a real CouchDB by chance, with kills, is restored as it was", async () => {
  const url = Deno.env.get("COUCHDB_URL") ?? "";
  if (url === "") throw new Error("COUCHDB_URL is not set, as http://admin:secret@127.0.0.1:5984");
  const untilMs = performance.now() + Number(SOAK_SECONDS) * 1000;
  const first = Number(SOAK_SEED ?? Date.now());
  for (let seed = first; seed === first || performance.now() < untilMs; seed++) {
    await using round = new Round(
      serverOf(url),
      String(seed),
      await Deno.makeTempDir({ prefix: "couchdb-backup soak-" }),
    );
    try {
      await round.play(untilMs);
    } catch (error) {
      throw new Error(`The round of SOAK_SEED=${seed} has failed`, { cause: error });
    }
  }
});
