/**
 * A power cut at any moment of storing a small backup into a folder: what surely is on the disk is told by the syncs that
 * have ended, what may be there is all that has a name. Whichever of it is there, a backup is whole or none.
 */
import { assert, assertEquals } from "@std/assert";
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { MANIFEST_NAME, parseChunkName } from "../../../src/archive/layout.ts";
import { Repository } from "../../../src/archive/repository.ts";
import type { Run } from "../../../src/commands/backup/context.ts";
import { finishBackup } from "../../../src/commands/backup/finish.ts";
import { sync, writePart } from "../../../src/store/directory/calls.ts";
import { DirectoryStore } from "../../../src/store/directory/store.ts";
import { chunk, FOLDER, origin } from "../../archive/folder_setup.ts";
import { RecordedLog } from "../../fakes/log.ts";
import { until } from "../../until.ts";

const RUN = "0b5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4";
const CATALOG = "_catalog/a%2Fb";
const CHUNK = chunk(0).name;

/** What surely is on the disk of a bucket folder. */
class Disk {
  readonly root: string;
  /** The files whose bytes are there, by their inodes. */
  readonly #files = new Set<number>();
  /** A folder -> the names in it that are there -> the inodes that they stand for. */
  readonly #names = new Map<string, Map<string, number>>();

  constructor(root: string) {
    this.root = root;
  }

  /** What a sync that begins now puts on the disk; the answer does it. */
  takeAlong(file: number): () => void {
    const info = fs.fstatSync(file);
    if (!info.isDirectory()) return () => this.#files.add(info.ino);
    const folder = [dirname(this.root), ...this.#folders()].find((path) => fs.statSync(path).ino === info.ino);
    assert(folder !== undefined, "a folder is synced that is not there");
    const names = new Map(fs.readdirSync(folder).map((name) => [name, fs.lstatSync(join(folder, name)).ino]));
    return () => this.#names.set(folder, names);
  }

  /** Whether an object is there, whole and under its name, whatever else is. */
  has(key: string): boolean {
    const path = join(this.root, key);
    const { ino } = fs.statSync(path);
    if (!this.#files.has(ino) || this.#names.get(dirname(path))?.get(basename(path)) !== ino) return false;
    for (let folder = dirname(path); folder !== this.root; folder = dirname(folder)) {
      if (this.#names.get(dirname(folder))?.has(basename(folder)) !== true) return false;
    }
    return true;
  }

  /** Fails where a power cut at this moment could leave half of something. */
  look(moment: string): void {
    for (const folder of this.#folders()) {
      for (const { name, isFile } of fs.readdirSync(folder, { withFileTypes: true }).map(described)) {
        if (!isFile || name.startsWith(".couchdb-backup")) continue;
        const path = join(folder, name);
        assert(this.#files.has(fs.statSync(path).ino), `${moment}: "${path}" has its name before its bytes`);
        if (!name.startsWith("manifest-")) continue;
        assert(this.has(`${FOLDER}/${CHUNK}`), `${moment}: there is a manifest, and maybe no chunk`);
        const entries = fs.readdirSync(join(this.root, CATALOG)).filter((name) => !name.startsWith("."));
        assert(
          entries.some((name) => this.has(`${CATALOG}/${name}`)),
          `${moment}: there is a manifest, and maybe no entry`,
        );
      }
    }
  }

  #folders(above = this.root): string[] {
    const below = fs.readdirSync(above, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [above, ...below.flatMap(({ name }) => this.#folders(join(above, name)))];
  }
}

function described(entry: fs.Dirent): { name: string; isFile: boolean } {
  return { name: entry.name, isFile: entry.isFile() };
}

/** Stores a backup of one chunk. */
async function store(store: DirectoryStore): Promise<void> {
  assert(parseChunkName(CHUNK) !== undefined);
  const body = (async function* () {
    yield await Promise.resolve(new Uint8Array(5));
  })();
  await store.create([`${FOLDER}/${CHUNK}`], body, { kind: "chunk" });
  const repository = new Repository(store, { prefix: "", suffix: "" });
  const { signal } = new AbortController();
  const now = () => new Date("2026-01-03T18:05:00.200Z");
  await finishBackup({ repository, now, signal, log: new RecordedLog() } as unknown as Run, {
    origin: origin(RUN),
    date: { year: 2026, month: 1, day: 3 },
    folder: FOLDER,
    updateSeq: { start: "1-x", end: "1-x" },
    feed: { since: "0", until: "1-x" },
    unreadable: [],
    chunks: [chunk(0)],
    manifests: [],
  });
}

/** Stores one on a disk of which the `slow`-th sync takes long. @returns How many syncs there were. */
async function storeOn(slow: number): Promise<number> {
  const above = await Deno.makeTempDir({ prefix: "couchdb-backup power-" });
  try {
    const root = join(above, "bucket");
    await Deno.mkdir(root);
    const disk = new Disk(root);
    let syncs = 0;
    const met = new DirectoryStore(root, {
      sync: async (file) => {
        const number = ++syncs;
        disk.look(`sync ${number} begins`);
        const end = disk.takeAlong(file);
        await new Promise((resolve) => setTimeout(resolve, number === slow ? 30 : 0));
        await sync(file);
        end();
        disk.look(`sync ${number} has ended`);
      },
      write: async (file, bytes, start) => {
        disk.look("a write");
        return await writePart(file, bytes, start);
      },
      link: async (existing, name) => {
        await Deno.link(existing, name);
        disk.look(`"${basename(name)}" is named`);
      },
    });
    await store(met);
    disk.look("the end");
    const manifest = fs.readdirSync(join(root, FOLDER)).find((name) => name.startsWith("manifest-"));
    assertEquals([CHUNK, manifest!, MANIFEST_NAME].filter((name) => !disk.has(`${FOLDER}/${name}`)), []);
    return syncs;
  } finally {
    await Deno.remove(above, { recursive: true });
  }
}

Deno.test("a backup in a folder is whole or none after a power cut at any moment, whichever sync is slow", async () => {
  const syncs = await storeOn(0);
  for (let slow = 1; slow <= syncs; slow++) await storeOn(slow);
});

Deno.test("finishBackup() has entry, manifest, copy and the names before them on their way to the disk at the same time", async () => {
  const above = await Deno.makeTempDir({ prefix: "couchdb-backup side by side-" });
  try {
    const held: (() => void)[] = [];
    let files = 0;
    const folders = new Set<number>();
    const root = join(above, "bucket");
    const met = new DirectoryStore(root, {
      sync: async (file) => {
        const info = fs.fstatSync(file);
        if (info.isDirectory()) return void folders.add(info.ino);
        // The first one is the chunk's.
        if (++files > 1) await new Promise<void>((resolve) => held.push(resolve));
      },
    });
    const stored = store(met);
    await until(() => held.length === 3, "three files are synced at a time", 10_000);
    const hasBegun = (folder: string) => folders.has(fs.statSync(join(root, folder)).ino);
    await until(() => hasBegun(FOLDER) && hasBegun("_catalog"), "and the folders of chunk and catalog", 10_000);
    for (const release of held) release();
    await stored;
    assertEquals(files, 4);
  } finally {
    await Deno.remove(above, { recursive: true });
  }
});
