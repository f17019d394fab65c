/**
 * deb and rpm as their users have them: built, installed on a spare machine, run whole, upgraded, removed, purged.
 * Wants Go (nfpm), what scripts/ci/packages.sh, systemd.sh and qemu.sh install, root, and a kernel with overlayfs.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { maintainerOf } from "../../scripts/packaging/maintainer.ts";
import { ARCHITECTURES } from "../../scripts/runtime.ts";
import { VERSION } from "../../src/version.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import type { CouchServer } from "../couch_request.ts";
import { seedHardDatabase } from "../hard_database.ts";
import { compareLeafRevisions, readAllLeafRevisions } from "../leaf_revisions.ts";
import { SpareMachine } from "../spare_machine.ts";

const FOLDER = "dist/packages";
const DEB = `${FOLDER}/couchdb-backup_${VERSION}-1_amd64.deb`;
const RPM = `${FOLDER}/couchdb-backup-${VERSION}-1.x86_64.rpm`;
const UNITS = [
  "couchdb-backup-expire.service",
  "couchdb-backup-expire.timer",
  "couchdb-backup-failed@.service",
  "couchdb-backup.service",
  "couchdb-backup@.service",
  "couchdb-backup@.timer",
];
/** What people and units run, and what they read. */
const FILES = [
  "/etc/couchdb-backup/config.yaml",
  "/usr/bin/couchdb-backup",
  "/usr/lib/couchdb-backup/deno",
  "/usr/lib/couchdb-backup/main.js",
  "/usr/lib/sysusers.d/couchdb-backup.conf",
  "/usr/share/bash-completion/completions/couchdb-backup",
  "/usr/share/doc/couchdb-backup/README.md",
  "/usr/share/doc/couchdb-backup/THIRD_PARTY_LICENSES.gz",
  "/usr/share/doc/couchdb-backup/config.sample.yaml",
  "/usr/share/doc/couchdb-backup/docs/configuration.md",
  "/usr/share/doc/couchdb-backup/monitoring/alerts.yaml",
  "/usr/share/fish/vendor_completions.d/couchdb-backup.fish",
  "/usr/share/man/man1/couchdb-backup.1.gz",
  ...UNITS.map((name) => `/usr/lib/systemd/system/${name}`),
];

let built: Promise<string> | undefined;

/** Builds the packages for the first test that wants them. */
async function packagesAreBuilt(): Promise<void> {
  await (built ??= sh("deno task --quiet packages --runtime deno"));
}

Deno.test("deno task packages makes deb and rpm for both architectures, with their checksums", async () => {
  await packagesAreBuilt();
  for (const { debian, rpm } of Object.values(ARCHITECTURES)) {
    const deb = `couchdb-backup_${VERSION}-1_${debian}.deb`;
    const other = `couchdb-backup-${VERSION}-1.${rpm}.rpm`;
    await sh(`cd ${FOLDER} && sha256sum --check ${deb}.sha256 ${other}.sha256`);
    assertEquals(await sh(`dpkg-deb -f ${FOLDER}/${deb} Architecture`), `${debian}\n`);
    assertEquals(await sh(`rpm -qp --qf '%{ARCH}' ${FOLDER}/${other}`), rpm);
  }
});

Deno.test("packages name the same maintainer, with an address that is nobody's where --maintainer says nothing", async () => {
  await packagesAreBuilt();
  const maintainer = maintainerOf();
  assertEquals(await sh(`dpkg-deb -f ${DEB} Maintainer`), `${maintainer}\n`);
  assertEquals(await sh(`rpm -qp --qf '%{PACKAGER}' ${RPM}`), maintainer);
  const refused = await sh("deno task --quiet packages --maintainer Jane 2>&1 || echo exit code $?");
  assertMatch(refused, /^--maintainer is "Jane": .*\nexit code 1\n$/);
});

Deno.test("packages need no newer glibc than CentOS 8 has, and say which", async () => {
  await packagesAreBuilt();
  for (const [architecture, { debian, rpm }] of Object.entries(ARCHITECTURES)) {
    const elf = `${FOLDER}/${architecture}/usr/lib/couchdb-backup/deno`;
    assertMatch(await sh(`scripts/glibc_check.sh ${elf} 2.28`), /needs glibc 2\.27,/);
    // Fedora 38 has 2.37.
    await sh(`scripts/glibc_check.sh ${elf} 2.37`);
    assertMatch(await sh(`dpkg-deb -f ${FOLDER}/*_${debian}.deb Depends`), /libc6 \(>= 2\.27\)/);
    assertMatch(await sh(`rpm -qp --requires ${FOLDER}/*.${rpm}.rpm`), /^libc\.so\.6\(GLIBC_2\.27\)\(64bit\)$/m);
  }
});

Deno.test("lintian has nothing to say of the deb but what its overrides explain", async () => {
  await packagesAreBuilt();
  assertEquals(await sh(`lintian --allow-root --fail-on none ${DEB}`), "");
});

Deno.test("the deb is installed, backs up and restores by its own units' commands, is upgraded, removed and purged", async () => {
  await packagesAreBuilt();
  await using couch = await startFakeCouchDb();
  await seedHardDatabase(couch, "orders", { documents: 40 });
  await using machine = await SpareMachine.start();
  const users = await machine.sh("cat /etc/passwd /etc/group");
  await machine.copy(DEB, "/tmp/couchdb-backup.deb");
  await machine.sh("dpkg --install /tmp/couchdb-backup.deb");

  const installed = await machine.changes();
  assertEquals(
    [...FILES, "/usr/share/zsh/vendor-completions/_couchdb-backup"].filter((f) => !installed.includes(f)),
    [],
  );
  assertEquals(
    (await machine.sh(
      "stat -c '%a %U:%G' /etc/couchdb-backup /etc/couchdb-backup/config.yaml /var/backups/couchdb-backup",
    ))
      .trim().split("\n"),
    ["750 root:couchdb-backup", "640 root:couchdb-backup", "700 couchdb-backup:couchdb-backup"],
  );
  assertEquals(await machine.sh("couchdb-backup --version"), `couchdb-backup ${VERSION}\n`);
  // Not before it is configured.
  for (const unit of ["couchdb-backup.service", "couchdb-backup-expire.timer"]) {
    assertEquals((await machine.run(`systemctl is-enabled ${unit}`)).stdout, "disabled\n");
  }
  await unitsAreSound(machine);

  await configure(machine, couch);
  const [, command] = /^ExecStart=:(.*)$/m.exec(
    await machine.sh("cat /usr/lib/systemd/system/couchdb-backup@.service"),
  )!;
  await machine.sh(asService(command!.replace("%I", "nightly")));
  await machine.sh(asService("couchdb-backup restore orders_copy latest/orders /etc/couchdb-backup/config.yaml"));
  const read = (name: string) => readAllLeafRevisions(couch, name);
  assertEquals(compareLeafRevisions(await read("orders"), await read("orders_copy")), []);
  // Nothing of the runtime's own lies about in anybody's home.
  assertEquals((await machine.changes()).filter((name) => /\/\.(cache|deno)\//.test(name)), []);
  await machine.sh("systemctl enable couchdb-backup.service couchdb-backup-expire.timer couchdb-backup@nightly.timer");

  // A newer version, whose config is another one: that of the administrator stays.
  await machine.sh(`set -e
cd /tmp
dpkg-deb --raw-extract couchdb-backup.deb newer
sed -i 's/^Version: .*/Version: 99.0.0-1/' newer/DEBIAN/control
echo '# a newer line' >>newer/etc/couchdb-backup/config.yaml
dpkg-deb -Znone --build newer newer.deb`);
  const config = await machine.sh("cat /etc/couchdb-backup/config.yaml");
  const calls = await recordSystemctl(machine);
  await machine.sh("dpkg --force-confdef --force-confold --install /tmp/newer.deb");
  assertEquals(await machine.sh("cat /etc/couchdb-backup/config.yaml"), config);
  assertEquals(await machine.sh("stat -c '%a %U:%G' /etc/couchdb-backup/config.yaml"), "640 root:couchdb-backup\n");
  assertEquals((await calls()).filter((call) => /start|stop|enable/.test(call)), [
    "try-restart couchdb-backup.service",
    "try-restart couchdb-backup-expire.timer",
    "try-restart couchdb-backup@*.timer",
  ]);

  await machine.sh("dpkg --remove couchdb-backup");
  assertStringIncludes((await calls()).join("\n"), "stop couchdb-backup.service");
  const removed = await machine.changes();
  assertEquals(FILES.filter((file) => !file.startsWith("/etc") && removed.includes(file)), []);
  await machine.sh("dpkg --purge couchdb-backup");
  const left = (await machine.changes()).filter((name) =>
    !/^\/etc\/(\.pwd\.lock|(passwd|group|g?shadow|sub[ug]id)-?)$/.test(name)
  );
  assert(
    left.some((name) => /^\/var\/backups\/couchdb-backup\/.*\/orders\/manifest\.json$/.test(name)),
    left.join("\n"),
  );
  assertEquals(left.filter((name) => !name.startsWith("/var/backups/couchdb-backup/")), [
    "/etc/couchdb-backup/",
    "/etc/couchdb-backup/password",
  ]);
  // The backups still belong to somebody.
  assertEquals(await machine.sh("stat -c %U /var/backups/couchdb-backup"), "couchdb-backup\n");
  assert((await machine.sh("cat /etc/passwd /etc/group")) !== users);
});

Deno.test("the deb leaves nothing at all where no backup was made, not its user either", async () => {
  await packagesAreBuilt();
  await using machine = await SpareMachine.start();
  const users = await machine.sh("cat /etc/passwd /etc/group");
  const before = await machine.changes();
  await machine.copy(DEB, "/tmp/couchdb-backup.deb");
  await machine.sh("dpkg --install /tmp/couchdb-backup.deb");
  await machine.sh("systemctl enable couchdb-backup.service couchdb-backup-expire.timer couchdb-backup@nightly.timer");
  await machine.sh("dpkg --purge couchdb-backup");
  assertEquals(await machine.sh("cat /etc/passwd /etc/group"), users);
  const left = (await machine.changes()).filter((name) => !before.includes(name));
  assertEquals(left.filter((name) => !/^\/etc\/(\.pwd\.lock|(passwd|group|g?shadow|sub[ug]id)-?)$/.test(name)), []);
});

Deno.test("a purge of the deb does not fail where the folder of backups is a link to another disk", async () => {
  await packagesAreBuilt();
  await using machine = await SpareMachine.start();
  await machine.copy(DEB, "/tmp/couchdb-backup.deb");
  await machine.sh("dpkg --install /tmp/couchdb-backup.deb");
  await machine.sh("mkdir /srv/disk; rmdir /var/backups/couchdb-backup; ln -s /srv/disk /var/backups/couchdb-backup");
  await machine.sh("dpkg --purge couchdb-backup");
  assertEquals(await machine.sh("readlink /var/backups/couchdb-backup"), "/srv/disk\n");
  assertEquals(await machine.sh("dpkg --list couchdb-backup 2>/dev/null | grep -c ^p || true"), "0\n");
});

Deno.test("the arm64 deb holds a program that backs up on arm64", async () => {
  await packagesAreBuilt();
  await using couch = await startFakeCouchDb();
  const database = await seedHardDatabase(couch, "orders", { documents: 10 });
  await using machine = await SpareMachine.start();
  await machine.copy(DEB.replace("amd64", "arm64"), "/tmp/arm64.deb");
  await machine.sh("dpkg-deb --extract /tmp/arm64.deb /");
  // The script is the package's own; only the runtime that it starts goes through qemu.
  const deno = "/usr/lib/couchdb-backup/deno";
  await machine.sh(`mv ${deno} ${deno}.arm64`);
  await machine.write(deno, `#!/bin/sh\nexec qemu-aarch64-static -L /usr/aarch64-linux-gnu ${deno}.arm64 "$@"\n`);
  await machine.sh(`chmod 755 ${deno}; mkdir -p /var/backups/couchdb-backup`);
  await configure(machine, couch);
  // Each start takes qemu half a minute.
  const backup = await machine.sh("couchdb-backup backup /etc/couchdb-backup/config.yaml --database orders --json");
  assertEquals(JSON.parse(backup).tasks[0].databases[0].documents, database.liveIds.length);
  await machine.sh("find /var/backups/couchdb-backup -path '*/orders/manifest.json' | grep .");
});

Deno.test("the rpm has the same files with their owners and modes, is installed, run and erased", async () => {
  await packagesAreBuilt();
  const listed =
    (await sh(`rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\\n]' ${RPM}`))
      .trim().split("\n");
  for (
    const file of [
      ...FILES,
      "/usr/share/zsh/site-functions/_couchdb-backup",
      "/usr/share/licenses/couchdb-backup/LICENSE",
    ]
  ) {
    assert(listed.some((line) => line.endsWith(` ${file}`)), file);
  }
  assert(listed.includes("-rw-r----- root:couchdb-backup /etc/couchdb-backup/config.yaml"), listed.join("\n"));
  assert(listed.includes("-rwxr-xr-x root:root /usr/bin/couchdb-backup"));
  assertEquals(listed.filter((line) => !/root:root/.test(line)).map((line) => line.split(" ")[2]), [
    "/etc/couchdb-backup",
    "/etc/couchdb-backup/config.yaml",
  ]);
  assertEquals(await sh(`rpm -qp --configfiles ${RPM}`), "/etc/couchdb-backup/config.yaml\n");

  await using machine = await SpareMachine.start();
  await machine.copy(RPM, "/tmp/couchdb-backup.rpm");
  // Debian's rpm knows of no package that the machine has: what is wanted is looked at elsewhere.
  await machine.sh("rpm --install --force-debian --nodeps /tmp/couchdb-backup.rpm");
  assertEquals(await machine.sh("couchdb-backup --version"), `couchdb-backup ${VERSION}\n`);
  assertEquals(await machine.sh("rpm --verify --nodeps couchdb-backup"), "");
  await machine.sh("systemctl enable couchdb-backup.service couchdb-backup@nightly.timer");
  const calls = await recordSystemctl(machine);
  await machine.sh("rpm --erase --force-debian --nodeps couchdb-backup");
  assertStringIncludes((await calls()).join("\n"), "disable couchdb-backup.service couchdb-backup-expire.timer");
  const left = (await machine.changes()).filter((name) => /couchdb-backup/.test(name));
  // The link is what the recorded `systemctl disable` would have taken.
  assertEquals(left, ["/etc/systemd/system/multi-user.target.wants/couchdb-backup.service"]);
});

Deno.test("the packages' scripts are what shells take, and shellcheck has nothing to say", async () => {
  for (const packager of ["deb", "rpm"]) {
    for await (const { name } of Deno.readDir(`scripts/packaging/${packager}`)) {
      if (name === "lintian-overrides") continue;
      const file = `scripts/packaging/${packager}/${name}`;
      await sh(`sh -n ${file} && shellcheck --shell=dash ${file}`);
    }
  }
});

/** Asks the machine's systemd what it thinks of the units. */
async function unitsAreSound(machine: SpareMachine): Promise<void> {
  for (const name of UNITS) {
    const unit = name.replace("@.", "@nightly.");
    const verified = await machine.run(`systemd-analyze verify --man=no ${unit}`);
    assertEquals([verified.code, verified.stdout, verified.stderr], [0, "", ""], unit);
    const text = await machine.sh(`cat /usr/lib/systemd/system/${name}`);
    assertStringIncludes(text, "\nDocumentation=man:couchdb-backup(1)\n");
    if (!name.endsWith(".service")) continue;
    await machine.sh(
      `systemd-analyze security --offline=true --threshold=15 --no-pager /usr/lib/systemd/system/${name}`,
    );
    if (name.includes("failed")) continue;
    for (
      const setting of ["After=network-online.target couchdb.service", "OnFailure=couchdb-backup-failed@%n.service"]
    ) {
      assertStringIncludes(text, `\n${setting}\n`);
    }
    assertStringIncludes(text, '\nRequiresMountsFor="/var/backups/couchdb-backup"\n');
  }
}

/** Writes into the package's own config what nobody but the administrator can know. */
async function configure(machine: SpareMachine, couch: CouchServer): Promise<void> {
  const path = "/etc/couchdb-backup/config.yaml";
  const text = await machine.sh(`cat ${path}`);
  const configured = text.replace("http://127.0.0.1:5984", couch.url).replace('"backup"', `"${couch.login}"`);
  assert(configured !== text);
  await machine.write(path, configured);
  await machine.write("/etc/couchdb-backup/password", `${couch.password}\n`);
  await machine.run("chmod 640 /etc/couchdb-backup/password; chgrp couchdb-backup /etc/couchdb-backup/password");
}

/** A command as the units' user runs it. */
function asService(command: string): string {
  return `cd / && runuser -u couchdb-backup -- ${command}`;
}

/** Has the machine believe that systemd runs, and notes what is asked of it. */
async function recordSystemctl(machine: SpareMachine): Promise<() => Promise<string[]>> {
  await machine.sh("mkdir -p /run/systemd/system");
  await machine.write("/run/systemctl", '#!/bin/sh\necho "$@" >>/run/systemctl.log\n');
  await machine.sh("chmod 755 /run/systemctl && mount --bind /run/systemctl /usr/bin/systemctl");
  return async () => (await machine.sh("cat /run/systemctl.log")).trim().split("\n");
}

/** Runs a line of shell in the checkout and returns what it printed. */
async function sh(line: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line] }).output();
  const [out, error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  assertEquals(code, 0, `${line}\n${out}${error}`);
  return out!;
}
