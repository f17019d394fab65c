/** The shapes of docs/design.md, which other programs rely on, beside the reports that the commands print. */
import { assert, assertEquals } from "@std/assert";
import { main } from "../../src/cli/cli.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { CouchDesk, layDesk } from "../fakes/couch_desk.ts";
import { QuietShell } from "../fakes/quiet_shell.ts";
import { walk } from "../source_files.ts";

/** What each command prints with `--json`, by the names of interfaces. */
const REPORTS: Readonly<Record<string, readonly string[]>> = {
  "backup": ["ScheduledReport"],
  "restore": ["RestoreReport", "FleetReport"],
  "verify": ["VerifyReport", "VerifyAllReport"],
  "test-restore": ["TestRestoreReport"],
  "status": ["StatusReport"],
  "list": ["BackupList", "SizesReport"],
  "plan": ["Plan"],
  "report": ["ReportData"],
  "check": ["CheckReport", "StoreCheckReport"],
  "show": ["ShownDocument"],
  "find": ["FoundDocument"],
  "diff": ["DiffReport"],
  "expire": ["ExpireReport"],
  "keep": ["KeepReport"],
};
/** Whose shapes the page has in another one's words. */
const AS: Readonly<Record<string, string>> = { "report": "status", "test-restore": "verify" };
/** Those that print no report of their own, or one that no interface describes. */
const OTHERS = ["unkeep", "systemd", "export", "schedule", "completions"];

const page = await Deno.readTextFile(new URL("../../docs/design.md", import.meta.url));
const block = /## Results with `--json`.*?```\n(.*?)```/s.exec(page)?.[1] ?? "";

/** The words of what the page says of a command, up to the next one. */
function wordsOf(command: string): Set<string> {
  const at = new RegExp(`^${command} .*?(?=^[a-z])`, "ms").exec(`${block}end`)?.[0] ?? "";
  return new Set(at.match(/\w+/g));
}

const INTERFACE = /^(?:export )?interface (\w+)(?:<.*?>)?( extends [^{]+)? \{\n(.*?)^\}/gms;
const interfaces = new Map<string, string>();
for (const { path, text } of await walk(["src"])) {
  // It has another ListedDatabase, which nobody prints.
  if (path.startsWith("src/commands/backup/")) continue;
  for (const [, name = "", bases = "", body = ""] of text.matchAll(INTERFACE)) {
    const bare = body.replaceAll(/\/\*\*.*?\*\//gs, "").replaceAll(/\/\/.*/g, "");
    interfaces.set(name, `${interfaces.get(name) ?? ""}${bases};\n${bare}`);
  }
}

/** The fields of an interface, and of those that it names. */
function fieldsOf(name: string, seen = new Set<string>()): string[] {
  const body = interfaces.get(name);
  if (body === undefined || seen.has(name)) return [];
  seen.add(name);
  const fields = [...body.matchAll(/(?:^|[{;])\s*(?:readonly )?(\w+)\??: /gm)].map(([, field = ""]) => field);
  return [...fields, ...(body.match(/\b[A-Z]\w+/g) ?? []).flatMap((other) => fieldsOf(other, seen))];
}

Deno.test("docs/design.md names every field of what the commands print with --json", () => {
  const lacking = Object.entries(REPORTS).flatMap(([command, reports]) => {
    const words = wordsOf(command).union(wordsOf(AS[command] ?? command));
    assert(words.size > 2, command);
    const fields = reports.flatMap((report) => {
      const found = fieldsOf(report);
      assert(found.length > 1, report);
      return found;
    });
    return [...new Set(fields)].filter((field) => !words.has(field)).map((field) => `${command}: ${field}`);
  });
  assertEquals(lacking, []);
});

Deno.test("docs/design.md has every command among what --json prints", () => {
  const commands = Object.keys(COMMANDS);
  assertEquals(commands.toSorted(), [...Object.keys(REPORTS), ...OTHERS].toSorted());
  for (const command of commands) assert(new RegExp(`(^|and )${command} `, "m").test(block), command);
});

/** The names of all fields in a result. */
function keysIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  const below = Object.values(value).flatMap(keysIn);
  return Array.isArray(value) ? below : [...Object.keys(value), ...below];
}

Deno.test("docs/design.md names what is printed where no interface says it", async () => {
  await using desk = new CouchDesk(await layDesk(["a"]));
  const { url, login, password } = desk.fake;
  const config = `${desk.folder}/config.yaml`;
  await Deno.writeTextFile(
    config,
    `database: {url: "${url}", login: ${login}, password: ${password}}\ntask: {t: {databases: [a]}}\n` +
      `bucket: "${desk.folder}/bucket"\n`,
  );
  const calls = [
    ["backup", "--dry-run"],
    ["backup"],
    ["list", "databases"],
    ["systemd"],
    ["keep", "a", "latest"],
    ["unkeep", "a", "latest"],
  ];
  for (const [command = "", ...rest] of calls) {
    const shell = new QuietShell();
    assertEquals(await main([command, ...rest, "--json", "--config", config], shell), 0, shell.err);
    const words = wordsOf(command === "unkeep" ? "keep" : command);
    assertEquals([...new Set(keysIn(JSON.parse(shell.out)))].filter((key) => !words.has(key)), [], command);
  }
});
