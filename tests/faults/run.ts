/**
 * `deno task faults`: runs the suite's tests, two files at a time, and prints what came of each fault as a table. In:
 * `--only 'couchdb backup reset 17'` for cases that have all these words, `--write` to put the table into
 * docs/faults.md. Out: exit code 1 where a case breaks a promise, or where the page tells of other faults than those
 * that were tried.
 */
import { fileURLToPath } from "node:url";
import type { Row } from "./sweep.ts";
import { formatTable, rowsOfPage, sortRows, withTable } from "./table.ts";

const encoder = new TextEncoder();
const print = (text: string) => Deno.stdout.writeSync(encoder.encode(`${text}\n`));
const PAGE = new URL("../../docs/faults.md", import.meta.url);

/** @returns The exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const startedAt = performance.now();
  const file = await Deno.makeTempFile({ prefix: "couchdb-backup-faults-" });
  const permissions = ["net", "env", "sys", "read", "write", "run"].map((name) => `--allow-${name}`);
  const command = new Deno.Command(Deno.execPath(), {
    args: ["test", "--quiet", "--no-prompt", "--no-check", "--parallel", ...permissions]
      .concat([fileURLToPath(new URL(".", import.meta.url)), "--", ...args]),
    env: { FAULTS_ROWS: file, DENO_JOBS: "2" },
  });
  const { code } = await command.spawn().status;
  const lines = (await Deno.readTextFile(file)).split("\n").filter((line) => line !== "");
  await Deno.remove(file);
  const rows = sortRows(lines.map((line): Row => JSON.parse(line)));
  const sum = (name: "tried" | "whole" | "said" | "broken") => rows.reduce((total, row) => total + row[name], 0);
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  print(`\n${formatTable(rows)}`);
  print(
    `${sum("tried")} faults in ${seconds} s: ${sum("whole")} survived, ${sum("said")} said and then finished, ` +
      `${sum("broken")} broke a promise`,
  );
  if (code !== 0 || args.includes("--only")) return code;
  const page = await Deno.readTextFile(PAGE);
  if (args.includes("--write")) {
    await Deno.writeTextFile(PAGE, withTable(page, rows));
    return 0;
  }
  const nameOf = ({ subject, fault }: Pick<Row, "subject" | "fault">) => `${subject}: ${fault}`;
  const [tried, told] = [rows, rowsOfPage(page)].map((list) => new Set(list.map(nameOf)));
  const differing = [...tried!.symmetricDifference(told!)];
  if (differing.length === 0) return 0;
  print(
    `docs/faults.md does not tell of what was tried: ${differing.join(", ")}. Run deno task faults --write`,
  );
  return 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
