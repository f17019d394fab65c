/** Complete backups of long ago, made without the program: what expire can take. */
import { join } from "node:path";
import { revision, writeArchive } from "../write_archive.ts";

/** When these objects were written. */
export const OLD: Date = new Date("2026-06-10T00:00:00Z");

/** Every file below a folder, by its path within it. */
export async function filesBelow(folder: string, path = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(folder, path))) {
    if (isDirectory) found.push(...await filesBelow(folder, join(path, name)));
    else found.push(join(path, name));
  }
  return found.sort();
}

/** Backups of some days in June: of `db` five, of `a/b` two, which is all that the task's retention keeps. */
export async function makeOldObjects(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup hostile-" });
  const backups = [...[1, 2, 3, 4, 5].map((day) => ["db", day] as const), ["a/b", 1] as const, ["a/b", 2] as const];
  for (const [database, day] of backups) {
    const folder = join(root, `p/2026/06/0${day}/s`, encodeURIComponent(database));
    const at = `2026-06-0${day}T18:04:11.000Z`;
    const run = `${day}${day}5a8fd2-8f0e-4a4e-9d3c-6a43f0c2d3f4`;
    await writeArchive(folder, {
      database,
      chunks: [{ rows: [["a", revision("a", `${day}-0123`)]] }, { rows: [["b", revision("b", `${day}-0123`)]] }],
      manifest: { run, started_at: at, finished_at: at, stored_at: at },
    });
    const name = `manifest-${at.replaceAll(/[-:]|\.\d+/g, "")}-${run.slice(0, 8)}.json`;
    await Deno.rename(join(folder, "manifest-20261125T180411Z-0b5a8fd2.json"), join(folder, name));
  }
  const objects = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const name of await filesBelow(root)) objects.set(name, await Deno.readFile(join(root, name)));
  await Deno.remove(root, { recursive: true });
  return objects;
}
