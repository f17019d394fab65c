/** The chunks, read by the command `zstd`, and files that it wrote, read by the program. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { setUpRestore } from "../commands/restore/setup.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { Increments } from "../commands/backup/increment_setup.ts";
import { couchOk } from "../couch_request.ts";
import { fill } from "../fakes/couchdb/edits.ts";
import { leafRevisionsOf } from "../read_archive.ts";

async function zstd(...args: string[]): Promise<{ code: number; stdout: string }> {
  const { code, stdout } = await new Deno.Command("zstd", { args: ["-q", ...args] }).output();
  return { code, stdout: new TextDecoder().decode(stdout) };
}

Deno.test("zstd -d reads the chunks in zstd and those in gzip, and finds their checksums right", async () => {
  await using place = await Increments.start();
  const ids = fill(place.database, 250);
  for (const [at, level] of [undefined, 1, 3, 19].entries()) {
    const codec = { compression: level === undefined ? "gzip" : "zstd", level } as const;
    const report = await place.backups.run(place.fake, { task: { codec }, day: 3 + at });
    assertEquals(report.status, "complete");
    const folder = place.backups.folder.replace("/03/", `/0${3 + at}/`);
    const { chunks } = JSON.parse(await Deno.readTextFile(join(folder, "manifest.json")));
    const found: string[] = [];
    for (const { name } of chunks) {
      const { code, stdout } = await zstd("-dc", join(folder, name));
      assertEquals(code, 0, name);
      found.push(...leafRevisionsOf(stdout).keys());
    }
    assertEquals(found.sort(), ids);
  }
});

Deno.test("restore() reads what zstd wrote, however hard it tried, and what was cut off of it not", async () => {
  await using setup = await setUpRestore();
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup zstd-" });
  const text = JSON.stringify({
    docs: Array.from({ length: 5000 }, (_, n) => ({ _id: `d${n}`, text: "x".repeat(n) })),
  });
  try {
    await Deno.writeTextFile(join(root, "file.json"), text);
    for (const [at, flags] of [["-1"], ["-19", "--no-check"], ["--ultra", "-22"], ["--long=27"]].entries()) {
      const file = join(root, `${at}.zst`);
      assertEquals((await zstd(...flags, join(root, "file.json"), "-o", file)).code, 0);
      const context = { ...setup.context, repository: undefined };
      const report = await restore(context, { database: `new${at}`, path: file });
      assertEquals([report.documents, report.ok], [5000, true], flags.join(" "));
      const { json } = await couchOk(setup.server, `GET /new${at}/d4999`);
      assertEquals(json.text.length, 4999);
      const bytes = await Deno.readFile(file);
      await Deno.writeFile(file, bytes.subarray(0, -5));
      const error = await restore(context, { database: `cut${at}`, path: file }).catch((error) => error);
      assert(/damaged: It ends before its end/.test(error.message), `${error}`);
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
