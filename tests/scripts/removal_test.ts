/** What the packages' scripts leave behind when the package is removed, run below a folder in place of the root. */
import { assertEquals } from "@std/assert";
import { dirname } from "node:path";

const SCRIPTS: [file: string, argument: string][] = [
  ["scripts/packaging/deb/postrm", "purge"],
  ["scripts/packaging/rpm/postremove", "0"],
];

for (const [file, argument] of SCRIPTS) {
  Deno.test(`${file} takes the notes of bucket folders, and no backup in the state folder`, async () => {
    const root = await Deno.makeTempDir({ prefix: "couchdb-backup-removal-" });
    try {
      // Nothing of this machine is to be changed.
      const stubs = ["deb-systemd-helper", "systemctl", "userdel"].map((name) => `alias ${name}=:\n`).join("");
      const script = stubs +
        (await Deno.readTextFile(file)).replaceAll(/(?<=[ "])\/(?=(?:var|etc|run)\/)/g, `${root}/`);
      const removed = async (...places: string[]) => {
        for (const place of places) {
          await Deno.mkdir(dirname(`${root}${place}`), { recursive: true });
          await Deno.writeTextFile(`${root}${place}`, "");
        }
        const { code, stderr } = await new Deno.Command("sh", { args: ["-c", script, file, argument] }).output();
        assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
        const left = [];
        for (const place of places) if (await Deno.lstat(`${root}${place}`).catch(() => undefined)) left.push(place);
        return left;
      };
      const note = "/var/lib/couchdb-backup/buckets/0123456789abcdef.json";
      // Of a check that was killed.
      const left = "/var/lib/couchdb-backup/buckets/check-0b2e.tmp";
      // Of the program, called by hand as the service's user.
      const byHand = "/var/lib/couchdb-backup/.local/state/couchdb-backup/buckets/0123456789abcdef.json";
      const cached = "/var/cache/couchdb-backup/gen/main.js";
      assertEquals(await removed(note, left, byHand, cached), []);
      assertEquals(await Deno.lstat(`${root}/var/lib/couchdb-backup`).catch(() => "gone"), "gone");
      const backups = [
        "/var/lib/couchdb-backup/backups/2026/11/28/a/manifest.json",
        "/var/lib/couchdb-backup/buckets/2026/11/28/a/manifest.json",
        "/var/lib/couchdb-backup/.local/state/backups/manifest.json",
      ];
      assertEquals(await removed(note, ...backups), backups);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  });
}

Deno.test("scripts/packaging/deb/postrm leaves the user to whom backups belong, behind a link too", async () => {
  const root = await Deno.makeTempDir({ prefix: "couchdb-backup-removal-" });
  try {
    const stubs = `alias deb-systemd-helper=: systemctl=: getent=:\nuserdel() { touch "${root}/deleted"; }\n`;
    const script = stubs +
      (await Deno.readTextFile("scripts/packaging/deb/postrm")).replaceAll(
        /(?<=[ "])\/(?=(?:var|etc|run)\/)/g,
        `${root}/`,
      );
    const isUserDeleted = async () => {
      const { code, stderr } = await new Deno.Command("sh", { args: ["-c", script, "postrm", "purge"] }).output();
      assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
      return await Deno.lstat(`${root}/deleted`).then(() => true, () => false);
    };
    await Deno.mkdir(`${root}/var/lib`, { recursive: true });
    await Deno.mkdir(`${root}/disk/backups`, { recursive: true });
    await Deno.writeTextFile(`${root}/disk/backups/manifest.json`, "");
    await Deno.symlink(`${root}/disk`, `${root}/var/lib/couchdb-backup`);
    assertEquals(await isUserDeleted(), false);
    await Deno.remove(`${root}/disk/backups`, { recursive: true });
    assertEquals(await isUserDeleted(), true);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
