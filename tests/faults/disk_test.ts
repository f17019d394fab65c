/**
 * The disk of a bucket folder fails: full at each size, out of inodes, read-only or unmounted from each step on, beyond
 * its quota, broken. As root on Linux the disk is a real one, a small tmpfs; elsewhere the file system's errors are
 * made.
 */
import { writePart } from "../../src/store/directory/calls.ts";
import { DirectoryStore, type DirectoryStoreOptions } from "../../src/store/directory/store.ts";
import type { Store } from "../../src/store/store.ts";
import { judgeBackup } from "./backup_case.ts";
import { Program } from "./program.ts";
import { makeFolder, openSource } from "./scene.ts";
import { SteppedStore } from "./stepped_store.ts";
import { sweep, type Verdict } from "./sweep.ts";

const PAGE_BYTES = 4096;
/** A page or two inodes more, from one case to the next. */
const SIZES = 16;

async function command(name: string, ...args: string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(name, { args, stdout: "null", stderr: "null" }).output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function mustDo(name: string, ...args: string[]): Promise<void> {
  if (!await command(name, ...args)) throw new Error(`${name} ${args.join(" ")} fails`);
}

let mounting: Promise<boolean> | undefined;

/** Whether file systems can be mounted here. */
function canMount(): Promise<boolean> {
  return mounting ??= (async () => {
    const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-mount-" });
    const can = await command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder);
    if (can) await mustDo("umount", folder);
    await Deno.remove(folder);
    const how = can ? "a tmpfs is mounted" : "no file system can be mounted here: its errors are made";
    Deno.stdout.writeSync(new TextEncoder().encode(`faults of the disk: ${how}\n`));
    return can;
  })();
}

interface DiskCase {
  /** Makes the disk at `${folder}/bucket`, which is empty. */
  mount(bucket: string): Promise<void>;
  /** What the run writes to; may fail at a step. */
  open(bucket: string, failed: () => void, stateFolder: string): Store;
  /** The disk is as it should be. */
  mend(bucket: string): Promise<void>;
}

async function tryDisk({ mount, open, mend }: DiskCase): Promise<Verdict & { steps: number }> {
  const source = await openSource();
  const folder = await makeFolder();
  const bucket = `${folder}/bucket`;
  await Deno.mkdir(bucket);
  let isMounted = false;
  try {
    await mount(bucket);
    isMounted = await canMount();
    for (const [path, bytes] of source.earlier) {
      await Deno.mkdir(`${folder}${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      await Deno.writeFile(folder + path, bytes);
    }
    // An earlier run has noted on this machine that the folder was there.
    const stateFolder = `${folder}/state`;
    await new DirectoryStore(bucket, { stateFolder }).replace("_store/noted", new Uint8Array());
    let isMet = false;
    const store = open(bucket, () => isMet = true, stateFolder);
    const first = await new Program({ couch: source.server, store }).backup();
    await mend(bucket);
    const resume = () =>
      new Program({ couch: source.server, store: new DirectoryStore(bucket) }).backup({ resume: true });
    isMet ||= first.exit !== 0;
    const verdict = await judgeBackup({ source, folder, before: source.earlier, first, isMet, resume });
    return { ...verdict, steps: store instanceof SteppedStore ? store.steps.length : 0 };
  } finally {
    if (isMounted) await command("umount", "-l", bucket);
    await Deno.remove(folder, { recursive: true });
  }
}

/** What the earlier backup takes of a tmpfs, where folders take no page. */
async function taken(): Promise<{ pages: number; inodes: number }> {
  const { earlier } = await openSource();
  const pages = [...earlier.values()].reduce((sum, bytes) => sum + Math.ceil(bytes.length / PAGE_BYTES), 0);
  const folders = [...earlier.keys()].flatMap((path) =>
    path.split("/").map((_, depth, parts) => parts.slice(0, depth).join("/"))
  );
  return { pages, inodes: new Set(folders).size + earlier.size };
}

/** An error of the file system, as node:fs throws it. */
function fileError(code: string): Error {
  return Object.assign(new Error(`${code}: made by a test, write`), { code });
}

/** Writes that fail: the `place`-th one, or all from it on. */
function failingWrites(
  code: string,
  { place, forGood, failed }: { place: number; forGood: boolean; failed: () => void },
): DirectoryStoreOptions {
  let writes = 0;
  return {
    write(file, bytes, start) {
      const number = ++writes;
      if (number < place || (number > place && !forGood)) return writePart(file, bytes, start);
      failed();
      throw fileError(code);
    },
  };
}

function limited(name: "disk-full" | "out-of-inodes"): void {
  sweep({
    subject: "folder backup",
    fault: name,
    places: () => SIZES,
    async attempt(place) {
      const can = await canMount();
      const { pages, inodes } = await taken();
      const limit = name === "disk-full" ? `size=${(pages + place) * PAGE_BYTES}` : `nr_inodes=${inodes + 2 * place}`;
      return await tryDisk({
        mount: async (bucket) => void (can && await mustDo("mount", "-t", "tmpfs", "-o", limit, "tmpfs", bucket)),
        open: (bucket, failed) =>
          new DirectoryStore(bucket, can ? {} : failingWrites("ENOSPC", { place, forGood: true, failed })),
        mend: async (bucket) => {
          if (can) await mustDo("mount", "-o", "remount,size=64m,nr_inodes=9999", bucket);
        },
      });
    },
  });
}

limited("disk-full");
limited("out-of-inodes");

/** The disk is `read-only` or `unmounted` from a step on. */
function lost(name: "read-only" | "unmounted"): void {
  const attempt = async (place: number) => {
    const can = await canMount();
    let behind: string | undefined;
    return await tryDisk({
      mount: async (bucket) => {
        if (!can) return;
        behind = `${bucket}-disk`;
        await Deno.mkdir(behind);
        await mustDo("mount", "--bind", behind, bucket);
      },
      open: (bucket, failed, stateFolder) => {
        const code = name === "read-only" ? "EROFS" : "ENOENT";
        const failing = can ? {} : failingWrites(code, { place, forGood: true, failed });
        const store = new DirectoryStore(bucket, { stateFolder, ...failing });
        return new SteppedStore(store, {
          before: async (number) => {
            if (number !== place || !can) return;
            failed();
            if (name === "unmounted") await mustDo("umount", "-l", bucket);
            else await mustDo("mount", "-o", "remount,bind,ro", bucket);
          },
        });
      },
      mend: async (bucket) => {
        if (!can) return;
        if (name === "read-only") await mustDo("mount", "-o", "remount,bind,rw", bucket);
        else if (!await command("mountpoint", "-q", bucket)) await mustDo("mount", "--bind", behind!, bucket);
      },
    });
  };
  sweep({
    subject: "folder backup",
    fault: name,
    places: async () => (await attempt(Number.MAX_SAFE_INTEGER)).steps,
    attempt,
  });
}

lost("read-only");
lost("unmounted");

for (const [name, code, forGood] of [["over-quota", "EDQUOT", true], ["broken-once", "EIO", false]] as const) {
  let counted: Promise<number> | undefined;
  const count = async () => {
    let writes = 0;
    const folder = await makeFolder();
    const { server } = await openSource();
    const store = new DirectoryStore(`${folder}/bucket`, {
      write: (file, bytes, start) => (writes++, writePart(file, bytes, start)),
    });
    await new Program({ couch: server, store }).backup();
    await Deno.remove(folder, { recursive: true });
    return writes;
  };
  sweep({
    subject: "folder backup",
    fault: name,
    places: () => counted ??= count(),
    attempt: (place) =>
      tryDisk({
        mount: () => Promise.resolve(),
        open: (bucket, failed) => new DirectoryStore(bucket, failingWrites(code, { place, forGood, failed })),
        mend: () => Promise.resolve(),
      }),
  });
}
