/**
 * Draws docs/terminal.svg: what a person sees of a run in which not all goes well. The lines are what the program
 * prints against the test's CouchDB; tests/scripts/draw_terminal_test.ts plays the scene again and compares.
 * deno run --allow-all scripts/draw_terminal.ts
 */
import { main } from "../src/cli/cli.ts";
import { widthOf } from "../src/observe/text_width.ts";
import { createDatabase, idsOf } from "../tests/couchdb/impatient_client.ts";
import { startFakeCouchDb } from "../tests/fakes/couchdb.ts";
import { outputTo } from "../tests/fakes/output.ts";
import { QuietShell } from "../tests/fakes/quiet_shell.ts";
import { FakeTerminal } from "../tests/fakes/terminal.ts";

const COLUMNS = 100;
const ACCOUNT = "account/ab/cd/0123456789abcdef0123456789ab";

/** Plays the scene, and returns the lines on the terminal. */
export async function playScene(): Promise<string[]> {
  await using fake = await startFakeCouchDb();
  const folder = await Deno.makeTempDir({ prefix: "couchdb-backup-scene-" });
  try {
    await createDatabase(fake, ACCOUNT, idsOf(300));
    await createDatabase(fake, `${ACCOUNT}-202610`, idsOf(42));
    await createDatabase(fake, "invoices", idsOf(10));
    await createDatabase(fake, "media", idsOf(30));
    await createDatabase(fake, "orders", idsOf(1200));
    const refusal = "You are not allowed to access this db.";
    fake.faults.add({
      database: "orders",
      endpoint: "_changes",
      fault: { kind: "answer", status: 503, body: { error: "timeout", reason: "The request could not be processed" } },
    });
    fake.faults.add({
      database: "invoices",
      endpoint: "_changes",
      times: Infinity,
      fault: { kind: "answer", status: 403, body: { error: "forbidden", reason: refusal } },
    });
    const config = `${folder}/cfg.yaml`;
    await Deno.writeTextFile(
      config,
      `database: {url: "${fake.url}", login: ${fake.login}, password: ${fake.password}}
task: {nightly: {cron: "*-*-* 02:00:00", databases: ["[a-z].*"]}}
bucket: "${folder}/backups"
`,
      { mode: 0o600 },
    );
    const shell = new QuietShell({ XDG_STATE_HOME: folder, NO_COLOR: "1" });
    // What is wider than the terminal is broken by the program, or is a defect that the picture shows.
    const terminal = new FakeTerminal(COLUMNS);
    const output = { ...outputTo((text) => terminal.write(text)), isTerminal: true, columns: () => COLUMNS };
    const process = { onSignal: shell.onSignal, exit: shell.exit, journal: false, env: shell.env };
    terminal.write("$ couchdb-backup backup cfg.yaml\n");
    await main(["backup", config], { ...process, stdout: output, stderr: output });
    return terminal.text().trimEnd().split("\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const LETTER = { width: 8.43, height: 19 };
const COLORS: readonly [RegExp, string][] = [
  [/^✓/, "#7ec27e"],
  [/^!|^Needs a look:/, "#e0b64f"],
  [/^✗|^Failed:/, "#ef6b6b"],
];

/** The lines as a picture. */
export function drawTerminal(lines: readonly string[]): string {
  const width = Math.ceil(COLUMNS * LETTER.width + 32);
  const height = lines.length * LETTER.height + 32;
  // Spaces that no viewer takes together.
  const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(" ", "\u00a0");
  const rows = lines.map((line, index) => {
    const y = 28 + index * LETTER.height;
    const [, color = "#d8dade"] = COLORS.find(([begins]) => begins.test(line)) ?? [];
    // The mark alone has its colour, a title all of its line.
    const marked = /^[✓!✗] /.test(line) ? 1 : line.length;
    const begin = `<tspan fill="${color}">${escape(line.slice(0, marked))}</tspan>${escape(line.slice(marked))}`;
    return `<text x="16" y="${y}" textLength="${(widthOf(line) * LETTER.width).toFixed(1)}">${begin}</text>`;
  }).filter((row) => !row.includes('textLength="0.0"'));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14" fill="#d8dade" role="img">`,
    `<title>couchdb-backup backup: a line for each database, repetitions, and what failed</title>`,
    `<rect width="${width}" height="${height}" rx="8" fill="#1d1f23"/>`,
    ...rows,
    "</svg>",
    "",
  ].join("\n");
}

if (import.meta.main) {
  await Deno.writeTextFile(new URL("../docs/terminal.svg", import.meta.url), drawTerminal(await playScene()));
}
