/**
 * docs/install.md, command by command, on a spare machine. What that machine lacks stands here: a package registry with
 * this package, dnf, sudo, an editor, a systemd that runs. Wants what packages_test.ts does, and npm.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { VERSION } from "../../src/version.ts";
import { startFakeCouchDb } from "../fakes/couchdb.ts";
import { createDatabase, idsOf } from "../couchdb/impatient_client.ts";
import { SpareMachine } from "../spare_machine.ts";

const PAGE = await Deno.readTextFile("docs/install.md");

/** The commands of the page's sh blocks, below each heading. */
function commandsOf(heading: string): string[] {
  const [, section] = new RegExp(`^##+ ${heading.replaceAll(/[?.]/g, "\\$&")}\\n([\\s\\S]*?)(?=^##|(?![\\s\\S]))`, "m")
    .exec(PAGE) ?? [];
  assert(section !== undefined, `no section "${heading}"`);
  const blocks = [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
  return blocks.flatMap((block) => block.trim().split("\n"));
}

/** What stands in for programs that ask, or want what is not there. */
const STAND_INS = `
sudo() {
  if [ "$1" = -u ]; then
    user=$2
    shift 2
    HOME=$(getent passwd "$user" | cut -d : -f 6) runuser -u "$user" -- "$@"
  else
    "$@"
  fi
}
editor() { sed -i "$EDIT" "$1"; }
dnf() { shift; rpm --install --force-debian --nodeps "$@"; }
apt() { command apt --yes --quiet "$@"; }
systemctl() {
  case $1 in
    enable) shift; [ "$1" = --now ] && shift; command systemctl enable "$@" ;;
    daemon-reload) ;;
    *) command systemctl "$@" ;;
  esac
}
cd /tmp || exit 1
`;

Deno.test("docs/install.md: Debian and Ubuntu, from the package to the service, to another folder, to the removal", async () => {
  await sh("deno task --quiet packages --runtime deno --arch x86_64");
  await using couch = await startFakeCouchDb();
  await createDatabase(couch, "orders", idsOf(3));
  await using machine = await SpareMachine.start();
  const name = `couchdb-backup_${VERSION}-1_amd64.deb`;
  await machine.copy(`dist/packages/${name}`, `/tmp/${name}`);
  const edit = `s#http://127.0.0.1:5984#${couch.url}#; s#"backup"#"${couch.login}"#`;
  const run = async (line: string) =>
    await machine.sh(`${STAND_INS}EDIT='${edit}'\nprintf '%s\\n' '${couch.password}' | { ${line}\n}`);
  for (const line of commandsOf("Debian and Ubuntu")) {
    const printed = await run(line);
    if (line.includes(" check ")) assertMatch(printed, /couchdb/);
  }
  assertEquals(await machine.sh("cat /etc/couchdb-backup/password"), `${couch.password}\n`);
  assertEquals(await machine.sh("systemctl is-enabled couchdb-backup.service"), "enabled\n");
  const backup = "runuser -u couchdb-backup -- couchdb-backup backup /etc/couchdb-backup/config.yaml";
  await machine.sh(`cd /; HOME=/var/lib/couchdb-backup ${backup}`);
  const verified = await machine.run("systemd-analyze verify --man=no /etc/systemd/system/couchdb-backup.service");
  assertEquals([verified.code, verified.stderr], [0, ""]);
  assertEquals(PAGE.match(/couchdb-backup@nightly\.timer/g)?.length, 1);
  await machine.sh("systemctl enable couchdb-backup@nightly.timer");
  for (const line of commandsOf("Upgrade and removal")) await run(line);
  const left = (await machine.changes()).filter((name) => /couchdb-backup/.test(name));
  assertStringIncludes(left.join("\n"), "/orders/manifest.json");
  assertEquals(left.filter((name) => !name.startsWith("/var/backups/")), [
    "/etc/couchdb-backup/",
    "/etc/couchdb-backup/password",
    // Written by the command for another folder.
    ...left.filter((name) => /^\/etc\/systemd\/system\/couchdb-backup[^/]*$/.test(name)),
  ]);

  const rpm = `couchdb-backup-${VERSION}-1.x86_64.rpm`;
  await machine.copy(`dist/packages/${rpm}`, `/tmp/${rpm}`);
  for (const line of commandsOf("Fedora, CentOS, RHEL")) await run(line);
  assertEquals(await machine.sh("couchdb-backup --version"), `couchdb-backup ${VERSION}\n`);
});

Deno.test("docs/install.md: npm and npx, with the package's archive in the registry's place", async () => {
  await sh("deno task --quiet npm && npm pack --silent --pack-destination dist ./dist/npm");
  const archive = await Deno.realPath(`dist/couchdb-backup-${VERSION}.tgz`);
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-install-" });
  const node = (await sh("sh scripts/ci/node.sh 22")).trim();
  const path = `PATH="${folder}/global/bin:${node}:$PATH"`;
  const env = `export npm_config_prefix="${folder}/global" npm_config_offline=true ${path}`;
  const lines = commandsOf("npm");
  assertEquals(lines.length, 3);
  for (const line of lines) {
    const local = line.replace("--global couchdb-backup", `--global ${archive}`)
      .replace("npx --yes", `npx --yes --package ${archive}`);
    const printed = await sh(`${env}\ncd ${folder}\n${local}`);
    if (line.endsWith("--version")) assertEquals(printed, `couchdb-backup ${VERSION}\n`);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("docs/install.md: one executable is checked and installed", async () => {
  await using machine = await SpareMachine.start();
  const name = `couchdb-backup-${VERSION}-x86_64-unknown-linux-gnu`;
  // In the executable's place: it is compiled only where denort is to be had.
  await machine.write(`/tmp/${name}`, `#!/bin/sh\necho "couchdb-backup ${VERSION}"\n`);
  await machine.sh(
    `cd /tmp; sha256sum ${name} >SHA256SUMS; sha256sum /etc/passwd | sed s,/etc/passwd,absent, >>SHA256SUMS`,
  );
  const [check, install, run] = commandsOf("One executable");
  assertEquals(await machine.sh(`${STAND_INS}${check}`), `${name}: OK\n`);
  assertEquals(await machine.sh(`${STAND_INS}${install}\n${run}`), `couchdb-backup ${VERSION}\n`);
  await machine.sh(`echo x >>/tmp/${name}`);
  assertEquals((await machine.run(`${STAND_INS}${check}`)).code, 1);
});

Deno.test("docs/install.md: what is verified is what the release's workflow signs", async () => {
  const [verify = "", check] = commandsOf("Is it what was released?");
  const workflow = await Deno.readTextFile(".github/workflows/release.yml");
  const [, bundle = ""] = /--bundle (\S+) SHA256SUMS$/m.exec(workflow) ?? [];
  assertStringIncludes(verify, `--bundle ${bundle} `);
  const [, identity = ""] = /identity-regexp '(.*)'/.exec(verify) ?? [];
  // As GitHub names a workflow in a certificate: by its file and the tag that it ran for.
  const certified = `https://github.com/OWNER/couchdb-backup/.github/workflows/release.yml@refs/tags/v${VERSION}`;
  assertMatch(certified, new RegExp(identity));
  assertEquals(new RegExp(identity).test(certified.replace("refs/tags", "refs/heads")), false);
  assertEquals(check, "sha256sum --check --ignore-missing SHA256SUMS");
});

/** Runs a line of shell in the checkout and returns what it printed. */
async function sh(line: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line] }).output();
  const [out, error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  assertEquals(code, 0, `${line}\n${out}${error}`);
  return out!;
}
