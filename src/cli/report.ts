/** `couchdb-backup report [<config>]`: the backups' history and state, as a page that needs no server. */
import { EXIT } from "../errors.ts";
import { counted, formatSize } from "../observe/figures.ts";
import { formatReportPage } from "../observe/report_page.ts";
import { readReport } from "../schedule/report.ts";
import type { Command } from "./command.ts";
import { readWholeNumber } from "./flag_values.ts";
import { replaceFile } from "./output_file.ts";
import { withSession } from "./session.ts";

const DEFAULT_DAYS = 365;
const MOST_DAYS = 3660;

export const command: Command = {
  name: "report",
  usage: ["[<config>]"],
  help: [
    "Makes a page about the backups: a calendar for each database, sizes, durations, ages, and the state of each task.",
    "",
    "It is one file that loads nothing from anywhere else; --json prints the same facts. It",
    "asks the store only and needs neither CouchDB nor its password.",
  ],
  flags: [
    {
      name: "output",
      value: "FILE",
      summary: "the file to write, such as report.html; an existing one is replaced",
      default: "standard output",
    },
    { name: "days", value: "N", summary: "how many days back, 1 to 3,660", default: String(DEFAULT_DAYS) },
  ],
  operands: { least: 0, most: 0 },
  exits: { ok: "the page is made, whatever it shows", store: "the store" },
  examples: [
    { line: "couchdb-backup report --output report.html cfg.yaml", summary: "the page of the last year" },
    { line: "couchdb-backup report --days 30 --json cfg.yaml > report.json", summary: "the facts of a month" },
  ],

  async run(call) {
    const days = readWholeNumber(call, "days", { least: 1, most: MOST_DAYS }) ?? DEFAULT_DAYS;
    const output = call.text("output");
    return await withSession(call, async (session) => {
      const { now, log, signal } = session.surroundings;
      const { repository, config } = session;
      const data = await readReport({ repository, now, log, signal }, config.tasks, { days });
      if (output === undefined) {
        // Byte for byte: escaping for a terminal would change the scripts that the page allows by their hash.
        if (call.isOn("json")) call.print(data, () => "");
        else call.shell.stdout.write(formatReportPage(data));
        return EXIT.ok;
      }
      const page = new TextEncoder().encode(formatReportPage(data));
      // It names databases, so only its owner may read it.
      await replaceFile(output, page, { mode: 0o600, what: "the report to" });
      call.print(
        data,
        () => `"${output}": ${counted(data.databases.length, "database")}, ${formatSize(page.length)}\n`,
        { isProse: true },
      );
      return EXIT.ok;
    });
  },
};
