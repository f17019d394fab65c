/** The chunks, read by the commands `zstd` and `age`, and files that these wrote, read by the program. */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { seal, unseal } from "../../src/codec/age.ts";
import { parseIdentities, recipientOf } from "../../src/codec/age_header.ts";
import { setUpRestore } from "../commands/restore/setup.ts";
import { restore } from "../../src/commands/restore/restore.ts";
import { Increments } from "../commands/backup/increment_setup.ts";
import { couchOk } from "../couch_request.ts";
import { fill } from "../fakes/couchdb/edits.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, type LeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
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

async function command(name: string, ...args: string[]): Promise<Uint8Array> {
  const { code, stdout, stderr } = await new Deno.Command(name, { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return stdout;
}

Deno.test("age -d opens what seal() has sealed, with each of the identities that age-keygen made, and unseal() what age has", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup age-" });
  try {
    const keys = ["one", "two"].map((name) => join(root, name));
    for (const key of keys) await command("age-keygen", "-o", key);
    const identities = await Promise.all(keys.map(async (key) => await parseIdentities(await Deno.readTextFile(key))));
    const recipients = await Promise.all(identities.map(([identity]) => recipientOf(identity!)));
    for (const sizeBytes of [0, 1, 65_535, 65_536, 65_537, 1_000_000]) {
      const bytes = Uint8Array.from({ length: sizeBytes }, (_, at) => at ^ (at >>> 8));
      const sealed = join(root, "sealed.age");
      const pieces = seal(new Blob([bytes]).stream(), recipients);
      await Deno.writeFile(sealed, ReadableStream.from(pieces));
      for (const key of keys) assertEquals(new Uint8Array(await command("age", "-d", "-i", key, sealed)), bytes);
      await Deno.writeFile(join(root, "plain"), bytes);
      const flags = recipients.flatMap((recipient) => ["-r", recipient]);
      const theirs = await command("age", "-e", ...flags, join(root, "plain"));
      for (const mine of identities) {
        const opened = await Array.fromAsync(unseal(new Blob([Uint8Array.from(theirs)]).stream(), mine));
        assertEquals(new Uint8Array(Buffer.concat(opened)), bytes, `${sizeBytes} bytes`);
      }
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("age -d and zstd -d read the sealed chunks of a hard database and what its manifest seals", async () => {
  await using place = await Increments.start();
  const key = await Deno.makeTempFile({ prefix: "couchdb-backup-", suffix: ".key" });
  try {
    await Deno.remove(key);
    await command("age-keygen", "-o", key);
    const recipient = new TextDecoder().decode(await command("age-keygen", "-y", key)).trim();
    await seedHardDatabase(place.fake, "hard");
    for (const [at, compression] of (["gzip", "zstd"] as const).entries()) {
      const codec = { compression, recipients: [recipient] };
      const report = await place.backups.run(place.fake, {
        database: "hard",
        task: { codec, tombstones: true },
        day: 3 + at,
      });
      assertEquals(report.status, "complete");
      const folder = place.backups.folderOf("hard").replace("/03/", `/0${3 + at}/`);
      const { chunks, sealed } = JSON.parse(await Deno.readTextFile(join(folder, "manifest.json")));
      const found: LeafRevisions = new Map();
      for (const { name } of chunks) {
        const plain = join(folder, "plain");
        await Deno.writeFile(plain, await command("age", "-d", "-i", key, join(folder, name)));
        const { code, stdout } = await zstd("-dc", plain);
        assertEquals(code, 0, name);
        for (const [id, revisions] of leafRevisionsOf(stdout)) found.set(id, revisions);
      }
      const there = await readAllLeafRevisions(place.fake, "hard", { by: "_bulk_get", also: [...found.keys()] });
      assertEquals(compareLeafRevisions(there, found), []);
      await Deno.writeFile(join(folder, "sealed"), Uint8Array.fromBase64(sealed.age));
      const content = JSON.parse(
        new TextDecoder().decode(await command("age", "-d", "-i", key, join(folder, "sealed"))),
      );
      assertEquals(content.security, (await couchOk(place.fake, "GET /hard/_security")).text.trim());
    }
  } finally {
    await Deno.remove(key);
  }
});

Deno.test("restore() reads what age and zstd, or age and gzip, have written, and only with the right key", async () => {
  await using setup = await setUpRestore();
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup age-" });
  try {
    const [key, other] = [join(root, "key"), join(root, "other")];
    for (const file of [key, other]) await command("age-keygen", "-o", file);
    const recipient = new TextDecoder().decode(await command("age-keygen", "-y", key)).trim();
    const docs = Array.from({ length: 3000 }, (_, n) => ({ _id: `d${n}`, text: "x".repeat(n) }));
    await Deno.writeTextFile(join(root, "file.json"), JSON.stringify({ docs }));
    assertEquals((await zstd(join(root, "file.json"), "-o", join(root, "file.json.zst"))).code, 0);
    await Deno.writeFile(join(root, "file.json.gz"), await command("gzip", "-c", join(root, "file.json")));
    for (const [at, name] of ["file.json", "file.json.zst", "file.json.gz"].entries()) {
      await command("age", "-r", recipient, "-o", join(root, `${name}.age`), join(root, name));
      const restoreWith = async (database: string, file: string) =>
        await restore({
          ...setup.context,
          repository: undefined,
          seal: {
            identities: async () => await parseIdentities(await Deno.readTextFile(file)),
            isExpectedOf: () => false,
          },
        }, { database, path: join(root, `${name}.age`) });
      const report = await restoreWith(`new${at}`, key);
      assertEquals([report.documents, report.ok], [3000, true], name);
      const error = await restoreWith(`not${at}`, other).catch((error) => error);
      assertEquals([error.exitCode, /none of the identities opens it/.test(error.message)], [12, true], `${error}`);
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
